//! Bias of a convolution: one number a channel, added to every pixel.

use super::activation::{Function, with_function};
use super::simd::{Simd, dispatch};
use super::sum::sums;
use oxidet_graph::Activation;
use rayon::prelude::*;

/// Replaces every value `v` of `maps`, `[N, channels, pixels]`, by `activation(v + bias[channel])`.
pub(super) fn add_and_activate(
    maps: &mut [f32],
    channels: usize,
    pixels: usize,
    bias: Option<&[f32]>,
    activation: Option<Activation>,
) {
    assert!(bias.is_none_or(|bias| bias.len() == channels), "one bias a channel");
    dispatch!(simd => with_function!(activation, function => {
        maps.par_chunks_mut(pixels).enumerate().for_each(|(map, values)| {
            let bias = bias.map_or(0.0, |bias| bias[map % channels]);
            simd.vectorize(
                #[inline(always)]
                || values.iter_mut().for_each(|v| *v = function.value(*v + bias)),
            );
        });
    }));
}

/// Writes the sum over images and pixels of each channel of `gradient`, `[N, C, pixels]`, to `bias_gradient`, `[C]`.
pub(super) fn gradient_into(gradient: &[f32], pixels: usize, bias_gradient: &mut [f32]) {
    let channels = bias_gradient.len();
    dispatch!(simd => {
        bias_gradient.par_iter_mut().enumerate().for_each(|(channel, sum)| {
            let maps = gradient.chunks(pixels).skip(channel).step_by(channels);
            let total: f64 = maps
                .map(|map| {
                    simd.vectorize(
                        #[inline(always)]
                        || sums([map], #[inline(always)] |[x]| [x])[0],
                    )
                })
                .sum();
            *sum = total as f32;
        });
    });
}
