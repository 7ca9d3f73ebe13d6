//! AVX-512: 16 lanes, 32 registers, an 8×32 product tile (16 sums).

use super::{Simd, avx2, product_tile_body};
use std::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ, VL and AVX2 with FMA; made by [`Avx512::detect`] only.
#[derive(Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, when it holds.
    pub fn detect() -> Option<Self> {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        avx2::Avx2::detect().filter(|_| wide).map(|_| Avx512(()))
    }
}

/// 4×4 transposes inside all four 128-bit quarters.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn transpose_quads([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    [
        _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
        _mm512_shuffle_ps::<0xEE>(ab_low, cd_low),
        _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
        _mm512_shuffle_ps::<0xEE>(ab_high, cd_high),
    ]
}

// SAFETY of the intrinsics below: a value of `Avx512` exists only where the processor has these instructions; pointers are
// good by the contract of each method.
impl Simd for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;
    const TILE_COLUMNS: usize = 32;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        // SAFETY: see above.
        unsafe { compiled(body) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, source: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(source) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, source: *const f32, mask: u32) -> __m512 {
        // SAFETY: see above; a masked-out lane is not read.
        unsafe { _mm512_maskz_loadu_ps(mask as u16, source) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32, value: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(target, value) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, target: *mut f32, mask: u32, value: __m512) {
        // SAFETY: see above; a masked-out lane is not written.
        unsafe { _mm512_mask_storeu_ps(target, mask as u16, value) }
    }

    #[inline(always)]
    fn deinterleave(self, low: __m512, high: __m512) -> (__m512, __m512) {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high))
        }
    }

    #[inline(always)]
    fn interleave(self, even: __m512, odd: __m512) -> (__m512, __m512) {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, base: *const f32, offsets: *const usize) -> [__m512; 4] {
        // SAFETY: see above.
        unsafe {
            let mut quads = [_mm512_setzero_ps(); 4];
            for (l, quads) in quads.iter_mut().enumerate() {
                let low = _mm512_castps128_ps512(_mm_loadu_ps(base.add(*offsets.add(l))));
                let two = _mm512_insertf32x4::<1>(low, _mm_loadu_ps(base.add(*offsets.add(l + 4))));
                let three = _mm512_insertf32x4::<2>(two, _mm_loadu_ps(base.add(*offsets.add(l + 8))));
                *quads = _mm512_insertf32x4::<3>(three, _mm_loadu_ps(base.add(*offsets.add(l + 12))));
            }
            transpose_quads(quads)
        }
    }

    #[inline(always)]
    unsafe fn store_quads(self, target: *mut f32, values: [__m512; 4]) {
        // SAFETY: see above.
        unsafe {
            for (l, quads) in transpose_quads(values).into_iter().enumerate() {
                _mm_storeu_ps(target.add(4 * l), _mm512_castps512_ps128(quads));
                _mm_storeu_ps(target.add(4 * (l + 4)), _mm512_extractf32x4_ps::<1>(quads));
                _mm_storeu_ps(target.add(4 * (l + 8)), _mm512_extractf32x4_ps::<2>(quads));
                _mm_storeu_ps(target.add(4 * (l + 12)), _mm512_extractf32x4_ps::<3>(quads));
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_block(self, rows: [*const f32; 8], columns: usize) -> [[f32; 8]; 8] {
        // SAFETY: AVX2 is part of this level's proof; the rest is the caller's contract.
        unsafe { avx2::transpose_block(rows, columns) }
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
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn compiled(
            simd: Avx512,
            depth: usize,
            a: *const f32,
            b: *const f32,
            c: *mut f32,
            c_pitch: usize,
            accumulate: bool,
        ) {
            // SAFETY: the caller's contract is the body's.
            unsafe { product_tile_body::<Avx512, 8, 2>(simd, depth, a, b, c, c_pitch, accumulate) }
        }
        // SAFETY: see above.
        unsafe { compiled(self, depth, a, b, c, c_pitch, accumulate) }
    }
}
