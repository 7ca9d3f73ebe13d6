//! From the counts of a tensor's values to its range.
//!
//! All searches try the edge of every bin as the end of the range. Sums over bins are differences of running sums, so a candidate
//! costs as much as there are INT8 levels, not bins.

use std::fmt;
use std::str::FromStr;

use oxidet_graph::quantization::LEVELS;

use crate::Histogram;

/// Levels of both signs that entropy calibration squeezes a distribution into.
const GROUPS: usize = 256;

/// What entropy calibration gives an empty bin, in counts.
const SMOOTHING: f64 = 1e-4;

/// Non-negative levels of INT8. Narrower ranges, in bins, are not looked at.
const LEVELS_AND_ZERO: usize = LEVELS as usize + 1;

/// A rule for choosing a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The range that loses the least information about the distribution of values (Kullback–Leibler divergence), after S. Migacz, *8-bit
    /// Inference with TensorRT*, GTC 2017, by the rule of onnxruntime's calibrator.
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

/// The edge whose clipped distribution P is told apart the least from Q, the same squeezed into 128 levels a side, by the rule of
/// onnxruntime's calibrator (`get_entropy_threshold`), on the counts and their mirror image. Groups are of equal numbers of whole
/// bins, and the bins that are left over at the upper end count for the last group but are empty in Q, which favours edges just
/// above a multiple of 128 bins.
fn entropy(counts: &[u64]) -> Option<usize> {
    let half = counts.len();
    let mirrored = |bin: usize| if bin < half { counts[half - 1 - bin] } else { counts[bin - half] } as f64;
    let running = |of: &dyn Fn(f64) -> f64| running_sum(2 * half, |bin| of(mirrored(bin)));
    let of_filled = |of: fn(f64) -> f64| move |count: f64| if count > 0.0 { of(count) } else { 0.0 };
    let sums = running(&|count| count);
    let filled = running(&of_filled(|_| 1.0));
    let logs = running(&of_filled(f64::ln));
    let weighted_logs = running(&of_filled(|count| count * count.ln()));
    let total = sums[2 * half];

    let divergence = |edge: usize| -> f64 {
        let (start, end) = (half - edge, (half + edge + 1).min(2 * half));
        let size = end - start;
        let width = size / GROUPS;
        let grouped = start + GROUPS * width;
        // What lies outside counts for the outermost bins of P.
        let outer = [(start, sums[start]), (end - 1, total - sums[end])];
        let newly_filled = |from: usize, to: usize| {
            let is_filled_by =
                |(bin, more): &(usize, f64)| (from..to).contains(bin) && *more > 0.0 && mirrored(*bin) == 0.0;
            outer.iter().filter(|each| is_filled_by(each)).count() as f64
        };
        let outside = |from: usize, to: usize| -> f64 {
            outer.iter().filter(|(bin, _)| (from..to).contains(bin)).map(|(_, more)| more).sum()
        };
        let bins_of_p = filled[end] - filled[start] + newly_filled(start, end);
        if bins_of_p == 0.0 {
            return f64::INFINITY;
        }
        // A little of every filled bin goes to the empty ones, so that Q is nowhere zero where P is not.
        let taken = SMOOTHING * (size as f64 - bins_of_p) / bins_of_p;
        let plain = weighted_logs[end] - weighted_logs[start] - taken * (logs[end] - logs[start] + bins_of_p);
        let p_log_p = outer.iter().fold(plain, |sum, (bin, more)| {
            let count = mirrored(*bin);
            let without = if count > 0.0 { count * count.ln() - taken * count.ln() } else { 0.0 };
            let with = count + more - taken;
            if *more > 0.0 { sum - without + with * with.ln() + taken } else { sum }
        });
        let empty = size as f64 - bins_of_p;
        let p_log_p = p_log_p + empty * SMOOTHING * SMOOTHING.ln();

        let group = |group: usize| {
            let (from, to) = (start + group * width, start + (group + 1) * width);
            let upper = if group + 1 == GROUPS { end } else { to };
            let bins = filled[to] - filled[from] + newly_filled(from, to);
            // A whole number of counts, as theirs.
            let level = if bins > 0.0 { ((sums[upper] - sums[from]) / bins).floor() } else { 0.0 };
            let p =
                sums[to] - sums[from] + outside(from, to) - taken * bins + SMOOTHING * (width as f64 - bins);
            (level, p)
        };
        let groups: [(f64, f64); GROUPS] = std::array::from_fn(group);
        let levels = || groups.iter().map(|(level, _)| *level).filter(|level| *level > 0.0);
        let bins_of_q = levels().count() * width;
        if bins_of_q == 0 {
            return f64::INFINITY;
        }
        let sum_of_q = levels().sum::<f64>() * width as f64;
        let taken_of_q = SMOOTHING * (size - bins_of_q) as f64 / bins_of_q as f64;
        let mut p_log_q = 0.0;
        for (level, p) in groups {
            p_log_q += p * if level > 0.0 { (level - taken_of_q).ln() } else { SMOOTHING.ln() };
        }
        let left_over = filled[end] - filled[grouped] + newly_filled(grouped, end);
        let p_left_over = sums[end] - sums[grouped] + outside(grouped, end) - taken * left_over
            + SMOOTHING * ((end - grouped) as f64 - left_over);
        p_log_q += p_left_over * SMOOTHING.ln();
        (p_log_p - p_log_q) / total - total.ln() + sum_of_q.ln()
    };
    least(GROUPS / 2..=half, divergence).map(|edge| (edge + 1).min(half))
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
    least(LEVELS_AND_ZERO..=counts.len(), error)
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

/// The edge of the smallest value, the first of equal ones.
fn least(edges: impl Iterator<Item = usize>, value: impl Fn(usize) -> f64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for edge in edges {
        let value = value(edge);
        if value.is_finite() && best.is_none_or(|(_, least)| value < least) {
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

    /// The definition, bin by bin, as `onnxruntime/quantization/calibrate.py` has it.
    fn slow_divergence(counts: &[u64], edge: usize) -> f64 {
        let half = counts.len();
        let all: Vec<f64> = counts.iter().rev().chain(counts).map(|count| *count as f64).collect();
        let (start, end) = (half - edge, (half + edge + 1).min(2 * half));
        let kept = &all[start..end];
        let mut p = kept.to_vec();
        p[0] += all[..start].iter().sum::<f64>();
        *p.last_mut().unwrap() += all[end..].iter().sum::<f64>();
        let width = kept.len() / GROUPS;
        let mut q = vec![0.0; kept.len()];
        for group in 0..GROUPS {
            let (from, to) = (group * width, (group + 1) * width);
            let upper = if group + 1 == GROUPS { kept.len() } else { to };
            let filled = p[from..to].iter().filter(|count| **count > 0.0).count();
            if filled > 0 {
                q[from..to].fill((kept[from..upper].iter().sum::<f64>() / filled as f64).floor());
            }
        }
        let smoothed = |values: Vec<f64>| -> Vec<f64> {
            let empty = values.iter().filter(|value| **value == 0.0).count() as f64;
            let taken = 1e-4 * empty / (values.len() as f64 - empty);
            let sum: f64 = values.iter().sum();
            values.iter().map(|value| if *value == 0.0 { 1e-4 } else { value - taken } / sum).collect()
        };
        smoothed(p).iter().zip(smoothed(q)).map(|(p, q)| p * (p / q).ln()).sum()
    }

    #[test]
    fn the_fast_divergence_is_the_definition() {
        for seed in 0..6u64 {
            let mut counts: Vec<u64> =
                (0..700u64).map(|i| 1_000_000 / (1 + i * i / 50) + i * (7919 + seed) % 13).collect();
            counts[300..320].fill(0);
            counts[690 - 40 * seed as usize..].fill(0);
            counts[699] = seed;
            let slow = (GROUPS / 2..=counts.len()).map(|edge| (edge, slow_divergence(&counts, edge)));
            let want =
                slow.fold((0, f64::INFINITY), |best, found| if found.1 < best.1 { found } else { best });
            assert_eq!(entropy(&counts), Some((want.0 + 1).min(counts.len())));
        }
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
        let want = (LEVELS_AND_ZERO..=500).min_by(|a, b| slow(*a).total_cmp(&slow(*b))).unwrap();
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
