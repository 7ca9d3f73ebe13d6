//! What was taken for what.

use super::{Fate, Outcomes, Scene};

/// Objects by their class and by the class they were detected as; background stands for what is missed, and for what is
/// detected where nothing is. [`Outcomes::of`] says which object a detection belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionMatrix {
    classes: usize,
    score_threshold: f32,
    iou_threshold: f32,
    /// `[K + 1, K + 1]`: row is the object's class, column the detection's, background last.
    counts: Vec<usize>,
}

/// How often a class was right and wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects found as what they are.
    pub true_positives: usize,
    /// Detections where nothing is, or something else.
    pub false_positives: usize,
    /// Objects missed, or taken for something else.
    pub false_negatives: usize,
}

impl ConfusionMatrix {
    /// For class ids below `classes`, detections of `score_threshold` or more, and pairs that overlap by `iou_threshold` or
    /// more.
    pub fn new(classes: usize, score_threshold: f32, iou_threshold: f32) -> Self {
        Self { classes, score_threshold, iou_threshold, counts: vec![0; (classes + 1) * (classes + 1)] }
    }

    /// Adds one image, and says what became of its objects and detections.
    ///
    /// # Panics
    /// When a class id is not below the number of classes.
    pub fn update(&mut self, scene: Scene<'_>) -> Outcomes {
        let outcomes = Outcomes::of(scene, self.score_threshold, self.iou_threshold);
        for (truth, fate) in scene.truths.iter().zip(&outcomes.truths) {
            match *fate {
                Fate::Right(d) | Fate::Confused(d) => {
                    self.add(Some(truth.class), Some(scene.detections[d].class))
                }
                Fate::Alone => self.add(Some(truth.class), None),
                Fate::Ignored | Fate::BelowThreshold => {}
            }
        }
        for (detection, fate) in scene.detections.iter().zip(&outcomes.detections) {
            if *fate == Fate::Alone {
                self.add(None, Some(detection.class));
            }
        }
        outcomes
    }

    /// Classes; background is not one.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Score from which a detection counts.
    pub fn score_threshold(&self) -> f32 {
        self.score_threshold
    }

    /// Overlap from which object and detection may belong together.
    pub fn iou_threshold(&self) -> f32 {
        self.iou_threshold
    }

    /// How many objects of a class were detected as a class; `None` is background.
    ///
    /// # Panics
    /// When a class id is not below the number of classes.
    pub fn count(&self, truth: Option<usize>, detected: Option<usize>) -> usize {
        self.counts[self.place(truth, detected)]
    }

    /// The rows: objects of class 0, 1, …, and background; each by detected class, background last.
    pub fn rows(&self) -> impl Iterator<Item = &[usize]> {
        self.counts.chunks(self.classes + 1)
    }

    /// What a class got right and wrong.
    ///
    /// # Panics
    /// When the class id is not below the number of classes.
    pub fn of_class(&self, class: usize) -> Counts {
        let side = self.classes + 1;
        let right = self.count(Some(class), Some(class));
        let row: usize = self.counts[class * side..][..side].iter().sum();
        let column: usize = self.counts.iter().skip(class).step_by(side).sum();
        Counts { true_positives: right, false_positives: column - right, false_negatives: row - right }
    }

    fn place(&self, truth: Option<usize>, detected: Option<usize>) -> usize {
        let at = |class: Option<usize>| {
            class.inspect(|class| assert!(*class < self.classes, "class {class}")).unwrap_or(self.classes)
        };
        at(truth) * (self.classes + 1) + at(detected)
    }

    fn add(&mut self, truth: Option<usize>, detected: Option<usize>) {
        let place = self.place(truth, detected);
        self.counts[place] += 1;
    }
}
