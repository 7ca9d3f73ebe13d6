//! Which detection of an image found which object.

use super::Truth;
use crate::{Detection, iou};

/// What a detection is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It found an object nobody found before.
    Found,
    /// It found nothing, or an object that a better detection had found.
    False,
    /// It covers a difficult object.
    Ignored,
}

/// Greedy matching, best detection first (ties in order): each takes the free object of its class that it overlaps most, by
/// `threshold` or more. Detections that find no free object but cover a difficult one are ignored.
pub(super) fn match_image<'a>(
    truths: &[Truth],
    detections: &'a [Detection],
    threshold: f32,
) -> Vec<(&'a Detection, Outcome)> {
    let mut order: Vec<&Detection> = detections.iter().collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = vec![false; truths.len()];
    order
        .into_iter()
        .map(|detection| {
            let overlap = |index: usize| iou(&truths[index].bbox, &detection.bbox);
            let mut best: Option<(usize, f32)> = None;
            for index in (0..truths.len()).filter(|index| truths[*index].class == detection.class && !taken[*index]) {
                let overlap = overlap(index);
                if overlap >= threshold && best.is_none_or(|(_, most)| overlap > most) {
                    best = Some((index, overlap));
                }
            }
            let outcome = match best {
                // A difficult object stays free: any number of detections may cover it.
                Some((index, _)) if truths[index].difficult => Outcome::Ignored,
                Some((index, _)) => {
                    taken[index] = true;
                    Outcome::Found
                }
                None => Outcome::False,
            };
            (detection, outcome)
        })
        .collect()
}
