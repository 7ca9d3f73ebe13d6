//! NEON of AArch64: two registers of 4 lanes are one vector of 8; 32 registers, a 6×16 product tile (24 sums, 4 columns,
//! 2 for the factors).

use super::{Simd, product_tile_body};
use std::arch::aarch64::*;

/// Proof that the processor has NEON; made by [`Neon::detect`] only.
#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// The proof, when it holds.
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// A 4×4 transpose.
#[inline]
#[target_feature(enable = "neon")]
fn transpose_half([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let (ac_low, ac_high) = (vzip1q_f32(a, c), vzip2q_f32(a, c));
    let (bd_low, bd_high) = (vzip1q_f32(b, d), vzip2q_f32(b, d));
    [
        vzip1q_f32(ac_low, bd_low),
        vzip2q_f32(ac_low, bd_low),
        vzip1q_f32(ac_high, bd_high),
        vzip2q_f32(ac_high, bd_high),
    ]
}

/// 4×4 transposes inside both halves.
#[inline]
#[target_feature(enable = "neon")]
fn transpose_quads([a, b, c, d]: [float32x4x2_t; 4]) -> [float32x4x2_t; 4] {
    let low = transpose_half([a.0, b.0, c.0, d.0]);
    let high = transpose_half([a.1, b.1, c.1, d.1]);
    [
        float32x4x2_t(low[0], high[0]),
        float32x4x2_t(low[1], high[1]),
        float32x4x2_t(low[2], high[2]),
        float32x4x2_t(low[3], high[3]),
    ]
}

/// Half of [`Simd::load_masked`]: reads the lanes whose bit in the lowest 4 of `mask` is set; the others are 0.
///
/// # Safety
/// `source` is readable at every set lane.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_masked_half(source: *const f32, mask: u32) -> float32x4_t {
    // NEON has no masked load: lanes that are not set read this instead.
    let zero: *const f32 = &0.0;
    let lane = |l: usize| if mask >> l & 1 == 1 { source.wrapping_add(l) } else { zero };
    match mask & 0b1111 {
        0 => vdupq_n_f32(0.0),
        // SAFETY: all four lanes are set.
        0b1111 => unsafe { vld1q_f32(source) },
        // SAFETY: `lane` gives the zero for every lane that is not set.
        _ => unsafe {
            let values = vld1q_dup_f32(lane(0));
            let values = vld1q_lane_f32::<1>(lane(1), values);
            let values = vld1q_lane_f32::<2>(lane(2), values);
            vld1q_lane_f32::<3>(lane(3), values)
        },
    }
}

// SAFETY of the intrinsics below: a value of `Neon` exists only where the processor has NEON; pointers are good by the
// contract of each method.
impl Simd for Neon {
    type Vector = float32x4x2_t;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 16;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "neon")]
        fn compiled<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        // SAFETY: see above.
        unsafe { compiled(body) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vdupq_n_f32(value), vdupq_n_f32(value)) }
    }

    #[inline(always)]
    fn add(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn load(self, source: *const f32) -> float32x4x2_t {
        // SAFETY: see above.
        unsafe { float32x4x2_t(vld1q_f32(source), vld1q_f32(source.add(4))) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, source: *const f32, mask: u32) -> float32x4x2_t {
        // SAFETY: see above; a masked-out lane is not read.
        unsafe {
            float32x4x2_t(load_masked_half(source, mask), load_masked_half(source.wrapping_add(4), mask >> 4))
        }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32, value: float32x4x2_t) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(target, value.0);
            vst1q_f32(target.add(4), value.1);
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, base: *const f32, offsets: *const usize) -> [float32x4x2_t; 4] {
        // SAFETY: see above.
        unsafe {
            let mut quads = [self.splat(0.0); 4];
            for (l, quads) in quads.iter_mut().enumerate() {
                *quads = float32x4x2_t(
                    vld1q_f32(base.add(*offsets.add(l))),
                    vld1q_f32(base.add(*offsets.add(l + 4))),
                );
            }
            transpose_quads(quads)
        }
    }

    #[inline(always)]
    unsafe fn store_quads(self, target: *mut f32, values: [float32x4x2_t; 4]) {
        // SAFETY: see above.
        unsafe {
            for (l, quads) in transpose_quads(values).into_iter().enumerate() {
                vst1q_f32(target.add(4 * l), quads.0);
                vst1q_f32(target.add(4 * (l + 4)), quads.1);
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_block(self, rows: [*const f32; 8], columns: usize) -> [[f32; 8]; 8] {
        let mut values = [self.splat(0.0); 8];
        let mask = (1 << columns.min(8)) - 1;
        for (values, row) in values.iter_mut().zip(rows) {
            // SAFETY: readable for `columns` values; the masked load reads no further.
            *values = unsafe { self.load_masked(row, mask) };
        }
        // SAFETY: see above.
        let (top, bottom) = unsafe {
            (
                transpose_quads([values[0], values[1], values[2], values[3]]),
                transpose_quads([values[4], values[5], values[6], values[7]]),
            )
        };
        let mut block = [[0.0; 8]; 8];
        for j in 0..4 {
            // SAFETY: each inner array holds 8 values.
            unsafe {
                self.store(block[j].as_mut_ptr(), float32x4x2_t(top[j].0, bottom[j].0));
                self.store(block[j + 4].as_mut_ptr(), float32x4x2_t(top[j].1, bottom[j].1));
            }
        }
        block
    }

    #[inline(always)]
    unsafe fn product_tile(
        self,
        depth: usize,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        c_pitch: usize,
        accumulate: bool,
    ) {
        #[target_feature(enable = "neon")]
        unsafe fn compiled(
            simd: Neon,
            depth: usize,
            a: *const f32,
            b: *const f32,
            c: *mut f32,
            c_pitch: usize,
            accumulate: bool,
        ) {
            // SAFETY: the caller's contract is the body's.
            unsafe { product_tile_body::<Neon, 6, 2>(simd, depth, a, b, c, c_pitch, accumulate) }
        }
        // SAFETY: see above.
        unsafe { compiled(self, depth, a, b, c, c_pitch, accumulate) }
    }
}
