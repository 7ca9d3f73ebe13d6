//! Nearest-neighbour enlargement.

use super::tensor::{from_values, operand, output, sizes, values, with_values};
use crate::kernel::upsample::{backward_into, forward_into};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// Every cell of `x`, `[N, C, H, W]`, as a block of `factor × factor` cells.
///
/// # Errors
/// When `factor` is 0, or `x` is empty or not f32 on the CPU.
pub fn upsample(x: &Tensor, factor: usize) -> Result<Tensor> {
    if factor == 0 || x.elem_count() == 0 {
        bail!("upsample: shape {:?} by factor {factor}", x.shape());
    }
    operand("upsample", x)?.apply_op1(Upsample { factor })
}

struct Upsample {
    factor: usize,
}

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, channels, height, width] = sizes(layout.shape())?;
        let shape = Shape::from((n, channels, height * self.factor, width * self.factor));
        let mut y = output(shape.elem_count());
        forward_into(self.factor, width, values(self.name(), x, layout)?, &mut y);
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gy: &Tensor) -> Result<Option<Tensor>> {
        let [.., width] = sizes(x.shape())?;
        with_values(self.name(), [gy], |[gy]| {
            let mut gx = output(x.elem_count());
            backward_into(self.factor, width, gy, &mut gx);
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
