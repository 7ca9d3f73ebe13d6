//! The small matrices of F(4×4, 3×3), one lane a tile (or a channel): Lavin and Gray 2016, "Fast Algorithms for
//! Convolutional Neural Networks", with interpolation points 0, ±1, ±2, ∞.
//!
//! With d a 6×6 input tile, g a 3×3 kernel and y the 4×4 output tile: y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. The weight gradient is
//! Gᵀ[(Bᵀ d B) ⊙ (A ∂y Aᵀ)]G. Each function applies one matrix to one row or column; [`both_ways`] applies it to both.

use crate::kernel::simd::Simd;

/// Bᵀ, of an input tile.
#[inline(always)]
pub(super) fn input<S: Simd>(s: S, d: [S::Vector; 6]) -> [S::Vector; 6] {
    let (even, odd) = (s.mul_add(d[2], s.splat(-4.0), d[4]), s.mul_add(d[1], s.splat(-4.0), d[3]));
    let (even2, odd2) = (s.sub(d[4], d[2]), s.sub(d[3], d[1]));
    [
        s.mul_add(d[0], s.splat(4.0), s.mul_add(d[2], s.splat(-5.0), d[4])),
        s.add(even, odd),
        s.sub(even, odd),
        s.mul_add(odd2, s.splat(2.0), even2),
        s.mul_add(odd2, s.splat(-2.0), even2),
        s.mul_add(d[1], s.splat(4.0), s.mul_add(d[3], s.splat(-5.0), d[5])),
    ]
}

/// Aᵀ, of a product tile.
#[inline(always)]
pub(super) fn output<S: Simd>(s: S, m: [S::Vector; 6]) -> [S::Vector; 4] {
    let (sum, difference) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (sum2, difference2) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(sum, sum2)),
        s.mul_add(difference2, s.splat(2.0), difference),
        s.mul_add(sum2, s.splat(4.0), sum),
        s.add(m[5], s.mul_add(difference2, s.splat(8.0), difference)),
    ]
}

/// A, of an output-gradient tile.
#[inline(always)]
pub(super) fn output_gradient<S: Simd>(s: S, y: [S::Vector; 4]) -> [S::Vector; 6] {
    let (even, odd) = (s.add(y[0], y[2]), s.add(y[1], y[3]));
    let even2 = s.mul_add(y[2], s.splat(4.0), y[0]);
    let odd2 = s.mul_add(y[3], s.splat(8.0), s.mul(y[1], s.splat(2.0)));
    [y[0], s.add(even, odd), s.sub(even, odd), s.add(even2, odd2), s.sub(even2, odd2), y[3]]
}

/// G, of a kernel.
#[inline(always)]
pub(super) fn kernel<S: Simd>(s: S, g: [S::Vector; 3]) -> [S::Vector; 6] {
    let outer = s.add(g[0], g[2]);
    let outer2 = s.mul_add(g[2], s.splat(1.0 / 6.0), s.mul(g[0], s.splat(1.0 / 24.0)));
    [
        s.mul(g[0], s.splat(0.25)),
        s.mul(s.add(outer, g[1]), s.splat(-1.0 / 6.0)),
        s.mul(s.sub(outer, g[1]), s.splat(-1.0 / 6.0)),
        s.mul_add(g[1], s.splat(1.0 / 12.0), outer2),
        s.mul_add(g[1], s.splat(-1.0 / 12.0), outer2),
        g[2],
    ]
}

/// Gᵀ, of a product tile.
#[inline(always)]
pub(super) fn kernel_gradient<S: Simd>(s: S, u: [S::Vector; 6]) -> [S::Vector; 3] {
    let (sum, difference) = (s.add(u[1], u[2]), s.sub(u[2], u[1]));
    let (sum2, difference2) = (s.add(u[3], u[4]), s.sub(u[3], u[4]));
    let inner = s.mul_add(sum, s.splat(-1.0 / 6.0), s.mul(sum2, s.splat(1.0 / 24.0)));
    let outer = s.mul_add(sum, s.splat(-1.0 / 6.0), s.mul(sum2, s.splat(1.0 / 6.0)));
    [
        s.mul_add(u[0], s.splat(0.25), inner),
        s.mul_add(difference, s.splat(1.0 / 6.0), s.mul(difference2, s.splat(1.0 / 12.0))),
        s.add(u[5], outer),
    ]
}

/// Applies `matrix` (`OUT × IN`) to the rows and the columns of an `IN × IN` tile.
#[inline(always)]
pub(super) fn both_ways<V: Copy, const IN: usize, const OUT: usize>(
    zero: V,
    tile: [[V; IN]; IN],
    matrix: impl Fn([V; IN]) -> [V; OUT],
) -> [[V; OUT]; OUT] {
    let mut rows = [[zero; OUT]; IN];
    for (row, values) in rows.iter_mut().zip(tile) {
        *row = matrix(values);
    }
    let mut result = [[zero; OUT]; OUT];
    for j in 0..OUT {
        let mut column = [zero; IN];
        for (cell, row) in column.iter_mut().zip(&rows) {
            *cell = row[j];
        }
        let column = matrix(column);
        for (row, value) in result.iter_mut().zip(column) {
            row[j] = value;
        }
    }
    result
}
