//! Values rounded to those that INT8 holds; see [`oxidet_graph::quantization`]. The gradient goes straight through (Bengio et al.
//! 2013), so there is nothing to compute backward.

use super::activation::CHUNK;
use super::simd::{Simd, dispatch};
use oxidet_graph::quantization::step;
use rayon::prelude::*;

/// The largest magnitude. 0 of no values; what is not a number does not count.
pub fn amax(x: &[f32]) -> f32 {
    dispatch!(simd => {
        x.par_chunks(CHUNK)
            .map(|x| {
                simd.vectorize(
                    #[inline(always)]
                    || largest(x),
                )
            })
            .reduce(|| 0.0, f32::max)
    })
}

/// In lanes of its own, or the maximum would be a chain.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut most = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            let magnitude = x.abs();
            *most = if magnitude > *most { magnitude } else { *most };
        }
    }
    rest.iter().map(|x| x.abs()).chain(most).fold(0.0, |most, x| if x > most { x } else { most })
}

/// Writes `x` rounded to the steps of the range ±`amax` to `output`.
///
/// # Panics
/// When the lengths differ.
pub fn forward_into(amax: f32, x: &[f32], output: &mut [f32]) {
    assert_eq!(x.len(), output.len());
    let step = step(amax);
    dispatch!(simd => {
        output.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            simd.vectorize(
                #[inline(always)]
                || y.iter_mut().zip(x).for_each(|(y, x)| *y = code(*x, step) * step),
            );
        });
    });
}

/// The code of a value, −128 … 127; what is not a number stays one.
#[inline(always)]
fn code(x: f32, step: f32) -> f32 {
    /// 1.5 · 2²³: adding it leaves no bits for fractions, and rounds half to even.
    const ROUND: f32 = 12_582_912.0;
    let clamped = (x / step).clamp(-128.0, 127.0);
    (clamped + ROUND) - ROUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::values;

    /// Computed by the original.
    #[test]
    fn golden_codes() {
        let x = [-2.0, -1.004, -1.0, -0.996, -0.3, 0.1, 0.99, 1.5];
        let mut y = [9.0; 8];
        on_every_level(|level| {
            forward_into(1.0, &x, &mut y);
            let codes = y.map(|y| y * 127.0);
            for (code, want) in codes.iter().zip([-128.0, -128.0, -127.0, -126.0, -38.0, 13.0, 126.0, 127.0])
            {
                assert!((code - want).abs() < 1e-4, "{level}: {codes:?}");
            }
        });
    }

    #[test]
    fn halves_go_to_even_and_rounding_again_changes_nothing() {
        let x: Vec<f32> = [-2.5f32, -1.5, -0.5, 0.5, 1.5, 2.5].map(|code| code * 0.25).to_vec();
        let mut y = vec![9.0; x.len()];
        forward_into(127.0 * 0.25, &x, &mut y);
        assert_eq!(y, [-0.5, -0.5, -0.0, 0.0, 0.5, 0.5]);
        on_every_level(|level| {
            let x = values(1, 100_003);
            let (mut once, mut twice) = (vec![9.0; x.len()], vec![9.0; x.len()]);
            forward_into(amax(&x), &x, &mut once);
            forward_into(amax(&x), &once, &mut twice);
            assert_eq!(once, twice, "{level}");
            let half = step(amax(&x)) / 2.0;
            assert!(x.iter().zip(&once).all(|(x, y)| (x - y).abs() <= half * 1.0001), "{level}");
        });
    }

    #[test]
    fn the_range_is_that_of_every_value() {
        for at in [0, 63, 64, 1000, 99_999] {
            let mut x = values(2, 100_000);
            x[at] = -77.0;
            on_every_level(|level| assert_eq!(amax(&x), 77.0, "{level} {at}"));
        }
        assert_eq!(amax(&[]), 0.0);
        let mut y = [0.0];
        forward_into(1.0, &[f32::NAN], &mut y);
        assert!(y[0].is_nan(), "a diverged run must not look healthy");
    }
}
