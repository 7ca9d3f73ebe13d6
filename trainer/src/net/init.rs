//! Initial parameters, as Keras draws them.

use oxidet_graph::{Graph, ParamKind, ParamSpec, Params, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Fresh parameters for `graph`: kernels uniform after Glorot & Bengio 2010, biases 0, batch norms the identity.
///
/// Every tensor draws from a stream of its own, made from `seed` and its name, so a layer starts the same whatever other
/// layers there are.
pub fn init_params(graph: &Graph, seed: u64) -> Params {
    let tensor = |spec: &ParamSpec| {
        let len = spec.shape.iter().product();
        let data = match spec.kind {
            ParamKind::Kernel => glorot_uniform(spec, seed),
            ParamKind::Bias | ParamKind::Beta | ParamKind::MovingMean => vec![0.0; len],
            ParamKind::Gamma | ParamKind::MovingVariance => vec![1.0; len],
        };
        Tensor::new(spec.shape.clone(), data)
    };
    graph.param_specs().iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}

/// Uniform in ±√(6 / (fan_in + fan_out)), where the fans are k² times the channels of one group going in and k² times
/// all channels coming out: Keras' rule for dense and depthwise kernels alike.
fn glorot_uniform(spec: &ParamSpec, seed: u64) -> Vec<f32> {
    let [filters, inputs, k, _] = spec.shape[..] else { unreachable!("kernels have four axes") };
    let limit = (6.0 / (k * k * (inputs + filters)) as f64).sqrt() as f32;
    let mut stream = stream(seed, &spec.name);
    (0..spec.shape.iter().product())
        .map(|_| {
            let unit = (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
            (2.0 * unit - 1.0) * limit
        })
        .collect()
}

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a, 64 bits.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::layer::{BATCH_NORM, k1, k3};
    use oxidet_graph::{Conv2d, GraphBuilder};

    fn graph(first: &str) -> Graph {
        let mut builder = GraphBuilder::new();
        let image = builder.input(3);
        let x = builder.conv(first, image, k3(32));
        let x = builder.batch_norm("n", x, BATCH_NORM);
        builder.conv("last", x, Conv2d { bias: true, ..k1(64) });
        builder.finish()
    }

    #[test]
    fn parameters_start_as_in_keras() {
        let graph = graph("first");
        let params = init_params(&graph, 42);
        params.check(&graph).unwrap();
        let constant = |name: &str, value: f32| params.get(name).unwrap().data().iter().all(|v| *v == value);
        assert!(constant("n/gamma", 1.0) && constant("n/moving_variance", 1.0));
        assert!(constant("n/beta", 0.0) && constant("n/moving_mean", 0.0) && constant("last/bias", 0.0));

        let kernel = params.get("first/kernel").unwrap().data();
        let limit = (6.0f32 / (9.0 * (3.0 + 32.0))).sqrt();
        assert!(kernel.iter().all(|w| w.abs() <= limit));
        let mean = kernel.iter().sum::<f32>() / kernel.len() as f32;
        let variance = kernel.iter().map(|w| w * w).sum::<f32>() / kernel.len() as f32;
        assert!(mean.abs() < 0.05 * limit, "{mean}");
        assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn a_layer_draws_the_same_whatever_surrounds_it() {
        let (a, b) = (init_params(&graph("first"), 42), init_params(&graph("other"), 42));
        assert_eq!(a.get("last/kernel"), b.get("last/kernel"));
        assert_ne!(a.get("first/kernel"), b.get("other/kernel"));
        assert_ne!(a.get("last/kernel"), init_params(&graph("first"), 43).get("last/kernel"));
    }
}
