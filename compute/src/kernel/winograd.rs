//! Winograd's minimal filtering, F(4×4, 3×3), for 3×3 convolutions of stride 1 and padding 1.
//!
//! Maps are cut into 4×4 output tiles, each read from a 6×6 input tile. In the transformed space a tile has 36
//! frequencies, and a convolution is, for each frequency, a matrix product over channels: 36 multiplications for 16 outputs
//! instead of 144. The price is rounding: about ten times that of a direct sum (a few 1e-6 of the largest output).
//!
//! Work goes in blocks of tile rows whose transforms stay in cache. Transforms run with one tile a lane (one channel a
//! lane for the weight gradient) and write the packed layout of the product; the transforms are in [`transform`].

mod convolve;
mod transform;
mod weight_gradient;

pub(super) use convolve::{Weights, forward, input_gradient, transformed};
pub(super) use weight_gradient::weight_gradient;

use super::conv::Geometry;
use super::simd::Simd;
use oxidet_graph::Padding;
use std::sync::OnceLock;

/// Frequencies of a tile.
pub(super) const FREQUENCIES: usize = 36;
/// Floats added between frequencies: their planes would otherwise lie a multiple of 4 KiB apart, and evict each other.
const SKEW: usize = 16;
/// Bytes of transformed tiles in a block.
const BLOCK_BYTES: usize = 4 << 20;
/// Tiles in a block, at least: fewer do not repay reading the weights.
const BLOCK_TILES: usize = 128;

/// Whether `geometry` is computed this way: where it is the faster one, unless it is to be computed directly or
/// `OXIDET_WINOGRAD=0` is in the environment.
pub(super) fn pays(geometry: &Geometry) -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    !geometry.direct
        && *ENABLED.get_or_init(|| std::env::var_os("OXIDET_WINOGRAD").is_none_or(|v| v != "0"))
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
        && in_channels + out_channels >= 128
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
}

#[cfg(test)]
mod tests;
