//! Whether a pruned network computes what it should.

use oxidet_graph::pass::prune::Plan;
use oxidet_graph::pass::strip_quantizers;
use oxidet_graph::{Detector, Params};

use oxidet_compute::{Executor, ExecutorError};

/// Largest difference that rounding explains, as [`difference`] measures it.
pub const TOLERANCE: f32 = 1e-4;

/// What keeps the two from being compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruningCheckError {
    /// One of them does not run.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The whole one computes nothing that can be compared.
    #[error("the model's outputs are not finite numbers; its parameters are damaged or have diverged")]
    NotFinite,
}

/// How far the head maps of a pruned network are from those of the whole one whose pruned channels are 0, for one preprocessed
/// image `[C, H, W]`: the largest difference, as a share of the largest value of the map.
///
/// Quantisers are left out on both sides: pruning does not touch them, and where a value lies between two codes, rounding
/// before it would decide.
///
/// # Errors
/// When one of the networks does not run, `image` has another size, or the whole network's outputs are not finite.
pub fn difference(
    whole: (&Detector, &Params),
    plan: &Plan,
    pruned: (&Detector, &Params),
    image: &[f32],
) -> Result<f32, PruningCheckError> {
    let maps = |(detector, params): (&Detector, &Params)| -> Result<Vec<Vec<f32>>, ExecutorError> {
        let (detector, params) = strip_quantizers(detector, params);
        let mut executor = Executor::new(&detector, &params)?;
        Ok(executor.head_maps(image, 1)?.into_iter().map(<[f32]>::to_vec).collect())
    };
    let want = maps((whole.0, &plan.zeroed(&whole.0.graph, whole.1)))?;
    if want.iter().flatten().any(|value| !value.is_finite()) {
        return Err(PruningCheckError::NotFinite);
    }
    let found = maps(pruned)?;
    Ok(want.iter().zip(&found).map(|(want, found)| of_map(want, found)).fold(0.0, f32::max))
}

fn of_map(want: &[f32], found: &[f32]) -> f32 {
    if want.len() != found.len() || found.iter().any(|value| !value.is_finite()) {
        return f32::INFINITY;
    }
    let most = want.iter().zip(found).map(|(want, found)| (want - found).abs()).fold(0.0, f32::max);
    most / want.iter().map(|want| want.abs()).fold(f32::MIN_POSITIVE, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_graph::pass::place_quantizers;
    use oxidet_graph::pass::prune::{Criterion, Normalizer, Pruner, Pruning};
    use oxidet_graph::{NodeId, ParamKind, ParamSpec, Tensor};

    use crate::net::golden;

    /// At threshold 0.5 the goldens' filters, which are all of about one size, would all stay: these differ.
    fn uneven(detector: &Detector) -> Params {
        let mut params = golden::params(&detector.graph);
        for spec in detector.graph.param_specs().iter().filter(|spec| spec.kind == ParamKind::Kernel) {
            let kernel = params.get_mut(&spec.name).unwrap();
            let per_filter = kernel.data().len() / spec.shape[0];
            for (filter, weights) in kernel.data_mut().chunks_exact_mut(per_filter).enumerate() {
                let factor = [1.0, 0.2, 0.6, 0.3, 0.9][(filter + spec.name.len()) % 5];
                weights.iter_mut().for_each(|w| *w *= factor);
            }
        }
        params
    }

    #[test]
    fn every_pruned_network_is_the_whole_one_with_channels_zeroed() {
        let settings = [
            Pruning::default(),
            Pruning { criterion: Criterion::GeometricMean, normalizer: Normalizer::L2, ..Pruning::default() },
            Pruning {
                granularity: 3,
                min_filters: 5,
                criterion: Criterion::Intersection,
                ..Pruning::default()
            },
        ];
        for (index, net) in golden::nets().enumerate() {
            let detector = golden::detector(net);
            let params = uneven(&detector);
            let pruning = &settings[index % settings.len()];
            let pruner = Pruner::new(&detector, &params, pruning).unwrap();
            let most: u64 = detector.graph.macs(64, 96).unwrap().iter().sum();
            let plan = pruner.plan(pruner.threshold_for_macs(most * 6 / 10).unwrap());
            let pruned = plan.apply(&detector, &params);
            assert_eq!(pruned.0.validate(), Ok(()), "{net:?}");
            pruned.1.check(&pruned.0.graph).unwrap();
            let macs: u64 = pruned.0.graph.macs(64, 96).unwrap().iter().sum();
            assert!(macs <= most * 6 / 10 && macs > 0, "{net:?}: {macs} of {most}");
            let difference =
                difference((&detector, &params), &plan, (&pruned.0, &pruned.1), &golden::input()).unwrap();
            assert!(difference <= TOLERANCE, "{net:?}: {difference}");
        }
    }

    #[test]
    fn a_network_with_a_wrong_channel_is_found_out() {
        let detector = golden::detector(("cspdarknet_tiny", 0, "", false));
        let params = uneven(&detector);
        let plan = Pruner::new(&detector, &params, &Pruning::default()).unwrap().plan(0.5);
        let (pruned, mut cut) = plan.apply(&detector, &params);
        let kernel = cut.get("conv_3_conv_1/kernel").unwrap();
        let mut data = kernel.data().to_vec();
        data.rotate_left(kernel.data().len() / kernel.shape()[0]);
        let kernel = Tensor::new(kernel.shape(), data);
        cut.insert("conv_3_conv_1/kernel", kernel);
        let difference = difference((&detector, &params), &plan, (&pruned, &cut), &golden::input()).unwrap();
        assert!(difference > 100.0 * TOLERANCE, "{difference}");
    }

    /// Where quantisers are does not depend on widths, and what is kept does not depend on quantisers.
    #[test]
    fn pruning_and_placing_quantisers_commute() {
        for net in
            [("resnet", 18, "", false), ("cspdarknet_tiny", 0, "", false), ("efficientnet_b0", 0, "", false)]
        {
            let detector = golden::detector(net);
            let params = uneven(&detector);
            let prune = |detector: &Detector, params: &Params| {
                let plan = Pruner::new(detector, params, &Pruning::default()).unwrap().plan(0.5);
                plan.apply(detector, params)
            };
            let (pruned, cut) = prune(&detector, &params);
            assert!(pruned.graph.param_count() < detector.graph.param_count());
            let pruned_first = place_quantizers(&pruned, &cut);
            let (quantized, mut params) = place_quantizers(&detector, &params);
            assert_eq!(prune(&quantized, &params), pruned_first, "{net:?}");
            params.insert("Input_qdq/amax", Tensor::new([1], vec![2.5]));
            let (_, cut) = prune(&quantized, &params);
            assert_eq!(cut.get("Input_qdq/amax").unwrap().data(), [2.5], "ranges are kept");
        }
    }

    /// The groups that the original finds.
    #[test]
    fn golden_groups() {
        for net in golden::nets() {
            let detector = golden::detector(net);
            let ones = |spec: &ParamSpec| {
                let len = spec.shape.iter().product();
                (spec.name.clone(), Tensor::new(spec.shape.clone(), vec![1.0; len]))
            };
            let params: Params = detector.graph.param_specs().iter().map(ones).collect();
            let pruner = Pruner::new(&detector, &params, &Pruning::default()).unwrap();
            let name = |id: &NodeId| detector.graph.node(*id).name.clone();
            let mut found: Vec<Vec<String>> = pruner
                .groups()
                .iter()
                .filter(|group| group.layers.len() > 1)
                .map(|group| group.layers.iter().map(name).collect())
                .collect();
            let mut want = groups_of(net);
            found.iter_mut().chain(&mut want).for_each(|group| group.sort_unstable());
            found.sort_unstable();
            want.sort_unstable();
            assert_eq!(found, want, "{net:?}");
            let kept: Vec<String> = pruner
                .groups()
                .iter()
                .filter(|group| group.whole.is_some())
                .flat_map(|group| group.layers.iter().map(name))
                .collect();
            assert_eq!(kept, kept_in(net), "{net:?}");
        }
    }

    /// Layers that the original never prunes.
    fn kept_in((arch, ..): golden::Net) -> Vec<&'static str> {
        let splits = ["conv_2_conv_0", "conv_3_conv_0", "conv_4_conv_0"];
        let heads = ["conv_big_object", "conv_mid_object", "conv_sm_object"];
        match arch {
            "cspdarknet_tiny" => [&splits[..], &heads[..2]].concat(),
            "cspdarknet_tiny_3l" => [&splits[..], &heads].concat(),
            _ => heads.to_vec(),
        }
    }

    fn groups_of((arch, depth, ..): golden::Net) -> Vec<Vec<String>> {
        let group = |names: &[String]| names.to_vec();
        match (arch, depth) {
            ("resnet", depth) => {
                let (units, last) = match depth {
                    10 => ([1, 1, 1, 1], 2),
                    18 => ([2, 2, 2, 2], 2),
                    34 => ([3, 4, 6, 3], 2),
                    50 => ([3, 4, 6, 3], 3),
                    _ => ([3, 4, 23, 3], 3),
                };
                let unit = |stage: usize, letter| {
                    let unit = format!("block_{stage}{letter}_conv");
                    group(&[format!("{unit}_{last}"), format!("{unit}_shortcut")])
                };
                let stage = |(stage, units)| ('a'..='z').take(units).map(move |letter| unit(stage, letter));
                (1..).zip(units).flat_map(stage).collect()
            }
            ("darknet" | "cspdarknet", 53) => {
                let part = if arch == "cspdarknet" { "_2" } else { "" };
                let stage = |(stage, units): (usize, usize)| {
                    let first = format!("conv{}{part}", stage + 1);
                    let units = (1..=units).map(|unit| format!("b{stage}_conv{unit}_2"));
                    std::iter::once(first).chain(units).collect()
                };
                (1..).zip([1, 2, 8, 8, 4]).map(stage).collect()
            }
            ("mobilenet_v1", _) => {
                let before = |n| if n == 1 { "conv1".into() } else { format!("conv_pw_{}", n - 1) };
                (1..=11).map(|n| group(&[before(n), format!("conv_dw_{n}")])).collect()
            }
            ("mobilenet_v2", _) => {
                let first = group(&["conv1".into(), "expanded_conv_depthwise".into()]);
                let inner =
                    (1..=12).map(|n| group(&[format!("block_{n}_expand"), format!("block_{n}_depthwise")]));
                let sums = [2, 4, 5, 7, 8, 9, 11, 12];
                let sums = sums
                    .map(|n| group(&[format!("block_{n}_project"), format!("block_{n}_projected_inputs")]));
                std::iter::once(first).chain(inner).chain(sums).collect()
            }
            ("efficientnet_b0", _) => {
                let stages = [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 1)];
                let mut groups = Vec::new();
                for (stage, units) in stages {
                    let block = |letter: char| format!("block{stage}{letter}");
                    for letter in ('a'..='z').take(units) {
                        let block = block(letter);
                        let before =
                            if stage == 1 { "stem_conv".into() } else { format!("{block}_expand_conv") };
                        groups.push(group(&[
                            before,
                            format!("{block}_dwconv"),
                            format!("{block}_se_expand"),
                        ]));
                    }
                    if units > 1 {
                        let letters = ('a'..='z').take(units);
                        groups
                            .push(letters.map(|letter| format!("{}_project_conv", block(letter))).collect());
                    }
                }
                groups
            }
            _ => Vec::new(),
        }
    }
}
