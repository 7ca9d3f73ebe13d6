//! The loss of one row of the output, on decoded columns.
//!
//! A row predicts the box `centre = cell + offset · step`, `size = anchor · factor`, an objectness logit and class logits.
//! Cross entropy is computed from logits, so a confidently wrong prediction keeps its gradient.

use oxidet_vision::sigmoid;

use super::LossConfig;
use super::ciou::{CentreBox, ciou_loss};

/// What a row means: constants of its cell and anchor. All in fractions of the canvas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Top left corner of the cell (y, x).
    pub(super) cell: (f64, f64),
    /// Size of a cell (y, x).
    pub(super) step: (f64, f64),
    /// Anchor (h, w).
    pub(super) anchor: (f64, f64),
}

/// What a row predicts: centre offsets in cells, size factors of the anchor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) y: f64,
    pub(super) x: f64,
    pub(super) h: f64,
    pub(super) w: f64,
}

impl Place {
    pub(super) fn decode(&self, columns: &Columns) -> CentreBox {
        CentreBox {
            cy: self.cell.0 + columns.y * self.step.0,
            cx: self.cell.1 + columns.x * self.step.1,
            h: self.anchor.0 * columns.h,
            w: self.anchor.1 * columns.w,
        }
    }
}

/// Localisation loss and its gradient with respect to the columns y, x, h, w. Small objects weigh up to twice as much.
pub(super) fn localisation(place: &Place, columns: &Columns, target: &CentreBox) -> (f64, [f64; 4]) {
    let (loss, [d_cx, d_cy, d_w, d_h]) = ciou_loss(target, &place.decode(columns));
    let scale = 2.0 - target.h * target.w;
    let gradient = [d_cy * place.step.0, d_cx * place.step.1, d_h * place.anchor.0, d_w * place.anchor.1]
        .map(|d| d * scale);
    (loss * scale, gradient)
}

/// Binary cross entropy of a logit against `target` (smoothed, and focal when the config asks), and its derivative.
pub(super) fn cross_entropy(config: &LossConfig, logit: f32, target: bool) -> (f64, f64) {
    let half = config.label_smoothing / 2.0;
    let y = if target { 1.0 - half } else { half };
    let (z, p) = (f64::from(logit), f64::from(sigmoid(logit)));
    let loss = z.max(0.0) - z * y + (-z.abs()).exp().ln_1p();
    let slope = p - y;
    if config.focal_alpha <= 0.0 || config.focal_gamma <= 0.0 {
        return (loss, slope);
    }
    // Lin et al. 2017, eq. 5, for a target between 0 and 1.
    let (alpha, gamma) = (config.focal_alpha, config.focal_gamma);
    let agreement = y * p + (1.0 - y) * (1.0 - p);
    let weight = y * alpha + (1.0 - y) * (1.0 - alpha);
    let miss = (1.0 - agreement).max(f64::MIN_POSITIVE);
    let d_agreement = (2.0 * y - 1.0) * p * (1.0 - p);
    let focal = miss.powf(gamma) * weight;
    (focal * loss, focal * slope - gamma * miss.powf(gamma - 1.0) * weight * d_agreement * loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_slope_agrees_with_finite_differences() {
        for (label_smoothing, focal_alpha, focal_gamma) in
            [(0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.1, 0.25, 2.0)]
        {
            let config = LossConfig { label_smoothing, focal_alpha, focal_gamma, ..LossConfig::default() };
            for logit in [-6.0f32, -1.25, 0.0, 0.5, 3.0, 7.5] {
                for target in [false, true] {
                    let at = |step: f32| cross_entropy(&config, logit + step, target).0;
                    let want = (at(0.0078125) - at(-0.0078125)) / 0.015625;
                    let got = cross_entropy(&config, logit, target).1;
                    assert!((got - want).abs() < 1e-4, "{logit} {target}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_confidently_wrong_logit_keeps_its_gradient() {
        let (loss, slope) = cross_entropy(&LossConfig::default(), 200.0, false);
        assert_eq!((loss, slope), (200.0, 1.0));
    }
}
