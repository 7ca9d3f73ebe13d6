//! MobileNet v2 (Sandler et al. 2018), width 1, as TAO builds it: without the last four blocks, so stride 16 in total; plain
//! ReLU; and a 1×1 convolution in the place of every identity shortcut.
//!
//! Blocks: 0 is `conv1`, 1–13 are the inverted residuals `expanded_conv`, `block_1` … `block_12`.

use oxidet_graph::{Activation, BatchNorm, GraphBuilder, NodeId};

use super::Pyramid;
use crate::net::layer::{BATCH_NORM, conv_bn_act_with, depthwise, k1, k3_s2};

/// Width and stride of each inverted residual.
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

/// How much wider the inside of a block is than its input, but for the first.
const EXPANSION: usize = 6;

/// The running statistics move slower than elsewhere.
const SLOW: BatchNorm = BatchNorm { momentum: 0.999, ..BATCH_NORM };

/// Appends the backbone. The finer maps are the sums of blocks 9 and 5.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId) -> Pyramid {
    graph.set_block(Some(0));
    let names = ["conv1", "bn_conv1", "re_lu_0"];
    let mut map = conv_bn_act_with(graph, names, image, k3_s2(32), SLOW, Activation::Relu);
    let mut outputs = Vec::with_capacity(BLOCKS.len());
    for (block, (width, stride)) in (0u16..).zip(BLOCKS) {
        graph.set_block(Some(block + 1));
        map = inverted_residual(graph, block, map, width, stride);
        outputs.push(map);
    }
    graph.set_block(None);
    Pyramid { top: map, c4: outputs[9], c3: outputs[5] }
}

fn inverted_residual(
    graph: &mut GraphBuilder,
    block: u16,
    input: NodeId,
    width: usize,
    stride: usize,
) -> NodeId {
    let prefix = if block == 0 { "expanded_conv".to_owned() } else { format!("block_{block}") };
    let name = |layer: &str| format!("{prefix}_{layer}");
    let channels = graph.channels(input);
    let mut map = input;
    if block > 0 {
        let names = [name("expand"), name("expand_bn"), format!("re_lu_{}", block + 1)];
        map = conv_bn_act_with(graph, names, map, k1(EXPANSION * channels), SLOW, Activation::Relu);
    }
    let names = [name("depthwise"), name("depthwise_bn"), name("depthwise_relu")];
    let conv = depthwise(3, stride, graph.channels(map));
    map = conv_bn_act_with(graph, names, map, conv, SLOW, Activation::Relu);
    map = graph.conv(name("project"), map, k1(width));
    map = graph.batch_norm(name("project_bn"), map, SLOW);
    if stride == 1 && channels == width {
        let shortcut = graph.conv(name("projected_inputs"), input, k1(width));
        map = graph.add(name("add"), shortcut, map);
    }
    map
}
