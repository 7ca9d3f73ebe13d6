//! Strips: some rows of one map at a time, copied with zeros around them to a buffer that stays in the nearest cache.
//!
//! Inside a strip no tap has to ask whether it is inside the map. With stride 2 every row is taken apart into its even and
//! its odd columns, so that neighbouring outputs read neighbouring cells. Row layout: `[phases][margin zeros, cells]`; the
//! zeros right of the cells are the margin of what follows. Cells start at whole vectors, so that most accesses do not
//! cross cache lines.

use crate::kernel::memory::Scratch;
use crate::kernel::simd::Simd;

/// Values of a strip, as far as its rows allow: half of a nearest cache of 48 KB, the smallest fits too.
const BUDGET: usize = 6 << 10;

/// How far ahead of the copy a map is asked for, in values: maps lie one after the other, and most reads are of the next.
const AHEAD: usize = 1536;

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
    /// Strips of `height × width` maps whose columns are taken apart by `stride`, 1 or 2.
    pub(super) fn new<S: Simd>(_: S, (height, width): (usize, usize), stride: usize, reach: Reach) -> Self {
        assert!(matches!(stride, 1 | 2), "stride {stride} has no strips");
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
        assert!(map.len() == self.map_len() && strip.len() == self.len);
        assert!((1..=self.out_rows).contains(&out_rows));
        let rows = (out_rows - 1) * self.reach.row_step + self.reach.window_rows;
        let first = (first_out * self.reach.row_step) as isize + self.reach.first_row;
        // Strip rows above..below are inside the map.
        let above = (-first).clamp(0, rows as isize);
        let below = (self.height as isize - first).clamp(above, rows as isize);
        let source = map[((first + above).max(0) as usize * self.width).min(map.len())..].as_ptr();
        let (above, below) = (above as usize, below as usize);
        zero_vectors(simd, &mut strip[..above * self.pitch]);
        zero_vectors(simd, &mut strip[below * self.pitch..rows * self.pitch]);
        let target = strip[above * self.pitch + self.margin..].as_mut_ptr();
        for row in 0..below - above {
            // SAFETY: row `above + row` is inside the strip and the map.
            unsafe {
                let (source, target) = (source.add(row * self.width), target.add(row * self.pitch));
                match self.stride {
                    1 => self.copy_row(simd, source, target),
                    _ => self.split_row(simd, source, target),
                }
            }
        }
    }

    /// Copies a row's cells.
    ///
    /// # Safety
    /// `source` is a row of the map, `target` the first cell of a row of the strip.
    #[inline(always)]
    unsafe fn copy_row<S: Simd>(&self, simd: S, source: *const f32, target: *mut f32) {
        for x in (0..self.width).step_by(S::LANES) {
            simd.prefetch(source.wrapping_add(x + AHEAD));
            // SAFETY: loads stop at the row's end; stores end with the strip row's last whole vector.
            unsafe { simd.store(target.add(x), load_up_to(simd, source.add(x), self.width - x)) };
        }
    }

    /// Copies a row's even and odd cells, each to its phase.
    ///
    /// # Safety
    /// As [`Self::copy_row`].
    #[inline(always)]
    unsafe fn split_row<S: Simd>(&self, simd: S, source: *const f32, target: *mut f32) {
        for x in (0..self.width).step_by(2 * S::LANES) {
            let (left, next) = (self.width - x, source.wrapping_add(x + S::LANES));
            simd.prefetch(source.wrapping_add(x + AHEAD));
            simd.prefetch(next.wrapping_add(AHEAD));
            // SAFETY: loads stop at the row's end; stores end with the phases' last whole vectors.
            unsafe {
                let low = load_up_to(simd, source.add(x), left);
                let high = load_up_to(simd, next, left.saturating_sub(S::LANES));
                let (even, odd) = simd.deinterleave(low, high);
                simd.store(target.add(x / 2), even);
                simd.store(target.add(self.phase_pitch + x / 2), odd);
            }
        }
    }
}

/// Zeros whole vectors.
#[inline(always)]
fn zero_vectors<S: Simd>(simd: S, values: &mut [f32]) {
    for vector in values.chunks_exact_mut(S::LANES) {
        // SAFETY: a chunk is a vector long.
        unsafe { simd.store(vector.as_mut_ptr(), simd.splat(0.0)) };
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
