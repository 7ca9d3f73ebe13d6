use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::{DetectorHead, Graph, GraphBuilder, Op, ParamKind, Tensor};
use oxidet_proto::weights::{Array, darknet::Weights, keras::DataFormat};

use super::scheme::{Counterpart, Scheme};
use super::source::Program;
use super::*;
use crate::net::golden;
use oxidet_compute::Executor;

fn detector(arch: &'static str, nlayers: u32) -> Detector {
    golden::detector((arch, nlayers, "", false))
}

/// The network without neck and heads, which have nothing to do with weights of other programs and are most of it.
fn backbone_alone(arch: &'static str, nlayers: u32) -> Detector {
    let detector = detector(arch, nlayers);
    let (graph, last) = rebuild(&detector.graph, |op| op);
    let heads = vec![DetectorHead { output: last, ..detector.heads[0].clone() }];
    Detector { graph, heads, ..detector }
}

/// The backbone of a graph with other operators, and its last node.
fn rebuild(graph: &Graph, change: impl Fn(Op) -> Op) -> (Graph, NodeId) {
    let mut builder = GraphBuilder::new();
    let mut ids = BTreeMap::new();
    let mut last = None;
    for id in graph.ids() {
        let node = graph.node(id);
        if node.block.is_none() && !node.inputs.is_empty() {
            continue;
        }
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| ids[&input.index()]).collect();
        builder.set_block(node.block);
        let new = builder.push(&node.name, change(node.op), &inputs);
        ids.insert(id.index(), new);
        last = Some(new);
    }
    (builder.finish(), last.unwrap())
}

/// Convolutions and batch norms of the real networks, from `fixtures/make_names.py`: by program and network, the shape by layer.
fn real_names() -> BTreeMap<(&'static str, &'static str), BTreeMap<&'static str, Vec<usize>>> {
    let mut names: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for line in include_str!("fixtures/names.txt").lines() {
        let [program, network, layer, shape] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let shape = shape.split(',').map(|extent| extent.parse().unwrap()).collect();
        names.entry((program, network)).or_default().insert(layer, shape);
    }
    names
}

fn torch_schemes(arch: &str) -> Vec<Scheme> {
    [torchvision::schemes(arch), timm::schemes(arch)].concat()
}

/// Every layer that a table names is in the real network, with the shape we need.
#[test]
fn tables_name_the_layers_of_the_real_networks() {
    for (arch, nlayers, name, real) in [
        ("resnet", 18, "torchvision", ("torchvision", "resnet18")),
        ("resnet", 50, "torchvision", ("torchvision", "resnet50")),
        ("vgg", 16, "torchvision's vgg_bn", ("torchvision", "vgg16_bn")),
        ("vgg", 16, "torchvision's vgg", ("torchvision", "vgg16")),
        ("vgg", 19, "torchvision's vgg", ("torchvision", "vgg19")),
        ("mobilenet_v2", 0, "torchvision", ("torchvision", "mobilenet_v2")),
        ("mobilenet_v2", 0, "timm", ("timm", "mobilenetv2_100")),
        ("efficientnet_b0", 0, "torchvision", ("torchvision", "efficientnet_b0")),
        ("efficientnet_b0", 0, "timm", ("timm", "efficientnet_b0")),
        ("squeezenet", 0, "torchvision's squeezenet1_0", ("torchvision", "squeezenet1_0")),
        ("resnet", 50, "Keras' ResNet", ("keras", "ResNet50")),
        ("vgg", 16, "Keras' VGG", ("keras", "VGG16")),
        ("mobilenet_v1", 0, "Keras' MobileNet", ("keras", "MobileNet")),
        ("mobilenet_v2", 0, "Keras' MobileNetV2", ("keras", "MobileNetV2")),
        ("efficientnet_b0", 0, "Keras' EfficientNetB0", ("keras", "EfficientNetB0")),
    ] {
        let detector = backbone_alone(arch, nlayers);
        let schemes = [torch_schemes(&detector.arch), keras::schemes(&detector.arch)].concat();
        let scheme = schemes.into_iter().find(|scheme| scheme.name == name).unwrap();
        let layers = &real_names()[&real];
        for id in backbone(&detector) {
            let node = detector.graph.node(id);
            let Op::Conv2d(conv) = node.op else { continue };
            let counterpart = (scheme.counterpart)(&detector.arch, &node.name);
            let Some(Counterpart::Layer { conv: theirs, batch_norm }) = counterpart else {
                assert_eq!(counterpart, Some(Counterpart::Identity), "{real:?} {}", node.name);
                continue;
            };
            let inputs = detector.graph.node(node.inputs[0]).channels / conv.groups;
            let found = layers.get(theirs.as_str()).unwrap_or_else(|| panic!("{real:?} has no {theirs}"));
            let k = conv.kernel;
            let wanted = match real.0 {
                "keras" if conv.groups > 1 => vec![k, k, conv.filters, 1],
                "keras" => vec![k, k, inputs, conv.filters],
                _ => vec![conv.filters, inputs, k, k],
            };
            assert_eq!(*found, wanted, "{real:?} {theirs}");
            if let Some(norm) = batch_norm {
                assert_eq!(layers.get(norm.as_str()), Some(&vec![conv.filters]), "{real:?} {norm}");
            }
        }
    }
}

/// The backbone as the other program has it: ε in its batch norms, its layers alone.
struct Theirs {
    detector: Detector,
    params: Params,
    arrays: Vec<Array>,
}

/// Makes up a network of another program: our backbone with its ε, in which layers that it lacks do nothing.
fn theirs(detector: &Detector, scheme: &Scheme, program: &Program) -> Theirs {
    let graph = &detector.graph;
    let params = golden::params(graph);
    let readers = graph.readers();
    let mut theirs = Theirs {
        detector: Detector { graph: with_epsilon(graph, scheme.epsilon), ..detector.clone() },
        params: params.clone(),
        arrays: Vec::new(),
    };
    let source = Source::new("", program.clone(), Vec::new());
    for id in backbone(detector) {
        let node = graph.node(id);
        let Op::Conv2d(conv) = node.op else { continue };
        let norm = readers[id.index()]
            .iter()
            .map(|id| graph.node(*id))
            .find(|node| matches!(node.op, Op::BatchNorm(_)));
        let identity_norm = |theirs: &mut Theirs, bias: Vec<f32>| {
            let Some(norm) = norm else { return };
            let len = conv.filters;
            let scale = (1.0 + scheme.epsilon).sqrt();
            for (kind, values) in [
                (ParamKind::Gamma, vec![scale; len]),
                (ParamKind::Beta, bias),
                (ParamKind::MovingMean, vec![0.0; len]),
                (ParamKind::MovingVariance, vec![1.0; len]),
            ] {
                theirs.params.insert(kind.of(&norm.name), Tensor::new([len], values));
            }
        };
        let (conv_name, norm_name) = match (scheme.counterpart)(&detector.arch, &node.name) {
            Some(Counterpart::Layer { conv, batch_norm }) => (conv, batch_norm),
            Some(Counterpart::Identity) => {
                let len = conv.filters;
                let values = (0..len * len).map(|at| if at % (len + 1) == 0 { 1.0 } else { 0.0 }).collect();
                theirs.params.insert(ParamKind::Kernel.of(&node.name), Tensor::new([len, len, 1, 1], values));
                identity_norm(&mut theirs, vec![0.0; len]);
                continue;
            }
            None => panic!("{}", node.name),
        };
        let kernel = params.of(&node.name, ParamKind::Kernel).unwrap();
        theirs.arrays.push(stored(source.name(&conv_name, ParamKind::Kernel), kernel, program));
        if conv.bias {
            let bias = params.of(&node.name, ParamKind::Bias).unwrap();
            theirs.arrays.push(stored(source.name(&conv_name, ParamKind::Bias), bias, program));
        }
        match (norm, norm_name) {
            (Some(norm), Some(name)) => {
                for kind in
                    [ParamKind::Gamma, ParamKind::Beta, ParamKind::MovingMean, ParamKind::MovingVariance]
                {
                    let values = params.of(&norm.name, kind).unwrap();
                    theirs.arrays.push(stored(source.name(&name, kind), values, program));
                }
            }
            (Some(_), None) => {
                let bias: Vec<f32> = (0..conv.filters).map(|i| (i as f32).sin() / 4.0).collect();
                let array = Tensor::new([conv.filters], bias.clone());
                theirs.arrays.push(stored(source.name(&conv_name, ParamKind::Bias), &array, program));
                identity_norm(&mut theirs, bias);
            }
            (None, _) => {}
        }
    }
    theirs
}

fn with_epsilon(graph: &Graph, epsilon: f32) -> Graph {
    let change = |op| match op {
        Op::BatchNorm(norm) => Op::BatchNorm(oxidet_graph::BatchNorm { epsilon, ..norm }),
        op => op,
    };
    rebuild(graph, change).0
}

/// An array as the program stores it.
fn stored(name: String, tensor: &Tensor, program: &Program) -> Array {
    let ([filters, inputs, k, _], Program::Keras { .. }) = (shape4(tensor.shape()), program) else {
        return Array { name, shape: tensor.shape().to_vec(), values: tensor.data().to_vec() };
    };
    if tensor.shape().len() != 4 {
        return Array { name, shape: tensor.shape().to_vec(), values: tensor.data().to_vec() };
    }
    let depthwise = inputs == 1;
    let shape = if depthwise { vec![k, k, filters, 1] } else { vec![k, k, inputs, filters] };
    let mut values = Vec::new();
    for tap in 0..k * k {
        for input in 0..inputs {
            for filter in 0..filters {
                values.push(tensor.data()[(filter * inputs + input) * k * k + tap]);
            }
        }
    }
    Array { name, shape, values }
}

fn shape4(shape: &[usize]) -> [usize; 4] {
    if let [a, b, c, d] = shape[..] { [a, b, c, d] } else { [shape[0], 1, 1, 1] }
}

/// Our network, filled, gives what the other network gives for the same image.
#[test]
fn a_filled_network_computes_what_the_other_computed() {
    let keras = Program::Keras { data_format: Some(DataFormat::ChannelsLast), backend: None };
    let cases = [
        ("resnet", 18, Program::Torch, 0),
        ("vgg", 16, Program::Torch, 0),
        ("vgg", 16, Program::Torch, 1),
        ("mobilenet_v2", 0, Program::Torch, 0),
        ("mobilenet_v2", 0, Program::Torch, 1),
        ("efficientnet_b0", 0, Program::Torch, 0),
        ("efficientnet_b0", 0, Program::Torch, 1),
        ("squeezenet", 0, Program::Torch, 0),
        ("resnet", 50, keras.clone(), 0),
        ("vgg", 16, keras.clone(), 0),
        ("mobilenet_v1", 0, keras.clone(), 0),
        ("mobilenet_v2", 0, keras.clone(), 0),
        ("efficientnet_b0", 0, keras.clone(), 0),
        ("squeezenet", 0, keras, 0),
        ("cspdarknet_tiny", 0, Program::Darknet, 0),
    ];
    for (arch, nlayers, program, index) in cases {
        let mut detector = backbone_alone(arch, nlayers);
        let scheme = match program {
            Program::Torch => torch_schemes(&detector.arch)[index],
            Program::Darknet => darknet::scheme(&detector.arch),
            _ => keras::schemes(&detector.arch)[index],
        };
        // With the same mean, the borders are the same too.
        detector.preprocess.mean = scheme.input.mean.iter().rev().map(|mean| *mean as f32).collect();
        let theirs = theirs(&detector, &scheme, &program);
        let source = Source::new("", program, theirs.arrays);
        let mut start = theirs.params.clone();
        for spec in detector.graph.param_specs() {
            start.get_mut(&spec.name).unwrap().data_mut().fill(f32::NAN);
        }
        let (params, report) = load_source(&source, &detector, start).unwrap();
        let what = format!("{arch} {}", scheme.name);
        assert!(report.source.ends_with(scheme.name), "{what}: {}", report.source);
        assert_eq!(report.backbone_share, 1.0, "{what}");
        assert_eq!(report.unused, [""; 0], "{what}");

        let image = golden::input();
        let ours: Vec<f32> = image.iter().map(|value| value * 60.0).collect();
        let plane = ours.len() / 3;
        let mut seen = Vec::new();
        for channel in 0..3 {
            let colour = if scheme.input.blue_first { 2 - channel } else { channel };
            let values = &ours[(2 - colour) * plane..][..plane];
            seen.extend(values.iter().map(|value| value / scheme.input.deviation[colour] as f32));
        }
        let mut there = Executor::new(&theirs.detector, &theirs.params).unwrap();
        let there: Vec<f32> = there.head_maps(&seen, 1).unwrap().concat();
        let mut here = Executor::new(&detector, &params).unwrap();
        let here: Vec<f32> = here.head_maps(&ours, 1).unwrap().concat();
        let size = there.iter().map(|value| value.abs()).sum::<f32>() / there.len() as f32;
        for (here, there) in here.iter().zip(&there) {
            assert!((here - there).abs() <= 1e-3 * size, "{what}: {here}, not {there}, of mean size {size}");
        }
    }
}

/// A Darknet file for a network, in the order of its cfg.
fn darknet_file(detector: &Detector, further: usize) -> Weights {
    let graph = &detector.graph;
    let params = golden::params(graph);
    let mut values = Vec::new();
    for id in backbone(detector) {
        let node = graph.node(id);
        if !matches!(node.op, Op::Conv2d(_)) {
            continue;
        }
        let norm = format!("{}_bn", node.name);
        for kind in [ParamKind::Beta, ParamKind::Gamma, ParamKind::MovingMean, ParamKind::MovingVariance] {
            values.extend_from_slice(params.of(&norm, kind).unwrap().data());
        }
        values.extend_from_slice(params.of(&node.name, ParamKind::Kernel).unwrap().data());
    }
    values.extend(vec![-1.0; further]);
    Weights { seen: 0, values }
}

#[test]
fn darknet_files_fill_their_backbones_in_the_order_of_the_cfg() {
    for (arch, nlayers) in [
        ("darknet", 19),
        ("darknet", 53),
        ("cspdarknet", 53),
        ("cspdarknet_tiny", 0),
        ("cspdarknet_tiny_3l", 0),
    ] {
        let detector = backbone_alone(arch, nlayers);
        let params = golden::params(&detector.graph);
        let source = darknet::source(&darknet_file(&detector, 100), &detector).unwrap();
        let (filled, report) = load_source(&source, &detector, params.clone()).unwrap();
        assert_eq!(report.backbone_share, 1.0, "{arch}");
        assert_eq!(report.unused, ["the layers behind the backbone"], "{arch}");
        for id in backbone(&detector) {
            let node = detector.graph.node(id);
            let first = matches!(
                detector.graph.node(node.inputs.first().copied().unwrap_or(id)).op,
                Op::Input { .. }
            );
            if let (Op::Conv2d(_), false) = (node.op, first) {
                let name = ParamKind::Kernel.of(&node.name);
                assert_eq!(filled.get(&name), params.get(&name), "{arch} {name}");
            }
        }
    }
    let detector = backbone_alone("darknet", 19);
    let mut short = darknet_file(&detector, 0);
    short.values.pop();
    let error = darknet::source(&short, &detector).unwrap_err().to_string();
    assert!(error.contains("b5_conv5"), "{error}");
    // The weights of a network of another width run out of step.
    let error = darknet::source(&darknet_file(&backbone_alone("cspdarknet_tiny", 0), 30_000_000), &detector);
    assert!(error.unwrap_err().to_string().contains("variances"));
}

fn native_arrays(detector: &Detector, program: &Program) -> Vec<Array> {
    let params = golden::params(&detector.graph);
    params.iter().map(|(name, tensor)| stored(name.to_owned(), tensor, program)).collect()
}

#[test]
fn a_keras_model_of_tao_is_copied_by_name() {
    let tao =
        Program::Keras { data_format: Some(DataFormat::ChannelsFirst), backend: Some("tensorflow".into()) };
    // Its names are those of Keras' own MobileNet, but for the order of axes.
    for (arch, nlayers) in [("resnet", 18), ("mobilenet_v1", 0), ("efficientnet_b0", 0), ("squeezenet", 0)] {
        let detector = detector(arch, nlayers);
        let mut arrays = native_arrays(&detector, &tao);
        for array in &mut arrays {
            // Other classes, other heads.
            if array.name.starts_with("conv_big_object") {
                array.values.truncate(array.values.len() / 2);
                array.shape = vec![array.values.len()];
            }
        }
        let start = crate::net::init_params(&detector, 1);
        let (params, report) =
            load_source(&Source::new("", tao.clone(), arrays), &detector, start.clone()).unwrap();
        let wanted = golden::params(&detector.graph);
        let missing: BTreeSet<&str> = report.missing.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(missing, BTreeSet::from(["conv_big_object/kernel", "conv_big_object/bias"]), "{arch}");
        for (name, tensor) in params.iter() {
            let from = if missing.contains(name) { &start } else { &wanted };
            assert_eq!(Some(tensor), from.get(name), "{arch} {name}");
        }
    }
}

#[test]
fn a_backbone_that_is_not_whole_is_refused_by_name() {
    let detector = detector("resnet", 18);
    let whole = native_arrays(&detector, &Program::Oxidet);
    let load_arrays = |arrays| {
        let start = golden::params(&detector.graph);
        load_source(&Source::new("", Program::Oxidet, arrays), &detector, start)
    };
    let mut arrays = whole.clone();
    arrays.retain(|array| array.name != "block_3b_bn_2/beta");
    let error = load_arrays(arrays).unwrap_err().to_string();
    assert!(error.contains("`block_3b_bn_2/beta` is not in it"), "{error}");
    let mut arrays = whole.clone();
    for array in arrays.iter_mut().filter(|array| array.name == "conv1/kernel") {
        array.shape = vec![64, 3, 49, 1];
    }
    let error = load_arrays(arrays).unwrap_err().to_string();
    assert!(error.contains("has shape [64, 3, 49, 1], this network needs [64, 3, 7, 7]"), "{error}");
    let error = load_arrays(vec![Array { name: "a".into(), shape: vec![1], values: vec![0.0] }]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`a` [1]") && text.contains("`conv1/kernel` [64, 3, 7, 7]"), "{text}");
}

#[test]
fn too_little_of_another_network_is_refused() {
    let detector = backbone_alone("resnet", 18);
    let scheme = torchvision::schemes("resnet18")[0];
    let mut arrays = theirs(&detector, &scheme, &Program::Torch).arrays;
    arrays.retain(|array| !array.name.starts_with("layer4"));
    let start = golden::params(&detector.graph);
    let error =
        load_source(&Source::new("", Program::Torch, arrays.clone()), &detector, start.clone()).unwrap_err();
    assert!(matches!(error, LoadError::TooLittle { share, .. } if share < 0.3), "{error}");
    assert!(error.to_string().contains("block_4a_conv_1"), "{error}");
}

#[test]
fn prefixes_of_wrappers_are_found() {
    let detector = backbone_alone("resnet", 18);
    let scheme = torchvision::schemes("resnet18")[0];
    let mut arrays = theirs(&detector, &scheme, &Program::Torch).arrays;
    for array in &mut arrays {
        array.name = format!("module.backbone.{}", array.name);
    }
    let start = golden::params(&detector.graph);
    let (_, report) = load_source(&Source::new("", Program::Torch, arrays), &detector, start).unwrap();
    assert_eq!(report.backbone_share, 1.0);
}

#[test]
fn gray_networks_start_from_colour_ones_of_ours() {
    let colour = detector("resnet", 18);
    let gray = {
        let config = crate::net::NetConfig {
            preprocess: oxidet_vision::Preprocess::new(96, 64, 1),
            ..golden::config(("resnet", 18, "", false))
        };
        crate::net::build(&config).unwrap()
    };
    let source = Source::new("", Program::Oxidet, native_arrays(&colour, &Program::Oxidet));
    let (params, report) = load_source(&source, &gray, golden::params(&gray.graph)).unwrap();
    assert_eq!(report.adapted[&Adaptation::Gray], ["conv1/kernel"]);
    // A gray image to both. Its border is what the network pads with, so that nothing differs there.
    let luma: Vec<f32> = golden::input().iter().take(64 * 96).map(|value| 117.0 + value * 60.0).collect();
    let see = |mean: f32| luma.iter().map(move |value| value - mean);
    let image: Vec<f32> = [103.939, 116.779, 123.68].into_iter().flat_map(see).collect();
    let there: Vec<f32> = Executor::new(&colour, &golden::params(&colour.graph))
        .unwrap()
        .head_maps(&image, 1)
        .unwrap()
        .concat();
    let image: Vec<f32> = see(117.3786).collect();
    let here: Vec<f32> = Executor::new(&gray, &params).unwrap().head_maps(&image, 1).unwrap().concat();
    let size = there.iter().map(|value| value.abs()).sum::<f32>() / there.len() as f32;
    let difference = here.iter().zip(&there).map(|(a, b)| (a - b).abs()).sum::<f32>() / there.len() as f32;
    // The means of the colours lie up to 14 apart at the border; inside nothing differs.
    assert!(difference < 0.05 * size, "{difference} of {size}");
}

#[test]
fn kernels_of_theano_are_mirrored() {
    let of = |backend: Option<&str>, shape: [usize; 4]| {
        let array = Array {
            name: "c/kernel".into(),
            shape: shape.to_vec(),
            values: (0..18).map(|i| i as f32).collect(),
        };
        let program = Program::Keras { data_format: None, backend: backend.map(str::to_owned) };
        Source::new("", program, vec![array])
            .kernel("c", [1, 2, 3, 3])
            .map(|kernel| kernel.unwrap().into_data())
    };
    let straight: Vec<f32> = (0..18).map(|i| i as f32).collect();
    let mirrored: Vec<f32> = (0..9).rev().chain((9..18).rev()).map(|i| i as f32).collect();
    assert_eq!(of(Some("theano"), [1, 2, 3, 3]).unwrap(), mirrored);
    assert_eq!(of(Some("tensorflow"), [1, 2, 3, 3]).unwrap(), straight);
    assert!(of(None, [1, 2, 3, 3]).unwrap_err().to_string().contains("Theano"));
    // [k, k, in, out] needs no word about it.
    assert_eq!(of(None, [3, 3, 2, 1]).unwrap()[..3], [0.0, 2.0, 4.0]);
}
