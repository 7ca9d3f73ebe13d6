//! Weight gradient as a matrix product over pixels: `[out channels] × [images · pixels] × [channel and tap]`.
//!
//! A row of the left-hand matrix is one output channel. A column of the right-hand matrix is one input channel seen through
//! one tap, which in zero-bordered phase planes is a run of neighbouring cells for every output row. A task transposes the
//! pixels of a few output rows into cache, on both sides, and adds their products to its sums.
//! Tasks are (blocks of columns, group of pixel chunks). Small weights have few columns and are split over pixels too:
//! into a number of groups that depends on the geometry alone, added in order.

use super::Geometry;
use super::planes::{PlaneLayout, Taps, split_phases};
use crate::kernel::memory::{Scratch, SharedOut};
use crate::kernel::simd::Simd;
use rayon::prelude::*;
use std::ops::Range;

/// Pixels packed at a time (at least one output row): a tile of them stays in the first-level cache.
const CHUNK_PIXELS: usize = 256;
/// Column tiles of a task: they share the pass over the output gradient, and stay in the second-level cache.
const TASK_TILES: usize = 12;
/// Tasks to aim for when columns are few.
const TASKS: usize = 16;

/// See [`super::weight_gradient_into`].
pub(super) fn weight_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let (rows, columns) = (geometry.out_height(), geometry.out_width());
    let Taps { taps, phases } = Taps::new(geometry);
    let (layout, starts) = PlaneLayout::around(&taps, rows, columns);
    let size = (geometry.height, geometry.width);
    let split;
    let planes = if geometry.stride == 1 && (layout.rows, layout.columns) == size {
        input
    } else {
        split = split_phases(input, size, geometry.stride, &phases, &layout);
        &split[..]
    };
    let group_size = weight_gradient.len() / geometry.groups;
    for (group, gradient) in weight_gradient.chunks_mut(group_size).enumerate() {
        let problem = Problem {
            geometry,
            group,
            planes,
            channel_pitch: phases.len() * layout.size(),
            row_pitch: layout.columns,
            starts: &starts,
        };
        problem.solve(simd, output_gradient, gradient);
    }
}

/// One group's product.
struct Problem<'a> {
    geometry: &'a Geometry,
    group: usize,
    /// `[image][channel][phase][row][column]`
    planes: &'a [f32],
    channel_pitch: usize,
    row_pitch: usize,
    /// Where the first output cell finds each tap, in a channel's planes.
    starts: &'a [usize],
}

impl Problem<'_> {
    fn solve<S: Simd>(&self, simd: S, output_gradient: &[f32], gradient: &mut [f32]) {
        let geometry = self.geometry;
        let (out_rows, out_columns) = (geometry.out_height(), geometry.out_width());
        let columns = geometry.group_inputs() * self.starts.len();
        let panels = geometry.group_outputs().div_ceil(S::TILE_ROWS);

        // Output rows of all images in one sequence, cut into chunks of whole rows.
        let all_rows = geometry.batch * out_rows;
        let chunk_rows = (CHUNK_PIXELS / out_columns).max(1);
        let chunks = all_rows.div_ceil(chunk_rows);
        let tiles = columns.div_ceil(S::TILE_COLUMNS);
        let column_tasks = tiles.div_ceil(TASK_TILES);
        let task_tiles = tiles.div_ceil(column_tasks);
        let pixel_groups = (TASKS / column_tasks).clamp(1, chunks);

        let mut parts = (pixel_groups > 1).then(|| Scratch::take(pixel_groups * gradient.len()));
        let part_len = gradient.len();
        let out = SharedOut::new(match &mut parts {
            Some(parts) => parts,
            None => &mut *gradient,
        });
        (0..pixel_groups * column_tasks).into_par_iter().for_each(|task| {
            let (pixel_group, column_task) = (task / column_tasks, task % column_tasks);
            let tile_range = column_task * task_tiles..((column_task + 1) * task_tiles).min(tiles);
            if tile_range.is_empty() {
                return;
            }
            let chunk_range = pixel_group * chunks / pixel_groups..(pixel_group + 1) * chunks / pixel_groups;
            let tile_size = S::TILE_ROWS * S::TILE_COLUMNS;
            let mut sums = Scratch::take(tile_range.len() * panels * tile_size);
            let mut left = Scratch::take(panels * chunk_rows * out_columns * S::TILE_ROWS);
            let mut packed = Scratch::take(tile_range.len() * chunk_rows * out_columns * S::TILE_COLUMNS);
            for chunk in chunk_range.clone() {
                let row_range = chunk * chunk_rows..((chunk + 1) * chunk_rows).min(all_rows);
                let pixels = row_range.len() * out_columns;
                simd.vectorize(
                    #[inline(always)]
                    || {
                        for (panel, left) in left.chunks_mut(pixels * S::TILE_ROWS).enumerate().take(panels) {
                            self.pack_rows(simd, output_gradient, panel, row_range.clone(), left);
                        }
                        for (tile, packed) in
                            tile_range.clone().zip(packed.chunks_mut(pixels * S::TILE_COLUMNS))
                        {
                            self.pack_columns(simd, tile * S::TILE_COLUMNS, row_range.clone(), packed);
                        }
                    },
                );
                for (index, packed) in
                    packed.chunks(pixels * S::TILE_COLUMNS).take(tile_range.len()).enumerate()
                {
                    for panel in 0..panels {
                        let a = &left[panel * pixels * S::TILE_ROWS..];
                        let sums = &mut sums[(index * panels + panel) * tile_size..][..tile_size];
                        // SAFETY: `a` and `packed` hold `pixels` packed rows; `sums` is one tile.
                        unsafe {
                            simd.product_tile(
                                pixels,
                                a.as_ptr(),
                                packed.as_ptr(),
                                sums.as_mut_ptr(),
                                S::TILE_COLUMNS,
                                chunk > chunk_range.start,
                            );
                        }
                    }
                }
            }
            for (index, tile) in tile_range.enumerate() {
                let first = tile * S::TILE_COLUMNS;
                let count = S::TILE_COLUMNS.min(columns - first);
                for channel in 0..geometry.group_outputs() {
                    let (panel, row) = (channel / S::TILE_ROWS, channel % S::TILE_ROWS);
                    let sums = &sums[(index * panels + panel) * tile_size + row * S::TILE_COLUMNS..];
                    // SAFETY: this task alone writes these columns of this pixel group.
                    unsafe {
                        let target = out.at(pixel_group * part_len + channel * columns + first);
                        target.copy_from_nonoverlapping(sums.as_ptr(), count);
                    }
                }
            }
        });
        if let Some(parts) = parts {
            gradient.par_iter_mut().enumerate().for_each(|(i, sum)| {
                *sum = parts[i..].iter().step_by(part_len).sum();
            });
        }
    }

    /// Packs output rows `rows` (counted over all images) of the output gradient for the channels of `panel`, to
    /// `[pixel][TILE_ROWS]`; missing channels are 0.
    #[inline(always)]
    fn pack_rows<S: Simd>(
        &self,
        simd: S,
        output_gradient: &[f32],
        panel: usize,
        rows: Range<usize>,
        packed: &mut [f32],
    ) {
        let geometry = self.geometry;
        let (out_rows, out_columns) = (geometry.out_height(), geometry.out_width());
        let (map, channels) = (out_rows * out_columns, geometry.group_outputs());
        let first = panel * S::TILE_ROWS;
        let count = S::TILE_ROWS.min(channels - first);
        let (mut row, mut packed) = (rows.start, packed);
        while row < rows.end {
            let (image, y) = (row / out_rows, row % out_rows);
            let run_rows = (out_rows - y).min(rows.end - row);
            let pixels = run_rows * out_columns;
            let channel = image * geometry.out_channels + self.group * channels + first;
            let start = &output_gradient[channel * map + y * out_columns..];
            let (run, rest) = packed.split_at_mut(pixels * S::TILE_ROWS);
            for (from, run) in (0..pixels).step_by(8).zip(run.chunks_mut(8 * S::TILE_ROWS)) {
                let sources = std::array::from_fn(
                    #[inline(always)]
                    |r| start[r.min(count - 1) * map + from..].as_ptr(),
                );
                // SAFETY: each map has `pixels - from` values left in these rows.
                let mut block = unsafe { simd.transpose_block(sources, (pixels - from).min(8)) };
                for (values, target) in block.iter_mut().zip(run.chunks_mut(S::TILE_ROWS)) {
                    values[count..].fill(0.0);
                    target.copy_from_slice(&values[..S::TILE_ROWS]);
                }
            }
            packed = rest;
            row += run_rows;
        }
    }

    /// Packs the cells behind output rows `rows` (counted over all images) for `TILE_COLUMNS` columns from `first` on, to
    /// `[pixel][TILE_COLUMNS]`. Columns after the last repeat it.
    #[inline(always)]
    fn pack_columns<S: Simd>(&self, simd: S, first: usize, rows: Range<usize>, packed: &mut [f32]) {
        let geometry = self.geometry;
        let (out_rows, out_columns) = (geometry.out_height(), geometry.out_width());
        let taps = self.starts.len();
        let columns = geometry.group_inputs() * taps;
        // Offset of each column in an image's planes.
        let mut offsets = [0usize; 32];
        for (c, offset) in offsets.iter_mut().enumerate().take(S::TILE_COLUMNS) {
            let column = (first + c).min(columns - 1);
            let channel = self.group * geometry.group_inputs() + column / taps;
            *offset = channel * self.channel_pitch + self.starts[column % taps];
        }
        let mut row = rows.start;
        let mut packed = packed;
        while row < rows.end {
            let (image, y) = (row / out_rows, row % out_rows);
            // Rows of one image run on without a gap when planes are as wide as the output.
            let count = if self.row_pitch == out_columns { (out_rows - y).min(rows.end - row) } else { 1 };
            let pixels = count * out_columns;
            let start =
                &self.planes[image * geometry.in_channels * self.channel_pitch + y * self.row_pitch..];
            let (run, rest) = packed.split_at_mut(pixels * S::TILE_COLUMNS);
            for (block, offsets) in offsets[..S::TILE_COLUMNS].chunks(8).enumerate() {
                for (from, run) in (0..pixels).step_by(8).zip(run.chunks_mut(8 * S::TILE_COLUMNS)) {
                    let sources = std::array::from_fn(
                        #[inline(always)]
                        |i| start[offsets[i] + from..].as_ptr(),
                    );
                    // SAFETY: every column has `pixels - from` cells left in its plane.
                    let values = unsafe { simd.transpose_block(sources, (pixels - from).min(8)) };
                    for (values, target) in values.iter().zip(run.chunks_mut(S::TILE_COLUMNS)) {
                        target[block * 8..block * 8 + 8].copy_from_slice(values);
                    }
                }
            }
            packed = rest;
            row += count;
        }
    }
}
