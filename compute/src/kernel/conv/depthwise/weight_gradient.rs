//! The weight gradient: what every tap of the kernel multiplies, summed over all output cells.

use super::strip::{BLOCK_ROWS, load_up_to};
use super::{Geometry, input_strips};
use crate::kernel::memory::Scratch;
use crate::kernel::simd::Simd;
use rayon::prelude::*;

/// See [`super::super::weight_gradient_into`].
pub(in super::super) fn weight_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    match (geometry.kernel, geometry.stride) {
        (3, 1) => channels::<S, 3, 1>(simd, geometry, input, output_gradient, weight_gradient),
        (3, _) => channels::<S, 3, 2>(simd, geometry, input, output_gradient, weight_gradient),
        (_, 1) => channels::<S, 5, 1>(simd, geometry, input, output_gradient, weight_gradient),
        _ => channels::<S, 5, 2>(simd, geometry, input, output_gradient, weight_gradient),
    }
}

fn channels<S: Simd, const SIDE: usize, const STEP: usize>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let strips = input_strips(simd, geometry);
    let columns: [usize; SIDE] =
        std::array::from_fn(|kx| strips.column(kx as isize - geometry.padding.left as isize));
    let (map_len, out_width) = (strips.map_len(), geometry.out_width());
    let out_len = geometry.out_height() * out_width;
    let buffers = || (strips.buffer(), Scratch::take(SIDE * SIDE * S::LANES));
    let channels = weight_gradient.par_chunks_mut(SIDE * SIDE).enumerate();
    channels.for_each_init(buffers, |(strip, sums), (channel, gradient)| {
        sums.fill(0.0);
        for image in 0..geometry.batch {
            let map = image * geometry.in_channels + channel;
            let input = &input[map * map_len..][..map_len];
            let output_gradient = &output_gradient[map * out_len..][..out_len];
            simd.vectorize(
                #[inline(always)]
                || {
                    for (index, rows) in output_gradient.chunks(strips.out_rows * out_width).enumerate() {
                        strips.fill(simd, input, index * strips.out_rows, rows.len() / out_width, strip);
                        let part = Part { rows, width: out_width, strip, pitch: strips.pitch };
                        part.add_products::<S, SIDE, STEP>(simd, &columns, sums);
                    }
                },
            );
        }
        for (gradient, sums) in gradient.iter_mut().zip(sums.chunks_exact(S::LANES)) {
            *gradient = sums.iter().sum();
        }
    });
}

/// Some rows of an output gradient, and the strip of the input that they read.
struct Part<'a> {
    rows: &'a [f32],
    width: usize,
    strip: &'a [f32],
    pitch: usize,
}

impl Part<'_> {
    /// Adds the products of the gradients with the cells under tap `(ky, kx)` to vector `[ky][kx]` of `sums`, lane by
    /// lane.
    #[inline(always)]
    fn add_products<S: Simd, const SIDE: usize, const STEP: usize>(
        &self,
        simd: S,
        columns: &[usize; SIDE],
        sums: &mut [f32],
    ) {
        // As many taps at a time as there are registers for.
        if SIDE == 3 {
            self.add_tap_rows::<S, SIDE, STEP, 3>(simd, 0, columns, sums);
        } else {
            let pairs = SIDE - SIDE % 2;
            for ky in (0..pairs).step_by(2) {
                self.add_tap_rows::<S, SIDE, STEP, 2>(simd, ky, columns, sums);
            }
            for ky in pairs..SIDE {
                self.add_tap_rows::<S, SIDE, STEP, 1>(simd, ky, columns, sums);
            }
        }
    }

    /// [`Self::add_products`] for `TAP_ROWS` rows of taps from `ky` on.
    #[inline(always)]
    fn add_tap_rows<S: Simd, const SIDE: usize, const STEP: usize, const TAP_ROWS: usize>(
        &self,
        simd: S,
        ky: usize,
        columns: &[usize; SIDE],
        sums: &mut [f32],
    ) {
        let mut taps = [[simd.splat(0.0); SIDE]; TAP_ROWS];
        let rows = self.rows.len() / self.width;
        let blocks = rows / BLOCK_ROWS * BLOCK_ROWS;
        for y in (0..blocks).step_by(BLOCK_ROWS) {
            self.add_rows::<S, SIDE, STEP, TAP_ROWS, BLOCK_ROWS>(simd, (y, ky), columns, &mut taps);
        }
        for y in blocks..rows {
            self.add_rows::<S, SIDE, STEP, TAP_ROWS, 1>(simd, (y, ky), columns, &mut taps);
        }
        let sums = &mut sums[ky * SIDE * S::LANES..][..TAP_ROWS * SIDE * S::LANES];
        for (sum, tap) in sums.chunks_exact_mut(S::LANES).zip(taps.as_flattened()) {
            // SAFETY: chunks of whole vectors.
            unsafe { simd.store(sum.as_mut_ptr(), simd.add(simd.load(sum.as_ptr()), *tap)) };
        }
    }

    /// Adds what `ROWS` rows of the output gradient from `y` on contribute. The loops inside unroll, and cells that several
    /// rows read are loaded once.
    #[inline(always)]
    fn add_rows<S: Simd, const SIDE: usize, const STEP: usize, const TAP_ROWS: usize, const ROWS: usize>(
        &self,
        simd: S,
        (y, ky): (usize, usize),
        columns: &[usize; SIDE],
        taps: &mut [[S::Vector; SIDE]; TAP_ROWS],
    ) {
        let rows = self.rows[y * self.width..][..ROWS * self.width].as_ptr();
        let strip = self.strip[(y * STEP + ky) * self.pitch..].as_ptr();
        for x in (0..self.width).step_by(S::LANES) {
            for r in 0..ROWS {
                // SAFETY: inside row r, and inside the strip, which was made for these rows and columns.
                unsafe {
                    let gradient = load_up_to(simd, rows.add(r * self.width + x), self.width - x);
                    for (row, taps) in taps.iter_mut().enumerate() {
                        for (tap, column) in taps.iter_mut().zip(columns) {
                            let cells = simd.load(strip.add((r * STEP + row) * self.pitch + column + x));
                            *tap = simd.mul_add(gradient, cells, *tap);
                        }
                    }
                }
            }
        }
    }
}
