//! MobileNet v1 (Howard et al. 2017), width 1, as TAO builds it: without the last two blocks, so stride 16 in total.
//!
//! Blocks: 0 is `conv1`, 1–11 are the pairs of a depthwise and a 1×1 convolution.

use oxidet_graph::{Activation, GraphBuilder, NodeId};

use super::Pyramid;
use crate::net::layer::{conv_bn_act, depthwise, k1, k3_s2};

/// Width and stride of each block.
const BLOCKS: [(usize, usize); 11] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
];

/// Appends the backbone. The finer maps are the outputs of the depthwise convolutions of blocks 6 and 4.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId) -> Pyramid {
    graph.set_block(Some(0));
    let names = ["conv1", "conv1_bn", "conv_block_relu"];
    let mut map = conv_bn_act(graph, names, image, k3_s2(32), Activation::Relu);
    let mut spatial = Vec::with_capacity(BLOCKS.len());
    for (block, (width, stride)) in (1u16..).zip(BLOCKS) {
        graph.set_block(Some(block));
        let name = format!("conv_dw_{block}");
        let conv = depthwise(3, stride, graph.channels(map));
        let names = [name.clone(), format!("{name}_bn"), format!("{name}_relu")];
        map = conv_bn_act(graph, names, map, conv, Activation::Relu);
        spatial.push(map);
        let name = format!("conv_pw_{block}");
        let names = [name.clone(), format!("{name}_bn"), format!("conv_pw_relu_{block}")];
        map = conv_bn_act(graph, names, map, k1(width), Activation::Relu);
    }
    graph.set_block(None);
    Pyramid { top: map, c4: spatial[5], c3: spatial[3] }
}
