//! Joining and taking apart channels.

use super::tensor::{from_values, operand, output, sizes, values, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use oxidet_compute::kernel::Store;
use oxidet_compute::kernel::channels::{slice_backward_into, slice_into};

/// The channels of `maps`, `[N, C, H, W]` each, one after another.
///
/// # Errors
/// When there is no map, or other sizes than the channels, or devices, differ.
pub fn concat(maps: &[&Tensor]) -> Result<Tensor> {
    let maps: Vec<Tensor> = maps.iter().map(|map| map.contiguous()).collect::<Result<_>>()?;
    Tensor::cat(&maps, 1)
}

/// Channels `start .. start + len` of `x`, `[N, C, H, W]`.
///
/// # Errors
/// When there are no such channels, or `x` is on the CPU and not f32.
pub fn channel_slice(x: &Tensor, start: usize, len: usize) -> Result<Tensor> {
    let [_, channels, height, width] = sizes(x.shape())?;
    if len == 0 || start.checked_add(len).is_none_or(|end| end > channels) || height * width == 0 {
        bail!("channel_slice: no channels {start} to {start} + {len} in shape {:?}", x.shape());
    }
    if !x.device().is_cpu() {
        return x.narrow(1, start, len);
    }
    operand("channel_slice", x)?.apply_op1(ChannelSlice { start, len })
}

struct ChannelSlice {
    start: usize,
    len: usize,
}

impl CustomOp1 for ChannelSlice {
    fn name(&self) -> &'static str {
        "channel_slice"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let [n, channels, height, width] = sizes(layout.shape())?;
        let pixels = height * width;
        let mut y = output(n * self.len * pixels);
        let x = values(self.name(), x, layout)?;
        slice_into(x, channels * pixels, self.start * pixels, self.len * pixels, &mut y, Store::Replace);
        Ok((CpuStorage::F32(y), (n, self.len, height, width).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gy: &Tensor) -> Result<Option<Tensor>> {
        let [_, channels, height, width] = sizes(x.shape())?;
        let pixels = height * width;
        with_values(self.name(), [gy], |[gy]| {
            let mut gx = output(x.elem_count());
            slice_backward_into(
                gy,
                channels * pixels,
                self.start * pixels,
                self.len * pixels,
                &mut gx,
                Store::Replace,
            );
            Ok(Some(from_values(gx, x.shape())?))
        })
    }
}
