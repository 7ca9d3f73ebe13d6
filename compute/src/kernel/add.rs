//! Sum of two maps of one shape, with an optional activation behind it.

use super::Store;
use super::activation::{CHUNK, Function, with_function};
use super::simd::{Simd, dispatch};
use oxidet_graph::Activation;
use rayon::prelude::*;

/// Writes `activation(a + b)` to `output`.
///
/// # Panics
/// When the lengths differ.
pub fn forward_into(activation: Option<Activation>, a: &[f32], b: &[f32], output: &mut [f32]) {
    assert!(a.len() == b.len() && a.len() == output.len());
    dispatch!(simd => with_function!(activation, function => {
        let inputs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
        output.par_chunks_mut(CHUNK).zip(inputs).for_each(|(y, (a, b))| {
            simd.vectorize(
                #[inline(always)]
                || {
                    for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
                        *y = function.value(a + b);
                    }
                },
            );
        });
    }));
}

/// Adds `values` to `sums`.
///
/// # Panics
/// When the lengths differ.
pub fn accumulate(values: &[f32], sums: &mut [f32]) {
    assert_eq!(values.len(), sums.len());
    sums.par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .for_each(|(sums, values)| Store::Add.put_all(sums, values));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::{activation_f64, activations, values};

    #[test]
    fn sums_match_closed_forms() {
        let (a, b) = (values(1, 1003), values(2, 1003));
        on_every_level(|level| {
            for activation in activations() {
                let mut y = vec![9.0; 1003];
                forward_into(Some(activation), &a, &b, &mut y);
                for i in 0..1003 {
                    let (value, _) = activation_f64(Some(activation), f64::from(a[i] + b[i]));
                    assert!((f64::from(y[i]) - value).abs() < 2e-6, "{level} {activation:?}");
                }
            }
            let mut y = vec![9.0; 1003];
            forward_into(None, &a, &b, &mut y);
            assert!(y.iter().zip(a.iter().zip(&b)).all(|(y, (a, b))| *y == a + b), "{level}");
            let mut sums = a.clone();
            accumulate(&b, &mut sums);
            assert_eq!(sums, y);
        });
    }
}
