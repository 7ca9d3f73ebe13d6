//! Whether a written model computes what its checkpoint computes, and suppresses as it was asked to.
//!
//! Three questions, each on sample images:
//!
//! 1. Are boxes and scores those of the checkpoint, but for rounding ([`Tolerance`])?
//! 2. Does suppressing with the settings *read back* from the model give the same detections as suppressing with those of the spec?
//!    Exactly, as both begin with the same boxes and scores.
//! 3. Where the model's node is standard ONNX and can be run here: does it select these detections?
//!
//! Tails differ in how many candidates they look at, so below the best score that one of them leaves out detections may differ.
//! That score is told, and no fault.

use std::fmt;

use oxidet_graph::onnx::{FloatType, Suppression};
use oxidet_vision::{Detection, Network, NetworkError, NmsConfig, RawDetections};

use crate::selection::detections;

/// A program that computes overlaps in single precision may take one for equal to the threshold, or not, when it is this close.
const IOU_ROUNDING: f32 = 1e-6;

/// How far outputs may be from those of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of a box coordinate, as a share of the canvas.
    pub boxes: f32,
    /// Of a score.
    pub scores: f32,
}

impl Tolerance {
    /// Of layers in single precision: rounding, no more.
    pub const SINGLE: Self = Self { boxes: 1e-4, scores: 1e-4 };
    /// Of layers in half precision.
    pub const HALF: Self = Self { boxes: 0.1, scores: 0.1 };

    /// That of a model with such layers.
    pub fn of(float: FloatType) -> Self {
        match float {
            FloatType::F32 => Self::SINGLE,
            FloatType::F16 => Self::HALF,
        }
    }
}

/// Runs a model with its suppression node: boxes and scores of an image, and the rows `[image, class, candidate]` selected.
pub type Select<'a> = dyn FnMut(&[f32]) -> Result<(RawDetections, Vec<[i64; 3]>), NetworkError> + 'a;

/// A written model, opened again.
pub struct Written<'a> {
    /// Makes its boxes and scores.
    pub network: &'a mut dyn Network,
    /// What it says about its suppression.
    pub suppression: Suppression,
    /// Runs it whole, where its suppression node can be run.
    pub select: Option<&'a mut Select<'a>>,
}

/// How far a written model is from its checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Detections of the checkpoint.
    pub reference_detections: usize,
    /// Detections of the model, with the settings of the spec.
    pub other_detections: usize,
    /// Detections of the model with its own settings, beside those.
    pub suppressed: Suppressed,
    /// What its node selects, beside those.
    pub selected: Option<Suppressed>,
}

/// What a suppression gives, beside what it should.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suppressed {
    /// Detections.
    pub detections: usize,
    /// The score above which all are the same, where below it some are not: one of the two looked at more candidates.
    pub same_above: Option<f32>,
    /// The first difference that nothing excuses.
    pub difference: Option<String>,
}

impl Verification {
    /// Whether boxes and scores are within a tolerance, of networks that do not round on their way.
    pub fn agrees(&self, tolerance: Tolerance) -> bool {
        self.max_box_diff <= tolerance.boxes && self.max_score_diff <= tolerance.scores
    }

    /// Where the model's own suppression gives other detections than the spec's.
    pub fn suppression_difference(&self) -> Option<&str> {
        let both = [Some(&self.suppressed), self.selected.as_ref()];
        both.into_iter().flatten().find_map(|suppressed| suppressed.difference.as_deref())
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
        )?;
        write!(f, ", {} with the settings of the model", self.suppressed)?;
        match &self.selected {
            Some(selected) => write!(f, ", {selected} selected by its node"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detections.fmt(f)?;
        match (&self.difference, self.same_above) {
            (Some(difference), _) => write!(f, " (not the same: {difference})"),
            (None, Some(score)) => {
                write!(
                    f,
                    " (the same above a score of {score:.3}, below which more candidates are looked at)"
                )
            }
            (None, None) => Ok(()),
        }
    }
}

/// Runs a checkpoint and what was written of it on `inputs`, one image's tensor each. `nms` is what the spec asks for.
///
/// # Errors
/// When one of the networks fails, or they do not have the same numbers of candidates and classes.
pub fn verify(
    reference: &mut dyn Network,
    written: &mut Written<'_>,
    inputs: &[Vec<f32>],
    nms: &NmsConfig,
) -> Result<Verification, NetworkError> {
    let mut verification = Verification::default();
    let (mut a, mut b) = (RawDetections::default(), RawDetections::default());
    for input in inputs {
        reference.run(input, 1, &mut a)?;
        written.network.run(input, 1, &mut b)?;
        if (a.candidates, a.classes) != (b.candidates, b.classes) {
            let what = format!(
                "{} candidates of {} classes against {} of {}",
                a.candidates, a.classes, b.candidates, b.classes
            );
            return Err(NetworkError(what.into()));
        }
        verification.images += 1;
        verification.compare_outputs(&a, &b, inputs.len());
        verification.reference_detections += a.suppress(0, nms).len();

        let want = b.suppress(0, nms);
        verification.other_detections += want.len();
        let found = b.suppress(0, &written.suppression.nms);
        let limit =
            limit(&b, nms, None).max(limit(&b, &written.suppression.nms, written.suppression.candidates()));
        verification.suppressed.add(&[want], &found, limit);

        if let Some(select) = &mut written.select {
            let (raw, rows) = select(input)?;
            let found = detections(&raw, &rows, nms.keep_top_k)?;
            let with = |rounding: f32| {
                raw.suppress(0, &NmsConfig { iou_threshold: nms.iou_threshold + rounding, ..*nms })
            };
            let want = [0.0, IOU_ROUNDING, -IOU_ROUNDING].map(with);
            verification.selected.get_or_insert_default().add(&want, &found, self::limit(&raw, nms, None));
        }
    }
    Ok(verification)
}

impl Verification {
    /// Adds an image of `images`.
    fn compare_outputs(&mut self, a: &RawDetections, b: &RawDetections, images: usize) {
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
            sum / (a.len() * images) as f64
        };
        self.mean_box_diff += mean(&a.boxes, &b.boxes, &near);
        self.mean_score_diff += mean(&a.scores, &b.scores, &|x| x);
        self.max_box_diff = self.max_box_diff.max(largest(&a.boxes, &b.boxes, &near));
        self.max_score_diff = self.max_score_diff.max(largest(&a.scores, &b.scores, &|x| x));
    }
}

impl Suppressed {
    /// Adds an image: what was found, beside what may be found above the score `limit`.
    fn add(&mut self, want: &[Vec<Detection>], found: &[Detection], limit: f32) {
        self.detections += found.len();
        let above = |list: &[Detection]| list.iter().take_while(|d| d.score > limit).count();
        let found_above = &found[..above(found)];
        let differs = |want: &Vec<Detection>| first_difference(&want[..above(want)], found_above);
        // None where one of them is the same.
        let differences: Option<Vec<String>> = want.iter().map(differs).collect();
        let difference = differences.and_then(|differences| differences.into_iter().next());
        self.difference = self.difference.take().or(difference);
        let is_same = |want: &Vec<Detection>| want[above(want)..] == found[above(found)..];
        if !want.iter().any(is_same) {
            self.same_above = Some(self.same_above.map_or(limit, |other| other.max(limit)));
        }
    }
}

/// The first place where two lists of detections differ, best first.
fn first_difference(want: &[Detection], found: &[Detection]) -> Option<String> {
    let at = (0..want.len().max(found.len())).find(|at| want.get(*at) != found.get(*at))?;
    let tell = |list: &[Detection]| match list.get(at) {
        Some(Detection { class, score, .. }) => format!("class {class} with score {score}"),
        None => "nothing".into(),
    };
    Some(format!("detection {} is {}, not {}", at + 1, tell(found), tell(want)))
}

/// The best score of the first image that a limit of candidates leaves out: `top_k` per class, or `all` over all classes.
fn limit(raw: &RawDetections, nms: &NmsConfig, all: Option<usize>) -> f32 {
    let mut classes = vec![Vec::new(); raw.classes];
    for scores in raw.image_scores(0).chunks_exact(raw.classes.max(1)) {
        for (class, score) in scores.iter().enumerate().filter(|(_, score)| **score > nms.score_threshold) {
            classes[class].push(*score);
        }
    }
    let best_after = |mut scores: Vec<f32>, looked_at: usize| {
        let left_out = (scores.len() > looked_at)
            .then(|| *scores.select_nth_unstable_by(looked_at, |a, b| b.total_cmp(a)).1);
        left_out.unwrap_or(f32::NEG_INFINITY)
    };
    let over_all = all.map_or(f32::NEG_INFINITY, |all| best_after(classes.concat(), all));
    classes.into_iter().map(|scores| best_after(scores, nms.top_k)).fold(over_all, f32::max)
}
