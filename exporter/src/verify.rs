//! Whether an exported model computes what the checkpoint computes.

use std::fmt;

use oxidet_vision::{Network, NetworkError, NmsConfig, RawDetections};

/// Boxes may differ by this share of the canvas and scores by this much: rounding, no more.
const TOLERANCE: f32 = 1e-4;

/// How far apart two networks are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verification {
    /// Images compared.
    pub images: usize,
    /// Largest difference of a box coordinate, as a share of the canvas (boxes that leave the canvas are compared clipped to
    /// a canvas' width around it).
    pub max_box_diff: f32,
    /// Largest difference of a score.
    pub max_score_diff: f32,
    /// Mean difference of a box coordinate, in the same unit.
    pub mean_box_diff: f64,
    /// Mean difference of a score.
    pub mean_score_diff: f64,
    /// Detections after suppression, of the reference.
    pub reference_detections: usize,
    /// Detections after suppression, of the other.
    pub other_detections: usize,
}

impl Verification {
    /// Whether the differences are rounding, of networks that do not round on their way.
    pub fn agrees(&self) -> bool {
        self.max_box_diff <= TOLERANCE && self.max_score_diff <= TOLERANCE
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} images: largest difference {:.1e} of the canvas (boxes), {:.1e} (scores); {} and {} detections",
            self.images,
            self.max_box_diff,
            self.max_score_diff,
            self.reference_detections,
            self.other_detections
        )
    }
}

/// Runs both networks on `inputs`, one image's tensor each.
///
/// # Errors
/// When one of the networks fails, or they do not have the same numbers of candidates and classes.
pub fn verify(
    reference: &mut dyn Network,
    other: &mut dyn Network,
    inputs: &[Vec<f32>],
    nms: &NmsConfig,
) -> Result<Verification, NetworkError> {
    let mut verification = Verification::default();
    let (mut a, mut b) = (RawDetections::default(), RawDetections::default());
    for input in inputs {
        reference.run(input, 1, &mut a)?;
        other.run(input, 1, &mut b)?;
        if (a.candidates, a.classes) != (b.candidates, b.classes) {
            let what = format!(
                "{} candidates of {} classes against {} of {}",
                a.candidates, a.classes, b.candidates, b.classes
            );
            return Err(NetworkError(what.into()));
        }
        verification.images += 1;
        // A candidate no object uses can be a thousand canvases wide; its rounding is not what is asked about.
        let near = |x: f32| x.clamp(-1.0, 2.0);
        let largest = |a: &[f32], b: &[f32], near: &dyn Fn(f32) -> f32| {
            // `max` would lose a value that is not a number; as a difference it counts as infinite.
            a.iter()
                .zip(b)
                .map(|(a, b)| (near(*a) - near(*b)).abs())
                .fold(0.0f32, |most, d| if d.is_nan() { f32::INFINITY } else { most.max(d) })
        };
        let mean = |a: &[f32], b: &[f32], near: &dyn Fn(f32) -> f32| {
            let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from((near(*a) - near(*b)).abs())).sum();
            sum / (a.len() * inputs.len()) as f64
        };
        verification.mean_box_diff += mean(&a.boxes, &b.boxes, &near);
        verification.mean_score_diff += mean(&a.scores, &b.scores, &|x| x);
        verification.max_box_diff = verification.max_box_diff.max(largest(&a.boxes, &b.boxes, &near));
        verification.max_score_diff = verification.max_score_diff.max(largest(&a.scores, &b.scores, &|x| x));
        verification.reference_detections += a.suppress(0, nms).len();
        verification.other_detections += b.suppress(0, nms).len();
    }
    Ok(verification)
}
