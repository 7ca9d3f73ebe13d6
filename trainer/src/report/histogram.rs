//! How the weights of a network are distributed.

use oxidet_graph::{Graph, ParamKind, Params};
use oxidet_proto::tensorboard::{Histogram, Value};
use rayon::prelude::*;

/// Buckets of a histogram. TensorBoard draws 30.
const BUCKETS: usize = 60;

/// A histogram of every trained parameter: `histogram/weight/<layer>`, and `bias`, `gamma` and `beta`.
pub(super) fn histograms(graph: &Graph, params: &Params) -> Vec<Value> {
    let specs = graph.param_specs();
    specs
        .par_iter()
        .filter_map(|spec| {
            let what = match spec.kind {
                ParamKind::Kernel => "weight",
                ParamKind::Bias => "bias",
                ParamKind::Gamma => "gamma",
                ParamKind::Beta => "beta",
                ParamKind::MovingMean | ParamKind::MovingVariance | ParamKind::Amax => return None,
            };
            let histogram = histogram(params.get(&spec.name)?.data());
            Some(Value::histogram(format!("histogram/{what}/{}", spec.layer), histogram))
        })
        .collect()
}

/// Of the values that are finite; buckets are equally wide.
fn histogram(values: &[f32]) -> Histogram {
    let finite = || values.iter().filter(|value| value.is_finite());
    let (min, max) = finite().fold((f32::MAX, f32::MIN), |(min, max), v| (min.min(*v), max.max(*v)));
    if min > max {
        return Histogram::default();
    }
    let (min, max) = (f64::from(min), f64::from(max));
    let width = (max - min) / BUCKETS as f64;
    // With one value alone there is one bucket.
    let buckets = if width > 0.0 { BUCKETS } else { 1 };
    let per_width = if width > 0.0 { (1.0 / width) as f32 } else { 0.0 };
    let (mut bucket, mut sum, mut sum_squares) = (vec![0u64; buckets], 0.0, 0.0);
    for value in finite() {
        let wide = f64::from(*value);
        sum += wide;
        sum_squares += wide * wide;
        bucket[(((value - min as f32) * per_width) as usize).min(buckets - 1)] += 1;
    }
    let mut bucket_limit: Vec<f64> = (1..=buckets).map(|i| min + i as f64 * width).collect();
    bucket_limit[buckets - 1] = max;
    Histogram {
        min,
        max,
        num: bucket.iter().sum::<u64>() as f64,
        sum,
        sum_squares,
        bucket_limit,
        bucket: bucket.into_iter().map(|count| count as f64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_in_the_bucket_of_its_size() {
        let values: Vec<f32> = (0..=BUCKETS).map(|i| i as f32 - 10.0).collect();
        let found = histogram(&[&values[..], &[f32::NAN, f32::INFINITY]].concat());
        assert_eq!((found.min, found.max, found.num), (-10.0, 50.0, 61.0));
        assert_eq!(
            (found.sum, found.sum_squares),
            (61.0 * 20.0, (1..=10).chain(1..=50).map(|i| f64::from(i * i)).sum())
        );
        assert_eq!(found.bucket_limit[..2], [-9.0, -8.0]);
        // The greatest value belongs to the last bucket.
        assert_eq!(found.bucket[..BUCKETS - 1], [1.0; BUCKETS - 1]);
        assert_eq!(found.bucket[BUCKETS - 1], 2.0);
    }

    #[test]
    fn one_value_or_none() {
        let flat = histogram(&[1.0; 7]);
        assert_eq!((flat.bucket, flat.bucket_limit), (vec![7.0], vec![1.0]));
        assert_eq!(histogram(&[f32::NAN]), Histogram::default());
        let wide = histogram(&[f32::MIN, f32::MAX]);
        assert_eq!((wide.bucket[0], wide.bucket[BUCKETS - 1]), (1.0, 1.0));
        let tiny = histogram(&[0.0, 1e-44]);
        assert_eq!(tiny.bucket.iter().sum::<f64>(), 2.0);
    }
}
