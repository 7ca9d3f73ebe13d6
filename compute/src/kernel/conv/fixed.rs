//! Weights that do not change between convolutions.

use std::sync::OnceLock;

use oxidet_graph::Activation;

use super::implicit::{self, PackedWeights};
use super::{Geometry, depthwise, finish, forward_into};
use crate::kernel::memory::Buffer;
use crate::kernel::simd::dispatch;
use crate::kernel::winograd;

/// Transformed weights larger than this (in floats) are not kept: there are four times as many as weights, and large kernels belong to small
/// maps in which few tiles share them.
const MOST_TRANSFORMED: usize = 4 << 20;

/// The weights of a convolution for any number of batches: what is made from them alone is made once and kept.
pub struct FixedWeights {
    weight: Vec<f32>,
    packed: OnceLock<Vec<PackedWeights<Buffer>>>,
    transformed: OnceLock<winograd::Weights<Buffer>>,
}

impl FixedWeights {
    /// Weights `[out, in / groups, k, k]`.
    pub fn new(weight: Vec<f32>) -> Self {
        Self { weight, packed: OnceLock::new(), transformed: OnceLock::new() }
    }

    /// [`forward_into`] with these weights. Geometries may differ in their batch only.
    ///
    /// # Panics
    /// When a length does not fit `geometry`.
    pub fn forward_into(
        &self,
        geometry: &Geometry,
        input: &[f32],
        bias: Option<&[f32]>,
        activation: Option<Activation>,
        output: &mut [f32],
    ) {
        let weight = &self.weight[..];
        geometry.check(input.len(), weight.len(), output.len());
        if depthwise::fits(geometry) {
            forward_into(geometry, input, weight, bias, activation, output);
        } else if !winograd::pays(geometry) {
            dispatch!(simd => {
                let packed = self.packed.get_or_init(|| implicit::packed(simd, geometry, weight, Buffer::zeroed));
                implicit::forward(simd, geometry, input, packed, output);
            });
            finish(geometry, bias, activation, output);
        } else if winograd::FREQUENCIES * weight.len() / 9 <= MOST_TRANSFORMED {
            dispatch!(simd => {
                let kept =
                    self.transformed.get_or_init(|| winograd::transformed(simd, geometry, weight, Buffer::zeroed));
                winograd::forward(simd, geometry, input, kept, output);
            });
            finish(geometry, bias, activation, output);
        } else {
            forward_into(geometry, input, weight, bias, activation, output);
        }
    }
}

impl std::fmt::Debug for FixedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FixedWeights({})", self.weight.len())
    }
}
