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
