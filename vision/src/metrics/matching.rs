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
/// `threshold` or more. One that takes a difficult object is ignored, and so is one that finds nothing free but covers a
/// difficult object that is taken.
pub(super) fn match_image<'a>(
    truths: &[Truth],
    detections: &'a [Detection],
    threshold: f32,
) -> Vec<(&'a Detection, Outcome)> {
    let mut order: Vec<&Detection> = detections.iter().collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = vec![false; truths.len()];
    let mut outcome = |detection: &Detection| {
        let mut best: Option<(usize, f32)> = None;
        let mut covers_difficult = false;
        for (index, truth) in truths.iter().enumerate().filter(|(_, truth)| truth.class == detection.class) {
            let overlap = iou(&truth.bbox, &detection.bbox);
            if overlap < threshold {
                continue;
            }
            if taken[index] {
                covers_difficult |= truth.difficult;
            } else if best.is_none_or(|(_, most)| overlap > most) {
                best = Some((index, overlap));
            }
        }
        match best {
            Some((index, _)) => {
                taken[index] = true;
                if truths[index].difficult { Outcome::Ignored } else { Outcome::Found }
            }
            None if covers_difficult => Outcome::Ignored,
            None => Outcome::False,
        }
    };
    order.into_iter().map(|detection| (detection, outcome(detection))).collect()
}
