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

/// Tiles of an image that repay reading transformed weights. Of an image, not of a batch, so that an image's result does not depend on its
/// neighbours.
const LEAST_TILES: usize = 20;

/// The weights of a convolution for any number of batches: what is made from them alone is made once and kept.
pub struct FixedWeights {
    /// Of one image.
    geometry: Geometry,
    weight: Vec<f32>,
    packed: OnceLock<Vec<PackedWeights<Buffer>>>,
    transformed: OnceLock<winograd::Weights<Buffer>>,
}

impl FixedWeights {
    /// Weights `[out, in / groups, k, k]` for convolutions of `geometry`, with batches of any size.
    ///
    /// # Panics
    /// When their number does not fit `geometry`.
    pub fn new(geometry: Geometry, weight: Vec<f32>) -> Self {
        let tiles = geometry.height.div_ceil(4) * geometry.width.div_ceil(4);
        let geometry = Geometry { batch: 1, direct: geometry.direct || tiles < LEAST_TILES, ..geometry };
        assert_eq!(
            weight.len(),
            geometry.weight_shape().iter().product::<usize>(),
            "weights of {geometry:?}"
        );
        Self { geometry, weight, packed: OnceLock::new(), transformed: OnceLock::new() }
    }

    /// [`forward_into`] with these weights on a batch of `batch` images.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn forward_into(
        &self,
        batch: usize,
        input: &[f32],
        bias: Option<&[f32]>,
        activation: Option<Activation>,
        output: &mut [f32],
    ) {
        let geometry = &Geometry { batch, ..self.geometry };
        let weight = &self.weight[..];
        geometry.check(input.len(), weight.len(), output.len());
        let transforms = winograd::pays(geometry);
        if depthwise::fits(geometry)
            || transforms && winograd::FREQUENCIES * weight.len() / 9 > MOST_TRANSFORMED
        {
            return forward_into(geometry, input, weight, bias, activation, output);
        }
        if transforms {
            dispatch!(simd => {
                let weights =
                    kept(&self.transformed, || winograd::transformed(simd, geometry, weight, Buffer::zeroed));
                winograd::forward(simd, geometry, input, weights, output);
            });
        } else {
            dispatch!(simd => {
                let weights = kept(&self.packed, || implicit::packed(simd, geometry, weight, Buffer::zeroed));
                implicit::forward(simd, geometry, input, weights, output);
            });
        }
        finish(geometry, bias, activation, output);
    }
}

/// What is in the cell, made if it is not. Not made inside of the cell: a thread that waits for others of its pool there may take up work that
/// needs the same cell.
fn kept<T>(cell: &OnceLock<T>, make: impl FnOnce() -> T) -> &T {
    match cell.get() {
        Some(value) => value,
        None => {
            let made = make();
            cell.get_or_init(|| made)
        }
    }
}

impl std::fmt::Debug for FixedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FixedWeights({:?})", self.geometry)
    }
}

#[cfg(test)]
mod tests {
    use oxidet_graph::Padding;

    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::{relative_error, values};

    #[test]
    fn batches_of_any_size_give_what_weights_of_their_own_give() {
        for (input, weight, stride, groups) in [
            ([1, 64, 20, 24], [64, 64, 3, 3], 1, 1),
            ([1, 64, 12, 12], [70, 64, 3, 3], 1, 1),
            ([1, 6, 9, 7], [10, 6, 1, 1], 1, 1),
            ([1, 8, 9, 10], [4, 4, 3, 3], 2, 2),
            ([1, 5, 9, 10], [5, 1, 3, 3], 1, 5),
        ] {
            let padding = Padding::all(weight[2] / 2);
            let of = |batch| {
                let [_, channels, height, width] = input;
                Geometry::new([batch, channels, height, width], weight, stride, padding, groups).unwrap()
            };
            let numbers = values(2, weight.iter().product());
            let bias = values(3, weight[0]);
            on_every_level(|level| {
                let fixed = FixedWeights::new(of(1), numbers.clone());
                let mut first = Vec::new();
                for batch in [1, 3, 1] {
                    let geometry = of(batch);
                    let x = values(1, input.iter().product::<usize>() * batch);
                    let len = geometry.output_shape().iter().product();
                    let (mut want, mut got) = (vec![0.0; len], vec![f32::NAN; len]);
                    forward_into(&geometry, &x, &numbers, Some(&bias), Some(Activation::Relu), &mut want);
                    fixed.forward_into(batch, &x, Some(&bias), Some(Activation::Relu), &mut got);
                    let want: Vec<f64> = want.into_iter().map(f64::from).collect();
                    assert!(relative_error(&got, &want) < 3e-5, "{level} {geometry:?}");
                    // An image is computed alike whatever else is in the batch.
                    if first.is_empty() {
                        first = got;
                    } else {
                        assert_eq!(got[..first.len()], first, "{level} {geometry:?}");
                    }
                }
            });
        }
    }

    #[test]
    #[should_panic(expected = "input length")]
    fn other_sizes_are_refused() {
        let geometry = Geometry::new([1, 4, 3, 3], [8, 4, 1, 1], 1, Padding::default(), 1).unwrap();
        FixedWeights::new(geometry, vec![0.0; 32]).forward_into(1, &[0.0; 72], None, None, &mut [0.0; 36]);
    }
}
