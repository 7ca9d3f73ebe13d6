//! `oxidet demo`: every command once, on data that is drawn for it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use oxidet_exporter::{Target, Verification, Written, verify};
use oxidet_graph::nms_from_spec;
use oxidet_graph::onnx::{Batch, FloatType, NmsTail, Suppression};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_proto::manifest::Precision;
use oxidet_runtime::Model;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::data::validation_batch;
use oxidet_vision::metrics::Report;
use oxidet_vision::{Network, RawDetections};
use serde_json::{Value, json};

use super::{evaluate, export, inference, train};
use crate::console;
use crate::data::DataArgs;
use crate::demo::data;
use crate::demo::spec as demo_spec;
use crate::engine::EngineArgs;
use crate::exit::Failure;
use crate::files;
use crate::model;
use crate::spec;
use crate::status::StatusLog;
use crate::stop;
use crate::table;

/// Opens the demo's .etlt. Anybody may know it.
const KEY: &str = "oxidet-demo";

/// The whole way, from drawn pictures to a running model, in a few minutes
#[derive(Args, Debug)]
#[command(
    after_help = "Draws a small labelled data set, trains, evaluates, detects, exports, opens the exported model again and \
    compares.\n\nExamples:\n  \
    oxidet demo\n  \
    oxidet demo --results_dir /tmp/demo --seed 7\n  \
    oxidet demo --data-only -r shapes"
)]
pub struct DemoArgs {
    /// Folder for everything the demo makes
    #[arg(short = 'r', long = "results_dir", value_name = "DIR", default_value = "oxidet-demo")]
    results_dir: PathBuf,
    /// Other pictures and other weights to start from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u32,
    /// Only draw the pictures and write the spec, to walk the way yourself
    #[arg(long)]
    data_only: bool,
}

pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let started = Instant::now();
    files::create_dir(&args.results_dir)?;
    let dir =
        std::path::absolute(&args.results_dir).map_err(|error| Failure::io(&args.results_dir, &error))?;
    let at = |name: &str| args.results_dir.join(name).display().to_string();
    let passphrase = Passphrase::new(KEY.into()).map_err(|error| Failure::bug(error.to_string()))?;

    step(
        1,
        &format!(
            "draw {} pictures to learn from and {} to measure on: {}",
            data::TRAIN,
            data::VALIDATION,
            at("data")
        ),
    )?;
    data::write(&dir.join("data"), args.seed.into())?;
    files::write(&dir.join("spec.txt"), demo_spec::text(&dir.join("data"), args.seed).as_bytes())?;

    if args.data_only {
        console::print(&format!("next: oxidet train -e {} -r results", at("spec.txt")));
        return Ok(());
    }
    step(2, &format!("oxidet train -e {} -r {}", at("spec.txt"), at("train")))?;
    let spec = spec::read(&dir.join("spec.txt"), Verb::Train, false)?;
    let mut log = StatusLog::open(Some(&dir.join("train")))?;
    let trained = train::train_spec(&spec, &dir.join("train"), None, &DataArgs::default(), &mut log)?;
    let weights = Path::new("train/weights").join(trained.checkpoint.file_name().unwrap_or_default());
    let weights = at(&weights.to_string_lossy());

    step(3, &format!("oxidet evaluate -m {weights} -e {} -r {}", at("spec.txt"), at("evaluate")))?;
    let mut checkpoint = model::open(&trained.checkpoint, None, Some(&spec), &EngineArgs::default())?;
    let checkpoint_report = evaluate::evaluate(&spec, &mut checkpoint, &DataArgs::default())?;
    console::print(&table::average_precision(spec.classes().names(), &checkpoint_report));
    evaluate::write_report(&dir.join("evaluate"), spec.classes().names(), &checkpoint_report)?;

    step(
        4,
        &format!(
            "oxidet inference -m {weights} -i {} -e {} -r {}",
            at("data/val/images"),
            at("spec.txt"),
            at("inference")
        ),
    )?;
    let images = dir.join("data/val/images");
    let found = inference::infer(&spec, &mut checkpoint, &images, &dir.join("inference"), 0.3)?;
    console::print(&format!("{} objects in {} pictures", found.detections, found.images));

    step(
        5,
        &format!(
            "oxidet export -m {weights} -o {}   and   -o {} -k {KEY}",
            at("model.onnx"),
            at("model.etlt")
        ),
    )?;
    let source = read_checkpoint(&trained.checkpoint, None)?;
    let job = export::ExportJob {
        checkpoint: &source,
        spec: &spec,
        opset: 12,
        batch: Batch::Dynamic,
        tail: NmsTail::Batched,
        float: FloatType::F32,
        target: Target::default(),
        precision: Precision::Fp32,
        calibration: None,
    };
    let bundle = export::Bundle::new(job.target, job.tail);
    for (name, key) in [("model.onnx", None), ("model.etlt", Some(&passphrase))] {
        let checked = job.stage(&dir.join(name), key)?.commit(&bundle)?;
        console::print(&format!("{name}: {checked}"));
    }

    step(6, &format!("oxidet evaluate -m {} -e {} -k {KEY}", at("model.etlt"), at("spec.txt")))?;
    let mut exported =
        model::open(&dir.join("model.etlt"), Some(&passphrase), Some(&spec), &EngineArgs::default())?;
    let exported_report = evaluate::evaluate(&spec, &mut exported, &DataArgs::default())?;
    let (difference, milliseconds) = compare(&spec, &mut checkpoint, &mut exported)?;

    let outcome = Outcome {
        classes: spec.classes().names(),
        reports: [&checkpoint_report, &exported_report],
        difference,
        milliseconds,
        seconds: started.elapsed().as_secs_f64(),
    };
    files::write(&dir.join("summary.json"), format!("{:#}\n", outcome.to_json(args.seed)).as_bytes())?;
    console::print(&outcome.to_table());
    for (name, what) in [
        ("spec.txt", "the spec; edit it and train again"),
        ("inference/images_annotated", "pictures with what was found"),
        ("model.onnx", "the model, for any ONNX runtime with the TensorRT NMS plugin"),
        ("model.etlt", "the same, encrypted"),
        ("summary.json", "these numbers"),
    ] {
        console::print(&format!("{:<46} {what}", at(name)));
    }
    Ok(())
}

/// Announces a step; here is also where the demo stops when it is asked to.
fn step(number: u32, what: &str) -> Result<(), Failure> {
    if stop::on_signal()?.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Failure::interrupted("stopped"));
    }
    console::print(&format!("\n[{number}/6] {what}"));
    Ok(())
}

/// Runs both models on every validation picture: how far apart they are, and the median milliseconds a picture takes each.
fn compare(
    spec: &Checked,
    checkpoint: &mut Model,
    exported: &mut Model,
) -> Result<(Verification, [f64; 2]), Failure> {
    let (dataset, store) = DataArgs::default().open_validation(spec)?;
    let mut inputs = Vec::new();
    for sample in 0..dataset.samples.len() {
        inputs.push(validation_batch(&dataset, &store, &checkpoint.preprocess, sample..sample + 1)?.images);
    }
    let nms = nms_from_spec(spec.nms());
    let failed = |error: oxidet_vision::NetworkError| Failure::bug(error.to_string());
    let suppression = Suppression { tail: NmsTail::Batched, nms };
    let mut written = Written { network: &mut *exported.network, suppression, select: None };
    let difference = verify(&mut *checkpoint.network, &mut written, &inputs, &nms).map_err(failed)?;
    let median = |network: &mut dyn Network| {
        let mut out = RawDetections::default();
        let mut times = Vec::new();
        for input in &inputs {
            let before = Instant::now();
            network.run(input, 1, &mut out).map_err(failed)?;
            times.push(before.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        Ok::<_, Failure>(times.get(times.len() / 2).copied().unwrap_or_default())
    };
    Ok((difference, [median(&mut *checkpoint.network)?, median(&mut *exported.network)?]))
}

/// The numbers at the end. Pairs are checkpoint and exported model.
struct Outcome<'a> {
    classes: &'a [String],
    reports: [&'a Report; 2],
    difference: Verification,
    milliseconds: [f64; 2],
    seconds: f64,
}

impl Outcome<'_> {
    fn to_json(&self, seed: u32) -> Value {
        let pair =
            |[checkpoint, exported]: [Value; 2]| json!({ "checkpoint": checkpoint, "exported": exported });
        let per_class = self.classes.iter().enumerate();
        json!({
            "map": pair(self.reports.map(|report| json!(report.map))),
            "ap": per_class
                .map(|(id, name)| (name.clone(), pair(self.reports.map(|report| json!(report.per_class[id].ap)))))
                .collect::<serde_json::Map<_, _>>(),
            "max_box_diff": self.difference.differences.max_boxes,
            "max_score_diff": self.difference.differences.max_scores,
            "milliseconds_per_image": pair(self.milliseconds.map(|ms| json!(ms))),
            "images": { "train": data::TRAIN, "validation": data::VALIDATION },
            "seed": seed,
            "seconds": self.seconds,
        })
    }

    fn to_table(&self) -> String {
        let row = |name: &str, [checkpoint, exported]: [String; 2]| {
            format!("{name:<30}{checkpoint:>12}{exported:>12}")
        };
        let mut lines = vec![String::new(), row("", ["checkpoint".into(), "exported".into()])];
        for (id, name) in self.classes.iter().enumerate() {
            lines.push(row(
                &format!("AP {name}"),
                self.reports.map(|report| table::number(report.per_class[id].ap)),
            ));
        }
        lines.push(row("mAP@0.5", self.reports.map(|report| table::number(report.map))));
        lines.push(row("milliseconds a picture", self.milliseconds.map(|ms| format!("{ms:.1}"))));
        lines.push(format!(
            "{:<30}{:>24.1e}",
            "largest difference of a box", self.difference.differences.max_boxes
        ));
        lines.push(format!(
            "{:<30}{:>24.1e}",
            "largest difference of a score", self.difference.differences.max_scores
        ));
        lines.push(format!("{:<30}{:>24.0}", "seconds in all", self.seconds));
        lines.push(String::new());
        lines.join("\n")
    }
}
