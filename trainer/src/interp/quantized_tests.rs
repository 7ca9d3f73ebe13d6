//! Networks with quantisers: the two ways to train against each other, and the ranges against numbers of the original.

use candle_core::Device;
use oxidet_compute::Executor;
use oxidet_graph::quantization::{QuantizedMaps, step};
use oxidet_graph::{Conv2d, Detector, DetectorHead, GraphBuilder, Padding, ParamKind, Params, pass};
use oxidet_vision::Head;

use super::TrainNet;
use super::tests::{BATCH, IMAGE, assert_close, both_paths, every_operator, flat, images, stirred_params};
use crate::net::Freeze;

fn quantized() -> (Detector, Params) {
    let detector = every_operator();
    let params = stirred_params(&detector);
    pass::place_quantizers(&detector, &params)
}

#[test]
fn both_ways_train_alike() {
    let (detector, params) = quantized();
    let maps = QuantizedMaps::of(&detector.graph);
    let mut found = Vec::new();
    for mut net in both_paths(&detector, &params, &Freeze::default()) {
        let mut steps = Vec::new();
        for step in 0..2 {
            net.set_step(3, step);
            let heads = net.forward(&images(), IMAGE).unwrap();
            net.backward(heads.clone()).unwrap();
            steps.push((heads, net.gradients().iter().map(flat).collect::<Vec<_>>()));
        }
        let params = net.params().unwrap();
        let ranges: Vec<f32> = detector
            .graph
            .ids()
            .filter(|id| maps.contains(*id))
            .map(|id| maps.amax(&detector.graph, &params, id).unwrap())
            .collect();
        assert!(ranges.iter().all(|amax| *amax > 0.0), "{ranges:?}");
        found.push((steps, ranges));
    }
    let [planned, tape] = &found[..] else { panic!("two ways") };
    for (planned, tape) in planned.0.iter().zip(&tape.0) {
        for (planned, tape) in planned.0.iter().chain(&planned.1).zip(tape.0.iter().chain(&tape.1)) {
            let tape: Vec<f64> = tape.iter().copied().map(f64::from).collect();
            assert_close(planned, &tape, 1e-4, "heads and gradients");
        }
    }
    let tape: Vec<f64> = tape.1.iter().copied().map(f64::from).collect();
    assert_close(&planned.1, &tape, 1e-5, "ranges");
}

#[test]
fn a_network_without_data_is_not_run() {
    let (detector, params) = quantized();
    let error = Executor::new(&detector, &params).unwrap_err();
    assert!(error.to_string().contains("`Input_qdq` has never been measured"), "{error}");
}

#[test]
fn what_runs_is_what_trained_up_to_the_batch_norms() {
    let (detector, params) = quantized();
    // With frozen batch norms training and inference compute the same.
    let freeze = Freeze::new(&detector.graph, &[], true);
    let freeze = Freeze { batch_norms: all_batch_norms(&detector), ..freeze };
    let mut net = TrainNet::new(&detector, &params, freeze, &Device::Cpu).unwrap();
    // The first step measures the ranges; late in a run one more hardly moves them.
    let images = images();
    net.forward(&images, IMAGE).unwrap();
    net.set_step(3, 1_000_000);
    let trained = net.forward(&images, IMAGE).unwrap();
    let mut executor = Executor::new(&detector, &net.params().unwrap()).unwrap();
    let heads = executor.head_maps(&images, BATCH).unwrap();
    for (trained, ran) in trained.iter().zip(heads) {
        let largest = ran.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let mut differences: Vec<f32> =
            trained.iter().zip(ran).map(|(trained, ran)| (trained - ran).abs() / largest).collect();
        differences.sort_unstable_by(f32::total_cmp);
        // Folding rounds another way, which can send a value to the next step.
        assert!(differences[differences.len() * 9 / 10] < 1e-4, "{differences:?}");
        assert!(differences[differences.len() - 1] < 3.0 / 127.0, "{differences:?}");
    }
}

fn all_batch_norms(detector: &Detector) -> std::collections::BTreeSet<oxidet_graph::NodeId> {
    let graph = &detector.graph;
    graph.ids().filter(|id| matches!(graph.node(*id).op, oxidet_graph::Op::BatchNorm(_))).collect()
}

/// Computed by the original.
#[test]
fn golden_ranges() {
    let mut g = GraphBuilder::new();
    let image = g.input(3);
    let conv = Conv2d { filters: 6, kernel: 1, stride: 1, padding: Padding::all(0), groups: 1, bias: true };
    let output = g.conv("head", image, conv);
    let head =
        DetectorHead { output, geometry: Head { stride: 1, anchors: vec![(0.2, 0.1)], grid_xy_extend: 0.0 } };
    let detector = Detector { graph: g.finish(), heads: vec![head], ..every_operator() };
    let params = stirred_params(&detector);
    let (detector, params) = pass::place_quantizers(&detector, &params);
    for mut net in both_paths(&detector, &params, &Freeze::default()) {
        for (at, (largest, amax)) in
            [(2.0f32, 2.0f32), (4.0, 3.0006), (1.0, 2.3330), (8.0, 3.7519)].into_iter().enumerate()
        {
            net.set_step(0, at as u64);
            let mut images = images();
            images.iter_mut().for_each(|x| *x = x.clamp(-0.5, 0.5));
            images[17] = -largest;
            net.forward(&images, IMAGE).unwrap();
            let found = net.params().unwrap().of("Input_qdq", ParamKind::Amax).unwrap().data()[0];
            assert!((found - amax).abs() < 2e-4, "{found}, not {amax}");
        }
    }
    assert_eq!(step(3.7519) * 127.0, 3.7519);
}
