//! From scored detections to average precision by PASCAL VOC rules.

use super::curve::{best_f1, points, sampled};
use super::{ClassTally, CocoReport, ConfusionMatrix, Operating, PrPoint, Settings};

/// How the precision–recall curve becomes one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Mean of the best precision at recall ≥ 0, 0.1, …, 1 (VOC 2007).
    #[default]
    Sample,
    /// Area under the curve, precision made monotone (VOC 2010 on).
    Integrate,
}

impl Mode {
    /// `sample` or `integrate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Integrate => "integrate",
        }
    }
}

/// What a data set says about a detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The rule.
    pub mode: Mode,
    /// Overlap from which an object counts as found.
    pub iou_threshold: f32,
    /// Mean over the classes that have objects, in [0, 1]; `None` when none has.
    pub map: Option<f64>,
    /// By class id.
    pub per_class: Vec<ClassReport>,
    /// Average precision by COCO rules.
    pub coco: CocoReport,
    /// What was taken for what, from one score on.
    pub confusion: ConfusionMatrix,
}

/// Average precision of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassReport {
    /// In [0, 1]; `None` when there is no object of this class.
    pub ap: Option<f64>,
    /// Objects, difficult ones left out.
    pub truths: usize,
    /// Objects found.
    pub true_positives: usize,
    /// Detections that found nothing.
    pub false_positives: usize,
    /// A point for each score that occurs, best first. Empty when there is no object.
    pub curve: Vec<PrPoint>,
    /// Where F1 is highest; `None` when nothing is found.
    pub best_f1: Option<Operating>,
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        classes: &[ClassTally],
        coco: CocoReport,
        confusion: ConfusionMatrix,
    ) -> Self {
        let Settings { mode, iou_threshold, .. } = *settings;
        let per_class: Vec<ClassReport> = classes.iter().map(|tally| ClassReport::new(mode, tally)).collect();
        let known: Vec<f64> = per_class.iter().filter_map(|class| class.ap).collect();
        let map = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        Self { mode, iou_threshold, map, per_class, coco, confusion }
    }
}

impl ClassReport {
    fn new(mode: Mode, tally: &ClassTally) -> Self {
        let mut scored = tally.scored.clone();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        // (objects found, detections) after each detection.
        let mut found = 0;
        let counts: Vec<(usize, usize)> = scored
            .iter()
            .enumerate()
            .map(|(index, (_, hit))| {
                found += usize::from(*hit);
                (found, index + 1)
            })
            .collect();
        let precision = |(found, all): (usize, usize)| found as f64 / all as f64;
        let ap = (tally.truths > 0).then(|| match mode {
            Mode::Sample => {
                let best_at = |level: usize| {
                    let reached = counts.iter().filter(|(found, _)| found * 10 >= level * tally.truths);
                    reached.map(|count| precision(*count)).fold(0.0, f64::max)
                };
                (0..=10).map(best_at).sum::<f64>() / 11.0
            }
            Mode::Integrate => {
                let mut area = 0.0;
                let mut envelope = 0.0f64;
                for (index, count) in counts.iter().enumerate().rev() {
                    envelope = envelope.max(precision(*count));
                    let before = index.checked_sub(1).map_or(0, |index| counts[index].0);
                    area += (count.0 - before) as f64 * envelope;
                }
                area / tally.truths as f64
            }
        });
        let curve = if tally.truths > 0 { points(&scored, tally.truths) } else { Vec::new() };
        Self {
            ap,
            truths: tally.truths,
            true_positives: found,
            false_positives: scored.len() - found,
            best_f1: best_f1(&curve),
            curve,
        }
    }

    /// The curve as 101 points: the best precision at recall 0, 0.01, …, 1 or more, with the score that reaches it. Where no
    /// score does, precision and score are 0.
    pub fn sampled_curve(&self) -> Vec<PrPoint> {
        sampled(&self.curve)
    }
}
