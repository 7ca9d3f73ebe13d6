//! The target encoder: which row of the output answers for which object.
//!
//! An object takes every anchor whose shape overlaps its own by more than a threshold, and always the best one, in the cell
//! that holds its centre. Where objects compete for a row, the better overlap wins; a row that is some object's best is out of
//! reach for the others' extra matches, and a later best match takes it over. Rows are numbered by head (big objects first),
//! row, column, anchor, as everywhere.

use std::collections::BTreeMap;

use oxidet_vision::metrics::Truth;
use oxidet_vision::{Head, shape_iou};

/// A row of the output that answers for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Row among all heads of one image.
    pub row: usize,
    /// Index of the object.
    pub truth: usize,
}

/// Assigns the objects of one image, for an input of `height` × `width` pixels. Sorted by row, at most one object a row.
pub fn assign(
    truths: &[Truth],
    heads: &[Head],
    height: usize,
    width: usize,
    threshold: f64,
) -> Vec<Assignment> {
    struct Holder {
        truth: usize,
        overlap: f64,
        is_best: bool,
    }
    let mut rows: BTreeMap<usize, Holder> = BTreeMap::new();
    for (truth, object) in truths.iter().enumerate() {
        let b = object.bbox;
        let (w, h) = (f64::from(b.x2) - f64::from(b.x1), f64::from(b.y2) - f64::from(b.y1));
        let centre = ((f64::from(b.x1) + f64::from(b.x2)) / 2.0, (f64::from(b.y1) + f64::from(b.y2)) / 2.0);
        let mut best: Option<(usize, f64)> = None;
        let mut first = 0;
        for head in heads {
            let (grid_rows, grid_columns) = head.grid(height, width);
            let cell = |at: f64, cells: usize| (at * cells as f64).max(0.0).min(cells as f64 - 1e-3) as usize;
            let cell = cell(centre.1, grid_rows) * grid_columns + cell(centre.0, grid_columns);
            for (index, anchor) in head.anchors.iter().enumerate() {
                let row = first + cell * head.anchors.len() + index;
                let overlap = shape_iou((w, h), (f64::from(anchor.0), f64::from(anchor.1)));
                if best.is_none_or(|(_, most)| overlap > most) {
                    best = Some((row, overlap));
                }
                let holder = rows.get(&row);
                if overlap > threshold && holder.is_none_or(|held| !held.is_best && overlap > held.overlap) {
                    rows.insert(row, Holder { truth, overlap, is_best: false });
                }
            }
            first += head.boxes(height, width);
        }
        if let Some((row, overlap)) = best {
            rows.insert(row, Holder { truth, overlap, is_best: true });
        }
    }
    rows.into_iter().map(|(row, holder)| Assignment { row, truth: holder.truth }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_vision::NormBox;

    /// Computed by the original's sequence encoder.
    #[test]
    fn golden_rows() {
        let head = |stride, anchors: [(f32, f32); 2]| Head {
            stride,
            anchors: anchors.to_vec(),
            grid_xy_extend: 0.0,
        };
        let heads = [
            head(32, [(0.50, 0.60), (0.90, 0.80)]),
            head(16, [(0.20, 0.30), (0.30, 0.20)]),
            head(8, [(0.05, 0.08), (0.10, 0.06)]),
        ];
        let boxes = [
            [0.10, 0.20, 0.34, 0.46],
            [0.12, 0.22, 0.33, 0.47],
            [0.60, 0.10, 0.66, 0.20],
            [0.0, 0.0, 1.0, 1.0],
            [0.98, 0.98, 1.0, 1.0],
        ];
        let truths: Vec<Truth> = boxes
            .iter()
            .map(|b| {
                let bbox = NormBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] };
                Truth { class: 0, difficult: false, bbox }
            })
            .collect();
        let found: Vec<(usize, usize)> =
            assign(&truths, &heads, 64, 96, 0.25).iter().map(|found| (found.row, found.truth)).collect();
        assert_eq!(found, [(8, 3), (9, 3), (26, 1), (27, 0), (98, 2), (99, 2), (250, 4)]);
        assert_eq!(assign(&[], &heads, 64, 96, 0.25), []);
    }
}
