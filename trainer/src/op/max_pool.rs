//! Max-pooling.

use super::tensor::{from_values, operand, output, sizes, values, with_values};
use super::windows;
use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor};
use oxidet_compute::kernel::Store;
use oxidet_compute::kernel::max_pool::{Geometry, backward_into, forward_into};
use oxidet_graph::{MaxPool, Padding};
use std::sync::Mutex;

/// The largest value of every window of `x`, `[N, C, H, W]`; cells outside the map count as −∞.
///
/// # Errors
/// When the window does not fit, or `x` is on the CPU and not f32.
pub fn max_pool(x: &Tensor, window: &MaxPool) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, window);
    }
    let geometry = geometry(x, window)?;
    operand("max_pool", x)?.apply_op1(Pool { geometry, winners: Mutex::default() })
}

fn geometry(x: &Tensor, window: &MaxPool) -> Result<Geometry> {
    let [n, channels, height, width] = sizes(x.shape())?;
    Geometry::new(n * channels, height, width, window).map_err(Error::wrap)
}

/// As [`max_pool`], of candle's operations: columns first, then rows, like the kernel.
pub(super) fn composed(x: &Tensor, window: &MaxPool) -> Result<Tensor> {
    let geometry = geometry(x, window)?;
    let Padding { top, left, .. } = window.padding;
    let columns = largest(x, 3, left, geometry.out_width(), window)?;
    largest(&columns, 2, top, geometry.out_height(), window)
}

/// The largest cell of each of `count` windows along `dim`, the first of which starts `before` cells in front of the map.
fn largest(x: &Tensor, dim: usize, before: usize, count: usize, window: &MaxPool) -> Result<Tensor> {
    let MaxPool { kernel, stride, .. } = *window;
    let x = windows::fit(x, dim, before, windows::span(count, kernel, stride), f32::NEG_INFINITY)?;
    let mut best = windows::every(&x, dim, 0, stride, count)?;
    for place in 1..kernel {
        let cell = windows::every(&x, dim, place, stride, count)?;
        // The kernel's rule: a later cell wins when larger or NaN. Candle's `maximum` would lose a NaN and share the
        // gradient between equal cells, which after a ReLU many are.
        let wins = (cell.gt(&best)? + cell.ne(&cell)?)?;
        best = wins.where_cond(&cell, &best)?;
    }
    Ok(best)
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
            backward_into(&self.geometry, &winners, gy, &mut gx, Store::Replace);
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
