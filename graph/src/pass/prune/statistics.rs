//! How large filters are.

use crate::Tensor;

/// What makes norms of different layers comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalizer {
    /// `n / max n`: a share of the layer's largest.
    Max,
    /// `n · F / √Σn²` for F filters; equal filters all count √F.
    L2,
}

/// What a channel counts that several layers make, from what it counts in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// The most.
    Union,
    /// The least.
    Intersection,
    /// The mean.
    ArithmeticMean,
    /// The n-th root of the product.
    GeometricMean,
}

/// The Euclidean norm of every filter, the first axis of a kernel.
pub(super) fn norms(kernel: &Tensor) -> Vec<f64> {
    let per_filter = kernel.data().len() / kernel.shape()[0];
    let norm = |filter: &[f32]| filter.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
    kernel.data().chunks_exact(per_filter).map(norm).collect()
}

/// Norms of one layer, normalised. Those of a layer of zeros stay 0.
pub(super) fn normalize(norms: Vec<f64>, normalizer: Normalizer) -> Vec<f64> {
    let (factor, size) = match normalizer {
        Normalizer::Max => (1.0, norms.iter().fold(0.0f64, |most, norm| most.max(*norm))),
        Normalizer::L2 => (norms.len() as f64, norms.iter().map(|norm| norm.powi(2)).sum::<f64>().sqrt()),
    };
    if size == 0.0 { norms } else { norms.into_iter().map(|norm| norm * factor / size).collect() }
}

/// What the channels of a group count.
pub(super) fn merge(layers: &[Vec<f64>], criterion: Criterion) -> Vec<f64> {
    let merged = |channel: usize| {
        let values = || layers.iter().map(|layer| layer[channel]);
        let mean = |sum: f64| sum / layers.len() as f64;
        match criterion {
            Criterion::Union => values().fold(0.0, f64::max),
            Criterion::Intersection => values().fold(f64::INFINITY, f64::min),
            Criterion::ArithmeticMean => mean(values().sum()),
            Criterion::GeometricMean => mean(values().map(f64::ln).sum()).exp(),
        }
    };
    let channels = layers.first().map_or(0, Vec::len);
    // The mean of one is itself, without the rounding of logarithms.
    if layers.len() == 1 { layers[0].clone() } else { (0..channels).map(merged).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_as_large_as_its_weights() {
        let kernel = Tensor::new([3, 2, 1, 1], vec![3.0, 4.0, 0.0, -2.0, 0.0, 0.0]);
        assert_eq!(norms(&kernel), [5.0, 2.0, 0.0]);
    }

    /// Computed by the original.
    #[test]
    fn golden_normalisation() {
        let close = |found: Vec<f64>, want: [f64; 3]| {
            assert!(found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}, not {want:?}");
        };
        close(normalize(vec![3.0, 4.0, 0.0], Normalizer::L2), [1.8, 2.4, 0.0]);
        close(normalize(vec![2.0; 3], Normalizer::L2), [3f64.sqrt(); 3]);
        close(normalize(vec![3.0, 4.0, 0.0], Normalizer::Max), [0.75, 1.0, 0.0]);
    }

    #[test]
    fn a_layer_of_zeros_counts_nothing() {
        for normalizer in [Normalizer::Max, Normalizer::L2] {
            assert_eq!(normalize(vec![0.0; 4], normalizer), [0.0; 4]);
        }
    }

    #[test]
    fn criteria_are_what_they_are_called() {
        let layers = [vec![0.2, 0.0], vec![0.8, 0.5], vec![0.5, 0.25]];
        for (criterion, want) in [
            (Criterion::Union, [0.8, 0.5]),
            (Criterion::Intersection, [0.2, 0.0]),
            (Criterion::ArithmeticMean, [0.5, 0.25]),
            (Criterion::GeometricMean, [0.08f64.cbrt(), 0.0]),
        ] {
            let found = merge(&layers, criterion);
            assert!(found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{criterion:?}: {found:?}");
            assert_eq!(merge(&layers[1..2], criterion), layers[1], "one layer alone");
        }
    }
}
