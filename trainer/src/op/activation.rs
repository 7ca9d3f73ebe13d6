//! An activation alone.

use super::tensor::{from_values, operand, output, values, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use oxidet_compute::kernel::activation::{backward_in_place, forward_into};
use oxidet_graph::Activation;

/// `activation(x)`, any shape.
///
/// # Errors
/// When `x` is on the CPU and not f32.
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, Some(activation));
    }
    operand("activation", x)?.apply_op1(Pointwise(activation))
}

/// As [`activation`], of candle's operations. As in the kernels a NaN stays one, and at a kink the derivative is that of the
/// negative side; candle's `relu` would turn a NaN into 0 and pass the gradient at 0.
pub(super) fn composed(x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    match activation {
        None => Ok(x.clone()),
        Some(Activation::Relu) => x.le(0f32)?.where_cond(&x.zeros_like()?, x),
        Some(Activation::LeakyRelu) => {
            x.le(0f32)?.where_cond(&x.affine(f64::from(Activation::LEAKY_SLOPE), 0.0)?, x)
        }
        Some(Activation::Mish) => {
            // tanh(ln(1 + eˣ)) = n / (n + 2) with n = e²ˣ + 2eˣ, which is 1 from x = 20 on.
            let e = bounded(x.ge(20f32)?, x, 20.0)?.exp()?;
            let n = (&e * e.affine(1.0, 2.0)?)?;
            x * (&n / n.affine(1.0, 2.0)?)?
        }
        Some(Activation::Swish) => x.silu(),
        Some(Activation::Sigmoid) => {
            // e⁻ˣ must stay finite: in the backward pass an infinity meets a 0.
            bounded(x.le(-87f32)?, x, -87.0)?.neg()?.exp()?.affine(1.0, 1.0)?.recip()
        }
    }
}

/// `x`, but the constant `bound` where `beyond`. Candle's `clamp` would halve the gradient of an x on the bound.
fn bounded(beyond: Tensor, x: &Tensor, bound: f64) -> Result<Tensor> {
    beyond.where_cond(&x.ones_like()?.affine(bound, 0.0)?, x)
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
            let mut gx = gys.to_vec();
            backward_in_place(self.0, xs, &mut gx);
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
