//! What becomes of quantisation in an export: Q/DQ pairs in the model, ranges beside it, or neither.

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_exporter::{Int8Route, Target, tensor_scales, without_quantizers};
use oxidet_graph::Checkpoint;
use oxidet_graph::onnx::{NmsTail, QUANTIZED_OPSET};
use oxidet_proto::calibration_cache::TensorRtVersion;
use oxidet_proto::lint::Checked;
use oxidet_proto::manifest;
use oxidet_proto::tensor_scales::TensorScales;

use super::DataType;
use crate::calibration::{Calibration, CalibrationArgs, check_cache_version, record_path};
use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;

/// Name of the original's cache.
const CACHE: &str = "cal.bin";

/// Options about INT8.
#[derive(Args, Debug)]
pub(super) struct Int8Args {
    /// Calibration cache: for targets that take one, written beside a float model (default: cal.bin in its folder, of trt8 and
    /// deepstream). One that exists is read in place of calibrating
    #[arg(long = "cal_cache_file", value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// Write a float model, and the ranges of its tensors to this file, as builders of TensorRT 8 to 10 engines take them
    #[arg(long = "cal_json_file", value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Version of TensorRT that the cache is for; others pass over it [default: that of the target]
    #[arg(long, value_name = "VERSION")]
    pub trt: Option<TensorRtVersion>,
    /// Of a model trained with quantisation, leave its ranges out; with --data_type int8, calibrate it instead
    #[arg(long = "force_ptq")]
    pub force_ptq: bool,
    /// Evaluate the INT8 network beside the float one on the validation images
    #[arg(long)]
    pub preview: bool,
    #[command(flatten)]
    pub calibration: CalibrationArgs,
}

/// What a model is exported for.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub data_type: Option<DataType>,
    pub target: Target,
    pub tail: NmsTail,
    /// The opset that is asked for.
    pub opset: Option<i64>,
    /// The model's file.
    pub output: &'a Path,
}

/// A network as it is to be written.
pub(super) struct Plan {
    /// With quantisers, if the model is to hold them.
    pub checkpoint: Checkpoint,
    /// The network in INT8, where it is not that already: for a preview.
    pub int8: Option<Checkpoint>,
    /// The ranges to write beside it, and where.
    pub ranges: Option<Calibration>,
    pub cache: Option<(PathBuf, TensorRtVersion)>,
    pub json: Option<PathBuf>,
    /// A cache that is there already.
    pub existing: Option<PathBuf>,
}

impl Plan {
    fn of(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, int8: None, ranges: None, cache: None, json: None, existing: None }
    }

    /// What the ranges were measured on, for the manifest.
    pub fn record(&self) -> Option<manifest::Calibration> {
        let record = self.ranges.as_ref()?.record.as_ref()?;
        Some(manifest::Calibration {
            method: record.method.clone(),
            images: record.images,
            inputs_sha256: record.inputs_sha256.clone(),
            graph_sha256: record.graph_sha256.clone(),
            preprocess_sha256: record.preprocess_sha256.clone(),
        })
    }

    /// The cache that engines are built with.
    pub fn cache_file(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|(path, _)| path.clone()).or_else(|| self.existing.clone())
    }

    /// The files about the ranges that are there already.
    pub fn existing_files(&self) -> Vec<PathBuf> {
        let record = self.existing.as_ref().map(|path| record_path(path)).filter(|record| record.exists());
        self.existing.iter().cloned().chain(record).collect()
    }
}

impl Int8Args {
    /// Decides what is written of a checkpoint, and calibrates it if that is needed.
    pub fn plan(
        &self,
        checkpoint: Checkpoint,
        spec: &Checked,
        purpose: Purpose<'_>,
        files: &mut FilePlan,
    ) -> Result<Plan, Failure> {
        let Purpose { data_type, target, tail, output, .. } = purpose;
        let trained = checkpoint.detector.graph.is_quantized();
        if !trained && self.force_ptq && data_type != Some(DataType::Int8) {
            console::warn("--force_ptq has no effect: the model was not trained with quantisation");
        }
        if trained && !self.force_ptq {
            return self.plan_trained(checkpoint, purpose, files);
        }
        let checkpoint = if trained { without_quantizers(&checkpoint) } else { checkpoint };
        if data_type != Some(DataType::Int8) {
            self.tell_of_idle_options()?;
            return Ok(Plan::of(checkpoint));
        }
        let existing = self.cache.as_ref().filter(|path| path.exists() && !self.calibration.names_images());
        let asks_for_files = self.json.is_some() || self.cache.is_some() && existing.is_none();
        let route = if asks_for_files { Int8Route::Cache } else { target.facts().int8[0] };
        self.check_route(route, target)?;
        if route == Int8Route::QuantizedModel {
            self.check_quantized(purpose)?;
        }
        if let (Some(path), Some(option)) = (existing, self.calibration.measuring_option()) {
            return Err(Failure::usage(format!(
                "{}: this cache is there and is read in place of calibrating, so that {option} would have no effect; leave it out, or name \
                 another cache",
                path.display()
            )));
        }
        let writes_cache =
            route == Int8Route::Cache && existing.is_none() && (self.cache.is_some() || self.json.is_none());
        let cache = if writes_cache {
            let path = self.cache.clone().unwrap_or_else(|| output.with_file_name(CACHE));
            Some(self.new_cache(path, target, files)?)
        } else {
            None
        };
        self.check_json(files)?;
        let calibration = match existing {
            Some(path) => {
                let float_layers = self.calibration.float_layers(&checkpoint.detector.graph)?;
                Calibration::read(path, &checkpoint, float_layers)?
            }
            None => self.calibration.measure(&checkpoint, spec, tail)?,
        };
        let int8 = calibration.quantized().clone();
        if route == Int8Route::QuantizedModel {
            return Ok(Plan { ranges: Some(calibration), ..Plan::of(int8) });
        }
        if let Some(path) = existing {
            calibration.check_version(path, self.version(target)?)?;
            calibration.check_float_layers(path)?;
        }
        calibration.warn_of_layers_not_kept();
        Ok(Plan {
            checkpoint,
            int8: Some(int8),
            ranges: Some(calibration),
            cache,
            json: self.json.clone(),
            existing: existing.cloned(),
        })
    }

    /// A network that was trained with quantisation has its ranges.
    fn plan_trained(
        &self,
        checkpoint: Checkpoint,
        purpose: Purpose<'_>,
        files: &mut FilePlan,
    ) -> Result<Plan, Failure> {
        let Purpose { data_type, target, .. } = purpose;
        if let Some(option) = self.calibration.idle_option() {
            console::warn(&format!(
                "{option} has no effect: the model was trained with quantisation and has its ranges; --force_ptq calibrates it"
            ));
        }
        let asks_for_files = self.json.is_some() || self.cache.is_some();
        if data_type == Some(DataType::Fp16) {
            return Err(Failure::usage(
                "--data_type fp16: the model was trained with quantisation, and its ranges are for INT8; --data_type int8 writes them, \
                 --data_type fp16 --force_ptq the network without its quantisers",
            ));
        }
        if !asks_for_files {
            let float = data_type == Some(DataType::Fp32);
            if float && self.preview {
                console::warn("--preview has no effect without --data_type int8");
            }
            if !float {
                self.check_quantized(purpose)?;
            }
            return Ok(Plan::of(if float { without_quantizers(&checkpoint) } else { checkpoint }));
        }
        self.check_route(Int8Route::Cache, target)?;
        let cache = self.cache.clone().map(|path| self.new_cache(path, target, files)).transpose()?;
        self.check_json(files)?;
        let plain = without_quantizers(&checkpoint);
        let ranges = Calibration::trained(checkpoint.clone(), tensor_scales(&checkpoint)?)?;
        let json = self.json.clone();
        Ok(Plan { int8: Some(checkpoint), ranges: Some(ranges), cache, json, ..Plan::of(plain) })
    }

    fn check_route(&self, route: Int8Route, target: Target) -> Result<(), Failure> {
        let facts = target.facts();
        if facts.int8.contains(&route) {
            return Ok(());
        }
        let option = if self.json.is_some() { "--cal_json_file" } else { "--cal_cache_file" };
        Err(Failure::usage(format!(
            "{option}: {} takes no ranges beside the model; without it the model holds them (Q/DQ), and --target trt10 writes both \
             kinds of files",
            facts.title
        )))
    }

    /// A cache to write, and the TensorRT that it is for.
    fn new_cache(
        &self,
        path: PathBuf,
        target: Target,
        files: &mut FilePlan,
    ) -> Result<(PathBuf, TensorRtVersion), Failure> {
        files.writes(&path)?;
        files.writes(&record_path(&path))?;
        Ok((path, self.version(target)?))
    }

    /// A scale file to write: one takes the place of another.
    fn check_json(&self, files: &mut FilePlan) -> Result<(), Failure> {
        let Some(path) = &self.json else { return Ok(()) };
        let is_scales = |text: &String| TensorScales::parse("", text).is_ok();
        files.replaces(path, std::fs::read_to_string(path).ok().as_ref().is_some_and(is_scales))
    }

    /// Whether a model can hold its ranges as it is asked for.
    fn check_quantized(&self, purpose: Purpose<'_>) -> Result<(), Failure> {
        if self.trt.is_some() {
            return Err(Failure::usage(
                "--trt: the model holds its ranges (Q/DQ), and no calibration cache is written",
            ));
        }
        match purpose.opset {
            Some(opset) if opset < QUANTIZED_OPSET => {
                let beside = if purpose.target.facts().int8.contains(&Int8Route::Cache) {
                    "; --cal_cache_file, --cal_json_file and --data_type fp32 write a float model"
                } else {
                    ""
                };
                Err(Failure::usage(format!(
                    "--target_opset {opset}: the model holds its ranges (Q/DQ), which needs opset {QUANTIZED_OPSET} or later{beside}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn version(&self, target: Target) -> Result<TensorRtVersion, Failure> {
        let default = target.facts().cache_version.and_then(|(a, b, c)| TensorRtVersion::new(a, b, c));
        let version = self.trt.or(default);
        let version =
            version.ok_or_else(|| Failure::usage("--trt: the target reads no calibration cache"))?;
        check_cache_version(version)?;
        Ok(version)
    }

    /// What only counts for INT8 is told where there is none; a file that would not be written is no small thing.
    fn tell_of_idle_options(&self) -> Result<(), Failure> {
        if self.json.is_some() && !self.force_ptq {
            return Err(Failure::usage(
                "--cal_json_file: there are no ranges to write: the model was not trained with quantisation (enable_qat); \
                 --data_type int8 calibrates it",
            ));
        }
        let idle = [
            ("--cal_json_file", self.json.is_some()),
            ("--cal_cache_file", self.cache.is_some()),
            ("--preview", self.preview),
        ];
        let idle = idle.into_iter().find_map(|(name, given)| given.then_some(name));
        if let Some(option) = idle.or(self.calibration.idle_option()) {
            console::warn(&format!("{option} has no effect without --data_type int8"));
        }
        Ok(())
    }
}
