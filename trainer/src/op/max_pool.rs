//! Max-pooling.

use super::tensor::{from_values, operand, output, sizes, values, with_values};
use crate::kernel::max_pool::{Geometry, backward_into, forward_into};
use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor};
use oxidet_graph::MaxPool;
use std::sync::Mutex;

/// The largest value of every window of `x`, `[N, C, H, W]`; cells outside the map count as −∞.
///
/// # Errors
/// When the window does not fit, or `x` is not f32 on the CPU.
pub fn max_pool(x: &Tensor, window: &MaxPool) -> Result<Tensor> {
    let [n, channels, height, width] = sizes(x.shape())?;
    let geometry = Geometry::new(n * channels, height, width, window).map_err(Error::wrap)?;
    operand("max_pool", x)?.apply_op1(Pool { geometry, winners: Mutex::default() })
}

struct Pool {
    geometry: Geometry,
    /// Where in its window each output was found.
    winners: Mutex<Vec<u16>>,
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, channels, ..] = sizes(layout.shape())?;
        let shape = Shape::from((n, channels, self.geometry.out_height(), self.geometry.out_width()));
        let mut y = output(shape.elem_count());
        let mut winners = vec![0; y.len()];
        forward_into(&self.geometry, values(self.name(), x, layout)?, &mut y, &mut winners);
        *self.winners.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = winners;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gy: &Tensor) -> Result<Option<Tensor>> {
        let winners = self.winners.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        with_values(self.name(), [gy], |[gy]| {
            let mut gx = output(x.elem_count());
            backward_into(&self.geometry, &winners, gy, &mut gx);
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
