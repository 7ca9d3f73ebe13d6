//! What the kernels' tests share: test values, f64 closed forms, runs on several thread counts.

use oxidet_graph::Activation;

/// Reproducible values in [−1, 1).
pub(super) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(super) fn activations() -> [Activation; 5] {
    [Activation::Relu, Activation::LeakyRelu, Activation::Mish, Activation::Swish, Activation::Sigmoid]
}

/// Value and derivative by the textbook formulas.
pub(super) fn activation_f64(activation: Option<Activation>, x: f64) -> (f64, f64) {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match activation {
        None => (x, 1.0),
        Some(Activation::Relu) => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
        Some(Activation::LeakyRelu) => {
            let slope = if x > 0.0 { 1.0 } else { f64::from(Activation::LEAKY_SLOPE) };
            (x * slope, slope)
        }
        Some(Activation::Mish) => {
            let t = x.exp().ln_1p().tanh();
            (x * t, t + x * (1.0 - t * t) * sigmoid)
        }
        Some(Activation::Swish) => (x * sigmoid, sigmoid + x * sigmoid * (1.0 - sigmoid)),
        Some(Activation::Sigmoid) => (sigmoid, sigmoid * (1.0 - sigmoid)),
    }
}

/// Largest distance between `got` and `want`, as a share of the largest magnitude of `want`.
pub(super) fn relative_error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-30, |m: f64, w| m.max(w.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs());
    // Not `max`, which drops NaN.
    worst.fold(0.0, |m: f64, e| if e <= m { m } else { e }) / scale
}

/// Runs `body` on 1, 2 and 4 threads and checks that the results agree to the last bit.
pub(super) fn on_thread_counts(body: impl Fn() -> Vec<f32> + Sync) {
    let results: Vec<Vec<u32>> = [1, 2, 4]
        .iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(*threads).build().unwrap();
            pool.install(&body).iter().map(|v| v.to_bits()).collect()
        })
        .collect();
    assert!(results[0] == results[1] && results[0] == results[2], "results depend on the number of threads");
}
