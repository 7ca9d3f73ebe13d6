//! `oxidet calibrate`

use std::path::PathBuf;

use clap::Args;
use oxidet_calib::LayerReport;
use oxidet_graph::onnx::NmsTail;
use oxidet_proto::calibration_cache::TensorRtVersion;
use oxidet_proto::lint::Verb;
use oxidet_proto::precision_list;
use oxidet_trainer::checkpoint_file::read_checkpoint;

use crate::calibration::{CalibrationArgs, Preview, check_cache_version, record_path};
use crate::columns::{Align, columns};
use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files::{self, StagedFiles};
use crate::key::KeyArgs;
use crate::model;
use crate::numbers;
use crate::spec;

/// Measure the ranges of a network's tensors for INT8, without a GPU
#[derive(Args, Debug)]
#[command(
    after_help = "Runs the network on images and writes the range of every tensor as TensorRT 8 to 10 read it. For Q/DQ models, which \
    TensorRT 11 and ONNX Runtime want, see oxidet export --data_type int8.\n\nExamples:\n  \
    oxidet calibrate -m model.tlt -e spec.txt --cal_cache_file cal.bin\n  \
    oxidet calibrate -m model.tlt -e spec.txt --cal_image_dir photos --trt 10.3.0\n  \
    oxidet calibrate -m model.tlt -e spec.txt --preview                      mAP in INT8, before there is a device\n  \
    oxidet calibrate -m model.tlt -e spec.txt --layer-report keep_fp16.txt --preview"
)]
pub struct CalibrateArgs {
    /// Checkpoint, trained without quantisation
    #[arg(short = 'm', long, value_name = "MODEL")]
    model: PathBuf,
    /// Experiment spec; without it, the one the checkpoint was trained from
    #[arg(short = 'e', long = "experiment_spec", alias = "experiment_spec_file", value_name = "SPEC")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Calibration cache to write
    #[arg(long = "cal_cache_file", value_name = "FILE", default_value = "cal.bin")]
    cache: PathBuf,
    /// Version of TensorRT that the cache is for; others pass over it
    #[arg(long, value_name = "VERSION", default_value = "8.5.3")]
    trt: TensorRtVersion,
    /// Also write the ranges as a scale file
    #[arg(long = "cal_json_file", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Evaluate the network in float and in INT8 on the validation images
    #[arg(long)]
    preview: bool,
    /// With --preview: fail (exit code 1) when INT8 loses more mAP than this
    #[arg(long = "max-drop", value_name = "MAP", requires = "preview", value_parser = drop_of_map)]
    max_drop: Option<f64>,
    /// Leave one tensor after the other in float, show what each costs, and write the layers that are worth it, for --fp16_layers
    #[arg(long = "layer-report", value_name = "FILE")]
    layer_report: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    calibration: CalibrationArgs,
}

/// A loss of average precision.
fn drop_of_map(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(drop) if (0.0..=1.0).contains(&drop) => Ok(drop),
        _ => Err("a number from 0 to 1 is needed".into()),
    }
}

pub fn run(args: &CalibrateArgs) -> Result<(), Failure> {
    args.check_files()?;
    let checkpoint = read_checkpoint(&args.model, args.key.passphrase()?.as_ref())?;
    if checkpoint.detector.graph.is_quantized() {
        return Err(Failure::usage(format!(
            "{}: trained with quantisation, its ranges are in it; oxidet export --data_type int8 writes them",
            args.model.display()
        )));
    }
    let spec = spec::of_checkpoint(args.spec.as_deref(), &args.model, &checkpoint, Verb::Export)?;
    model::check_fits(&args.model, &checkpoint.detector.classes, &checkpoint.detector.preprocess, &spec)?;
    let calibration = args.calibration.measure(&checkpoint, &spec, NmsTail::Batched)?;
    drop(checkpoint);
    calibration.warn_of_layers_not_kept();
    let mut staged = StagedFiles::default();
    let (tensors, files) = calibration.cache_files(&args.cache, args.trt)?;
    files.iter().try_for_each(|(path, bytes)| staged.add(path, bytes))?;
    let mut told =
        vec![format!("{}: ranges of {tensors} tensors for TensorRT {}", args.cache.display(), args.trt)];
    if let Some(path) = &args.json {
        let scales = calibration.scales();
        staged.add(path, scales.to_json().as_bytes())?;
        told.push(format!("{}: ranges of {} tensors", path.display(), scales.tensor_scales.len()));
    }
    staged.commit()?;
    told.iter().for_each(|line| console::print(line));
    let float =
        if args.preview { Some(Preview::of(&args.model, &spec, &calibration.checkpoint)?) } else { None };
    let mut int8 = None;
    if let Some(float) = &float {
        let preview = Preview::of(&args.model, &spec, calibration.quantized())?;
        console::print(&preview.beside(float, spec.classes().names()));
        int8 = Some(preview);
    }
    if let Some(path) = &args.layer_report {
        let report = calibration.layer_report()?;
        console::print(&layer_table(&report));
        let comment = format!("{}\n\n{}", args.model.display(), layer_table(&report));
        let list = precision_list::to_text(&comment, report.suggested.iter().map(String::as_str));
        files::write(path, list.as_bytes())?;
        console::print(&format!("{}: {}", path.display(), suggestion(&report)));
        if let Some(float) = float.as_ref().filter(|_| !report.suggested.is_empty()) {
            let quantized = calibration.quantized_except(&report.suggested)?;
            let preview = Preview::of(&args.model, &spec, &quantized)?;
            console::print(&format!(
                "with these layers in float:\n{}",
                preview.beside(float, spec.classes().names())
            ));
            int8 = Some(preview);
        }
    }
    match (args.max_drop, float.and_then(|float| float.map), int8.and_then(|int8| int8.map)) {
        (Some(most), Some(float), Some(int8)) if float - int8 > most => Err(Failure::no(format!(
            "INT8 loses {:.5} mAP, more than the {most} allowed; try --layer-report, another --method or training with \
             quantisation",
            float - int8
        ))),
        (Some(_), float, int8) if float.is_none() || int8.is_none() => {
            Err(Failure::no("mAP is not defined: there are no objects to find"))
        }
        _ => Ok(()),
    }
}

impl CalibrateArgs {
    fn check_files(&self) -> Result<(), Failure> {
        check_cache_version(self.trt)?;
        let mut plan = FilePlan::new(self.force, [&self.model].into_iter().chain(&self.spec));
        self.calibration.check_files(&mut plan)?;
        plan.writes(&self.cache)?;
        plan.writes(&record_path(&self.cache))?;
        self.json.iter().chain(&self.layer_report).try_for_each(|path| plan.writes(path))
    }
}

fn layer_table(report: &LayerReport) -> String {
    let rows: Vec<[String; 7]> = report
        .tensors
        .iter()
        .map(|tensor| {
            [
                tensor.tensor.clone(),
                numbers::short(tensor.max.into()),
                numbers::short(tensor.amax.into()),
                format!("{:.3} %", 100.0 * tensor.clipped),
                format!("{:.1}", tensor.sqnr),
                format!("{:+.1} %", 100.0 * tensor.regained),
                tensor.readers.join(" "),
            ]
        })
        .collect();
    let heads = [
        ("tensor", Align::Left),
        ("largest", Align::Right),
        ("range", Align::Right),
        ("clipped", Align::Right),
        ("SQNR dB", Align::Right),
        ("regained", Align::Right),
        ("read by", Align::Left),
    ];
    let table = columns(heads, &rows);
    format!(
        "INT8 and float disagree by {} (1 - IoU + difference of scores, mean over what either sees); regained is the share of it\n\
         that goes away when the tensor alone stays in float\n{table}",
        numbers::short(report.disagreement)
    )
}

fn suggestion(report: &LayerReport) -> String {
    if report.suggested.is_empty() {
        return "no single layer is worth leaving in float".into();
    }
    format!(
        "{} layers to leave in float; {:.0} % of the disagreement remains then",
        report.suggested.len(),
        100.0 * report.remaining / report.disagreement
    )
}
