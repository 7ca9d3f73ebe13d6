//! Charts, drawn as SVG.

use std::fmt::Write as _;

use super::super::boxes::STRIDES;
use super::super::classes::input_size;
use super::super::report::{Report, split_name};
use crate::page::{class_name, colour};

/// Points of a scatter; more would only make the page heavy.
const POINTS: usize = 4000;

/// Pixels of the plot of sizes, and what is left around it for numbers.
const PLOT: f32 = 420.0;
const LEFT: f32 = 44.0;
const BELOW: f32 = 40.0;
const ABOVE: f32 = 10.0;
const RIGHT: f32 = 20.0;

/// Widths and heights of the training boxes at the network's input, on logarithmic axes, with anchors and strides.
pub(super) fn sizes(report: &Report) -> String {
    let mut points = Vec::new();
    for sample in &report.train.dataset.samples {
        for object in &sample.objects {
            points.push((input_size(sample, &object.bbox, report.input), object.class));
        }
    }
    if points.is_empty() {
        return "<p>There are no training boxes.</p>\n".into();
    }
    let anchors = report.anchors.iter().flat_map(|fit| &fit.anchors);
    let smallest_stride = anchors.clone().map(|anchor| anchor.stride).min().unwrap_or(STRIDES[0]);
    // Whole powers of two around everything that is drawn, half the smallest stride included.
    let sides = points.iter().flat_map(|((w, h), _)| [*w, *h]);
    let least = sides.clone().fold(smallest_stride as f32 / 2.0, f32::min).max(1.0);
    let most =
        sides.chain(anchors.clone().flat_map(|anchor| [anchor.width, anchor.height])).fold(64.0, f32::max);
    let (first, last) = (least.log2().floor(), most.log2().ceil());
    let at = |pixels: f32| (pixels.max(least).log2().clamp(first, last) - first) / (last - first) * PLOT;
    let (x, y) = (|w: f32| LEFT + at(w), |h: f32| PLOT - at(h));

    let mut svg = format!(
        "<svg class=\"sizes\" viewBox=\"0 {} {} {}\" role=\"img\" aria-label=\"Box widths and heights\">\n\
         <rect class=\"ground\" x=\"{LEFT}\" y=\"0\" width=\"{PLOT}\" height=\"{PLOT}\"/>\n",
        -ABOVE,
        LEFT + PLOT + RIGHT,
        ABOVE + PLOT + BELOW
    );
    for power in first as i32..=last as i32 {
        let pixels = 2f32.powi(power);
        let (px, py) = (x(pixels), y(pixels));
        let _ = writeln!(
            svg,
            "<path class=\"grid-line\" d=\"M{px:.1} 0V{PLOT}M{LEFT} {py:.1}H{}\"/>\
             <text x=\"{px:.1}\" y=\"{}\" text-anchor=\"middle\">{pixels}</text>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{pixels}</text>",
            LEFT + PLOT,
            PLOT + 16.0,
            LEFT - 6.0,
            py + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">width, px at the input</text>\
         <text transform=\"translate(10 {}) rotate(-90)\" text-anchor=\"middle\">height</text>",
        LEFT + PLOT / 2.0,
        PLOT + 34.0,
        PLOT / 2.0
    );
    let step = points.len().div_ceil(POINTS);
    // Crowds need to be seen through.
    let opacity = if points.len() > 500 { 0.4 } else { 0.8 };
    for ((w, h), class) in points.iter().step_by(step) {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.2\" fill-opacity=\"{opacity}\" fill=\"{}\"/>",
            x(*w),
            y(*h),
            colour(*class)
        );
    }
    for anchor in anchors {
        let (px, py) = (x(anchor.width), y(anchor.height));
        let _ = writeln!(
            svg,
            "<path class=\"anchor\" d=\"M{:.1} {py:.1}h12M{px:.1} {:.1}v12\"><title>anchor {}×{}</title></path>",
            px - 6.0,
            py - 6.0,
            anchor.width,
            anchor.height
        );
    }
    for stride in STRIDES.into_iter().filter(|stride| *stride >= smallest_stride) {
        let (px, py) = (x(stride as f32), y(stride as f32));
        let _ = writeln!(
            svg,
            "<path class=\"stride\" d=\"M{LEFT} {py:.1}H{px:.1}V{PLOT}\"/>\
             <text class=\"stride-name\" x=\"{:.1}\" y=\"{:.1}\">stride {stride}</text>",
            LEFT + 4.0,
            py - 4.0
        );
    }
    svg += "</svg>\n";
    let shown = if step > 1 { format!(" One box in {step} is drawn.") } else { String::new() };
    let legend: String = report
        .classes
        .iter()
        .enumerate()
        .map(|(id, name)| format!("<li>{}</li>\n", class_name(id, name)))
        .collect();
    format!(
        "<div class=\"beside\">\n{svg}<div>\n<p>Each point is a training box as the network sees it, letterboxed to {}×{}. \
         Crosses are anchors. A box inside the dashed corner of a stride is smaller than a cell of that head; below half the \
         smallest stride it can hardly be learnt.{shown}</p>\n<ul class=\"legend\">\n{legend}</ul>\n</div>\n</div>\n",
        report.input.0, report.input.1
    )
}

/// How many images have how many boxes, a histogram for each split.
pub(super) fn boxes_per_image(report: &Report) -> String {
    const BINS: usize = 20;
    const BAR: usize = 20;
    const HEIGHT: f32 = 120.0;
    let mut out = String::from("<div class=\"histograms\">\n");
    for part in report.parts() {
        let counts = part.boxes_per_image();
        let Some((most, _)) = counts.last_key_value() else { continue };
        let width = (most + 1).div_ceil(BINS);
        let mut bins = vec![0; most / width + 1];
        for (boxes, images) in &counts {
            bins[boxes / width] += images;
        }
        let tallest = bins.iter().max().copied().unwrap_or(1).max(1);
        let _ = writeln!(
            out,
            "<figure><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Boxes per image\">",
            (BINS + 1) * BAR,
            HEIGHT + 34.0
        );
        for (bin, images) in bins.iter().enumerate() {
            let height = HEIGHT * *images as f32 / tallest as f32;
            let (left, first) = (bin * BAR, bin * width);
            let range =
                if width == 1 { first.to_string() } else { format!("{first} to {}", first + width - 1) };
            let _ = writeln!(
                out,
                "<rect class=\"column\" x=\"{}\" y=\"{:.1}\" width=\"{}\" height=\"{height:.1}\"><title>{images} images with {range} boxes</title></rect>",
                left + 1,
                HEIGHT + 14.0 - height,
                BAR - 2
            );
            if *images > 0 {
                let _ = writeln!(
                    out,
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\">{images}</text>",
                    left + BAR / 2,
                    HEIGHT + 10.0 - height
                );
            }
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{first}</text>",
                left + BAR / 2,
                HEIGHT + 28.0
            );
        }
        let _ = writeln!(out, "</svg><figcaption>{}</figcaption></figure>", split_name(part.split));
    }
    out + "</div>\n"
}
