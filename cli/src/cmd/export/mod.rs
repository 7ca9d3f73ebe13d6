//! `oxidet export`

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use oxidet_exporter::{HalfRoute, Int8Route, Target, tensor_scales, without_quantizers};
use oxidet_graph::Checkpoint;
use oxidet_graph::onnx::{Batch, NmsTail, OPSETS, QUANTIZED_OPSET};
use oxidet_proto::lint::Verb;
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use serde_json::json;

use crate::console;
use crate::exit::Failure;
use crate::files;
use crate::key::KeyArgs;
use crate::model;
use crate::spec;
use crate::status::StatusLog;

mod job;
mod not_yet;

pub use job::ExportJob;
use not_yet::NotYet;

/// Write a checkpoint as ONNX, plain or encrypted, and check it
#[derive(Args, Debug)]
#[command(
    after_help = "Writes labels.txt and manifest.json beside the model. The written file is opened again, run on a few \
    images and compared with the checkpoint, its suppression included.\n\nExamples:\n  \
    oxidet export -m model.tlt -e spec.txt -o model.onnx\n  \
    oxidet export -m model.tlt -o model.onnx --target trt11 --data_type fp16      half precision\n  \
    oxidet export -m model.tlt -o model.onnx --target trt10 --nms efficient\n  \
    oxidet export -m model.tlt -o model.onnx --target ort --nms onnx              no plugins\n  \
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
    #[arg(long = "cal_json_file", value_name = "FILE")]
    cal_json_file: Option<PathBuf>,
    /// Of a model trained with quantisation, write the float network alone
    #[arg(long = "force_ptq")]
    force_ptq: bool,
    /// What the model is for; decides the suppression node and how INT8 and half precision are had (docs/targets.md)
    #[arg(long, value_name = "TARGET", default_value = Target::default().facts().name, value_parser = target_parser())]
    target: Target,
    /// Suppression at the end of the model [default: that of the target]. batched: BatchedNMSDynamic_TRT; efficient:
    /// EfficientNMS_TRT; onnx: NonMaxSuppression; none: boxes and scores are the outputs
    #[arg(long = "nms", value_name = "TAIL", value_parser = tail_parser(), hide_possible_values = true)]
    tail: Option<NmsTail>,
    /// Precision. fp16: float16 layers, or for targets whose engine builder makes them a hint how; int8: for models trained with
    /// quantisation [default: int8 for those, fp32 for others]
    #[arg(long = "data_type", value_name = "TYPE", value_enum)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DataType {
    Fp32,
    Fp16,
    Int8,
}

fn target_parser() -> impl TypedValueParser<Value = Target> {
    PossibleValuesParser::new(Target::ALL.map(|target| target.facts().name)).map(|name| {
        let named = Target::ALL.into_iter().find(|target| target.facts().name == name);
        named.expect("the parser lets through only these names")
    })
}

fn tail_parser() -> impl TypedValueParser<Value = NmsTail> {
    PossibleValuesParser::new(NmsTail::ALL.map(NmsTail::name)).map(|name| {
        let named = NmsTail::ALL.into_iter().find(|tail| tail.name() == name);
        named.expect("the parser lets through only these names")
    })
}

pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    args.other.check()?;
    let tail = args.target.tail(args.tail).map_err(|error| Failure::usage(error.to_string()))?;
    let float = args.target.float_type(args.data_type == Some(DataType::Fp16));
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
        let job = ExportJob { checkpoint: &checkpoint, spec: &spec, opset, batch, tail, float };
        args.check_scale_file(&output)?;
        let scale_file = match (&args.cal_json_file, &scales) {
            (Some(path), Some(scales)) => {
                Some((path, files::stage(path, scales.to_json().as_bytes())?, scales.tensor_scales.len()))
            }
            _ => None,
        };
        let verified = job.write(&output, passphrase.as_ref(), args.force)?;
        console::print(&format!("{}: {verified}", output.display()));
        if let Some((path, staged, tensors)) = scale_file {
            staged.commit()?;
            console::print(&format!("{}: ranges of {tensors} tensors", path.display()));
        }
        if quantized {
            console::info(
                "the model holds its quantisers (Q/DQ): engines run it in INT8 as it was trained, without calibration",
            );
        }
        if args.data_type == Some(DataType::Fp16) {
            args.tell_of_half();
        }
        let parameters = checkpoint.detector.graph.param_count();
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
            Some(DataType::Fp16) if quantized && !self.force_ptq && self.cal_json_file.is_none() => {
                return refuse(
                    "--data_type fp16: the model was trained with quantisation, and with Q/DQ it is INT8 and single precision; \
                     --data_type int8 writes that, --data_type fp16 --force_ptq the network without its quantisers",
                );
            }
            Some(DataType::Int8) if !quantized || self.force_ptq => {
                return refuse(
                    "--data_type int8 without training with quantisation (enable_qat) is not supported yet; \
                     export fp32 and calibrate when the engine is built",
                );
            }
            _ => {}
        }
        let facts = self.target.facts();
        if self.cal_json_file.is_some() && !facts.int8.contains(&Int8Route::Cache) {
            return refuse(&format!(
                "--cal_json_file: {} takes no ranges beside the model; without it the model holds its quantisers (Q/DQ)",
                facts.title
            ));
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
            if self.cal_json_file.is_some() {
                console::warn("--cal_json_file has no effect: --force_ptq leaves the ranges out");
            }
            return Ok((without_quantizers(&checkpoint), None));
        }
        if self.cal_json_file.is_some() {
            return Ok((without_quantizers(&checkpoint), Some(tensor_scales(&checkpoint)?)));
        }
        if self.data_type == Some(DataType::Fp32) {
            return Ok((without_quantizers(&checkpoint), None));
        }
        Ok((checkpoint, None))
    }

    /// Says where half precision is.
    fn tell_of_half(&self) {
        let facts = self.target.facts();
        match facts.half {
            HalfRoute::BuilderFlag(how) => console::info(&format!(
                "the model is single precision; for {} half is asked for when the engine is built: {how}",
                facts.title
            )),
            HalfRoute::Model => console::info(
                "the layers are float16; input, decoding, suppression and outputs are single precision",
            ),
        }
    }

    /// Whether the scale file would take the place of another.
    fn check_scale_file(&self, output: &Path) -> Result<(), Failure> {
        let Some(path) = &self.cal_json_file else { return Ok(()) };
        let taken = [
            self.model.clone(),
            output.to_owned(),
            output.with_file_name("labels.txt"),
            output.with_file_name("manifest.json"),
        ];
        match taken.iter().find(|taken| files::is_same(path, taken)) {
            Some(taken) => Err(Failure::usage(format!(
                "--cal_json_file is {}, which would be lost; give the ranges another name",
                taken.display()
            ))),
            None => Ok(()),
        }
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
