//! From the detections of a class over all images to its average precision and recall.

use super::{MAX_DETECTIONS, RANGES, THRESHOLDS, Tally, mean};

/// Recall levels: 0, 0.01, …, 1.
const LEVELS: usize = 101;

/// A range of area; the number is its place in [`AREAS`](super::AREAS).
#[derive(Clone, Copy)]
pub(super) enum Areas {
    All,
    Small,
    Medium,
    Large,
}

/// Average precision and recall of a class by area range and threshold; `None` where no object counts.
pub(super) struct ClassStatistics {
    precision: [Option<[f64; THRESHOLDS]>; RANGES],
    /// By number of detections too.
    recall: [Option<[[f64; THRESHOLDS]; MAX_DETECTIONS.len()]>; RANGES],
}

impl ClassStatistics {
    /// AP50:95 of the objects of a range.
    pub(super) fn ap(&self, areas: Areas) -> Option<f64> {
        mean(self.precision[areas as usize].iter().flatten().map(|ap| Some(*ap)))
    }

    /// AP of all objects at a threshold.
    pub(super) fn ap_at(&self, threshold: usize) -> Option<f64> {
        self.precision[Areas::All as usize].map(|by_threshold| by_threshold[threshold])
    }

    /// Mean recall of the objects of a range over the thresholds, with `MAX_DETECTIONS[most]` detections.
    pub(super) fn recall(&self, areas: Areas, most: usize) -> Option<f64> {
        mean(self.recall[areas as usize].iter().flat_map(|recall| recall[most]).map(Some))
    }
}

pub(super) fn accumulate(tally: &Tally) -> ClassStatistics {
    let mut scored = tally.scored.clone();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    // Detections that count, at each object found.
    let mut counts = Vec::new();
    let mut statistics = ClassStatistics { precision: [None; RANGES], recall: [None; RANGES] };
    for range in 0..RANGES {
        let truths = tally.truths[range];
        if truths == 0 {
            continue;
        }
        statistics.precision[range] = Some(std::array::from_fn(|threshold| {
            counts.clear();
            let mut all = 0;
            for detection in &scored {
                let bit = |bits: [u16; RANGES]| bits[range] >> threshold & 1;
                all += usize::from(1 - bit(detection.ignored));
                if bit(detection.found) == 1 {
                    counts.push(all);
                }
            }
            average_precision(&counts, truths)
        }));
        statistics.recall[range] = Some(MAX_DETECTIONS.map(|most| {
            std::array::from_fn(|threshold| {
                let counts = scored.iter().filter(|detection| usize::from(detection.rank) < most);
                let found: usize = counts.map(|d| usize::from(d.found[range] >> threshold & 1)).sum();
                found as f64 / truths as f64
            })
        }));
    }
    statistics
}

/// Mean over the recall levels of the best precision at that recall or more. `counts` has the number of detections up to each
/// object found; precision is highest and recall rises there and nowhere else.
fn average_precision(counts: &[usize], truths: usize) -> f64 {
    let mut sum = 0.0;
    let mut best = 0.0f64;
    let mut found = counts.len();
    for level in (0..LEVELS).rev() {
        // As NumPy compares them: 0.01 times the level, in floating point, where 0.35 is a little more than 35 / 100.
        let recall = if level + 1 == LEVELS { 1.0 } else { level as f64 * 0.01 };
        while found > 0 && found as f64 / truths as f64 >= recall {
            best = best.max(found as f64 / counts[found - 1] as f64);
            found -= 1;
        }
        sum += best;
    }
    sum / LEVELS as f64
}
