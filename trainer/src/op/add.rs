//! Residual sums.

use super::activation;
use super::tensor::{from_values, operand, output, values, with_values};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use oxidet_compute::kernel::activation::backward_in_place;
use oxidet_compute::kernel::add::forward_into;
use oxidet_graph::Activation;

/// `x + y`, of one shape.
///
/// # Errors
/// When the shapes or devices differ, or a tensor on the CPU is not f32.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    node(x, y, None)
}

/// `activation(x + y)` as one node.
///
/// # Errors
/// When the shapes or devices differ, or a tensor on the CPU is not f32.
pub fn add_activate(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    node(x, y, Some(activation))
}

fn node(x: &Tensor, y: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    if x.shape() != y.shape() {
        bail!("add: shapes {:?} and {:?} differ", x.shape(), y.shape());
    }
    if !x.device().is_cpu() {
        return composed(x, y, activation);
    }
    operand("add", x)?.apply_op2(&operand("add", y)?, Add { activation })
}

/// The same of candle's operations.
pub(super) fn composed(x: &Tensor, y: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    activation::composed(&(x + y)?, activation)
}

struct Add {
    activation: Option<Activation>,
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, y) = (values(self.name(), x, xl)?, values(self.name(), y, yl)?);
        let mut sum = output(x.len());
        forward_into(self.activation, x, y, &mut sum);
        Ok((CpuStorage::F32(sum), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = match self.activation {
            None => gy.clone(),
            Some(activation) => with_values(self.name(), [x, y, gy], |[xs, ys, gys]| {
                let mut sum = output(xs.len());
                forward_into(None, xs, ys, &mut sum);
                let mut gradient = gys.to_vec();
                backward_in_place(activation, &sum, &mut gradient);
                from_values(gradient, x.shape())
            })?,
        };
        Ok((Some(gradient.clone()), Some(gradient)))
    }
}
