//! Optimiser updates of parameters, in place.

use super::tensor::{operand, values};
use crate::kernel::optimizer::{Penalty, Rule};
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use std::sync::Mutex;

/// Moves `parameter` (a contiguous f32 variable on the CPU) one step of `rule` against `gradient` plus the gradient of
/// `penalty`. `step` counts from 1; `state` holds the buffers of [`Rule::slots`], as long as the parameter.
///
/// # Errors
/// When shapes or state do not fit.
pub fn update(
    parameter: &Tensor,
    gradient: &Tensor,
    rule: &Rule,
    step: u64,
    learning_rate: f32,
    penalty: Penalty,
    state: &mut [Vec<f32>],
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
    let op = Update { rule, step, learning_rate, penalty, state: Mutex::new(state) };
    parameter.inplace_op2(&operand("update", gradient)?, &op)
}

struct Update<'a> {
    rule: &'a Rule,
    step: u64,
    learning_rate: f32,
    penalty: Penalty,
    state: Mutex<&'a mut [Vec<f32>]>,
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
        self.rule.update(
            self.step,
            self.learning_rate,
            self.penalty,
            &mut parameter[from..to],
            gradient,
            &mut state,
        );
        Ok(())
    }
}
