//! Precision over recall, and the score at which both are best.

/// What keeping the detections from a score on gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrPoint {
    /// Detections of this score or more are kept.
    pub score: f32,
    /// Share of the objects that they find.
    pub recall: f64,
    /// Share of them that find an object.
    pub precision: f64,
}

/// The score at which F1, the harmonic mean of precision and recall, is highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operating {
    /// Detections of this score or more are kept.
    pub threshold: f32,
    /// Share of them that find an object.
    pub precision: f64,
    /// Share of the objects that they find.
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall), in [0, 1].
    pub f1: f64,
}

/// A point for each score that occurs, best score first. `scored` is sorted by score; `truths` is not 0.
pub(super) fn points(scored: &[(f32, bool)], truths: usize) -> Vec<PrPoint> {
    let mut points = Vec::new();
    let (mut found, mut all) = (0, 0);
    // No threshold parts what has one score.
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        found += tied.iter().filter(|(_, hit)| *hit).count();
        all += tied.len();
        points.push(PrPoint {
            score: tied[0].0,
            recall: found as f64 / truths as f64,
            precision: found as f64 / all as f64,
        });
    }
    points
}

/// The point of the highest F1, of equal ones that of the highest score; nothing when no object is found.
pub(super) fn best_f1(points: &[PrPoint]) -> Option<Operating> {
    let mut best: Option<Operating> = None;
    for point in points.iter().filter(|point| point.recall > 0.0) {
        let PrPoint { score, recall, precision } = *point;
        let f1 = 2.0 * precision * recall / (precision + recall);
        if best.is_none_or(|best| f1 > best.f1) {
            best = Some(Operating { threshold: score, precision, recall, f1 });
        }
    }
    best
}

/// The best precision at recall 0, 0.01, …, 1 or more, with the score that reaches it; where no score does, precision and
/// score are 0.
pub(super) fn sampled(points: &[PrPoint]) -> Vec<PrPoint> {
    const LEVELS: usize = 100;
    let mut levels = vec![PrPoint { score: 0.0, recall: 0.0, precision: 0.0 }; LEVELS + 1];
    let mut rest = points.iter().rev().peekable();
    let mut best: Option<PrPoint> = None;
    for (level, sample) in levels.iter_mut().enumerate().rev() {
        sample.recall = level as f64 / LEVELS as f64;
        while let Some(point) = rest.next_if(|point| point.recall >= sample.recall) {
            if best.is_none_or(|best| point.precision >= best.precision) {
                best = Some(*point);
            }
        }
        if let Some(best) = best {
            (sample.score, sample.precision) = (best.score, best.precision);
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_one_point_and_the_best_f1_is_that_of_the_definition() {
        let scored = [(0.9, true), (0.8, false), (0.8, true), (0.7, true), (0.2, false), (0.1, false)];
        let points = points(&scored, 4);
        let plain: Vec<_> = points.iter().map(|p| (p.score, p.recall, p.precision)).collect();
        let want =
            [(0.9, 0.25, 1.0), (0.8, 0.5, 2.0 / 3.0), (0.7, 0.75, 0.75), (0.2, 0.75, 0.6), (0.1, 0.75, 0.5)];
        assert_eq!(plain, want);
        let best = best_f1(&points).unwrap();
        assert_eq!((best.threshold, best.precision, best.recall, best.f1), (0.7, 0.75, 0.75, 0.75));
        assert_eq!(best_f1(&super::points(&[(0.9, false)], 4)), None);
        assert_eq!(best_f1(&[]), None);
    }

    #[test]
    fn the_samples_are_the_envelope() {
        let scored = [(0.9, true), (0.8, false), (0.7, true), (0.6, true)];
        let sampled = sampled(&points(&scored, 4));
        let at = |level: usize| (sampled[level].precision, sampled[level].score);
        assert_eq!(at(0), (1.0, 0.9));
        assert_eq!(at(25), (1.0, 0.9));
        assert_eq!(at(26), (0.75, 0.6), "the 2/3 at 0.7 are less than what comes later");
        assert_eq!(at(75), (0.75, 0.6));
        assert_eq!(at(76), (0.0, 0.0));
        assert_eq!((sampled.len(), sampled[7].recall), (101, 0.07));
    }
}
