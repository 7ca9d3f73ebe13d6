//! Which detection of a class in an image found which object, at every threshold and in every range of area.

use super::super::Truth;
use super::{AREAS, RANGES, Scored, THRESHOLDS, Tally};
use crate::iou::Overlap;
use crate::{Detection, PxBox};

/// NumPy's `linspace(0.5, 0.95, 10)`, to the bit: an overlap may equal a threshold.
fn threshold(index: usize) -> f64 {
    if index + 1 == THRESHOLDS { 0.95 } else { 0.5 + index as f64 * ((0.95 - 0.5) / 9.0) }
}

/// An object that a detection overlaps by the least threshold or more.
#[derive(Clone, Copy)]
struct Candidate {
    truth: usize,
    overlap: f64,
}

/// Adds the objects and detections of one class in one image; detections best first.
pub(super) fn match_class(truths: &[Truth<PxBox>], detections: &[Detection<PxBox>], tally: &mut Tally) {
    let side = |low: f32, high: f32| (f64::from(high) - f64::from(low)).abs();
    let area = |b: &PxBox| side(b.x1, b.x2) * side(b.y1, b.y2);
    let outside = |area: f64, range: usize| area < AREAS[range].0 || area > AREAS[range].1;
    // By range and object: whether it is left out.
    let left_out: [Vec<bool>; RANGES] = std::array::from_fn(|range| {
        truths.iter().map(|truth| truth.difficult || outside(area(&truth.bbox), range)).collect()
    });
    for (count, left_out) in tally.truths.iter_mut().zip(&left_out) {
        *count += left_out.iter().filter(|left_out| !**left_out).count();
    }
    // All that is below the least threshold is out of the running.
    let candidates: Vec<Vec<Candidate>> = detections
        .iter()
        .map(|detection| {
            let candidate = |(truth, object): (usize, &Truth<PxBox>)| {
                let overlap = Overlap::in_pixels(&detection.bbox, &object.bbox);
                let overlap = if object.difficult { overlap.of_first() } else { overlap.iou() };
                (overlap >= threshold(0)).then_some(Candidate { truth, overlap })
            };
            truths.iter().enumerate().filter_map(candidate).collect()
        })
        .collect();
    let first = tally.scored.len();
    tally.scored.extend(detections.iter().enumerate().map(|(rank, detection)| {
        let area = area(&detection.bbox);
        let ignored = std::array::from_fn(|range| if outside(area, range) { u16::MAX } else { 0 });
        let rank = u8::try_from(rank).expect("at most 100 detections are looked at");
        Scored { score: detection.score, rank, found: [0; RANGES], ignored }
    }));
    if candidates.iter().all(Vec::is_empty) {
        return;
    }
    let scored = &mut tally.scored[first..];
    let mut taken = vec![false; truths.len()];
    for (range, left_out) in left_out.iter().enumerate() {
        for index in 0..THRESHOLDS {
            taken.fill(false);
            let (least, bit) = (threshold(index), 1 << index);
            for (scored, candidates) in scored.iter_mut().zip(&candidates) {
                let free = |candidate: &&Candidate| {
                    candidate.overlap >= least
                        && (!taken[candidate.truth] || truths[candidate.truth].difficult)
                };
                let best = |counting: bool| {
                    let of_kind = candidates.iter().filter(|c| left_out[c.truth] != counting);
                    // Of equal overlaps the last one wins.
                    of_kind.filter(free).max_by(|a, b| a.overlap.total_cmp(&b.overlap)).map(|c| c.truth)
                };
                if let Some(truth) = best(true) {
                    taken[truth] = true;
                    scored.found[range] |= bit;
                    scored.ignored[range] &= !bit;
                } else if let Some(truth) = best(false) {
                    taken[truth] = true;
                    scored.ignored[range] |= bit;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_numpy() {
        let thresholds: Vec<f64> = (0..THRESHOLDS).map(threshold).collect();
        let numpy = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.8999999999999999, 0.95];
        assert_eq!(thresholds, numpy);
    }
}
