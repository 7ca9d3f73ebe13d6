//! Activation functions, written so that LLVM vectorises them: no branches, no library calls.

use super::simd::{Simd, dispatch};
use oxidet_graph::Activation;
use rayon::prelude::*;

/// Values of one parallel task of a pointwise kernel: large enough to hide the task, small enough to share out evenly.
pub(super) const CHUNK: usize = 1 << 15;

/// A pointwise function with its derivative, both of the input.
pub(super) trait Function: Copy + Send + Sync {
    /// f(x)
    fn value(self, x: f32) -> f32;
    /// f'(x); at a kink the derivative of the negative side, as the framework's kernels have it.
    fn derivative(self, x: f32) -> f32;
}

/// f(x) = x
#[derive(Clone, Copy)]
pub(super) struct Identity;
/// See [`Activation::Relu`].
#[derive(Clone, Copy)]
pub(super) struct Relu;
/// See [`Activation::LeakyRelu`].
#[derive(Clone, Copy)]
pub(super) struct LeakyRelu;
/// See [`Activation::Mish`].
#[derive(Clone, Copy)]
pub(super) struct Mish;
/// See [`Activation::Swish`].
#[derive(Clone, Copy)]
pub(super) struct Swish;
/// See [`Activation::Sigmoid`].
#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

/// Evaluates `$body` with `$function` bound to the [`Function`] of `$activation` (`None`: identity).
macro_rules! with_function {
    ($activation:expr, $function:ident => $body:expr) => {{
        use $crate::kernel::activation as functions;
        match $activation {
            None => {
                let $function = functions::Identity;
                $body
            }
            Some(oxidet_graph::Activation::Relu) => {
                let $function = functions::Relu;
                $body
            }
            Some(oxidet_graph::Activation::LeakyRelu) => {
                let $function = functions::LeakyRelu;
                $body
            }
            Some(oxidet_graph::Activation::Mish) => {
                let $function = functions::Mish;
                $body
            }
            Some(oxidet_graph::Activation::Swish) => {
                let $function = functions::Swish;
                $body
            }
            Some(oxidet_graph::Activation::Sigmoid) => {
                let $function = functions::Sigmoid;
                $body
            }
        }
    }};
}
pub(super) use with_function;

impl Function for Identity {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn derivative(self, _: f32) -> f32 {
        1.0
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        // Not `max`: a NaN must stay one, or a diverged run would look healthy.
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn derivative(self, x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

impl Function for LeakyRelu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * self.derivative(x)
    }

    #[inline(always)]
    fn derivative(self, x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { Activation::LEAKY_SLOPE }
    }
}

impl Function for Mish {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        let (n, _) = mish_terms(x);
        x * (n / (n + 2.0))
    }

    #[inline(always)]
    fn derivative(self, x: f32) -> f32 {
        let (n, e) = mish_terms(x);
        let d = n + 2.0;
        // Beyond, the second term is nothing, but not once multiplied with an x that is huge.
        let x = if x > 20.0 { 20.0 } else { x };
        (n + x * (4.0 * e * (e + 1.0)) / d) / d
    }
}

/// With e = eˣ and n = e² + 2e, tanh(ln(1 + e)) = n / (n + 2). Returns (n, e); from x = 20 on the quotient is 1 in f32.
#[inline(always)]
fn mish_terms(x: f32) -> (f32, f32) {
    let e = exp(if x > 20.0 { 20.0 } else { x });
    (e * (e + 2.0), e)
}

impl Function for Swish {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(x)
    }

    #[inline(always)]
    fn derivative(self, x: f32) -> f32 {
        let s = sigmoid(x);
        s + x * s * (1.0 - s)
    }
}

impl Function for Sigmoid {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        sigmoid(x)
    }

    #[inline(always)]
    fn derivative(self, x: f32) -> f32 {
        let s = sigmoid(x);
        s * (1.0 - s)
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// eˣ to about 2 units in the last place, clamped to the finite range; NaN stays NaN.
///
/// x = n·ln 2 + r with whole n; e^r is the polynomial of Cephes' `expf` and 2ⁿ is put together from bits. Adding 1.5·2²³
/// rounds n to a whole number and leaves it in the low bits.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = if x > 88.0 { 88.0 } else { x };
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    (p * r * r + r + 1.0) * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// Writes `activation(input)` to `output`.
///
/// # Panics
/// When the lengths differ.
pub fn forward_into(activation: Activation, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len());
    dispatch!(simd => with_function!(Some(activation), function => {
        output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).for_each(|(output, input)| {
            simd.vectorize(
                #[inline(always)]
                || output.iter_mut().zip(input).for_each(|(y, x)| *y = function.value(*x)),
            );
        });
    }));
}

/// Turns the gradient with respect to the output of an activation into that with respect to its input, given that input.
/// The output will do instead where [`derivative_follows_from_output`].
///
/// # Panics
/// When the lengths differ.
pub fn backward_in_place(activation: Activation, input: &[f32], gradient: &mut [f32]) {
    assert_eq!(input.len(), gradient.len());
    dispatch!(simd => with_function!(Some(activation), function => {
        gradient.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).for_each(|(gradient, input)| {
            simd.vectorize(
                #[inline(always)]
                || gradient.iter_mut().zip(input).for_each(|(g, x)| *g *= function.derivative(*x)),
            );
        });
    }));
}

/// Whether the derivative at an input is also that at its output: it depends on the sign alone, which the function keeps.
pub fn derivative_follows_from_output(activation: Activation) -> bool {
    matches!(activation, Activation::Relu | Activation::LeakyRelu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::{activation_f64, activations};

    #[test]
    fn values_and_derivatives_match_closed_forms() {
        let mut xs: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.025 + 0.0031).collect();
        xs.extend([1e15, 1e30]);
        on_every_level(|level| {
            for activation in activations() {
                let (mut ys, mut ds) = (vec![9.0; xs.len()], vec![2.0; xs.len()]);
                forward_into(activation, &xs, &mut ys);
                backward_in_place(activation, &xs, &mut ds);
                if derivative_follows_from_output(activation) {
                    let mut from_output = vec![2.0; xs.len()];
                    backward_in_place(activation, &ys, &mut from_output);
                    assert_eq!(from_output, ds, "{level} {activation:?}");
                }
                for ((x, y), d) in xs.iter().zip(&ys).zip(&ds) {
                    let (value, derivative) = activation_f64(Some(activation), f64::from(*x));
                    let close = |got: f32, want: f64| {
                        (f64::from(got) - want).abs()
                            <= 2e-6 * want.abs() + 1e-30_f64.max(4e-7 * want.abs().min(1.0))
                    };
                    assert!(
                        close(*y, value) || (f64::from(*y) - value).abs() < 1e-36,
                        "{level} {activation:?}({x}) = {y}, not {value}"
                    );
                    assert!(
                        (f64::from(*d) - 2.0 * derivative).abs() < 4e-6,
                        "{level} {activation:?}'({x}) = {d}/2, not {derivative}"
                    );
                }
            }
        });
    }

    #[test]
    fn not_a_number_is_not_hidden() {
        for activation in activations() {
            let mut y = [0.0];
            forward_into(activation, &[f32::NAN], &mut y);
            assert!(y[0].is_nan(), "{activation:?}");
        }
    }
}
