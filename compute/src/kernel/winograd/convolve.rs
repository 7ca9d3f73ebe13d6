//! Forward pass and input gradient: transform tiles and weights, multiply frequency by frequency, transform back.

use super::transform::{self, both_ways};
use super::{Block, FREQUENCIES, SKEW, Tiling};
use crate::kernel::Store;
use crate::kernel::conv::{Geometry, product_part};
use crate::kernel::memory::{Scratch, SharedOut};
use crate::kernel::simd::Simd;
use rayon::prelude::*;
use std::ops::DerefMut;

/// Longest inner dimension of a product: what the first-level cache holds.
const INNER_BLOCK: usize = 512;

/// See [`crate::kernel::conv::forward_into`].
pub(in crate::kernel) fn forward<S: Simd, D: DerefMut<Target = [f32]> + Sync>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    weights: &Weights<D>,
    output: &mut [f32],
) {
    convolve(simd, &Tiling::new(geometry), weights, input, output, Store::Replace);
}

/// The weights, transformed for [`forward`] in memory that `room` gives.
pub(in crate::kernel) fn transformed<S: Simd, D: DerefMut<Target = [f32]>>(
    simd: S,
    geometry: &Geometry,
    weight: &[f32],
    room: impl FnOnce(usize) -> D,
) -> Weights<D> {
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    Weights::new(simd, (outputs, inputs), false, |out, channel| (out * inputs + channel) * 9, weight, room)
}

/// See [`crate::kernel::conv::input_gradient_into`]: the forward pass with channels swapped and kernels turned around.
pub(in crate::kernel) fn input_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    let weights = Weights::new(
        simd,
        (inputs, outputs),
        true,
        |channel, out| (out * inputs + channel) * 9,
        weight,
        Scratch::take,
    );
    convolve(simd, &Tiling::new(geometry), &weights, output_gradient, input_gradient, store);
}

/// `output = input ∗ weights`.
fn convolve<S: Simd, D: DerefMut<Target = [f32]> + Sync>(
    simd: S,
    tiling: &Tiling,
    weights: &Weights<D>,
    input: &[f32],
    output: &mut [f32],
    store: Store,
) {
    let (inputs, outputs) = (weights.inputs, weights.outputs);
    let most = (tiling.block_rows * tiling.across).div_ceil(S::TILE_COLUMNS) * S::TILE_COLUMNS;
    let (in_pitch, out_pitch) = (most * inputs + SKEW, most * outputs + SKEW);
    let mut transformed = Scratch::take(FREQUENCIES * in_pitch);
    let mut products = Scratch::take(FREQUENCIES * out_pitch);
    let out = SharedOut::new(output);
    for (first_row, rows) in tiling.blocks() {
        let block = Block { tiling, first_row, rows };
        let target = SharedOut::new(&mut transformed);
        (0..inputs).into_par_iter().for_each(|channel| {
            block.transform_input(simd, input, (channel, inputs), target, in_pitch);
        });
        let target = SharedOut::new(&mut products);
        multiply(simd, weights, &transformed, in_pitch, target, out_pitch, block.column_tiles(simd));
        (0..outputs).into_par_iter().for_each(|channel| {
            block.transform_output(simd, &products, out_pitch, (channel, outputs), out, store);
        });
    }
}

/// `products[f] = weights[f] · transformed[f]` for every frequency: `[tile block][output][TILE_COLUMNS]`.
fn multiply<S: Simd, D: DerefMut<Target = [f32]> + Sync>(
    simd: S,
    weights: &Weights<D>,
    transformed: &[f32],
    in_pitch: usize,
    products: SharedOut,
    out_pitch: usize,
    tile_blocks: usize,
) {
    let &Weights { inputs, outputs, .. } = weights;
    let panels = outputs.div_ceil(S::TILE_ROWS);
    // 36 frequencies alone share out badly over many threads.
    let splits = rayon::current_num_threads().div_ceil(8).clamp(2, 8);
    let split_panels = panels.div_ceil(splits);
    (0..FREQUENCIES * splits).into_par_iter().for_each(|task| {
        let (frequency, split) = (task / splits, task % splits);
        for from in (0..inputs).step_by(INNER_BLOCK) {
            let depth = INNER_BLOCK.min(inputs - from);
            for panel in split * split_panels..((split + 1) * split_panels).min(panels) {
                let a = &weights.data[frequency * weights.pitch + (panel * inputs + from) * S::TILE_ROWS..];
                let rows = S::TILE_ROWS.min(outputs - panel * S::TILE_ROWS);
                for tile_block in 0..tile_blocks {
                    let at = frequency * in_pitch + (tile_block * inputs + from) * S::TILE_COLUMNS;
                    let target = (tile_block * outputs + panel * S::TILE_ROWS) * S::TILE_COLUMNS;
                    // SAFETY: `a` and `b` hold `depth` packed rows; this task alone writes these rows of products.
                    unsafe {
                        product_part(
                            simd,
                            depth,
                            a.as_ptr(),
                            transformed[at..].as_ptr(),
                            products.at(frequency * out_pitch + target),
                            S::TILE_COLUMNS,
                            (rows, S::TILE_COLUMNS),
                            from > 0,
                        );
                    }
                }
            }
        }
    });
}

/// Transformed weights, `[frequency][panel of TILE_ROWS outputs][input][TILE_ROWS]`.
pub(in crate::kernel) struct Weights<D> {
    data: D,
    pitch: usize,
    outputs: usize,
    inputs: usize,
}

impl<D: DerefMut<Target = [f32]>> Weights<D> {
    /// Transforms the 3×3 kernels that start at `position(output, input)` of `weight`, turned around if `turned`.
    fn new<S: Simd>(
        simd: S,
        (outputs, inputs): (usize, usize),
        turned: bool,
        position: impl Fn(usize, usize) -> usize + Sync,
        weight: &[f32],
        room: impl FnOnce(usize) -> D,
    ) -> Self {
        /// Kernels between a prefetch and the use.
        const AHEAD: usize = 4;
        let panels = outputs.div_ceil(S::TILE_ROWS);
        let pitch = panels * inputs * S::TILE_ROWS + SKEW;
        let mut data = room(FREQUENCIES * pitch);
        let out = SharedOut::new(&mut data);
        (0..panels).into_par_iter().for_each(|panel| {
            simd.vectorize(
                #[inline(always)]
                || {
                    for input in 0..inputs {
                        // One output a lane; no level has more than 16.
                        let mut taps = [[[0.0f32; 16]; 3]; 3];
                        for r in 0..S::TILE_ROWS.min(outputs - panel * S::TILE_ROWS) {
                            let at = position(panel * S::TILE_ROWS + r, input);
                            let ahead = position(panel * S::TILE_ROWS + r, input + AHEAD);
                            simd.prefetch(weight.as_ptr().wrapping_add(ahead));
                            let kernel: &[f32; 9] = weight[at..].first_chunk().expect("a kernel has 9 taps");
                            for (t, taps) in taps.iter_mut().flatten().enumerate() {
                                taps[r] = kernel[if turned { 8 - t } else { t }];
                            }
                        }
                        let mut tile = [[simd.splat(0.0); 3]; 3];
                        for (value, lanes) in tile.iter_mut().flatten().zip(taps.iter().flatten()) {
                            // SAFETY: 16 values are as many as any level has lanes.
                            *value = unsafe { simd.load(lanes.as_ptr()) };
                        }
                        let transformed = both_ways(
                            simd.splat(0.0),
                            tile,
                            #[inline(always)]
                            |g| transform::kernel(simd, g),
                        );
                        for (f, value) in transformed.iter().flatten().enumerate() {
                            let mut lanes = [0.0f32; 16];
                            // SAFETY: this task alone writes its panel of every frequency.
                            unsafe {
                                simd.store(lanes.as_mut_ptr(), *value);
                                let target = out.at(f * pitch + (panel * inputs + input) * S::TILE_ROWS);
                                target.copy_from_nonoverlapping(lanes.as_ptr(), S::TILE_ROWS);
                            }
                        }
                    }
                },
            );
        });
        Self { data, pitch, outputs, inputs }
    }
}

impl Block<'_> {
    /// Transforms one channel's tiles to `[frequency][tile block][channel][TILE_COLUMNS]`.
    fn transform_input<S: Simd>(
        &self,
        simd: S,
        input: &[f32],
        (channel, channels): (usize, usize),
        out: SharedOut,
        out_pitch: usize,
    ) {
        let tiling = self.tiling;
        let (size, pitch) = (tiling.height * tiling.width, tiling.pitch());
        // The 6 input rows of every row of tiles, with the border written in.
        let mut buffer = Scratch::take(self.rows * 6 * pitch);
        for (k, row) in buffer.chunks_mut(pitch).enumerate() {
            row.fill(0.0);
            if let (image, Some(y)) = tiling.source(self.first_row + k / 6, k % 6, 1) {
                let source = &input[(image * channels + channel) * size + y * tiling.width..][..tiling.width];
                row[1..=tiling.width].copy_from_slice(source);
            }
        }
        simd.vectorize(
            #[inline(always)]
            || {
                for first in (0..self.column_tiles(simd) * S::TILE_COLUMNS).step_by(S::LANES) {
                    // Where the lanes' tiles start; lanes after the last tile repeat the first one of all.
                    let mut starts = [0usize; 16];
                    for (l, start) in starts.iter_mut().enumerate() {
                        let tile = if first + l < self.tiles() { first + l } else { 0 };
                        *start = tile / tiling.across * 6 * pitch + tile % tiling.across * 4;
                    }
                    let mut tile = [[simd.splat(0.0); 6]; 6];
                    for (i, row) in tile.iter_mut().enumerate() {
                        // SAFETY: a tile's rows have 8 readable values: the pitch has that slack.
                        let [a, b, c, d] =
                            unsafe { simd.load_quads(buffer[i * pitch..].as_ptr(), starts.as_ptr()) };
                        let [e, f, ..] =
                            unsafe { simd.load_quads(buffer[i * pitch + 4..].as_ptr(), starts.as_ptr()) };
                        *row = [a, b, c, d, e, f];
                    }
                    let tile = both_ways(
                        simd.splat(0.0),
                        tile,
                        #[inline(always)]
                        |d| transform::input(simd, d),
                    );
                    let (block, lane) = (first / S::TILE_COLUMNS, first % S::TILE_COLUMNS);
                    let at = (block * channels + channel) * S::TILE_COLUMNS + lane;
                    for (f, value) in tile.iter().flatten().enumerate() {
                        // SAFETY: this task alone writes this channel's rows.
                        unsafe { simd.store(out.at(f * out_pitch + at), *value) };
                    }
                }
            },
        );
    }

    /// Transforms one channel's products back and writes its part of `output`.
    fn transform_output<S: Simd>(
        &self,
        simd: S,
        products: &[f32],
        pitch: usize,
        (channel, channels): (usize, usize),
        output: SharedOut,
        store: Store,
    ) {
        let tiling = self.tiling;
        let Tiling { height, width, down, across, .. } = *tiling;
        simd.vectorize(
            #[inline(always)]
            || {
                for first in (0..self.tiles()).step_by(S::LANES) {
                    let (block, lane) = (first / S::TILE_COLUMNS, first % S::TILE_COLUMNS);
                    let at = (block * channels + channel) * S::TILE_COLUMNS + lane;
                    let mut tile = [[simd.splat(0.0); 6]; 6];
                    for (f, value) in tile.iter_mut().flatten().enumerate() {
                        // SAFETY: products of whole tile blocks exist for every channel.
                        *value = unsafe { simd.load(products[f * pitch + at..].as_ptr()) };
                    }
                    let tile = both_ways(
                        simd.splat(0.0),
                        tile,
                        #[inline(always)]
                        |m| transform::output(simd, m),
                    );
                    // [row][lane][column]
                    let mut pixels = [[0.0f32; 4 * 16]; 4];
                    for (pixels, row) in pixels.iter_mut().zip(tile) {
                        // SAFETY: no level has more than 16 lanes.
                        unsafe { simd.store_quads(pixels.as_mut_ptr(), row) };
                    }
                    for l in 0..S::LANES.min(self.tiles() - first) {
                        let row = self.first_row + (first + l) / across;
                        let (y, x) = (row % down * 4, (first + l) % across * 4);
                        let map = (row / down * channels + channel) * height * width;
                        let columns = (width - x).min(4);
                        for (i, pixels) in pixels.iter().enumerate().take(height - y) {
                            // SAFETY: this task alone writes this channel; row y + i and these columns are inside.
                            let target = unsafe {
                                std::slice::from_raw_parts_mut(output.at(map + (y + i) * width + x), columns)
                            };
                            match <&mut [f32; 4]>::try_from(&mut *target) {
                                Ok(target) => store.put_all(target, &pixels[4 * l..]),
                                Err(_) => store.put_all(target, &pixels[4 * l..]),
                            }
                        }
                    }
                }
            },
        );
    }
}
