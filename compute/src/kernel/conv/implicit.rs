//! Forward pass and input gradient as an implicit matrix product.
//!
//! The product is `[out channels] × [taps · channels] × [output pixels]`. The right-hand matrix is never built: a task
//! packs the input pixels behind `TILE_COLUMNS` neighbouring output pixels, for a block of the inner dimension, into
//! cache and multiplies it with all weight panels. In a stride-1 map whose output is as wide as its input, neighbouring
//! output pixels read neighbouring input pixels *even across rows*, so packing is one vector copy, with a lane mask at
//! the borders; the masks depend on tile and tap only and are computed once for all images and channels.
//! Other widths gather lane by lane.
//!
//! Tasks are (image, block of pixels, block of output channels). The inner dimension is cut at fixed places and added
//! in order, so sums do not depend on the number of tasks.

use super::Geometry;
use super::planes::{PlaneLayout, Tap, Taps, gradient_taps, split_phases};
use crate::kernel::Store;
use crate::kernel::memory::{Scratch, SharedOut};
use crate::kernel::simd::Simd;
use rayon::prelude::*;
use std::ops::DerefMut;

/// Longest block of the inner dimension: a packed tile of it stays in the first-level cache.
const INNER_BLOCK: usize = 384;
/// Output pixels of a task: their packed inputs stay in the second-level cache.
const TASK_PIXELS: usize = 192;

/// A stride-1 convolution over planes: one group of a convolution, or one phase of a strided one.
struct PlaneProblem<'a> {
    /// First plane of the group in the first image.
    input: &'a [f32],
    /// From one image to the next in `input`.
    image_pitch: usize,
    /// From one channel to the next in `input`.
    channel_pitch: usize,
    /// Rows and columns of an input plane.
    plane: (usize, usize),
    images: usize,
    channels: usize,
    taps: &'a [Tap],
    /// Rows and columns of the output.
    grid: (usize, usize),
    /// From one image to the next in the output; channels are `grid` apart.
    out_image_pitch: usize,
}

/// The left-hand matrix in panels of `TILE_ROWS` rows: `[inner block][panel][inner][row]`, missing rows 0.
pub(super) struct PackedWeights<D> {
    data: D,
    rows: usize,
    blocks: Vec<(usize, usize)>,
}

impl<D: DerefMut<Target = [f32]>> PackedWeights<D> {
    /// Packs the `rows × inner` matrix whose element is `weight(row, inner)`, in memory that `room` gives.
    fn new<S: Simd>(
        _: S,
        rows: usize,
        inner: usize,
        room: impl FnOnce(usize) -> D,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Self {
        let count = inner.div_ceil(INNER_BLOCK);
        let step = inner.div_ceil(count);
        let blocks: Vec<_> = (0..count)
            .map(|i| (i * step, ((i + 1) * step).min(inner)))
            .filter(|(from, to)| from < to)
            .collect();
        let panels = rows.div_ceil(S::TILE_ROWS);
        let mut data = room(panels * S::TILE_ROWS * inner);
        let mut rest: &mut [f32] = &mut data;
        for &(from, to) in &blocks {
            let (block, after) = rest.split_at_mut(panels * S::TILE_ROWS * (to - from));
            rest = after;
            block.par_chunks_mut(S::TILE_ROWS * (to - from)).enumerate().for_each(|(panel, packed)| {
                for (k, packed) in packed.chunks_mut(S::TILE_ROWS).enumerate() {
                    for (r, value) in packed.iter_mut().enumerate() {
                        let row = panel * S::TILE_ROWS + r;
                        *value = if row < rows { weight(row, from + k) } else { 0.0 };
                    }
                }
            });
        }
        Self { data, rows, blocks }
    }

    /// The packed panel of an inner block.
    fn panel<S: Simd>(&self, _: S, (from, to): (usize, usize), panel: usize) -> &[f32] {
        let panels = self.rows.div_ceil(S::TILE_ROWS);
        &self.data[S::TILE_ROWS * (panels * from + panel * (to - from))..][..S::TILE_ROWS * (to - from)]
    }
}

/// How the pixels of every tile find their inputs.
struct TileMap {
    /// Bit `l` of `[tile][tap]`: lane `l` reads a cell inside the plane.
    masks: Vec<u32>,
    /// Offset of every output pixel's cell in the plane, when it is not the pixel's own number.
    gather: Option<Vec<usize>>,
}

impl TileMap {
    fn new<S: Simd>(simd: S, problem: &PlaneProblem) -> Self {
        let (rows, columns) = problem.grid;
        let (plane_rows, plane_columns) = problem.plane;
        let tiles = (rows * columns).div_ceil(S::TILE_COLUMNS);
        let taps = problem.taps;
        let mut masks = vec![0u32; tiles * taps.len()];
        masks.par_chunks_mut(taps.len()).enumerate().for_each(|(tile, masks)| {
            simd.vectorize(
                #[inline(always)]
                || {
                    // Coordinates of the lanes; a lane after the last pixel gets a row that no tap brings back.
                    let (mut ys, mut xs) = ([i32::MIN / 2; 32], [0i32; 32]);
                    let first = tile * S::TILE_COLUMNS;
                    for l in 0..S::TILE_COLUMNS.min(rows * columns - first) {
                        (ys[l], xs[l]) = (((first + l) / columns) as i32, ((first + l) % columns) as i32);
                    }
                    for (mask, tap) in masks.iter_mut().zip(taps) {
                        let (dy, dx) = (tap.dy as i32, tap.dx as i32);
                        for l in 0..S::TILE_COLUMNS {
                            // As unsigned numbers negative coordinates are too large as well.
                            let inside = (((ys[l] + dy) as u32) < plane_rows as u32)
                                & (((xs[l] + dx) as u32) < plane_columns as u32);
                            *mask |= u32::from(inside) << l;
                        }
                    }
                },
            );
        });
        let gather = (columns != plane_columns).then(|| {
            let padded = tiles * S::TILE_COLUMNS;
            (0..padded).map(|p| (p / columns) * plane_columns + p % columns).collect()
        });
        Self { masks, gather }
    }
}

/// Packs the inputs behind one tile of output pixels, inner indices `from .. to` (tap-major), to `[inner][TILE_COLUMNS]`.
///
/// # Safety
/// `image` points to the first plane of an image of `problem`; `packed` is writable for the packed size.
#[inline(always)]
unsafe fn pack_tile<S: Simd>(
    simd: S,
    problem: &PlaneProblem,
    map: &TileMap,
    image: *const f32,
    tile: usize,
    (from, to): (usize, usize),
    mut packed: *mut f32,
) {
    let all = u32::MAX >> (32 - S::TILE_COLUMNS);
    let plane_size = problem.plane.0 * problem.plane.1;
    let first = tile * S::TILE_COLUMNS;
    let mut inner = from;
    while inner < to {
        let (tap, channel) = (inner / problem.channels, inner % problem.channels);
        let channels = (problem.channels - channel).min(to - inner);
        let mask = map.masks[tile * problem.taps.len() + tap];
        let Tap { plane, dy, dx } = problem.taps[tap];
        let offset = (plane * plane_size + channel * problem.channel_pitch) as isize
            + dy * problem.plane.1 as isize
            + dx;
        // The tap's cell of the tile's first pixel may lie outside the plane; only unmasked lanes are read.
        let mut source = image.wrapping_offset(offset);
        for _ in 0..channels {
            // SAFETY: set lanes lie inside the plane of the current channel, which lies inside the image.
            unsafe {
                match &map.gather {
                    None => {
                        let source = source.wrapping_add(first);
                        if mask == all {
                            for v in (0..S::TILE_COLUMNS).step_by(S::LANES) {
                                simd.store(packed.add(v), simd.load(source.add(v)));
                            }
                        } else {
                            for v in (0..S::TILE_COLUMNS).step_by(S::LANES) {
                                simd.store(
                                    packed.add(v),
                                    simd.load_masked(source.wrapping_add(v), mask >> v),
                                );
                            }
                        }
                    }
                    Some(offsets) => {
                        for (l, offset) in offsets[first..first + S::TILE_COLUMNS].iter().enumerate() {
                            let inside = mask >> l & 1 == 1;
                            *packed.add(l) = if inside { *source.wrapping_add(*offset) } else { 0.0 };
                        }
                    }
                }
                packed = packed.add(S::TILE_COLUMNS);
            }
            source = source.wrapping_add(problem.channel_pitch);
        }
        inner += channels;
    }
}

/// Stores the product of `weights` and the planes of `problem` in `out`, whose first element is the group's first output.
fn multiply<S: Simd, D: DerefMut<Target = [f32]> + Sync>(
    simd: S,
    problem: &PlaneProblem,
    weights: &PackedWeights<D>,
    out: SharedOut,
    store: Store,
) {
    let pixels = problem.grid.0 * problem.grid.1;
    let tiles = pixels.div_ceil(S::TILE_COLUMNS);
    let map = TileMap::new(simd, problem);
    let pixel_blocks = tiles.div_ceil(TASK_PIXELS / S::TILE_COLUMNS);
    let block_tiles = tiles.div_ceil(pixel_blocks);
    let panels = weights.rows.div_ceil(S::TILE_ROWS);
    // Few pixels: split the output channels too. Each split packs its own tiles, so no more of them than needed.
    let wanted = 2 * rayon::current_num_threads();
    let row_blocks = wanted.div_ceil(problem.images * pixel_blocks).min(panels);
    let block_panels = panels.div_ceil(row_blocks);
    let longest = weights.blocks.iter().map(|(from, to)| to - from).max().unwrap_or(0);

    (0..problem.images * pixel_blocks * row_blocks).into_par_iter().for_each(|task| {
        let image = task / (pixel_blocks * row_blocks);
        let tile_from = (task / row_blocks % pixel_blocks) * block_tiles;
        let tile_to = (tile_from + block_tiles).min(tiles);
        let panel_from = (task % row_blocks) * block_panels;
        let panel_to = (panel_from + block_panels).min(panels);
        if tile_from >= tile_to || panel_from >= panel_to {
            return;
        }
        let input = problem.input[image * problem.image_pitch..].as_ptr();
        let mut packed = Scratch::take(longest * S::TILE_COLUMNS * block_tiles);
        for (index, &block) in weights.blocks.iter().enumerate() {
            let packed_tile = (block.1 - block.0) * S::TILE_COLUMNS;
            simd.vectorize(
                #[inline(always)]
                || {
                    for (tile, packed) in (tile_from..tile_to).zip(packed.chunks_mut(packed_tile)) {
                        // SAFETY: `input` starts image `image`; the chunk has the packed size.
                        unsafe { pack_tile(simd, problem, &map, input, tile, block, packed.as_mut_ptr()) };
                    }
                },
            );
            for panel in panel_from..panel_to {
                let rows = S::TILE_ROWS.min(weights.rows - panel * S::TILE_ROWS);
                let a = weights.panel(simd, block, panel).as_ptr();
                for (tile, packed) in (tile_from..tile_to).zip(packed.chunks(packed_tile)) {
                    let columns = S::TILE_COLUMNS.min(pixels - tile * S::TILE_COLUMNS);
                    let at = image * problem.out_image_pitch
                        + panel * S::TILE_ROWS * pixels
                        + tile * S::TILE_COLUMNS;
                    // SAFETY: this task alone writes these rows and columns of this image; only `rows × columns`
                    // values of the tile are touched.
                    unsafe {
                        product_part(
                            simd,
                            block.1 - block.0,
                            a,
                            packed.as_ptr(),
                            out.at(at),
                            pixels,
                            (rows, columns),
                            index > 0 || store == Store::Add,
                        );
                    }
                }
            }
        }
    });
}

/// [`Simd::product_tile`] of which only the first `rows × columns` values of `c` exist.
///
/// # Safety
/// As [`Simd::product_tile`], for that part of `c`.
#[expect(clippy::too_many_arguments, reason = "a matrix product has this many")]
pub(in crate::kernel) unsafe fn product_part<S: Simd>(
    simd: S,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    c_pitch: usize,
    (rows, columns): (usize, usize),
    accumulate: bool,
) {
    if rows == S::TILE_ROWS && columns == S::TILE_COLUMNS {
        // SAFETY: the whole tile exists.
        unsafe { simd.product_tile(depth, a, b, c, c_pitch, accumulate) };
        return;
    }
    // The largest tile of all levels.
    let mut whole = [0.0f32; 8 * 32];
    // SAFETY: `whole` holds a tile; the copied part of `c` exists.
    unsafe {
        simd.product_tile(depth, a, b, whole.as_mut_ptr(), S::TILE_COLUMNS, false);
        for (r, row) in whole.chunks(S::TILE_COLUMNS).enumerate().take(rows) {
            for (j, value) in row.iter().enumerate().take(columns) {
                let target = c.add(r * c_pitch + j);
                *target = if accumulate { *target + value } else { *value };
            }
        }
    }
}

/// The weights of each group, packed for [`forward`] in memory that `room` gives.
pub(super) fn packed<S: Simd, D: DerefMut<Target = [f32]>>(
    simd: S,
    geometry: &Geometry,
    weight: &[f32],
    room: impl Fn(usize) -> D,
) -> Vec<PackedWeights<D>> {
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let taps = geometry.kernel * geometry.kernel;
    let of_group = |group: &[f32]| {
        PackedWeights::new(simd, outputs, inputs * taps, &room, |row, inner| {
            group[(row * inputs + inner % inputs) * taps + inner / inputs]
        })
    };
    weight.chunks(outputs * inputs * taps).map(of_group).collect()
}

/// See [`super::forward_into`].
pub(super) fn forward<S: Simd, D: DerefMut<Target = [f32]> + Sync>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    weights: &[PackedWeights<D>],
    output: &mut [f32],
) {
    let (height, width, stride) = (geometry.height, geometry.width, geometry.stride);
    let grid = (geometry.out_height(), geometry.out_width());
    let Taps { taps, phases } = Taps::new(geometry);
    let split;
    let (source, plane) = if stride == 1 {
        (input, (height, width))
    } else {
        // As wide as the output where that holds every column, so that packing copies instead of gathering.
        let columns = width.div_ceil(stride).max(grid.1);
        let layout = PlaneLayout { rows: height.div_ceil(stride), columns, margin_top: 0, margin_left: 0 };
        split = split_phases(input, (height, width), stride, &phases, &layout);
        (&split[..], (layout.rows, columns))
    };
    let channel_pitch = phases.len() * plane.0 * plane.1;
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    let out = SharedOut::new(output);
    for (group, weights) in weights.iter().enumerate() {
        let problem = PlaneProblem {
            input: &source[group * inputs * channel_pitch..],
            image_pitch: geometry.in_channels * channel_pitch,
            channel_pitch,
            plane,
            images: geometry.batch,
            channels: inputs,
            taps: &taps,
            grid,
            out_image_pitch: geometry.out_channels * grid.0 * grid.1,
        };
        // SAFETY: the offset is that of the group's first output map; groups run one after another.
        let group_out = unsafe { out.offset(group * outputs * grid.0 * grid.1) };
        multiply(simd, &problem, weights, group_out, Store::Replace);
    }
}

/// See [`super::input_gradient_into`]. Input rows of one residue modulo the stride meet the same taps, and for them the
/// gradient is a stride-1 convolution of the output gradient with these taps.
pub(super) fn input_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    let (height, width, stride) = (geometry.height, geometry.width, geometry.stride);
    let plane = (geometry.out_height(), geometry.out_width());
    let (inputs, outputs, tap_count) =
        (geometry.group_inputs(), geometry.group_outputs(), geometry.kernel * geometry.kernel);
    for row_phase in 0..stride.min(height) {
        // The gradients of this row phase's column phases, and how many columns a row of each has; `None` where no tap is met.
        let mut columns_of = Vec::with_capacity(stride);
        for column_phase in 0..stride.min(width) {
            let (numbers, taps) = gradient_taps(geometry, row_phase, column_phase);
            let cells = ((height - row_phase).div_ceil(stride), (width - column_phase).div_ceil(stride));
            if stride > 1 && taps.is_empty() {
                columns_of.push(None);
                continue;
            }
            // As wide as the output gradient where that covers the phase, so that packing copies instead of gathering.
            let grid = if stride == 1 { cells } else { (cells.0, cells.1.max(plane.1)) };
            let mut phase_gradient =
                (stride > 1).then(|| Scratch::take(geometry.batch * geometry.in_channels * grid.0 * grid.1));
            let phase_store = if stride > 1 { Store::Replace } else { store };
            let out = SharedOut::new(match &mut phase_gradient {
                Some(phase) => phase,
                None => input_gradient,
            });
            for group in 0..geometry.groups {
                let problem = PlaneProblem {
                    input: &output_gradient[group * outputs * plane.0 * plane.1..],
                    image_pitch: geometry.out_channels * plane.0 * plane.1,
                    channel_pitch: plane.0 * plane.1,
                    plane,
                    images: geometry.batch,
                    channels: outputs,
                    taps: &taps,
                    grid,
                    out_image_pitch: geometry.in_channels * grid.0 * grid.1,
                };
                let group_weight = &weight[group * outputs * inputs * tap_count..];
                let weights =
                    PackedWeights::new(simd, inputs, outputs * taps.len(), Scratch::take, |row, inner| {
                        group_weight
                            [((inner % outputs) * inputs + row) * tap_count + numbers[inner / outputs]]
                    });
                // SAFETY: the offset is that of the group's first input map; groups run one after another.
                let group_out = unsafe { out.offset(group * inputs * grid.0 * grid.1) };
                multiply(simd, &problem, &weights, group_out, phase_store);
            }
            columns_of.extend(phase_gradient.map(|phase| Some((phase, grid.1))));
        }
        if stride > 1 {
            place_row_phase(geometry, &columns_of, row_phase, input_gradient, store);
        }
    }
}

/// Stores the gradients of one row phase in its rows of the input gradient: column x comes from `phases[x mod stride]`,
/// which has so many columns a row, and is 0 where there is none.
fn place_row_phase(
    geometry: &Geometry,
    phases: &[Option<(Scratch, usize)>],
    row_phase: usize,
    input_gradient: &mut [f32],
    store: Store,
) {
    let (height, width, stride) = (geometry.height, geometry.width, geometry.stride);
    let rows = (height - row_phase).div_ceil(stride);
    input_gradient.par_chunks_mut(height * width).enumerate().for_each(|(map, gradient)| {
        let source = |column_phase: usize, y: usize| {
            let (values, columns) = phases[column_phase].as_ref()?;
            Some(&values[(map * rows + y) * columns..][..*columns])
        };
        for y in 0..rows {
            let row = &mut gradient[(y * stride + row_phase) * width..][..width];
            if phases.len() == 2 && stride == 2 && store == Store::Replace {
                interleave(row, source(0, y), source(1, y));
                continue;
            }
            for column_phase in 0..phases.len() {
                let cells = row[column_phase..].iter_mut().step_by(stride);
                match source(column_phase, y) {
                    Some(values) => cells.zip(values).for_each(|(cell, value)| store.put(cell, *value)),
                    None if store == Store::Replace => cells.for_each(|cell| *cell = 0.0),
                    None => {}
                }
            }
        }
    });
}

/// Fills a row from its even and its odd columns; 0 where they are missing.
fn interleave(row: &mut [f32], even: Option<&[f32]>, odd: Option<&[f32]>) {
    let (pairs, last) = row.as_chunks_mut::<2>();
    let count = pairs.len();
    match (even, odd) {
        (Some(even), Some(odd)) => {
            let values = even[..count].iter().zip(&odd[..count]);
            pairs.iter_mut().zip(values).for_each(|(pair, (even, odd))| *pair = [*even, *odd]);
        }
        (Some(even), None) => pairs.iter_mut().zip(even).for_each(|(pair, even)| *pair = [*even, 0.0]),
        (None, Some(odd)) => pairs.iter_mut().zip(odd).for_each(|(pair, odd)| *pair = [0.0, *odd]),
        (None, None) => pairs.fill([0.0; 2]),
    }
    last.iter_mut().for_each(|cell| *cell = even.map_or(0.0, |even| even[count]));
}
