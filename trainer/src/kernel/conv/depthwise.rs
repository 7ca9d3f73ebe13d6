//! Depthwise convolution: one input and one output channel a group.
//!
//! There is no matrix product to win anything with: every map is read once, in [`strip`]s with zeros around them, and the
//! sums over the window stay in registers.
//!
//! The input gradient is a stride-1 convolution of the output gradient with the turned kernel. With stride s it is one for
//! each of the s × s phases of input cells, with every s-th row and column of the kernel, and the phases are put together
//! again ([`Pass`]).

mod strip;

use super::Geometry;
use crate::kernel::Store;
use crate::kernel::memory::Scratch;
use crate::kernel::simd::{Simd, lanes};
use rayon::prelude::*;
use strip::{BLOCK_ROWS, Reach, StripLayout, load_up_to, store_up_to};

/// `target[spread · y + p][spread · x + q] = Σ kernels[p][q][ky][kx] · source[step · y + rows[p] + ky][… columns[q][kx] + x]`
/// for every map: the forward pass has spread 1 and step s, the input gradient spread s and step 1.
struct Pass {
    /// Height and width of a target map.
    target: (usize, usize),
    /// Phases of the target, in rows and in columns.
    spread: usize,
    /// Rows and columns of every phase's kernel.
    side: usize,
    /// Source rows from one target row of a phase to the next.
    step: usize,
    layout: StripLayout,
    /// The strip row in which a window of target row 0 starts, by row phase.
    rows: Vec<usize>,
    /// The columns of a strip's row under target column 0, `[column phase][side]`.
    columns: Vec<usize>,
}

impl Pass {
    /// Computes all maps of `targets` from those of `sources`, with the kernels `[channels][spread][spread][side][side]`.
    fn run<S: Simd>(&self, simd: S, sources: &[f32], kernels: &[f32], targets: &mut [f32], store: Store) {
        let kernel_len = self.spread * self.spread * self.side * self.side;
        let channels = kernels.len() / kernel_len;
        let maps = targets
            .par_chunks_mut(self.target.0 * self.target.1)
            .zip(sources.par_chunks(self.layout.map_len()));
        maps.enumerate().for_each_init(
            || self.layout.buffer(),
            |strip, (map, (target, source))| {
                let kernel = &kernels[map % channels * kernel_len..][..kernel_len];
                let sizes = (self.spread, self.side, self.step);
                simd.vectorize(
                    #[inline(always)]
                    || match sizes {
                        // The usual ones, compiled with their sizes.
                        (1, 3, 1) => self.run_map(simd, (1, 3, 1), source, kernel, target, store, strip),
                        (1, 3, 2) => self.run_map(simd, (1, 3, 2), source, kernel, target, store, strip),
                        (2, 2, 1) => self.run_map(simd, (2, 2, 1), source, kernel, target, store, strip),
                        (1, 5, 1) => self.run_map(simd, (1, 5, 1), source, kernel, target, store, strip),
                        (1, 5, 2) => self.run_map(simd, (1, 5, 2), source, kernel, target, store, strip),
                        (2, 3, 1) => self.run_map(simd, (2, 3, 1), source, kernel, target, store, strip),
                        _ => self.run_map(simd, sizes, source, kernel, target, store, strip),
                    },
                );
            },
        );
    }

    /// One map. `sizes` are spread, side and step, which the caller may know at compile time.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined with constants")]
    fn run_map<S: Simd>(
        &self,
        simd: S,
        sizes: (usize, usize, usize),
        source: &[f32],
        kernel: &[f32],
        target: &mut [f32],
        store: Store,
        strip: &mut [f32],
    ) {
        let (spread, side, _) = sizes;
        let (height, width) = self.target;
        let strips = target.chunks_mut(self.layout.out_rows * spread * width);
        for (index, target) in strips.enumerate() {
            let first = index * self.layout.out_rows;
            let target_rows = (height - first * spread).min(self.layout.out_rows * spread);
            self.layout.fill(simd, source, first, target_rows.div_ceil(spread), strip);
            for (p, kernel) in kernel.chunks_exact(spread * side * side).enumerate() {
                // Rows p, p + spread, …
                let rows = (target_rows + spread - 1 - p) / spread;
                let blocks = rows / BLOCK_ROWS * BLOCK_ROWS;
                for y in (0..blocks).step_by(BLOCK_ROWS) {
                    self.run_rows::<S, BLOCK_ROWS>(simd, sizes, (p, y), strip, kernel, target, store);
                }
                for y in blocks..rows {
                    self.run_rows::<S, 1>(simd, sizes, (p, y), strip, kernel, target, store);
                }
            }
        }
    }

    /// `ROWS` target rows of row phase `p`, from the phase's row `y` of the strip on.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined with constants")]
    fn run_rows<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        (spread, side, step): (usize, usize, usize),
        (p, y): (usize, usize),
        strip: &[f32],
        kernel: &[f32],
        target: &mut [f32],
        store: Store,
    ) {
        let width = self.target.1;
        let (pitch, taps) = (self.layout.pitch, side * side);
        assert!(kernel.len() == spread * taps && self.columns.len() == spread * side);
        let strip = &strip[(self.rows[p] + y * step) * pitch..];
        let mut windows = [[simd.splat(0.0); ROWS]; 2];
        for x in (0..width.div_ceil(spread)).step_by(S::LANES) {
            for pair in (0..spread).step_by(2) {
                for (q, sums) in (pair..spread).zip(&mut windows) {
                    let (kernel, columns) = (&kernel[q * taps..][..taps], &self.columns[q * side..][..side]);
                    // SAFETY: the layout was made for windows of these rows and columns.
                    *sums =
                        unsafe { window(simd, (side, step), strip.as_ptr().add(x), pitch, columns, kernel) };
                }
                for r in 0..ROWS {
                    let row = &mut target[((y + r) * spread + p) * width..][..width];
                    match spread {
                        1 => put(simd, store, &mut row[x..], windows[0][r]),
                        2 => {
                            let (low, high) = simd.interleave(windows[0][r], windows[1][r]);
                            put(simd, store, &mut row[2 * x..], low);
                            put(simd, store, &mut row[(2 * x + S::LANES).min(width)..], high);
                        }
                        _ => {
                            for (q, sums) in (pair..spread).zip(windows) {
                                let cells = row.iter_mut().skip(x * spread + q).step_by(spread);
                                cells
                                    .zip(&lanes(simd, sums[r])[..S::LANES])
                                    .for_each(|(cell, v)| store.put(cell, *v));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Stores as many lanes as `target` has values for.
#[inline(always)]
fn put<S: Simd>(simd: S, store: Store, target: &mut [f32], value: S::Vector) {
    // SAFETY: no more lanes than `target` has values for.
    unsafe {
        let value = match store {
            Store::Replace => value,
            Store::Add => simd.add(load_up_to(simd, target.as_ptr(), target.len()), value),
        };
        store_up_to(simd, target.as_mut_ptr(), target.len(), value);
    }
}

/// `sums[r] = Σ kernel[ky][kx] · strip[r · step + ky][columns[kx]]`, for a square window of `side`. With a constant `side`
/// and `step` the loops unroll, and rows that several sums read are loaded once.
///
/// # Safety
/// A vector is readable at every place named above, in rows `pitch` apart.
#[inline(always)]
unsafe fn window<S: Simd, const ROWS: usize>(
    simd: S,
    (side, step): (usize, usize),
    strip: *const f32,
    pitch: usize,
    columns: &[usize],
    kernel: &[f32],
) -> [S::Vector; ROWS] {
    let mut sums = [simd.splat(0.0); ROWS];
    for ky in 0..side {
        for kx in 0..side {
            let weight = simd.splat(kernel[ky * side + kx]);
            for (r, sum) in sums.iter_mut().enumerate() {
                // SAFETY: by contract.
                let cells = unsafe { simd.load(strip.add((r * step + ky) * pitch + columns[kx])) };
                *sum = simd.mul_add(weight, cells, *sum);
            }
        }
    }
    sums
}

/// Strips of the input, for the passes in which output cells read windows of it, and where in them the columns of a window
/// lie.
fn input_strips<S: Simd>(simd: S, geometry: &Geometry) -> (StripLayout, Vec<usize>) {
    let (side, left) = (geometry.kernel as isize, geometry.padding.left as isize);
    let reach = Reach {
        rows: geometry.out_height(),
        row_step: geometry.stride,
        window_rows: geometry.kernel,
        first_row: -(geometry.padding.top as isize),
        columns: geometry.out_width(),
        offsets: (-left, side - 1 - left),
    };
    let layout = StripLayout::new(simd, (geometry.height, geometry.width), geometry.stride, reach);
    let columns = (0..side).map(|kx| layout.column(kx - left)).collect();
    (layout, columns)
}

/// See [`super::forward_into`].
pub(super) fn forward<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) {
    let (layout, columns) = input_strips(simd, geometry);
    let pass = Pass {
        target: (geometry.out_height(), geometry.out_width()),
        spread: 1,
        side: geometry.kernel,
        step: geometry.stride,
        layout,
        rows: vec![0],
        columns,
    };
    pass.run(simd, input, weight, output, Store::Replace);
}

/// See [`super::input_gradient_into`].
///
/// Input row `s · y + p` receives tap k from output row `y + (p + pad − k) / s`, where that is whole: with
/// `p + pad = s · d + r` these are the taps `r + s · j` from the output rows `y + d − j`. Columns are the same.
pub(super) fn input_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    let Geometry { height, width, stride, kernel, padding, .. } = *geometry;
    let side = kernel.div_ceil(stride);
    // The first row (column) of the window that phase p reads.
    let first = |phase: usize, pad: usize| ((phase + pad) / stride) as isize - (side - 1) as isize;
    let first_row = first(0, padding.top);
    let reach = Reach {
        rows: height.div_ceil(stride),
        row_step: 1,
        window_rows: (first(stride - 1, padding.top) - first_row) as usize + side,
        first_row,
        columns: width.div_ceil(stride),
        offsets: (first(0, padding.left), first(stride - 1, padding.left) + side as isize - 1),
    };
    let layout = StripLayout::new(simd, (geometry.out_height(), geometry.out_width()), 1, reach);
    let columns = (0..stride)
        .flat_map(|q| (0..side as isize).map(move |kx| (q, kx)))
        .map(|(q, kx)| layout.column(first(q, padding.left) + kx))
        .collect();
    let pass = Pass {
        target: (height, width),
        spread: stride,
        side,
        step: 1,
        layout,
        rows: (0..stride).map(|p| (first(p, padding.top) - first_row) as usize).collect(),
        columns,
    };
    // The tap that cell `at` of a phase's window meets, if any.
    let tap = |phase: usize, pad: usize, at: usize| {
        Some((phase + pad) % stride + stride * (side - 1 - at)).filter(|tap| *tap < kernel)
    };
    let mut kernels = Scratch::take(geometry.groups * (stride * side).pow(2));
    for (kernels, weight) in kernels.chunks_mut((stride * side).pow(2)).zip(weight.chunks(kernel * kernel)) {
        for (i, value) in kernels.iter_mut().enumerate() {
            let (kx, ky) = (i % side, i / side % side);
            let (q, p) = (i / (side * side) % stride, i / (side * side * stride));
            *value = match (tap(p, padding.top, ky), tap(q, padding.left, kx)) {
                (Some(ky), Some(kx)) => weight[ky * kernel + kx],
                _ => 0.0,
            };
        }
    }
    pass.run(simd, output_gradient, &kernels, input_gradient, store);
}

/// See [`super::weight_gradient_into`].
pub(super) fn weight_gradient<S: Simd>(
    simd: S,
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let (layout, columns) = input_strips(simd, geometry);
    let (side, step) = (geometry.kernel, geometry.stride);
    let (map_len, out_width) = (layout.map_len(), geometry.out_width());
    let out_len = geometry.out_height() * out_width;
    let sums_len = side * side * S::LANES;
    let channels = weight_gradient.par_chunks_mut(side * side).enumerate();
    let buffers = || (layout.buffer(), Scratch::take(sums_len));
    channels.for_each_init(buffers, |(strip, sums), (channel, gradient)| {
        sums.fill(0.0);
        for image in 0..geometry.batch {
            let map = image * geometry.in_channels + channel;
            let input = &input[map * map_len..][..map_len];
            let output_gradient = &output_gradient[map * out_len..][..out_len];
            for (index, rows) in output_gradient.chunks(layout.out_rows * out_width).enumerate() {
                simd.vectorize(
                    #[inline(always)]
                    || {
                        layout.fill(simd, input, index * layout.out_rows, rows.len() / out_width, strip);
                        let correlation = Correlation { rows, out_width, strip, pitch: layout.pitch };
                        match (side, step) {
                            (3, 1) => correlation.add::<S, 3, 3>(simd, (3, 1), &columns, sums),
                            (3, 2) => correlation.add::<S, 3, 3>(simd, (3, 2), &columns, sums),
                            (5, 1) => correlation.add::<S, 2, 5>(simd, (5, 1), &columns, sums),
                            (5, 2) => correlation.add::<S, 2, 5>(simd, (5, 2), &columns, sums),
                            _ => correlation.add::<S, 1, 1>(simd, (side, step), &columns, sums),
                        }
                    },
                );
            }
        }
        for (gradient, sums) in gradient.iter_mut().zip(sums.chunks(S::LANES)) {
            *gradient = sums.iter().sum();
        }
    });
}

/// Rows of an output gradient, and the strip of the input that they read.
struct Correlation<'a> {
    rows: &'a [f32],
    out_width: usize,
    strip: &'a [f32],
    pitch: usize,
}

impl Correlation<'_> {
    /// Adds the products of the gradients with the cells under tap `(ky, kx)` to vector `[ky][kx]` of `sums`, lane by
    /// lane; `ROWS × COLUMNS` taps at a time.
    #[inline(always)]
    fn add<S: Simd, const ROWS: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        (side, step): (usize, usize),
        columns: &[usize],
        sums: &mut [f32],
    ) {
        assert_eq!(sums.len(), side * side * S::LANES);
        for ky in (0..side - side % ROWS).step_by(ROWS) {
            for kx in (0..side).step_by(COLUMNS) {
                let taps = self.block::<S, ROWS, COLUMNS>(simd, step, ky, &columns[kx..][..COLUMNS]);
                for (row, taps) in taps.into_iter().enumerate() {
                    add_vectors(simd, &mut sums[((ky + row) * side + kx) * S::LANES..], taps);
                }
            }
        }
        // The last row of an odd kernel taken by two.
        for ky in side - side % ROWS..side {
            let [taps] = self.block::<S, 1, COLUMNS>(simd, step, ky, &columns[..COLUMNS]);
            add_vectors(simd, &mut sums[ky * side * S::LANES..], taps);
        }
    }

    /// The sums of `ROWS × COLUMNS` taps.
    #[inline(always)]
    fn block<S: Simd, const ROWS: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        step: usize,
        ky: usize,
        columns: &[usize],
    ) -> [[S::Vector; COLUMNS]; ROWS] {
        let mut sums = [[simd.splat(0.0); COLUMNS]; ROWS];
        let rows = self.rows.len() / self.out_width;
        let blocks = rows / BLOCK_ROWS * BLOCK_ROWS;
        for y in (0..blocks).step_by(BLOCK_ROWS) {
            self.rows::<S, BLOCK_ROWS, ROWS, COLUMNS>(simd, step, y, ky, columns, &mut sums);
        }
        for y in blocks..rows {
            self.rows::<S, 1, ROWS, COLUMNS>(simd, step, y, ky, columns, &mut sums);
        }
        sums
    }

    /// Adds what `OUT_ROWS` rows from `y` on contribute.
    #[inline(always)]
    fn rows<S: Simd, const OUT_ROWS: usize, const ROWS: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        step: usize,
        y: usize,
        ky: usize,
        columns: &[usize],
        sums: &mut [[S::Vector; COLUMNS]; ROWS],
    ) {
        let rows = &self.rows[y * self.out_width..][..OUT_ROWS * self.out_width];
        let strip = &self.strip[(y * step + ky) * self.pitch..];
        for x in (0..self.out_width).step_by(S::LANES) {
            for r in 0..OUT_ROWS {
                // SAFETY: inside row r, and inside the strip, which was made for these rows and columns.
                unsafe {
                    let gradient =
                        load_up_to(simd, rows.as_ptr().add(r * self.out_width + x), self.out_width - x);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            let cells = strip.as_ptr().add((r * step + row) * self.pitch + column + x);
                            *sum = simd.mul_add(gradient, simd.load(cells), *sum);
                        }
                    }
                }
            }
        }
    }
}

/// Adds vector i of `vectors` to the i-th of `sums`.
#[inline(always)]
fn add_vectors<S: Simd, const COUNT: usize>(simd: S, sums: &mut [f32], vectors: [S::Vector; COUNT]) {
    for (sum, vector) in sums.chunks_exact_mut(S::LANES).zip(vectors) {
        // SAFETY: chunks of whole vectors.
        unsafe { simd.store(sum.as_mut_ptr(), simd.add(simd.load(sum.as_ptr()), vector)) };
    }
}
