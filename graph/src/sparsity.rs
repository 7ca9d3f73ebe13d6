//! How much of a kernel does nothing.

use std::iter::Sum;

use serde::Serialize;

use crate::layers::Layer;
use crate::{Graph, Op, ParamKind, Params, ParamsError, Tensor};

/// Weights up to this share of the largest of their layer are small.
pub const SMALL: f32 = 1e-3;

/// Counts of weights and of filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sparsity {
    /// Weights of the kernel.
    pub weights: usize,
    /// Of these, exactly 0.
    pub zero: usize,
    /// Of these, up to [`SMALL`] of the largest in magnitude; those that are 0 included.
    pub small: usize,
    /// Filters.
    pub filters: usize,
    /// Of these, all of whose weights are small, as the batch norm behind multiplies them: their maps are constant.
    pub dead_filters: usize,
}

impl Sparsity {
    /// Looks at a kernel `[out, in / groups, k, k]`. `scale` `[out]` is what is multiplied to each filter's map behind it.
    ///
    /// # Panics
    /// When `scale` has another length.
    pub fn of(kernel: &Tensor, scale: Option<&[f32]>) -> Self {
        let filters = kernel.shape()[0];
        let weights = kernel.data();
        let limit = SMALL * largest(weights);
        // What is no number is not small.
        let count = |limit: f32| weights.iter().filter(|w| w.abs() <= limit).count();
        let reach: Vec<f32> = weights.chunks_exact(weights.len() / filters).map(largest).collect();
        let reach: Vec<f32> = match scale {
            Some(scale) => {
                assert_eq!(scale.len(), filters);
                reach.iter().zip(scale).map(|(reach, scale)| reach * scale.abs()).collect()
            }
            None => reach,
        };
        let dead = SMALL * largest(&reach);
        Self {
            weights: weights.len(),
            zero: count(0.0),
            small: count(limit),
            filters,
            dead_filters: reach.iter().filter(|reach| **reach <= dead).count(),
        }
    }
}

/// The largest magnitude; NaN when there is one, of which no multiple is a limit.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0f32, |most, value| if value.abs() <= most { most } else { value.abs() })
}

impl Sum for Sparsity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |sum, next| Self {
            weights: sum.weights + next.weights,
            zero: sum.zero + next.zero,
            small: sum.small + next.small,
            filters: sum.filters + next.filters,
            dead_filters: sum.dead_filters + next.dead_filters,
        })
    }
}

impl Graph {
    /// The sparsity of a layer that is a convolution; `None` of any other.
    ///
    /// # Errors
    /// [`ParamsError::Missing`]
    pub fn sparsity(&self, params: &Params, layer: &Layer) -> Result<Option<Sparsity>, ParamsError> {
        let conv = self.node(layer.first());
        if !matches!(conv.op, Op::Conv2d(_)) {
            return Ok(None);
        }
        let kernel = params.of(&conv.name, ParamKind::Kernel)?;
        let behind = layer.nodes.get(1).map(|id| self.node(*id));
        let scale = match behind.map(|node| (node.op, &node.name)) {
            Some((Op::BatchNorm(norm), name)) => {
                let gamma = params.of(name, ParamKind::Gamma)?.data();
                let variance = params.of(name, ParamKind::MovingVariance)?.data();
                let scale = gamma.iter().zip(variance).map(|(g, v)| g / (v + norm.epsilon).sqrt());
                Some(scale.collect::<Vec<f32>>())
            }
            _ => None,
        };
        Ok(Some(Sparsity::of(kernel, scale.as_deref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchNorm, Conv2d, GraphBuilder, Padding};

    /// Four filters of two weights.
    fn kernel() -> Tensor {
        Tensor::new([4, 2, 1, 1], vec![10.0, 0.0, -0.01, 0.005, 0.0, 0.0, -2.0, 0.02])
    }

    #[test]
    fn weights_are_measured_by_the_largest() {
        let got = Sparsity::of(&kernel(), None);
        assert_eq!(got, Sparsity { weights: 8, zero: 3, small: 5, filters: 4, dead_filters: 2 });
        let none = Sparsity::of(&Tensor::new([2, 1, 1, 1], vec![0.0, 0.0]), None);
        assert_eq!(none, Sparsity { weights: 2, zero: 2, small: 2, filters: 2, dead_filters: 2 });
        let broken = Sparsity::of(&Tensor::new([2, 1, 1, 1], vec![f32::NAN, 1.0]), None);
        assert_eq!((broken.small, broken.dead_filters), (0, 0));
        let sum: Sparsity = [got, none].into_iter().sum();
        assert_eq!(sum, Sparsity { weights: 10, zero: 5, small: 7, filters: 6, dead_filters: 4 });
    }

    #[test]
    fn filters_are_measured_behind_their_batch_norm() {
        let conv =
            Conv2d { filters: 4, kernel: 1, stride: 1, padding: Padding::default(), groups: 1, bias: false };
        let mut g = GraphBuilder::new();
        let image = g.input(2);
        let conv = g.conv("conv", image, conv);
        g.batch_norm("bn", conv, BatchNorm { epsilon: 1e-3, momentum: 0.99 });
        let graph = g.finish();
        // Revives the second filter, 0.01 / √(10⁻³ + 10⁻³), and kills the fourth.
        let params: Params = [
            ("conv/kernel", kernel()),
            ("bn/gamma", Tensor::new([4], vec![1.0, 1.0, 1.0, 0.0])),
            ("bn/moving_variance", Tensor::new([4], vec![0.999, 1e-3, 0.0, 1.0])),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into_iter()
        .collect();
        let layers = graph.layers();
        assert_eq!(graph.sparsity(&params, &layers[0]), Ok(None));
        let got = graph.sparsity(&params, &layers[1]).unwrap().unwrap();
        assert_eq!((got.zero, got.small, got.dead_filters), (3, 5, 2));
        assert_eq!(
            graph.sparsity(&Params::new(), &layers[1]),
            Err(ParamsError::Missing("conv/kernel".into()))
        );
    }
}
