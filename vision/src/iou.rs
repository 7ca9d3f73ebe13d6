//! Overlap of boxes: the one intersection over union of the project.
//!
//! Computed in double precision, so that the result is the correctly rounded one. Degenerate boxes (no width or no height, or
//! not a number) overlap nothing: the result is 0, never NaN.

use crate::{NormBox, PxBox};

/// Intersection over union of two boxes, in [0, 1]. Corners may come in any order.
pub fn iou(a: &NormBox, b: &NormBox) -> f32 {
    Overlap::new([a.x1, a.y1, a.x2, a.y2], [b.x1, b.y1, b.x2, b.y2]).iou() as f32
}

/// What two boxes share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlap {
    /// Area of the intersection.
    shared: f64,
    /// Area of the first box.
    first: f64,
    /// Area of the second box.
    second: f64,
}

impl Overlap {
    /// Of two boxes in pixels.
    pub(crate) fn in_pixels(a: &PxBox, b: &PxBox) -> Self {
        Self::new([a.x1, a.y1, a.x2, a.y2], [b.x1, b.y1, b.x2, b.y2])
    }

    fn new(a: [f32; 4], b: [f32; 4]) -> Self {
        let (a, b) = (ordered(a), ordered(b));
        let area = |[x1, y1, x2, y2]: [f64; 4]| (x2 - x1) * (y2 - y1);
        let width = a[2].min(b[2]) - a[0].max(b[0]);
        let height = a[3].min(b[3]) - a[1].max(b[1]);
        let shared = if width > 0.0 && height > 0.0 { width * height } else { 0.0 };
        Self { shared, first: area(a), second: area(b) }
    }

    /// Share of the union that is in both.
    pub(crate) fn iou(&self) -> f64 {
        self.share_of(self.first + self.second - self.shared)
    }

    /// Share of the first box that is in both.
    pub(crate) fn of_first(&self) -> f64 {
        self.share_of(self.first)
    }

    fn share_of(&self, area: f64) -> f64 {
        if self.shared > 0.0 && area > 0.0 { self.shared / area } else { 0.0 }
    }
}

fn ordered([x1, y1, x2, y2]: [f32; 4]) -> [f64; 4] {
    [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)].map(f64::from)
}

/// Boxes to compare others with, laid out so that many are compared at once.
#[derive(Default)]
pub(crate) struct BoxList {
    boxes: Vec<NormBox>,
    /// x1, y1, x2, y2 of all, ordered.
    corners: [Vec<f32>; 4],
    areas: Vec<f32>,
}

impl BoxList {
    /// Boxes compared at once.
    const LANES: usize = 16;
    /// Below this share of the threshold an estimate in single precision is certain: its error is a few parts in a million.
    const CERTAIN: f32 = 0.999;

    /// Areas far above the smallest numbers of single precision.
    const SMALL: f32 = 1e-30;

    pub(crate) fn clear(&mut self) {
        self.boxes.clear();
        self.corners.iter_mut().for_each(Vec::clear);
        self.areas.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.boxes.len()
    }

    pub(crate) fn push(&mut self, new: NormBox) {
        let ordered = ordered([new.x1, new.y1, new.x2, new.y2]).map(|corner| corner as f32);
        self.boxes.push(new);
        self.corners.iter_mut().zip(ordered).for_each(|(all, corner)| all.push(corner));
        self.areas.push(area(ordered));
    }

    /// Whether [`iou`] of any of them with `other` is above `threshold`.
    pub(crate) fn any_overlaps(&self, other: &NormBox, threshold: f32) -> bool {
        let corners = ordered([other.x1, other.y1, other.x2, other.y2]).map(|corner| corner as f32);
        let limit = threshold * Self::CERTAIN;
        let is_above = |at: usize| iou(&self.boxes[at], other) > threshold;
        // Boxes apart overlap by 0, which is above a negative threshold.
        let whole = if threshold < 0.0 { 0 } else { self.len() / Self::LANES * Self::LANES };
        (0..whole)
            .step_by(Self::LANES)
            .any(|at| self.may_overlap(at, corners, limit) && (at..at + Self::LANES).any(is_above))
            || (whole..self.len()).any(is_above)
    }

    /// Whether one of [`LANES`](Self::LANES) boxes from `at` on may overlap `other` by `limit` or more; false is certain.
    fn may_overlap(&self, at: usize, other: [f32; 4], limit: f32) -> bool {
        let lanes = |values: &[f32]| -> [f32; Self::LANES] {
            values[at..at + Self::LANES].try_into().expect("as many as there are lanes")
        };
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|side| lanes(&self.corners[side]));
        let (areas, other_area) = (lanes(&self.areas), area(other));
        // These compile to one instruction, `f32::min` and `max` to several.
        let less = |a: f32, b: f32| if a < b { a } else { b };
        let more = |a: f32, b: f32| if a > b { a } else { b };
        let mut may = false;
        for lane in 0..Self::LANES {
            let width = less(x2[lane], other[2]) - more(x1[lane], other[0]);
            let height = less(y2[lane], other[3]) - more(y1[lane], other[1]);
            let shared = width * height;
            let union = areas[lane] + other_area - shared;
            // What is too large or too small for single precision is never certain.
            let is_below = (shared < limit * union) & (union > Self::SMALL) & (union < f32::INFINITY);
            may |= (width > 0.0) & (height > 0.0) & !is_below;
        }
        may
    }
}

fn area([x1, y1, x2, y2]: [f32; 4]) -> f32 {
    (x2 - x1) * (y2 - y1)
}

/// Intersection over union of two (width, height) shapes centred at one point, in [0, 1].
pub fn shape_iou(a: (f64, f64), b: (f64, f64)) -> f64 {
    let intersection = a.0.min(b.0) * a.1.min(b.1);
    if intersection > 0.0 { intersection / (a.0 * a.1 + b.0 * b.1 - intersection) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b(x1: f32, y1: f32, x2: f32, y2: f32) -> NormBox {
        NormBox { x1, y1, x2, y2 }
    }

    #[test]
    fn iou_by_hand() {
        let unit = b(0.0, 0.0, 1.0, 1.0);
        for (other, want) in [
            (unit, 1.0),
            (b(0.5, 0.0, 1.5, 1.0), 1.0 / 3.0),
            (b(0.5, 0.5, 1.5, 1.5), 0.25 / 1.75),
            (b(0.25, 0.25, 0.75, 0.75), 0.25),
            (b(1.0, 0.0, 2.0, 1.0), 0.0),
            (b(2.0, 2.0, 3.0, 3.0), 0.0),
            (b(0.5, 0.5, 0.5, 0.9), 0.0),
            (b(1.5, 1.0, 0.5, 0.0), 1.0 / 3.0),
            (b(f32::NAN, 0.0, 1.0, 1.0), 0.0),
        ] {
            let got = iou(&unit, &other);
            assert!(
                (got - want).abs() < 1e-6 || other.x1.is_nan() && got.is_finite(),
                "{other:?}: {got} {want}"
            );
            assert_eq!(got, iou(&other, &unit));
        }
    }

    #[test]
    fn a_list_overlaps_when_one_of_it_does() {
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u32 << 24) as f32
        };
        for scale in [1.0, 1e-16, 1e-30, 2e19, 1e25] {
            let mut list = BoxList::default();
            let mut boxes = Vec::new();
            for at in 0..300 {
                let (x, y, w, h) = (random(), random(), random() * 0.3, random() * 0.3);
                let new = b(x * scale, y * scale, (x + w) * scale, (y - h) * scale);
                // The first share half of each, exactly; the last is no box.
                let new = match at {
                    0 => b(0.0, 0.0, scale, scale),
                    1 => b(0.0, 0.0, scale, scale / 2.0),
                    299 => b(0.0, scale, 0.0, 0.0),
                    _ => new,
                };
                for threshold in [-0.5, 0.0, 0.3, 0.5, 0.9, f32::INFINITY] {
                    let want = boxes.iter().any(|other| iou(other, &new) > threshold);
                    assert_eq!(list.any_overlaps(&new, threshold), want, "{at} at {threshold}, {new:?}");
                }
                boxes.push(new);
                list.push(new);
            }
            list.clear();
            assert!(list.len() == 0 && !list.any_overlaps(&boxes[0], -1.0));
        }
    }

    #[test]
    fn a_box_inside_another_is_covered_whole() {
        let px = |b: [f32; 4]| PxBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] };
        let overlap = Overlap::in_pixels(&px([2.0, 2.0, 4.0, 4.0]), &px([0.0, 0.0, 8.0, 8.0]));
        assert_eq!((overlap.of_first(), overlap.iou()), (1.0, 4.0 / 64.0));
        let nothing = Overlap::in_pixels(&px([2.0, 2.0, 2.0, 4.0]), &px([0.0, 0.0, 8.0, 8.0]));
        assert_eq!((nothing.of_first(), nothing.iou()), (0.0, 0.0));
    }

    #[test]
    fn shapes_share_their_centre() {
        assert_eq!(shape_iou((2.0, 2.0), (1.0, 4.0)), 2.0 / 6.0);
        assert_eq!(shape_iou((0.0, 1.0), (0.0, 1.0)), 0.0);
    }
}
