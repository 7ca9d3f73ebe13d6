//! `oxidet evaluate`

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_runtime::Model;
use oxidet_trainer::data::Dataset;
use oxidet_trainer::evaluate::{
    DEFAULT_SCORE, Evaluated, Evaluation, Mistakes, Shown, coco_annotations, coco_detections, confusion_csv,
    mistakes_page, pr_curve_csv, pr_picture, results_json,
};
use oxidet_vision::image::{encode_jpeg, encode_png};
use oxidet_vision::metrics::Report;
use serde_json::json;

use super::inference::threshold;
use crate::console;
use crate::data::DataArgs;
use crate::engine::EngineArgs;
use crate::exit::Failure;
use crate::files;
use crate::format::{FormatArgs, print_json};
use crate::key::KeyArgs;
use crate::model;
use crate::progress;
use crate::spec;
use crate::status::StatusLog;
use crate::table;

/// JPEG quality of the gallery, 1 to 100.
const QUALITY: u8 = 85;

/// Measure average precision on the validation data
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet evaluate -m results/weights/yolov4_resnet18_epoch_080.tlt -e spec.txt -k KEY\n  \
    oxidet evaluate -m model.onnx -e spec.txt -r results --min-map 0.5     exit code 1 below 0.5\n  \
    oxidet evaluate -m model.etlt -k KEY -e spec.txt -r results --gallery  see results/gallery/index.html\n  \
    oxidet evaluate -m model.onnx -e spec.txt --backend onnxruntime        the same model in ONNX Runtime\n\n\
    docs/evaluation.md explains what is measured and written.")]
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
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Folder for what is measured: evaluation.json, confusion_matrix.csv, detections.json, truths.json and status.json
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: Option<PathBuf>,
    /// Draws the N images with the worst mistakes, with a page to look at them, into DIR/gallery
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "24", requires = "results_dir",
        value_parser = clap::value_parser!(u32).range(1..))]
    gallery: Option<u32>,
    /// Score from which detections count in the confusion matrix and the gallery; between 0 and 1
    #[arg(short = 't', long, value_name = "SCORE", default_value_t = DEFAULT_SCORE, value_parser = threshold)]
    threshold: f32,
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
        let mut model = model::open(&args.model, args.key.passphrase()?.as_ref(), Some(&spec), &args.engine)?;
        let Measured { dataset, images, report } = measure(&spec, &mut model, &args.data, args.threshold)?;
        let classes = spec.classes().names();
        if args.format.is_json() {
            print_json(&results_json(classes, &report))?;
        } else {
            console::print(&table::average_precision(classes, &report));
        }
        if let Some(dir) = &args.results_dir {
            write_report(dir, classes, &report)?;
            files::write(&dir.join("detections.json"), coco_detections(&images).as_bytes())?;
            files::write(&dir.join("truths.json"), coco_annotations(&dataset, &images).as_bytes())?;
            if let Some(most) = args.gallery {
                let depth = model.preprocess.depth;
                let gallery = Gallery { args, dataset: &dataset, images: &images, depth, report: &report };
                gallery.write(&dir.join("gallery"), most as usize)?;
            }
        }
        if spec.eval().visualize_pr_curve {
            // Without a folder for results, where the original puts it.
            let beside = args.model.parent().unwrap_or(Path::new(""));
            write_curves(args.results_dir.as_deref().unwrap_or(beside), classes, &report)?;
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
    Ok(measure(spec, model, data, DEFAULT_SCORE)?.report)
}

struct Measured {
    dataset: Dataset,
    images: Vec<Evaluated>,
    report: Report,
}

fn measure(
    spec: &Checked,
    model: &mut Model,
    data: &DataArgs,
    score_threshold: f32,
) -> Result<Measured, Failure> {
    let (dataset, store) = data.open_validation(spec)?;
    let evaluation = Evaluation::from_spec(spec, model.preprocess.clone(), model.nms);
    let evaluation = Evaluation { score_threshold, ..evaluation };
    let bar = progress::bar(dataset.samples.len() as u64, "evaluating");
    let mut images = Vec::with_capacity(dataset.samples.len());
    let report = evaluation.run(&mut *model.network, &dataset, &store, &mut |image| {
        images.push(image);
        bar.set_position(images.len() as u64);
    })?;
    bar.finish_and_clear();
    Ok(Measured { dataset, images, report })
}

/// Writes `evaluation.json` and `confusion_matrix.csv`.
pub fn write_report(dir: &Path, classes: &[String], report: &Report) -> Result<(), Failure> {
    let json = results_json(classes, report);
    files::write(&dir.join("evaluation.json"), format!("{json:#}\n").as_bytes())?;
    files::write(&dir.join("confusion_matrix.csv"), confusion_csv(classes, &report.confusion).as_bytes())
}

/// Writes `PR_curve.png` and `PR_curve.csv`.
fn write_curves(dir: &Path, classes: &[String], report: &Report) -> Result<(), Failure> {
    let picture = dir.join("PR_curve.png");
    let png = encode_png(&pr_picture(classes, report)).map_err(|error| Failure::bug(error.to_string()))?;
    files::write(&picture, &png)?;
    files::write(&dir.join("PR_curve.csv"), pr_curve_csv(classes, report).as_bytes())?;
    console::info(&format!("precision-recall curves: {}", picture.display()));
    Ok(())
}

/// What is needed to draw mistakes.
struct Gallery<'a> {
    args: &'a EvaluateArgs,
    dataset: &'a Dataset,
    images: &'a [Evaluated],
    depth: u8,
    report: &'a Report,
}

impl Gallery<'_> {
    /// Writes a picture for each of the worst images, and the page.
    fn write(&self, dir: &Path, most: usize) -> Result<(), Failure> {
        let worst = Mistakes::worst(self.images, most);
        let bar = progress::bar(worst.len() as u64, "drawing");
        let mut shown = Vec::new();
        for (place, mistakes) in worst.iter().enumerate() {
            let image = &self.dataset.samples[mistakes.sample()].image;
            let file = format!("{:03}.jpg", place + 1);
            let picture = mistakes.picture(self.dataset, self.depth)?;
            let jpeg = encode_jpeg(&picture, QUALITY).map_err(|error| Failure::bug(error.to_string()))?;
            files::write(&dir.join(&file), &jpeg)?;
            let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
            shown.push(Shown { file, name, summary: mistakes.summary(&self.dataset.classes) });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let model = self.args.model.file_name().unwrap_or_default().to_string_lossy();
        let page = mistakes_page(&model, &self.dataset.classes, &self.report.confusion, &shown);
        let index = dir.join("index.html");
        files::write(&index, page.as_bytes())?;
        console::info(&format!("gallery of mistakes: {}", index.display()));
        Ok(())
    }
}
