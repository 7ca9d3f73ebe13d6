//! Depthwise convolution: one input and one output channel a group.
//!
//! There is no matrix product to win anything with, so a map is copied into zero-bordered phase planes and every tap
//! becomes one shifted stream over them, computed at the planes' pitch; the columns between output width and pitch are
//! thrown away. The input gradient is the same with the output gradient as the map, once for every phase of the stride.

use super::Geometry;
use super::planes::{PlaneLayout, Tap, Taps, gradient_taps, split_map};
use crate::kernel::Store;
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

    /// Length of the planes of a map, with what streams read after them.
    fn planes_len<S: Simd>(&self, simd: S) -> usize {
        let end = self.starts.iter().max().map_or(0, |start| start + self.out_len(simd));
        end.max(self.phases.len() * self.layout.size())
    }

    /// Writes the planes of one map, and zeros after them.
    fn fill(&self, map: &[f32], size: (usize, usize), stride: usize, planes: &mut [f32]) {
        let (planes, rest) = planes.split_at_mut(self.phases.len() * self.layout.size());
        split_map(map, size, stride, &self.phases, &self.layout, planes);
        rest.fill(0.0);
    }

    /// The streams' output for one map, at the planes' pitch, in `out`.
    fn convolve<S: Simd>(&self, simd: S, planes: &[f32], weights: &[f32], out: &mut [f32]) {
        simd.vectorize(
            #[inline(always)]
            || stream_taps(simd, out, planes, &self.starts, weights),
        );
    }

    /// The rows of `out`, without what lies beyond the output's width.
    fn out_rows<'a>(&self, out: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let columns = self.columns;
        out.chunks(self.layout.columns).take(self.rows).map(move |row| &row[..columns])
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
    let buffers = || (Scratch::take(streams.planes_len(simd)), Scratch::take(streams.out_len(simd)));
    maps.enumerate().for_each_init(buffers, |(planes, out), (map, (output, input))| {
        let channel = map % geometry.in_channels;
        streams.fill(input, size, geometry.stride, planes);
        streams.convolve(simd, planes, &weight[channel * taps.len()..][..taps.len()], out);
        for (target, row) in output.chunks_mut(streams.columns).zip(streams.out_rows(out)) {
            target.copy_from_slice(row);
        }
    });
}

/// Input cells that share a residue modulo the stride, in rows and in columns.
struct GradientPhase {
    row: usize,
    column: usize,
    /// The kernel's taps these cells meet.
    taps: Vec<usize>,
    streams: Streams,
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
    let (height, width, stride) = (geometry.height, geometry.width, geometry.stride);
    let out_size = (geometry.out_height(), geometry.out_width());
    let tap_count = geometry.kernel * geometry.kernel;
    let mut phases = Vec::new();
    for row in 0..stride.min(height) {
        for column in 0..stride.min(width) {
            let (taps, moves) = gradient_taps(geometry, row, column);
            let (rows, columns) = ((height - row).div_ceil(stride), (width - column).div_ceil(stride));
            let streams = Streams::new(&moves, vec![(0, 0)], rows, columns);
            phases.push(GradientPhase { row, column, taps, streams });
        }
    }
    let longest =
        |len: fn(&Streams, S) -> usize| phases.iter().map(|p| len(&p.streams, simd)).max().unwrap_or(0);
    let (planes_len, out_len) = (longest(Streams::planes_len), longest(Streams::out_len));
    let maps = input_gradient
        .par_chunks_mut(height * width)
        .zip(output_gradient.par_chunks(out_size.0 * out_size.1));
    let buffers = || (Scratch::take(planes_len), Scratch::take(out_len), Vec::new());
    maps.enumerate().for_each_init(buffers, |(planes, out, weights), (map, (gradient, output_gradient))| {
        let kernel = &weight[map % geometry.in_channels * tap_count..][..tap_count];
        for GradientPhase { row, column, taps, streams } in &phases {
            let (planes, out) = (&mut planes[..streams.planes_len(simd)], &mut out[..streams.out_len(simd)]);
            streams.fill(output_gradient, out_size, 1, planes);
            weights.clear();
            weights.extend(taps.iter().map(|t| kernel[*t]));
            streams.convolve(simd, planes, weights, out);
            for (y, source) in streams.out_rows(out).enumerate() {
                let target =
                    &mut gradient[(y * stride + row) * width + column..(y * stride + row + 1) * width];
                if stride == 1 {
                    store.put_all(target, source);
                } else {
                    target
                        .iter_mut()
                        .step_by(stride)
                        .zip(source)
                        .for_each(|(cell, value)| store.put(cell, *value));
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
    let buffers = || {
        let mut spread = Scratch::take(streams.out_len(simd));
        // Stays 0 where no output is.
        spread.fill(0.0);
        (Scratch::take(streams.planes_len(simd)), spread)
    };
    let channels = weight_gradient.par_chunks_mut(taps.len()).enumerate();
    channels.for_each_init(buffers, |(planes, spread), (channel, gradient)| {
        gradient.fill(0.0);
        for image in 0..geometry.batch {
            let map = image * geometry.in_channels + channel;
            streams.fill(&input[map * map_size..][..map_size], size, geometry.stride, planes);
            let rows = output_gradient[map * out_size..][..out_size].chunks(streams.columns);
            for (spread, row) in spread.chunks_mut(streams.layout.columns).zip(rows) {
                spread[..streams.columns].copy_from_slice(row);
            }
            simd.vectorize(
                #[inline(always)]
                || correlate(simd, gradient, spread, planes, &streams.starts),
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
