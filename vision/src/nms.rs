//! Non-maximum suppression with the semantics of TensorRT's `BatchedNMSDynamic_TRT` plugin (`isNormalized`,
//! `shareLocation`, `clipBoxes`), so that the checkpoint, the exported model and the engine give the same detections.
//!
//! Per class: keep scores **above** the threshold, sort by score (ties keep candidate order), take the best `top_k`, and
//! walk down dropping every box that overlaps a kept one by **more** than the IoU threshold. Then merge the classes, sort by
//! score, take the best `keep_top_k`, and clip them to the canvas. Suppression itself sees unclipped boxes.
//! A score or box that is not a number is never kept.

use serde::{Deserialize, Serialize};

use crate::iou::BoxList;
use crate::{NormBox, RawDetections};

/// Thresholds and caps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NmsConfig {
    /// Scores must exceed this.
    pub score_threshold: f32,
    /// A box that overlaps a better one of its class by more than this is dropped.
    pub iou_threshold: f32,
    /// Candidates looked at per class.
    pub top_k: usize,
    /// Detections kept per image.
    pub keep_top_k: usize,
}

/// One detected object; `B` says in which coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection<B = NormBox> {
    /// Class id.
    pub class: usize,
    /// Confidence in [0, 1].
    pub score: f32,
    /// Where, inside the canvas or the image.
    pub bbox: B,
}

impl RawDetections {
    /// Detections of one image, best first. Of what is suppressed already, `config` only leaves out low scores and the last ones.
    pub fn suppress(&self, image: usize, config: &NmsConfig) -> Vec<Detection> {
        // No overlap exceeds this.
        let iou_threshold = if self.suppressed { f32::INFINITY } else { config.iou_threshold };
        let config = NmsConfig { iou_threshold, ..*config };
        suppress(self.image_boxes(image), self.image_scores(image), self.classes, &config)
    }
}

/// Suppresses the candidates of one image: `boxes` `[B, 4]`, `scores` `[B, K]` with K = `classes`. Best first.
pub fn suppress(boxes: &[f32], scores: &[f32], classes: usize, config: &NmsConfig) -> Vec<Detection> {
    // Class-major lists of what passes the threshold; most candidates do not.
    let mut passing: Vec<Vec<(f32, usize)>> = vec![Vec::new(); classes];
    for (candidate, (scores, corners)) in
        scores.chunks_exact(classes.max(1)).zip(boxes.chunks_exact(4)).enumerate()
    {
        for (class, score) in scores.iter().enumerate() {
            if *score > config.score_threshold && corners.iter().all(|x| !x.is_nan()) {
                passing[class].push((*score, candidate));
            }
        }
    }
    let mut kept = Vec::new();
    let mut kept_of_class = BoxList::default();
    for (class, mut list) in passing.into_iter().enumerate() {
        // Best first; equal scores in candidate order. Ordering by both makes an unstable selection stable.
        let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if list.len() > config.top_k {
            list.select_nth_unstable_by(config.top_k, order);
            list.truncate(config.top_k);
        }
        list.sort_unstable_by(order);
        kept_of_class.clear();
        for (score, candidate) in list {
            let [x1, y1, x2, y2] = boxes[candidate * 4..][..4] else { unreachable!("four corners per box") };
            let bbox = NormBox { x1, y1, x2, y2 };
            // Only the best `keep_top_k` of a class can be among the best of all.
            if kept_of_class.len() == config.keep_top_k {
                break;
            }
            if !kept_of_class.any_overlaps(&bbox, config.iou_threshold) {
                kept_of_class.push(bbox);
                kept.push(Detection { class, score, bbox });
            }
        }
    }
    // Stable: equal scores stay in class order.
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept.truncate(config.keep_top_k);
    for detection in &mut kept {
        detection.bbox = detection.bbox.clip();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iou;

    const CONFIG: NmsConfig =
        NmsConfig { score_threshold: 0.1, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 };

    /// The definition, with nothing clever: sort everything, mark the dropped, merge.
    fn by_definition(boxes: &[f32], scores: &[f32], classes: usize, config: &NmsConfig) -> Vec<Detection> {
        let count = boxes.len() / 4;
        let at = |i: usize| NormBox {
            x1: boxes[4 * i],
            y1: boxes[4 * i + 1],
            x2: boxes[4 * i + 2],
            y2: boxes[4 * i + 3],
        };
        let mut all = Vec::new();
        for class in 0..classes {
            let mut list: Vec<usize> =
                (0..count).filter(|i| scores[i * classes + class] > config.score_threshold).collect();
            list.sort_by(|a, b| scores[b * classes + class].total_cmp(&scores[a * classes + class]));
            list.truncate(config.top_k);
            let mut dropped = vec![false; list.len()];
            for i in 0..list.len() {
                for j in i + 1..list.len() {
                    if !dropped[i] && iou(&at(list[i]), &at(list[j])) > config.iou_threshold {
                        dropped[j] = true;
                    }
                }
            }
            for (i, dropped) in list.iter().zip(dropped) {
                if !dropped {
                    all.push(Detection { class, score: scores[i * classes + class], bbox: at(*i) });
                }
            }
        }
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(config.keep_top_k);
        all.into_iter().map(|d| Detection { bbox: d.bbox.clip(), ..d }).collect()
    }

    #[test]
    fn agrees_with_the_definition_on_random_candidates_with_ties() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u32 << 24) as f32
        };
        for round in 0..40 {
            let (count, classes) = (1 + round * 7, 1 + round % 3);
            let boxes: Vec<f32> = (0..count)
                .flat_map(|_| {
                    let (x, y, w, h) = (random(), random(), random() * 0.4, random() * 0.4);
                    [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
                })
                .collect();
            // Coarse scores, so that ties are common.
            let scores: Vec<f32> = (0..count * classes).map(|_| (random() * 10.0).floor() / 10.0).collect();
            for (top_k, keep_top_k) in [(400, 200), (20, 10), (3, 50)] {
                let config = NmsConfig { top_k, keep_top_k, ..CONFIG };
                let want = by_definition(&boxes, &scores, classes, &config);
                assert_eq!(suppress(&boxes, &scores, classes, &config), want, "round {round}");
            }
        }
    }

    #[test]
    fn both_thresholds_are_exclusive() {
        // The second box is a third of the first's union: IoU exactly 0.5.
        let boxes = [0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.25];
        let kept = suppress(&boxes, &[0.9, 0.8], 1, &CONFIG);
        assert_eq!(kept.len(), 2, "an overlap equal to the threshold stays");
        let kept = suppress(&boxes, &[0.1, 0.8], 1, &CONFIG);
        assert_eq!(kept.len(), 1, "a score equal to the threshold goes");
        let kept = suppress(&boxes, &[0.9, 0.8], 1, &NmsConfig { iou_threshold: 0.49, ..CONFIG });
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn classes_do_not_suppress_each_other_and_clipping_comes_last() {
        // Unclipped these overlap by a third; clipped they would be equal.
        let boxes = [-0.5, 0.0, 0.5, 1.0, 0.0, 0.0, 0.5, 1.0];
        let kept = suppress(&boxes, &[0.9, 0.0, 0.0, 0.8], 2, &NmsConfig { iou_threshold: 0.1, ..CONFIG });
        assert_eq!(kept.iter().map(|d| d.class).collect::<Vec<_>>(), [0, 1]);
        let kept = suppress(&boxes, &[0.9, 0.8], 1, &NmsConfig { iou_threshold: 0.6, ..CONFIG });
        assert_eq!(kept[0].bbox, kept[1].bbox);
    }

    #[test]
    fn not_a_number_is_never_kept() {
        let boxes = [0.0, 0.0, 0.5, f32::NAN, 0.5, 0.5, 1.0, 1.0];
        assert_eq!(suppress(&boxes, &[0.9, f32::NAN], 1, &CONFIG), []);
        assert_eq!(suppress(&[], &[], 0, &CONFIG), []);
    }
}
