//! "Did you mean": the candidate nearest to a misspelled word.

/// The candidate that the author of `word` most likely meant, if any is near.
///
/// Near means: equal but for case; or at most a third of the letters changed (Damerau-Levenshtein distance,
/// neighbouring letters may be swapped); or one is the beginning of the other. The first of equals wins.
pub fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const LONGEST: usize = 64; // longer words are no typos, and the distance costs the square of it
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let prefix = lower.len() >= 4
                && other.len() >= 4
                && (other.starts_with(&lower) || lower.starts_with(&other));
            let distance = distance(&lower, &other);
            (other.len() <= LONGEST && (distance <= allowed || prefix)).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut best = (last[j + 1] + 1).min(row[j] + 1).min(last[j] + usize::from(a[i] != b[j]));
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (a, b, want) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("arhc", "arch", 1), ("same", "same", 0)]
        {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let fields = ["hue", "saturation", "clustering_iou_threshold", "batch_size_per_gpu", "L1", "L2"];
        for (word, want) in [
            ("Hue", Some("hue")),
            ("saturaton", Some("saturation")),
            ("cluster_iou_threshold", Some("clustering_iou_threshold")),
            ("batch_size", Some("batch_size_per_gpu")),
            ("l2", Some("L2")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(closest(word, fields), want, "{word}");
        }
    }
}
