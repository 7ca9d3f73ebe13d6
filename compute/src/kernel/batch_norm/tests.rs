use super::*;
use crate::kernel::simd::forced::on_every_level;
use crate::kernel::testing::{activation_f64, activations, on_thread_counts, relative_error, values};

const EPSILON: f32 = 1e-3;

struct Case {
    channels: usize,
    pixels: usize,
    input: Vec<f32>,
    gradient: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Case {
    fn new(images: usize, channels: usize, pixels: usize) -> Self {
        let len = images * channels * pixels;
        // Means far from 0 against the spread, where a naive variance cancels.
        let input = values(1, len)
            .iter()
            .enumerate()
            .map(|(i, v)| v + 20.0 * (i / pixels % channels) as f32)
            .collect();
        let gamma = values(3, channels).iter().map(|v| v + 1.5).collect();
        Self { channels, pixels, input, gradient: values(2, len), gamma, beta: values(4, channels) }
    }

    fn norm(&self, activation: Option<Activation>) -> Normalization<'_> {
        Normalization {
            pixels: self.pixels,
            gamma: &self.gamma,
            beta: &self.beta,
            epsilon: EPSILON,
            activation,
        }
    }

    fn channel_of(&self, i: usize) -> usize {
        i / self.pixels % self.channels
    }

    fn per_channel(&self, term: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.channels];
        (0..self.input.len()).for_each(|i| sums[self.channel_of(i)] += term(i));
        sums
    }

    fn count(&self) -> f64 {
        (self.input.len() / self.channels) as f64
    }

    fn statistics(&self, input: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mean: Vec<f64> = self.per_channel(|i| input[i]).iter().map(|s| s / self.count()).collect();
        let squares = self.per_channel(|i| (input[i] - mean[self.channel_of(i)]).powi(2));
        (mean, squares.iter().map(|s| s / self.count()).collect())
    }

    /// Σ gradient · output, for given statistics or those of the input.
    fn objective(
        &self,
        activation: Option<Activation>,
        fixed: Option<(&[f64], &[f64])>,
        input: &[f64],
        gamma: &[f64],
        beta: &[f64],
    ) -> f64 {
        let own = self.statistics(input);
        let (mean, variance) = fixed.unwrap_or((&own.0, &own.1));
        let epsilon = f64::from(EPSILON);
        (0..input.len())
            .map(|i| {
                let c = self.channel_of(i);
                let z = (input[i] - mean[c]) / (variance[c] + epsilon).sqrt() * gamma[c] + beta[c];
                activation_f64(activation, z).0 * f64::from(self.gradient[i])
            })
            .sum()
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Central differences of `objective` at the numbered coordinates of `at`.
fn differences(at: &[f64], coordinates: &[usize], objective: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    coordinates
        .iter()
        .map(|&i| {
            let moved = |by: f64| {
                let mut point = at.to_vec();
                point[i] += by;
                objective(&point)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect()
}

#[test]
fn training_statistics_and_output_match_f64() {
    on_every_level(|level| {
        for (images, channels, pixels) in [(1, 1, 1), (2, 3, 1), (1, 17, 35), (3, 5, 91), (2, 2, 9000)] {
            let case = Case::new(images, channels, pixels);
            let (mean, variance) = case.statistics(&wide(&case.input));
            for activation in activations().map(Some).into_iter().chain([None]) {
                let mut output = vec![f32::NAN; case.input.len()];
                let stats = train_forward_into(&case.norm(activation), &case.input, &mut output);
                assert!(relative_error(&stats.mean, &mean) < 1e-6, "{level} mean");
                assert!(relative_error(&stats.population_variance, &variance) < 1e-5, "{level} variance");
                let unbiased = case.count() / (case.count() - 1.0).max(1.0);
                let want: Vec<f64> = variance.iter().map(|v| v * unbiased).collect();
                assert!(relative_error(&stats.unbiased_variance, &want) < 1e-5, "{level} unbiased");
                let want: Vec<f64> = (0..output.len())
                    .map(|i| {
                        let c = case.channel_of(i);
                        let x =
                            (f64::from(case.input[i]) - mean[c]) / (variance[c] + f64::from(EPSILON)).sqrt();
                        activation_f64(activation, x * f64::from(case.gamma[c]) + f64::from(case.beta[c])).0
                    })
                    .collect();
                let error = relative_error(&output, &want);
                assert!(error < 2e-5, "{level} {activation:?} {images}×{channels}×{pixels}: {error:.1e}");
            }
        }
    });
}

/// Finite differences in f64, through the statistics and the activation.
#[test]
fn gradients_match_finite_differences() {
    let case = Case::new(2, 3, 21);
    let (input, gamma, beta) = (wide(&case.input), wide(&case.gamma), wide(&case.beta));
    let (fixed_mean, fixed_variance) = ([0.3f32, 19.5, 41.0], [0.5f32, 0.2, 1.5]);
    let fixed = (wide(&fixed_mean), wide(&fixed_variance));
    let some: Vec<usize> = (0..input.len()).step_by(5).collect();
    let all: Vec<usize> = (0..3).collect();
    on_every_level(|level| {
        for activation in activations().map(Some).into_iter().chain([None]) {
            let norm = case.norm(activation);
            for frozen in [false, true] {
                let mut output = vec![f32::NAN; input.len()];
                let mut gx = case.gradient.clone();
                let affine = if frozen {
                    frozen_forward_into(&norm, &fixed_mean, &fixed_variance, &case.input, &mut output);
                    frozen_backward_in_place(&norm, &fixed_mean, &fixed_variance, &case.input, &mut gx)
                } else {
                    let stats = train_forward_into(&norm, &case.input, &mut output);
                    train_backward_in_place(&norm, &stats, &case.input, &mut gx)
                };
                let fixed = frozen.then_some((&fixed.0[..], &fixed.1[..]));
                let objective = |x: &[f64], g: &[f64], b: &[f64]| case.objective(activation, fixed, x, g, b);
                let sum: f64 =
                    output.iter().zip(&case.gradient).map(|(y, g)| f64::from(*y) * f64::from(*g)).sum();
                assert!(
                    (sum - objective(&input, &gamma, &beta)).abs() < 1e-3,
                    "{level} {activation:?} {frozen}"
                );
                let got: Vec<f32> = some.iter().map(|i| gx[*i]).collect();
                let checks = [
                    (got, differences(&input, &some, |x| objective(x, &gamma, &beta))),
                    (affine.gamma, differences(&gamma, &all, |g| objective(&input, g, &beta))),
                    (affine.beta, differences(&beta, &all, |b| objective(&input, &gamma, b))),
                ];
                for ((got, want), name) in checks.iter().zip(["input", "gamma", "beta"]) {
                    let error = relative_error(got, want);
                    assert!(error < 1e-4, "{level} {activation:?} frozen {frozen} {name}: {error:.1e}");
                }
            }
        }
    });
}

#[test]
fn threads_do_not_change_results() {
    let case = Case::new(3, 7, 5000);
    let norm = case.norm(Some(Activation::Mish));
    on_thread_counts(|| {
        let (mut y, mut gx) = (vec![0.0; case.input.len()], case.gradient.clone());
        let stats = train_forward_into(&norm, &case.input, &mut y);
        let affine = train_backward_in_place(&norm, &stats, &case.input, &mut gx);
        [y, gx, stats.mean, stats.unbiased_variance, affine.gamma, affine.beta].concat()
    });
}
