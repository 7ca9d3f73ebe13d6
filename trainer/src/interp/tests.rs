//! The interpreters against the definition ([`reference`]) and against each other.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use oxidet_compute::Executor;
use oxidet_graph::{
    Activation, BatchNorm, Conv2d, Detector, DetectorHead, Graph, GraphBuilder, MaxPool, Op, Padding,
    ParamKind, Params,
};
use oxidet_vision::{Head, Preprocess};

use super::TrainNet;
use super::reference::{self, Map, Values};
use crate::net::{Freeze, golden, init_params};

pub(super) const BATCH: usize = 3;
pub(super) const IMAGE: [usize; 4] = [BATCH, 3, 8, 12];

/// Every operator, in every way it fuses, with two outputs, one of which others read.
pub(super) fn every_operator() -> Detector {
    let conv = |filters, kernel: usize, stride, groups| Conv2d {
        filters,
        kernel,
        stride,
        padding: Padding::all(kernel / 2),
        groups,
        bias: false,
    };
    let norm = BatchNorm { epsilon: 1e-3, momentum: 0.9 };
    let window = |kernel: usize, stride| MaxPool { kernel, stride, padding: Padding::all((kernel - 1) / 2) };

    let mut g = GraphBuilder::new();
    let image = g.input(3);
    g.set_block(Some(0));
    let x = g.conv("stem", image, conv(6, 3, 2, 1));
    let x = g.batch_norm("stem_bn", x, norm);
    let stem = g.activation("stem_act", x, Activation::Mish);
    g.set_block(Some(1));
    let x = g.conv("depthwise", stem, conv(6, 3, 1, 6));
    let x = g.activation("depthwise_act", x, Activation::Swish);
    let x = g.batch_norm("lone_bn", x, norm);
    let lone = g.activation("lone_act", x, Activation::LeakyRelu);
    g.set_block(None);
    let x = g.global_average_pool("squeeze", lone);
    let x = g.conv("squeeze_reduce", x, Conv2d { bias: true, ..conv(2, 1, 1, 1) });
    let x = g.activation("squeeze_act", x, Activation::Swish);
    let x = g.conv("excite_expand", x, Conv2d { bias: true, ..conv(6, 1, 1, 1) });
    let gate = g.activation("excite_gate", x, Activation::Sigmoid);
    let gated = g.scale("excite", lone, gate);
    let sum = g.add("sum", gated, stem);
    let sum = g.activation("sum_act", sum, Activation::Relu);
    let pooled = g.max_pool("spp", sum, window(3, 1));
    let half = g.channel_slice("half", pooled, 2, 3);
    let x = g.concat("joined", &[half, sum, stem]);
    let x = g.conv("biased", x, Conv2d { bias: true, ..conv(5, 1, 1, 1) });
    let fine_neck = g.activation("biased_act", x, Activation::Sigmoid);
    let fine = g.conv("fine", fine_neck, Conv2d { bias: true, ..conv(12, 1, 1, 1) });
    let x = g.max_pool("halved", fine, window(2, 2));
    let x = g.conv("raw", x, conv(4, 3, 1, 1));
    let x = g.batch_norm("raw_bn", x, norm);
    let twice = g.add("twice", x, x);
    let x = g.upsample("enlarged", twice, 2);
    let x = g.concat("joined_again", &[x, fine]);
    let coarse = g.conv("coarse", x, Conv2d { bias: true, ..conv(6, 3, 2, 1) });
    let head = |output, stride, anchors: usize| DetectorHead {
        output,
        geometry: Head { stride, anchors: vec![(0.2, 0.1); anchors], grid_xy_extend: 0.0 },
    };
    Detector {
        arch: "test".into(),
        graph: g.finish(),
        heads: vec![head(coarse, 4, 1), head(fine, 2, 2)],
        classes: vec!["thing".into()],
        preprocess: Preprocess::new(IMAGE[3], IMAGE[2], IMAGE[1]),
    }
}

/// Reproducible numbers in [-1, 1).
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    (0..len)
        .scan(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, |state, _| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            Some((*state >> 40) as f32 / (1 << 23) as f32 - 1.0)
        })
        .collect()
}

/// Parameters with nothing at its neutral value.
pub(super) fn stirred_params(detector: &Detector) -> Params {
    let mut params = init_params(detector, 7);
    for (seed, spec) in (1..).zip(detector.graph.param_specs()) {
        if spec.kind != ParamKind::Kernel {
            let values = params.get_mut(&spec.name).unwrap().data_mut();
            let noise = numbers(seed, values.len());
            values.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.4 * noise);
        }
    }
    params
}

fn in_f64(params: &Params) -> Values {
    params
        .iter()
        .map(|(name, tensor)| (name.into(), tensor.data().iter().map(|v| f64::from(*v)).collect()))
        .collect()
}

pub(super) fn images() -> Vec<f32> {
    numbers(99, IMAGE.iter().product())
}

fn image_map() -> Map {
    Map { shape: IMAGE, data: images().into_iter().map(f64::from).collect() }
}

/// The network in training, on the planned path and on candle's tape.
pub(super) fn both_paths(detector: &Detector, params: &Params, freeze: &Freeze) -> [TrainNet; 2] {
    [
        TrainNet::new(detector, params, freeze.clone(), &Device::Cpu).unwrap(),
        TrainNet::on_tape(detector, params, freeze.clone()).unwrap(),
    ]
}

fn all_batch_norms(graph: &Graph) -> Freeze {
    let batch_norms = graph.ids().filter(|id| matches!(graph.node(*id).op, Op::BatchNorm(_))).collect();
    Freeze { batch_norms, ..Freeze::default() }
}

pub(super) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
pub(super) fn assert_close(found: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((f64::from(*found) - want).abs() <= tolerance, "{what}[{i}] is {found}, not {want}");
    }
}

#[test]
fn both_interpreters_compute_the_definition() {
    let detector = every_operator();
    detector.validate().unwrap();
    let graph = &detector.graph;
    let params = stirred_params(&detector);
    let values = in_f64(&params);
    let inference = all_batch_norms(graph);

    let want = reference::forward(graph, &values, image_map(), &inference.batch_norms);
    let mut executor = Executor::new(&detector, &params).unwrap();
    let images = images();
    // The second round meets the buffers of the first, the third fewer images than they hold.
    for batch in [BATCH, BATCH, 1] {
        let maps = executor.head_maps(&images[..batch * images.len() / BATCH], batch).unwrap();
        for (map, head) in maps.iter().zip(&detector.heads) {
            let want = &want[head.output.index()].data;
            assert_close(map, &want[..batch * want.len() / BATCH], 1e-5, "executor");
        }
    }
    for mut net in both_paths(&detector, &params, &inference) {
        for (map, head) in net.forward(&images, IMAGE).unwrap().iter().zip(&detector.heads) {
            assert_close(map, &want[head.output.index()].data, 1e-5, "frozen training");
        }
        assert_eq!(net.params().unwrap(), params, "frozen batch norms leave their statistics");
    }

    let want = reference::forward(graph, &values, image_map(), &BTreeSet::new());
    for mut net in both_paths(&detector, &params, &Freeze::default()) {
        for (map, head) in net.forward(&images, IMAGE).unwrap().iter().zip(&detector.heads) {
            assert_close(map, &want[head.output.index()].data, 2e-5, "training");
        }
    }
}

#[test]
fn a_golden_network_trains_as_it_runs() {
    let detector = golden::detector(("cspdarknet_tiny_3l", 0, "mish", false));
    let params = golden::params(&detector.graph);
    let image = golden::input();
    let freeze = all_batch_norms(&detector.graph);
    let mut net = TrainNet::new(&detector, &params, freeze, &Device::Cpu).unwrap();
    let trained = net.forward(&image, [1, 3, 64, 96]).unwrap();
    let mut executor = Executor::new(&detector, &params).unwrap();
    for (a, b) in trained.iter().zip(executor.head_maps(&image, 1).unwrap()) {
        let b: Vec<f64> = b.iter().map(|v| f64::from(*v)).collect();
        assert_close(a, &b, 1e-4, "head");
    }
}

#[test]
fn running_statistics_follow_the_batch() {
    let detector = every_operator();
    let graph = &detector.graph;
    let params = stirred_params(&detector);
    let frozen = graph.find("lone_bn").unwrap();
    let freeze = Freeze { batch_norms: BTreeSet::from([frozen]), ..Freeze::default() };
    let maps = reference::forward(graph, &in_f64(&params), image_map(), &freeze.batch_norms);
    for mut net in both_paths(&detector, &params, &freeze) {
        net.forward(&images(), IMAGE).unwrap();
        let after = net.params().unwrap();

        for name in ["stem_bn", "raw_bn"] {
            let input = &maps[graph.node(graph.find(name).unwrap()).inputs[0].index()];
            let old = |kind: ParamKind, c: usize| f64::from(params.of(name, kind).unwrap().data()[c]);
            let (mean, variance): (Vec<f64>, Vec<f64>) = (0..input.shape[1])
                .map(|c| {
                    let (mean, variance, count) = input.statistics(c);
                    let unbiased = variance * count / (count - 1.0);
                    let (m, v) = (old(ParamKind::MovingMean, c), old(ParamKind::MovingVariance, c));
                    (0.9 * m + 0.1 * mean, 0.9 * v + 0.1 * unbiased)
                })
                .unzip();
            assert_close(after.of(name, ParamKind::MovingMean).unwrap().data(), &mean, 1e-6, name);
            assert_close(after.of(name, ParamKind::MovingVariance).unwrap().data(), &variance, 1e-6, name);
        }
        for kind in [ParamKind::MovingMean, ParamKind::MovingVariance] {
            assert_eq!(after.of("lone_bn", kind), params.of("lone_bn", kind));
        }
    }
}

/// Head gradients for a loss that is linear in the heads.
fn loss_weights(detector: &Detector, maps: &[Map]) -> Vec<Vec<f32>> {
    (200..)
        .zip(&detector.heads)
        .map(|(seed, head)| numbers(seed, maps[head.output.index()].data.len()))
        .collect()
}

#[test]
fn gradients_match_finite_differences() {
    const STEP: f64 = 1e-5;
    let detector = every_operator();
    let graph = &detector.graph;
    let params = stirred_params(&detector);
    let freeze =
        Freeze { batch_norms: BTreeSet::from([graph.find("lone_bn").unwrap()]), ..Freeze::default() };
    let frozen = freeze.batch_norms.clone();
    let mut values = in_f64(&params);
    let weights = loss_weights(&detector, &reference::forward(graph, &values, image_map(), &frozen));
    let loss = |values: &Values| -> f64 {
        let maps = reference::forward(graph, values, image_map(), &frozen);
        let heads = detector.heads.iter().zip(&weights);
        heads
            .map(|(head, weights)| {
                let map = &maps[head.output.index()].data;
                map.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum::<f64>()
            })
            .sum()
    };

    let [mut net, mut tape] = both_paths(&detector, &params, &freeze);
    for net in [&mut net, &mut tape] {
        // The second round meets what the first left behind.
        for _ in 0..2 {
            net.forward(&images(), IMAGE).unwrap();
            net.backward(weights.clone()).unwrap();
        }
    }
    assert_eq!(net.gradients().len(), net.trained().len());
    for (planned, tape) in net.gradients().iter().zip(tape.gradients()) {
        let tape: Vec<f64> = flat(tape).into_iter().map(f64::from).collect();
        assert_close(&flat(planned), &tape, 1e-4, "planned against tape");
    }
    for (param, gradient) in net.trained().iter().zip(net.gradients()) {
        assert_eq!(gradient.dims(), param.spec.shape);
        let gradient = flat(gradient);
        // All elements of small tensors, a sample of large ones.
        for i in (0..gradient.len()).step_by(gradient.len().div_ceil(16)) {
            let mut at = |offset: f64| {
                let value = values[&param.spec.name][i];
                values.get_mut(&param.spec.name).unwrap()[i] = value + offset;
                let loss = loss(&values);
                values.get_mut(&param.spec.name).unwrap()[i] = value;
                loss
            };
            let want = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let found = f64::from(gradient[i]);
            assert!(
                (found - want).abs() <= 1e-3 + 1e-3 * want.abs(),
                "{}[{i}]: {found}, not {want}",
                param.spec.name
            );
        }
    }
}

#[test]
fn stochastic_depth_leaves_out_whole_images_in_training_only() {
    let rate = 0.4;
    let mut g = GraphBuilder::new();
    let image = g.input(3);
    let conv = Conv2d { filters: 6, kernel: 1, stride: 1, padding: Padding::all(0), groups: 1, bias: true };
    let x = g.conv("conv", image, conv);
    let dropped = g.drop_path("drop", x, rate);
    let head = DetectorHead {
        output: dropped,
        geometry: Head { stride: 1, anchors: vec![(0.2, 0.1)], grid_xy_extend: 0.0 },
    };
    let detector = Detector { graph: g.finish(), heads: vec![head], ..every_operator() };
    let params = stirred_params(&detector);
    let shape = [64, 3, 8, 12];
    let images = numbers(5, shape.iter().product());
    let whole = Executor::new(&detector, &params).unwrap().head_maps(&images, 64).unwrap()[0].to_vec();
    let size = whole.len() / 64;

    let mut found = Vec::new();
    for mut net in both_paths(&detector, &params, &Freeze::default()) {
        let mut forward = |noise| {
            net.set_step(7, noise);
            let map = net.forward(&images, shape).unwrap().remove(0);
            net.backward(vec![vec![1.0; map.len()]]).unwrap();
            (map, flat(&net.gradients()[0]))
        };
        let (map, gradient) = forward(1);
        assert_eq!(forward(1), (map.clone(), gradient.clone()));
        assert_ne!(forward(2).0, map);
        let mut left_out = 0;
        for (map, whole) in map.chunks(size).zip(whole.chunks(size)) {
            left_out += usize::from(map.iter().all(|v| *v == 0.0));
            let kept = map.iter().zip(whole).all(|(v, w)| (v * (1.0 - rate) - w).abs() < 1e-5);
            assert!(kept || map.iter().all(|v| *v == 0.0));
        }
        assert!((15..=37).contains(&left_out), "{left_out} of 64");
        // The gradient of the bias is the sum of the factors over the cells.
        let want = (64 - left_out) as f32 / (1.0 - rate) * 96.0;
        assert!((gradient[0] - want).abs() < 1e-2 * want, "{gradient:?}, not {want}");
        found.push(map);
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn frozen_parameters_have_no_gradient() {
    let detector = every_operator();
    let graph = &detector.graph;
    let freeze = Freeze::new(graph, &[1, 9], true);
    assert_eq!(freeze.params, BTreeSet::from(["depthwise/kernel".to_owned()]));
    let names: Vec<&str> = freeze.batch_norms.iter().map(|id| graph.node(*id).name.as_str()).collect();
    assert_eq!(names, ["stem_bn", "lone_bn"]);

    let net = TrainNet::new(&detector, &stirred_params(&detector), freeze, &Device::Cpu).unwrap();
    let names: Vec<&str> = net.trained().iter().map(|param| param.spec.name.as_str()).collect();
    assert!(names.is_sorted());
    assert!(
        !names.contains(&"depthwise/kernel")
            && names.contains(&"lone_bn/gamma")
            && names.contains(&"stem/kernel")
    );
    assert!(!names.iter().any(|name| name.ends_with("/moving_mean")));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let detector = golden::detector(("cspdarknet_tiny", 0, "", false));
    let params = init_params(&detector, 1);
    let step = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut net = TrainNet::new(&detector, &params, Freeze::default(), &Device::Cpu).unwrap();
            let maps = net.forward(&numbers(3, 2 * 3 * 64 * 96), [2, 3, 64, 96]).unwrap();
            net.backward(maps.clone()).unwrap();
            (maps, net.gradients().iter().map(flat).collect::<Vec<_>>(), net.params().unwrap())
        })
    };
    let one = step(1);
    assert!(one == step(2) && one == step(3));
}

#[test]
fn what_does_not_fit_is_refused() {
    let detector = every_operator();
    let params = stirred_params(&detector);
    let mut executor = Executor::new(&detector, &params).unwrap();
    let images = images();
    let error = executor.head_maps(&images[1..], BATCH).unwrap_err();
    assert_eq!(error.to_string(), "the input holds 863 values; 3 images of [3, 8, 12] need 864");
    assert!(executor.head_maps(&[], 0).is_err());

    let mut net = TrainNet::new(&detector, &params, Freeze::default(), &Device::Cpu).unwrap();
    let error = net.forward(&[0.0; 96], [1, 1, 8, 12]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "96 values are no images of shape [1, 1, 8, 12] for a network of 3 channels"
    );
    assert!(net.forward(&images, [1, 3, 8, 12]).is_err());
    assert!(net.forward(&images[..3 * 7 * 9], [1, 3, 7, 9]).is_err());
    net.forward(&images, IMAGE).unwrap();
    let error = net.backward(vec![vec![0.0; 5]]).unwrap_err();
    assert_eq!(error.to_string(), "head 0: 5 gradients for a map of 108 values");

    let mut short = params.clone();
    short.remove("stem/kernel");
    assert!(Executor::new(&detector, &short).is_err());
    assert!(TrainNet::new(&detector, &short, Freeze::default(), &Device::Cpu).is_err());
}
