//! What belongs together, on small networks; every backbone is pruned in `trainer`, where networks run.

use super::*;
use crate::{Conv2d, Graph, GraphBuilder, Op, Padding, Tensor};

const CONV: Conv2d =
    Conv2d { filters: 8, kernel: 1, stride: 1, padding: Padding::all(0), groups: 1, bias: false };

fn wide(filters: usize) -> Conv2d {
    Conv2d { filters, ..CONV }
}

/// Filter `f` of every kernel weighs `f + 1` in all.
fn ramp(graph: &Graph) -> Params {
    let tensor = |shape: &[usize]| {
        let per_filter: usize = shape[1..].iter().product();
        let weight = |f: usize| (f + 1) as f32 / (per_filter as f32).sqrt();
        let data = (0..shape[0]).flat_map(|f| std::iter::repeat_n(weight(f), per_filter)).collect();
        Tensor::new(shape, data)
    };
    graph.param_specs().iter().map(|spec| (spec.name.clone(), tensor(&spec.shape))).collect()
}

fn few() -> Pruning {
    Pruning { granularity: 1, min_filters: 1, ..Pruning::default() }
}

/// Names of the layers of each group, and why it is kept.
fn groups(detector: &Detector, pruning: &Pruning) -> Vec<(Vec<String>, Option<Whole>)> {
    let params = ramp(&detector.graph);
    let pruner = Pruner::new(detector, &params, pruning).unwrap();
    let name = |id: &NodeId| detector.graph.node(*id).name.clone();
    pruner.groups().iter().map(|group| (group.layers.iter().map(name).collect(), group.whole)).collect()
}

/// A residual sum of concatenations, a gate, a depthwise convolution, a slice and a grouped convolution.
fn network() -> Detector {
    let mut g = GraphBuilder::new();
    let image = g.input(1);
    let a = g.conv("a", image, wide(8));
    let b = g.conv("b", image, wide(4));
    let c = g.conv("c", image, wide(8));
    let d = g.conv("d", image, wide(4));
    let ab = g.concat("ab", &[a, b]);
    let cd = g.concat("cd", &[c, d]);
    let sum = g.add("sum", ab, cd);
    let e = g.conv("e", sum, wide(8));
    let depthwise = g.conv("depthwise", e, Conv2d { groups: 8, ..wide(8) });
    let squeezed = g.global_average_pool("squeezed", depthwise);
    let gate = g.conv("gate", squeezed, wide(8));
    let gated = g.scale("gated", depthwise, gate);
    let f = g.conv("f", gated, wide(8));
    let half = g.channel_slice("half", f, 4, 4);
    let h = g.conv("h", half, wide(8));
    let grouped = g.conv("grouped", h, Conv2d { groups: 2, ..wide(4) });
    let head = g.conv("head", grouped, wide(6));
    Detector::for_tests(g.finish(), head)
}

#[test]
fn what_is_paired_belongs_together() {
    let detector = network();
    let id = |name: &str| detector.graph.find(name).unwrap();
    let found = groups(&detector, &few());
    let found: Vec<(Vec<&str>, Option<Whole>)> =
        found.iter().map(|(layers, whole)| (layers.iter().map(String::as_str).collect(), *whole)).collect();
    assert_eq!(
        found,
        [
            (vec![], Some(Whole::Input(id("Input")))),
            (vec!["a", "c"], None),
            (vec!["b", "d"], None),
            (vec!["e", "depthwise", "gate"], None),
            (vec!["f"], Some(Whole::Slice(id("half")))),
            (vec![], Some(Whole::Slice(id("half")))),
            (vec!["h"], Some(Whole::Grouped(id("grouped")))),
            (vec!["grouped"], Some(Whole::Grouped(id("grouped")))),
            (vec!["head"], Some(Whole::Output(id("head")))),
        ]
    );
}

#[test]
fn a_plan_cuts_layers_and_their_readers() {
    let detector = network();
    let params = ramp(&detector.graph);
    let pruner = Pruner::new(&detector, &params, &few()).unwrap();
    let plan = pruner.plan(0.5);
    let id = |name: &str| detector.graph.find(name).unwrap();
    assert_eq!(plan.kept(id("a")), [4, 5, 6, 7]);
    assert_eq!(plan.kept(id("sum")), [4, 5, 6, 7, 10, 11]);
    assert_eq!(plan.kept(id("f")).len(), 8);
    let (narrow, cut) = plan.apply(&detector, &params);
    assert_eq!(narrow.graph, plan.narrow(&detector).graph);
    assert_eq!(narrow.graph.validate(), Ok(()));
    cut.check(&narrow.graph).unwrap();
    let shape = |name: &str| cut.get(name).unwrap().shape().to_vec();
    assert_eq!(shape("e/kernel"), [4, 6, 1, 1]);
    assert_eq!(shape("depthwise/kernel"), [4, 1, 1, 1]);
    assert_eq!(shape("f/kernel"), [8, 4, 1, 1]);
    assert_eq!(shape("grouped/kernel"), [4, 4, 1, 1]);
    let Op::Conv2d(depthwise) = narrow.graph.node(id("depthwise")).op else { panic!("a convolution") };
    assert_eq!((depthwise.groups, depthwise.filters), (4, 4));
    assert_eq!(cut.get("depthwise/kernel").unwrap().data(), [5.0, 6.0, 7.0, 8.0]);

    let whole = pruner.plan(0.0);
    assert_eq!(whole.apply(&detector, &params), (detector.clone(), params.clone()));
    assert_eq!(whole.zeroed(&detector.graph, &params), params);
}

#[test]
fn one_excluded_layer_keeps_its_whole_group() {
    let detector = network();
    let excluded = |name: &str| Pruning { excluded: vec![name.into()], ..few() };
    for (name, kept) in [("d", vec!["b", "d"]), ("gate", vec!["e", "depthwise", "gate"])] {
        let why = Some(Whole::Excluded(detector.graph.find(name).unwrap()));
        let found = groups(&detector, &excluded(name));
        let found: Vec<_> = found.iter().filter(|(_, whole)| *whole == why).collect();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].0, kept, "{name}");
    }
    let params = ramp(&detector.graph);
    let error = Pruner::new(&detector, &params, &excluded("depthwize")).unwrap_err();
    assert_eq!(error.to_string(), "no layer is called `depthwize`; did you mean `depthwise`?");
}

#[test]
fn a_sum_of_concatenations_that_do_not_line_up_is_kept() {
    let mut g = GraphBuilder::new();
    let image = g.input(1);
    let a = g.conv("a", image, wide(8));
    let b = g.conv("b", image, wide(4));
    let ab = g.concat("ab", &[a, b]);
    let ba = g.concat("ba", &[b, a]);
    let sum = g.add("sum", ab, ba);
    let head = g.conv("head", sum, wide(6));
    let detector = Detector::for_tests(g.finish(), head);
    let why = Some(Whole::Misaligned(sum));
    let found = groups(&detector, &few());
    assert_eq!(found[1..3], [(vec!["a".into()], why), (vec!["b".into()], why)]);
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let detector = network();
    let mut params = ramp(&detector.graph);
    params.get_mut("e/kernel").unwrap().data_mut()[3] = f32::NAN;
    assert_eq!(Pruner::new(&detector, &params, &few()).unwrap_err(), PruneError::NotFinite("e".into()));
    params.remove("e/kernel");
    let error = Pruner::new(&detector, &params, &few()).unwrap_err();
    assert_eq!(error, PruneError::Params(ParamsError::Missing("e/kernel".into())));
}

#[test]
fn the_lowest_threshold_for_a_number_of_macs() {
    let detector = network();
    let params = ramp(&detector.graph);
    let pruner = Pruner::new(&detector, &params, &few()).unwrap();
    let macs = |threshold: f64| -> u64 {
        pruner.plan(threshold).narrow(&detector).graph.macs(32, 32).unwrap().iter().sum()
    };
    let (all, least) = (macs(0.0), macs(1.0));
    for most in [all, all - 1, all / 2, least] {
        let threshold = pruner.threshold_for_macs(most).unwrap();
        assert!(macs(threshold) <= most);
        assert!(threshold == 0.0 || macs(threshold - 1e-9) > most, "{threshold} is the lowest");
    }
    let error = pruner.threshold_for_macs(least - 1).unwrap_err();
    assert_eq!(error, PruneError::Unreachable { most: least - 1, least });
}
