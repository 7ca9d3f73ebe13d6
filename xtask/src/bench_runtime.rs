//! Speed of running models, next to Python with OpenCV, onnxruntime and NumPy, and with torchvision.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use oxidet_exporter::{ExportRequest, Target, export};
use oxidet_graph::Checkpoint;
use oxidet_graph::onnx::{Batch, FloatType, NmsTail};
use oxidet_proto::manifest::Precision;
use oxidet_runtime::{
    Backend, Benchmark, Cpu, EngineOptions, Inference, Measured, Model, OnnxRuntime, Outputs, Source,
};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::data::list_images;
use oxidet_trainer::net::init_params;
use oxidet_vision::{NmsConfig, suppress};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bench_train::network;

/// Few candidates of an untrained network pass, as few of a trained one's do.
const NMS: NmsConfig = NmsConfig { score_threshold: 0.3, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 };

/// Compares how fast models run here and in Python, in the same run: folders of JPEGs to files of detections, suppression alone, and the
/// cpu backend beside ONNX Runtime.
#[derive(clap::Args)]
pub struct Args {
    /// A Python with onnxruntime, opencv-python-headless and numpy, and for suppression torchvision
    #[arg(long, value_name = "PYTHON")]
    peer: PathBuf,
    /// Folder of JPEGs
    #[arg(long, value_name = "DIR", default_value = "../shared/data/bccd/val/images")]
    images: PathBuf,
    /// Checkpoints, or networks with random weights, as NAME@WIDTHxHEIGHT:1
    #[arg(
        long,
        value_name = "MODEL",
        value_delimiter = ',',
        default_value = "cspdarknet_tiny@416x416:1,resnet18@416x416:1,resnet18@1248x384:1"
    )]
    models: Vec<String>,
    /// Images of a run
    #[arg(long, value_name = "N", default_value_t = 40)]
    count: usize,
    /// Runs of each side, alternating; medians count
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Threads of both
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// Writes the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let library = library(&args.peer)?;
    let mut images = list_images(&args.images)?;
    ensure!(!images.is_empty(), "{} has no images", args.images.display());
    images = images.into_iter().cycle().take(args.count).collect();
    let (mut end_to_end, mut backends) = (Vec::new(), Vec::new());
    for name in &args.models {
        let onnx = exported(name)?;
        for row in (Contest { args, name, onnx: &onnx, images: &images, library: &library }).run()? {
            println!("{row}");
            end_to_end.push(row);
        }
        let row = beside_onnxruntime(args, name, &onnx, &images, &library)?;
        println!("{row}");
        backends.push(row);
    }
    let nms = suppression(args)?;
    println!("{nms}");
    let json = json!({ "end_to_end": end_to_end, "nms": nms, "cpu_vs_onnxruntime": backends });
    if let Some(path) = &args.json {
        fs::write(path, format!("{json:#}\n"))?;
    }
    Ok(())
}

/// The library that the peer uses.
fn library(peer: &Path) -> Result<PathBuf> {
    let code = "import onnxruntime, pathlib; print(*pathlib.Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so*'))";
    let output = Command::new(peer).args(["-c", code]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().context("the peer has no onnxruntime")?.into())
}

/// A model whose outputs are boxes and scores.
fn exported(name: &str) -> Result<Vec<u8>> {
    let checkpoint = if Path::new(name).exists() {
        read_checkpoint(Path::new(name), None)?
    } else {
        let (arch, width, height, _) = network::parse_case(name)?;
        let detector = network::detector(&arch, width, height)?;
        let params = init_params(&detector, 0);
        Checkpoint { detector, params, spec: String::new(), training: None }
    };
    let request = ExportRequest {
        opset: 13,
        batch: Batch::Dynamic,
        tail: NmsTail::Raw,
        nms: NMS,
        score_bits: 0,
        float: FloatType::F32,
        model_file: "model.onnx".into(),
        encrypted: false,
        target: Target::Ort,
        precision: Precision::Fp32,
        calibration: None,
    };
    Ok(export(&checkpoint, &request)?.onnx)
}

/// A folder of JPEGs to a file of detections, here and in Python.
struct Contest<'a> {
    args: &'a Args,
    name: &'a str,
    onnx: &'a [u8],
    images: &'a [PathBuf],
    library: &'a Path,
}

/// What the peer reports.
#[derive(Deserialize)]
struct Theirs {
    seconds: f64,
    #[serde(default)]
    stages_ms: Vec<f64>,
}

impl Contest<'_> {
    /// A row for ONNX Runtime, the peer's own, and one for the cpu backend.
    fn run(&self) -> Result<Vec<Value>> {
        let dir = tempfile::tempdir()?;
        let model_file = dir.path().join("model.onnx");
        fs::write(&model_file, self.onnx)?;
        let backends: [&dyn Backend; 2] = [&OnnxRuntime::new(Some(self.library.to_owned())), &Cpu];
        let options = EngineOptions { threads: Some(self.args.threads), ..EngineOptions::default() };
        let mut models = Vec::new();
        for backend in backends {
            models.push((backend.name(), Model::load(self.onnx, None, backend, &options)?, Vec::new()));
        }
        let preprocess = &models[0].1.preprocess;
        let job = dir.path().join("job.json");
        let description = json!({
            "model": model_file, "images": self.images, "output": dir.path().join("theirs.jsonl"), "threads": self.args.threads,
            "width": preprocess.width, "height": preprocess.height, "mean": preprocess.mean, "nms": NMS,
        });
        fs::write(&job, description.to_string())?;
        let (mut theirs, mut stages) = (Vec::new(), Vec::new());
        for _ in 0..self.args.rounds {
            for (_, model, times) in &mut models {
                times.push(self.ours(model, &dir.path().join("ours.jsonl"))?);
            }
            let output = Command::new(&self.args.peer)
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/detect.py"))
                .arg(&job)
                .output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let report: Theirs = serde_json::from_slice(&output.stdout)?;
            theirs.push(report.seconds);
            stages = report.stages_ms;
        }
        let rate = |seconds: f64| self.images.len() as f64 / seconds;
        let theirs = rate(median(theirs));
        let row = |(backend, _, times): (&str, Model, Vec<f64>)| {
            let ours = rate(median(times));
            json!({
                "model": self.name, "backend": backend, "images_per_second": ours, "peer_images_per_second": theirs,
                "ratio": ours / theirs, "peer_stages_ms": stages,
            })
        };
        Ok(models.into_iter().map(row).collect())
    }

    fn ours(&self, model: &mut Model, output: &Path) -> Result<f64> {
        let inference = Inference {
            threshold: NMS.score_threshold,
            batch_size: self.args.threads,
            skip_bad_images: false,
        };
        let mut out = BufWriter::new(File::create(output)?);
        let mut write = |paths: &[PathBuf]| {
            inference.run(model, Source::Files(paths.to_vec()), &Outputs::default(), &mut |detected| {
                let objects: Vec<Value> = detected
                    .found
                    .iter()
                    .map(|d| json!({ "class": d.class, "score": d.score, "box": [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2] }))
                    .collect();
                writeln!(out, "{}", json!({ "image": detected.origin.to_string(), "objects": objects })).is_ok()
            })
        };
        write(&self.images[..3.min(self.images.len())])?;
        let started = Instant::now();
        write(self.images)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

/// The network alone, in the cpu backend and in ONNX Runtime.
fn beside_onnxruntime(
    args: &Args,
    name: &str,
    onnx: &[u8],
    images: &[PathBuf],
    library: &Path,
) -> Result<Value> {
    let options = EngineOptions { threads: Some(args.threads), ..EngineOptions::default() };
    let benchmark = Benchmark { batch_size: 1, warm_up: 2, iterations: images.len().min(20) };
    let measured = |backend: &dyn Backend| -> Result<Measured> {
        let mut model = Model::load(onnx, None, backend, &options)?;
        benchmark.run(&mut model, images, &mut || true)?.context("nobody stops it")
    };
    let theirs = measured(&OnnxRuntime::new(Some(library.to_owned())))?.network.p50_ms;
    let ours = measured(&Cpu)?;
    Ok(json!({
        "model": name, "cpu_ms": ours.network.p50_ms, "onnxruntime_ms": theirs, "ratio": theirs / ours.network.p50_ms,
        "suppress_ms": ours.suppress.p50_ms,
    }))
}

/// Suppression of 22,743 boxes of 80 classes, one thread on both sides.
fn suppression(args: &Args) -> Result<Value> {
    const BOXES: usize = 22_743;
    const CLASSES: usize = 80;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let boxes: Vec<f32> = (0..BOXES)
        .flat_map(|_| {
            let [x, y, w, h] = [1.0, 1.0, 0.3, 0.3].map(|most: f32| rng.random::<f32>() * most);
            [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
        })
        .collect();
    // Most candidates score next to nothing.
    let scores: Vec<f32> = (0..BOXES * CLASSES).map(|_| rng.random::<f32>().powi(20)).collect();
    let config =
        NmsConfig { score_threshold: 0.3, iou_threshold: 0.5, top_k: BOXES, keep_top_k: BOXES * CLASSES };
    let rounds = 3 * args.rounds;
    let mut times = Vec::new();
    let mut kept = 0;
    for _ in 0..rounds {
        let started = Instant::now();
        kept = suppress(&boxes, &scores, CLASSES, &config).len();
        times.push(started.elapsed().as_secs_f64());
    }
    let dir = tempfile::tempdir()?;
    let write = |name: &str, values: &[f32]| -> Result<PathBuf> {
        let path = dir.path().join(name);
        fs::write(&path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())?;
        Ok(path)
    };
    let output = Command::new(&args.peer)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/nms.py"))
        .args([write("boxes", &boxes)?, write("scores", &scores)?])
        .args([
            CLASSES.to_string(),
            config.iou_threshold.to_string(),
            config.score_threshold.to_string(),
            rounds.to_string(),
        ])
        .output()?;
    let ours = median(times);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("No module named") {
        return Ok(json!({ "ms": ours * 1e3, "kept": kept, "not_compared": complaint.lines().last() }));
    }
    ensure!(output.status.success(), "{complaint}");
    let theirs: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(theirs["kept"] == kept, "{kept} boxes are kept here, {} there", theirs["kept"]);
    let seconds = theirs["seconds"].as_f64().context("seconds")?;
    Ok(json!({
        "ms": ours * 1e3, "torchvision_ms": seconds * 1e3, "torchvision": theirs["version"], "kept": kept, "ratio": seconds / ours,
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
