//! `oxidet gen_trt_engine`

mod ranges;

use std::path::PathBuf;

use clap::Args;
use oxidet_graph::{nms_from_spec, preprocess_from_spec};
use oxidet_proto::lint::{Checked, Verb};
use oxidet_runtime::{Artifact, DetectorFacts, Device, EngineOptions, Profile};

use crate::engine::{DataType, read_float_layers};
use crate::engine_file::BuilderArgs;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files;
use crate::key::KeyArgs;
use crate::model;
use crate::spec;
use crate::status::StatusLog;
use ranges::RangeArgs;

/// Build a TensorRT engine of an exported model, on the device it is for
#[derive(Args, Debug)]
#[command(
    after_help = "Needs a GPU, and TensorRT: its library (once `oxidet tensorrt build-shim`), its program trtexec, or ONNX Runtime with it; \
    `oxidet doctor` says what is missing. INT8 needs a model with Q/DQ pairs or a calibration cache (oxidet calibrate, on any \
    computer). What the engine does not say about itself goes to a .json beside it, so that it runs without the spec.\n\nExamples:\n  \
    oxidet gen_trt_engine -m model.onnx --engine_file model.engine --data_type fp16 --max_batch_size 8\n  \
    oxidet gen_trt_engine -m model.etlt -k KEY -e spec.txt --engine_file model.engine --data_type int8 --cal_cache_file cal.bin\n  \
    oxidet gen_trt_engine -m model.onnx --engine_file model.engine --builder trtexec"
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
    #[command(flatten)]
    builder: BuilderArgs,
    #[command(flatten)]
    ranges: RangeArgs,
}

pub fn run(args: &GenTrtEngineArgs) -> Result<(), Failure> {
    StatusLog::around(args.results_dir.as_deref(), "YOLOv4 TensorRT engine", |_| {
        let file = args.builder.engine(&args.engine)?;
        let mut plan =
            FilePlan::new(args.force, [&args.model].into_iter().chain(&args.spec).chain(&args.fp16_layers));
        args.ranges.check_files(&mut plan)?;
        file.check_files(&mut plan)?;
        let onnx = model::read_onnx(&args.model, args.key.passphrase()?.as_ref())?;
        let artifact = model::artifact(&args.model, &onnx, None)?;
        let facts = args.facts(&artifact)?;
        let options = args.options(&artifact)?;
        let version = file.probe(&options)?;
        let calibration_cache = if args.data_type == Some(DataType::Int8) {
            args.ranges.cache(&args.model, &artifact, args.spec.as_deref(), version)?
        } else {
            args.ranges.tell_of_idle_options();
            args.ranges.named_cache().map(files::read).transpose()?
        };
        let options = EngineOptions { calibration_cache, ..options };
        let size = file.build(&args.model, &onnx, &options, facts)?;
        Ok(((), serde_json::json!({ "size": size })))
    })
}

impl GenTrtEngineArgs {
    /// What the engine will not say: as the model says it, or the spec. The model must be for the spec.
    fn facts(&self, artifact: &Artifact) -> Result<Option<DetectorFacts>, Failure> {
        let own = DetectorFacts::of(artifact);
        let Some(path) = &self.spec else { return Ok(own) };
        let spec = spec::read(path, Verb::Export, false)?;
        if let Some(metadata) = artifact.metadata() {
            model::check_fits(&self.model, &metadata.labels, &metadata.preprocess, &spec)?;
        }
        let facts = own.unwrap_or_else(|| facts_of_spec(&spec, artifact));
        model::check_signature(&self.model, artifact.signature(), &facts.preprocess, facts.classes.len())?;
        Ok(Some(facts))
    }

    fn options(&self, artifact: &Artifact) -> Result<EngineOptions, Failure> {
        let opt = self.opt_batch.unwrap_or(self.max_batch);
        let profile = Profile::new(self.min_batch, opt, self.max_batch)
            .map_err(|error| Failure::usage(error.to_string()))?;
        // A model of fixed batches has one profile.
        let profile = artifact.signature().batch.map_or(profile, Profile::fixed);
        let float_layers =
            self.fp16_layers.as_deref().map(read_float_layers).transpose()?.unwrap_or_default();
        let workspace = self.workspace.checked_mul(1 << 30);
        Ok(EngineOptions {
            device: if self.dla { Device::Dla(self.device) } else { Device::TensorRt(self.device) },
            precision: self.data_type.map_or(artifact.precision(), Into::into),
            profile,
            float_layers,
            strict: self.strict,
            workspace: Some(workspace.ok_or_else(|| Failure::usage("--max_workspace_size: too many GiB"))?),
            cache_dir: self.cache_dir.clone(),
            plugins: self.plugins.clone(),
            ..EngineOptions::default()
        })
    }
}

/// Of a model of another program: the spec says all, but how the model suppresses if it does.
fn facts_of_spec(spec: &Checked, artifact: &Artifact) -> DetectorFacts {
    DetectorFacts {
        classes: spec.classes().names().to_vec(),
        preprocess: preprocess_from_spec(spec.augmentation()),
        nms: artifact.suppression().map_or_else(|| nms_from_spec(spec.nms()), |suppression| suppression.nms),
    }
}
