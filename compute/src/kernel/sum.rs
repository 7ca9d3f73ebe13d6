//! Sums over long rows: f32 lanes for speed, cut into short blocks that are added in f64.

/// Values between two additions to the f64 total.
const BLOCK: usize = 4096;
/// Independent lanes: enough to keep several wide registers adding side by side.
const LANES: usize = 32;

/// `K` sums over the elements of `rows`, which have one length, of the terms that `terms` makes of one element of each.
/// The order of additions is fixed. Runs inside `Simd::vectorize`.
#[inline(always)]
pub(super) fn sums<const ROWS: usize, const K: usize>(
    rows: [&[f32]; ROWS],
    terms: impl Fn([f32; ROWS]) -> [f32; K],
) -> [f64; K] {
    let len = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == len), "rows of one length");
    let mut totals = [0.0f64; K];
    for from in (0..len).step_by(BLOCK) {
        let mut block = rows;
        for row in &mut block {
            *row = &row[from..(from + BLOCK).min(len)];
        }
        let mut lanes = [[0.0f32; LANES]; K];
        let (whole, rest) = block[0].as_chunks::<LANES>();
        for index in 0..whole.len() {
            let mut values = [[0.0f32; ROWS]; LANES];
            for (r, row) in block.iter().enumerate() {
                let (chunks, _) = row.as_chunks::<LANES>();
                for (value, x) in values.iter_mut().zip(chunks[index]) {
                    value[r] = x;
                }
            }
            for (l, value) in values.into_iter().enumerate() {
                for (lanes, term) in lanes.iter_mut().zip(terms(value)) {
                    lanes[l] += term;
                }
            }
        }
        for l in 0..rest.len() {
            let mut value = [0.0f32; ROWS];
            for (value, row) in value.iter_mut().zip(&block) {
                *value = row[whole.len() * LANES + l];
            }
            for (lanes, term) in lanes.iter_mut().zip(terms(value)) {
                lanes[l] += term;
            }
        }
        for (total, lanes) in totals.iter_mut().zip(lanes) {
            *total += lanes.into_iter().map(f64::from).sum::<f64>();
        }
    }
    totals
}
