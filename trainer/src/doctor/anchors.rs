//! How the anchors of the spec fit the boxes.

use oxidet_proto::lint::Checked;
use oxidet_vision::shape_iou;

use super::Part;
use super::boxes::STRIDES;
use super::classes::is_trained;
use super::report::{Finding, Severity};
use crate::data::Split;

/// Mean best overlap below which new anchors are worth their while.
const GOOD: f64 = 0.6;

/// How the anchors fit the boxes that are trained on. Boxes and anchors are compared as shapes, as shares of image and input.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorFit {
    /// Boxes compared.
    pub boxes: usize,
    /// Mean overlap of a box with the anchor it fits best, in [0, 1].
    pub mean_best_iou: f64,
    /// Share of boxes that fit no anchor by `box_matching_iou`, in [0, 1].
    pub below_matching_iou: f64,
    /// The spec's `box_matching_iou`.
    pub box_matching_iou: f64,
    /// Each anchor, largest stride first.
    pub anchors: Vec<AnchorUse>,
}

/// One anchor.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorUse {
    /// Stride of its head in pixels.
    pub stride: usize,
    /// Width at the network's input in pixels.
    pub width: f32,
    /// Height at the network's input in pixels.
    pub height: f32,
    /// Boxes that it fits best.
    pub boxes: usize,
}

pub(super) fn examine(
    spec: &Checked,
    train: &Part,
    input: (usize, usize),
    findings: &mut Vec<Finding>,
) -> Option<AnchorFit> {
    let fit = measure(spec, train, input)?;
    if fit.mean_best_iou < GOOD {
        let message = format!(
            "the anchors fit the boxes by {:.2} on average; {GOOD} and more is usual",
            fit.mean_best_iou
        );
        let help = "compute new ones with `oxidet kmeans -e SPEC --write`";
        findings.push(Finding::new("D151", Severity::Warning, Split::Train, message, help));
    }
    Some(fit)
}

fn measure(spec: &Checked, train: &Part, input: (usize, usize)) -> Option<AnchorFit> {
    let heads = spec.anchors().heads().zip(STRIDES);
    let mut anchors: Vec<AnchorUse> = heads
        .flat_map(|(group, stride)| {
            group.iter().map(move |(width, height)| AnchorUse {
                stride,
                width: *width,
                height: *height,
                boxes: 0,
            })
        })
        .collect();
    let matching = f64::from(spec.yolov4().box_matching_iou);
    let (input_width, input_height) = (input.0 as f64, input.1 as f64);
    let shapes: Vec<(f64, f64)> = anchors
        .iter()
        .map(|anchor| (f64::from(anchor.width) / input_width, f64::from(anchor.height) / input_height))
        .collect();
    let (mut boxes, mut sum, mut below) = (0, 0.0, 0);
    for sample in &train.dataset.samples {
        for object in sample.objects.iter().filter(|object| is_trained(spec, object)) {
            let b = object.bbox;
            let shape =
                (f64::from(b.width()) / sample.width as f64, f64::from(b.height()) / sample.height as f64);
            let overlaps = shapes.iter().map(|anchor| shape_iou(*anchor, shape)).enumerate();
            // Of equals the first.
            let (best, overlap) = overlaps.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
            anchors[best].boxes += 1;
            boxes += 1;
            sum += overlap;
            below += usize::from(overlap < matching);
        }
    }
    (boxes > 0).then(|| AnchorFit {
        boxes,
        mean_best_iou: sum / boxes as f64,
        below_matching_iou: below as f64 / boxes as f64,
        box_matching_iou: matching,
        anchors,
    })
}
