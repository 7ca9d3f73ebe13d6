//! From the counts of a tensor's values to its range.
//!
//! All searches try the edge of every bin as the end of the range. Sums over bins are differences of running sums, so a candidate
//! costs as much as there are INT8 levels, not bins.

use std::fmt;
use std::str::FromStr;

use oxidet_graph::quantization::LEVELS;

use crate::Histogram;

/// Non-negative levels that entropy calibration squeezes a distribution into.
const GROUPS: usize = 128;

/// A rule for choosing a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The range that loses the least information about the distribution of values (Kullback–Leibler divergence): TensorRT's
    /// "entropy calibration 2", after S. Migacz, *8-bit Inference with TensorRT*, GTC 2017, and NVIDIA's pytorch-quantization.
    Entropy,
    /// The largest magnitude.
    MinMax,
    /// The smallest range that holds this share of the values, in percent.
    Percentile(f64),
    /// The range with the smallest mean square error.
    Mse,
}

impl Method {
    /// The percentile that NVIDIA's tools take.
    pub const DEFAULT_PERCENTILE: f64 = 99.99;

    /// The range ±amax of a tensor; 0 when it holds zeros only.
    pub fn amax(self, histogram: &Histogram) -> f32 {
        if histogram.width() == 0.0 {
            return histogram.max();
        }
        let edge = match self {
            Self::MinMax => return histogram.max(),
            Self::Percentile(percent) => percentile(histogram.counts(), percent / 100.0),
            Self::Entropy => entropy(histogram.counts()),
            Self::Mse => mse(histogram.counts()),
        };
        edge.map_or(histogram.max(), |edge| (edge as f32 * histogram.width()).min(histogram.max()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy => f.write_str("entropy"),
            Self::MinMax => f.write_str("minmax"),
            Self::Percentile(percent) => write!(f, "percentile:{percent}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("entropy", "") => Ok(Self::Entropy),
            ("minmax", "") => Ok(Self::MinMax),
            ("mse", "") => Ok(Self::Mse),
            ("percentile", "") => Ok(Self::Percentile(Self::DEFAULT_PERCENTILE)),
            ("percentile", percent) => match percent.parse() {
                Ok(percent) if 50.0 < percent && percent <= 100.0 => Ok(Self::Percentile(percent)),
                _ => {
                    Err(format!("percentile:{percent}: a share between 50 and 100 is needed, such as 99.99"))
                }
            },
            _ => Err("use entropy, minmax, mse or percentile, as in percentile:99.99".into()),
        }
    }
}

/// The first edge that has at least `share` of the values below it.
fn percentile(counts: &[u64], share: f64) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    let bin = counts.iter().position(|count| {
        below += count;
        below as f64 >= share * total as f64
    });
    bin.map(|bin| bin + 1)
}

/// The edge whose clipped distribution P is told apart the least from Q, the same squeezed into 128 levels. What is clipped counts as the
/// last bin that holds something: NVIDIA's code takes the very last, and rules edges out where that is empty, so that one
/// outlier far off would make the whole range its own.
fn entropy(counts: &[u64]) -> Option<usize> {
    // Exact zeros, which a rectifier makes without end, say nothing about the range.
    let count = |bin: usize| if bin == 0 { counts[1] } else { counts[bin] } as f64;
    let running = |of: &dyn Fn(f64) -> f64| running_sum(counts.len(), |bin| of(count(bin)));
    let sums = running(&|count| count);
    let filled = running(&|count| f64::from(count > 0.0));
    let sums_of_logs = running(&|count| if count > 0.0 { count * count.ln() } else { 0.0 });
    let total = sums[counts.len()];
    // By edge: the last bin below it that holds something.
    let mut last_filled = vec![0; counts.len() + 1];
    for bin in 0..counts.len() {
        last_filled[bin + 1] = if count(bin) > 0.0 { bin } else { last_filled[bin] };
    }

    // In nats, up to a constant.
    let divergence = |edge: usize| -> f64 {
        let kept = sums[edge];
        if kept == 0.0 {
            return f64::INFINITY;
        }
        let (last, clipped) = (last_filled[edge], total - kept);
        let p_last = count(last) + clipped;
        let p_log_p = sums_of_logs[last] + p_last * p_last.ln();
        let mut p_log_q = 0.0;
        for group in 0..GROUPS {
            let [start, end] = [group, group + 1].map(|group| (group * edge).div_ceil(GROUPS));
            let (sum, bins) = (sums[end] - sums[start], filled[end] - filled[start]);
            if sum > 0.0 {
                let outliers = if group == last * GROUPS / edge { clipped } else { 0.0 };
                p_log_q += (sum + outliers) * (sum / bins).ln();
            }
        }
        (p_log_p - p_log_q) / total + kept.ln()
    };
    least(GROUPS..=counts.len(), divergence)
}

/// The edge with the smallest mean square error of rounding and clipping the middles of the bins.
fn mse(counts: &[u64]) -> Option<usize> {
    let middle = |bin: usize| bin as f64 + 0.5;
    let running = |power: i32| running_sum(counts.len(), |bin| counts[bin] as f64 * middle(bin).powi(power));
    let [zeroth, first, second] = [0, 1, 2].map(running);
    let levels = f64::from(LEVELS);
    let error = |edge: usize| -> f64 {
        let step = edge as f64 / levels;
        let mut start = 0;
        let mut error = 0.0;
        for level in 0..=LEVELS as usize {
            let end = if level == LEVELS as usize {
                counts.len()
            } else {
                // The first bin whose middle is nearer to the next level.
                ((level as f64 + 0.5) * step - 0.5).ceil().max(0.0) as usize
            };
            let value = level as f64 * step;
            let between = |sums: &[f64]| sums[end] - sums[start];
            error += between(&second) - 2.0 * value * between(&first) + value * value * between(&zeroth);
            start = end;
        }
        error
    };
    least(GROUPS..=counts.len(), error)
}

/// The running sums of `of(0), of(1), …`: `[0, of(0), of(0) + of(1), …]`.
fn running_sum(bins: usize, of: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sums = Vec::with_capacity(bins + 1);
    sums.push(0.0);
    let mut sum = 0.0;
    for bin in 0..bins {
        sum += of(bin);
        sums.push(sum);
    }
    sums
}

/// The edge of the smallest value; of equal ones the last, as in NVIDIA's code.
fn least(edges: impl Iterator<Item = usize>, value: impl Fn(usize) -> f64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for edge in edges {
        let value = value(edge);
        if value.is_finite() && best.is_none_or(|(_, least)| value <= least) {
            best = Some((edge, value));
        }
    }
    best.map(|(edge, _)| edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl Iterator<Item = f32>) -> Histogram {
        let mut histogram = Histogram::default();
        assert!(histogram.add(&values.collect::<Vec<_>>()));
        histogram
    }

    /// Half-normal values, evenly spread over their distribution: the inverse of the normal distribution (Acklam's approximation).
    fn normal(count: usize) -> impl Iterator<Item = f32> {
        (0..count).map(move |i| {
            let p = 0.5 + 0.5 * (i as f64 + 0.5) / count as f64;
            let q = p - 0.5;
            if q < 0.475 {
                let r = q * q;
                let a = [-39.696830, 220.946098, -275.928510, 138.357751, -30.664798, 2.506628];
                let b = [-54.476098, 161.585836, -155.698979, 66.801311, -13.280681, 1.0];
                let poly = |c: [f64; 6]| c.iter().fold(0.0, |sum, c| sum * r + c);
                (poly(a) * q / poly(b)) as f32
            } else {
                let r = (-2.0 * (1.0 - p).ln()).sqrt();
                let c = [-0.007784894, -0.322396458, -2.400758277, -2.549732539, 4.374664141, 2.938163982];
                let d = [0.007784695, 0.322467129, 2.445134137, 3.754408661, 1.0];
                let poly = |c: &[f64]| c.iter().fold(0.0, |sum, c| sum * r + c);
                (-poly(&c) / poly(&d)) as f32
            }
        })
    }

    /// The definition, bin by bin.
    fn slow_divergence(counts: &[u64], edge: usize) -> f64 {
        let mut counts: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
        counts[0] = counts[1];
        let mut p = counts[..edge].to_vec();
        let last = p.iter().rposition(|count| *count > 0.0).unwrap();
        p[last] += counts[edge..].iter().sum::<f64>();
        let mut q = vec![0.0; edge];
        for group in 0..GROUPS {
            let bins: Vec<usize> = (0..edge).filter(|bin| bin * GROUPS / edge == group).collect();
            let sum: f64 = bins.iter().map(|bin| counts[*bin]).sum();
            let filled = bins.iter().filter(|bin| counts[**bin] > 0.0).count();
            for bin in bins.into_iter().filter(|bin| counts[*bin] > 0.0) {
                q[bin] = sum / filled as f64;
            }
        }
        let [all_p, all_q] = [&p, &q].map(|of| of.iter().sum::<f64>());
        p.iter()
            .zip(&q)
            .filter(|(p, _)| **p > 0.0)
            .map(|(p, q)| p / all_p * (p / all_p / (q / all_q)).ln())
            .sum()
    }

    #[test]
    fn the_fast_divergence_is_the_definition() {
        let mut counts: Vec<u64> =
            (0..700u64).map(|i| 1_000_000 / (1 + i * i / 50) + i * 7919 % 13).collect();
        counts[300..320].fill(0);
        let slow = (GROUPS..=counts.len()).map(|edge| (edge, slow_divergence(&counts, edge)));
        let want = slow.fold((0, f64::INFINITY), |best, found| if found.1 <= best.1 { found } else { best });
        assert_eq!(entropy(&counts), Some(want.0));
    }

    #[test]
    fn the_fast_square_error_is_the_definition() {
        let counts: Vec<u64> =
            (0..500u64).map(|i| 100_000 / (1 + i * i / 9) + u64::from(i % 3 == 0)).collect();
        let slow = |edge: usize| -> f64 {
            let step = edge as f64 / 127.0;
            let errors = counts.iter().enumerate().map(|(bin, count)| {
                let x = bin as f64 + 0.5;
                *count as f64 * (x - (x / step).round_ties_even().min(127.0) * step).powi(2)
            });
            errors.sum()
        };
        let want = (GROUPS..=500).min_by(|a, b| slow(*a).total_cmp(&slow(*b))).unwrap();
        assert_eq!(mse(&counts), Some(want));
    }

    #[test]
    fn evenly_spread_values_keep_their_range() {
        let uniform = histogram((0..1_000_000).map(|i| i as f32 / 1e6));
        for method in [Method::Entropy, Method::MinMax, Method::Mse] {
            let amax = method.amax(&uniform);
            assert!((amax - 1.0).abs() < 0.01, "{method}: {amax}");
        }
        assert!((Method::Percentile(90.0).amax(&uniform) - 0.9).abs() < 1e-3);
    }

    #[test]
    fn a_tail_is_clipped_and_an_outlier_does_not_count() {
        let bell = histogram(normal(1_000_000));
        let max = Method::MinMax.amax(&bell);
        assert!((4.8..5.1).contains(&max), "{max}");
        let entropy = Method::Entropy.amax(&bell);
        assert!(entropy < 0.97 * max, "{entropy}");
        // The optimal uniform quantiser of a normal distribution with 255 levels ends at 4.2 σ or so.
        let mse = Method::Mse.amax(&bell);
        assert!((3.6..4.6).contains(&mse), "{mse}");

        let outlier = histogram(normal(1_000_000).chain([100.0]));
        assert_eq!(Method::MinMax.amax(&outlier), 100.0);
        for method in [Method::Entropy, Method::Percentile(99.99)] {
            let amax = method.amax(&outlier);
            assert!(amax < 10.0, "{method}: {amax}");
        }
    }

    #[test]
    fn zeros_of_rectifiers_do_not_count() {
        let half = histogram(normal(100_000));
        let with_zeros = histogram(normal(100_000).chain(std::iter::repeat_n(0.0, 100_000)));
        let difference = Method::Entropy.amax(&half) - Method::Entropy.amax(&with_zeros);
        assert!(difference.abs() <= 1.01 * half.width(), "{difference}");
    }

    #[test]
    fn few_different_values_keep_their_maximum() {
        let mut three = Histogram::default();
        assert!(three.add(&[0.0, 1.0, 1.0, -2.5]));
        assert_eq!(Method::Entropy.amax(&three), 2.5);
        let mut none = Histogram::default();
        assert!(none.add(&[0.0; 10]));
        assert_eq!(Method::Entropy.amax(&none), 0.0);
    }

    #[test]
    fn names() {
        for text in ["entropy", "minmax", "mse", "percentile:99.99"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        assert_eq!("percentile".parse(), Ok(Method::Percentile(99.99)));
        for text in ["kl", "percentile:5", "percentile:x", "entropy:3", ""] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
