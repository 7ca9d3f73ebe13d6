//! 2×2 windows two cells apart, without padding: every cell is in one window, so both directions are one pass over pairs
//! of rows. A last odd row or column is in no window.

use super::wins;
use crate::kernel::Store;

/// Pools one map of `width` columns.
#[inline(always)]
pub(super) fn forward_map(width: usize, input: &[f32], output: &mut [f32], winners: &mut [u16]) {
    let out_width = width / 2;
    let outputs = output.chunks_exact_mut(out_width).zip(winners.chunks_exact_mut(out_width));
    for (rows, (output, winners)) in input.chunks_exact(2 * width).zip(outputs) {
        let (upper, lower) = rows.split_at(width);
        let windows = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
        for ((upper, lower), (output, winner)) in windows.zip(output.iter_mut().zip(winners)) {
            let (mut best, mut place) = (upper[0], 0);
            for (number, value) in [(1, upper[1]), (2, lower[0]), (3, lower[1])] {
                let wins = wins(value, best);
                best = if wins { value } else { best };
                place = if wins { number } else { place };
            }
            *output = best;
            *winner = place;
        }
    }
}

/// Stores what each cell of one map of `width` columns gets: its window's gradient, or 0.
#[inline(always)]
pub(super) fn backward_map(
    width: usize,
    winners: &[u16],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    let out_width = width / 2;
    let outputs = output_gradient.chunks_exact(out_width).zip(winners.chunks_exact(out_width));
    let mut pairs = input_gradient.chunks_exact_mut(2 * width);
    for (rows, (gradients, winners)) in pairs.by_ref().zip(outputs) {
        let (upper, lower) = rows.split_at_mut(width);
        for (row, number) in [(upper, 0), (lower, 2)] {
            let (cells, odd) = row.as_chunks_mut::<2>();
            for ([left, right], (gradient, winner)) in cells.iter_mut().zip(gradients.iter().zip(winners)) {
                // Both before either is stored, or LLVM does not vectorise.
                let to_left = if *winner == number { *gradient } else { 0.0 };
                let to_right = if *winner == number + 1 { *gradient } else { 0.0 };
                store.put(left, to_left);
                store.put(right, to_right);
            }
            fill_unpooled(odd, store);
        }
    }
    fill_unpooled(pairs.into_remainder(), store);
}

/// Stores the gradient of cells that are in no window.
#[inline(always)]
fn fill_unpooled(cells: &mut [f32], store: Store) {
    if store == Store::Replace {
        cells.fill(0.0);
    }
}
