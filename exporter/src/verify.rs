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

/// Two programs that compute the same INT8 network sum up in other orders, which sends single values to the next step, so each is off
/// from float by another realisation of the same noise, and from the other by no more than both together. Seen were 0 to 0.9 times
/// what INT8 changes in one of them; a model whose rounding is of another size is beyond this.
pub const INT8_SHARE: f64 = 4.0;

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
    /// Of layers in half precision. Seen were 0.0035 and 0.0008 of networks that were not trained, of every backbone, and a tenth of
    /// that of trained ones: what a head's map loses to 11 bits is a factor of a box's size.
    pub const HALF: Self = Self { boxes: 0.02, scores: 0.005 };

    /// That of a model with such layers.
    pub fn of(float: FloatType) -> Self {
        match float {
            FloatType::F32 => Self::SINGLE,
            FloatType::F16 => Self::HALF,
        }
    }
}

/// Runs a model with its suppression node on so many images: boxes and scores, and the rows `[image, class, candidate]` selected.
pub type Select<'a> = dyn FnMut(&[f32], usize) -> Result<(RawDetections, Vec<[i64; 3]>), NetworkError> + 'a;

/// A written model, opened again.
pub struct Written<'a> {
    /// Makes its boxes and scores.
    pub network: &'a mut dyn Network,
    /// What it says about its suppression.
    pub suppression: Suppression,
    /// Runs it whole, where its suppression node can be run.
    pub select: Option<&'a mut Select<'a>>,
}

/// How far the outputs of two networks are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Differences {
    /// Largest difference of a box coordinate, as a share of the canvas (boxes that leave the canvas are compared clipped to
    /// a canvas' width around it).
    pub max_boxes: f32,
    /// Largest difference of a score.
    pub max_scores: f32,
    /// Mean difference of a box coordinate, in the same unit.
    pub mean_boxes: f64,
    /// Mean difference of a score.
    pub mean_scores: f64,
}

/// How far a written model is from its checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Images compared.
    pub images: usize,
    /// What both compute.
    pub differences: Differences,
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
            self.differences.max_boxes,
            self.differences.max_scores,
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

/// Runs a checkpoint and what was written of it on `inputs`, one image's tensor each, as one batch. `nms` is what the spec asks for.
///
/// # Errors
/// When one of the networks fails, or they do not have the same numbers of candidates and classes.
pub fn verify(
    reference: &mut dyn Network,
    written: &mut Written<'_>,
    inputs: &[Vec<f32>],
    nms: &NmsConfig,
) -> Result<Verification, NetworkError> {
    let (batch, images) = (inputs.concat(), inputs.len());
    let (mut a, mut b) = (RawDetections::default(), RawDetections::default());
    reference.run(&batch, images, &mut a)?;
    written.network.run(&batch, images, &mut b)?;
    if (a.candidates, a.classes) != (b.candidates, b.classes) {
        let what = format!(
            "{} candidates of {} classes against {} of {}",
            a.candidates, a.classes, b.candidates, b.classes
        );
        return Err(NetworkError(what.into()));
    }
    let mut verification =
        Verification { images, differences: Differences::between(&a, &b), ..Verification::default() };
    let settings = &written.suppression;
    for image in 0..images {
        verification.reference_detections += a.suppress(image, nms).len();
        let want = b.suppress(image, nms);
        verification.other_detections += want.len();
        let found = b.suppress(image, &settings.nms);
        let limit = limit(&b, image, nms, None).max(limit(&b, image, &settings.nms, settings.candidates()));
        verification.suppressed.add(&[want], &found, limit);
    }
    if let Some(select) = &mut written.select {
        let (raw, rows) = select(&batch, images)?;
        let selected = verification.selected.insert(Suppressed::default());
        for image in 0..images {
            let found = detections(&raw, image, &rows, nms.keep_top_k)?;
            let with = |rounding: f32| {
                raw.suppress(image, &NmsConfig { iou_threshold: nms.iou_threshold + rounding, ..*nms })
            };
            let want = [0.0, IOU_ROUNDING, -IOU_ROUNDING].map(with);
            selected.add(&want, &found, limit(&raw, image, nms, None));
        }
    }
    Ok(verification)
}

impl Differences {
    /// Those of outputs for the same images.
    pub fn between(a: &RawDetections, b: &RawDetections) -> Self {
        // A candidate no object uses can be a thousand canvases wide; its rounding is not what is asked about.
        let near = |x: f32| x.clamp(-1.0, 2.0);
        let (max_boxes, mean_boxes) = max_and_mean(&a.boxes, &b.boxes, near);
        let (max_scores, mean_scores) = max_and_mean(&a.scores, &b.scores, |x| x);
        Self { max_boxes, max_scores, mean_boxes, mean_scores }
    }

    /// Whether they are within a tolerance, of networks that do not round to INT8 on their way.
    pub fn are_within(&self, tolerance: Tolerance) -> bool {
        self.max_boxes <= tolerance.boxes && self.max_scores <= tolerance.scores
    }

    /// Whether a written INT8 model is as near to its checkpoint in INT8 as two sound programs are, where `rounding` is what INT8
    /// changes in the checkpoint. See [`INT8_SHARE`].
    pub fn are_within_rounding(&self, rounding: &Self) -> bool {
        let within = |mean: f64, rounding: f64, least: f32| mean <= INT8_SHARE * rounding + f64::from(least);
        within(self.mean_boxes, rounding.mean_boxes, Tolerance::SINGLE.boxes)
            && within(self.mean_scores, rounding.mean_scores, Tolerance::SINGLE.scores)
    }
}

/// Of the differences of values that `of` makes of them. One that is not a number counts as infinite.
fn max_and_mean(a: &[f32], b: &[f32], of: impl Fn(f32) -> f32) -> (f32, f64) {
    let differences = a.iter().zip(b).map(|(a, b)| {
        let difference = (of(*a) - of(*b)).abs();
        if difference.is_nan() { f32::INFINITY } else { difference }
    });
    let (max, sum) = differences.fold((0.0f32, 0.0), |(max, sum), d| (max.max(d), sum + f64::from(d)));
    (max, sum / a.len().max(1) as f64)
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

/// The best score of an image that a limit of candidates leaves out: `top_k` per class, or `all` over all classes.
fn limit(raw: &RawDetections, image: usize, nms: &NmsConfig, all: Option<usize>) -> f32 {
    let mut classes = vec![Vec::new(); raw.classes];
    for scores in raw.image_scores(image).chunks_exact(raw.classes.max(1)) {
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

#[cfg(test)]
mod tests {
    use oxidet_graph::onnx::NmsTail;

    use super::*;

    const NMS: NmsConfig = NmsConfig { score_threshold: 0.1, iou_threshold: 0.5, top_k: 10, keep_top_k: 5 };

    /// One candidate an image, whose score is the image's value plus something; counts its batches.
    struct Fixed {
        off: f32,
        batches: Vec<usize>,
    }

    impl Network for Fixed {
        fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
            self.batches.push(batch);
            let boxes = [0.0, 0.0, 1.0, 1.0].repeat(batch);
            let scores: Vec<f32> = input.iter().map(|value| value + self.off).collect();
            out.set(batch, 1, &boxes, &scores).map_err(|error| NetworkError(error.to_string().into()))
        }
    }

    #[test]
    fn all_images_are_one_batch() {
        let inputs = [vec![0.9], vec![0.05], vec![0.3]];
        let mut networks = [0.0, 0.01].map(|off| Fixed { off, batches: Vec::new() });
        let [reference, exported] = &mut networks;
        // The second image's only candidate is below the threshold; each of the others is selected by its image's number.
        let mut select = |input: &[f32], images: usize| {
            let mut raw = RawDetections::default();
            Fixed { off: 0.01, batches: Vec::new() }.run(input, images, &mut raw)?;
            Ok((raw, vec![[0, 0, 0], [2, 0, 0]]))
        };
        let suppression = Suppression { tail: NmsTail::Onnx, nms: NMS };
        let mut written = Written { network: exported, suppression, select: Some(&mut select) };
        let verification = verify(reference, &mut written, &inputs, &NMS).unwrap();
        assert_eq!(verification.suppression_difference(), None);
        assert_eq!((verification.reference_detections, verification.other_detections), (2, 2));
        assert_eq!(verification.selected.as_ref().unwrap().detections, 2);
        let Differences { max_boxes, max_scores, mean_boxes, mean_scores } = verification.differences;
        assert_eq!((max_boxes, mean_boxes), (0.0, 0.0));
        assert!((max_scores - 0.01).abs() < 1e-6 && (mean_scores - 0.01).abs() < 1e-6);
        assert!(networks.iter().all(|network| network.batches == [3]));
    }

    #[test]
    fn what_is_not_a_number_is_a_difference() {
        let with = |score: f32| RawDetections {
            batch: 1,
            candidates: 1,
            classes: 1,
            boxes: vec![0.0; 4],
            scores: vec![score],
            suppressed: false,
        };
        let differences = Differences::between(&with(0.5), &with(f32::NAN));
        assert!(!differences.are_within(Tolerance::HALF));
        assert!(!differences.are_within_rounding(&Differences::between(&with(0.5), &with(0.4))));
    }

    #[test]
    fn noise_of_the_size_of_rounding_is_no_fault() {
        let with = |mean: f64| Differences { mean_boxes: mean, mean_scores: mean, ..Differences::default() };
        // As large, and the sum of both; where rounding changes nothing, that of single precision.
        for (mean, rounding) in [(0.01, 0.01), (0.02, 0.01), (0.0, 0.0), (5e-5, 0.0)] {
            assert!(with(mean).are_within_rounding(&with(rounding)), "{mean} {rounding}");
        }
        for (mean, rounding) in [(0.05, 0.01), (0.01, 0.0), (f64::INFINITY, 0.01)] {
            assert!(!with(mean).are_within_rounding(&with(rounding)), "{mean} {rounding}");
        }
    }
}
