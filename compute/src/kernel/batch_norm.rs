//! Batch normalisation followed by an activation, in one pass: `y = f(γ · (x − mean) / √(variance + ε) + β)`.
//!
//! Statistics are over images and pixels of each channel of `[N, C, H, W]`. A channel is one task: its first pass sums
//! values and squares, shifted by its first value so that the variance does not cancel, in f64 totals; its second pass
//! normalises. Only `x` and the two numbers a channel are kept for the backward pass; the activation is computed again.

use super::activation::{Function, with_function};
use super::memory::SharedOut;
use super::simd::{Simd, dispatch};
use super::sum::sums;
use oxidet_graph::Activation;
use rayon::prelude::*;

/// Per-channel statistics of one training batch, `[C]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStats {
    /// Mean over images and pixels.
    pub mean: Vec<f32>,
    /// Mean squared distance from the mean (divided by N·H·W): what the batch is normalised with.
    pub population_variance: Vec<f32>,
    /// Divided by N·H·W − 1 instead (by 1 for a single value): what the running variance is updated with.
    pub unbiased_variance: Vec<f32>,
}

/// What a normalisation needs to know about a map: its sizes and its affine part.
#[derive(Clone, Copy)]
pub struct Normalization<'a> {
    /// Values in one channel of one image.
    pub pixels: usize,
    /// Scale γ, `[C]`.
    pub gamma: &'a [f32],
    /// Shift β, `[C]`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
    /// Applied afterwards.
    pub activation: Option<Activation>,
}

/// Gradients with respect to the affine part, `[C]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineGradient {
    /// With respect to γ.
    pub gamma: Vec<f32>,
    /// With respect to β.
    pub beta: Vec<f32>,
}

/// Mean and 1 / √(variance + ε) of one channel, as one multiplication and addition.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    inverse: f32,
    scale: f32,
    shift: f32,
}

impl Normalization<'_> {
    fn channels(&self) -> usize {
        self.gamma.len()
    }

    fn channel(&self, c: usize, mean: f32, variance: f32) -> Channel {
        let inverse = (1.0 / (f64::from(variance) + f64::from(self.epsilon)).sqrt()) as f32;
        let scale = self.gamma[c] * inverse;
        Channel { mean, inverse, scale, shift: self.beta[c] - mean * scale }
    }

    fn check(&self, len: usize) {
        assert_eq!(self.beta.len(), self.channels(), "γ and β have one value a channel");
        assert!(len > 0 && len.is_multiple_of(self.channels() * self.pixels), "whole images");
    }

    /// The maps of channel `c` in `[N, C, pixels]`.
    fn maps<'a>(&self, values: &'a [f32], c: usize) -> impl Iterator<Item = &'a [f32]> {
        values.chunks(self.pixels).skip(c).step_by(self.channels())
    }

    /// The maps of channel `c` of an output.
    ///
    /// # Safety
    /// Only one thread at a time uses the maps of a channel.
    unsafe fn maps_mut<'a>(
        &self,
        values: SharedOut<'a>,
        len: usize,
        c: usize,
    ) -> impl Iterator<Item = &'a mut [f32]> {
        let (pixels, channels) = (self.pixels, self.channels());
        (c..len / pixels).step_by(channels).map(move |map| {
            // SAFETY: map < len / pixels; the caller keeps others away from this channel.
            unsafe { std::slice::from_raw_parts_mut(values.at(map * pixels), pixels) }
        })
    }
}

/// Normalises `input` with the statistics of the batch itself and returns them.
///
/// # Panics
/// When lengths do not fit.
pub fn train_forward_into(norm: &Normalization, input: &[f32], output: &mut [f32]) -> BatchStats {
    norm.check(input.len());
    assert_eq!(input.len(), output.len());
    let (len, out) = (input.len(), SharedOut::new(output));
    let count = (len / norm.channels()) as f64;
    let stats: Vec<(f32, f64)> = dispatch!(simd => with_function!(norm.activation, function => {
        (0..norm.channels()).into_par_iter().map(|c| simd.vectorize(
            #[inline(always)]
            || {
                // Shifted by a value of the channel, the squares stay small and their difference exact.
                let pivot = norm.maps(input, c).next().map_or(0.0, |map| map[0]);
                let (mut sum, mut squares) = (0.0, 0.0);
                for map in norm.maps(input, c) {
                    let [s, q] = sums([map], #[inline(always)] |[x]| {
                        let v = x - pivot;
                        [v, v * v]
                    });
                    sum += s;
                    squares += q;
                }
                let shifted_mean = sum / count;
                let variance = squares / count - shifted_mean * shifted_mean;
                // Not `max`: a NaN must stay one.
                let variance = if variance < 0.0 { 0.0 } else { variance };
                let mean = (shifted_mean + f64::from(pivot)) as f32;
                let channel = norm.channel(c, mean, variance as f32);
                // SAFETY: this task alone handles channel c.
                for (x, y) in norm.maps(input, c).zip(unsafe { norm.maps_mut(out, len, c) }) {
                    for (x, y) in x.iter().zip(y) {
                        *y = function.value(x * channel.scale + channel.shift);
                    }
                }
                (mean, variance)
            },
        )).collect()
    }));
    let unbiased = count / (count - 1.0).max(1.0);
    BatchStats {
        mean: stats.iter().map(|(mean, _)| *mean).collect(),
        population_variance: stats.iter().map(|(_, variance)| *variance as f32).collect(),
        unbiased_variance: stats.iter().map(|(_, variance)| (variance * unbiased) as f32).collect(),
    }
}

/// The backward pass of [`train_forward_into`]: `stats` are those it returned. Turns the gradient with respect to the output
/// into that with respect to the input.
///
/// # Panics
/// When lengths do not fit.
pub fn train_backward_in_place(
    norm: &Normalization,
    stats: &BatchStats,
    input: &[f32],
    gradient: &mut [f32],
) -> AffineGradient {
    backward_in_place(norm, (&stats.mean, &stats.population_variance), true, input, gradient)
}

/// Normalises `input` with the given mean and variance, `[C]` each, as inference does.
///
/// # Panics
/// When lengths do not fit.
pub fn frozen_forward_into(
    norm: &Normalization,
    mean: &[f32],
    variance: &[f32],
    input: &[f32],
    output: &mut [f32],
) {
    norm.check(input.len());
    assert_eq!(input.len(), output.len());
    assert!(mean.len() == norm.channels() && variance.len() == norm.channels());
    dispatch!(simd => with_function!(norm.activation, function => {
        let maps = output.par_chunks_mut(norm.pixels).zip(input.par_chunks(norm.pixels));
        maps.enumerate().for_each(|(map, (y, x))| {
            let c = map % norm.channels();
            let channel = norm.channel(c, mean[c], variance[c]);
            simd.vectorize(
                #[inline(always)]
                || {
                    for (x, y) in x.iter().zip(y) {
                        *y = function.value(x * channel.scale + channel.shift);
                    }
                },
            );
        });
    }));
}

/// The backward pass of [`frozen_forward_into`], as [`train_backward_in_place`]: mean and variance are constants, γ and β are
/// not.
///
/// # Panics
/// When lengths do not fit.
pub fn frozen_backward_in_place(
    norm: &Normalization,
    mean: &[f32],
    variance: &[f32],
    input: &[f32],
    gradient: &mut [f32],
) -> AffineGradient {
    backward_in_place(norm, (mean, variance), false, input, gradient)
}

/// With g = output gradient · f'(…) and x̂ = (x − mean) / σ: ∂β = Σ g, ∂γ = Σ g · x̂ and
/// ∂x = γ / σ · (g − [mean(g) + x̂ · mean(g · x̂)]), the bracket only where the statistics follow x.
fn backward_in_place(
    norm: &Normalization,
    (mean, variance): (&[f32], &[f32]),
    statistics_follow: bool,
    input: &[f32],
    gradient: &mut [f32],
) -> AffineGradient {
    norm.check(input.len());
    assert_eq!(input.len(), gradient.len());
    assert!(mean.len() == norm.channels() && variance.len() == norm.channels());
    let (len, shared) = (input.len(), SharedOut::new(gradient));
    let count = (len / norm.channels()) as f64;
    let gradients: Vec<(f32, f32)> = dispatch!(simd => with_function!(norm.activation, function => {
        (0..norm.channels()).into_par_iter().map(|c| simd.vectorize(
            #[inline(always)]
            || {
                let channel = norm.channel(c, mean[c], variance[c]);
                let Channel { mean, inverse, scale, shift } = channel;
                let (mut sum, mut product) = (0.0, 0.0);
                // SAFETY: this task alone handles channel c, here and below.
                for (x, gy) in norm.maps(input, c).zip(unsafe { norm.maps_mut(shared, len, c) }) {
                    let [s, p] = sums([x, gy], #[inline(always)] |[x, gy]| {
                        let g = gy * function.derivative(x * scale + shift);
                        [g, g * (x - mean)]
                    });
                    sum += s;
                    product += p;
                }
                let gamma = product * f64::from(inverse);
                let (offset, slope) = if statistics_follow {
                    ((sum / count) as f32, (gamma / count) as f32 * inverse)
                } else {
                    (0.0, 0.0)
                };
                for (x, gradient) in norm.maps(input, c).zip(unsafe { norm.maps_mut(shared, len, c) }) {
                    for (x, gradient) in x.iter().zip(gradient) {
                        let g = *gradient * function.derivative(x * scale + shift);
                        *gradient = scale * (g - offset - (x - mean) * slope);
                    }
                }
                (gamma as f32, sum as f32)
            },
        )).collect()
    }));
    let (gamma, beta) = gradients.into_iter().unzip();
    AffineGradient { gamma, beta }
}

#[cfg(test)]
mod tests;
