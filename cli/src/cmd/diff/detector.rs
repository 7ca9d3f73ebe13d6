//! What the network is for: input, classes, heads.

use oxidet_graph::Detector;

use super::Section;
use crate::cmd::inspect::input;

pub fn section(before: &Detector, after: &Detector) -> Section {
    let mut lines = Vec::new();
    let mut line = |what: &str, before: String, after: String| {
        if before != after {
            lines.push(format!("{what}: {after}, was {before}"));
        }
    };
    line("architecture", before.arch.clone(), after.arch.clone());
    line("input", input(&before.preprocess), input(&after.preprocess));
    line("classes", before.classes.join(", "), after.classes.join(", "));
    for number in 0..before.heads.len().max(after.heads.len()) {
        line(&format!("head {}", number + 1), head(before, number), head(after, number));
    }
    Section::new("Detector", lines)
}

fn head(detector: &Detector, number: usize) -> String {
    let Some(head) = detector.heads.get(number) else { return "none".into() };
    let (width, height) = (detector.preprocess.width as f32, detector.preprocess.height as f32);
    let anchors: Vec<String> =
        head.geometry.anchors.iter().map(|(w, h)| format!("({}, {})", w * width, h * height)).collect();
    format!(
        "`{}`, stride {}, anchors {}, grid_xy_extend {}",
        detector.graph.node(head.output).name,
        head.geometry.stride,
        anchors.join(" "),
        head.geometry.grid_xy_extend
    )
}
