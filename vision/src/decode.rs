//! From the raw maps of the heads to boxes and scores (YOLOv4, Bochkovskiy et al. 2020).
//!
//! Channel `a · (5 + K) + f` of a head's map is field `f` of anchor `a`; the fields are
//! `[t_y, t_x, t_h, t_w, objectness, class 0 … K − 1]`, y before x. With g = 1 + `grid_xy_extend`:
//!
//! ```text
//! centre = (cell + g · σ(t) − (g − 1) / 2) / cells        size = anchor · exp(min(t, 8))
//! score of class k = σ(class k) · σ(objectness)
//! ```

use crate::{Head, RawDetections};

/// Largest exponent of a size: e⁸ is 2981 anchors.
pub const MAX_SIZE_LOGIT: f32 = 8.0;

/// Decodes the maps `[N, A · (5 + K), rows, columns]` of all heads, in head order, for an input of `height` × `width`.
///
/// # Panics
/// When a map does not have the size its head and `classes` ask for.
pub fn decode(
    maps: &[&[f32]],
    heads: &[Head],
    height: usize,
    width: usize,
    batch: usize,
    classes: usize,
    out: &mut RawDetections,
) {
    let candidates: usize = heads.iter().map(|head| head.boxes(height, width)).sum();
    out.resize(batch, candidates, classes);
    let fields = 5 + classes;
    let mut first = 0;
    for (map, head) in maps.iter().zip(heads) {
        let (rows, columns) = head.grid(height, width);
        let (cells, anchors) = (rows * columns, head.anchors.len());
        assert_eq!(map.len(), batch * anchors * fields * cells, "map of the head at stride {}", head.stride);
        let scale = 1.0 + head.grid_xy_extend;
        let shift = head.grid_xy_extend / 2.0;
        for image in 0..batch {
            for (a, &(anchor_w, anchor_h)) in head.anchors.iter().enumerate() {
                let map = &map[(image * anchors + a) * fields * cells..][..fields * cells];
                for cell in 0..cells {
                    let field = |f: usize| map[f * cells + cell];
                    let (row, column) = (cell / columns, cell % columns);
                    let cy = (row as f32 + scale * sigmoid(field(0)) - shift) / rows as f32;
                    let cx = (column as f32 + scale * sigmoid(field(1)) - shift) / columns as f32;
                    let h = anchor_h * field(2).min(MAX_SIZE_LOGIT).exp();
                    let w = anchor_w * field(3).min(MAX_SIZE_LOGIT).exp();
                    let candidate = image * candidates + first + cell * anchors + a;
                    out.boxes[candidate * 4..][..4].copy_from_slice(&[
                        cx - w / 2.0,
                        cy - h / 2.0,
                        cx + w / 2.0,
                        cy + h / 2.0,
                    ]);
                    let objectness = sigmoid(field(4));
                    let scores = &mut out.scores[candidate * classes..][..classes];
                    for (class, score) in scores.iter_mut().enumerate() {
                        *score = sigmoid(field(5 + class)) * objectness;
                    }
                }
            }
        }
        first += head.boxes(height, width);
    }
}

/// The logistic function `1 / (1 + e⁻ˣ)`.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_by_head_row_column_anchor() {
        let heads = [
            Head { stride: 32, anchors: vec![(0.5, 0.25), (0.1, 0.2)], grid_xy_extend: 0.05 },
            Head { stride: 16, anchors: vec![(0.3, 0.3), (0.2, 0.1)], grid_xy_extend: 0.0 },
        ];
        let (height, width, classes) = (32, 64, 2);
        let value = |i: usize| ((i as f32 * 0.37).sin()) * 3.0;
        let maps: Vec<Vec<f32>> =
            heads.iter().map(|head| (0..head.boxes(height, width) * 7 * 2).map(value).collect()).collect();
        let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let mut out = RawDetections::default();
        decode(&views, &heads, height, width, 2, classes, &mut out);
        assert_eq!(out.candidates, 4 + 16);

        // image 1, second head, row 1, column 2, anchor 1, written out in f64.
        let (rows, columns, cells) = (2, 4, 8);
        let at = |f: usize| f64::from(maps[1][((2 + 1) * 7 + f) * cells + columns + 2]);
        let s = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (cy, cx) = ((1.0 + s(at(0))) / rows as f64, (2.0 + s(at(1))) / columns as f64);
        let (h, w) = (0.1 * at(2).exp(), 0.2 * at(3).exp());
        let want = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        let candidate = 4 + (columns + 2) * 2 + 1;
        for (got, want) in out.image_boxes(1)[candidate * 4..][..4].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
        let got = out.image_scores(1)[candidate * 2 + 1];
        assert!((f64::from(got) - s(at(6)) * s(at(4))).abs() < 1e-6);
    }

    #[test]
    fn sizes_are_capped_and_centres_may_leave_the_cell() {
        let head = [Head { stride: 32, anchors: vec![(0.5, 0.5)], grid_xy_extend: 0.2 }];
        let map = [50.0, -50.0, 100.0, 8.0, 0.0, 0.0];
        let mut out = RawDetections::default();
        decode(&[&map], &head, 32, 32, 1, 1, &mut out);
        let [x1, y1, x2, y2] = out.boxes[..] else { panic!() };
        assert!(((x1 + x2) / 2.0 + 0.1).abs() < 1e-3 && ((y1 + y2) / 2.0 - 1.1).abs() < 1e-3);
        assert!((x2 - x1 - 0.5 * 8f32.exp()).abs() < 1e-2 && (y2 - y1 - 0.5 * 8f32.exp()).abs() < 1e-2);
        assert_eq!(out.scores, [0.25]);
    }
}
