//! How good a detector is: what it found of the objects of a data set, measured in every way in one pass.
//!
//! [`Metrics`] takes image after image and makes a [`Report`]: average precision by PASCAL VOC rules with its curves
//! ([`ClassReport`]), by COCO rules ([`CocoReport`]), and the [`ConfusionMatrix`] at one score. Where the original has defects
//! this does the right thing: ties keep their order, the 11 recall levels are compared exactly, a class without objects has no
//! average precision instead of 0, and an ignored object stays ignored for every detection that covers it.
//! `docs/differences.md` gives the reasons, `docs/evaluation.md` the rules.

mod average_precision;
mod coco;
mod confusion;
mod curve;
mod matching;
mod outcome;
#[cfg(test)]
mod tests;

pub use average_precision::{ClassReport, Mode, Report};
pub use coco::{Coco, CocoClass, CocoReport};
pub use confusion::{ConfusionMatrix, Counts};
pub use curve::{Operating, PrPoint};
pub use outcome::{Fate, Outcomes};

use crate::{Detection, NormBox, PxBox};
use matching::{Outcome, match_image};

/// A labelled object; `B` says in which coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth<B = NormBox> {
    /// Class id.
    pub class: usize,
    /// Neither counted when found nor when missed.
    pub difficult: bool,
    /// Where.
    pub bbox: B,
}

/// What is in an image and what was found there, in one coordinate system.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a, B = NormBox> {
    /// Objects.
    pub truths: &'a [Truth<B>],
    /// Detections.
    pub detections: &'a [Detection<B>],
}

/// What is free to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Overlap from which an object counts as found: for the average precision by VOC rules, its curves and the confusion
    /// matrix.
    pub iou_threshold: f32,
    /// Rule for the average precision by VOC rules.
    pub mode: Mode,
    /// Score from which a detection counts for the confusion matrix.
    pub score_threshold: f32,
}

/// Collects the images of a data set, then computes the [`Report`].
#[derive(Clone, Debug)]
pub struct Metrics {
    settings: Settings,
    classes: Vec<ClassTally>,
    coco: Coco,
    confusion: ConfusionMatrix,
}

/// What happened to the objects and detections of one class.
#[derive(Clone, Debug, Default)]
struct ClassTally {
    /// Objects that are not difficult.
    truths: usize,
    /// Score of each detection that counts, and whether it found an object; in order of arrival.
    scored: Vec<(f32, bool)>,
}

impl Metrics {
    /// For class ids below `classes`.
    pub fn new(classes: usize, settings: Settings) -> Self {
        Self {
            settings,
            classes: vec![ClassTally::default(); classes],
            coco: Coco::new(classes),
            confusion: ConfusionMatrix::new(classes, settings.score_threshold, settings.iou_threshold),
        }
    }

    /// Adds one image: the same objects and detections on the canvas, where VOC average precision and confusions are measured
    /// as in training, and in pixels of the image, where COCO measures. Says what became of them at the score of the matrix.
    ///
    /// # Panics
    /// When a class id is not below the number of classes.
    pub fn update(&mut self, canvas: Scene<'_>, pixels: Scene<'_, PxBox>) -> Outcomes {
        for truth in canvas.truths.iter().filter(|truth| !truth.difficult) {
            self.classes[truth.class].truths += 1;
        }
        for (detection, outcome) in match_image(canvas.truths, canvas.detections, self.settings.iou_threshold)
        {
            match outcome {
                Outcome::Found => self.classes[detection.class].scored.push((detection.score, true)),
                Outcome::False => self.classes[detection.class].scored.push((detection.score, false)),
                Outcome::Ignored => {}
            }
        }
        self.coco.update(pixels);
        self.confusion.update(canvas)
    }

    /// The measures of everything added so far.
    pub fn compute(&self) -> Report {
        Report::new(&self.settings, &self.classes, self.coco.compute(), self.confusion.clone())
    }
}
