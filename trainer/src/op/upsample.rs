//! Nearest-neighbour enlargement.

use super::tensor::{from_values, operand, output, sizes, values, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use oxidet_compute::kernel::Store;
use oxidet_compute::kernel::upsample::{backward_into, forward_into};

/// Every cell of `x`, `[N, C, H, W]`, as a block of `factor × factor` cells.
///
/// # Errors
/// When `factor` is 0, `x` is empty, or `x` is on the CPU and not f32.
pub fn upsample(x: &Tensor, factor: usize) -> Result<Tensor> {
    if factor == 0 || x.elem_count() == 0 {
        bail!("upsample: shape {:?} by factor {factor}", x.shape());
    }
    if !x.device().is_cpu() {
        return composed(x, factor);
    }
    operand("upsample", x)?.apply_op1(Upsample { factor })
}

/// As [`upsample`], of candle's operations, by repeating rows and columns.
pub(super) fn composed(x: &Tensor, factor: usize) -> Result<Tensor> {
    let [n, channels, height, width] = sizes(x.shape())?;
    let rows = n * channels * height;
    let blocks = x.reshape((rows, 1, width, 1))?.broadcast_as((rows, factor, width, factor))?;
    blocks.reshape((n, channels, height * factor, width * factor))
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
            backward_into(self.factor, width, gy, &mut gx, Store::Replace);
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
