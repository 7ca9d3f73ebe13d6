//! How large the values of a tensor are, counted as they stream by.

use oxidet_graph::quantization::{LEVELS, step};

/// Bins from zero to the largest value of the first values seen.
const FIRST_BINS: usize = 2048;

/// Bins beyond which neighbours are joined.
const MOST_BINS: usize = 4 * FIRST_BINS;

/// Counts of |x| in bins of equal width, from zero up. Later values that are larger append bins; when there are too many, pairs
/// of neighbours become one. So memory is bounded, and the counts depend on the first values given (they set the width) and on
/// all others together, not on their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Width of a bin; 0 until a value other than zero has been seen.
    width: f32,
    /// Bin `i` counts `i · width <= |x| < (i + 1) · width`.
    counts: Vec<u64>,
    /// Zeros seen before there was a width.
    zeros: u64,
    /// Largest |x|.
    max: f32,
}

impl Histogram {
    /// Counts values. False, and nothing is counted, when one of them is not a finite number.
    #[must_use]
    pub fn add(&mut self, values: &[f32]) -> bool {
        let max = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        // `max` passes over what is no number; a sum does not.
        if !max.is_finite() || values.iter().map(|x| x * 0.0).sum::<f32>().is_nan() {
            return false;
        }
        self.max = self.max.max(max);
        if self.width == 0.0 {
            // A width that vanishes, as of denormal numbers, counts as zero.
            if max < f32::MIN_POSITIVE * (2 * FIRST_BINS) as f32 {
                self.zeros += values.len() as u64;
                return true;
            }
            self.width = max / FIRST_BINS as f32;
            self.counts = vec![0; FIRST_BINS];
            self.counts[0] = std::mem::take(&mut self.zeros);
        }
        while self.bin(max) >= MOST_BINS {
            self.join_neighbours();
        }
        let needed = self.bin(max) + 1;
        if needed > self.counts.len() {
            self.counts.resize(needed, 0);
        }
        self.count(values);
        true
    }

    /// The bin of a magnitude. Multiplying by the inverse keeps to the same bins when the width doubles.
    fn bin(&self, magnitude: f32) -> usize {
        (magnitude * (1.0 / self.width)) as usize
    }

    fn count(&mut self, values: &[f32]) {
        let inverse = 1.0 / self.width;
        let bins = self.counts.len();
        // Neighbouring values often fall into one bin; two tables let their counts be written at the same time.
        let mut tables = [vec![0u32; bins], vec![0u32; bins]];
        for values in values.chunks(u32::MAX as usize) {
            let [even, odd] = &mut tables;
            let mut pairs = values.chunks_exact(2);
            for pair in &mut pairs {
                even[((pair[0].abs() * inverse) as usize).min(bins - 1)] += 1;
                odd[((pair[1].abs() * inverse) as usize).min(bins - 1)] += 1;
            }
            for x in pairs.remainder() {
                even[((x.abs() * inverse) as usize).min(bins - 1)] += 1;
            }
            for (count, (even, odd)) in self.counts.iter_mut().zip(even.iter_mut().zip(odd)) {
                *count += u64::from(std::mem::take(even)) + u64::from(std::mem::take(odd));
            }
        }
    }

    fn join_neighbours(&mut self) {
        self.width *= 2.0;
        self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    }

    /// Width of a bin; 0 when there was no value but zeros.
    pub fn width(&self) -> f32 {
        self.width
    }

    /// Counts by bin, the first from zero up.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// Largest magnitude.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Power of the values over that of the error of rounding them to the steps of ±`amax`, in decibels. The middles of the bins
    /// stand for the values. None when there is no value but zeros.
    pub fn sqnr(&self, amax: f32) -> Option<f64> {
        if self.width == 0.0 {
            return None;
        }
        let step = f64::from(step(amax)) / f64::from(self.width);
        let (mut signal, mut noise) = (0.0, 0.0);
        for (bin, count) in self.counts.iter().enumerate() {
            let (x, count) = (bin as f64 + 0.5, *count as f64);
            let rounded = (x / step).round_ties_even().min(f64::from(LEVELS)) * step;
            signal += count * x * x;
            noise += count * (x - rounded) * (x - rounded);
        }
        Some(10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10())
    }

    /// Share of the values whose bin begins at or above `amax`: what a range of ±`amax` clips.
    pub fn share_above(&self, amax: f32) -> f64 {
        if self.width == 0.0 {
            return 0.0;
        }
        let edge = (f64::from(amax) / f64::from(self.width)).ceil() as usize;
        let above: u64 = self.counts.iter().skip(edge).sum();
        above as f64 / self.total() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values with a tail, made by a formula.
    fn values(seed: u32, largest: f32) -> Vec<f32> {
        (0..10_000u32)
            .map(|i| {
                let x = (i.wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 8) as f32
                    / (1 << 24) as f32;
                (x - 0.5) * x * x * 2.0 * largest
            })
            .collect()
    }

    #[test]
    fn counts_are_exact_and_the_order_of_later_values_does_not_matter() {
        let parts = [values(1, 1.0), values(2, 0.3), values(3, 3.7), values(4, 40.0), values(5, 2.0)];
        let add = |order: [usize; 5]| {
            let mut histogram = Histogram::default();
            assert!(order.iter().all(|part| histogram.add(&parts[*part])));
            histogram
        };
        let histogram = add([0, 1, 2, 3, 4]);
        for order in [[0, 3, 1, 4, 2], [0, 4, 3, 2, 1], [0, 2, 4, 1, 3]] {
            assert_eq!(add(order), histogram);
        }
        assert_eq!(histogram.total(), 50_000);
        assert!(histogram.counts().len() <= MOST_BINS, "{}", histogram.counts().len());
        let all: Vec<f32> = parts.concat();
        assert_eq!(histogram.max(), all.iter().fold(0.0, |most, x| x.abs().max(most)));
        for bin in [0, 1, 17, histogram.counts().len() - 1] {
            let inverse = 1.0 / histogram.width();
            let inside = all.iter().filter(|x| (x.abs() * inverse) as usize == bin).count();
            assert_eq!(histogram.counts()[bin], inside as u64, "bin {bin}");
        }
    }

    #[test]
    fn zeros_wait_for_a_width_and_what_is_no_number_is_told() {
        let mut histogram = Histogram::default();
        assert!(histogram.add(&[0.0; 7]) && histogram.add(&[]));
        assert_eq!((histogram.width(), histogram.total()), (0.0, 7));
        assert!(histogram.add(&[0.0, -1.0]));
        assert_eq!((histogram.counts()[0], histogram.total(), histogram.max()), (8, 9, 1.0));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let before = histogram.clone();
            assert!(!histogram.add(&[0.5, bad, 0.5]));
            assert_eq!(histogram, before);
        }
    }

    #[test]
    fn what_a_range_clips() {
        let mut histogram = Histogram::default();
        let values: Vec<f32> = (0..2048).map(|i| i as f32 + 0.5).collect();
        assert!(histogram.add(&values));
        assert!((histogram.share_above(1024.0) - 0.5).abs() < 1e-3);
        assert_eq!(histogram.share_above(2048.0), 0.0);
    }

    #[test]
    fn noise_of_rounding() {
        // Evenly spread values have the power a²/3, their rounding error the power step²/12.
        let mut histogram = Histogram::default();
        assert!(histogram.add(&(0..200_000).map(|i| i as f32 / 2e5).collect::<Vec<_>>()));
        let want = 10.0 * (4.0 * 127.0f64 * 127.0).log10();
        let found = histogram.sqnr(1.0).unwrap();
        assert!((found - want).abs() < 0.1, "{found} {want}");
        assert!(histogram.sqnr(0.5).unwrap() < 15.0);
    }
}
