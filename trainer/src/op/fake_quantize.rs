//! Rounding to INT8, with gradients that go straight through, of operations that candle has on every device.

use candle_core::{Result, Tensor};
use oxidet_graph::quantization::{LEVELS, step};

/// 1.5 · 2²³: adding it leaves no bits for fractions, and rounds half to even.
const ROUND: f64 = 12_582_912.0;

/// A map rounded to the steps of the range ±`amax`.
///
/// # Errors
/// When `x` is not f32.
pub fn fake_quantize(x: &Tensor, amax: f32) -> Result<Tensor> {
    let step = Tensor::new(step(amax), x.device())?;
    let values = x.detach();
    let codes = values.broadcast_div(&step)?.clamp(-128f32, 127f32)?;
    straight_through(x, &rounded(&codes)?.broadcast_mul(&step)?)
}

/// A kernel `[out, in / groups, k, k]` with each filter rounded to its own steps.
///
/// # Errors
/// When `kernel` is not f32.
pub fn fake_quantize_kernel(kernel: &Tensor) -> Result<Tensor> {
    let values = kernel.detach();
    let filters = values.dim(0)?;
    let largest = values.abs()?.reshape((filters, ()))?.max_keepdim(1)?.reshape((filters, 1, 1, 1))?;
    let levels = Tensor::new(LEVELS, values.device())?;
    let steps = largest.broadcast_div(&levels)?;
    // Of a filter of zeros any step will do.
    let steps = steps.gt(f32::MIN_POSITIVE)?.where_cond(&steps, &steps.ones_like()?)?;
    straight_through(kernel, &rounded(&values.broadcast_div(&steps)?)?.broadcast_mul(&steps)?)
}

fn rounded(codes: &Tensor) -> Result<Tensor> {
    codes.affine(1.0, ROUND)?.affine(1.0, -ROUND)
}

/// The values of `rounded` with the gradient of `x`.
fn straight_through(x: &Tensor, rounded: &Tensor) -> Result<Tensor> {
    (x - x.detach())? + rounded
}
