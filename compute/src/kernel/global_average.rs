//! The mean of every map.

use super::Store;
use super::simd::{Simd, dispatch};
use super::sum::sums;
use rayon::prelude::*;

/// Writes the mean of every map of `input` to `output`, which holds one value a map.
///
/// # Panics
/// When the maps are not whole.
pub fn forward_into(input: &[f32], output: &mut [f32]) {
    let size = check(input.len(), output.len());
    dispatch!(simd => {
        output.par_iter_mut().zip(input.par_chunks(size)).for_each(|(mean, map)| {
            let [sum] = simd.vectorize(
                #[inline(always)]
                || sums([map], #[inline(always)] |[x]| [x]),
            );
            *mean = (sum / size as f64) as f32;
        });
    });
}

/// Stores the gradient with respect to the input: every cell gets its share of the mean's.
///
/// # Panics
/// When the maps are not whole.
pub fn backward_into(output_gradient: &[f32], input_gradient: &mut [f32], store: Store) {
    let size = check(input_gradient.len(), output_gradient.len());
    input_gradient.par_chunks_mut(size).zip(output_gradient).for_each(|(map, gradient)| {
        let share = gradient / size as f32;
        map.iter_mut().for_each(|cell| store.put(cell, share));
    });
}

/// Values of one map.
fn check(input: usize, maps: usize) -> usize {
    assert!(maps > 0 && input > 0 && input.is_multiple_of(maps), "whole maps");
    input / maps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_their_shares() {
        let mut mean = [9.0; 2];
        forward_into(&[1.0, 2.0, 6.0, -1.0, 0.0, 1.0], &mut mean);
        assert_eq!(mean, [3.0, 0.0]);
        let mut gradient = [1.0; 6];
        backward_into(&[3.0, -6.0], &mut gradient, Store::Add);
        assert_eq!(gradient, [2.0, 2.0, 2.0, -1.0, -1.0, -1.0]);
    }
}
