//! Vector instruction sets, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and compiled for every instruction set of the target. A value of a
//! type implementing [`Simd`] is a proof that the running processor has these instructions: [`level`] is the only place
//! that makes one. Code that must use them runs inside [`Simd::vectorize`]; everything it calls must be inlined there,
//! so helpers of inner loops are `#[inline(always)]` (closures too), and vectors never pass through library functions
//! such as `array::from_fn` or `array::map`, which are compiled without them.
//!
//! [`Portable`](portable::Portable) is plain Rust over small arrays, for processors without any of the others; LLVM turns
//! it into the vectors the target has by default (SSE2 on x86-64). It never fuses multiply and add, so its sums differ
//! from the others' in the last bits.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;

/// One instruction set: a vector of `LANES` f32 and the register tile of its matrix product.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A register full of f32.
    type Vector: Copy;
    /// f32 in a [`Simd::Vector`]; a multiple of 8.
    const LANES: usize;
    /// Rows of the matrix product's register tile.
    const TILE_ROWS: usize;
    /// Columns of the matrix product's register tile: a multiple of `LANES`, at most 32.
    const TILE_COLUMNS: usize;

    /// Runs `body` compiled for this instruction set.
    fn vectorize<R>(self, body: impl FnOnce() -> R) -> R;

    /// All lanes equal to `value`.
    fn splat(self, value: f32) -> Self::Vector;
    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, fused where the instruction set can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// Asks for the cache line at `address`, any address; for accesses too irregular for the processor to foresee.
    #[inline(always)]
    fn prefetch(self, address: *const f32) {
        let _ = address;
    }

    /// Reads `LANES` values, unaligned.
    ///
    /// # Safety
    /// `source` is readable for `LANES` values.
    unsafe fn load(self, source: *const f32) -> Self::Vector;
    /// Reads the lanes whose bit in `mask` is set (bit 0: lane 0); the others are 0 and their memory is not touched.
    ///
    /// # Safety
    /// `source` is readable at every set lane.
    unsafe fn load_masked(self, source: *const f32, mask: u32) -> Self::Vector;
    /// Writes `LANES` values, unaligned.
    ///
    /// # Safety
    /// `target` is writable for `LANES` values.
    unsafe fn store(self, target: *mut f32, value: Self::Vector);
    /// Writes the lanes whose bit in `mask` is set (bit 0: lane 0); the memory of the others is not touched.
    ///
    /// # Safety
    /// `target` is writable at every set lane.
    #[inline(always)]
    unsafe fn store_masked(self, target: *mut f32, mask: u32, value: Self::Vector) {
        for (l, lane) in lanes(self, value).into_iter().enumerate().take(Self::LANES) {
            if mask >> l & 1 == 1 {
                // SAFETY: the lane is set.
                unsafe { *target.wrapping_add(l) = lane };
            }
        }
    }

    /// The values of `low` followed by `high` at even places, and those at odd places.
    #[inline(always)]
    fn deinterleave(self, low: Self::Vector, high: Self::Vector) -> (Self::Vector, Self::Vector) {
        let (low, high) = (lanes(self, low), lanes(self, high));
        let (mut even, mut odd) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        for l in 0..Self::LANES / 2 {
            (even[l], odd[l]) = (low[2 * l], low[2 * l + 1]);
            (even[Self::LANES / 2 + l], odd[Self::LANES / 2 + l]) = (high[2 * l], high[2 * l + 1]);
        }
        // SAFETY: no vector is longer than the arrays.
        unsafe { (self.load(even.as_ptr()), self.load(odd.as_ptr())) }
    }
    /// Takes turns between `even` and `odd`: the inverse of [`Simd::deinterleave`].
    #[inline(always)]
    fn interleave(self, even: Self::Vector, odd: Self::Vector) -> (Self::Vector, Self::Vector) {
        let (even, odd) = (lanes(self, even), lanes(self, odd));
        let (mut low, mut high) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
        for l in 0..Self::LANES / 2 {
            (low[2 * l], low[2 * l + 1]) = (even[l], odd[l]);
            (high[2 * l], high[2 * l + 1]) = (even[Self::LANES / 2 + l], odd[Self::LANES / 2 + l]);
        }
        // SAFETY: no vector is longer than the arrays.
        unsafe { (self.load(low.as_ptr()), self.load(high.as_ptr())) }
    }

    /// Reads four neighbouring values for each lane: lane `l` of result `i` is `base[offsets[l] + i]`.
    ///
    /// # Safety
    /// `offsets` holds `LANES` entries, and `base` is readable for 4 values at each.
    unsafe fn load_quads(self, base: *const f32, offsets: *const usize) -> [Self::Vector; 4];
    /// Writes lane `l` of `values[i]` to `target[4 l + i]`.
    ///
    /// # Safety
    /// `target` is writable for `4 · LANES` values.
    unsafe fn store_quads(self, target: *mut f32, values: [Self::Vector; 4]);

    /// Transposes an 8×8 block: result `[j][i]` is `rows[i][j]`, for `j` below `columns` (at most 8); the rest is 0.
    ///
    /// # Safety
    /// Every pointer is readable for `columns` values.
    unsafe fn transpose_block(self, rows: [*const f32; 8], columns: usize) -> [[f32; 8]; 8];

    /// The register tile of the matrix product: `c[r][j] = Σ_k a[k][r] · b[k][j]`, added to what `c` holds when
    /// `accumulate`. `a` is packed `[depth][TILE_ROWS]`, `b` is packed `[depth][TILE_COLUMNS]`, rows of `c` are
    /// `c_pitch` apart.
    ///
    /// # Safety
    /// `a` and `b` are readable for their packed sizes; `c` is readable and writable for `TILE_ROWS` rows of
    /// `TILE_COLUMNS` values.
    unsafe fn product_tile(
        self,
        depth: usize,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        c_pitch: usize,
        accumulate: bool,
    );
}

/// No level has longer vectors.
pub const MAX_LANES: usize = 16;

/// The values of a vector; 0 beyond its length.
#[inline(always)]
pub fn lanes<S: Simd>(simd: S, vector: S::Vector) -> [f32; MAX_LANES] {
    const { assert!(S::LANES <= MAX_LANES) };
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: the array is at least as long as the vector.
    unsafe { simd.store(lanes.as_mut_ptr(), vector) };
    lanes
}

/// The body of [`Simd::product_tile`] for a tile of `ROWS` rows and `VECTORS` vectors a row: all sums stay in registers.
///
/// # Safety
/// As [`Simd::product_tile`]; the caller is compiled for `S`.
#[inline(always)]
unsafe fn product_tile_body<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    c_pitch: usize,
    accumulate: bool,
) {
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    for k in 0..depth {
        // SAFETY: k < depth, and the packed sizes are the caller's promise.
        unsafe {
            let (a, b) = (a.add(k * ROWS), b.add(k * VECTORS * S::LANES));
            let mut columns = [simd.splat(0.0); VECTORS];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = simd.load(b.add(v * S::LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = simd.splat(*a.add(row));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = simd.mul_add(factor, column, *sum);
                }
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: row < ROWS and v < VECTORS lie in the caller's tile.
            unsafe {
                let target = c.add(row * c_pitch + v * S::LANES);
                let sum = if accumulate { simd.add(simd.load(target), sum) } else { sum };
                simd.store(target, sum);
            }
        }
    }
}

/// The instruction set in use, with the proof that the processor has it.
#[derive(Clone, Copy)]
pub enum Level {
    /// Plain Rust.
    Portable(portable::Portable),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512 F, BW, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

impl Level {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "NEON",
        }
    }
}

/// The widest instruction set of this processor.
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(forced) = forced::LEVEL.get() {
        return forced;
    }
    static DETECTED: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
    *DETECTED.get_or_init(|| all_levels().pop().expect("the portable level is always there"))
}

/// Every instruction set this processor has, narrowest first.
fn all_levels() -> Vec<Level> {
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(unused_mut, reason = "only x86-64 and AArch64 have further levels")
    )]
    let mut levels = vec![Level::Portable(portable::Portable)];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(avx2::Avx2::detect().map(Level::Avx2));
        levels.extend(avx512::Avx512::detect().map(Level::Avx512));
    }
    #[cfg(target_arch = "aarch64")]
    levels.extend(neon::Neon::detect().map(Level::Neon));
    levels
}

/// Evaluates `$body` with `$simd` bound to the instruction set in use; `$body` is compiled once for each.
#[macro_export]
macro_rules! dispatch {
    ($simd:ident => $body:expr) => {
        match $crate::kernel::simd::level() {
            $crate::kernel::simd::Level::Portable($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::simd::Level::Avx2($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::kernel::simd::Level::Avx512($simd) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::kernel::simd::Level::Neon($simd) => $body,
        }
    };
}
pub(crate) use dispatch;

/// Tests run every kernel on every level the machine has.
#[cfg(test)]
pub(crate) mod forced {
    use super::Level;
    use std::cell::Cell;

    thread_local! { pub(super) static LEVEL: Cell<Option<Level>> = const { Cell::new(None) }; }

    /// Runs `body` once per instruction set, naming it. Kernels choose their level on the calling thread.
    pub(crate) fn on_every_level(mut body: impl FnMut(&str)) {
        for level in super::all_levels() {
            let name = match level {
                Level::Portable(_) => "portable",
                #[cfg(target_arch = "x86_64")]
                Level::Avx2(_) => "avx2",
                #[cfg(target_arch = "x86_64")]
                Level::Avx512(_) => "avx512",
                #[cfg(target_arch = "aarch64")]
                Level::Neon(_) => "neon",
            };
            LEVEL.set(Some(level));
            body(name);
            LEVEL.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect()
    }

    /// All values are small integers, so every level gives the exact result whatever it fuses.
    #[test]
    fn vector_operations_match_plain_loops() {
        forced::on_every_level(|name| dispatch!(simd => check_vectors(simd, name)));
    }

    fn check_vectors<S: Simd>(simd: S, name: &str) {
        let source = ramp(400);
        let offsets: Vec<usize> = (0..S::LANES).map(|l| (l * 7) % 53).collect();
        let mut quads = vec![0.0; 4 * S::LANES];
        let mut columns = vec![0.0; 4 * S::LANES];
        let mut masked = vec![9.0; S::LANES];
        let mut written = vec![9.0; S::LANES];
        let mut pairs = vec![0.0; 4 * S::LANES];
        let mask = 0x5a5a_a5a5_u32;
        // SAFETY: every buffer is larger than what is read or written.
        unsafe {
            simd.vectorize(
                #[inline(always)]
                || {
                    let v = simd.load_quads(source.as_ptr(), offsets.as_ptr());
                    simd.store_quads(quads.as_mut_ptr(), v);
                    for (i, v) in v.into_iter().enumerate() {
                        simd.store(columns.as_mut_ptr().add(i * S::LANES), v);
                    }
                    simd.store(masked.as_mut_ptr(), simd.load_masked(source.as_ptr(), mask));
                    let (low, high) = (simd.load(source.as_ptr()), simd.load(source.as_ptr().add(S::LANES)));
                    simd.store_masked(written.as_mut_ptr(), mask, low);
                    let (even, odd) = simd.deinterleave(low, high);
                    let (first, second) = simd.interleave(low, high);
                    for (i, v) in [even, odd, first, second].into_iter().enumerate() {
                        simd.store(pairs.as_mut_ptr().add(i * S::LANES), v);
                    }
                },
            );
        }
        for l in 0..S::LANES {
            for i in 0..4 {
                assert_eq!(columns[i * S::LANES + l], source[offsets[l] + i], "{name} load_quads {l} {i}");
                assert_eq!(quads[l * 4 + i], source[offsets[l] + i], "{name} store_quads {l} {i}");
            }
            let want = if mask >> l & 1 == 1 { source[l] } else { 0.0 };
            assert_eq!(masked[l], want, "{name} load_masked {l}");
            let want = if mask >> l & 1 == 1 { source[l] } else { 9.0 };
            assert_eq!(written[l], want, "{name} store_masked {l}");
            assert_eq!(pairs[l], source[2 * l], "{name} deinterleave, even {l}");
            assert_eq!(pairs[S::LANES + l], source[2 * l + 1], "{name} deinterleave, odd {l}");
            assert_eq!(pairs[2 * S::LANES + 2 * l], source[l], "{name} interleave, even {l}");
            assert_eq!(pairs[2 * S::LANES + 2 * l + 1], source[S::LANES + l], "{name} interleave, odd {l}");
        }
        for columns in 0..=8 {
            let rows: [*const f32; 8] = std::array::from_fn(|i| source[i * 19..].as_ptr());
            // SAFETY: row starts are at most 133, with 8 values after each.
            let block = unsafe { simd.transpose_block(rows, columns) };
            for (j, column) in block.iter().enumerate().take(columns) {
                for (i, value) in column.iter().enumerate() {
                    assert_eq!(*value, source[i * 19 + j], "{name} transpose {i} {j}");
                }
            }
        }
    }

    #[test]
    fn product_tile_matches_plain_loops() {
        forced::on_every_level(|name| dispatch!(simd => check_product(simd, name)));
    }

    fn check_product<S: Simd>(simd: S, name: &str) {
        let (rows, columns, pitch) = (S::TILE_ROWS, S::TILE_COLUMNS, S::TILE_COLUMNS + 3);
        for depth in [0, 1, 5] {
            let (a, b) = (ramp(depth * rows), ramp(depth * columns));
            let mut c = vec![1.0; rows * pitch];
            // SAFETY: the buffers have the packed sizes; c has `rows` rows of `pitch`.
            unsafe { simd.product_tile(depth, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), pitch, true) };
            for r in 0..rows {
                for j in 0..pitch {
                    let sum: f32 =
                        (0..depth).map(|k| a[k * rows + r] * b[k * columns + j.min(columns - 1)]).sum();
                    let want = if j < columns { 1.0 + sum } else { 1.0 };
                    assert_eq!(c[r * pitch + j], want, "{name} depth {depth} [{r}][{j}]");
                }
            }
        }
    }
}
