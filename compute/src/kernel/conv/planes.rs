//! Strides taken apart: a map split into its `stride × stride` phase planes, in which every kernel tap moves by whole cells.
//!
//! With stride s, tap k reads input row `s·y + k − pad`. Write `k − pad = s·d + r` with `0 ≤ r < s`: that is row `y + d`
//! of the plane made of rows r, r + s, r + 2s, … Columns are the same.

use super::Geometry;
use crate::kernel::memory::Scratch;
use rayon::prelude::*;

/// One kernel tap: output cell (y, x) reads cell (y + dy, x + dx) of plane `plane`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Index into [`Taps::phases`].
    pub(super) plane: usize,
    /// Row offset.
    pub(super) dy: isize,
    /// Column offset.
    pub(super) dx: isize,
}

/// All taps of a kernel, row-major, and the phase planes they read.
pub(super) struct Taps {
    /// The taps.
    pub(super) taps: Vec<Tap>,
    /// (row, column) phases that some tap reads, each below the stride.
    pub(super) phases: Vec<(usize, usize)>,
}

impl Taps {
    /// The taps of `geometry`'s forward pass.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let (side, stride) = (geometry.kernel, geometry.stride as isize);
        let split = |k: usize, pad: usize| {
            let offset = k as isize - pad as isize;
            (offset.div_euclid(stride), offset.rem_euclid(stride) as usize)
        };
        let mut phases = Vec::new();
        let mut taps = Vec::new();
        for ky in 0..side {
            for kx in 0..side {
                let (dy, row_phase) = split(ky, geometry.padding.top);
                let (dx, column_phase) = split(kx, geometry.padding.left);
                let phase = (row_phase, column_phase);
                let plane = phases.iter().position(|p| *p == phase).unwrap_or(phases.len());
                if plane == phases.len() {
                    phases.push(phase);
                }
                taps.push(Tap { plane, dy, dx });
            }
        }
        Self { taps, phases }
    }
}

/// The taps that input cells of one phase of the stride meet, and their numbers in the kernel.
///
/// Input row `stride · y + phase` receives tap k from output row `y + (phase + pad − k) / stride`, where that is whole.
pub(super) fn gradient_taps(
    geometry: &Geometry,
    row_phase: usize,
    column_phase: usize,
) -> (Vec<usize>, Vec<Tap>) {
    let (side, stride) = (geometry.kernel, geometry.stride as isize);
    let shift = |phase: usize, pad: usize, k: usize| {
        let offset = (phase + pad) as isize - k as isize;
        (offset.rem_euclid(stride) == 0).then(|| offset.div_euclid(stride))
    };
    (0..side * side)
        .filter_map(|t| {
            let dy = shift(row_phase, geometry.padding.top, t / side)?;
            let dx = shift(column_phase, geometry.padding.left, t % side)?;
            Some((t, Tap { plane: 0, dy, dx }))
        })
        .unzip()
}

/// Where a phase plane's cells come from: `margin` rows and columns of the plane lie before the map's first.
pub(super) struct PlaneLayout {
    /// Rows of a plane.
    pub(super) rows: usize,
    /// Columns of a plane.
    pub(super) columns: usize,
    /// Rows above the map's row `phase`.
    pub(super) margin_top: usize,
    /// Columns left of the map's column `phase`.
    pub(super) margin_left: usize,
}

impl PlaneLayout {
    /// The smallest planes in which every tap of every cell of a `rows × columns` output stays inside, and where in a
    /// plane the first output cell finds each tap.
    pub(super) fn around(taps: &[Tap], rows: usize, columns: usize) -> (Self, Vec<usize>) {
        // At least the range of offset 0, so that the margins are not negative.
        let bounds = |offset: fn(&Tap) -> isize| {
            taps.iter().map(offset).fold((0, 0), |(low, high), d| (low.min(d), high.max(d)))
        };
        let ((top, bottom), (left, right)) = (bounds(|tap| tap.dy), bounds(|tap| tap.dx));
        let layout = Self {
            rows: rows + (bottom - top) as usize,
            columns: columns + (right - left) as usize,
            margin_top: -top as usize,
            margin_left: -left as usize,
        };
        let starts = taps
            .iter()
            .map(|tap| {
                let (y, x) = ((tap.dy - top) as usize, (tap.dx - left) as usize);
                tap.plane * layout.size() + y * layout.columns + x
            })
            .collect();
        (layout, starts)
    }

    /// Cells of a plane.
    pub(super) fn size(&self) -> usize {
        self.rows * self.columns
    }
}

/// Copies the phase planes of every `[height, width]` map of `input` to `[maps][phases][rows][columns]`; see
/// [`split_map`].
pub(super) fn split_phases(
    input: &[f32],
    size: (usize, usize),
    stride: usize,
    phases: &[(usize, usize)],
    layout: &PlaneLayout,
) -> Scratch {
    let map_size = size.0 * size.1;
    let split_size = phases.len() * layout.size();
    let mut planes = Scratch::take(input.len() / map_size * split_size);
    planes
        .par_chunks_mut(split_size)
        .zip(input.par_chunks(map_size))
        .for_each(|(planes, map)| split_map(map, size, stride, phases, layout, planes));
    planes
}

/// Copies the phase planes of one map of `size` rows and columns to `planes`, `[phases][rows][columns]`. Cells outside the
/// map are 0, cells of the map that do not fit the layout are dropped.
pub(super) fn split_map(
    map: &[f32],
    (height, width): (usize, usize),
    stride: usize,
    phases: &[(usize, usize)],
    layout: &PlaneLayout,
    planes: &mut [f32],
) {
    for (plane, &(row_phase, column_phase)) in planes.chunks_mut(layout.size()).zip(phases) {
        for (y, row) in plane.chunks_mut(layout.columns).enumerate() {
            let source = y
                .checked_sub(layout.margin_top)
                .map(|y| y * stride + row_phase)
                .filter(|y| *y < height)
                .and_then(|y| map[y * width..(y + 1) * width].get(column_phase..));
            let Some(cells) = source else {
                row.fill(0.0);
                continue;
            };
            let (margin, row) = row.split_at_mut(layout.margin_left.min(row.len()));
            let (row, rest) = row.split_at_mut(cells.len().div_ceil(stride).min(row.len()));
            margin.fill(0.0);
            rest.fill(0.0);
            match stride {
                1 => row.copy_from_slice(&cells[..row.len()]),
                // Pairs, so that it vectorises; an odd one out has no partner.
                2 => {
                    let (pairs, last) = cells.as_chunks::<2>();
                    row.iter_mut().zip(pairs).for_each(|(cell, pair)| *cell = pair[0]);
                    row.iter_mut().skip(pairs.len()).zip(last).for_each(|(cell, value)| *cell = *value);
                }
                _ => {
                    row.iter_mut().zip(cells.iter().step_by(stride)).for_each(|(cell, value)| *cell = *value)
                }
            }
        }
    }
}
