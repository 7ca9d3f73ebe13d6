//! `oxidet dataset check`

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use oxidet_proto::lint::Verb;
use oxidet_trainer::doctor::{self, AnchorFit, Finding, Part, Report, Severity, split_name};
use serde_json::{Map, Value, json};

use crate::console;
use crate::exit::Failure;
use crate::files;
use crate::format::{FormatArgs, print_json};
use crate::progress;
use crate::spec;

/// Say what is wrong with the images and labels of a spec
///
/// Reads all of the training and validation data: classes, boxes, images that do not decode, images that are there twice or
/// both in training and validation, and how the anchors fit.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code: 0 there are no errors (warnings do not count), 1 there are, 2 the spec cannot be used.\n\n\
    Examples:\n  \
    oxidet dataset check spec.txt\n  \
    oxidet dataset check spec.txt --html data.html     one page with charts and pictures, for a browser\n  \
    oxidet dataset check spec.txt --format json"
)]
pub struct CheckArgs {
    /// Experiment spec
    spec: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
    /// Also write a page with charts and pictures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    // What training does not do yet is no matter of the data.
    let spec = spec::read(&args.spec, Verb::Dataset, true)?;
    let mut bar = ProgressBar::hidden();
    let report = doctor::examine(&spec, &mut |done, total| {
        if bar.length() != Some(total as u64) || bar.is_finished() {
            bar.finish_and_clear();
            bar = progress::bar(total as u64, "looking at images");
        }
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let name = args.spec.display().to_string();
    if let Some(path) = &args.html {
        files::write(path, doctor::page(&report, &name).as_bytes())?;
    }
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    if args.format.is_json() {
        print_json(&to_json(&report))?;
    } else {
        console::print(&format!("{report}{name}: {errors} errors, {warnings} warnings"));
    }
    if errors > 0 { Err(Failure::no("")) } else { Ok(()) }
}

fn to_json(report: &Report) -> Value {
    json!({
        "input": { "width": report.input.0, "height": report.input.1, "depth": report.depth },
        "splits": { "train": part_json(&report.train), "val": part_json(&report.validation) },
        "anchors": report.anchors.as_ref().map(anchors_json),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
    })
}

fn part_json(part: &Part) -> Value {
    let summary = &part.dataset.summary;
    let class = |(name, class): (&String, &doctor::ClassCounts)| {
        let [least, median, most] = class.sizes;
        let size = json!({ "min": least, "median": median, "max": most });
        let counts = json!({
            "boxes": class.boxes, "images": class.images, "difficult": class.difficult, "input_size": size,
        });
        (name.clone(), counts)
    };
    let classes: Map<String, Value> = part.dataset.classes.iter().zip(&part.classes).map(class).collect();
    let skipped = summary.skipped.iter().map(|skipped| json!({ "image": skipped.image, "why": skipped.why }));
    let sizes = part.sizes().into_iter();
    json!({
        "images": summary.images,
        "negatives": summary.negatives,
        "boxes": part.boxes(),
        "difficult": summary.difficult,
        "invalid": summary.invalid,
        "gray": part.gray(),
        "classes": classes,
        "unmapped": summary.unmapped,
        "skipped": skipped.collect::<Vec<_>>(),
        "boxes_per_image": part.boxes_per_image().into_iter().map(|(boxes, images)| (boxes.to_string(), json!(images))).collect::<Map<_, _>>(),
        "sizes": sizes.map(|((width, height), images)| json!({ "width": width, "height": height, "images": images })).collect::<Vec<_>>(),
    })
}

fn anchors_json(fit: &AnchorFit) -> Value {
    let anchors = fit.anchors.iter().map(|anchor| {
        json!({ "stride": anchor.stride, "width": anchor.width, "height": anchor.height, "boxes": anchor.boxes })
    });
    json!({
        "boxes": fit.boxes,
        "mean_best_iou": fit.mean_best_iou,
        "below_matching_iou": fit.below_matching_iou,
        "box_matching_iou": fit.box_matching_iou as f32,
        "anchors": anchors.collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "severity": finding.severity.name(),
        "split": finding.split.map(split_name),
        "message": finding.message,
        "help": finding.help,
        "examples": finding.examples.iter().map(|example| &example.text).collect::<Vec<_>>(),
        "more": finding.more,
    })
}
