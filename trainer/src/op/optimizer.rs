//! Optimiser updates of parameters, in place.

use super::tensor::{operand, values};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use oxidet_compute::kernel::optimizer::{Average, Penalty, Rule};
use std::sync::Mutex;

/// Moves `parameter` (a contiguous f32 variable) one step of `rule` against `gradient` plus the gradient of
/// `penalty`. `step` counts from 1; `state` holds the buffers of [`Rule::slots`], as long as the parameter.
///
/// The state is on the host, and so is the update: a parameter elsewhere, and its gradient, are brought to the host and the
/// parameter is written back. So is `average`, which follows the parameter.
///
/// # Errors
/// When shapes or state do not fit, or a tensor is not f32.
#[expect(clippy::too_many_arguments, reason = "all that one pass over a parameter reads")]
pub fn update(
    parameter: &Tensor,
    gradient: &Tensor,
    rule: &Rule,
    step: u64,
    learning_rate: f32,
    penalty: Penalty,
    state: &mut [Vec<f32>],
    average: Option<Average<'_>>,
) -> Result<()> {
    let len = parameter.elem_count();
    if parameter.shape() != gradient.shape() {
        bail!(
            "update: a gradient of shape {:?} for a parameter of {:?}",
            gradient.shape(),
            parameter.shape()
        );
    }
    if state.len() != rule.slots().len() || state.iter().any(|slot| slot.len() != len) {
        bail!("update: the state does not belong to a parameter of {len} values and {rule:?}");
    }
    if average.as_ref().is_some_and(|average| average.values.len() != len) {
        bail!("update: the moving average does not belong to a parameter of {len} values");
    }
    if !parameter.device().is_cpu() {
        return on_host(parameter, gradient, |p, g| {
            rule.update(step, learning_rate, penalty, p, g, state, average);
        });
    }
    let op = Update { rule, step, learning_rate, penalty, state: Mutex::new((state, average)) };
    parameter.inplace_op2(&operand("update", gradient)?, &op)
}

/// Changes `parameter`, wherever it is, by `change` of its values and those of `gradient`.
pub(super) fn on_host(
    parameter: &Tensor,
    gradient: &Tensor,
    change: impl FnOnce(&mut [f32], &[f32]),
) -> Result<()> {
    let mut values = parameter.flatten_all()?.to_vec1::<f32>()?;
    change(&mut values, &gradient.flatten_all()?.to_vec1::<f32>()?);
    // Unlike a `Var`'s `set` this reaches the storage of any contiguous tensor, as the kernel does, and refuses others.
    parameter.slice_set(&Tensor::from_vec(values, parameter.shape(), parameter.device())?, 0, 0)
}

struct Update<'a> {
    rule: &'a Rule,
    step: u64,
    learning_rate: f32,
    penalty: Penalty,
    state: Mutex<(&'a mut [Vec<f32>], Option<Average<'a>>)>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        pl: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<()> {
        let gradient = values(self.name(), gradient, gl)?;
        let (CpuStorage::F32(parameter), Some((from, to))) = (parameter, pl.contiguous_offsets()) else {
            bail!("update: the parameter is not a contiguous f32 tensor");
        };
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (state, average) = &mut *state;
        self.rule.update(
            self.step,
            self.learning_rate,
            self.penalty,
            &mut parameter[from..to],
            gradient,
            state,
            average.take(),
        );
        Ok(())
    }
}
