//! AVX2 with FMA: 8 lanes, 16 registers, a 6×16 product tile (12 sums, 2 columns, 1 broadcast).

use super::{Simd, product_tile_body};
use std::arch::x86_64::*;

/// Proof that the processor has AVX2 and FMA; made by [`Avx2::detect`] only.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, when it holds.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// 4×4 transposes inside both 128-bit halves.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose_quads([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    [
        _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
        _mm256_shuffle_ps::<0xEE>(ab_low, cd_low),
        _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
        _mm256_shuffle_ps::<0xEE>(ab_high, cd_high),
    ]
}

/// All-ones lanes where `mask` has its bit set.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn lane_mask(mask: u32) -> __m256i {
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask as i32), bits), bits)
}

/// [`Simd::transpose_block`], also used by the AVX-512 level.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn transpose_block(rows: [*const f32; 8], columns: usize) -> [[f32; 8]; 8] {
    let mut values = [_mm256_setzero_ps(); 8];
    let mask = lane_mask((1 << columns.min(8)) - 1);
    for (values, row) in values.iter_mut().zip(rows) {
        // SAFETY: readable for `columns` values; with fewer than 8 the masked load reads no further.
        *values = unsafe { if columns >= 8 { _mm256_loadu_ps(row) } else { _mm256_maskload_ps(row, mask) } };
    }
    let top = transpose_quads([values[0], values[1], values[2], values[3]]);
    let bottom = transpose_quads([values[4], values[5], values[6], values[7]]);
    let mut block = [[0.0; 8]; 8];
    for j in 0..4 {
        // SAFETY: each inner array holds 8 values.
        unsafe {
            _mm256_storeu_ps(block[j].as_mut_ptr(), _mm256_permute2f128_ps::<0x20>(top[j], bottom[j]));
            _mm256_storeu_ps(block[j + 4].as_mut_ptr(), _mm256_permute2f128_ps::<0x31>(top[j], bottom[j]));
        }
    }
    block
}

// SAFETY of the intrinsics below: a value of `Avx2` exists only where the processor has AVX2 and FMA; pointers are good by
// the contract of each method.
impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 16;

    #[inline(always)]
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        // SAFETY: see above.
        unsafe { compiled(body) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, source: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(source) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, source: *const f32, mask: u32) -> __m256 {
        // SAFETY: see above; a masked-out lane is not read.
        unsafe { _mm256_maskload_ps(source, lane_mask(mask)) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32, value: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(target, value) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, target: *mut f32, mask: u32, value: __m256) {
        // SAFETY: see above; a masked-out lane is not written.
        unsafe { _mm256_maskstore_ps(target, lane_mask(mask), value) }
    }

    #[inline(always)]
    fn deinterleave(self, low: __m256, high: __m256) -> (__m256, __m256) {
        // SAFETY: see above.
        unsafe {
            let (a, b) =
                (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high));
            (_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b))
        }
    }

    #[inline(always)]
    fn interleave(self, even: __m256, odd: __m256) -> (__m256, __m256) {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
            (_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        }
    }

    #[inline(always)]
    unsafe fn load_quads(self, base: *const f32, offsets: *const usize) -> [__m256; 4] {
        // SAFETY: see above.
        unsafe {
            let mut quads = [_mm256_setzero_ps(); 4];
            for (l, quads) in quads.iter_mut().enumerate() {
                let low = _mm256_castps128_ps256(_mm_loadu_ps(base.add(*offsets.add(l))));
                *quads = _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(base.add(*offsets.add(l + 4))));
            }
            transpose_quads(quads)
        }
    }

    #[inline(always)]
    unsafe fn store_quads(self, target: *mut f32, values: [__m256; 4]) {
        // SAFETY: see above.
        unsafe {
            for (l, quads) in transpose_quads(values).into_iter().enumerate() {
                _mm_storeu_ps(target.add(4 * l), _mm256_castps256_ps128(quads));
                _mm_storeu_ps(target.add(4 * (l + 4)), _mm256_extractf128_ps::<1>(quads));
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose_block(self, rows: [*const f32; 8], columns: usize) -> [[f32; 8]; 8] {
        // SAFETY: see above.
        unsafe { transpose_block(rows, columns) }
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
        #[target_feature(enable = "avx2,fma")]
        unsafe fn compiled(
            simd: Avx2,
            depth: usize,
            a: *const f32,
            b: *const f32,
            c: *mut f32,
            c_pitch: usize,
            accumulate: bool,
        ) {
            // SAFETY: the caller's contract is the body's.
            unsafe { product_tile_body::<Avx2, 6, 2>(simd, depth, a, b, c, c_pitch, accumulate) }
        }
        // SAFETY: see above.
        unsafe { compiled(self, depth, a, b, c, c_pitch, accumulate) }
    }
}
