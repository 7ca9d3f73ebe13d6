//! Reading what the standard `NonMaxSuppression` node selects, as `docs/formats/onnx.md` tells users of the files to.

use oxidet_vision::{Detection, NetworkError, NormBox, RawDetections};

/// Detections of an image: rows `[image, class, candidate]` of `raw`, the best `keep_top_k` of all classes, clipped.
///
/// # Errors
/// When a row points outside `raw`.
pub(crate) fn detections(
    raw: &RawDetections,
    image: usize,
    selected: &[[i64; 3]],
    keep_top_k: usize,
) -> Result<Vec<Detection>, NetworkError> {
    let mut found = Vec::new();
    for row in selected.iter().filter(|row| usize::try_from(row[0]) == Ok(image)) {
        let index = |at: usize, len: usize| usize::try_from(row[at]).ok().filter(|index| *index < len);
        let (Some(class), Some(candidate)) = (index(1, raw.classes), index(2, raw.candidates)) else {
            let what = format!("selected {row:?} of {} classes and {} boxes", raw.classes, raw.candidates);
            return Err(NetworkError(what.into()));
        };
        let [x1, y1, x2, y2] = raw.image_boxes(image)[candidate * 4..][..4] else {
            unreachable!("four corners per box")
        };
        let score = raw.image_scores(image)[candidate * raw.classes + class];
        found.push(Detection { class, score, bbox: NormBox { x1, y1, x2, y2 } });
    }
    // Stable: equal scores stay in class order.
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(keep_top_k);
    found.iter_mut().for_each(|detection| detection.bbox = detection.bbox.clip());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_detections_best_first() {
        let raw = RawDetections {
            batch: 1,
            candidates: 2,
            classes: 2,
            boxes: vec![-0.5, 0.0, 0.5, 0.5, 0.25, 0.25, 0.5, 1.5],
            scores: vec![0.1, 0.9, 0.8, 0.2],
            suppressed: false,
        };
        let all = detections(&raw, 0, &[[0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]], 2).unwrap();
        let first = NormBox { x1: 0.0, y1: 0.0, x2: 0.5, y2: 0.5 };
        let second = NormBox { x1: 0.25, y1: 0.25, x2: 0.5, y2: 1.0 };
        assert_eq!(
            all,
            [
                Detection { class: 1, score: 0.9, bbox: first },
                Detection { class: 0, score: 0.8, bbox: second }
            ]
        );
        for outside in [[0, 2, 0], [0, 0, 2], [0, -1, 0]] {
            assert!(detections(&raw, 0, &[outside], 2).is_err());
        }
    }
}
