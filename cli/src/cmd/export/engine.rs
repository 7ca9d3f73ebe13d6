//! An engine that is built of the model as soon as it is written.

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_exporter::Batches;
use oxidet_graph::onnx::Batch;
use oxidet_proto::container::Passphrase;
use oxidet_proto::manifest::Precision;
use oxidet_runtime::{DetectorFacts, Device, EngineOptions, Profile};

use crate::calibration::Calibration;
use crate::console;
use crate::engine::read_float_layers;
use crate::engine_file::{BuilderArgs, EngineFile};
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::model;

/// Options about the engine.
#[derive(Args, Debug)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineFileArgs {
    /// Also build a TensorRT engine of the model, for the GPU of this computer; as oxidet gen_trt_engine does
    #[arg(long = "engine_file", value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Its layers are computed in the precision asked for, even where another is faster
    #[arg(short = 's', long = "strict_type_constraints")]
    strict: bool,
    /// Memory for building it, bytes [default: 2 GiB]
    #[arg(long = "max_workspace_size", value_name = "BYTES")]
    workspace: Option<u64>,
    #[command(flatten)]
    builder: BuilderArgs,
    #[arg(long = "onnx_route", hide = true)]
    onnx_route: Option<String>,
}

/// The engine to build.
pub(super) struct EngineJob<'a> {
    file: EngineFile<'a>,
    options: EngineOptions,
}

impl EngineFileArgs {
    /// Whether an engine is built.
    pub fn is_asked_for(&self) -> bool {
        self.engine.is_some()
    }

    /// Finds what builds it and adds its files, before the work on the model begins.
    pub fn prepare(
        &self,
        batches: Batches,
        batch: Batch,
        plan: &mut FilePlan,
    ) -> Result<Option<EngineJob<'_>>, Failure> {
        if self.onnx_route.is_some() {
            console::warn("--onnx_route has no effect: there is one way to ONNX");
        }
        let Some(path) = &self.engine else {
            let idle = [
                ("--strict_type_constraints", self.strict),
                ("--max_workspace_size", self.workspace.is_some()),
                ("--builder", self.builder.is_given()),
            ];
            if let Some((name, _)) = idle.into_iter().find(|(_, given)| *given) {
                console::warn(&format!("{name} has no effect without --engine_file: no engine is built"));
            }
            return Ok(None);
        };
        let file = self.builder.engine(path)?;
        file.check_files(plan)?;
        let images = |images: u32| images as usize;
        let profile = match batch {
            Batch::Static(n) => Profile::fixed(images(n)),
            Batch::Dynamic => {
                Profile { min: images(batches.min), opt: images(batches.opt), max: images(batches.max) }
            }
        };
        let options = EngineOptions {
            device: Device::TensorRt(0),
            profile,
            strict: self.strict,
            workspace: Some(self.workspace.unwrap_or(2 << 30)),
            ..EngineOptions::default()
        };
        file.probe(&options)?;
        Ok(Some(EngineJob { file, options }))
    }
}

impl EngineJob<'_> {
    /// Builds it of the written model; `ranges` are its own if it is to be INT8 and does not hold them, `float_layers` lists those that
    /// stay in float then.
    pub fn build(
        self,
        model: &Path,
        passphrase: Option<&Passphrase>,
        precision: Precision,
        ranges: Option<&Calibration>,
        float_layers: Option<&Path>,
    ) -> Result<(), Failure> {
        let onnx = model::read_onnx(model, passphrase)?;
        let artifact = model::artifact(model, &onnx, None)?;
        let takes_ranges = precision == Precision::Int8 && !artifact.is_quantized();
        let mut options = EngineOptions { precision, ..self.options };
        if takes_ranges {
            options.calibration_cache = ranges.map(Calibration::cache_text).transpose()?;
            options.float_layers = float_layers.map(read_float_layers).transpose()?.unwrap_or_default();
        }
        self.file.build(model, &onnx, &options, DetectorFacts::of(&artifact)).map(drop)
    }
}
