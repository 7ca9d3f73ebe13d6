//! The networks that are measured.

use anyhow::{Result, bail};
use oxidet_graph::{
    Activation, BatchNorm, Conv2d, Detector, DetectorHead, Graph, GraphBuilder, NodeId, Padding,
};
use oxidet_trainer::net::{self, NetConfig, PerHead};
use oxidet_vision::{Head, Preprocess};

/// What is measured when nobody asks for something else: name, width, height, batch.
pub const CASES: [(&str, usize, usize, usize); 3] =
    [("resnet18", 416, 416, 8), ("cspdarknet_tiny", 416, 416, 8), ("mobilenet_v2", 256, 256, 8)];

const CLASSES: usize = 3;
const ANCHORS: usize = 3;

/// A case of the command line: NAME, or NAME@WIDTHxHEIGHT:BATCH.
pub fn parse_case(text: &str) -> Result<(String, usize, usize, usize)> {
    let (arch, rest) = text.split_once('@').unwrap_or((text, ""));
    let default = CASES.iter().find(|case| case.0 == arch);
    if rest.is_empty() {
        return Ok(default.map_or((arch.to_owned(), 416, 416, 8), |&(a, w, h, n)| (a.to_owned(), w, h, n)));
    }
    let parts: Option<Vec<usize>> = rest.split(['x', ':']).map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some(&[width, height, batch]) if width * height * batch > 0 => {
            Ok((arch.to_owned(), width, height, batch))
        }
        _ => bail!("`{text}`: a network is NAME or NAME@WIDTHxHEIGHT:BATCH, as in resnet18@416x416:8"),
    }
}

/// The detector of an architecture, as a spec with three classes and three anchors a head makes it.
pub fn detector(arch: &str, width: usize, height: usize) -> Result<Detector> {
    if arch == "mobilenet_v2" {
        return Ok(mobilenet_v2(width, height));
    }
    let (family, nlayers) = match arch.strip_prefix("resnet").map(str::parse) {
        Some(Ok(nlayers)) => ("resnet", nlayers),
        Some(Err(_)) => bail!("`{arch}`: resnet needs its depth, as in resnet18"),
        None => (arch, 0),
    };
    Ok(net::build(&NetConfig {
        arch: family.into(),
        nlayers,
        activation: "leaky_relu".into(),
        force_relu: false,
        anchors: PerHead { big: anchors(), mid: anchors(), small: anchors() },
        grid_xy_extend: PerHead::default(),
        classes: classes(),
        preprocess: Preprocess::new(width, height, 3),
    })?)
}

fn anchors() -> Vec<(f32, f32)> {
    vec![(32.0, 32.0); ANCHORS]
}

fn classes() -> Vec<String> {
    (0..CLASSES).map(|class| format!("class{class}")).collect()
}

/// The backbone of MobileNetV2 at stride 16 as TAO builds it (plain ReLU, a 1×1 convolution on every identity), with one head.
fn mobilenet_v2(width: usize, height: usize) -> Detector {
    /// Output channels and stride of each block.
    const BLOCKS: [(usize, usize); 13] = [
        (16, 1),
        (24, 2),
        (24, 1),
        (32, 2),
        (32, 1),
        (32, 1),
        (64, 2),
        (64, 1),
        (64, 1),
        (64, 1),
        (96, 1),
        (96, 1),
        (96, 1),
    ];
    const EXPANSION: usize = 6;

    let mut graph = GraphBuilder::new();
    let image = graph.input(3);
    let mut map = relu(&mut graph, "conv1", image, conv(32, 3, 2, 1));
    for (index, (channels, stride)) in BLOCKS.into_iter().enumerate() {
        let inputs = graph.channels(map);
        let name = format!("block_{index}");
        let expanded = if index == 0 {
            map
        } else {
            relu(&mut graph, &format!("{name}_expand"), map, conv(inputs * EXPANSION, 1, 1, 1))
        };
        let inner = graph.channels(expanded);
        let depthwise =
            relu(&mut graph, &format!("{name}_depthwise"), expanded, conv(inner, 3, stride, inner));
        let projected = norm(&mut graph, &format!("{name}_project"), depthwise, conv(channels, 1, 1, 1));
        map = if stride == 1 && inputs == channels && index > 0 {
            let identity = graph.conv(format!("{name}_projected_inputs"), map, conv(inputs, 1, 1, 1));
            graph.add(format!("{name}_add"), identity, projected)
        } else {
            projected
        };
    }
    let head = Conv2d { bias: true, ..conv(ANCHORS * (5 + CLASSES), 1, 1, 1) };
    let output = graph.conv("head", map, head);
    detector_of(graph.finish(), output, width, height)
}

fn detector_of(graph: Graph, output: NodeId, width: usize, height: usize) -> Detector {
    Detector {
        arch: "mobilenet_v2".into(),
        graph,
        heads: vec![DetectorHead {
            output,
            geometry: Head { stride: 16, anchors: vec![(0.1, 0.1); ANCHORS], grid_xy_extend: 0.0 },
        }],
        classes: classes(),
        preprocess: Preprocess::new(width, height, 3),
    }
}

fn conv(filters: usize, kernel: usize, stride: usize, groups: usize) -> Conv2d {
    Conv2d { filters, kernel, stride, padding: Padding::all(kernel / 2), groups, bias: false }
}

fn norm(graph: &mut GraphBuilder, name: &str, input: NodeId, conv: Conv2d) -> NodeId {
    let map = graph.conv(name, input, conv);
    graph.batch_norm(format!("{name}_bn"), map, BatchNorm { epsilon: 1e-3, momentum: 0.999 })
}

fn relu(graph: &mut GraphBuilder, name: &str, input: NodeId, conv: Conv2d) -> NodeId {
    let map = norm(graph, name, input, conv);
    graph.activation(format!("{name}_relu"), map, Activation::Relu)
}
