//! From the heads' maps to boxes and scores, in plain operators. The formulas are those of [`oxidet_vision::decode`].
//!
//! The maps become rows `[N, B, 1, 5 + K]`, all heads in one tensor; every step after that is pointwise with constants per row.

use oxidet_proto::onnx::{AttributeProto, DataType};
use oxidet_vision::MAX_SIZE_LOGIT;

use super::layers::value;
use super::{BOXES, FloatType, SCORES, Writer};
use crate::{Detector, MapShape};

/// Name of a constant that has a number for each candidate.
pub(super) const OF_EACH_CANDIDATE: &str = "box/x_scale";

/// Appends the decoding; returns the number of candidate boxes B.
pub(super) fn write(writer: &mut Writer, detector: &Detector, shapes: &[MapShape]) -> usize {
    let classes = detector.classes.len() as i64;
    let rows = write_rows(writer, detector, shapes);
    let constants = Constants::new(detector, shapes);
    let candidates = constants.anchor_h.len();

    let field =
        |writer: &mut Writer, name: &str, at: i64, len: i64| writer.slice(name, &rows, 3, at, at + len);
    let per_row = |writer: &mut Writer, name: &str, data: &[f32]| {
        writer.floats(name, &[1, data.len() as i64, 1, 1], data)
    };
    let mut corners = Vec::new();
    for (axis, logit, size_logit, scale, offset, anchor) in [
        ("x", 1, 3, &constants.scale_x, &constants.offset_x, &constants.anchor_w),
        ("y", 0, 2, &constants.scale_y, &constants.offset_y, &constants.anchor_h),
    ] {
        let name = |what: &str| format!("box/{axis}_{what}");
        let raw = field(writer, &name("logit"), logit, 1);
        let share = writer.node("Sigmoid", &name("sigmoid"), &[&raw], Vec::new());
        let scale = per_row(writer, &name("scale"), scale);
        let scaled = writer.node("Mul", &name("scaled"), &[&share, &scale], Vec::new());
        let offset = per_row(writer, &name("offset"), offset);
        let centre = writer.node("Add", &name("centre"), &[&scaled, &offset], Vec::new());

        let raw = field(writer, &name("size_logit"), size_logit, 1);
        let cap = writer.floats(&name("cap"), &[1], &[MAX_SIZE_LOGIT]);
        let capped = writer.node("Min", &name("capped"), &[&raw, &cap], Vec::new());
        let factor = writer.node("Exp", &name("factor"), &[&capped], Vec::new());
        let half_anchor: Vec<f32> = anchor.iter().map(|side| side / 2.0).collect();
        let half_anchor = per_row(writer, &name("half_anchor"), &half_anchor);
        let half = writer.node("Mul", &name("half"), &[&factor, &half_anchor], Vec::new());
        corners.push(writer.node("Sub", &name("1"), &[&centre, &half], Vec::new()));
        corners.push(writer.node("Add", &name("2"), &[&centre, &half], Vec::new()));
    }
    let [x1, x2, y1, y2] = &corners[..] else { unreachable!("two corners for each of two axes") };
    writer.node("Concat", BOXES, &[x1, y1, x2, y2], vec![AttributeProto::int("axis", 3)]);

    let raw = field(writer, "cls/logits", 5, classes);
    let raw = writer.reshape("cls/rows", &raw, &[0, candidates as i64, classes, 1]);
    let probability = writer.node("Sigmoid", "cls/sigmoid", &[&raw], Vec::new());
    let raw = field(writer, "cls/objectness_logit", 4, 1);
    let objectness = writer.node("Sigmoid", "cls/objectness", &[&raw], Vec::new());
    writer.node("Mul", SCORES, &[&probability, &objectness], Vec::new());
    candidates
}

/// Rows `[N, B, 1, 5 + K]` of all heads: cells in row order, anchors within a cell.
fn write_rows(writer: &mut Writer, detector: &Detector, shapes: &[MapShape]) -> String {
    let fields = 5 + detector.classes.len() as i64;
    let mut heads = Vec::new();
    for head in &detector.heads {
        let map = value(&detector.graph, head.output);
        let single = match writer.float {
            FloatType::F32 => map.to_owned(),
            FloatType::F16 => writer.cast(&format!("{map}/single"), map, DataType::Float),
        };
        let shape = shapes[head.output.index()];
        let rows = (shape.height * shape.width * head.geometry.anchors.len()) as i64;
        let last = AttributeProto::ints("perm", [0, 2, 3, 1]);
        let moved = writer.node("Transpose", &format!("{map}/transposed"), &[&single], vec![last]);
        heads.push(writer.reshape(&format!("{map}/rows"), &moved, &[0, rows, 1, fields]));
    }
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    writer.node("Concat", "encoded_detections", &heads, vec![AttributeProto::int("axis", 1)])
}

/// What decoding adds to a row: `centre = σ(t) · scale + offset`, `size = anchor · exp(min(t, 8))`.
#[derive(Default)]
struct Constants {
    scale_x: Vec<f32>,
    offset_x: Vec<f32>,
    anchor_w: Vec<f32>,
    scale_y: Vec<f32>,
    offset_y: Vec<f32>,
    anchor_h: Vec<f32>,
}

impl Constants {
    fn new(detector: &Detector, shapes: &[MapShape]) -> Self {
        let mut constants = Self::default();
        for head in &detector.heads {
            let MapShape { height, width, .. } = shapes[head.output.index()];
            let extend = f64::from(head.geometry.grid_xy_extend);
            let scale = |cells: usize| ((1.0 + extend) / cells as f64) as f32;
            let offset = |cell: usize, cells: usize| ((cell as f64 - extend / 2.0) / cells as f64) as f32;
            for row in 0..height {
                for column in 0..width {
                    for &(anchor_w, anchor_h) in &head.geometry.anchors {
                        constants.scale_x.push(scale(width));
                        constants.offset_x.push(offset(column, width));
                        constants.anchor_w.push(anchor_w);
                        constants.scale_y.push(scale(height));
                        constants.offset_y.push(offset(row, height));
                        constants.anchor_h.push(anchor_h);
                    }
                }
            }
        }
        constants
    }
}
