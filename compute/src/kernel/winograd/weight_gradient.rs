//! Weight gradient: per frequency a product over tiles, `[output][tile] · [tile][input]`, transformed back tile by tile while
//! it is in cache. Here a lane is a channel, so maps are interleaved first.

use super::transform::{self, both_ways};
use super::{Block, FREQUENCIES, SKEW, Tiling};
use crate::kernel::conv::Geometry;
use crate::kernel::memory::{Scratch, SharedOut};
use crate::kernel::simd::Simd;
use rayon::prelude::*;

/// See [`crate::kernel::conv::weight_gradient_into`].
pub(in crate::kernel) fn weight_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let tiling = Tiling::new(geometry);
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    let (column_blocks, panels) = (inputs.div_ceil(S::TILE_COLUMNS), outputs.div_ceil(S::TILE_ROWS));
    // Output channels are transformed a vector at a time: one or two panels.
    let group_panels = S::LANES / S::TILE_ROWS;
    let groups = panels.div_ceil(group_panels);
    let most = tiling.block_rows * tiling.across;
    let (in_pitch, out_pitch) =
        (column_blocks * most * S::TILE_COLUMNS + SKEW, groups * group_panels * most * S::TILE_ROWS + SKEW);
    let mut inputs_transformed = Scratch::take(FREQUENCIES * in_pitch);
    let mut gradients_transformed = Scratch::take(FREQUENCIES * out_pitch);
    weight_gradient.fill(0.0);
    let gradient = SharedOut::new(weight_gradient);
    for (first_row, rows) in tiling.blocks() {
        let block = Block { tiling: &tiling, first_row, rows };
        let in_target = SharedOut::new(&mut inputs_transformed);
        let out_target = SharedOut::new(&mut gradients_transformed);
        (0..column_blocks + groups).into_par_iter().for_each(|task| {
            if task < column_blocks {
                let channels = (task * S::TILE_COLUMNS, inputs);
                transform_columns(simd, &block, input, channels, in_target, (task * most, in_pitch));
            } else {
                let panel = (task - column_blocks) * group_panels;
                let channels = (panel * S::TILE_ROWS, outputs);
                transform_panels(
                    simd,
                    &block,
                    output_gradient,
                    channels,
                    out_target,
                    (panel, most, out_pitch),
                );
            }
        });
        (0..column_blocks * panels).into_par_iter().for_each(|task| {
            let (column_block, panel) = (task / panels, task % panels);
            let tile_size = S::TILE_ROWS * S::TILE_COLUMNS;
            let mut products = Scratch::take(FREQUENCIES * tile_size);
            for (f, product) in products.chunks_mut(tile_size).enumerate() {
                let a = &gradients_transformed[f * out_pitch + panel * most * S::TILE_ROWS..];
                let b = &inputs_transformed[f * in_pitch + column_block * most * S::TILE_COLUMNS..];
                // SAFETY: both hold the block's tiles as packed rows; `product` is one tile.
                unsafe {
                    let target = product.as_mut_ptr();
                    simd.product_tile(block.tiles(), a.as_ptr(), b.as_ptr(), target, S::TILE_COLUMNS, false);
                }
            }
            let (first_out, first_in) = (panel * S::TILE_ROWS, column_block * S::TILE_COLUMNS);
            let columns = S::TILE_COLUMNS.min(inputs - first_in);
            for row in 0..S::TILE_ROWS.min(outputs - first_out) {
                let kernels = transform_product_row(simd, &products, row);
                let at = ((first_out + row) * inputs + first_in) * 9;
                for (column, kernel) in kernels.iter().enumerate().take(columns) {
                    for (k, value) in kernel.iter().enumerate() {
                        // SAFETY: this task alone writes these kernels.
                        unsafe { *gradient.at(at + column * 9 + k) += value };
                    }
                }
            }
        });
    }
}

/// Transforms the input tiles of `TILE_COLUMNS` channels to `[frequency][column block][tile][TILE_COLUMNS]`.
fn transform_columns<S: Simd>(
    simd: S,
    block: &Block,
    input: &[f32],
    channels: (usize, usize),
    out: SharedOut,
    (first_tile, out_pitch): (usize, usize),
) {
    let lanes = S::TILE_COLUMNS;
    let pitch = block.tiling.pitch();
    let mut buffer = Scratch::take(6 * pitch * lanes);
    simd.vectorize(
        #[inline(always)]
        || {
            for tile in 0..block.tiles() {
                let (row, column) = (tile / block.tiling.across, tile % block.tiling.across);
                if column == 0 {
                    block.interleave(simd, input, channels, row, (6, 1), lanes, &mut buffer);
                }
                let start = 4 * column * lanes;
                for v in (0..lanes).step_by(S::LANES) {
                    let mut cells = [[simd.splat(0.0); 6]; 6];
                    for (i, row) in cells.iter_mut().enumerate() {
                        for (j, cell) in row.iter_mut().enumerate() {
                            // SAFETY: the buffer holds 6 rows of `pitch` cells of `lanes` values.
                            *cell =
                                unsafe { simd.load(buffer[start + (i * pitch + j) * lanes + v..].as_ptr()) };
                        }
                    }
                    let cells = both_ways(
                        simd.splat(0.0),
                        cells,
                        #[inline(always)]
                        |d| transform::input(simd, d),
                    );
                    for (f, value) in cells.iter().flatten().enumerate() {
                        // SAFETY: this task alone writes this column block.
                        unsafe {
                            simd.store(out.at(f * out_pitch + (first_tile + tile) * lanes + v), *value)
                        };
                    }
                }
            }
        },
    );
}

/// Transforms the output-gradient tiles of a vector of channels to `[frequency][panel][tile][TILE_ROWS]`.
fn transform_panels<S: Simd>(
    simd: S,
    block: &Block,
    output_gradient: &[f32],
    channels: (usize, usize),
    out: SharedOut,
    (first_panel, most, out_pitch): (usize, usize, usize),
) {
    let (lanes, pitch) = (S::LANES, block.tiling.pitch());
    // Lanes beyond the panels' rows would be the next group's channels: leave them out.
    let group_panels = lanes / S::TILE_ROWS;
    let mut buffer = Scratch::take(4 * pitch * lanes);
    simd.vectorize(
        #[inline(always)]
        || {
            for tile in 0..block.tiles() {
                let (row, column) = (tile / block.tiling.across, tile % block.tiling.across);
                if column == 0 {
                    block.interleave(simd, output_gradient, channels, row, (4, 0), lanes, &mut buffer);
                }
                let start = 4 * column * lanes;
                let mut cells = [[simd.splat(0.0); 4]; 4];
                for (i, row) in cells.iter_mut().enumerate() {
                    for (j, cell) in row.iter_mut().enumerate() {
                        // SAFETY: the buffer holds 4 rows of `pitch` cells of `lanes` values.
                        *cell = unsafe { simd.load(buffer[start + (i * pitch + j) * lanes..].as_ptr()) };
                    }
                }
                let cells = both_ways(
                    simd.splat(0.0),
                    cells,
                    #[inline(always)]
                    |y| transform::output_gradient(simd, y),
                );
                for (f, value) in cells.iter().flatten().enumerate() {
                    let mut values = [0.0f32; 16];
                    // SAFETY: no level has more than 16 lanes; this task alone writes these panels.
                    unsafe {
                        simd.store(values.as_mut_ptr(), *value);
                        for p in 0..group_panels {
                            let at = ((first_panel + p) * most + tile) * S::TILE_ROWS;
                            let source = values.as_ptr().add(p * S::TILE_ROWS);
                            out.at(f * out_pitch + at).copy_from_nonoverlapping(source, S::TILE_ROWS);
                        }
                    }
                }
            }
        },
    );
}

/// Transforms one row of a product tile back: the 3×3 kernel of every column (at most 32).
fn transform_product_row<S: Simd>(simd: S, products: &[f32], row: usize) -> [[f32; 9]; 32] {
    let mut kernels = [[0.0; 9]; 32];
    simd.vectorize(
        #[inline(always)]
        || {
            for v in (0..S::TILE_COLUMNS).step_by(S::LANES) {
                let mut tile = [[simd.splat(0.0); 6]; 6];
                for (f, value) in tile.iter_mut().flatten().enumerate() {
                    let at = (f * S::TILE_ROWS + row) * S::TILE_COLUMNS + v;
                    // SAFETY: there are 36 tiles of products.
                    *value = unsafe { simd.load(products[at..].as_ptr()) };
                }
                let kernel = both_ways(
                    simd.splat(0.0),
                    tile,
                    #[inline(always)]
                    |u| transform::kernel_gradient(simd, u),
                );
                for (k, value) in kernel.iter().flatten().enumerate() {
                    let mut lanes = [0.0f32; 16];
                    // SAFETY: no level has more than 16 lanes.
                    unsafe { simd.store(lanes.as_mut_ptr(), *value) };
                    for (kernel, lane) in kernels[v..v + S::LANES].iter_mut().zip(lanes) {
                        kernel[k] = lane;
                    }
                }
            }
        },
    );
    kernels
}

impl Block<'_> {
    /// Copies the map rows behind row `row` of tiles (`rows_per_tile` of them, from `margin` above) for the channels from
    /// `first` on, one channel a lane: `[row][pitch][lanes]`. Missing channels and cells outside the map are 0.
    #[expect(clippy::too_many_arguments, reason = "two maps of different shapes share it")]
    #[inline(always)]
    fn interleave<S: Simd>(
        &self,
        simd: S,
        maps: &[f32],
        (first, channels): (usize, usize),
        row_of_tiles: usize,
        (rows_per_tile, margin): (usize, usize),
        lanes: usize,
        buffer: &mut [f32],
    ) {
        let tiling = self.tiling;
        let (size, width) = (tiling.height * tiling.width, tiling.width);
        let present = lanes.min(channels - first);
        for (k, row) in buffer.chunks_mut(tiling.pitch() * lanes).enumerate().take(rows_per_tile) {
            let (image, y) = tiling.source(self.first_row + row_of_tiles, k, margin);
            let Some(y) = y else {
                row.fill(0.0);
                continue;
            };
            let (before, row) = row.split_at_mut(margin * lanes);
            let (row, after) = row.split_at_mut(width * lanes);
            before.fill(0.0);
            after.fill(0.0);
            let start = &maps[(image * channels + first) * size + y * width..];
            for group in (0..lanes).step_by(8) {
                let here = present.saturating_sub(group).min(8);
                for (x, cells) in (0..width).step_by(8).zip(row.chunks_mut(8 * lanes)) {
                    let columns = (width - x).min(8);
                    let sources = std::array::from_fn(
                        #[inline(always)]
                        |i| start[(group + i).min(present - 1) * size + x..].as_ptr(),
                    );
                    // SAFETY: every map has `columns` cells left in this row.
                    let mut block = unsafe { simd.transpose_block(sources, columns) };
                    for (values, cells) in block.iter_mut().zip(cells.chunks_mut(lanes)) {
                        if here < 8 {
                            values[here..].fill(0.0);
                        }
                        cells[group..group + 8].copy_from_slice(values);
                    }
                }
            }
        }
    }
}
