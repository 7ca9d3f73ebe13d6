//! Depthwise convolution: one input and one output channel a group.
//!
//! There is no matrix product to win anything with, so a map is copied into zero-bordered phase planes and every tap
//! becomes one shifted stream over them, computed at the planes' pitch; the columns between output width and pitch are
//! thrown away. The input gradient is the same with the output gradient as the map, once for every phase of the stride.

use super::Geometry;
use super::planes::{PlaneLayout, Tap, Taps, gradient_taps, split_map};
use crate::kernel::memory::Scratch;
use crate::kernel::simd::Simd;
use rayon::prelude::*;

/// Vectors computed side by side, to hide the latency of the sums.
const SIDE_BY_SIDE: usize = 4;

/// `out[i] = Σ_t weights[t] · planes[i + starts[t]]`
///
/// Lengths: `out` is a multiple of `SIDE_BY_SIDE` vectors, `planes` reaches that far from every start.
#[inline(always)]
fn stream_taps<S: Simd>(simd: S, out: &mut [f32], planes: &[f32], starts: &[usize], weights: &[f32]) {
    let block = SIDE_BY_SIDE * S::LANES;
    assert!(starts.iter().all(|start| start + out.len() <= planes.len()), "a stream ends inside its planes");
    for (index, out) in out.chunks_exact_mut(block).enumerate() {
        let mut sums = [simd.splat(0.0); SIDE_BY_SIDE];
        for (start, weight) in starts.iter().zip(weights) {
            let weight = simd.splat(*weight);
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: checked above.
                let cells = unsafe { simd.load(planes.as_ptr().add(start + index * block + v * S::LANES)) };
                *sum = simd.mul_add(weight, cells, *sum);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: `out` is `SIDE_BY_SIDE` vectors long.
            unsafe { simd.store(out.as_mut_ptr().add(v * S::LANES), sum) };
        }
    }
}

/// The streams of one problem: `rows × columns` outputs over planes of `layout`.
struct Streams {
    layout: PlaneLayout,
    starts: Vec<usize>,
    phases: Vec<(usize, usize)>,
    rows: usize,
    columns: usize,
}

impl Streams {
    fn new(taps: &[Tap], phases: Vec<(usize, usize)>, rows: usize, columns: usize) -> Self {
        let (layout, starts) = PlaneLayout::around(taps, rows, columns);
        Self { layout, starts, phases, rows, columns }
    }

    /// Outputs at the planes' pitch, rounded up to whole blocks.
    fn out_len<S: Simd>(&self, _: S) -> usize {
        (self.rows * self.layout.columns).next_multiple_of(SIDE_BY_SIDE * S::LANES)
    }

    /// The planes of one map, with zeros after them as far as a stream reads.
    fn fill<S: Simd>(&self, simd: S, map: &[f32], size: (usize, usize), stride: usize) -> Scratch {
        let used = self.phases.len() * self.layout.size();
        let end = self.starts.iter().max().map_or(0, |start| start + self.out_len(simd));
        let mut planes = Scratch::take(used.max(end));
        split_map(map, size, stride, &self.phases, &self.layout, &mut planes[..used]);
        planes[used..].fill(0.0);
        planes
    }
}

/// See [`super::forward_into`].
pub(super) fn forward<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) {
    let Taps { taps, phases } = Taps::new(geometry);
    let streams = Streams::new(&taps, phases, geometry.out_height(), geometry.out_width());
    let size = (geometry.height, geometry.width);
    let maps = output.par_chunks_mut(streams.rows * streams.columns).zip(input.par_chunks(size.0 * size.1));
    maps.enumerate().for_each(|(map, (output, input))| {
        let channel = map % geometry.in_channels;
        let planes = streams.fill(simd, input, size, geometry.stride);
        let mut out = Scratch::take(streams.out_len(simd));
        let weights = &weight[channel * taps.len()..][..taps.len()];
        simd.vectorize(
            #[inline(always)]
            || stream_taps(simd, &mut out, &planes, &streams.starts, weights),
        );
        for (output, out) in output.chunks_mut(streams.columns).zip(out.chunks(streams.layout.columns)) {
            output.copy_from_slice(&out[..streams.columns]);
        }
    });
}

/// See [`super::input_gradient_into`].
pub(super) fn input_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
) {
    let (height, width, stride) = (geometry.height, geometry.width, geometry.stride);
    let out_size = (geometry.out_height(), geometry.out_width());
    let side = geometry.kernel;
    // Rows and columns of the input that share a residue modulo the stride, the taps they meet and those taps' numbers.
    let mut phases = Vec::new();
    for row_phase in 0..stride.min(height) {
        for column_phase in 0..stride.min(width) {
            let (numbers, taps) = gradient_taps(geometry, row_phase, column_phase);
            let rows = (height - row_phase).div_ceil(stride);
            let columns = (width - column_phase).div_ceil(stride);
            phases.push((row_phase, column_phase, numbers, Streams::new(&taps, vec![(0, 0)], rows, columns)));
        }
    }
    let maps = input_gradient
        .par_chunks_mut(height * width)
        .zip(output_gradient.par_chunks(out_size.0 * out_size.1));
    maps.enumerate().for_each(|(map, (gradient, output_gradient))| {
        let channel = map % geometry.in_channels;
        for (row_phase, column_phase, numbers, streams) in &phases {
            let planes = streams.fill(simd, output_gradient, out_size, 1);
            let mut out = Scratch::take(streams.out_len(simd));
            let weights: Vec<f32> = numbers.iter().map(|t| weight[channel * side * side + t]).collect();
            simd.vectorize(
                #[inline(always)]
                || stream_taps(simd, &mut out, &planes, &streams.starts, &weights),
            );
            for (y, out) in out.chunks(streams.layout.columns).enumerate().take(streams.rows) {
                let row = &mut gradient[(y * stride + row_phase) * width..][..width];
                for (cell, value) in row[*column_phase..].iter_mut().step_by(stride).zip(out) {
                    *cell = *value;
                }
            }
        }
    });
}

/// See [`super::weight_gradient_into`].
pub(super) fn weight_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let Taps { taps, phases } = Taps::new(geometry);
    let streams = Streams::new(&taps, phases, geometry.out_height(), geometry.out_width());
    let size = (geometry.height, geometry.width);
    let (map_size, out_size) = (size.0 * size.1, streams.rows * streams.columns);
    weight_gradient.par_chunks_mut(taps.len()).enumerate().for_each(|(channel, gradient)| {
        gradient.fill(0.0);
        let mut spread = Scratch::take(streams.out_len(simd));
        spread.fill(0.0);
        for image in 0..geometry.batch {
            let map = image * geometry.in_channels + channel;
            let planes = streams.fill(simd, &input[map * map_size..][..map_size], size, geometry.stride);
            let map_gradient = &output_gradient[map * out_size..][..out_size];
            for (spread, row) in
                spread.chunks_mut(streams.layout.columns).zip(map_gradient.chunks(streams.columns))
            {
                spread[..streams.columns].copy_from_slice(row);
            }
            simd.vectorize(
                #[inline(always)]
                || correlate(simd, gradient, &spread, &planes, &streams.starts),
            );
        }
    });
}

/// `gradient[t] += Σ_i spread[i] · planes[i + starts[t]]`, for `spread` a multiple of `LANES` long.
#[inline(always)]
fn correlate<S: Simd>(simd: S, gradient: &mut [f32], spread: &[f32], planes: &[f32], starts: &[usize]) {
    const TAPS: usize = 9;
    assert!(
        starts.iter().all(|start| start + spread.len() <= planes.len()),
        "a stream ends inside its planes"
    );
    for (gradient, starts) in gradient.chunks_mut(TAPS).zip(starts.chunks(TAPS)) {
        let mut sums = [simd.splat(0.0); TAPS];
        for i in (0..spread.len()).step_by(S::LANES) {
            // SAFETY: `spread` is a multiple of `LANES` long; the planes' length is checked above.
            unsafe {
                let value = simd.load(spread.as_ptr().add(i));
                for (sum, start) in sums.iter_mut().zip(starts) {
                    *sum = simd.mul_add(value, simd.load(planes.as_ptr().add(start + i)), *sum);
                }
            }
        }
        for (gradient, sum) in gradient.iter_mut().zip(sums) {
            let mut lanes = [0.0f32; 16];
            // SAFETY: no level has more than 16 lanes.
            unsafe { simd.store(lanes.as_mut_ptr(), sum) };
            *gradient += lanes.iter().sum::<f32>();
        }
    }
}
