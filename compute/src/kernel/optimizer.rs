//! Optimiser updates: one pass over parameter, gradient and state, regularisation included.

use super::activation::CHUNK;
use super::simd::{Simd, dispatch};
use super::sum::sums;
use rayon::prelude::*;

/// An update rule. The learning rate comes with every step, from the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Kingma and Ba 2015 with Keras' placement of ε:
    /// `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `p ← p − lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)`.
    Adam {
        /// β₁
        beta1: f32,
        /// β₂
        beta2: f32,
        /// ε
        epsilon: f32,
        /// Divide by the largest v so far instead of v (Reddi et al. 2018).
        amsgrad: bool,
    },
    /// `u ← μu − lr·g`, then `p ← p + u`, or with Nesterov's correction `p ← p + μu − lr·g`.
    Sgd {
        /// μ
        momentum: f32,
        /// Nesterov's correction.
        nesterov: bool,
    },
    /// TensorFlow's RMSProp: `s ← ρs + (1 − ρ)g²`, `u ← μu + lr · g / √(s − c² + ε)`, `p ← p − u`, where c is the running mean
    /// `c ← ρc + (1 − ρ)g` when centered and 0 otherwise.
    RmsProp {
        /// ρ
        rho: f32,
        /// μ
        momentum: f32,
        /// ε, under the root.
        epsilon: f32,
        /// Subtract the squared mean of the gradient, so that s − c² estimates its variance.
        centered: bool,
    },
}

/// Gradient of the regularisation terms `l1 · Σ|p| + l2 · Σp²`, added to the loss gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalty {
    /// Weight of the sum of magnitudes.
    pub l1: f32,
    /// Weight of the sum of squares (no ½).
    pub l2: f32,
}

/// An exponential moving average that follows a parameter: `a ← a·decay + p·(1 − decay)` with the parameter as it is after
/// the step.
#[derive(Debug)]
pub struct Average<'a> {
    /// As long as the parameter.
    pub values: &'a mut [f32],
    /// Share of itself that the average keeps.
    pub decay: f32,
}

impl Penalty {
    /// The penalty of some weights.
    pub fn of(self, weights: &[f32]) -> f64 {
        let [abs, square] = dispatch!(simd => simd.vectorize(
            #[inline(always)]
            || sums([weights], #[inline(always)] |[w]| [w.abs(), w * w]),
        ));
        f64::from(self.l1) * abs + f64::from(self.l2) * square
    }

    #[inline(always)]
    fn gradient(self, p: f32) -> f32 {
        let sign = f32::from(p > 0.0) - f32::from(p < 0.0);
        self.l1 * sign + 2.0 * self.l2 * p
    }
}

impl Rule {
    /// Names of the state buffers a parameter needs, each as long as the parameter and 0 at the start; in the order that
    /// [`Rule::update`] takes them. The names are those of checkpoints.
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Rule::Adam { amsgrad: false, .. } => &["m", "v"],
            Rule::Adam { amsgrad: true, .. } => &["m", "v", "v_max"],
            Rule::Sgd { .. } => &["momentum"],
            Rule::RmsProp { centered: false, .. } => &["square", "momentum"],
            Rule::RmsProp { centered: true, .. } => &["square", "momentum", "mean"],
        }
    }

    /// Moves `parameter` one step against `gradient` plus the penalty's gradient, and `average` after it, in one pass.
    /// `step` counts from 1.
    ///
    /// # Panics
    /// When `state` does not have the buffers of [`Rule::slots`], or a length differs.
    #[expect(clippy::too_many_arguments, reason = "all that one pass over a parameter reads")]
    pub fn update(
        &self,
        step: u64,
        learning_rate: f32,
        penalty: Penalty,
        parameter: &mut [f32],
        gradient: &[f32],
        state: &mut [Vec<f32>],
        average: Option<Average<'_>>,
    ) {
        assert!(
            average.as_ref().is_none_or(|average| average.values.len() == parameter.len()),
            "average length"
        );
        assert_eq!(state.len(), self.slots().len(), "state buffers of {self:?}");
        assert!(state.iter().all(|slot| slot.len() == parameter.len()), "state as long as the parameter");
        assert_eq!(gradient.len(), parameter.len());
        match (*self, state) {
            (Rule::Adam { beta1, beta2, epsilon, amsgrad: _ }, [m, v, v_max @ ..]) => {
                let (b1, b2, t) = (f64::from(beta1), f64::from(beta2), step as f64);
                let rate = f64::from(learning_rate) * (1.0 - b2.powf(t)).sqrt() / (1.0 - b1.powf(t));
                let rate = rate as f32;
                let moments = move |g: f32, m: &mut f32, v: &mut f32| {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                };
                match v_max {
                    [v_max] => sweep(
                        penalty,
                        parameter,
                        gradient,
                        average,
                        [m, v, v_max],
                        move |p, g, [m, v, v_max]| {
                            moments(g, m, v);
                            *v_max = if *v > *v_max { *v } else { *v_max };
                            *p -= rate * *m / (v_max.sqrt() + epsilon);
                        },
                    ),
                    _ => sweep(penalty, parameter, gradient, average, [m, v], move |p, g, [m, v]| {
                        moments(g, m, v);
                        *p -= rate * *m / (v.sqrt() + epsilon);
                    }),
                }
            }
            (Rule::Sgd { momentum, nesterov }, [u, ..]) => {
                sweep(penalty, parameter, gradient, average, [u], move |p, g, [u]| {
                    *u = momentum * *u - learning_rate * g;
                    *p += if nesterov { momentum * *u - learning_rate * g } else { *u };
                });
            }
            (Rule::RmsProp { rho, momentum, epsilon, centered: _ }, [s, u, mean @ ..]) => match mean {
                [c] => sweep(penalty, parameter, gradient, average, [s, u, c], move |p, g, [s, u, c]| {
                    *s = rho * *s + (1.0 - rho) * g * g;
                    *c = rho * *c + (1.0 - rho) * g;
                    *u = momentum * *u + learning_rate * g / (*s - *c * *c + epsilon).sqrt();
                    *p -= *u;
                }),
                _ => sweep(penalty, parameter, gradient, average, [s, u], move |p, g, [s, u]| {
                    *s = rho * *s + (1.0 - rho) * g * g;
                    *u = momentum * *u + learning_rate * g / (*s + epsilon).sqrt();
                    *p -= *u;
                }),
            },
            _ => unreachable!("the number of buffers is checked above"),
        }
    }
}

/// Calls `rule(parameter, gradient with penalty, state)` on every element.
fn sweep<const SLOTS: usize>(
    penalty: Penalty,
    parameter: &mut [f32],
    gradient: &[f32],
    average: Option<Average<'_>>,
    state: [&mut Vec<f32>; SLOTS],
    rule: impl Fn(&mut f32, f32, [&mut f32; SLOTS]) + Sync,
) {
    struct Task<'a> {
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        state: Vec<&'a mut [f32]>,
        average: Option<&'a mut [f32]>,
    }
    let decay = average.as_ref().map_or(0.0, |average| average.decay);
    let mut averages = average.map(|average| average.values.chunks_mut(CHUNK));
    let mut tasks: Vec<_> = parameter
        .chunks_mut(CHUNK)
        .zip(gradient.chunks(CHUNK))
        .map(|(parameter, gradient)| {
            let average = averages.as_mut().and_then(Iterator::next);
            Task { parameter, gradient, state: Vec::with_capacity(SLOTS), average }
        })
        .collect();
    for slot in state {
        for (task, chunk) in tasks.iter_mut().zip(slot.chunks_mut(CHUNK)) {
            task.state.push(chunk);
        }
    }
    dispatch!(simd => tasks.into_par_iter().for_each(|Task { parameter: p, gradient: g, state, average }| {
        let Ok(mut state) = <[&mut [f32]; SLOTS]>::try_from(state) else {
            unreachable!("every slot is as long as the parameter")
        };
        simd.vectorize(
            #[inline(always)]
            || {
                for i in 0..p.len().min(g.len()) {
                    let g = g[i] + penalty.gradient(p[i]);
                    rule(&mut p[i], g, state.each_mut().map(#[inline(always)] |slot| &mut slot[i]));
                }
                // The chunk is still in cache.
                if let Some(average) = average {
                    average.iter_mut().zip(p).for_each(|(a, p)| *a = *a * decay + *p * (1.0 - decay));
                }
            },
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::simd::forced::on_every_level;
    use crate::kernel::testing::values;

    fn rules() -> Vec<Rule> {
        let adam = |amsgrad| Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7, amsgrad };
        let sgd = |momentum, nesterov| Rule::Sgd { momentum, nesterov };
        let rms = |centered| Rule::RmsProp { rho: 0.9, momentum: 0.5, epsilon: 1e-3, centered };
        vec![adam(false), adam(true), sgd(0.0, false), sgd(0.9, false), sgd(0.9, true), rms(false), rms(true)]
    }

    #[test]
    fn penalties_are_sums_over_the_weights() {
        let weights = values(3, 5000);
        let penalty = Penalty { l1: 0.5, l2: 0.25 };
        let want: f64 = weights.iter().map(|w| f64::from(*w)).map(|w| 0.5 * w.abs() + 0.25 * w * w).sum();
        on_every_level(|level| {
            assert!((penalty.of(&weights) / want - 1.0).abs() < 1e-5, "{level}");
        });
    }

    /// The published formulas for one number, in f64.
    fn reference(rule: Rule, steps: &[f64], lr: f64, penalty: Penalty, mut p: f64) -> f64 {
        let (mut a, mut b, mut c) = (0.0, 0.0, 0.0f64);
        for (t, g) in (1..).zip(steps) {
            let sign = if p == 0.0 { 0.0 } else { p.signum() };
            let g = g + f64::from(penalty.l1) * sign + 2.0 * f64::from(penalty.l2) * p;
            match rule {
                Rule::Adam { beta1, beta2, epsilon, amsgrad } => {
                    let (b1, b2) = (f64::from(beta1), f64::from(beta2));
                    a = b1 * a + (1.0 - b1) * g;
                    b = b2 * b + (1.0 - b2) * g * g;
                    c = c.max(b);
                    let rate = lr * (1.0 - b2.powi(t)).sqrt() / (1.0 - b1.powi(t));
                    p -= rate * a / ((if amsgrad { c } else { b }).sqrt() + f64::from(epsilon));
                }
                Rule::Sgd { momentum, nesterov } => {
                    a = f64::from(momentum) * a - lr * g;
                    p += if nesterov { f64::from(momentum) * a - lr * g } else { a };
                }
                Rule::RmsProp { rho, momentum, epsilon, centered } => {
                    let rho = f64::from(rho);
                    a = rho * a + (1.0 - rho) * g * g;
                    c = if centered { rho * c + (1.0 - rho) * g } else { 0.0 };
                    b = f64::from(momentum) * b + lr * g / (a - c * c + f64::from(epsilon)).sqrt();
                    p -= b;
                }
            }
        }
        p
    }

    #[test]
    fn every_rule_follows_its_formula() {
        const LEN: usize = CHUNK + 37;
        let start = values(1, LEN);
        // Gradients shrink, so that the largest second moment is not the latest.
        let gradients: Vec<Vec<f32>> =
            (0..4u64).map(|t| values(2 + t, LEN).iter().map(|g| g / (1 + t * t) as f32).collect()).collect();
        on_every_level(|level| {
            for rule in rules() {
                for penalty in
                    [Penalty::default(), Penalty { l1: 0.01, l2: 0.0 }, Penalty { l1: 0.0, l2: 0.02 }]
                {
                    let mut p = start.clone();
                    let mut state = vec![vec![0.0; LEN]; rule.slots().len()];
                    for (step, gradient) in (1..).zip(&gradients) {
                        rule.update(step, 0.01, penalty, &mut p, gradient, &mut state, None);
                    }
                    for i in (0..LEN).step_by(97).chain(LEN - 5..LEN) {
                        let steps: Vec<f64> = gradients.iter().map(|g| f64::from(g[i])).collect();
                        let want = reference(rule, &steps, 0.01f32.into(), penalty, start[i].into());
                        assert!(
                            (f64::from(p[i]) - want).abs() < 2e-5,
                            "{level} {rule:?} {penalty:?}: {} {want}",
                            p[i]
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn an_average_follows_the_moved_parameter_and_changes_nothing_else() {
        const LEN: usize = 2 * CHUNK + 5;
        let (start, gradient) = (values(1, LEN), values(2, LEN));
        on_every_level(|level| {
            for rule in rules() {
                let slots = vec![vec![0.0; LEN]; rule.slots().len()];
                let (mut alone, mut p) = (start.clone(), start.clone());
                let (mut alone_state, mut state) = (slots.clone(), slots);
                let mut average = vec![0.5; LEN];
                let mut want = vec![0.5f64; LEN];
                for (step, decay) in [(1, 0.25), (2, 0.9)] {
                    rule.update(step, 0.1, Penalty::default(), &mut alone, &gradient, &mut alone_state, None);
                    let follow = Some(Average { values: &mut average, decay });
                    rule.update(step, 0.1, Penalty::default(), &mut p, &gradient, &mut state, follow);
                    let d = f64::from(decay);
                    want.iter_mut().zip(&p).for_each(|(a, p)| *a = *a * d + f64::from(*p) * (1.0 - d));
                }
                assert!(p == alone && state == alone_state, "{level} {rule:?}");
                let close = average.iter().zip(&want).all(|(a, want)| (f64::from(*a) - want).abs() < 1e-6);
                assert!(close, "{level} {rule:?}");
            }
        });
    }

    #[test]
    fn a_parameter_at_zero_has_no_l1_gradient() {
        let mut p = [0.0];
        let rule = Rule::Sgd { momentum: 0.0, nesterov: false };
        rule.update(1, 1.0, Penalty { l1: 0.5, l2: 0.5 }, &mut p, &[0.0], &mut [vec![0.0]], None);
        assert_eq!(p, [0.0]);
    }
}
