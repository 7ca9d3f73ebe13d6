//! Sums over long rows: f32 lanes for speed, cut into short blocks that are added in f64.

/// Values between two additions to the f64 total.
const BLOCK: usize = 4096;
/// Independent lanes: enough for one wide register, or several narrow ones, to add side by side.
const LANES: usize = 16;

/// `K` sums over `0..len` of the terms that `terms(i)` gives, in a fixed order. Runs inside `Simd::vectorize`.
#[inline(always)]
pub(super) fn sums<const K: usize>(len: usize, terms: impl Fn(usize) -> [f32; K]) -> [f64; K] {
    let mut totals = [0.0f64; K];
    let mut from = 0;
    while from < len {
        let to = (from + BLOCK).min(len);
        let whole = from + (to - from) / LANES * LANES;
        let mut lanes = [[0.0f32; LANES]; K];
        while from < whole {
            for l in 0..LANES {
                for (lanes, term) in lanes.iter_mut().zip(terms(from + l)) {
                    lanes[l] += term;
                }
            }
            from += LANES;
        }
        for l in 0..to - whole {
            for (lanes, term) in lanes.iter_mut().zip(terms(from + l)) {
                lanes[l] += term;
            }
        }
        from = to;
        for (total, lanes) in totals.iter_mut().zip(lanes) {
            *total += lanes.into_iter().map(f64::from).sum::<f64>();
        }
    }
    totals
}
