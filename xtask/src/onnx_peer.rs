//! The mAP of a checkpoint here, and of what is exported from it in onnxruntime, on the validation data of its spec.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow};
use oxidet_calib::quantize;
use oxidet_compute::Executor;
use oxidet_exporter::{ExportRequest, Target, export, without_quantizers};
use oxidet_graph::onnx::{Batch, FloatType, NmsTail, QUANTIZED_OPSET};
use oxidet_graph::{Checkpoint, nms_from_spec};
use oxidet_proto::calibration_cache::CalibrationCache;
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::{Checked, Verb, check};
use oxidet_proto::manifest::Precision;
use oxidet_proto::spec::parse_experiment;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::data::{BadImages, CacheBudget, Dataset, DatasetRequest, ImageStore, Split};
use oxidet_trainer::evaluate::Evaluation;
use oxidet_vision::{Network, NetworkError, RawDetections};

/// Compares a checkpoint with its export in onnxruntime.
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint
    model: PathBuf,
    /// Its key, if it has one
    #[arg(long)]
    key: Option<String>,
    /// Calibration cache: compares the network that is quantised with its ranges, too
    #[arg(long, value_name = "CACHE")]
    ranges: Option<PathBuf>,
    /// A Python with onnx and onnxruntime
    #[arg(long, value_name = "PYTHON")]
    peer: PathBuf,
}

/// Runs the task, in the folder that the paths of the spec start from.
pub fn run(args: &Args) -> Result<()> {
    let key = args.key.clone().map(Passphrase::new).transpose()?;
    let checkpoint = read_checkpoint(&args.model, key.as_ref())?;
    let parsed = parse_experiment("the checkpoint's spec", &checkpoint.spec).map_err(|e| anyhow!("{e}"))?;
    let spec = check(parsed, Verb::Evaluate).map_err(|e| anyhow!("{e}"))?;
    let mut variants = vec![("as it is", checkpoint.clone())];
    if checkpoint.detector.graph.is_quantized() {
        variants.push(("without its quantisers", without_quantizers(&checkpoint)));
    }
    if let Some(path) = &args.ranges {
        let cache = CalibrationCache::parse(&path.to_string_lossy(), &std::fs::read(path)?)?;
        let entries = cache.entries().iter();
        let ranges = entries.map(|entry| (entry.tensor().to_owned(), entry.amax())).collect();
        variants.push(("quantised", quantize(&checkpoint, &ranges, &BTreeSet::new())?.checkpoint));
    }
    for (what, checkpoint) in variants {
        let mut ours = Executor::new(&checkpoint.detector, &checkpoint.params)?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), exported(&checkpoint, &spec)?)?;
        let mut theirs = Peer::start(args, file.path(), checkpoint.detector.classes.len())?;
        let ours = evaluate(&mut ours, &checkpoint, &spec)?;
        let theirs = evaluate(&mut theirs, &checkpoint, &spec)?;
        println!("{what}: mAP {ours:.5} here, {theirs:.5} in onnxruntime, difference {:+.5}", theirs - ours);
    }
    Ok(())
}

fn exported(checkpoint: &Checkpoint, spec: &Checked) -> Result<Vec<u8>> {
    let request = ExportRequest {
        opset: QUANTIZED_OPSET,
        batch: Batch::Dynamic,
        tail: NmsTail::Batched,
        nms: nms_from_spec(spec.nms()),
        score_bits: 0,
        float: FloatType::F32,
        model_file: "model.onnx".into(),
        encrypted: false,
        target: Target::Trt8,
        precision: Precision::Fp32,
        calibration: None,
    };
    Ok(export(checkpoint, &request)?.onnx)
}

fn evaluate(network: &mut dyn Network, checkpoint: &Checkpoint, spec: &Checked) -> Result<f64> {
    let dataset = Dataset::open(&DatasetRequest::new(spec, BadImages::Stop), Split::Validation)?;
    let store = ImageStore::new(&dataset, checkpoint.detector.preprocess.depth, CacheBudget::new(0));
    let preprocess = checkpoint.detector.preprocess.clone();
    let evaluation = Evaluation::from_spec(spec, preprocess, nms_from_spec(spec.nms()));
    let report = evaluation.run(network, &dataset, &store, &mut |_| {})?;
    report.map.context("the validation data has no objects")
}

/// A model in another process.
struct Peer {
    child: Child,
    classes: usize,
}

impl Peer {
    fn start(args: &Args, model: &std::path::Path, classes: usize) -> Result<Self> {
        let child = Command::new(&args.peer)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/run_onnx.py"))
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", args.peer.display()))?;
        Ok(Self { child, classes })
    }

    fn ask(&mut self, input: &[f32], batch: usize) -> Result<[Vec<f32>; 2]> {
        let (to, from) = (self.child.stdin.as_mut(), self.child.stdout.as_mut());
        let (to, from) = (to.context("no pipe")?, from.context("no pipe")?);
        to.write_all(&u32::try_from(batch)?.to_le_bytes())?;
        to.write_all(&input.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())?;
        to.flush()?;
        let mut values = || -> Result<Vec<f32>> {
            let mut len = [0; 4];
            from.read_exact(&mut len)?;
            let mut content = vec![0; u32::from_le_bytes(len) as usize];
            from.read_exact(&mut content)?;
            let (values, _) = content.as_chunks::<4>();
            Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        Ok([values()?, values()?])
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Network for Peer {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        let [boxes, scores] = self.ask(input, batch).map_err(|error| NetworkError(error.into()))?;
        out.resize(batch, boxes.len() / (4 * batch), self.classes);
        (out.boxes, out.scores) = (boxes, scores);
        Ok(())
    }
}
