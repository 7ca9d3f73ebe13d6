//! `oxidet gen_trt_engine`

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use oxidet_proto::container::{self, Kind, Sniffed};
use oxidet_proto::lint::Verb;
use oxidet_proto::precision_list;
use oxidet_runtime::tensorrt::{BuildError, Progress};
use oxidet_runtime::{Artifact, Backend, Device, EngineOptions, Profile, TensorRt};
use oxidet_vision::Preprocess;
use zeroize::Zeroizing;

use crate::console;
use crate::engine::{self, DataType};
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files;
use crate::key::KeyArgs;
use crate::model;
use crate::progress;
use crate::spec;
use crate::status::StatusLog;
use crate::stop;

/// Build a TensorRT engine of an exported model, on the device it is for
#[derive(Args, Debug)]
#[command(
    after_help = "Needs TensorRT and a GPU, and once `oxidet tensorrt build-shim`; `oxidet doctor` says what is missing. INT8 needs a model \
    with Q/DQ pairs or a calibration cache (oxidet calibrate, on any computer).\n\nExamples:\n  \
    oxidet gen_trt_engine -m model.onnx --engine_file model.engine --data_type fp16 --max_batch_size 8\n  \
    oxidet gen_trt_engine -m model.etlt -k KEY -e spec.txt --engine_file model.engine --data_type int8 --cal_cache_file cal.bin"
)]
pub struct GenTrtEngineArgs {
    /// .onnx or .etlt
    #[arg(short = 'm', long = "model_path", value_name = "MODEL")]
    model: PathBuf,
    /// Engine to write
    #[arg(long = "engine_file", value_name = "FILE")]
    engine: PathBuf,
    /// Experiment spec; the model must be for it
    #[arg(short = 'e', long = "experiment_spec", value_name = "SPEC")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Precision [default: int8 of a model with Q/DQ pairs, fp32 of others]
    #[arg(long = "data_type", value_name = "TYPE", value_enum)]
    data_type: Option<DataType>,
    /// Calibration cache, the ranges of a float model
    #[arg(long = "cal_cache_file", value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Layers that stay in half precision: a name a line, as calibrate --layer-report writes them
    #[arg(long = "fp16_layers", value_name = "FILE")]
    fp16_layers: Option<PathBuf>,
    /// Fewest images at once
    #[arg(long = "min_batch_size", value_name = "N", default_value_t = 1)]
    min_batch: usize,
    /// As many images at once as the engine is tuned for [default: the most]
    #[arg(long = "opt_batch_size", value_name = "N")]
    opt_batch: Option<usize>,
    /// Most images at once
    #[arg(long = "max_batch_size", value_name = "N", default_value_t = 1)]
    max_batch: usize,
    /// Memory for building, GiB
    #[arg(long = "max_workspace_size", value_name = "GIB", default_value_t = 2)]
    workspace: u64,
    /// Layers are computed in the precision asked for, even where another is faster
    #[arg(short = 's', long = "strict_type_constraints")]
    strict: bool,
    /// GPU, or with --dla a core of the accelerator
    #[arg(long = "device_id", value_name = "N", default_value_t = 0)]
    device: u32,
    /// Build for a deep learning accelerator; what it cannot compute falls to the GPU
    #[arg(long)]
    dla: bool,
    /// Library of plugins that the model needs; may be repeated
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
    /// Folder that keeps timings, which make the next build faster
    #[arg(long = "timing-cache", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Folder for status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
    /// Replace an existing engine
    #[arg(long)]
    force: bool,
}

pub fn run(args: &GenTrtEngineArgs) -> Result<(), Failure> {
    StatusLog::around(args.results_dir.as_deref(), "YOLOv4 TensorRT engine", |_| {
        let inputs = [&args.model].into_iter().chain(&args.spec).chain(&args.cache).chain(&args.fp16_layers);
        FilePlan::new(args.force, inputs).writes(&args.engine)?;
        let onnx = args.onnx()?;
        let artifact = model::artifact(&args.model, &onnx, None)?;
        args.check_fits(&artifact)?;
        let options = args.options(&artifact)?;
        let backend = TensorRt::new();
        let found = backend.probe().map_err(|error| Failure::environment(error.to_string()))?;
        console::info(&format!("{} on {}", found.version, found.devices.join(", ")));
        let stop = stop::on_signal()?;
        let bar = progress::counter("steps of the builder");
        let built = backend.build(&onnx, &options, &mut |step| {
            if let Progress::Step { .. } = step {
                bar.inc(1);
            }
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        bar.finish_and_clear();
        let built = built.map_err(|error| match error {
            BuildError::Cancelled => Failure::interrupted("stopped; no engine is written"),
            BuildError::Unavailable(error) => Failure::environment(error.to_string()),
            BuildError::Failed(error) => engine::failure(&args.model, &error),
            error => Failure::data(error.to_string()),
        })?;
        files::write(&args.engine, &built.plan)?;
        console::print(&format!(
            "{}: {} MB, {}; it runs with this version of TensorRT on this kind of GPU",
            args.engine.display(),
            built.plan.len() >> 20,
            found.version
        ));
        Ok(((), serde_json::json!({ "size": built.plan.len() as f64 / f64::from(1 << 20) })))
    })
}

impl GenTrtEngineArgs {
    /// The model in the clear.
    fn onnx(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let bytes = files::read(&self.model)?;
        match (container::sniff(&bytes), self.key.passphrase()?) {
            (Sniffed::Oxidet { .. }, Some(passphrase)) => container::open(Kind::Onnx, &bytes, &passphrase)
                .map_err(|error| Failure::data(format!("{}: {error}", self.model.display()))),
            _ => Ok(Zeroizing::new(bytes)),
        }
    }

    fn check_fits(&self, artifact: &Artifact) -> Result<(), Failure> {
        let (Some(path), Some(metadata)) = (&self.spec, artifact.metadata()) else { return Ok(()) };
        let spec = spec::read(path, Verb::Export, false)?;
        let preprocess: &Preprocess = &metadata.preprocess;
        model::check_fits(&self.model, &metadata.labels, preprocess, &spec)
    }

    fn options(&self, artifact: &Artifact) -> Result<EngineOptions, Failure> {
        let opt = self.opt_batch.unwrap_or(self.max_batch);
        let profile = Profile::new(self.min_batch, opt, self.max_batch)
            .map_err(|error| Failure::usage(error.to_string()))?;
        // A model of fixed batches has one profile.
        let profile = artifact.signature().batch.map_or(profile, |n| Profile { min: n, opt: n, max: n });
        let float_layers = match &self.fp16_layers {
            Some(path) => precision_list::parse(&path.to_string_lossy(), &files::read_text(path)?)
                .map_err(|error| Failure::usage(error.to_string()))?,
            None => BTreeSet::new(),
        };
        let own = if artifact.is_quantized() { DataType::Int8 } else { DataType::Fp32 };
        let workspace = self.workspace.checked_mul(1 << 30);
        Ok(EngineOptions {
            device: if self.dla { Device::Dla(self.device) } else { Device::TensorRt(self.device) },
            precision: self.data_type.unwrap_or(own).into(),
            profile,
            calibration_cache: self.cache.as_deref().map(files::read).transpose()?,
            float_layers,
            strict: self.strict,
            workspace: Some(workspace.ok_or_else(|| Failure::usage("--max_workspace_size: too many GiB"))?),
            cache_dir: self.cache_dir.clone(),
            plugins: self.plugins.clone(),
            ..EngineOptions::default()
        })
    }
}
