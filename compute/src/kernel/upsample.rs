//! Nearest-neighbour enlargement by a whole factor: every cell becomes a `factor × factor` block.

use super::Store;
use super::simd::{Simd, dispatch};
use rayon::prelude::*;

/// Writes the enlarged maps. `input` holds maps of `width` columns, of any number of rows.
///
/// # Panics
/// When a length does not fit.
pub fn forward_into(factor: usize, width: usize, input: &[f32], output: &mut [f32]) {
    check(factor, width, input.len(), output.len());
    let out_width = width * factor;
    dispatch!(simd => {
        output.par_chunks_mut(out_width * factor).zip(input.par_chunks(width)).for_each(|(rows, source)| {
            let (first, others) = rows.split_at_mut(out_width);
            simd.vectorize(
                #[inline(always)]
                || match factor {
                    2 => repeat_cells(2, source, first),
                    _ => repeat_cells(factor, source, first),
                },
            );
            others.chunks_exact_mut(out_width).for_each(|row| row.copy_from_slice(first));
        });
    });
}

#[inline(always)]
fn repeat_cells(factor: usize, source: &[f32], target: &mut [f32]) {
    for (block, value) in target.chunks_exact_mut(factor).zip(source) {
        for cell in block {
            *cell = *value;
        }
    }
}

/// Stores the gradient with respect to the input: the sum over each cell's block.
///
/// # Panics
/// When a length does not fit.
pub fn backward_into(
    factor: usize,
    width: usize,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    check(factor, width, input_gradient.len(), output_gradient.len());
    let out_width = width * factor;
    let rows = output_gradient.par_chunks(out_width * factor);
    dispatch!(simd => {
        input_gradient.par_chunks_mut(width).zip(rows).for_each(|(target, rows)| {
            simd.vectorize(
                #[inline(always)]
                || {
                    if store == Store::Replace {
                        target.fill(0.0);
                    }
                    for row in rows.chunks_exact(out_width) {
                        match factor {
                            2 => add_blocks(2, row, target),
                            _ => add_blocks(factor, row, target),
                        }
                    }
                },
            );
        });
    });
}

#[inline(always)]
fn add_blocks(factor: usize, source: &[f32], target: &mut [f32]) {
    for (sum, block) in target.iter_mut().zip(source.chunks_exact(factor)) {
        let (first, others) = block.split_first().expect("a block has at least one cell");
        *sum += others.iter().fold(*first, |sum, value| sum + value);
    }
}

fn check(factor: usize, width: usize, small: usize, large: usize) {
    assert!(factor > 0 && width > 0 && small.is_multiple_of(width), "whole rows and a factor of at least 1");
    assert_eq!(small * factor * factor, large);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::values;

    #[test]
    fn blocks_repeat_their_cell_and_sum_their_gradients() {
        on_every_level(|_| {
            for (rows, width, factor) in [(1, 1, 2), (6, 7, 2), (2, 67, 2), (4, 3, 3), (2, 5, 1)] {
                let input = values(1, rows * width);
                let mut output = vec![9.0; input.len() * factor * factor];
                forward_into(factor, width, &input, &mut output);
                let cell = |i: usize| {
                    let (y, x) = (i / (width * factor), i % (width * factor));
                    y / factor * width + x / factor
                };
                assert!(output.iter().enumerate().all(|(i, v)| *v == input[cell(i)]));
                let gradient = values(2, output.len());
                let mut want = vec![0.0f64; input.len()];
                gradient.iter().enumerate().for_each(|(i, g)| want[cell(i)] += f64::from(*g));
                let mut got = vec![9.0; input.len()];
                backward_into(factor, width, &gradient, &mut got, Store::Replace);
                assert!(got.iter().zip(&want).all(|(g, w)| (f64::from(*g) - w).abs() < 1e-5));
                backward_into(factor, width, &gradient, &mut got, Store::Add);
                assert!(got.iter().zip(&want).all(|(g, w)| (f64::from(*g) - 2.0 * w).abs() < 2e-5));
            }
        });
    }
}
