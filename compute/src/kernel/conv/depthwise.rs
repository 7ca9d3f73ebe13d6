//! Depthwise convolution: one input and one output channel a group, 3×3 or 5×5, stride 1 or 2.
//!
//! There is no matrix product to win anything with: every map is read once, in [`strip`]s with zeros around them, and the
//! sums over the window stay in registers.
//!
//! The input gradient is a stride-1 convolution of the output gradient with the turned kernel. With stride 2 it is one for
//! each of the 2 × 2 phases of input cells, with every second row and column of the kernel ([`pass`]).

mod pass;
mod strip;
mod weight_gradient;

use super::Geometry;
use crate::kernel::Store;
use crate::kernel::memory::Scratch;
use crate::kernel::simd::Simd;
use pass::Pass;
use strip::{Reach, StripLayout};
pub(super) use weight_gradient::weight_gradient;

/// Whether `geometry` is a depthwise convolution of a kind that is computed here.
pub(super) fn fits(geometry: &Geometry) -> bool {
    let Geometry { groups, in_channels, out_channels, kernel, stride, .. } = *geometry;
    groups > 1
        && groups == in_channels
        && groups == out_channels
        && matches!((kernel, stride), (3 | 5, 1 | 2))
}

/// Strips of the input, of which output cells read windows.
fn input_strips<S: Simd>(simd: S, geometry: &Geometry) -> StripLayout {
    let left = geometry.padding.left as isize;
    let reach = Reach {
        rows: geometry.out_height(),
        row_step: geometry.stride,
        window_rows: geometry.kernel,
        first_row: -(geometry.padding.top as isize),
        columns: geometry.out_width(),
        offsets: (-left, geometry.kernel as isize - 1 - left),
    };
    StripLayout::new(simd, (geometry.height, geometry.width), geometry.stride, reach)
}

/// See [`super::forward_into`].
pub(super) fn forward<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) {
    let target = (geometry.out_height(), geometry.out_width());
    let strips = input_strips(simd, geometry);
    let left = -(geometry.padding.left as isize);
    let store = Store::Replace;
    match (geometry.kernel, geometry.stride) {
        (3, 1) => Pass::<1, 3, 1>::new(target, strips, [0], [left]).run(simd, input, weight, output, store),
        (3, _) => Pass::<1, 3, 2>::new(target, strips, [0], [left]).run(simd, input, weight, output, store),
        (_, 1) => Pass::<1, 5, 1>::new(target, strips, [0], [left]).run(simd, input, weight, output, store),
        _ => Pass::<1, 5, 2>::new(target, strips, [0], [left]).run(simd, input, weight, output, store),
    }
}

/// See [`super::input_gradient_into`].
pub(super) fn input_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    let (from, to) = (output_gradient, input_gradient);
    match (geometry.kernel, geometry.stride) {
        (3, 1) => gradient_pass::<S, 1, 3>(simd, geometry, from, weight, to, store),
        (3, _) => gradient_pass::<S, 2, 2>(simd, geometry, from, weight, to, store),
        (_, 1) => gradient_pass::<S, 1, 5>(simd, geometry, from, weight, to, store),
        _ => gradient_pass::<S, 2, 3>(simd, geometry, from, weight, to, store),
    }
}

/// The input gradient for one `STRIDE`, with `SIDE` taps of every phase in each direction.
///
/// Input row `s · y + p` receives tap k from output row `y + (p + pad − k) / s`, where that is whole: with
/// `p + pad = s · d + r` these are the taps `r + s · j` from the output rows `y + d − j`. Columns are the same.
fn gradient_pass<S: Simd, const STRIDE: usize, const SIDE: usize>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    let Geometry { height, width, kernel, padding, .. } = *geometry;
    // The first output row (column) of the window that phase p reads.
    let first = |phase: usize, pad: usize| ((phase + pad) / STRIDE) as isize - (SIDE - 1) as isize;
    let first_row = first(0, padding.top);
    let rows: [usize; STRIDE] = std::array::from_fn(|p| (first(p, padding.top) - first_row) as usize);
    let columns: [isize; STRIDE] = std::array::from_fn(|q| first(q, padding.left));
    let reach = Reach {
        rows: height.div_ceil(STRIDE),
        row_step: 1,
        window_rows: rows[STRIDE - 1] + SIDE,
        first_row,
        columns: width.div_ceil(STRIDE),
        offsets: (columns[0], columns[STRIDE - 1] + (SIDE - 1) as isize),
    };
    let strips = StripLayout::new(simd, (geometry.out_height(), geometry.out_width()), 1, reach);

    // The taps that the windows `[p][q][SIDE][SIDE]` meet; none where a phase has fewer than SIDE.
    let tap = |phase: usize, pad: usize, at: usize| {
        Some((phase + pad) % STRIDE + STRIDE * (SIDE - 1 - at)).filter(|tap| *tap < kernel)
    };
    let mut taps = Vec::with_capacity(STRIDE * STRIDE * SIDE * SIDE);
    for p in 0..STRIDE {
        for q in 0..STRIDE {
            for ky in 0..SIDE {
                for kx in 0..SIDE {
                    let tap = tap(p, padding.top, ky).zip(tap(q, padding.left, kx));
                    taps.push(tap.map(|(ky, kx)| ky * kernel + kx));
                }
            }
        }
    }
    let mut kernels = Scratch::take(geometry.groups * taps.len());
    for (kernels, weight) in kernels.chunks_exact_mut(taps.len()).zip(weight.chunks_exact(kernel * kernel)) {
        for (value, tap) in kernels.iter_mut().zip(&taps) {
            *value = tap.map_or(0.0, |tap| weight[tap]);
        }
    }
    Pass::<STRIDE, SIDE, 1>::new((height, width), strips, rows, columns).run(
        simd,
        output_gradient,
        &kernels,
        input_gradient,
        store,
    );
}
