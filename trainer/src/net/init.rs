//! Initial parameters, as Keras draws them.

use std::f32::consts::TAU;

use oxidet_graph::{Detector, Graph, ParamKind, ParamSpec, Params, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Fresh parameters for a network: kernels uniform after Glorot & Bengio 2010, those of an EfficientNet's backbone normal after
/// Tan & Le 2019; biases 0, batch norms the identity.
///
/// Every tensor draws from a stream of its own, made from `seed` and its name, so a layer starts the same whatever other
/// layers there are.
pub fn init_params(detector: &Detector, seed: u64) -> Params {
    let graph = &detector.graph;
    let is_normal = |spec: &ParamSpec| detector.arch.starts_with("efficientnet") && in_backbone(graph, spec);
    let tensor = |spec: &ParamSpec| {
        let len = spec.shape.iter().product();
        let data = match spec.kind {
            ParamKind::Kernel if is_normal(spec) => truncated_normal(spec, seed),
            ParamKind::Kernel => glorot_uniform(spec, seed),
            ParamKind::Bias | ParamKind::Beta | ParamKind::MovingMean | ParamKind::Amax => vec![0.0; len],
            ParamKind::Gamma | ParamKind::MovingVariance => vec![1.0; len],
        };
        Tensor::new(spec.shape.clone(), data)
    };
    graph.param_specs().iter().map(|spec| (spec.name.clone(), tensor(spec))).collect()
}

fn in_backbone(graph: &Graph, spec: &ParamSpec) -> bool {
    graph.find(&spec.layer).is_some_and(|id| graph.node(id).block.is_some())
}

/// Normal with variance 2 / fan_out, values beyond two standard deviations drawn again; the fan is k² times the channels of one
/// group coming out.
fn truncated_normal(spec: &ParamSpec, seed: u64) -> Vec<f32> {
    /// What cutting the tails leaves of the standard deviation.
    const KEPT: f32 = 0.879_625_7;
    let [filters, inputs, k, _] = spec.shape[..] else { unreachable!("kernels have four axes") };
    // A depthwise kernel has one input channel a group and, here, one output channel.
    let fan_out = k * k * if inputs == 1 { 1 } else { filters };
    let deviation = (2.0 / fan_out as f32).sqrt() / KEPT;
    let mut stream = stream(seed, &spec.name);
    // Box & Muller 1958.
    let mut normal = || loop {
        let radius = (-2.0 * (1.0 - unit(&mut stream)).ln()).sqrt();
        let value = radius * (TAU * unit(&mut stream)).cos();
        if value.abs() <= 2.0 {
            break value * deviation;
        }
    };
    (0..spec.shape.iter().product()).map(|_| normal()).collect()
}

/// Uniform in ±√(6 / (fan_in + fan_out)), where the fans are k² times the channels of one group going in and k² times
/// all channels coming out: Keras' rule for dense and depthwise kernels alike.
fn glorot_uniform(spec: &ParamSpec, seed: u64) -> Vec<f32> {
    let [filters, inputs, k, _] = spec.shape[..] else { unreachable!("kernels have four axes") };
    let limit = (6.0 / (k * k * (inputs + filters)) as f64).sqrt() as f32;
    let mut stream = stream(seed, &spec.name);
    (0..spec.shape.iter().product()).map(|_| (2.0 * unit(&mut stream) - 1.0) * limit).collect()
}

/// Uniform in [0, 1).
fn unit(stream: &mut ChaCha8Rng) -> f32 {
    (stream.next_u32() >> 8) as f32 / (1 << 24) as f32
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
    use crate::net::golden;

    const TINY: golden::Net = ("cspdarknet_tiny", 0, "", false);

    fn mean_and_variance(values: &[f32]) -> (f32, f32) {
        let len = values.len() as f32;
        (values.iter().sum::<f32>() / len, values.iter().map(|v| v * v).sum::<f32>() / len)
    }

    #[test]
    fn parameters_start_as_in_keras() {
        let detector = golden::detector(TINY);
        let params = init_params(&detector, 42);
        params.check(&detector.graph).unwrap();
        let constant = |name: &str, value: f32| params.get(name).unwrap().data().iter().all(|v| *v == value);
        assert!(constant("conv_0_bn/gamma", 1.0) && constant("conv_0_bn/moving_variance", 1.0));
        assert!(constant("conv_0_bn/beta", 0.0) && constant("conv_0_bn/moving_mean", 0.0));
        assert!(constant("conv_big_object/bias", 0.0));

        let kernel = params.get("conv_0/kernel").unwrap().data();
        let limit = (6.0f32 / (9.0 * (3.0 + 32.0))).sqrt();
        assert!(kernel.iter().all(|w| w.abs() <= limit));
        let (mean, variance) = mean_and_variance(kernel);
        assert!(mean.abs() < 0.05 * limit, "{mean}");
        assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn an_efficientnet_starts_normal_in_its_backbone_only() {
        let detector = golden::detector(("efficientnet_b0", 0, "", false));
        let params = init_params(&detector, 42);
        for (layer, fan_out) in [("block7a_expand_conv", 1152.0), ("block6d_dwconv", 25.0)] {
            let kernel = params.of(layer, ParamKind::Kernel).unwrap().data();
            let (mean, variance) = mean_and_variance(kernel);
            assert!((variance / (2.0 / fan_out) - 1.0).abs() < 0.02, "{layer}: {variance}");
            assert!(mean.abs() < 0.02 * variance.sqrt(), "{layer}: {mean}");
            let most = 2.0 * (2.0f32 / fan_out).sqrt() / 0.879;
            assert!(kernel.iter().all(|w| w.abs() <= most), "{layer}");
        }
        let neck = params.get("yolo_conv2/kernel").unwrap();
        let limit = (6.0f32 / (512.0 + 256.0)).sqrt();
        assert_eq!(neck.shape(), [256, 512, 1, 1]);
        assert!(neck.data().iter().all(|w| w.abs() <= limit));
    }

    #[test]
    fn a_layer_draws_the_same_whatever_surrounds_it() {
        let three_heads = ("cspdarknet_tiny_3l", 0, "", false);
        let [tiny, three] = [TINY, three_heads].map(golden::detector);
        let (a, b) = (init_params(&tiny, 42), init_params(&three, 42));
        assert_eq!(a.get("conv_5/kernel"), b.get("conv_5/kernel"));
        assert_ne!(a.get("conv_5/kernel"), init_params(&tiny, 43).get("conv_5/kernel"));
    }
}
