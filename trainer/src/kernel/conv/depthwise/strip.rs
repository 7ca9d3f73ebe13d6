//! Strips: some rows of one map at a time, copied with zeros around them to a buffer that stays in the nearest cache.
//!
//! Inside a strip no tap has to ask whether it is inside the map. With stride s every row is taken apart into the s phases
//! of its columns (phase r: columns r, r + s, r + 2s, …), so neighbouring outputs read neighbouring cells. Row layout:
//! `[phases][margin zeros, cells]`; the zeros right of the cells are the margin of what follows. Cells start at whole
//! vectors, so most accesses do not cross cache lines.

use crate::kernel::memory::Scratch;
use crate::kernel::simd::Simd;

/// Values of a strip, as far as its rows allow: half of a nearest cache of 48 KB, the smallest fits too.
const BUDGET: usize = 6 << 10;

/// Rows of outputs computed together, sharing the rows they read.
pub(super) const BLOCK_ROWS: usize = 4;

/// How the outputs of a problem find their cells: output row y reads strip rows `y · row_step` and the following
/// `window_rows − 1`.
pub(super) struct Reach {
    /// Output rows.
    pub(super) rows: usize,
    /// Strip rows from one output row to the next.
    pub(super) row_step: usize,
    /// Strip rows an output row reads.
    pub(super) window_rows: usize,
    /// The map row that output row 0 reads first.
    pub(super) first_row: isize,
    /// Output columns; column x reads map columns `stride · x + offset`.
    pub(super) columns: usize,
    /// For all offsets from the first to the last of these.
    pub(super) offsets: (isize, isize),
}

/// The strips of maps of one size.
pub(super) struct StripLayout {
    height: usize,
    width: usize,
    stride: usize,
    reach: Reach,
    margin: usize,
    phase_pitch: usize,
    /// From one row to the next.
    pub(super) pitch: usize,
    /// Output rows computed from one strip.
    pub(super) out_rows: usize,
    len: usize,
}

impl StripLayout {
    /// Strips of `height × width` maps whose columns are taken apart by `stride`.
    pub(super) fn new<S: Simd>(_: S, (height, width): (usize, usize), stride: usize, reach: Reach) -> Self {
        let cells = width.div_ceil(stride).next_multiple_of(S::LANES);
        let [first, last] =
            [reach.offsets.0, reach.offsets.1].map(|offset| offset.div_euclid(stride as isize));
        let right = (reach.columns - cells.min(reach.columns)) as isize + last;
        let margin = (-first).max(right).max(0) as usize;
        let margin = margin.next_multiple_of(S::LANES);
        let phase_pitch = margin + cells;
        let pitch = stride * phase_pitch;
        let fitting = (BUDGET / pitch).saturating_sub(reach.window_rows) / reach.row_step + 1;
        let out_rows = (fitting / BLOCK_ROWS * BLOCK_ROWS).max(BLOCK_ROWS).min(reach.rows);
        let strip_rows = (out_rows - 1) * reach.row_step + reach.window_rows;
        // Vectors of the last columns reach beyond the last row.
        let len = strip_rows * pitch + last.max(0) as usize + reach.columns.next_multiple_of(S::LANES);
        Self { height, width, stride, reach, margin, phase_pitch, pitch, out_rows, len }
    }

    /// Values of a map.
    pub(super) fn map_len(&self) -> usize {
        self.height * self.width
    }

    /// A buffer for one strip at a time.
    pub(super) fn buffer(&self) -> Scratch {
        let mut strip = Scratch::take(self.len);
        // Margins stay 0.
        strip.fill(0.0);
        strip
    }

    /// Where in a strip's row output column 0 finds the map column `offset` away from its own.
    pub(super) fn column(&self, offset: isize) -> usize {
        let stride = self.stride as isize;
        let (first, last) = self.reach.offsets;
        assert!((first..=last).contains(&offset), "a tap reads what the strip was made for");
        offset.rem_euclid(stride) as usize * self.phase_pitch
            + (self.margin as isize + offset.div_euclid(stride)) as usize
    }

    /// Copies the rows that `out_rows` output rows from `first_out` on read.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(
        &self,
        simd: S,
        map: &[f32],
        first_out: usize,
        out_rows: usize,
        strip: &mut [f32],
    ) {
        assert!(map.len() == self.map_len() && strip.len() == self.len && out_rows <= self.out_rows);
        let first = (first_out * self.reach.row_step) as isize + self.reach.first_row;
        let rows = (out_rows - 1) * self.reach.row_step + self.reach.window_rows;
        for (i, row) in strip.chunks_exact_mut(self.pitch).take(rows).enumerate() {
            let y = first + i as isize;
            if (0..self.height as isize).contains(&y) {
                let source = &map[y as usize * self.width..][..self.width];
                // SAFETY: a row holds the phases of `width` columns, each rounded up to whole vectors.
                unsafe { self.fill_row(simd, source, row.as_mut_ptr()) };
            } else {
                row.fill(0.0);
            }
        }
    }

    /// Copies one row.
    ///
    /// # Safety
    /// `row` is writable for a row of the strip.
    #[inline(always)]
    unsafe fn fill_row<S: Simd>(&self, simd: S, source: &[f32], row: *mut f32) {
        let width = source.len();
        // SAFETY: loads stop at the row's end; stores end with the phase's last whole vector.
        unsafe {
            match self.stride {
                1 => {
                    for x in (0..width).step_by(S::LANES) {
                        let cells = load_up_to(simd, source.as_ptr().add(x), width - x);
                        simd.store(row.add(self.margin + x), cells);
                    }
                }
                2 => {
                    for x in (0..width).step_by(2 * S::LANES) {
                        let low = load_up_to(simd, source.as_ptr().add(x), width - x);
                        let high = source.as_ptr().wrapping_add(x + S::LANES);
                        let high = load_up_to(simd, high, width.saturating_sub(x + S::LANES));
                        let (even, odd) = simd.deinterleave(low, high);
                        simd.store(row.add(self.margin + x / 2), even);
                        simd.store(row.add(self.phase_pitch + self.margin + x / 2), odd);
                    }
                }
                stride => {
                    for (x, value) in source.iter().enumerate() {
                        *row.add(x % stride * self.phase_pitch + self.margin + x / stride) = *value;
                    }
                }
            }
        }
    }
}

/// Reads a vector of which the first `count` lanes are there; the others are 0.
///
/// # Safety
/// `source` is readable for `count` values, or a vector when that is less.
#[inline(always)]
pub(super) unsafe fn load_up_to<S: Simd>(simd: S, source: *const f32, count: usize) -> S::Vector {
    // SAFETY: by contract.
    unsafe { if count >= S::LANES { simd.load(source) } else { simd.load_masked(source, (1 << count) - 1) } }
}

/// Writes the first `count` lanes.
///
/// # Safety
/// `target` is writable for `count` values, or a vector when that is less.
#[inline(always)]
pub(super) unsafe fn store_up_to<S: Simd>(simd: S, target: *mut f32, count: usize, value: S::Vector) {
    // SAFETY: by contract.
    unsafe {
        if count >= S::LANES {
            simd.store(target, value);
        } else {
            simd.store_masked(target, (1 << count) - 1, value);
        }
    }
}
