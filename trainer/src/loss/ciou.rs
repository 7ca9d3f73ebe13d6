//! Complete IoU loss (Zheng et al. 2020, eq. 10–13) with its gradient.
//!
//! `1 − IoU + ρ² / c² + α·v`: overlap, distance of the centres against the diagonal of the enclosing box, and difference of the
//! aspect ratios. Unlike the paper the original differentiates α too, and so does this.

use std::f64::consts::PI;

/// Keeps divisions finite, as the original has it.
const EPSILON: f64 = 1e-18;

/// A box by its centre and size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CentreBox {
    pub(super) cx: f64,
    pub(super) cy: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// The loss of predicting `p` where `t` is, and its gradient with respect to `[cx, cy, w, h]` of `p`.
pub(super) fn ciou_loss(t: &CentreBox, p: &CentreBox) -> (f64, [f64; 4]) {
    let x = Overlap::new((t.cx, t.w), (p.cx, p.w));
    let y = Overlap::new((t.cy, t.h), (p.cy, p.h));

    let intersection = x.shared * y.shared;
    let union = t.w * t.h + p.w * p.h - intersection + EPSILON;
    let iou = intersection / union;
    // By centre and size of x, then of y.
    let d_intersection = [
        x.d_shared[0] * y.shared,
        y.d_shared[0] * x.shared,
        x.d_shared[1] * y.shared,
        y.d_shared[1] * x.shared,
    ];
    let d_area = [0.0, 0.0, p.h, p.w];

    let (dx, dy) = (p.cx - t.cx, p.cy - t.cy);
    let distance = dx * dx + dy * dy;
    let d_distance = [2.0 * dx, 2.0 * dy, 0.0, 0.0];
    let diagonal = x.hull * x.hull + y.hull * y.hull + EPSILON;
    let d_diagonal = [
        2.0 * x.hull * x.d_hull[0],
        2.0 * y.hull * y.d_hull[0],
        2.0 * x.hull * x.d_hull[1],
        2.0 * y.hull * y.d_hull[1],
    ];

    let p_h = p.h + EPSILON;
    let angle = t.w.atan2(t.h + EPSILON) - p.w.atan2(p_h);
    let aspect = 4.0 / (PI * PI) * angle * angle;
    let reach = p.w * p.w + p_h * p_h;
    let d_aspect = |d_angle: f64| 8.0 / (PI * PI) * angle * d_angle;
    let d_aspect = [0.0, 0.0, d_aspect(-p_h / reach), d_aspect(p.w / reach)];
    let balance = 1.0 - iou + aspect + EPSILON;

    let mut gradient = [0.0; 4];
    for i in 0..4 {
        let d_union = d_area[i] - d_intersection[i];
        let d_iou = (d_intersection[i] * union - intersection * d_union) / (union * union);
        let d_centre = (d_distance[i] * diagonal - distance * d_diagonal[i]) / (diagonal * diagonal);
        // α·v is v² / balance.
        let d_balance = d_aspect[i] - d_iou;
        let d_shape =
            (2.0 * aspect * d_aspect[i] * balance - aspect * aspect * d_balance) / (balance * balance);
        gradient[i] = -d_iou + d_centre + d_shape;
    }
    (1.0 - iou + distance / diagonal + aspect * aspect / balance, gradient)
}

/// Two intervals on one axis. Derivatives are by centre and length of the second.
struct Overlap {
    /// Length of the common part.
    shared: f64,
    d_shared: [f64; 2],
    /// Length of the smallest interval that holds both.
    hull: f64,
    d_hull: [f64; 2],
}

impl Overlap {
    fn new(t: (f64, f64), p: (f64, f64)) -> Self {
        let ((t1, t2), (p1, p2)) = ((t.0 - t.1 / 2.0, t.0 + t.1 / 2.0), (p.0 - p.1 / 2.0, p.0 + p.1 / 2.0));
        let shared = p2.min(t2) - p1.max(t1);
        let flag = |condition: bool| if condition { 1.0 } else { 0.0 };
        // End and start of the common part follow p's while they are the inner ones, those of the hull while the outer.
        let (end, start) = (flag(p2 < t2), flag(p1 > t1));
        let d_shared = if shared > 0.0 { [end - start, (end + start) / 2.0] } else { [0.0; 2] };
        let (end, start) = (1.0 - end, 1.0 - start);
        Self {
            shared: shared.max(0.0),
            d_shared,
            hull: p2.max(t2) - p1.min(t1),
            d_hull: [end - start, (end + start) / 2.0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<(CentreBox, CentreBox)> {
        let b = |cx, cy, w, h| CentreBox { cx, cy, w, h };
        let t = b(0.62, 0.40, 0.19, 0.34);
        vec![
            (t, b(0.6, 0.43, 0.2, 0.3)),
            (t, b(0.65, 0.38, 0.1, 0.1)),
            (t, b(0.3, 0.8, 0.2, 0.1)),
            (t, b(0.62, 0.41, 0.5, 0.9)),
            (t, b(0.7, 0.4, 0.05, 0.6)),
            (t, b(-0.1, 1.2, 0.3, 0.02)),
        ]
    }

    #[test]
    fn a_perfect_box_costs_nothing() {
        let (t, _) = cases()[0];
        assert!(ciou_loss(&t, &t).0.abs() < 1e-12);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        for (t, p) in cases() {
            let (_, gradient) = ciou_loss(&t, &p);
            for (i, got) in gradient.into_iter().enumerate() {
                let at = |step: f64| {
                    let mut v = [p.cx, p.cy, p.w, p.h];
                    v[i] += step;
                    ciou_loss(&t, &CentreBox { cx: v[0], cy: v[1], w: v[2], h: v[3] }).0
                };
                let want = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((got - want).abs() < 1e-6 * (1.0 + want.abs()), "{p:?} {i}: {got} {want}");
            }
        }
    }
}
