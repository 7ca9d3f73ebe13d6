//! `report.html`: a run on one page.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Zoned;
use oxidet_vision::metrics::{ClassReport, Operating};

use super::history::Record;
use super::{Outcome, Reports, machine};
use crate::data::Summary;
use crate::evaluate::{DEFAULT_SCORE, confusion_table};
use crate::page::{
    Axis, Line, LineChart, Weight, class_name, colour, document, escape, number, section, tile,
};
use crate::train::Validation;

const STYLE: &str = include_str!("page/style.css");
/// Points of a curve that are drawn.
const POINTS: usize = 300;
/// Classes that a legend names.
const NAMED: usize = 12;

/// The page of a run as it stands.
pub(super) fn page(reports: &Reports, outcome: &Outcome) -> String {
    let validation = reports.validation.as_ref();
    let of_validation = |make: fn(&Reports, &Validation) -> String| {
        validation.map(|(_, validation)| make(reports, validation)).unwrap_or_default()
    };
    let title = validation.map_or(String::new(), |(epoch, _)| format!(" after epoch {epoch}"));
    let body = [
        header(reports, outcome),
        tiles(reports),
        section("Curves", &curves(reports)),
        section(&format!("Average precision{title}"), &of_validation(average_precision)),
        section("Precision, recall and confusions", &of_validation(mistakes)),
        section("Validation images", &of_validation(images)),
        section("Data", &data(reports)),
        section("Run", &run(reports)),
        section("Spec", &spec(reports)),
    ];
    document(
        &format!("{} trained with {}", reports.detector.arch, reports.run.spec_name),
        STYLE,
        &body.concat(),
    )
}

fn header(reports: &Reports, outcome: &Outcome) -> String {
    let epoch = reports.history.epochs.last().map_or(0, |record| record.epoch);
    let epochs = reports.run.epochs;
    let (class, state) = match outcome {
        Outcome::Running => ("running", format!("epoch {epoch} of {epochs}")),
        Outcome::Done if epoch < epochs => ("done", format!("stopped early after epoch {epoch} of {epochs}")),
        Outcome::Done => ("done", "finished".into()),
        Outcome::Interrupted => ("interrupted", format!("stopped after epoch {epoch} of {epochs}")),
        Outcome::Failed(_) => ("failed", format!("failed after epoch {epoch} of {epochs}")),
    };
    let reason = match outcome {
        Outcome::Failed(reason) => format!("<p class=\"reason\">{}</p>\n", escape(reason)),
        _ => String::new(),
    };
    let classes: Vec<String> =
        reports.detector.classes.iter().enumerate().map(|(id, name)| class_name(id, name)).collect();
    format!(
        "<header><h1>{}<span class=\"state {class}\">{state}</span></h1>\n<p class=\"spec\">{} · {}</p>\n\
         <p class=\"legend\"><span>{}</span></p>\n{reason}</header>\n",
        escape(&reports.detector.arch),
        escape(&reports.run.spec_name),
        Zoned::now().strftime("%Y-%m-%d %H:%M"),
        classes.join("</span> <span>")
    )
}

fn tiles(reports: &Reports) -> String {
    let mut out = String::from("<div class=\"tiles\">\n");
    let last = reports.history.epochs.last();
    let best = reports.history.best();
    if let Some((record, map)) = best {
        out += &tile("good", &format!("{map:.4}"), &format!("best mAP, epoch {}", record.epoch));
    }
    if let Some((epoch, validation)) = &reports.validation {
        if let Some(map) = validation.report.map.filter(|_| best.is_none_or(|best| best.0.epoch != *epoch)) {
            out += &tile("", &format!("{map:.4}"), &format!("mAP, epoch {epoch}"));
        }
        out += &tile("", &format!("{:.2}", validation.loss), "validation loss");
    }
    if let Some(loss) = last.and_then(|record| record.loss) {
        out += &tile("", &format!("{loss:.2}"), "training loss");
    }
    if let Some(pace) = reports.pace.images_per_second() {
        out += &tile("", &format!("{pace:.1}"), "images per second");
    }
    let what = if reports.run.from.step > 0 { "since it was resumed" } else { "hours in all" };
    out += &tile("", &span(reports.run.started.elapsed()), what);
    out + "</div>\n"
}

fn curves(reports: &Reports) -> String {
    let history = &reports.history;
    let (Some(first), Some(last)) = (history.epochs.first(), history.epochs.last()) else {
        return String::new();
    };
    let x = Axis::whole("epoch", f64::from(first.epoch), f64::from(last.epoch));
    let line = |name: &str, colour: &str, weight, value: fn(&Record) -> Option<f64>| {
        let points = history.curve(value);
        Line { note: last_of(&points), name: name.into(), colour: colour.into(), weight, points }
    };
    let values = |lines: &[Line]| {
        let values: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).collect();
        values.into_iter()
    };
    let losses = vec![
        line("training", "var(--accent)", Weight::Plain, |record| record.loss),
        line("validation", "var(--second)", Weight::Plain, |record| record.validation_loss),
    ];
    let rates = vec![line("learning rate", "var(--accent)", Weight::Plain, |record| record.learning_rate)];
    let mut precisions: Vec<Line> = history
        .classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let points = history.curve(|record| record.ap.get(name).copied().flatten());
            class_line(reports, class, last_of(&points), points)
        })
        .collect();
    precisions.push(line("mAP", "var(--ink)", Weight::Strong, |record| record.map));
    let charts = [
        LineChart { title: "Loss", x, y: Axis::around("", values(&losses)), lines: losses },
        LineChart { title: "Average precision", x, y: Axis::new("", 0.0, 1.0), lines: precisions },
        LineChart { title: "Learning rate", x, y: Axis::around("", values(&rates)), lines: rates },
    ];
    format!("<div class=\"charts\">\n{}</div>\n", charts.map(|chart| chart.figure()).concat())
}

fn class_line(reports: &Reports, class: usize, note: String, points: Vec<(f64, f64)>) -> Line {
    let weight = if reports.detector.classes.len() > NAMED { Weight::Quiet } else { Weight::Plain };
    Line { name: reports.detector.classes[class].clone(), note, colour: colour(class), weight, points }
}

fn last_of(points: &[(f64, f64)]) -> String {
    points.last().map_or(String::new(), |(_, value)| number(*value))
}

fn average_precision(reports: &Reports, validation: &Validation) -> String {
    let report = &validation.report;
    let mut rows = String::new();
    for (id, (name, class)) in reports.detector.classes.iter().zip(&report.per_class).enumerate() {
        let best = |of: fn(&Operating) -> f64| class.best_f1.as_ref().map(of);
        let _ = writeln!(
            rows,
            "<tr><th>{}</th><td>{}</td><td class=\"gauge\"><i><u style=\"width:{:.1}%;background:{}\"></u></i></td>\
             <td><b>{}</b></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            class_name(id, name),
            class.truths,
            100.0 * class.ap.unwrap_or(0.0),
            colour(id),
            measure(class.ap),
            measure(best(|best| best.f1)),
            measure(best(|best| f64::from(best.threshold))),
            measure(best(|best| best.precision)),
            measure(best(|best| best.recall)),
        );
    }
    let coco = &report.coco;
    format!(
        "<div class=\"wide\"><table class=\"plain\">\n<thead><tr><th>class</th><th>objects</th><th></th><th>AP</th><th>best F1</th>\
         <th>at score</th><th>precision</th><th>recall</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         <tfoot><tr><th>mean</th><td>{}</td><td></td><td>{}</td><td></td><td></td><td></td><td></td></tr></tfoot>\n</table></div>\n\
         <p class=\"note\">An object counts as found from an overlap (IoU) of {} on; precision is averaged by the rule \
         <code>{}</code>. By the rules of COCO: AP50:95 {}, AP50 {}, AP75 {}.</p>\n",
        report.per_class.iter().map(|class| class.truths).sum::<usize>(),
        measure(report.map),
        report.iou_threshold,
        report.mode.name(),
        measure(coco.ap),
        measure(coco.ap50),
        measure(coco.ap75)
    )
}

/// Four decimals, or a dash for what is not defined.
fn measure(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.4}"))
}

/// Curves beside the confusion matrix.
fn mistakes(reports: &Reports, validation: &Validation) -> String {
    let (curves, confusion) = (precision_recall(reports, validation), confusion(reports, validation));
    format!("<div class=\"halves\">\n{curves}{confusion}</div>\n")
}

fn confusion(reports: &Reports, validation: &Validation) -> String {
    let confusion = &validation.report.confusion;
    format!(
        "<div>\n<h3>Confusion matrix</h3>\n{}<p class=\"note\">Detections of score {} or more; a detection belongs to an object when they overlap by {} or more \
         (IoU).</p>\n</div>\n",
        confusion_table(&reports.detector.classes, confusion),
        confusion.score_threshold(),
        confusion.iou_threshold()
    )
}

fn precision_recall(reports: &Reports, validation: &Validation) -> String {
    let classes = reports.detector.classes.iter().zip(&validation.report.per_class).enumerate();
    let lines = classes.map(|(id, (_, class))| {
        let note = class.ap.map_or(String::new(), |ap| format!("{ap:.3}"));
        class_line(reports, id, note, curve(class))
    });
    let chart = LineChart {
        title: "Precision over recall",
        x: Axis::new("recall", 0.0, 1.0),
        y: Axis::new("precision", 0.0, 1.0),
        lines: lines.collect(),
    };
    chart.figure()
}

/// The curve with as many points as can be seen: where another object is found.
fn curve(class: &ClassReport) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for point in &class.curve {
        if points.last().is_none_or(|last| point.recall > last.0) {
            points.push((point.recall, point.precision));
        }
    }
    let step = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points
        .into_iter()
        .enumerate()
        .filter(|(i, _)| i % step == 0 || *i == last)
        .map(|(_, point)| point)
        .collect()
}

fn images(reports: &Reports, validation: &Validation) -> String {
    let figures = reports.examples.html(&validation.found, &reports.detector.classes);
    if figures.is_empty() {
        return figures;
    }
    format!(
        "<p class=\"note\">Detections with a score of {DEFAULT_SCORE} or more in the colours of their classes; labelled objects \
         are dashed.</p>\n<div class=\"grid\">\n{figures}</div>\n"
    )
}

fn data(reports: &Reports) -> String {
    let (train, validation) = (&reports.run.train, &reports.run.validation);
    let row = |name: String, of: &dyn Fn(&Summary) -> usize| {
        format!("<tr><th>{name}</th><td>{}</td><td>{}</td></tr>\n", of(train), of(validation))
    };
    let mut rows = row("images".into(), &|summary| summary.images);
    rows += &row("images without objects".into(), &|summary| summary.negatives);
    for (id, name) in reports.detector.classes.iter().enumerate() {
        rows += &row(class_name(id, name), &|summary| summary.objects.get(id).copied().unwrap_or(0));
    }
    format!(
        "<div class=\"wide\"><table class=\"plain\">\n<thead><tr><th></th><th>training</th><th>validation</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn run(reports: &Reports) -> String {
    let preprocess = &reports.detector.preprocess;
    let mut lines = vec![
        (
            "Network",
            format!(
                "{} at {}×{}, {} {}, {:.2} M parameters",
                reports.detector.arch,
                preprocess.width,
                preprocess.height,
                preprocess.channels,
                if preprocess.channels == 1 { "channel" } else { "channels" },
                reports.detector.graph.param_count() as f64 / 1e6
            ),
        ),
        ("Time", time(reports)),
    ];
    lines.extend(machine::describe());
    lines.push(("Program", format!("oxidet {}", env!("CARGO_PKG_VERSION"))));
    let rows: String = lines
        .iter()
        .map(|(name, text)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(text)))
        .collect();
    format!("<div class=\"wide\"><table class=\"plain facts\">\n{rows}</table></div>\n")
}

fn time(reports: &Reports) -> String {
    let all = span(reports.run.started.elapsed());
    let resumed = match reports.run.from {
        from if from.step == 0 => String::new(),
        from => format!(" since it was resumed after epoch {}", from.epoch),
    };
    format!("{all}{resumed}, {} of it learning, from {} images", span(reports.pace.time), reports.pace.images)
}

fn spec(reports: &Reports) -> String {
    format!(
        "<details><summary>{}</summary>\n<pre>{}</pre></details>\n",
        escape(&reports.run.spec_name),
        escape(&reports.run.spec_text)
    )
}

/// Hours, minutes and seconds.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
