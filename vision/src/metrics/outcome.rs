//! What became of each object and each detection of an image, whatever their classes: the base of the confusion matrix and of
//! pictures of mistakes.

use std::cmp::Ordering;

use super::Scene;
use crate::iou;

/// What became of an object or of a detection. The number is the index of its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Object and detection of one class belong together.
    Right(usize),
    /// Object and detection belong together, but not their classes.
    Confused(usize),
    /// An object without a detection, or a detection without an object.
    Alone,
    /// A difficult object, or a detection that covers one: counts nowhere.
    Ignored,
    /// A detection whose score is below the threshold.
    BelowThreshold,
}

/// The fates of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Of each object.
    pub truths: Vec<Fate>,
    /// Of each detection.
    pub detections: Vec<Fate>,
}

impl Outcomes {
    /// Pairs objects with detections of `score_threshold` or more that overlap them by `iou_threshold` or more. Pairs of one
    /// class come first, then larger overlaps, then higher scores, then the order given. Each has one partner at most; but a
    /// difficult object takes any number of detections, and they are ignored like itself.
    pub fn of(scene: Scene<'_>, score_threshold: f32, iou_threshold: f32) -> Self {
        let Scene { truths, detections } = scene;
        let mut fates = Self {
            truths: truths.iter().map(|t| if t.difficult { Fate::Ignored } else { Fate::Alone }).collect(),
            detections: vec![Fate::BelowThreshold; detections.len()],
        };
        let mut pairs = Vec::new();
        for (d, detection) in detections.iter().enumerate().filter(|(_, d)| d.score >= score_threshold) {
            fates.detections[d] = Fate::Alone;
            for (t, truth) in truths.iter().enumerate() {
                let overlap = iou(&truth.bbox, &detection.bbox);
                if overlap >= iou_threshold && overlap > 0.0 {
                    pairs.push(Pair {
                        same: truth.class == detection.class,
                        overlap,
                        score: detection.score,
                        d,
                        t,
                    });
                }
            }
        }
        pairs.sort_by(Pair::better_first);
        for Pair { same, d, t, .. } in pairs {
            if fates.detections[d] != Fate::Alone {
                continue;
            }
            match fates.truths[t] {
                Fate::Ignored => fates.detections[d] = Fate::Ignored,
                Fate::Alone => {
                    let fate = if same { Fate::Right } else { Fate::Confused };
                    (fates.truths[t], fates.detections[d]) = (fate(d), fate(t));
                }
                Fate::Right(_) | Fate::Confused(_) | Fate::BelowThreshold => {}
            }
        }
        fates
    }
}

/// A detection `d` and an object `t` that overlap.
struct Pair {
    same: bool,
    overlap: f32,
    score: f32,
    d: usize,
    t: usize,
}

impl Pair {
    fn better_first(&self, other: &Self) -> Ordering {
        let larger = other.same.cmp(&self.same).then(other.overlap.total_cmp(&self.overlap));
        let surer = larger.then(other.score.total_cmp(&self.score));
        surer.then((self.d, self.t).cmp(&(other.d, other.t)))
    }
}
