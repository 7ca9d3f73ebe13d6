//! Average precision and recall by COCO rules, equal to pycocotools' `COCOeval` for boxes.
//!
//! Ten IoU thresholds, 101 recall levels, the 100 best detections of a class in an image, and ranges of area in pixels.
//! A difficult object is what pycocotools calls a crowd. The area of an object is that of its box (COCO's own files give the
//! area of its mask). Images count in the order they are added, like pycocotools' in the order of their ids. Source:
//! <https://cocodataset.org/#detection-eval>, <https://github.com/cocodataset/cocoapi>.

mod accumulate;
mod matching;

use rayon::prelude::*;

use super::Scene;
use crate::PxBox;
use accumulate::{Areas, ClassStatistics, accumulate};
use matching::match_class;

/// IoU thresholds: 0.5, 0.55, …, 0.95.
const THRESHOLDS: usize = 10;
/// Area ranges: all, small, medium, large.
const RANGES: usize = 4;
/// Smallest and largest area of each range, in square pixels.
const AREAS: [(f64, f64); RANGES] = [(0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10)];
/// Detections of a class looked at in an image: numbers that recall is given for; the last one holds for everything else.
const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];

/// Collects the images of a data set, then computes the [`CocoReport`].
#[derive(Clone, Debug)]
pub struct Coco {
    classes: Vec<Tally>,
}

/// What happened to the objects and detections of one class.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Objects that count, by area range.
    truths: [usize; RANGES],
    /// In order of arrival, best first within an image.
    scored: Vec<Scored>,
}

/// A detection and what it found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scored {
    score: f32,
    /// Better ones of its class in its image.
    rank: u8,
    /// By area range, a bit for each threshold: it found an object that counts.
    found: [u16; RANGES],
    /// By area range, a bit for each threshold: it counts nowhere.
    ignored: [u16; RANGES],
}

/// Average precision and recall of a data set. A value is `None` where no object counts (pycocotools says -1).
#[derive(Clone, Debug, PartialEq)]
pub struct CocoReport {
    /// AP50:95: mean over classes and IoU 0.5, 0.55, …, 0.95.
    pub ap: Option<f64>,
    /// At IoU 0.5.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
    /// AP50:95 of objects below 32² pixels.
    pub ap_small: Option<f64>,
    /// … from 32² to 96² pixels.
    pub ap_medium: Option<f64>,
    /// … above 96² pixels.
    pub ap_large: Option<f64>,
    /// Average recall over the same IoUs when each image has 1 detection of a class.
    pub ar1: Option<f64>,
    /// … 10 detections.
    pub ar10: Option<f64>,
    /// … 100 detections.
    pub ar100: Option<f64>,
    /// … 100 detections, of small objects.
    pub ar_small: Option<f64>,
    /// … of medium ones.
    pub ar_medium: Option<f64>,
    /// … of large ones.
    pub ar_large: Option<f64>,
    /// By class id.
    pub per_class: Vec<CocoClass>,
}

/// Average precision of one class; `None` when there is no object of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CocoClass {
    /// AP50:95.
    pub ap: Option<f64>,
    /// At IoU 0.5.
    pub ap50: Option<f64>,
    /// At IoU 0.75.
    pub ap75: Option<f64>,
}

impl Coco {
    /// For class ids below `classes`.
    pub fn new(classes: usize) -> Self {
        Self { classes: vec![Tally::default(); classes] }
    }

    /// Adds one image; boxes are in its pixels.
    ///
    /// # Panics
    /// When a class id is not below the number of classes.
    pub fn update(&mut self, scene: Scene<'_, PxBox>) {
        let mut order: Vec<usize> = (0..scene.detections.len()).collect();
        let key = |index: &usize| &scene.detections[*index];
        // Stable: equal scores stay in the order given.
        order.sort_by(|a, b| key(a).class.cmp(&key(b).class).then(key(b).score.total_cmp(&key(a).score)));
        let detections: Vec<_> = order.iter().map(|index| scene.detections[*index]).collect();
        let mut truths = scene.truths.to_vec();
        truths.sort_by_key(|truth| truth.class);
        let mut rest = &truths[..];
        let mut detections = &detections[..];
        while let Some(class) =
            rest.first().map(|t| t.class).into_iter().chain(detections.first().map(|d| d.class)).min()
        {
            let (here, later) = rest.split_at(rest.partition_point(|truth| truth.class == class));
            let (found, others) = detections.split_at(detections.partition_point(|d| d.class == class));
            (rest, detections) = (later, others);
            let best = &found[..found.len().min(MAX_DETECTIONS[2])];
            match_class(here, best, &mut self.classes[class]);
        }
    }

    /// The averages of everything added so far.
    pub fn compute(&self) -> CocoReport {
        let classes: Vec<ClassStatistics> = self.classes.par_iter().map(accumulate).collect();
        let ap = |areas: Areas| mean(classes.iter().map(|class| class.ap(areas)));
        let recall = |areas: Areas, most: usize| mean(classes.iter().map(|class| class.recall(areas, most)));
        let at = |threshold: usize| mean(classes.iter().map(|class| class.ap_at(threshold)));
        CocoReport {
            ap: ap(Areas::All),
            ap50: at(0),
            ap75: at(5),
            ap_small: ap(Areas::Small),
            ap_medium: ap(Areas::Medium),
            ap_large: ap(Areas::Large),
            ar1: recall(Areas::All, 0),
            ar10: recall(Areas::All, 1),
            ar100: recall(Areas::All, 2),
            ar_small: recall(Areas::Small, 2),
            ar_medium: recall(Areas::Medium, 2),
            ar_large: recall(Areas::Large, 2),
            per_class: classes
                .iter()
                .map(|class| CocoClass {
                    ap: class.ap(Areas::All),
                    ap50: class.ap_at(0),
                    ap75: class.ap_at(5),
                })
                .collect(),
        }
    }
}

impl CocoReport {
    /// The twelve numbers in the order of pycocotools' `summarize`, with their names in results files.
    pub fn statistics(&self) -> [(&'static str, Option<f64>); 12] {
        [
            ("ap", self.ap),
            ("ap50", self.ap50),
            ("ap75", self.ap75),
            ("ap_small", self.ap_small),
            ("ap_medium", self.ap_medium),
            ("ap_large", self.ap_large),
            ("ar1", self.ar1),
            ("ar10", self.ar10),
            ("ar100", self.ar100),
            ("ar_small", self.ar_small),
            ("ar_medium", self.ar_medium),
            ("ar_large", self.ar_large),
        ]
    }
}

/// Mean of what is known.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}
