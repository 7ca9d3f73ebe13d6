//! EfficientNet-B0 (Tan & Le 2019), stride 32 in total. The activation is swish whatever the spec says.
//!
//! Blocks: 0 is the stem, 1–7 are the stages, 8 is the convolution at the top.

use oxidet_graph::{Activation, Conv2d, GraphBuilder, NodeId, Padding};

use super::Pyramid;
use crate::net::layer::{BATCH_NORM, conv, conv_bn_act, depthwise, k1};

/// One stage: its kernel, units, width, expansion, and the stride of its first unit.
struct Stage {
    kernel: usize,
    units: usize,
    width: usize,
    expansion: usize,
    stride: usize,
}

const fn stage(kernel: usize, units: usize, width: usize, expansion: usize, stride: usize) -> Stage {
    Stage { kernel, units, width, expansion, stride }
}

const STAGES: [Stage; 7] = [
    stage(3, 1, 16, 1, 1),
    stage(3, 2, 24, 6, 2),
    stage(5, 2, 40, 6, 2),
    stage(3, 3, 80, 6, 2),
    stage(5, 3, 112, 6, 1),
    stage(5, 4, 192, 6, 2),
    stage(3, 1, 320, 6, 1),
];

/// Units of all stages.
const UNITS: usize = 16;

/// Share of images that the last unit would leave out; earlier ones leave out fewer, in proportion to their place.
const DROP_RATE: f32 = 0.2;

/// Appends the backbone. The finer maps are the first activations inside stages 6 and 5, both at stride 16.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId) -> Pyramid {
    graph.set_block(Some(0));
    let names = ["stem_conv", "stem_bn", "stem_activation"];
    let mut map = conv_bn_act(graph, names, image, pad_after(conv(3, 2, 32)), Activation::Swish);
    let mut index = 0;
    for (number, stage) in (1u16..).zip(&STAGES) {
        graph.set_block(Some(number));
        for (unit, letter) in ('a'..='z').take(stage.units).enumerate() {
            let stride = if unit == 0 { stage.stride } else { 1 };
            map = mb_conv(graph, &format!("block{number}{letter}"), map, stage, stride, index);
            index += 1;
        }
    }
    graph.set_block(Some(8));
    let names = ["top_conv", "top_bn", "top_activation"];
    let top = conv_bn_act(graph, names, map, k1(1280), Activation::Swish);
    graph.set_block(None);
    let tap = |name: &str| graph.find(name);
    Pyramid { top, c4: tap("block6a_expand_activation"), c3: tap("block5a_expand_activation") }
}

/// An inverted residual with squeeze and excitation.
fn mb_conv(
    graph: &mut GraphBuilder,
    prefix: &str,
    input: NodeId,
    stage: &Stage,
    stride: usize,
    index: usize,
) -> NodeId {
    let name = |layer: &str| format!("{prefix}_{layer}");
    let channels = graph.channels(input);
    let mut map = input;
    if stage.expansion > 1 {
        let names = [name("expand_conv"), name("expand_bn"), name("expand_activation")];
        map = conv_bn_act(graph, names, map, k1(stage.expansion * channels), Activation::Swish);
    }
    let names = [name("dwconv"), name("bn"), name("activation")];
    let spatial = depthwise(stage.kernel, stride, graph.channels(map));
    let spatial = if stride == 2 { pad_after(spatial) } else { spatial };
    map = conv_bn_act(graph, names, map, spatial, Activation::Swish);
    map = squeeze_excite(graph, prefix, map, (channels / 4).max(1));
    map = graph.conv(name("project_conv"), map, k1(stage.width));
    map = graph.batch_norm(name("project_bn"), map, BATCH_NORM);
    if stride == 1 && channels == stage.width {
        map = graph.drop_path(name("drop"), map, DROP_RATE * index as f32 / UNITS as f32);
        map = graph.add(name("add"), map, input);
    }
    map
}

fn squeeze_excite(graph: &mut GraphBuilder, prefix: &str, map: NodeId, squeezed: usize) -> NodeId {
    let name = |layer: &str| format!("{prefix}_{layer}");
    let biased = |filters| Conv2d { bias: true, ..k1(filters) };
    let gate = graph.global_average_pool(name("se_squeeze"), map);
    let gate = graph.conv(name("se_reduce"), gate, biased(squeezed));
    let gate = graph.activation(name("se_reduce_activation"), gate, Activation::Swish);
    let gate = graph.conv(name("se_expand"), gate, biased(graph.channels(map)));
    let gate = graph.activation(name("se_expand_activation"), gate, Activation::Sigmoid);
    graph.scale(name("se_excite"), map, gate)
}

/// TensorFlow's padding of a convolution of stride 2 on a map of even size: one cell more after the map than before it.
fn pad_after(conv: Conv2d) -> Conv2d {
    let (before, after) = (conv.kernel / 2 - 1, conv.kernel / 2);
    Conv2d { padding: Padding { top: before, left: before, bottom: after, right: after }, ..conv }
}
