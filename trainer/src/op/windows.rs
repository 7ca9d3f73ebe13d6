//! Windows sliding over one dimension of a map, for operations composed of candle's own.

use candle_core::{Result, Tensor};

/// Cells from the first to the last that `count` windows of `kernel` cells, `stride` apart, reach.
pub(super) fn span(count: usize, kernel: usize, stride: usize) -> usize {
    (count - 1) * stride + kernel
}

/// `x` behind `before` cells of `value`, made `len` cells long in `dim`: cut, or filled up with `value`.
pub(super) fn fit(x: &Tensor, dim: usize, before: usize, len: usize, value: f32) -> Result<Tensor> {
    let before = before.min(len);
    let taken = x.dim(dim)?.min(len - before);
    let margin = |cells: usize| {
        let mut shape = x.dims().to_vec();
        shape[dim] = cells;
        Tensor::full(value, shape, x.device())?.to_dtype(x.dtype())
    };
    let mut parts = Vec::new();
    if before > 0 {
        parts.push(margin(before)?);
    }
    if taken > 0 {
        parts.push(x.narrow(dim, 0, taken)?);
    }
    if before + taken < len {
        parts.push(margin(len - before - taken)?);
    }
    Tensor::cat(&parts, dim)
}

/// The cells `start`, `start + stride`, … of `x` in `dim`, `count` of them.
pub(super) fn every(x: &Tensor, dim: usize, start: usize, stride: usize, count: usize) -> Result<Tensor> {
    let cells = x.narrow(dim, start, (count - 1) * stride + 1)?;
    if stride == 1 {
        return Ok(cells);
    }
    let mut shape = x.dims().to_vec();
    shape[dim] = stride;
    shape.insert(dim, count);
    cells.pad_with_zeros(dim, 0, stride - 1)?.reshape(shape)?.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)
}
