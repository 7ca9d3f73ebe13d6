//! An activation alone.

use super::tensor::{from_values, operand, output, values, with_values};
use crate::kernel::activation::{backward_into, forward_into};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use oxidet_graph::Activation;

/// `activation(x)`, any shape.
///
/// # Errors
/// When `x` is not f32 on the CPU.
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    operand("activation", x)?.apply_op1(Pointwise(activation))
}

struct Pointwise(Activation);

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(self.name(), x, layout)?;
        let mut y = output(x.len());
        forward_into(self.0, x, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gy: &Tensor) -> Result<Option<Tensor>> {
        with_values(self.name(), [x, gy], |[xs, gys]| {
            let mut gx = output(xs.len());
            backward_into(self.0, xs, gys, &mut gx);
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
