//! `oxidet inference`

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_runtime::{Inference, InferenceSummary};
use serde_json::Value;

use crate::console;
use crate::exit::Failure;
use crate::key::KeyArgs;
use crate::model::Model;
use crate::progress;
use crate::spec;
use crate::status::StatusLog;

/// Detect objects in images: label files and drawn pictures
#[derive(Args, Debug)]
#[command(after_help = "Writes <results_dir>/labels/<name>.txt (KITTI, best score first) and \
    <results_dir>/images_annotated/<name>.<ext>.\n\nExamples:\n  \
    oxidet inference -m model.tlt -i photos -e spec.txt -r results\n  \
    oxidet inference -m model.etlt --key-file key.txt -i photo.jpg -e spec.txt -r results -t 0.5")]
pub struct InferenceArgs {
    /// Checkpoint, .onnx or .etlt; the content tells which
    #[arg(short = 'm', long = "model_path", alias = "model", value_name = "MODEL")]
    model: PathBuf,
    /// Image, or folder of images (not searched deeper)
    #[arg(short = 'i', long = "image_dir", value_name = "IMAGES")]
    images: PathBuf,
    /// Experiment spec
    #[arg(short = 'e', long = "experiment_spec", alias = "experiment_spec_file", value_name = "SPEC")]
    spec: PathBuf,
    /// Folder for what is found
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: PathBuf,
    /// Leave out objects with a lower score; between 0 and 1
    #[arg(short = 't', long, value_name = "SCORE", default_value_t = 0.3, value_parser = threshold)]
    threshold: f32,
    #[command(flatten)]
    key: KeyArgs,
    #[arg(short = 'b', long = "batch_size", hide = true)]
    batch_size: Option<u32>,
}

/// A score between 0 and 1.
pub fn threshold(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if 0.0 < score && score < 1.0 => Ok(score),
        _ => Err("a number between 0 and 1 is needed".into()),
    }
}

pub fn run(args: &InferenceArgs) -> Result<(), Failure> {
    if args.batch_size.is_some() {
        console::warn("-b has no effect: inference uses eval_config.batch_size");
    }
    let summary = StatusLog::around(Some(&args.results_dir), "YOLOv4 inference", |_| {
        let spec = spec::read(&args.spec, Verb::Inference, false)?;
        let mut model = Model::open(&args.model, args.key.passphrase()?.as_ref(), &spec)?;
        let summary = infer(&spec, &mut model, &args.images, &args.results_dir, args.threshold)?;
        Ok((summary, Value::Null))
    })?;
    let InferenceSummary { images, detections } = summary;
    console::print(&format!("{images} images, {detections} objects: {}", args.results_dir.display()));
    Ok(())
}

/// Detects in an image or a folder of images, and writes labels and drawn images below `results_dir`.
pub fn infer(
    spec: &Checked,
    model: &mut Model,
    images: &Path,
    results_dir: &Path,
    threshold: f32,
) -> Result<InferenceSummary, Failure> {
    let inference = Inference {
        preprocess: model.preprocess().clone(),
        nms: model.nms(spec),
        threshold,
        classes: model.classes().to_vec(),
        batch_size: spec.eval().batch_size as usize,
    };
    let bar = progress::bar(0, "detecting");
    let summary = inference.run(model.network(), images, results_dir, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    Ok(summary)
}
