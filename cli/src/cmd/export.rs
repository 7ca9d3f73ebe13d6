//! `oxidet export`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use oxidet_exporter::{
    ExportRequest, Exported, Verification, export, tensor_scales, verify, without_quantizers,
};
use oxidet_graph::onnx::{Batch, OPSETS, QUANTIZED_OPSET};
use oxidet_graph::{Checkpoint, nms_from_spec};
use oxidet_proto::container::{self, KdfParams, Kind, Passphrase};
use oxidet_proto::lint::{Checked, Verb};
use oxidet_proto::manifest::Manifest;
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::interp::Executor;
use oxidet_vision::{Picture, Preprocess};
use serde_json::json;

use crate::console;
use crate::data::DataArgs;
use crate::demo::scene;
use crate::exit::Failure;
use crate::files;
use crate::key::KeyArgs;
use crate::model;
use crate::spec;
use crate::status::StatusLog;

/// Images the written model is compared with its checkpoint on.
const SAMPLES: usize = 4;

/// Write a checkpoint as ONNX, plain or encrypted, and check it
#[derive(Args, Debug)]
#[command(
    after_help = "Writes labels.txt and manifest.json beside the model. The written file is opened again, run on a few \
    images and compared with the checkpoint.\n\nExamples:\n  \
    oxidet export -m model.tlt -e spec.txt -o model.onnx\n  \
    oxidet export -m model.tlt -e spec.txt -o model.etlt --key-file key.txt       encrypted\n  \
    oxidet export -m model.tlt -o model.onnx --static_batch_size 1 --target_opset 17\n  \
    oxidet export -m qat.tlt -o model.onnx                                        INT8, with Q/DQ\n  \
    oxidet export -m qat.tlt -o model.onnx --cal_json_file cal.json               float, with ranges"
)]
pub struct ExportArgs {
    /// Checkpoint
    #[arg(short = 'm', long, value_name = "MODEL")]
    model: PathBuf,
    /// Experiment spec; without it, the one the checkpoint was trained from
    #[arg(short = 'e', long = "experiment_spec", alias = "experiment_spec_file", value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// .onnx or, encrypted, .etlt; by default the model's path with .onnx
    #[arg(short = 'o', long = "output_file", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Images per batch of the model; -1 leaves it open
    #[arg(long = "static_batch_size", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    static_batch_size: i64,
    /// ONNX opset, 11 to 20 [default: 12; 13 for Q/DQ, the least it needs]
    #[arg(long = "target_opset", value_name = "N", value_parser = clap::value_parser!(i64).range(OPSETS))]
    target_opset: Option<i64>,
    /// Of a model trained with quantisation, write the float network, and the ranges of its tensors to this file, as builders of
    /// TensorRT 8 to 10 engines take them
    #[arg(long = "cal_json_file", value_name = "FILE", conflicts_with = "force_ptq")]
    cal_json_file: Option<PathBuf>,
    /// Of a model trained with quantisation, write the float network alone
    #[arg(long = "force_ptq")]
    force_ptq: bool,
    /// Precision: int8 is for models trained with quantisation, which it is the default for
    #[arg(long = "data_type", hide = true, value_enum)]
    data_type: Option<DataType>,
    /// Replace an existing model
    #[arg(long)]
    force: bool,
    /// Folder for status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
    #[command(flatten)]
    other: NotYet,
}

/// Options of the original that this version does not act on. They are refused by name.
#[derive(Args, Debug)]
struct NotYet {
    #[arg(long = "gen_ds_config", hide = true)]
    gen_ds_config: bool,
    #[arg(long = "engine_file", hide = true)]
    engine_file: Option<PathBuf>,
    #[arg(long = "cal_data_file", hide = true)]
    cal_data_file: Option<PathBuf>,
    #[arg(long = "cal_image_dir", hide = true)]
    cal_image_dir: Option<PathBuf>,
    #[arg(long = "cal_cache_file", hide = true)]
    cal_cache_file: Option<PathBuf>,
    #[arg(short = 's', long = "strict_type_constraints", hide = true)]
    strict_type_constraints: bool,
    #[arg(long = "batches", hide = true)]
    batches: Option<u32>,
    #[arg(long = "batch_size", hide = true)]
    batch_size: Option<u32>,
    #[arg(long = "min_batch_size", hide = true)]
    min_batch_size: Option<u32>,
    #[arg(long = "opt_batch_size", hide = true)]
    opt_batch_size: Option<u32>,
    #[arg(long = "max_batch_size", hide = true)]
    max_batch_size: Option<u32>,
    #[arg(long = "max_workspace_size", hide = true)]
    max_workspace_size: Option<u64>,
    #[arg(long = "onnx_route", hide = true)]
    onnx_route: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DataType {
    Fp32,
    Fp16,
    Int8,
}

impl NotYet {
    fn check(&self) -> Result<(), Failure> {
        let refused = [
            (
                "--gen_ds_config",
                self.gen_ds_config,
                "labels.txt and manifest.json hold what the DeepStream file needs",
            ),
            (
                "--engine_file",
                self.engine_file.is_some(),
                "build the engine on the device it is for: trtexec --onnx=model.onnx --saveEngine=model.engine",
            ),
            ("--cal_data_file", self.cal_data_file.is_some(), CALIBRATE),
            ("--cal_image_dir", self.cal_image_dir.is_some(), CALIBRATE),
            ("--cal_cache_file", self.cal_cache_file.is_some(), CALIBRATE),
        ];
        if let Some((name, _, instead)) = refused.iter().find(|(_, given, _)| *given) {
            return Err(Failure::usage(format!("{name} is not supported yet; {instead}")));
        }
        let idle = [
            ("--strict_type_constraints", self.strict_type_constraints),
            ("--batches", self.batches.is_some()),
            ("--batch_size", self.batch_size.is_some()),
            ("--min_batch_size", self.min_batch_size.is_some()),
            ("--opt_batch_size", self.opt_batch_size.is_some()),
            ("--max_batch_size", self.max_batch_size.is_some()),
            ("--max_workspace_size", self.max_workspace_size.is_some()),
            ("--onnx_route", self.onnx_route.is_some()),
        ];
        for (name, _) in idle.iter().filter(|(_, given)| *given) {
            console::warn(&format!("{name} has no effect: no engine is built and nothing calibrated"));
        }
        Ok(())
    }
}

const CALIBRATE: &str = "calibrate when the engine is built";

pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    args.other.check()?;
    let output = output(args.output.as_deref(), &args.model);
    let batch = match u32::try_from(args.static_batch_size) {
        Ok(0) => {
            return Err(Failure::usage("--static_batch_size 0: a batch needs an image; -1 leaves it open"));
        }
        Ok(images) => Batch::Static(images),
        Err(_) if args.static_batch_size == -1 => Batch::Dynamic,
        Err(_) => return Err(Failure::usage("--static_batch_size: give a number of images, or -1")),
    };
    StatusLog::around(args.results_dir.as_deref(), "YOLOv4 export", |_| {
        let passphrase = args.key.passphrase()?;
        let checkpoint = read_checkpoint(&args.model, passphrase.as_ref())?;
        let spec = match &args.spec {
            Some(path) => spec::read(path, Verb::Export, false)?,
            None => spec::check(
                &format!("{} (its spec)", args.model.display()),
                &checkpoint.spec,
                Verb::Export,
                false,
            )?,
        };
        model::check_fits(&args.model, &checkpoint.detector.classes, &checkpoint.detector.preprocess, &spec)?;
        let (checkpoint, scales) = args.quantization(checkpoint)?;
        let quantized = checkpoint.detector.graph.is_quantized();
        let opset = args.target_opset.unwrap_or(if quantized { QUANTIZED_OPSET } else { 12 });
        if quantized && opset < QUANTIZED_OPSET {
            return Err(Failure::usage(format!(
                "--target_opset {opset}: the model was trained with quantisation, which needs opset {QUANTIZED_OPSET} or later; \
                 --cal_json_file or --force_ptq write a float model"
            )));
        }
        let job = ExportJob { checkpoint: &checkpoint, spec: &spec, opset, batch };
        let verification = job.write(&output, passphrase.as_ref(), args.force)?;
        console::print(&format!("{}: {verification}", output.display()));
        if let (Some(path), Some(scales)) = (&args.cal_json_file, scales) {
            files::write(path, scales.to_json().as_bytes())?;
            console::print(&format!("{}: ranges of {} tensors", path.display(), scales.tensor_scales.len()));
        } else if quantized {
            console::info(
                "the model holds its quantisers (Q/DQ): engines run it in INT8 as it was trained, without calibration",
            );
        }
        let parameters: usize = checkpoint.params.iter().map(|(_, tensor)| tensor.data().len()).sum();
        let bytes = std::fs::metadata(&output).map_err(|error| Failure::io(&output, &error))?.len();
        Ok(((), json!({ "param_count": parameters as f64 / 1e6, "size": bytes as f64 / f64::from(1 << 20) })))
    })
}

impl ExportArgs {
    /// What to write of a model: as it is, or without its quantisers, and then their ranges if they are asked for.
    fn quantization(&self, checkpoint: Checkpoint) -> Result<(Checkpoint, Option<TensorScales>), Failure> {
        let refuse = |what: &str| Err(Failure::usage(what.to_owned()));
        let quantized = checkpoint.detector.graph.is_quantized();
        match self.data_type {
            Some(DataType::Fp16) => {
                return refuse(
                    "--data_type fp16 is not supported yet; export fp32 and let the engine builder choose: \
                     trtexec --onnx=model.onnx --fp16",
                );
            }
            Some(DataType::Int8) if !quantized || self.force_ptq => {
                return refuse(
                    "--data_type int8 without training with quantisation (enable_qat) is not supported yet; \
                     export fp32 and calibrate when the engine is built",
                );
            }
            Some(DataType::Fp32) if quantized && self.cal_json_file.is_none() && !self.force_ptq => {
                return refuse(
                    "--data_type fp32: the model was trained with quantisation; --force_ptq leaves that out, --cal_json_file writes \
                     a float model and its ranges",
                );
            }
            _ => {}
        }
        if !quantized {
            if self.cal_json_file.is_some() {
                return refuse(
                    "--cal_json_file: the model has no ranges to write, it was not trained with quantisation (enable_qat)",
                );
            }
            if self.force_ptq {
                console::warn("--force_ptq has no effect: the model was not trained with quantisation");
            }
            return Ok((checkpoint, None));
        }
        if self.force_ptq {
            return Ok((without_quantizers(&checkpoint), None));
        }
        if self.cal_json_file.is_some() {
            return Ok((without_quantizers(&checkpoint), Some(tensor_scales(&checkpoint)?)));
        }
        Ok((checkpoint, None))
    }
}

/// Where the model goes. As in the original, a name that is not an `.onnx` (or `.etlt`) gets `.onnx` appended.
fn output(given: Option<&Path>, model: &Path) -> PathBuf {
    let Some(path) = given else { return model.with_extension("onnx") };
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    if extension == "onnx" || extension == "etlt" {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".onnx");
    name.into()
}

/// What is exported, and how.
pub struct ExportJob<'a> {
    pub checkpoint: &'a Checkpoint,
    /// Says how to suppress, and where sample images are.
    pub spec: &'a Checked,
    pub opset: i64,
    pub batch: Batch,
}

impl ExportJob<'_> {
    /// Writes the model, encrypted when its name ends in `.etlt`, with labels and manifest beside it; once it is in place it has
    /// been read back, run and found to agree with the checkpoint.
    pub fn write(
        &self,
        output: &Path,
        passphrase: Option<&Passphrase>,
        force: bool,
    ) -> Result<Verification, Failure> {
        if !force && output.exists() {
            return Err(Failure::usage(format!("{} exists; --force replaces it", output.display())));
        }
        let encrypted = output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("etlt"));
        let request = ExportRequest {
            opset: self.opset,
            batch: self.batch,
            nms: nms_from_spec(self.spec.nms()),
            score_bits: self.spec.nms().infer_nms_score_bits,
            model_file: output.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            encrypted,
        };
        let Exported { onnx, labels, manifest } = export(self.checkpoint, &request)?;
        let bytes = match (encrypted, passphrase) {
            (true, Some(passphrase)) => seal(&onnx, passphrase)?,
            (true, None) => {
                return Err(Failure::usage(
                    "an .etlt is encrypted: give its key with -k, --key-file or OXIDET_KEY",
                ));
            }
            (false, _) => onnx,
        };
        let staged = files::stage(output, &bytes)?;
        let verification = self.verify(staged.path(), passphrase)?;
        if !verification.agrees() {
            return Err(Failure::no(format!(
                "the exported model does not compute what the checkpoint computes, and was not kept: {verification}"
            )));
        }
        let beside = |name: &str| output.with_file_name(name);
        warn_of_other_model(&beside("manifest.json"), &manifest);
        files::write(&beside("labels.txt"), labels.as_bytes())?;
        files::write(&beside("manifest.json"), manifest.to_json().as_bytes())?;
        staged.commit()?;
        Ok(verification)
    }

    fn verify(&self, path: &Path, passphrase: Option<&Passphrase>) -> Result<Verification, Failure> {
        let artifact = model::read_artifact(path, passphrase)?;
        let mut exported = model::prepare(path, &artifact)?;
        let Checkpoint { detector, params, .. } = self.checkpoint;
        let mut reference =
            Executor::new(detector, params).map_err(|error| Failure::bug(error.to_string()))?;
        let inputs = samples(self.spec, &detector.preprocess);
        let nms = nms_from_spec(self.spec.nms());
        let quantized = detector.graph.is_quantized();
        verify(&mut reference, &mut *exported, &inputs, &nms, quantized)
            .map_err(|error| Failure::bug(error.to_string()))
    }
}

fn seal(onnx: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, Failure> {
    let mut random = [0; container::RANDOM_LEN];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::environment(format!("no random numbers: {error}")))?;
    container::seal(Kind::Onnx, onnx, passphrase, &random, KdfParams::default())
        .map_err(|error| Failure::environment(error.to_string()))
}

/// Inputs to compare on: the first validation images of the spec, or drawn scenes where they are not at hand.
fn samples(spec: &Checked, preprocess: &Preprocess) -> Vec<Vec<f32>> {
    let tensor = |picture: &Picture| {
        let mut tensor = vec![0.0; preprocess.tensor_len()];
        preprocess.apply(picture, &mut tensor);
        tensor
    };
    let validation = || {
        let (dataset, store) = DataArgs::default().open_validation(spec).ok()?;
        let images = (0..dataset.samples.len().min(SAMPLES)).map(|sample| store.get(&dataset, sample).ok());
        let tensors: Option<Vec<_>> = images.map(|image| Some(tensor(&*image?))).collect();
        tensors.filter(|tensors| !tensors.is_empty())
    };
    validation().unwrap_or_else(|| {
        console::info("the spec's validation images are not at hand: the check runs on drawn scenes");
        (0..SAMPLES as u64).map(|seed| tensor(&scene::draw(seed).image.into())).collect()
    })
}

/// A folder has one manifest; exporting another model into it takes it away from the first.
fn warn_of_other_model(path: &Path, new: &Manifest) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    match Manifest::parse(&path.to_string_lossy(), &text) {
        Ok(old) if old.model.onnx_sha256 != new.model.onnx_sha256 && old.model.file != new.model.file => {
            console::warn(&format!(
                "{} was about {}; it now describes {}",
                path.display(),
                old.model.file,
                new.model.file
            ));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs() {
        for (given, want) in [
            (None, "out/w/m_epoch_010.onnx"),
            (Some("x.onnx"), "x.onnx"),
            (Some("x.ETLT"), "x.ETLT"),
            (Some("onnx/x"), "onnx/x.onnx"),
            (Some("x.tlt"), "x.tlt.onnx"),
        ] {
            assert_eq!(output(given.map(Path::new), Path::new("out/w/m_epoch_010.tlt")), Path::new(want));
        }
    }
}
