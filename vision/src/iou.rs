//! Overlap of boxes: the one intersection over union of the project.
//!
//! Degenerate boxes (no width or no height, or not a number) overlap nothing: the result is 0, never NaN.

use crate::NormBox;

/// Intersection over union of two boxes, in [0, 1]. Corners may come in any order.
pub fn iou(a: &NormBox, b: &NormBox) -> f32 {
    let (a, b) = (ordered(a), ordered(b));
    let width = a.x2.min(b.x2) - a.x1.max(b.x1);
    let height = a.y2.min(b.y2) - a.y1.max(b.y1);
    if !(width > 0.0 && height > 0.0) {
        return 0.0;
    }
    let intersection = width * height;
    let union = a.width() * a.height() + b.width() * b.height() - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

fn ordered(b: &NormBox) -> NormBox {
    NormBox { x1: b.x1.min(b.x2), y1: b.y1.min(b.y2), x2: b.x1.max(b.x2), y2: b.y1.max(b.y2) }
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
    fn shapes_share_their_centre() {
        assert_eq!(shape_iou((2.0, 2.0), (1.0, 4.0)), 2.0 / 6.0);
        assert_eq!(shape_iou((0.0, 1.0), (0.0, 1.0)), 0.0);
    }
}
