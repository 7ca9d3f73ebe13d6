//! Plain Rust over arrays of 8, for any target: LLVM maps them to the vectors the target has by default.

use super::{Simd, product_tile_body};

/// No instruction set beyond what the target guarantees.
#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    type Vector = [f32; 8];
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;
    const TILE_COLUMNS: usize = 8;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        body()
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|l| a[l] + b[l])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|l| a[l] - b[l])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|l| a[l] * b[l])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|l| a[l] * b[l] + c[l])
    }

    #[inline(always)]
    unsafe fn load(self, source: *const f32) -> [f32; 8] {
        // SAFETY: readable for 8 values by contract.
        unsafe { source.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_masked(self, source: *const f32, mask: u32) -> [f32; 8] {
        // SAFETY: a lane is read only when its bit is set, and those are readable by contract.
        std::array::from_fn(|l| if mask >> l & 1 == 1 { unsafe { *source.wrapping_add(l) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32, value: [f32; 8]) {
        // SAFETY: writable for 8 values by contract.
        unsafe { target.cast::<[f32; 8]>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn load_quads(self, base: *const f32, offsets: *const usize) -> [[f32; 8]; 4] {
        let mut columns = [[0.0; 8]; 4];
        for l in 0..8 {
            for (i, column) in columns.iter_mut().enumerate() {
                // SAFETY: 8 offsets, 4 values at each, by contract.
                column[l] = unsafe { *base.add(*offsets.add(l) + i) };
            }
        }
        columns
    }

    #[inline(always)]
    unsafe fn store_quads(self, target: *mut f32, values: [[f32; 8]; 4]) {
        for l in 0..8 {
            for (i, column) in values.iter().enumerate() {
                // SAFETY: 4 l + i < 32, writable by contract.
                unsafe { *target.add(4 * l + i) = column[l] };
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_block(self, rows: [*const f32; 8], columns: usize) -> [[f32; 8]; 8] {
        let mut block = [[0.0; 8]; 8];
        for (j, column) in block.iter_mut().enumerate().take(columns) {
            for (value, row) in column.iter_mut().zip(rows) {
                // SAFETY: j < columns, readable by contract.
                *value = unsafe { *row.add(j) };
            }
        }
        block
    }

    unsafe fn product_tile(
        self,
        depth: usize,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        c_pitch: usize,
        accumulate: bool,
    ) {
        // SAFETY: the caller's contract is the body's.
        unsafe { product_tile_body::<Self, 4, 1>(self, depth, a, b, c, c_pitch, accumulate) }
    }
}
