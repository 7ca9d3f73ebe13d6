//! Weighting classes by their loss (`class_weighting_config.enable_auto`): classes that are learnt worse weigh more.

use oxidet_graph::ClassWeighting;

use crate::loss::ClassLoss;

/// Share of a weight that an epoch keeps, but for the first.
const KEPT: f64 = 0.9;

/// The state of a run that starts with `weights`.
pub fn start(weights: &[f64]) -> ClassWeighting {
    ClassWeighting {
        weights: weights.to_vec(),
        losses: vec![0.0; weights.len()],
        rows: vec![0; weights.len()],
    }
}

/// Counts the rows of a batch.
pub fn count(state: &mut ClassWeighting, batch: &[ClassLoss]) {
    for ((loss, rows), class) in state.losses.iter_mut().zip(&mut state.rows).zip(batch) {
        *loss += class.sum;
        *rows += class.rows;
    }
}

/// Ends epoch `epoch`, counted from 1: the weights become proportional to the mean loss of a row of the class without its
/// weight, the smallest being 1; after the first epoch they move a tenth of the way only. Classes that had no row keep theirs.
pub fn next_epoch(state: &mut ClassWeighting, epoch: u32) {
    let means: Vec<Option<f64>> = (0..state.weights.len())
        .map(|class| {
            let mean = state.losses[class] / (state.weights[class] * state.rows[class] as f64);
            (mean.is_finite() && mean > 0.0).then_some(mean)
        })
        .collect();
    let least = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    for (weight, mean) in state.weights.iter_mut().zip(means) {
        let Some(mean) = mean else { continue };
        let kept = if epoch == 1 { 0.0 } else { KEPT };
        *weight = kept * *weight + (1.0 - kept) * mean / least;
    }
    state.losses.fill(0.0);
    state.rows.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(state: &mut ClassWeighting, number: u32, sums: [f64; 3], rows: [u64; 3]) {
        let batch: Vec<ClassLoss> =
            sums.into_iter().zip(rows).map(|(sum, rows)| ClassLoss { sum, rows }).collect();
        count(state, &batch);
        next_epoch(state, number);
    }

    /// The first from the original.
    #[test]
    fn weights_follow_the_loss_of_a_row() {
        let mut state = start(&[1.0; 3]);
        epoch(&mut state, 1, [10.0, 40.0, 5.0], [10, 10, 10]);
        assert_eq!(state.weights, [2.0, 8.0, 1.0]);
        // The same losses without weights again: nothing moves.
        epoch(&mut state, 2, [20.0, 320.0, 5.0], [10, 10, 10]);
        for (found, want) in state.weights.iter().zip([2.0, 8.0, 1.0]) {
            assert!((found - want).abs() < 1e-12, "{:?}", state.weights);
        }
    }

    #[test]
    fn a_class_that_is_absent_keeps_its_weight() {
        let mut state = start(&[1.0, 3.0, 1.0]);
        epoch(&mut state, 1, [10.0, 0.0, 5.0], [10, 0, 10]);
        assert_eq!(state.weights, [2.0, 3.0, 1.0]);
        epoch(&mut state, 2, [0.0; 3], [0; 3]);
        assert_eq!(state.weights, [2.0, 3.0, 1.0]);
    }
}
