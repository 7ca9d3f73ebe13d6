//! SqueezeNet 1.0 (Iandola et al. 2016), stride 16 in total: convolutions with bias and no batch norms.
//!
//! Blocks: 0 is `conv1`, 1–8 are the fire modules. The original ignores `freeze_blocks` here.

use oxidet_graph::{Activation, Conv2d, GraphBuilder, MaxPool, NodeId, Padding};

use super::Pyramid;
use crate::net::layer::{conv, k1, k3};

/// Widths of the squeezing and of each expanding convolution of fire modules 2–9.
const FIRES: [(usize, usize); 8] =
    [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)];

/// Appends the backbone. The finer maps are the outputs of fire modules 9, again, and 8.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId) -> Pyramid {
    graph.set_block(Some(0));
    let map = unit(graph, "conv1", "conv1_relu", image, conv(7, 2, 96));
    let mut map = pool(graph, "pool1", map);
    let mut outputs = Vec::with_capacity(FIRES.len());
    for (block, (squeeze, expand)) in (1u16..).zip(FIRES) {
        graph.set_block(Some(block));
        map = fire(graph, block + 1, map, squeeze, expand);
        outputs.push(map);
        if let 4 | 8 = block + 1 {
            map = pool(graph, &format!("pool{}", block + 1), map);
        }
    }
    graph.set_block(None);
    Pyramid { top: map, c4: map, c3: outputs[6] }
}

fn fire(graph: &mut GraphBuilder, number: u16, input: NodeId, squeeze: usize, expand: usize) -> NodeId {
    let name = |layer: &str| format!("fire{number}_{layer}");
    let squeezed = unit(graph, &name("squeeze_conv"), &name("squeeze"), input, k1(squeeze));
    let narrow = unit(graph, &name("expand_conv1x1"), &name("expand_1x1"), squeezed, k1(expand));
    let wide = unit(graph, &name("expand_conv3x3"), &name("expand_3x3"), squeezed, k3(expand));
    graph.concat(format!("fire{number}"), &[narrow, wide])
}

fn unit(graph: &mut GraphBuilder, conv_name: &str, relu_name: &str, input: NodeId, conv: Conv2d) -> NodeId {
    let map = graph.conv(conv_name, input, Conv2d { bias: true, ..conv });
    graph.activation(relu_name, map, Activation::Relu)
}

fn pool(graph: &mut GraphBuilder, name: &str, input: NodeId) -> NodeId {
    graph.max_pool(name, input, MaxPool { kernel: 3, stride: 2, padding: Padding::all(1) })
}
