//! The moving average of a network's weights (`model_ema`): what is validated, saved and shipped in their place.

use oxidet_graph::Params;

use oxidet_compute::kernel::optimizer::Average;

/// An exponential moving average of all parameters, running statistics included.
#[derive(Clone, Debug, PartialEq)]
pub struct MovingAverage {
    params: Params,
}

/// Share of itself that the average keeps in step `step`, counted from 1: `0.999 · (1 − e^(−step / 2000))`, so that it forgets
/// the start of a run quickly.
pub fn decay(step: u64) -> f64 {
    0.999 * (1.0 - (-(step as f64) / 2000.0).exp())
}

impl MovingAverage {
    /// Starts from `params`.
    pub fn new(params: Params) -> Self {
        Self { params }
    }

    /// The average as it stands.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// What moves along with the parameter of this name in step `step`.
    pub(crate) fn of(&mut self, name: &str, step: u64) -> Option<Average<'_>> {
        let values = self.params.get_mut(name)?.data_mut();
        Some(Average { values, decay: decay(step) as f32 })
    }

    /// Follows parameters that no optimiser moves, such as running statistics.
    pub(crate) fn follow(&mut self, params: &Params, step: u64) {
        for (name, tensor) in params.iter() {
            if let Some(Average { values, decay }) = self.of(name, step) {
                values.iter_mut().zip(tensor.data()).for_each(|(a, p)| *a = *a * decay + *p * (1.0 - decay));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by the original.
    #[test]
    fn golden_decays() {
        for (step, want) in [(1, 4.99375e-4), (2000, 0.6314884), (10_000, 0.9922688)] {
            assert!((decay(step) / want - 1.0).abs() < 1e-6, "{step}: {}", decay(step));
        }
    }
}
