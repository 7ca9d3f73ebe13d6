//! A gallery of mistakes as a page for a browser.

use std::fmt::Write as _;

use oxidet_vision::metrics::{ConfusionMatrix, Counts};

use super::mistakes::Kind;
use super::results::labels;
use crate::page::{document, escape, section, tile};

const STYLE: &str = include_str!("page/style.css");

/// A picture of the gallery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its file, beside the page.
    pub file: String,
    /// Name of the image.
    pub name: String,
    /// What is wrong there.
    pub summary: String,
}

/// The page of a gallery of the mistakes of `model`, a name.
pub fn mistakes_page(
    model: &str,
    classes: &[String],
    confusion: &ConfusionMatrix,
    shown: &[Shown],
) -> String {
    let pictures = section("Worst images", &pictures(shown));
    let matrix = section("Confusion matrix", &confusion_table(classes, confusion));
    let header = format!("<header><h1>Mistakes</h1><p class=\"spec\">{}</p></header>\n", escape(model));
    document(&format!("Mistakes of {model}"), STYLE, &[header, tiles(confusion), pictures, matrix].concat())
}

fn tiles(confusion: &ConfusionMatrix) -> String {
    let sum =
        |of: fn(Counts) -> usize| (0..confusion.classes()).map(|class| of(confusion.of_class(class))).sum();
    let right: usize = sum(|counts| counts.true_positives);
    let objects = right + sum(|counts| counts.false_negatives);
    let background = |class: usize| confusion.count(None, Some(class));
    let missed: usize = (0..confusion.classes()).map(|class| confusion.count(Some(class), None)).sum();
    let nothing: usize = (0..confusion.classes()).map(background).sum();
    let tiles = [
        ("", objects, "objects"),
        ("good", right, "found"),
        ("warning", missed, "missed"),
        ("error", nothing, "nothing there"),
        ("", objects - right - missed, "taken for another class"),
    ];
    let tiles: String =
        tiles.into_iter().map(|(class, number, what)| tile(class, &number.to_string(), what)).collect();
    format!(
        "<div class=\"tiles\">\n{tiles}</div>\n<p class=\"note\">Detections of score {} or more; a detection belongs to an object \
         when they overlap by {} or more (IoU).</p>\n",
        confusion.score_threshold(),
        confusion.iou_threshold()
    )
}

fn pictures(shown: &[Shown]) -> String {
    if shown.is_empty() {
        return "<p>There are no mistakes.</p>\n".into();
    }
    let mut out = String::from("<p class=\"legend\">");
    for kind in Kind::ALL {
        let [r, g, b] = kind.colour();
        let _ = write!(
            out,
            "<span><span class=\"dot\" style=\"background:rgb({r},{g},{b})\"></span>{}</span> ",
            kind.meaning()
        );
    }
    out += "</p>\n<div class=\"mistakes\">\n";
    for Shown { file, name, summary } in shown {
        let (file, name, summary) = (escape(file), escape(name), escape(summary));
        let _ = writeln!(
            out,
            "<figure><a href=\"{file}\"><img src=\"{file}\" alt=\"{name}\" loading=\"lazy\"></a>\
             <figcaption><b>{name}</b> {summary}</figcaption></figure>"
        );
    }
    out + "</div>\n"
}

/// A confusion matrix as HTML. Each cell is as dark as its share of the row.
pub(crate) fn confusion_table(classes: &[String], confusion: &ConfusionMatrix) -> String {
    let mut out = String::from(
        "<p class=\"note\">A row for what is there, a column for what it was detected as.</p>\n\
         <div class=\"wide\"><table class=\"matrix\">\n<tr><th></th>",
    );
    for label in labels(classes) {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(label));
    }
    out += "</tr>\n";
    for (row, (label, counts)) in labels(classes).zip(confusion.rows()).enumerate() {
        let all: usize = counts.iter().sum();
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(label));
        for (column, count) in counts.iter().enumerate() {
            let class = if row == column { "right" } else { "wrong" };
            let percent = 100.0 * *count as f64 / all.max(1) as f64;
            let text = if *count > 0 { count.to_string() } else { String::new() };
            let _ = write!(out, "<td class=\"{class}\" style=\"--share:{percent:.0}%\">{text}</td>");
        }
        out += "</tr>\n";
    }
    out + "</table></div>\n"
}
