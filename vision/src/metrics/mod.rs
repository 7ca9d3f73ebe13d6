//! Average precision at one IoU threshold, PASCAL VOC rules.
//!
//! Where the original has defects this does the right thing: ties keep their order, the 11 recall levels are compared
//! exactly, a class without objects has no average precision instead of 0, and an ignored object stays ignored for every
//! detection that covers it. `docs/differences.md` gives the reasons.

mod average_precision;
mod matching;

pub use average_precision::{ClassReport, Mode, Report};

use crate::{Detection, NormBox};
use matching::{Outcome, match_image};

/// A labelled object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Class id.
    pub class: usize,
    /// Neither counted when found nor when missed.
    pub difficult: bool,
    /// Where.
    pub bbox: NormBox,
}

/// Collects the images of a data set, then computes the [`Report`].
#[derive(Clone, Debug)]
pub struct MeanAveragePrecision {
    iou_threshold: f32,
    mode: Mode,
    classes: Vec<ClassTally>,
}

/// What happened to the objects and detections of one class.
#[derive(Clone, Debug, Default)]
struct ClassTally {
    /// Objects that are not difficult.
    truths: usize,
    /// Score of each detection that counts, and whether it found an object; in order of arrival.
    scored: Vec<(f32, bool)>,
}

impl MeanAveragePrecision {
    /// For class ids below `classes`. A detection finds an object when they overlap by `iou_threshold` or more.
    pub fn new(classes: usize, iou_threshold: f32, mode: Mode) -> Self {
        Self { iou_threshold, mode, classes: vec![ClassTally::default(); classes] }
    }

    /// Adds one image.
    ///
    /// # Panics
    /// When a class id is not below the number of classes.
    pub fn update(&mut self, truths: &[Truth], detections: &[Detection]) {
        for truth in truths.iter().filter(|truth| !truth.difficult) {
            self.classes[truth.class].truths += 1;
        }
        for (detection, outcome) in match_image(truths, detections, self.iou_threshold) {
            match outcome {
                Outcome::Found => self.classes[detection.class].scored.push((detection.score, true)),
                Outcome::False => self.classes[detection.class].scored.push((detection.score, false)),
                Outcome::Ignored => {}
            }
        }
    }

    /// The average precision of everything added so far.
    pub fn compute(&self) -> Report {
        Report::new(self.mode, self.iou_threshold, &self.classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(class: usize, difficult: bool, b: [f32; 4]) -> Truth {
        Truth { class, difficult, bbox: NormBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] } }
    }

    fn d(class: usize, score: f32, b: [f32; 4]) -> Detection {
        Detection { class, score, bbox: NormBox { x1: b[0], y1: b[1], x2: b[2], y2: b[3] } }
    }

    /// Three images whose average precision the original computed.
    fn golden(mode: Mode) -> Report {
        let mut metric = MeanAveragePrecision::new(2, 0.5, mode);
        metric.update(
            &[
                t(0, false, [0.1, 0.1, 0.3, 0.3]),
                t(0, false, [0.5, 0.5, 0.9, 0.9]),
                t(1, false, [0.2, 0.6, 0.4, 0.8]),
            ],
            &[
                d(0, 0.9, [0.1, 0.1, 0.3, 0.3]),
                d(0, 0.8, [0.52, 0.5, 0.9, 0.9]),
                d(0, 0.7, [0.1, 0.12, 0.3, 0.3]),
                d(1, 0.6, [0.2, 0.6, 0.4, 0.79]),
            ],
        );
        metric.update(
            &[t(0, true, [0.0, 0.0, 0.5, 0.5]), t(0, false, [0.6, 0.1, 0.8, 0.4])],
            &[
                d(0, 0.95, [0.0, 0.0, 0.5, 0.5]),
                d(0, 0.4, [0.0, 0.02, 0.5, 0.5]),
                d(0, 0.3, [0.1, 0.6, 0.2, 0.8]),
            ],
        );
        metric.update(&[], &[d(1, 0.5, [0.1, 0.1, 0.2, 0.2])]);
        metric.compute()
    }

    #[test]
    fn golden_values() {
        for (mode, first, mean) in
            [(Mode::Sample, 7.0 / 11.0, 0.81818), (Mode::Integrate, 2.0 / 3.0, 0.83333)]
        {
            let report = golden(mode);
            assert!((report.per_class[0].ap.unwrap() - first).abs() < 1e-9, "{report:?}");
            assert_eq!(report.per_class[1].ap, Some(1.0));
            assert!((report.map.unwrap() - mean).abs() < 1e-5);
        }
        let class = &golden(Mode::Sample).per_class[0];
        assert_eq!((class.truths, class.true_positives, class.false_positives), (3, 2, 2));
    }

    #[test]
    fn a_class_without_objects_is_left_out_of_the_mean() {
        let mut metric = MeanAveragePrecision::new(3, 0.5, Mode::Sample);
        let place = [0.1, 0.1, 0.3, 0.3];
        metric.update(&[t(0, false, place), t(2, true, place)], &[d(0, 0.9, place), d(1, 0.9, place)]);
        let report = metric.compute();
        assert_eq!(
            report.per_class.iter().map(|class| class.ap).collect::<Vec<_>>(),
            [Some(1.0), None, None]
        );
        assert_eq!(report.map, Some(1.0));
        assert_eq!(MeanAveragePrecision::new(2, 0.5, Mode::Sample).compute().map, None);
    }

    #[test]
    fn recall_levels_are_exact() {
        // 3 of 10 objects found, all correct: recall 0.3 reaches the levels 0, 0.1, 0.2 and 0.3.
        let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Sample);
        let place = |i: usize| [0.1 * i as f32, 0.0, 0.1 * i as f32 + 0.05, 0.1];
        let truths: Vec<Truth> = (0..10).map(|i| t(0, false, place(i))).collect();
        let found: Vec<Detection> = (0..3).map(|i| d(0, 0.9, place(i))).collect();
        metric.update(&truths, &found);
        assert_eq!(metric.compute().map, Some(4.0 / 11.0));
    }

    #[test]
    fn a_difficult_object_does_not_take_a_second_detection_from_its_neighbour() {
        let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Sample);
        let (hard, plain) = ([0.0, 0.0, 0.5, 0.5], [0.0, 0.1, 0.5, 0.6]);
        metric.update(
            &[t(0, true, hard), t(0, false, plain)],
            &[d(0, 0.9, hard), d(0, 0.8, [0.0, 0.02, 0.5, 0.52])],
        );
        assert_eq!(metric.compute().per_class[0].true_positives, 1);
    }

    #[test]
    fn the_area_is_that_under_the_envelope() {
        // Precision rises with recall: 1/2 at the first object, 2/3 at both.
        let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Integrate);
        let place = |i: usize| [0.2 * i as f32, 0.0, 0.2 * i as f32 + 0.1, 0.1];
        let truths = [t(0, false, place(0)), t(0, false, place(1))];
        metric.update(&truths, &[d(0, 0.7, place(1)), d(0, 0.9, place(3)), d(0, 0.8, place(0))]);
        assert!((metric.compute().map.unwrap() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_score_of_zero_finds_only_what_it_covers() {
        let mut metric = MeanAveragePrecision::new(1, 0.5, Mode::Integrate);
        metric.update(&[t(0, false, [0.1, 0.1, 0.3, 0.3])], &[d(0, 0.0, [0.6, 0.6, 0.7, 0.7])]);
        assert_eq!(metric.compute().map, Some(0.0));
    }
}
