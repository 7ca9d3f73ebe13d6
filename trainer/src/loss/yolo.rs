//! The whole loss and its gradient with respect to the raw maps of the heads.
//!
//! `λ_loc · L_loc + L_pos + λ_neg · L_neg + λ_cls · L_cls`, each a sum over rows and a mean over the images of the batch:
//! - L_loc: [CIoU](super::ciou) of rows with an object, times 2 − the object's area;
//! - L_pos, L_cls: objectness and class cross entropy of rows with an object;
//! - L_neg: objectness cross entropy of the other rows, but for those whose box overlaps some object of the image by
//!   `matching_neutral_box_iou` or more.
//!
//! L_loc and L_cls are weighted by class.

use oxidet_proto::spec::{ClassMap, ClassWeightingConfig, Yolov4Config};
use oxidet_vision::metrics::Truth;
use oxidet_vision::{Head, MAX_SIZE_LOGIT, NormBox, iou, sigmoid};
use rayon::prelude::*;

use super::ciou::CentreBox;
use super::row::{Columns, Place, cross_entropy, localisation};
use super::{Assignment, assign};

/// Weights and thresholds of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LossConfig {
    /// λ_loc
    pub loc_weight: f64,
    /// λ_neg
    pub neg_obj_weight: f64,
    /// λ_cls
    pub class_weight: f64,
    /// Objects match anchors whose shape overlaps theirs by more than this.
    pub box_matching_iou: f64,
    /// Rows whose box overlaps an object by this or more are not negatives.
    pub neutral_iou: f64,
    /// Share of the targets given to the opposite, objectness included.
    pub label_smoothing: f64,
    /// α of the focal loss; off when 0.
    pub focal_alpha: f64,
    /// γ of the focal loss; off when 0.
    pub focal_gamma: f64,
    /// Weight of each class in L_loc and L_cls; 1 beyond the end of the list.
    pub class_weights: Vec<f64>,
}

impl Default for LossConfig {
    /// All weights 1, nothing smoothed, thresholds as NVIDIA's example has them.
    fn default() -> Self {
        Self {
            loc_weight: 1.0,
            neg_obj_weight: 1.0,
            class_weight: 1.0,
            box_matching_iou: 0.25,
            neutral_iou: 0.5,
            label_smoothing: 0.0,
            focal_alpha: 0.0,
            focal_gamma: 0.0,
            class_weights: Vec::new(),
        }
    }
}

impl LossConfig {
    /// As the spec asks.
    pub fn from_spec(spec: &Yolov4Config, weighting: &ClassWeightingConfig, classes: &ClassMap) -> Self {
        let mut class_weights = vec![1.0; classes.len()];
        for (name, weight) in &weighting.class_weighting {
            if let Some(class) = classes.id(name) {
                class_weights[class] = f64::from(*weight);
            }
        }
        Self {
            loc_weight: spec.loss_loc_weight.into(),
            neg_obj_weight: spec.loss_neg_obj_weights.into(),
            class_weight: spec.loss_class_weights.into(),
            box_matching_iou: spec.box_matching_iou.into(),
            neutral_iou: spec.matching_neutral_box_iou.into(),
            label_smoothing: spec.label_smoothing.into(),
            focal_alpha: spec.focal_loss_alpha.into(),
            focal_gamma: spec.focal_loss_gamma.into(),
            class_weights,
        }
    }
}

/// The terms of the loss, unweighted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossTerms {
    /// L_loc
    pub loc: f64,
    /// L_pos
    pub pos: f64,
    /// L_neg
    pub neg: f64,
    /// L_cls
    pub class: f64,
}

impl LossTerms {
    /// The weighted sum.
    pub fn total(&self, config: &LossConfig) -> f64 {
        config.loc_weight * self.loc
            + self.pos
            + config.neg_obj_weight * self.neg
            + config.class_weight * self.class
    }

    fn add(&mut self, other: &Self) {
        self.loc += other.loc;
        self.pos += other.pos;
        self.neg += other.neg;
        self.class += other.class;
    }
}

/// What the rows of one class cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassLoss {
    /// Localisation and class terms, weighted by class, summed over the batch.
    pub sum: f64,
    /// Rows with an object of the class.
    pub rows: u64,
}

/// What [`YoloLoss::compute`] finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loss {
    /// The terms: sums over rows, means over images.
    pub terms: LossTerms,
    /// By class.
    pub classes: Vec<ClassLoss>,
    /// Gradient of the total with respect to each map.
    pub gradients: Vec<Vec<f32>>,
}

/// Sums over the rows of one image's map.
#[derive(Default)]
struct Sums {
    terms: LossTerms,
    classes: Vec<ClassLoss>,
}

impl Sums {
    fn new(classes: usize) -> Self {
        Self { terms: LossTerms::default(), classes: vec![ClassLoss::default(); classes] }
    }

    fn add(&mut self, other: &Self) {
        self.terms.add(&other.terms);
        for (class, other) in self.classes.iter_mut().zip(&other.classes) {
            class.sum += other.sum;
            class.rows += other.rows;
        }
    }
}

/// The loss of a network's heads.
#[derive(Clone, Debug, PartialEq)]
pub struct YoloLoss {
    /// Weights and thresholds.
    pub config: LossConfig,
    /// The heads, big objects first.
    pub heads: Vec<Head>,
    /// Number of classes, K.
    pub classes: usize,
}

impl YoloLoss {
    /// The loss of the maps `[N, A · (5 + K), rows, columns]` of all heads, for an input of `height` × `width` pixels with these
    /// objects per image, and its gradient with respect to each map.
    ///
    /// # Panics
    /// When a map does not have the size its head asks for.
    pub fn compute(&self, maps: &[&[f32]], truths: &[Vec<Truth>], height: usize, width: usize) -> Loss {
        let batch = truths.len();
        let share = 1.0 / batch as f64;
        let mut gradients: Vec<Vec<f32>> = maps.iter().map(|map| vec![0.0; map.len()]).collect();
        let assigned: Vec<Vec<Assignment>> = truths
            .par_iter()
            .map(|truths| assign(truths, &self.heads, height, width, self.config.box_matching_iou))
            .collect();
        let mut sum = Sums::new(self.classes);
        let mut first_row = 0;
        for ((head, map), gradient) in self.heads.iter().zip(maps).zip(&mut gradients) {
            let per_image = head.boxes(height, width) * (5 + self.classes);
            assert_eq!(map.len(), batch * per_image, "map of the head at stride {}", head.stride);
            let images: Vec<Sums> = map
                .par_chunks_exact(per_image)
                .zip(gradient.par_chunks_exact_mut(per_image))
                .zip(truths.par_iter().zip(&assigned))
                .map(|((map, gradient), (truths, assigned))| {
                    let image =
                        HeadImage { loss: self, head, map, truths, assigned, grid: head.grid(height, width) };
                    image.compute(first_row, share, gradient)
                })
                .collect();
            for image in &images {
                sum.add(image);
            }
            first_row += head.boxes(height, width);
        }
        let Sums { mut terms, classes } = sum;
        for term in [&mut terms.loc, &mut terms.pos, &mut terms.neg, &mut terms.class] {
            *term *= share;
        }
        Loss { terms, classes, gradients }
    }
}

/// One head's map of one image.
struct HeadImage<'a> {
    loss: &'a YoloLoss,
    head: &'a Head,
    /// `[A · (5 + K), rows, columns]`
    map: &'a [f32],
    truths: &'a [Truth],
    /// Of all heads.
    assigned: &'a [Assignment],
    grid: (usize, usize),
}

impl HeadImage<'_> {
    /// Sums the terms over rows and writes the gradient times `share`.
    fn compute(&self, first_row: usize, share: f64, gradient: &mut [f32]) -> Sums {
        let config = &self.loss.config;
        let (rows, columns) = self.grid;
        let (cells, anchors, fields) = (rows * columns, self.head.anchors.len(), 5 + self.loss.classes);
        let mut sums = Sums::new(self.loss.classes);
        // Every row first counts as a negative or neutral one; rows with an object are then written over.
        let positives =
            self.assigned.iter().filter(|a| (first_row..first_row + cells * anchors).contains(&a.row));
        let mut is_positive = vec![false; cells * anchors];
        for assignment in positives.clone() {
            is_positive[assignment.row - first_row] = true;
        }
        for anchor in 0..anchors {
            for cell in 0..cells {
                if is_positive[cell * anchors + anchor] || self.is_neutral(anchor, cell) {
                    continue;
                }
                let at = (anchor * fields + 4) * cells + cell;
                let (loss, slope) = cross_entropy(config, self.map[at], false);
                sums.terms.neg += loss;
                gradient[at] = (config.neg_obj_weight * slope * share) as f32;
            }
        }
        for assignment in positives {
            let row = assignment.row - first_row;
            self.positive(row / anchors, row % anchors, assignment.truth, share, gradient, &mut sums);
        }
        sums
    }

    fn positive(
        &self,
        cell: usize,
        anchor: usize,
        truth: usize,
        share: f64,
        gradient: &mut [f32],
        sums: &mut Sums,
    ) {
        let config = &self.loss.config;
        let (rows, columns) = self.grid;
        let cells = rows * columns;
        let at = |field: usize| (anchor * (5 + self.loss.classes) + field) * cells + cell;
        let truth = &self.truths[truth];
        let weight = config.class_weights.get(truth.class).copied().unwrap_or(1.0);

        let (place, predicted, slopes) = self.decode(anchor, cell);
        let (loss, by_column) = localisation(&place, &predicted, &centre_box(&truth.bbox));
        let mut class_loss = weight * loss;
        sums.terms.loc += weight * loss;
        for (field, (d, slope)) in by_column.into_iter().zip(slopes).enumerate() {
            gradient[at(field)] = (config.loc_weight * weight * d * slope * share) as f32;
        }
        let (loss, slope) = cross_entropy(config, self.map[at(4)], true);
        sums.terms.pos += loss;
        gradient[at(4)] = (slope * share) as f32;
        for class in 0..self.loss.classes {
            let (loss, slope) = cross_entropy(config, self.map[at(5 + class)], class == truth.class);
            class_loss += weight * loss;
            sums.terms.class += weight * loss;
            gradient[at(5 + class)] = (config.class_weight * weight * slope * share) as f32;
        }
        if let Some(class) = sums.classes.get_mut(truth.class) {
            class.sum += class_loss;
            class.rows += 1;
        }
    }

    /// A row's constants, its decoded columns y, x, h, w, and their derivatives by the raw values.
    fn decode(&self, anchor: usize, cell: usize) -> (Place, Columns, [f64; 4]) {
        let (rows, columns) = self.grid;
        let cells = rows * columns;
        let raw =
            |field: usize| f64::from(self.map[(anchor * (5 + self.loss.classes) + field) * cells + cell]);
        let step = (1.0 / rows as f64, 1.0 / columns as f64);
        let (anchor_w, anchor_h) = self.head.anchors[anchor];
        let place = Place {
            cell: ((cell / columns) as f64 * step.0, (cell % columns) as f64 * step.1),
            step,
            anchor: (anchor_h.into(), anchor_w.into()),
        };
        let extend = f64::from(self.head.grid_xy_extend);
        let offset = |t: f64| {
            let s = 1.0 / (1.0 + (-t).exp());
            (s * (1.0 + extend) - extend / 2.0, s * (1.0 - s) * (1.0 + extend))
        };
        let factor = |t: f64| {
            let cap = f64::from(MAX_SIZE_LOGIT);
            let size = t.min(cap).exp();
            (size, if t > cap { 0.0 } else { size })
        };
        let ((y, d_y), (x, d_x)) = (offset(raw(0)), offset(raw(1)));
        let ((h, d_h), (w, d_w)) = (factor(raw(2)), factor(raw(3)));
        (place, Columns { y, x, h, w }, [d_y, d_x, d_h, d_w])
    }

    /// Whether the predicted box overlaps some object enough not to be a negative.
    fn is_neutral(&self, anchor: usize, cell: usize) -> bool {
        if self.truths.is_empty() {
            return false;
        }
        let (rows, columns) = self.grid;
        let cells = rows * columns;
        let raw = |field: usize| self.map[(anchor * (5 + self.loss.classes) + field) * cells + cell];
        let extend = self.head.grid_xy_extend;
        let offset = |t: f32| sigmoid(t) * (1.0 + extend) - extend / 2.0;
        let cy = ((cell / columns) as f32 + offset(raw(0))) / rows as f32;
        let cx = ((cell % columns) as f32 + offset(raw(1))) / columns as f32;
        let (anchor_w, anchor_h) = self.head.anchors[anchor];
        let h = anchor_h * raw(2).min(MAX_SIZE_LOGIT).exp();
        let w = anchor_w * raw(3).min(MAX_SIZE_LOGIT).exp();
        let bbox = NormBox { x1: cx - w / 2.0, y1: cy - h / 2.0, x2: cx + w / 2.0, y2: cy + h / 2.0 };
        self.truths.iter().any(|truth| f64::from(iou(&bbox, &truth.bbox)) >= self.loss.config.neutral_iou)
    }
}

fn centre_box(b: &NormBox) -> CentreBox {
    let (x1, y1, x2, y2) = (f64::from(b.x1), f64::from(b.y1), f64::from(b.x2), f64::from(b.y2));
    CentreBox { cx: (x1 + x2) / 2.0, cy: (y1 + y2) / 2.0, w: x2 - x1, h: y2 - y1 }
}

#[cfg(test)]
#[path = "yolo_tests.rs"]
mod tests;
