//! The inner loops of the forward pass and of the input gradient.

use super::strip::{BLOCK_ROWS, StripLayout, load_up_to, store_up_to};
use crate::kernel::Store;
use crate::kernel::simd::Simd;
use rayon::prelude::*;

/// For every map, for phases p and q below `SPREAD`, sums over windows of `SIDE × SIDE` source cells:
/// `target[SPREAD · y + p][SPREAD · x + q] = Σ kernels[p][q][ky][kx] · source[STEP · y + row(p) + ky][STEP · x + column(q) + kx]`
///
/// The forward pass has one phase and the stride as its step, the input gradient has a phase for every step of the stride.
pub(super) struct Pass<const SPREAD: usize, const SIDE: usize, const STEP: usize> {
    height: usize,
    width: usize,
    strips: StripLayout,
    rows: [usize; SPREAD],
    columns: [[usize; SIDE]; SPREAD],
}

/// The kernels of one row phase, every tap in all lanes of a vector.
type Kernels<S, const SPREAD: usize, const SIDE: usize> = [[[<S as Simd>::Vector; SIDE]; SIDE]; SPREAD];

impl<const SPREAD: usize, const SIDE: usize, const STEP: usize> Pass<SPREAD, SIDE, STEP> {
    /// A pass to maps of `target` rows and columns from `strips`. The window of phase p starts in strip row `rows[p]`, that
    /// of phase q in source column `columns[q]`.
    pub(super) fn new(
        target: (usize, usize),
        strips: StripLayout,
        rows: [usize; SPREAD],
        columns: [isize; SPREAD],
    ) -> Self {
        let columns = columns.map(|first| std::array::from_fn(|kx| strips.column(first + kx as isize)));
        Self { height: target.0, width: target.1, strips, rows, columns }
    }

    /// Computes all maps of `targets` from those of `sources`, with the kernels `[channels][p][q][ky][kx]`.
    pub(super) fn run<S: Simd>(
        &self,
        simd: S,
        sources: &[f32],
        kernels: &[f32],
        targets: &mut [f32],
        store: Store,
    ) {
        let kernel_len = SPREAD * SPREAD * SIDE * SIDE;
        let channels = kernels.len() / kernel_len;
        let maps =
            targets.par_chunks_mut(self.height * self.width).zip(sources.par_chunks(self.strips.map_len()));
        maps.enumerate().for_each_init(
            || self.strips.buffer(),
            |strip, (map, (target, source))| {
                let kernels = &kernels[map % channels * kernel_len..][..kernel_len];
                simd.vectorize(
                    #[inline(always)]
                    || self.run_map(simd, source, kernels, target, store, strip),
                );
            },
        );
    }

    /// One map.
    #[inline(always)]
    fn run_map<S: Simd>(
        &self,
        simd: S,
        source: &[f32],
        kernels: &[f32],
        target: &mut [f32],
        store: Store,
        strip: &mut [f32],
    ) {
        assert_eq!(target.len(), self.height * self.width);
        let strip_rows = SPREAD * self.strips.out_rows;
        for first in (0..self.height).step_by(strip_rows) {
            let target_rows = (self.height - first).min(strip_rows);
            self.strips.fill(simd, source, first / SPREAD, target_rows.div_ceil(SPREAD), strip);
            for p in 0..SPREAD {
                let kernels = splat_kernels::<S, SPREAD, SIDE>(simd, &kernels[p * SPREAD * SIDE * SIDE..]);
                // Rows p, p + SPREAD, … of the strip's targets.
                let rows = (target_rows + SPREAD - 1 - p) / SPREAD;
                let blocks = rows / BLOCK_ROWS * BLOCK_ROWS;
                for y in 0..rows {
                    let strip = &strip[(self.rows[p] + y * STEP) * self.strips.pitch..];
                    let target = &mut target[(first + y * SPREAD + p) * self.width..];
                    if y < blocks {
                        if y % BLOCK_ROWS == 0 {
                            self.run_rows::<S, BLOCK_ROWS>(simd, strip, &kernels, target, store);
                        }
                    } else {
                        self.run_rows::<S, 1>(simd, strip, &kernels, target, store);
                    }
                }
            }
        }
    }

    /// `ROWS` target rows of one row phase: the first of `target`, and the following ones of the phase. The windows of the
    /// first start in the first row of `strip`.
    #[inline(always)]
    fn run_rows<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        strip: &[f32],
        kernels: &Kernels<S, SPREAD, SIDE>,
        target: &mut [f32],
        store: Store,
    ) {
        let width = self.width;
        assert!(target.len() >= ((ROWS - 1) * SPREAD + 1) * width);
        let target = target.as_mut_ptr();
        for x in (0..width.div_ceil(SPREAD)).step_by(S::LANES) {
            for r in 0..ROWS {
                // The rows of the next block.
                let next = target.wrapping_add((ROWS + r) * SPREAD * width + x * SPREAD);
                (0..SPREAD).for_each(|v| simd.prefetch(next.wrapping_add(v * S::LANES)));
            }
            // SAFETY: the strip was made for these windows; x is inside the rows of `target`, whose number is checked above.
            unsafe {
                let strip = strip.as_ptr().add(x);
                let even = self.window::<S, ROWS>(simd, strip, &self.columns[0], &kernels[0]);
                if SPREAD == 1 {
                    for (r, sum) in even.into_iter().enumerate() {
                        put(simd, store, target.add(r * width + x), width - x, sum);
                    }
                } else {
                    let odd = self.window::<S, ROWS>(simd, strip, &self.columns[1], &kernels[1]);
                    let (x, left) = (2 * x, width - 2 * x);
                    for r in 0..ROWS {
                        let (low, high) = simd.interleave(even[r], odd[r]);
                        let row = target.add(r * 2 * width + x);
                        put(simd, store, row, left, low);
                        if left > S::LANES {
                            put(simd, store, row.add(S::LANES), left - S::LANES, high);
                        }
                    }
                }
            }
        }
    }

    /// The sums of `ROWS` windows below each other. All loops unroll, and cells of several windows are loaded once.
    ///
    /// # Safety
    /// A vector is readable at all `columns` of all rows of the windows.
    #[inline(always)]
    unsafe fn window<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        strip: *const f32,
        columns: &[usize; SIDE],
        kernel: &[[S::Vector; SIDE]; SIDE],
    ) -> [S::Vector; ROWS] {
        let mut sums = [simd.splat(0.0); ROWS];
        for (ky, kernel) in kernel.iter().enumerate() {
            for (column, weight) in columns.iter().zip(kernel) {
                for (r, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: by contract.
                    let cells = unsafe { simd.load(strip.add((r * STEP + ky) * self.strips.pitch + column)) };
                    *sum = simd.mul_add(*weight, cells, *sum);
                }
            }
        }
        sums
    }
}

/// The kernels `[q][ky][kx]` of one row phase.
#[inline(always)]
fn splat_kernels<S: Simd, const SPREAD: usize, const SIDE: usize>(
    simd: S,
    weights: &[f32],
) -> Kernels<S, SPREAD, SIDE> {
    let mut kernels = [[[simd.splat(0.0); SIDE]; SIDE]; SPREAD];
    for (weight, vector) in weights.iter().zip(kernels.as_flattened_mut().as_flattened_mut()) {
        *vector = simd.splat(*weight);
    }
    kernels
}

/// Stores the first `count` lanes.
///
/// # Safety
/// `target` is readable and writable for `count` values, or a vector when that is less.
#[inline(always)]
unsafe fn put<S: Simd>(simd: S, store: Store, target: *mut f32, count: usize, value: S::Vector) {
    // SAFETY: by contract.
    unsafe {
        let value = match store {
            Store::Replace => value,
            Store::Add => simd.add(load_up_to(simd, target, count), value),
        };
        store_up_to(simd, target, count, value);
    }
}
