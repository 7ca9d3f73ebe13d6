//! How many channels stay, and which.

/// The channels to keep, ascending: as many as count more than `threshold`, at least `min_filters`, rounded up to a multiple of
/// `granularity`, at most all; those that count most. Of channels that count the same the first is kept first, where the
/// original leaves it to chance.
pub(super) fn select(
    statistic: &[f64],
    threshold: f64,
    granularity: usize,
    min_filters: usize,
) -> Vec<usize> {
    let all = statistic.len();
    let above = statistic.iter().filter(|value| **value > threshold).count();
    let count = above
        .max(min_filters.min(all))
        .checked_next_multiple_of(granularity)
        .map_or(all, |count| count.min(all));
    let mut order: Vec<usize> = (0..all).collect();
    order.sort_by(|a, b| statistic[*b].total_cmp(&statistic[*a]));
    order.truncate(count);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by the original.
    #[test]
    fn golden_selections() {
        let eight = [0.9, 0.1, 0.35, 0.2, 1.0, 0.05, 0.31, 0.3];
        let even: Vec<usize> = (0..32).step_by(2).collect();
        assert_eq!(select(&eight.repeat(4), 0.3, 8, 16), even, "0.3 itself does not pass");
        let ramp = |filters: usize| (0..filters).map(|i| i as f64 / 39.0).collect::<Vec<_>>();
        assert_eq!(select(&ramp(40), 0.5, 8, 16), (16..40).collect::<Vec<_>>(), "20 pass, 24 stay");
        assert_eq!(select(&ramp(12), 0.5, 8, 16).len(), 12, "fewer than the minimum");
        let seventeen = [vec![0.1; 3], vec![0.9; 17]].concat();
        assert_eq!(select(&seventeen, 0.5, 8, 16).len(), 20, "no more than there are");
    }

    #[test]
    fn the_first_of_equals_stays() {
        assert_eq!(select(&[0.5, 1.0, 0.5, 0.5, 1.0], 0.9, 3, 1), [0, 1, 4]);
        assert_eq!(select(&[0.0; 20], 0.1, 8, 3), (0..8).collect::<Vec<_>>());
    }
}
