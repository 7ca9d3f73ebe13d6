//! Whole networks against the original: parameter counts, and forward passes with weights that a formula makes, so that
//! both sides can build them. The numbers come from running the original code (TensorFlow 1.15.5, Keras 2.2.4).

mod numbers;

use super::{NetConfig, PerHead, build};
use oxidet_compute::Executor;
use oxidet_graph::{
    Activation, Detector, DetectorHead, Graph, GraphBuilder, NodeId, ParamKind, ParamSpec, Params, Tensor,
};
use oxidet_vision::{Network, Preprocess, RawDetections};
use rayon::prelude::*;

use numbers::{CASES, COUNTS};

/// Architecture, depth, activation, force_relu.
pub(crate) type Net = (&'static str, u32, &'static str, bool);

/// Every backbone.
pub(crate) fn nets() -> impl Iterator<Item = Net> {
    COUNTS.iter().map(|(net, _)| *net)
}

/// The configuration of all goldens: 96×64 pixels, three classes, three anchors a head.
pub(crate) fn config((arch, nlayers, activation, force_relu): Net) -> NetConfig {
    let pixels = |anchors: [(f32, f32); 3]| anchors.map(|(w, h)| (w * 96.0, h * 64.0)).to_vec();
    NetConfig {
        arch: arch.into(),
        nlayers,
        activation: activation.into(),
        force_relu,
        anchors: PerHead {
            big: pixels([(0.3, 0.4), (0.5, 0.5), (0.8, 0.7)]),
            mid: pixels([(0.1, 0.2), (0.2, 0.15), (0.25, 0.3)]),
            small: pixels([(0.02, 0.03), (0.05, 0.04), (0.06, 0.08)]),
        },
        grid_xy_extend: PerHead { big: 0.05, mid: 0.1, small: 0.2 },
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        preprocess: Preprocess::new(96, 64, 3),
    }
}

pub(crate) fn detector(net: Net) -> Detector {
    build(&config(net)).unwrap()
}

/// Pseudo-random number `index` of sequence `phase`, in [-1, 1).
fn r(index: usize, phase: u32) -> f64 {
    let t = ((index + 1) as f64 * 12.9898 + f64::from(phase) * 78.233).sin() * 43_758.545_312_3;
    2.0 * (t - t.floor()) - 1.0
}

/// The input of all goldens, `[1, 3, 64, 96]`.
pub(crate) fn input() -> Vec<f32> {
    (0..3 * 64 * 96).map(|i| r(i, 0) as f32).collect()
}

/// The weights that the formula gives every layer of `graph`.
pub(crate) fn params(graph: &Graph) -> Params {
    graph
        .param_specs()
        .iter()
        .map(|spec| (spec.name.clone(), Tensor::new(spec.shape.clone(), values(spec))))
        .collect()
}

fn values(spec: &ParamSpec) -> Vec<f32> {
    let layer = spec.name.rsplit_once('/').unwrap().0;
    let phase = layer.bytes().map(u32::from).sum::<u32>() % 97;
    let vector = |base: f64, offset: u32| {
        (0..spec.shape[0]).map(|i| (base + 0.1 * r(i, phase + offset)) as f32).collect()
    };
    match spec.kind {
        ParamKind::Kernel => {
            let [filters, inputs, k, _] = spec.shape[..] else { panic!("{spec:?}") };
            let scale = (6.0 / (k * k * inputs) as f64).sqrt();
            let mut kernel = vec![0.0; filters * inputs * k * k];
            kernel.par_chunks_mut(inputs * k * k).enumerate().for_each(|(filter, kernel)| {
                for (at, weight) in kernel.iter_mut().enumerate() {
                    let (input, tap) = (at / (k * k), at % (k * k));
                    // Keras' layout is [kh, kw, in, out].
                    *weight = (scale * r((tap * inputs + input) * filters + filter, phase)) as f32;
                }
            });
            kernel
        }
        ParamKind::Gamma => vector(1.0, 0),
        ParamKind::Beta => vector(0.0, 1),
        ParamKind::MovingMean => vector(0.0, 2),
        ParamKind::MovingVariance => vector(1.0, 3),
        ParamKind::Bias => vector(0.0, 4),
        ParamKind::Amax => unreachable!("these networks are not quantised"),
    }
}

/// A raw head map of the original: `[channels, rows, columns]` and a few numbers of it.
struct Map {
    shape: [usize; 3],
    mean: f64,
    mean_abs: f64,
    first: [f64; 4],
    last: [f64; 2],
}

struct Case {
    net: Net,
    heads: &'static [Map],
}

/// Share of the mean magnitude by which a value may differ. The goldens have five digits.
const TOLERANCE: f64 = 1e-3;

/// The original pads SPP's pools with 0 where we pad with −∞. On the goldens' map of 4×6 cells every window reaches over
/// the border, so there its pools are ours followed by max(x, 0).
fn zero_padded_spp(detector: Detector) -> Detector {
    let mut builder = GraphBuilder::new();
    let mut new_ids = Vec::new();
    for node in detector.graph.nodes() {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|id: &NodeId| new_ids[id.index()]).collect();
        let mut id = builder.push(&node.name, node.op, &inputs);
        if node.name.starts_with("yolo_spp_pool") {
            id = builder.activation(format!("{}_with_0", node.name), id, Activation::Relu);
        }
        new_ids.push(id);
    }
    let heads = detector
        .heads
        .iter()
        .map(|head| DetectorHead { output: new_ids[head.output.index()], ..head.clone() });
    Detector { heads: heads.collect(), graph: builder.finish(), ..detector }
}

#[test]
fn forward_passes_match_the_original() {
    for case in CASES {
        let detector = zero_padded_spp(detector(case.net));
        let params = params(&detector.graph);
        let mut executor = Executor::new(&detector, &params).unwrap();
        let image = input();
        let maps = executor.head_maps(&image, 1).unwrap();
        assert_eq!(maps.len(), case.heads.len(), "{:?}", case.net);
        for ((found, want), head) in maps.iter().zip(case.heads).zip(&detector.heads) {
            let what = format!("{:?} {}", case.net, detector.graph.node(head.output).name);
            assert_eq!(found.len(), want.shape.iter().product::<usize>(), "{what}");
            assert_eq!(head.geometry.stride, 64 / want.shape[1], "{what}");
            let close = |name: &str, found: f64, want_value: f64| {
                let allowed = TOLERANCE * want.mean_abs;
                assert!((found - want_value).abs() <= allowed, "{what}: {name} is {found}, not {want_value}");
            };
            let len = found.len() as f64;
            close("the mean", found.iter().map(|v| f64::from(*v)).sum::<f64>() / len, want.mean);
            close(
                "the mean magnitude",
                found.iter().map(|v| f64::from(v.abs())).sum::<f64>() / len,
                want.mean_abs,
            );
            for (i, value) in want.first.iter().enumerate() {
                close(&format!("value {i}"), found[i].into(), *value);
            }
            for (i, value) in want.last.iter().rev().enumerate() {
                close(&format!("value {i} from the end"), found[found.len() - 1 - i].into(), *value);
            }
        }
    }
}

/// A row of the original's `encoded_detections`: y0, x0, anchor height and width, step y and x, then y, x, h, w inside
/// the cell, the objectness logit and three class logits.
type Row = [f64; 14];

#[test]
fn first_and_last_detections_match_the_original() {
    #[rustfmt::skip]
    let cases: [(Net, usize, [Row; 2]); 2] = [
        (("resnet", 10, "", false), 378, [
            [0.0, 0.0, 0.4, 0.3, 0.5, 0.33333, 0.47507, 0.71039, 1.023, 0.47407, 1.1128, 0.50689, -0.16038, -0.42948],
            [0.875, 0.91667, 0.08, 0.06, 0.125, 0.083333, 0.5302, 0.33922, 0.78143, 1.4126, -1.3209, 0.63053, 0.57737, 0.071045],
        ]),
        (("cspdarknet_tiny", 0, "leaky_relu", false), 90, [
            [0.0, 0.0, 0.4, 0.3, 0.5, 0.33333, 0.59391, 0.41581, 0.50232, 1.1002, 0.49887, 0.20531, 0.20584, 0.40779],
            [0.75, 0.83333, 0.3, 0.25, 0.25, 0.16667, 0.87052, 0.26576, 5.9434, 0.94383, 0.21777, 0.036349, 0.93295, 1.4202],
        ]),
    ];
    for (net, candidates, rows) in cases {
        let detector = zero_padded_spp(detector(net));
        let mut executor = Executor::new(&detector, &params(&detector.graph)).unwrap();
        let mut found = RawDetections::default();
        executor.run(&input(), 1, &mut found).unwrap();
        assert_eq!((found.batch, found.candidates, found.classes), (1, candidates, 3), "{net:?}");
        for (candidate, row) in [(0, rows[0]), (candidates - 1, rows[1])] {
            let [y0, x0, anchor_h, anchor_w, step_y, step_x, y, x, h, w, objectness, classes @ ..] = row;
            let (cy, cx, h, w) = (y0 + y * step_y, x0 + x * step_x, anchor_h * h, anchor_w * w);
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let scores = classes.map(|class| sigmoid(class) * sigmoid(objectness));
            let found_box = &found.boxes[candidate * 4..][..4];
            let wanted_box = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
            let found_scores = &found.scores[candidate * 3..][..3];
            for (found, want) in found_box.iter().chain(found_scores).zip(wanted_box.iter().chain(&scores)) {
                assert!(
                    (f64::from(*found) - want).abs() <= TOLERANCE,
                    "{net:?} {candidate}: {found}, not {want}"
                );
            }
        }
    }
}

#[test]
fn parameter_counts_match_the_original() {
    for (net, [backbone, headless, total, statistics]) in COUNTS {
        let detector = detector(*net);
        let graph = &detector.graph;
        assert_eq!(graph.validate(), Ok(()));
        let is_head =
            |spec: &ParamSpec| detector.heads.iter().any(|head| layer(graph, spec) == head.output.index());
        let count = |keep: &dyn Fn(&ParamSpec) -> bool| {
            let specs = graph.param_specs();
            specs
                .iter()
                .filter(|spec| keep(spec))
                .map(|spec| spec.shape.iter().product::<usize>())
                .sum::<usize>()
        };
        let in_backbone = |spec: &ParamSpec| graph.nodes()[layer(graph, spec)].block.is_some();
        assert_eq!(count(&in_backbone), *backbone, "{net:?}: backbone");
        assert_eq!(count(&|spec| !is_head(spec)), *headless, "{net:?}: without heads");
        assert_eq!(count(&|_| true), *total, "{net:?}: total");
        assert_eq!(count(&|spec| !spec.kind.is_trained()), *statistics, "{net:?}: running statistics");
    }
}

fn layer(graph: &Graph, spec: &ParamSpec) -> usize {
    graph.find(spec.name.rsplit_once('/').unwrap().0).unwrap().index()
}
