//! Sum of two maps of one shape, with an optional activation behind it.

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

/// Writes the gradient with respect to either summand (they are the same): `output_gradient · activation'(a + b)`.
///
/// # Panics
/// When the lengths differ.
pub fn backward_into(
    activation: Activation,
    a: &[f32],
    b: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) {
    assert!(a.len() == b.len() && a.len() == output_gradient.len() && a.len() == input_gradient.len());
    dispatch!(simd => with_function!(Some(activation), function => {
        let inputs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).zip(output_gradient.par_chunks(CHUNK));
        input_gradient.par_chunks_mut(CHUNK).zip(inputs).for_each(|(gx, ((a, b), gy))| {
            simd.vectorize(
                #[inline(always)]
                || {
                    for (gx, ((a, b), gy)) in gx.iter_mut().zip(a.iter().zip(b).zip(gy)) {
                        *gx = gy * function.derivative(a + b);
                    }
                },
            );
        });
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::{activation_f64, activations, values};

    #[test]
    fn sums_and_gradients_match_closed_forms() {
        let (a, b, gradient) = (values(1, 1003), values(2, 1003), values(3, 1003));
        on_every_level(|level| {
            for activation in activations() {
                let (mut y, mut g) = (vec![9.0; 1003], vec![9.0; 1003]);
                forward_into(Some(activation), &a, &b, &mut y);
                backward_into(activation, &a, &b, &gradient, &mut g);
                for i in 0..1003 {
                    let (value, derivative) = activation_f64(Some(activation), f64::from(a[i] + b[i]));
                    assert!((f64::from(y[i]) - value).abs() < 2e-6, "{level} {activation:?}");
                    let want = derivative * f64::from(gradient[i]);
                    assert!((f64::from(g[i]) - want).abs() < 4e-6, "{level} {activation:?}");
                }
            }
            let mut y = vec![9.0; 1003];
            forward_into(None, &a, &b, &mut y);
            assert!(y.iter().zip(a.iter().zip(&b)).all(|(y, (a, b))| *y == a + b), "{level}");
        });
    }
}
