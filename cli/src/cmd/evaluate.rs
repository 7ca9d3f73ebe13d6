//! `oxidet evaluate`

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_graph::ap_mode_from_spec;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_trainer::evaluate::Evaluation;
use oxidet_vision::metrics::Report;
use serde_json::{Value, json};

use crate::console;
use crate::data::DataArgs;
use crate::exit::Failure;
use crate::files;
use crate::key::KeyArgs;
use crate::model::Model;
use crate::progress;
use crate::spec;
use crate::status::StatusLog;
use crate::table;

/// Measure average precision on the validation data
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet evaluate -m results/weights/yolov4_resnet18_epoch_080.tlt -e spec.txt -k KEY\n  \
    oxidet evaluate -m model.onnx -e spec.txt -r results --min-map 0.5     exit code 1 below 0.5")]
pub struct EvaluateArgs {
    /// Checkpoint, .onnx or .etlt; the content tells which
    #[arg(short = 'm', long = "model_path", alias = "model", value_name = "MODEL")]
    model: PathBuf,
    /// Experiment spec
    #[arg(short = 'e', long = "experiment_spec", alias = "experiment_spec_file", value_name = "SPEC")]
    spec: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Folder for evaluation.json and status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
    /// Fail (exit code 1) when mAP is below this
    #[arg(long, value_name = "MAP")]
    min_map: Option<f64>,
    #[arg(short = 'i', long = "image_dir", hide = true)]
    image_dir: Option<PathBuf>,
    #[arg(short = 'l', long = "label_dir", hide = true)]
    label_dir: Option<PathBuf>,
    #[arg(short = 'b', long = "batch_size", hide = true)]
    batch_size: Option<u32>,
}

pub fn run(args: &EvaluateArgs) -> Result<(), Failure> {
    if args.image_dir.is_some() || args.label_dir.is_some() || args.batch_size.is_some() {
        console::warn(
            "-i, -l and -b have no effect: evaluate uses validation_data_sources and eval_config.batch_size",
        );
    }
    let report = StatusLog::around(args.results_dir.as_deref(), "YOLOv4 evaluation", |_| {
        let spec = spec::read(&args.spec, Verb::Evaluate, false)?;
        let mut model = Model::open(&args.model, args.key.passphrase()?.as_ref(), &spec)?;
        let report = evaluate(&spec, &mut model, &args.data)?;
        console::print(&table::average_precision(spec.classes().names(), &report));
        if let Some(dir) = &args.results_dir {
            write_report(dir, spec.classes().names(), &report)?;
        }
        let map = report.map;
        Ok((report, json!({ "kpi": { "mAP": map } })))
    })?;
    match (args.min_map, report.map) {
        (Some(least), map) if map.is_none_or(|map| map < least) => {
            Err(Failure::no(format!("mAP is {}, below the {least} asked for", table::number(map))))
        }
        _ => Ok(()),
    }
}

/// Evaluates a model on the validation data of a spec.
pub fn evaluate(spec: &Checked, model: &mut Model, data: &DataArgs) -> Result<Report, Failure> {
    let (dataset, store) = data.open_validation(spec)?;
    let evaluation = Evaluation {
        preprocess: model.preprocess().clone(),
        nms: model.nms(spec),
        batch_size: spec.eval().batch_size as usize,
        mode: ap_mode_from_spec(spec.eval().average_precision_mode),
        iou_threshold: spec.eval().matching_iou_threshold,
    };
    let bar = progress::bar(dataset.samples.len() as u64, "evaluating");
    let report =
        evaluation.run(model.network(), &dataset, &store, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(report)
}

/// Writes `evaluation.json`.
pub fn write_report(dir: &Path, classes: &[String], report: &Report) -> Result<(), Failure> {
    let per_class: Vec<Value> = classes
        .iter()
        .zip(&report.per_class)
        .map(|(name, class)| {
            json!({
                "name": name,
                "ap": class.ap,
                "truths": class.truths,
                "detections": class.true_positives + class.false_positives,
                "true_positives": class.true_positives,
                "false_positives": class.false_positives,
            })
        })
        .collect();
    let json = json!({
        "map": report.map,
        "mode": report.mode.name(),
        "iou": f64::from(report.iou_threshold),
        "classes": per_class,
    });
    files::write(&dir.join("evaluation.json"), format!("{json:#}\n").as_bytes())
}
