//! Winograd's minimal filtering, F(4×4, 3×3), for 3×3 convolutions of stride 1 and padding 1.
//!
//! Maps are cut into 4×4 output tiles, each read from a 6×6 input tile. In the transformed space a tile has 36
//! frequencies, and a convolution is, for each frequency, a matrix product over channels: 36 multiplications for 16 outputs
//! instead of 144. The price is rounding: about ten times that of a direct sum (a few 1e-6 of the largest output).
//!
//! Work goes in blocks of tile rows whose transforms stay in cache. Transforms run with one tile a lane (one channel a
//! lane for the weight gradient) and write the packed layout of the product; the transforms are in [`transform`].

mod transform;

use super::conv::{Geometry, product_part};
use super::memory::{Scratch, SharedOut};
use super::simd::Simd;
use oxidet_graph::Padding;
use rayon::prelude::*;
use std::sync::OnceLock;
use transform::both_ways;

/// Frequencies of a tile.
const FREQUENCIES: usize = 36;
/// Floats added between frequencies: their planes would otherwise lie a multiple of 4 KiB apart, and evict each other.
const SKEW: usize = 16;
/// Bytes of transformed tiles in a block.
const BLOCK_BYTES: usize = 10 << 20;
/// Tiles in a block, at least: fewer do not repay reading the weights.
const BLOCK_TILES: usize = 128;
/// Longest inner dimension of a product: what the first-level cache holds.
const INNER_BLOCK: usize = 512;

/// Whether `geometry` is computed this way: where it is the faster one, unless `OXIDET_WINOGRAD=0` is in the environment.
pub(super) fn pays(geometry: &Geometry) -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("OXIDET_WINOGRAD").is_none_or(|v| v != "0"))
        && is_faster(geometry)
}

/// 3×3 with stride and padding 1, and enough channels to repay the transforms.
fn is_faster(geometry: &Geometry) -> bool {
    let Geometry { kernel, stride, padding, groups, in_channels, out_channels, .. } = *geometry;
    kernel == 3
        && stride == 1
        && groups == 1
        && padding == Padding::all(1)
        && in_channels.min(out_channels) >= 48
        && in_channels + out_channels >= 160
        && geometry.height.min(geometry.width) >= 4
}

/// How a batch of maps is cut into tiles, and rows of tiles into blocks.
#[derive(Clone, Copy)]
struct Tiling {
    height: usize,
    width: usize,
    /// Tiles down and across one map.
    down: usize,
    across: usize,
    /// Rows of tiles in all images, and in a block.
    rows: usize,
    block_rows: usize,
}

impl Tiling {
    fn new(geometry: &Geometry) -> Self {
        let (down, across) = (geometry.height.div_ceil(4), geometry.width.div_ceil(4));
        let rows = geometry.batch * down;
        let tile_bytes = (geometry.in_channels + geometry.out_channels) * FREQUENCIES * size_of::<f32>();
        let block = (BLOCK_BYTES / tile_bytes).max(BLOCK_TILES).div_ceil(across).clamp(1, rows);
        let block_rows = rows.div_ceil(rows.div_ceil(block));
        Self { height: geometry.height, width: geometry.width, down, across, rows, block_rows }
    }

    /// Pitch of a buffer row holding the columns of a row of tiles, with slack for reading whole quads.
    fn pitch(&self) -> usize {
        4 * self.across + 8
    }

    /// First row of tiles and number of rows of every block.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let Self { rows, block_rows, .. } = *self;
        (0..rows).step_by(block_rows).map(move |first| (first, block_rows.min(rows - first)))
    }

    /// The map row behind row `i` of row `row` of tiles, `margin` rows above the tile; and that row's image.
    fn source(&self, row: usize, i: usize, margin: usize) -> (usize, Option<usize>) {
        let y = (4 * (row % self.down) + i).checked_sub(margin).filter(|y| *y < self.height);
        (row / self.down, y)
    }
}

/// See [`super::conv::forward_into`].
pub(super) fn forward<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) {
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    let weights = Weights::new(simd, outputs, inputs, |out, channel| {
        let kernel = &weight[(out * inputs + channel) * 9..][..9];
        std::array::from_fn(|i| std::array::from_fn(|j| kernel[i * 3 + j]))
    });
    convolve(simd, &Tiling::new(geometry), &weights, input, output);
}

/// See [`super::conv::input_gradient_into`]: the forward pass with channels swapped and kernels turned around.
pub(super) fn input_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
) {
    let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
    let weights = Weights::new(simd, inputs, outputs, |channel, out| {
        let kernel = &weight[(out * inputs + channel) * 9..][..9];
        std::array::from_fn(|i| std::array::from_fn(|j| kernel[8 - i * 3 - j]))
    });
    convolve(simd, &Tiling::new(geometry), &weights, output_gradient, input_gradient);
}

/// Transformed weights, `[frequency][panel of TILE_ROWS outputs][input][TILE_ROWS]`.
struct Weights {
    data: Scratch,
    pitch: usize,
    outputs: usize,
    inputs: usize,
}

impl Weights {
    /// Transforms the 3×3 kernels that `kernel(output, input)` gives.
    fn new<S: Simd>(
        simd: S,
        outputs: usize,
        inputs: usize,
        kernel: impl Fn(usize, usize) -> [[f32; 3]; 3] + Sync,
    ) -> Self {
        let panels = outputs.div_ceil(S::TILE_ROWS);
        let pitch = panels * inputs * S::TILE_ROWS + SKEW;
        let mut data = Scratch::take(FREQUENCIES * pitch);
        let out = SharedOut::new(&mut data);
        (0..panels).into_par_iter().for_each(|panel| {
            simd.vectorize(
                #[inline(always)]
                || {
                    for input in 0..inputs {
                        // One output a lane; no level has more than 16.
                        let mut taps = [[[0.0f32; 16]; 3]; 3];
                        for r in 0..S::TILE_ROWS.min(outputs - panel * S::TILE_ROWS) {
                            let kernel = kernel(panel * S::TILE_ROWS + r, input);
                            for (taps, kernel) in taps.iter_mut().flatten().zip(kernel.iter().flatten()) {
                                taps[r] = *kernel;
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

/// `output = input ∗ weights`.
fn convolve<S: Simd>(simd: S, tiling: &Tiling, weights: &Weights, input: &[f32], output: &mut [f32]) {
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
            block.transform_output(simd, &products, out_pitch, (channel, outputs), out);
        });
    }
}

/// `products[f] = weights[f] · transformed[f]` for every frequency: `[tile block][output][TILE_COLUMNS]`.
fn multiply<S: Simd>(
    simd: S,
    weights: &Weights,
    transformed: &[f32],
    in_pitch: usize,
    products: SharedOut,
    out_pitch: usize,
    tile_blocks: usize,
) {
    let Weights { inputs, outputs, .. } = *weights;
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

/// `rows` rows of tiles from `first_row` on; tiles are numbered row by row.
struct Block<'a> {
    tiling: &'a Tiling,
    first_row: usize,
    rows: usize,
}

impl Block<'_> {
    fn tiles(&self) -> usize {
        self.rows * self.tiling.across
    }

    /// Blocks of `TILE_COLUMNS` tiles.
    fn column_tiles<S: Simd>(&self, _: S) -> usize {
        self.tiles().div_ceil(S::TILE_COLUMNS)
    }

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
                            let source = pixels[4 * l..].as_ptr();
                            // SAFETY: this task alone writes this channel; row y + i and these columns are inside.
                            unsafe {
                                let target = output.at(map + (y + i) * width + x);
                                if columns == 4 {
                                    target.copy_from_nonoverlapping(source, 4);
                                } else {
                                    target.copy_from_nonoverlapping(source, columns);
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// Copies `rows_per_tile` rows of every row of tiles, for the channels from `first` on, one channel a lane:
    /// `[row of tiles][row][pitch][lanes]`. Missing channels and cells outside the map are 0.
    fn interleave<S: Simd>(
        &self,
        simd: S,
        maps: &[f32],
        (first, channels): (usize, usize),
        (rows_per_tile, margin): (usize, usize),
        lanes: usize,
        buffer: &mut [f32],
    ) {
        let tiling = self.tiling;
        let (size, width) = (tiling.height * tiling.width, tiling.width);
        let present = lanes.min(channels - first);
        simd.vectorize(
            #[inline(always)]
            || {
                for (k, row) in buffer.chunks_mut(tiling.pitch() * lanes).enumerate() {
                    let source = tiling.source(self.first_row + k / rows_per_tile, k % rows_per_tile, margin);
                    let (image, Some(y)) = source else {
                        row.fill(0.0);
                        continue;
                    };
                    let (before, row) = row.split_at_mut(margin * lanes);
                    let (row, after) = row.split_at_mut(width * lanes);
                    before.fill(0.0);
                    after.fill(0.0);
                    let start = &maps[(image * channels + first) * size + y * width..];
                    for group in (0..lanes).step_by(8) {
                        for (x, cells) in (0..width).step_by(8).zip(row.chunks_mut(8 * lanes)) {
                            let columns = (width - x).min(8);
                            let sources = std::array::from_fn(
                                #[inline(always)]
                                |i| start[(group + i).min(present - 1) * size + x..].as_ptr(),
                            );
                            // SAFETY: every map has `columns` cells left in this row.
                            let block = unsafe { simd.transpose_block(sources, columns) };
                            for (values, cells) in block.iter().zip(cells.chunks_mut(lanes)) {
                                for (i, value) in values.iter().enumerate() {
                                    cells[group + i] = if group + i < present { *value } else { 0.0 };
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// Where tile `tile` starts in a buffer of [`Block::interleave`].
    fn interleaved(&self, tile: usize, rows_per_tile: usize, lanes: usize) -> usize {
        let Tiling { across, .. } = *self.tiling;
        (tile / across * rows_per_tile * self.tiling.pitch() + tile % across * 4) * lanes
    }
}

/// See [`super::conv::weight_gradient_into`]: per frequency a product over tiles,
/// `[output][tile] · [tile][input]`, transformed back tile by tile while it is in cache.
pub(super) fn weight_gradient<S: Simd>(
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
    let mut buffer = Scratch::take(block.rows * 6 * pitch * lanes);
    block.interleave(simd, input, channels, (6, 1), lanes, &mut buffer);
    simd.vectorize(
        #[inline(always)]
        || {
            for tile in 0..block.tiles() {
                let start = block.interleaved(tile, 6, lanes);
                for v in (0..lanes).step_by(S::LANES) {
                    let mut cells = [[simd.splat(0.0); 6]; 6];
                    for (i, row) in cells.iter_mut().enumerate() {
                        for (j, cell) in row.iter_mut().enumerate() {
                            // SAFETY: the buffer holds 6 rows of `pitch` cells of `lanes` values for every tile.
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
    let mut buffer = Scratch::take(block.rows * 4 * pitch * lanes);
    block.interleave(simd, output_gradient, channels, (4, 0), lanes, &mut buffer);
    simd.vectorize(
        #[inline(always)]
        || {
            for tile in 0..block.tiles() {
                let start = block.interleaved(tile, 4, lanes);
                let mut cells = [[simd.splat(0.0); 4]; 4];
                for (i, row) in cells.iter_mut().enumerate() {
                    for (j, cell) in row.iter_mut().enumerate() {
                        // SAFETY: the buffer holds 4 rows of `pitch` cells of `lanes` values for every tile.
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

#[cfg(test)]
mod tests;
