//! A report as one page for a browser: numbers, charts and pictures, with nothing to load from elsewhere.

mod chart;

use std::fmt::Write as _;
use std::path::Path;

use super::report::{Example, Finding, Report, Severity, split_name};
use super::{AnchorFit, Part};
use crate::data::{Object, Sample};
use crate::page::{class_name, colour, document, escape, section, thumbnail, tile};

/// Sample pictures.
const SAMPLES: usize = 12;
/// Examples of a finding that are shown as pictures.
const PICTURED: usize = 6;
const STYLE: &str = include_str!("page/style.css");

/// The page of a report about the data of `spec`, a name.
pub fn page(report: &Report, spec: &str) -> String {
    let body = [
        tiles(report),
        findings(report),
        classes(report),
        section("Box sizes", &chart::sizes(report)),
        report.anchors.as_ref().map(|fit| section("Anchors", &anchors(fit))).unwrap_or_default(),
        section("Boxes per image", &chart::boxes_per_image(report)),
        section("Samples", &samples(report)),
    ]
    .concat();
    let header = format!("<header><h1>Data set</h1><p class=\"spec\">{}</p></header>\n", escape(spec));
    document(&format!("Data set of {spec}"), STYLE, &(header + &body))
}

fn tiles(report: &Report) -> String {
    let mut out = String::from("<div class=\"tiles\">\n");
    for (severity, one, many) in
        [(Severity::Error, "error", "errors"), (Severity::Warning, "warning", "warnings")]
    {
        let count = report.count(severity);
        let class = if count == 0 { "good" } else { severity.name() };
        out += &tile(class, &count.to_string(), if count == 1 { one } else { many });
    }
    for (part, images, boxes) in [
        (&report.train, "training images", "training boxes"),
        (&report.validation, "validation images", "validation boxes"),
    ] {
        out += &tile("", &part.dataset.samples.len().to_string(), images);
        out += &tile("", &part.boxes().to_string(), boxes);
    }
    out + "</div>\n"
}

fn findings(report: &Report) -> String {
    if report.findings.is_empty() {
        return section("Findings", "<p>Nothing is wrong.</p>\n");
    }
    let cards: String = report.findings.iter().map(|finding| card(report, finding)).collect();
    section("Findings", &cards)
}

fn card(report: &Report, finding: &Finding) -> String {
    let severity = finding.severity.name();
    let split = finding.split.map(|split| format!("<span class=\"split\">{}</span> ", split_name(split)));
    let mut out = format!(
        "<article class=\"{severity}\">\n<h3><span class=\"badge\">{severity} {}</span> {}{}</h3>\n<p>{}</p>\n",
        finding.id,
        split.unwrap_or_default(),
        prose(&finding.message),
        prose(finding.help)
    );
    let pictures: String =
        finding.examples.iter().take(PICTURED).filter_map(|example| pictured(report, example)).collect();
    if !pictures.is_empty() {
        let _ = writeln!(out, "<div class=\"examples\">\n{pictures}</div>");
    }
    if !finding.examples.is_empty() {
        let lines: String =
            finding.examples.iter().map(|example| format!("<li>{}</li>\n", escape(&example.text))).collect();
        let more = if finding.more > 0 {
            format!("<li>… and {} more</li>\n", finding.more)
        } else {
            String::new()
        };
        // Where there are pictures, the names are the second thing to look at.
        let open = if pictures.is_empty() { " open" } else { "" };
        let count = finding.examples.len() + finding.more;
        let _ = writeln!(
            out,
            "<details{open}><summary>{count} in all</summary>\n<ul>\n{lines}{more}</ul></details>"
        );
    }
    out + "</article>\n"
}

fn pictured(report: &Report, example: &Example) -> Option<String> {
    let images: Vec<String> = example
        .pictures
        .iter()
        .filter_map(|shown| pictured_boxes(&shown.image, report.depth, &shown.objects))
        .map(|uri| image(&uri, &example.text))
        .collect();
    let class = if images.len() > 1 { "pair" } else { "one" };
    let row = images.concat();
    (!images.is_empty()).then(|| {
        format!(
            "<figure class=\"{class}\"><div>{row}</div><figcaption>{}</figcaption></figure>\n",
            escape(&example.text)
        )
    })
}

/// A small picture with boxes as a `data:` address; nothing when the image cannot be read.
fn pictured_boxes(image: &Path, depth: u8, objects: &[Object]) -> Option<String> {
    thumbnail(image, depth)?.with_boxes(objects).uri()
}

fn image(uri: &str, alt: &str) -> String {
    format!("<img src=\"{uri}\" alt=\"{}\" loading=\"lazy\">", escape(alt))
}

fn classes(report: &Report) -> String {
    let most =
        report.parts().iter().flat_map(|part| &part.classes).map(|class| class.boxes).max().unwrap_or(0);
    let mut rows = String::new();
    for (id, name) in report.classes.iter().enumerate() {
        let bars: String = report
            .parts()
            .iter()
            .map(|part| {
                bar(split_name(part.split), part.classes[id].boxes, most, &colour(id), detail(part, id))
            })
            .collect();
        let _ =
            writeln!(rows, "<div class=\"class\"><b>{}</b></div>\n<div>{bars}</div>", class_name(id, name));
    }
    let mut out = format!("<div class=\"classes\">\n{rows}</div>\n");
    let unmapped: String = report
        .parts()
        .iter()
        .filter(|part| !part.dataset.summary.unmapped.is_empty())
        .map(|part| {
            let names =
                part.dataset.summary.unmapped.iter().map(|(name, count)| format!("{} {count}", escape(name)));
            let names: Vec<String> = names.collect();
            format!(
                "<p class=\"note\">Not mapped, background in {}: {}</p>\n",
                split_name(part.split),
                names.join(", ")
            )
        })
        .collect();
    out += &unmapped;
    section("Boxes per class", &out)
}

fn detail(part: &Part, class: usize) -> String {
    let class = &part.classes[class];
    let images = part.dataset.samples.len();
    let difficult =
        if class.difficult > 0 { format!(", {} difficult", class.difficult) } else { String::new() };
    format!("{} <small>in {} of {images} images{difficult}</small>", class.boxes, class.images)
}

fn bar(name: &str, count: usize, most: usize, colour: &str, detail: String) -> String {
    let percent = 100.0 * count as f64 / most.max(1) as f64;
    format!(
        "<div class=\"bar\"><span>{name}</span><i><u style=\"width:{percent:.1}%;background:{colour}\"></u></i><span>{detail}</span></div>\n"
    )
}

fn anchors(fit: &AnchorFit) -> String {
    let most = fit.anchors.iter().map(|anchor| anchor.boxes).max().unwrap_or(0);
    let rows: String = fit
        .anchors
        .iter()
        .map(|anchor| {
            let name = format!("{}×{} <small>stride {}</small>", anchor.width, anchor.height, anchor.stride);
            bar(&name, anchor.boxes, most, "var(--accent)", anchor.boxes.to_string())
        })
        .collect();
    format!(
        "<p>The best anchor of a box overlaps it by <b>{:.3}</b> on average. {:.1} % of {} boxes overlap none by {} \
         (box_matching_iou). Boxes that each anchor fits best:</p>\n<div class=\"anchors\">{rows}</div>\n",
        fit.mean_best_iou,
        100.0 * fit.below_matching_iou,
        fit.boxes,
        fit.box_matching_iou as f32
    )
}

fn samples(report: &Report) -> String {
    let legend: String = report
        .classes
        .iter()
        .enumerate()
        .map(|(id, name)| format!("<span>{}</span> ", class_name(id, name)))
        .collect();
    let samples = &report.train.dataset.samples;
    let step = samples.len().div_ceil(SAMPLES).max(1);
    let figures: String = samples.iter().step_by(step).filter_map(|sample| figure(report, sample)).collect();
    format!("<p class=\"legend\">{legend}</p>\n<div class=\"grid\">\n{figures}</div>\n")
}

fn figure(report: &Report, sample: &Sample) -> Option<String> {
    let uri = pictured_boxes(&sample.image, report.depth, &sample.objects)?;
    let name = sample.image.file_name().unwrap_or_default().to_string_lossy();
    let caption = format!(
        "{} <small>{}×{}, {} boxes</small>",
        escape(&name),
        sample.width,
        sample.height,
        sample.objects.len()
    );
    Some(format!("<figure>{}<figcaption>{caption}</figcaption></figure>\n", image(&uri, &name)))
}

/// A sentence, what is between backticks as code.
fn prose(text: &str) -> String {
    let parts = escape(text);
    let parts: Vec<&str> = parts.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    let part = |(i, part): (usize, &&str)| {
        if i % 2 == 1 { format!("<code>{part}</code>") } else { (*part).to_owned() }
    };
    parts.iter().enumerate().map(part).collect()
}
