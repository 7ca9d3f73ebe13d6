//! Rules about the three anchor strings of `yolov4_config`.

use crate::lint::findings::Findings;
use crate::spec::arch::{ArchInfo, find};
use crate::spec::{Experiment, parse_anchors};

/// One group: where it is written, and its anchors if they can be read.
struct Group {
    field: &'static str,
    path: &'static str,
    anchors: Vec<(f32, f32)>,
}

/// The groups that can be read and are not empty, from big to small.
fn groups(spec: &Experiment) -> Vec<Group> {
    let fields = written(spec).into_iter();
    let read = fields.filter_map(|(path, text)| {
        let anchors = parse_anchors(text).ok()?;
        Some(Group { field: path.rsplit('.').next().unwrap_or(path), path, anchors })
    });
    read.collect()
}

fn written(spec: &Experiment) -> [(&'static str, &str); 3] {
    let yolov4 = spec.yolov4();
    [
        ("yolov4_config.big_anchor_shape", &yolov4.big_anchor_shape),
        ("yolov4_config.mid_anchor_shape", &yolov4.mid_anchor_shape),
        ("yolov4_config.small_anchor_shape", &yolov4.small_anchor_shape),
    ]
}

pub(super) fn can_be_read(spec: &Experiment, findings: &mut Findings<'_>) {
    for (path, text) in written(spec) {
        if text.is_empty() {
            continue; // whether it may be, `fit_heads` says
        }
        if let Err(error) = parse_anchors(text) {
            let finding = findings.error_inside(path, error.offset, error.length, error.message);
            finding.help(
                "write anchors like \"[(10.5, 13), (16, 30)]\": width and height in px of the network input",
            );
        }
    }
}

pub(super) fn fit_heads(spec: &Experiment, findings: &mut Findings<'_>) {
    if spec.yolov4_config.is_none() {
        return;
    }
    let arch: Option<&ArchInfo> = find(&spec.yolov4().arch);
    for ((path, text), stride) in written(spec).into_iter().zip([32, 16, 8]) {
        let field = path.rsplit('.').next().unwrap_or(path);
        let has_head = stride != 8 || arch.is_none_or(|arch| arch.heads == 3);
        if has_head && text.is_empty() {
            let finding = findings
                .error(path, format!("`{field}` is missing: the head at stride {stride} needs anchors"));
            finding.help("`oxidet kmeans` computes anchors from labels");
        } else if let (false, Some(arch), false) = (has_head, arch, text.is_empty()) {
            let message = format!("`{}` has no head at stride {stride}, so it takes no `{field}`", arch.name);
            findings.error(path, message).help("remove the field, or use `cspdarknet_tiny_3l`");
        }
    }
}

pub(super) fn are_as_many(spec: &Experiment, findings: &mut Findings<'_>) {
    let groups = groups(spec);
    let Some((first, others)) = groups.split_first() else { return };
    let wanted = first.anchors.len();
    for group in others.iter().filter(|group| group.anchors.len() != wanted) {
        let message =
            format!("`{}` has {} anchors, `{}` has {wanted}", group.field, group.anchors.len(), first.field);
        findings.error(group.path, message).reason("every head predicts as many boxes per cell");
    }
}

pub(super) fn grow(spec: &Experiment, findings: &mut Findings<'_>) {
    let mean_area =
        |group: &Group| group.anchors.iter().map(|(w, h)| w * h).sum::<f32>() / group.anchors.len() as f32;
    for pair in groups(spec).windows(2) {
        let [bigger, smaller] = pair else { continue };
        if mean_area(smaller) > mean_area(bigger) {
            let message =
                format!("the anchors of `{}` are larger than those of `{}`", smaller.field, bigger.field);
            let finding = findings.warning(smaller.path, message);
            finding
                .reason("large objects are found at stride 32, small ones at stride 8")
                .help("swap the two");
        }
    }
}

pub(super) fn fit_input(spec: &Experiment, findings: &mut Findings<'_>) {
    let (width, height) = (spec.augmentation().output_width, spec.augmentation().output_height);
    if width <= 0 || height <= 0 {
        return;
    }
    for group in groups(spec) {
        if let Some((w, h)) = group.anchors.iter().find(|(w, h)| *w > width as f32 || *h > height as f32) {
            let finding = findings.warning(
                group.path,
                format!("the anchor ({w}, {h}) is larger than the input, {width}x{height}"),
            );
            finding
                .reason("anchors are in px of the network input")
                .help("`oxidet kmeans` computes anchors from labels");
        }
    }
}
