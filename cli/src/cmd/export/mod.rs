//! `oxidet export`

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use oxidet_exporter::{HalfRoute, Target, without_quantizers};
use oxidet_graph::onnx::{Batch, NmsTail, OPSETS, QUANTIZED_OPSET};
use oxidet_proto::lint::Verb;
use oxidet_proto::manifest::Precision;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use serde_json::json;

use crate::calibration::Preview;
use crate::console;
use crate::data::DataArgs;
use crate::engine::DataType;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files::NewFile;
use crate::key::KeyArgs;
use crate::model;
use crate::spec;
use crate::status::StatusLog;

mod bundle;
mod engine;
mod int8;
mod job;

pub use bundle::Bundle;
use bundle::{BundleArgs, is_encrypted};
use engine::EngineFileArgs;
use int8::{Int8Args, Plan};
pub use job::ExportJob;
use job::needs_key;

/// Write a checkpoint as ONNX, plain or encrypted, and check it
#[derive(Args, Debug)]
#[command(
    after_help = "Writes labels.txt and manifest.json beside the model (docs/deployment.md). The written file is opened again, run on a few \
    images and compared with the checkpoint, its suppression included.\n\nExamples:\n  \
    oxidet export -m model.tlt -e spec.txt -o model.onnx\n  \
    oxidet export -m model.tlt -o model.onnx --target trt11 --data_type fp16      half precision\n  \
    oxidet export -m model.tlt -o model.onnx --target trt10 --nms efficient\n  \
    oxidet export -m model.tlt -o model.onnx --target ort --nms onnx              no plugins\n  \
    oxidet export -m model.tlt -e spec.txt -o model.etlt --key-file key.txt       encrypted\n  \
    oxidet export -m model.tlt -o model.onnx --static_batch_size 1 --target_opset 17\n  \
    oxidet export -m model.tlt -e spec.txt -o model.onnx --data_type int8         float, and a cache of ranges\n  \
    oxidet export -m model.tlt -e spec.txt -o model.onnx --data_type int8 --target trt10 --preview    INT8, with Q/DQ\n  \
    oxidet export -m qat.tlt -o model.onnx                                        INT8 as it was trained\n  \
    oxidet export -m qat.tlt -o model.onnx --cal_json_file cal.json               float, with ranges\n  \
    oxidet export -m model.tlt -o ds/model.onnx --target deepstream --gen_ds_config --max_batch_size 4\n  \
    oxidet export -m model.tlt -o model.onnx --target trt10 --triton models --max_batch_size 16\n  \
    oxidet export -m model.tlt -o model.onnx --sign-key key.pem\n  \
    oxidet export -m model.tlt -o model.onnx --data_type fp16 --engine_file model.engine    on the device itself"
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
    /// Images per batch of the model, at most 256; -1 leaves it open
    #[arg(long = "static_batch_size", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    static_batch_size: i64,
    /// ONNX opset, 11 to 20 [default: 12; 13 for Q/DQ, the least it needs]
    #[arg(long = "target_opset", value_name = "N", value_parser = clap::value_parser!(i64).range(OPSETS))]
    target_opset: Option<i64>,
    /// What the model is for; decides the suppression node and how INT8 and half precision are had (docs/targets.md)
    #[arg(long, value_name = "TARGET", default_value = Target::default().facts().name, value_parser = target_parser())]
    target: Target,
    /// Suppression at the end of the model [default: that of the target]. batched: BatchedNMSDynamic_TRT; efficient:
    /// EfficientNMS_TRT; onnx: NonMaxSuppression; none: boxes and scores are the outputs
    #[arg(long = "nms", value_name = "TAIL", value_parser = tail_parser(), hide_possible_values = true)]
    tail: Option<NmsTail>,
    /// Precision. fp16: float16 layers, or for targets whose engine builder makes them a hint how; int8: calibrates, unless the model
    /// was trained with quantisation [default: int8 for those, fp32 for others]
    #[arg(long = "data_type", value_name = "TYPE", value_enum)]
    data_type: Option<DataType>,
    /// Replace an existing model
    #[arg(long)]
    force: bool,
    /// Folder for status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
    #[command(flatten)]
    int8: Int8Args,
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    engine: EngineFileArgs,
}

/// What a model is to be run in: as asked, or in INT8 if it has ranges.
fn precision(asked: Option<DataType>, has_ranges: bool) -> Precision {
    asked.map_or(if has_ranges { Precision::Int8 } else { Precision::Fp32 }, Into::into)
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
    let tail = args.target.tail(args.tail).map_err(|error| Failure::usage(error.to_string()))?;
    let float = args.target.float_type(args.data_type == Some(DataType::Fp16));
    let output = output(args.output.as_deref(), &args.model);
    let mut bundle = args.bundle.bundle(args.target, tail, args.engine.is_asked_for())?;
    let batch = match u32::try_from(args.static_batch_size) {
        Ok(0) => {
            return Err(Failure::usage("--static_batch_size 0: a batch needs an image; -1 leaves it open"));
        }
        Ok(images) => {
            bundle::check_batch("--static_batch_size", images)?;
            Batch::Static(images)
        }
        Err(_) if args.static_batch_size == -1 => Batch::Dynamic,
        Err(_) => return Err(Failure::usage("--static_batch_size: give a number of images, or -1")),
    };
    StatusLog::around(args.results_dir.as_deref(), "YOLOv4 export", |_| {
        let passphrase = args.key.passphrase()?;
        if is_encrypted(&output) && passphrase.is_none() {
            return Err(needs_key());
        }
        let checkpoint = read_checkpoint(&args.model, passphrase.as_ref())?;
        let spec = spec::of_checkpoint(args.spec.as_deref(), &args.model, &checkpoint, Verb::Export)?;
        model::check_fits(&args.model, &checkpoint.detector.classes, &checkpoint.detector.preprocess, &spec)?;
        let mut files = FilePlan::new(args.force, [&args.model].into_iter().chain(&args.spec));
        files.writes(&output)?;
        bundle.check_batch(batch)?;
        bundle.check(&output, &checkpoint.detector, args.int8.cache.as_deref(), &mut files)?;
        args.int8.calibration.check_files(&mut files)?;
        let engine = args.engine.prepare(bundle.batches(), batch, &mut files)?;
        if args.int8.preview {
            DataArgs::default().open_validation(&spec)?;
        }
        let purpose = int8::Purpose {
            data_type: args.data_type,
            target: args.target,
            tail,
            opset: args.target_opset,
            output: &output,
        };
        let plan = args.int8.plan(checkpoint, &spec, purpose, &mut files)?;
        let checkpoint = &plan.checkpoint;
        let quantized = checkpoint.detector.graph.is_quantized();
        let opset = args.target_opset.unwrap_or(if quantized { QUANTIZED_OPSET } else { 12 });
        let has_ranges = quantized || plan.ranges.is_some();
        let job = ExportJob {
            checkpoint,
            spec: &spec,
            opset,
            batch,
            tail,
            float,
            target: args.target,
            precision: precision(args.data_type, has_ranges),
            calibration: plan.record(),
        };
        let staged = job.stage(&output, passphrase.as_ref())?;
        bundle.cache = plan.cache_file();
        bundle.ranges = plan.existing_files();
        let (ranges, told) = args.ranges(&plan)?;
        bundle.new_ranges = ranges;
        let verified = staged.commit(&bundle)?;
        told.iter().for_each(|line| console::print(line));
        console::print(&format!("{}: {verified}", output.display()));
        if args.int8.preview && job.precision == Precision::Int8 {
            let int8 = plan.int8.as_ref().unwrap_or(checkpoint);
            let float = Preview::of(&args.model, &spec, &without_quantizers(int8))?;
            let int8 = Preview::of(&args.model, &spec, int8)?;
            console::print(&int8.beside(&float, spec.classes().names()));
        }
        if quantized {
            console::info("the model holds its ranges (Q/DQ): engines run it in INT8 without calibration");
        }
        if args.data_type == Some(DataType::Fp16) {
            args.tell_of_half();
        }
        if let Some(engine) = engine {
            let float_layers = args.int8.calibration.fp16_layers();
            engine.build(&output, passphrase.as_ref(), job.precision, plan.ranges.as_ref(), float_layers)?;
        }
        let parameters = checkpoint.detector.graph.param_count();
        let bytes = std::fs::metadata(&output).map_err(|error| Failure::io(&output, &error))?.len();
        Ok(((), json!({ "param_count": parameters as f64 / 1e6, "size": bytes as f64 / f64::from(1 << 20) })))
    })
}

impl ExportArgs {
    /// The files with ranges that go beside the model, and what is told of them.
    fn ranges(&self, plan: &Plan) -> Result<(Vec<NewFile>, Vec<String>), Failure> {
        let (mut files, mut told) = (Vec::new(), Vec::new());
        let Some(ranges) = &plan.ranges else { return Ok((files, told)) };
        if let Some((path, version)) = &plan.cache {
            let (tensors, made) = ranges.cache_files(path, *version)?;
            files.extend(made);
            told.push(format!("{}: ranges of {tensors} tensors for TensorRT {version}", path.display()));
        }
        if let Some(path) = &plan.json {
            let scales = ranges.scales();
            files.push((path.clone(), scales.to_json().into_bytes()));
            told.push(format!("{}: ranges of {} tensors", path.display(), scales.tensor_scales.len()));
        }
        Ok((files, told))
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
