//! What the network is for: input, classes, heads.

use oxidet_graph::Detector;
use oxidet_vision::{Head, Preprocess};

use super::Section;
use crate::cmd::inspect::input;

pub fn section(before: &Detector, after: &Detector) -> Section {
    let mut lines = Vec::new();
    let mut line = |what: &str, same: bool, told: &dyn Fn(&Detector) -> String| {
        if !same {
            lines.push(format!("{what}: {}, was {}", told(after), told(before)));
        }
    };
    line("architecture", before.arch == after.arch, &|detector| detector.arch.clone());
    line("input", before.preprocess == after.preprocess, &|detector| input(&detector.preprocess));
    line("classes", before.classes == after.classes, &|detector| detector.classes.join(", "));
    for number in 0..before.heads.len().max(after.heads.len()) {
        let of = |detector: &Detector| {
            let head = detector.heads.get(number)?;
            Some((detector.graph.node(head.output).name.clone(), head.geometry.clone()))
        };
        let same = of(before) == of(after);
        line(&format!("head {}", number + 1), same, &|detector| {
            of(detector)
                .map_or("none".into(), |(layer, geometry)| head(&layer, &geometry, &detector.preprocess))
        });
    }
    Section::new("Detector", lines)
}

fn head(layer: &str, geometry: &Head, input: &Preprocess) -> String {
    // To a thousandth of a pixel: anchors are kept as fractions of the input.
    let pixels = |fraction: f32, side: usize| (fraction * side as f32 * 1e3).round() / 1e3;
    let anchors = geometry.anchors.iter();
    let anchors =
        anchors.map(|(w, h)| format!("({}, {})", pixels(*w, input.width), pixels(*h, input.height)));
    format!(
        "`{layer}`, stride {}, anchors {}, grid_xy_extend {}",
        geometry.stride,
        anchors.collect::<Vec<_>>().join(" "),
        geometry.grid_xy_extend
    )
}
