//! The measures of an evaluation as files for programs: JSON and tables.

use std::fmt::Write as _;

use oxidet_vision::metrics::{ClassReport, CocoClass, ConfusionMatrix, Counts, Operating, Report};
use serde_json::{Map, Value, json};

/// Everything in a [`Report`], curves as 101 points. What is not defined is `null`.
pub fn results_json(classes: &[String], report: &Report) -> Value {
    let coco = report.coco.statistics().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
    let per_class = classes.iter().zip(&report.per_class).zip(&report.coco.per_class).enumerate();
    let per_class = per_class
        .map(|(id, ((name, class), coco))| class_json(name, class, coco, report.confusion.of_class(id)));
    json!({
        "map": report.map,
        "mode": report.mode.name(),
        "iou": number(report.iou_threshold),
        "coco": coco.collect::<Map<_, _>>(),
        "classes": per_class.collect::<Vec<_>>(),
        "confusion_matrix": {
            "score_threshold": number(report.confusion.score_threshold()),
            "iou": number(report.confusion.iou_threshold()),
            "labels": labels(classes).collect::<Vec<_>>(),
            "counts": report.confusion.rows().collect::<Vec<_>>(),
        },
    })
}

fn class_json(name: &str, class: &ClassReport, coco: &CocoClass, counts: Counts) -> Value {
    let best = class.best_f1.map(|Operating { threshold, precision, recall, f1 }| {
        json!({ "threshold": number(threshold), "precision": precision, "recall": recall, "f1": f1 })
    });
    let sampled = class.sampled_curve();
    json!({
        "name": name,
        "ap": class.ap,
        "truths": class.truths,
        "detections": class.true_positives + class.false_positives,
        "true_positives": class.true_positives,
        "false_positives": class.false_positives,
        "coco": { "ap": coco.ap, "ap50": coco.ap50, "ap75": coco.ap75 },
        "best_f1": best,
        "at_score_threshold": {
            "true_positives": counts.true_positives,
            "false_positives": counts.false_positives,
            "false_negatives": counts.false_negatives,
        },
        "pr_curve": {
            "recall": sampled.iter().map(|point| point.recall).collect::<Vec<_>>(),
            "precision": sampled.iter().map(|point| point.precision).collect::<Vec<_>>(),
            "score": sampled.iter().map(|point| number(point.score)).collect::<Vec<_>>(),
        },
    })
}

/// The shortest decimal that is this number in single precision: 0.3, not 0.30000001192092896.
fn number(value: f32) -> f64 {
    value.to_string().parse().expect("what Rust writes of a number it reads")
}

/// The curves, a line for each score that occurs: keeping detections of this score or more gives this recall and precision.
pub fn pr_curve_csv(classes: &[String], report: &Report) -> String {
    let mut out = String::from("class,score,recall,precision\n");
    for (name, class) in classes.iter().zip(&report.per_class) {
        let name = field(name);
        for point in &class.curve {
            let _ = writeln!(out, "{name},{},{:.6},{:.6}", point.score, point.recall, point.precision);
        }
    }
    out
}

/// The matrix: a line for each class of object and one for background, a column for each class detected and background.
pub fn confusion_csv(classes: &[String], confusion: &ConfusionMatrix) -> String {
    let mut out = String::from("object \\ detected as");
    for label in labels(classes) {
        let _ = write!(out, ",{}", field(label));
    }
    out.push('\n');
    for (label, row) in labels(classes).zip(confusion.rows()) {
        out += &field(label);
        for count in row {
            let _ = write!(out, ",{count}");
        }
        out.push('\n');
    }
    out
}

/// Names of the rows and columns of a confusion matrix.
pub(super) fn labels(classes: &[String]) -> impl Iterator<Item = &str> {
    classes.iter().map(String::as_str).chain(std::iter::once("background"))
}

/// A field of a table, in quotes where it must be (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
