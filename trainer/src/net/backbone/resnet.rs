//! ResNet 10/18/34/50/101 (He et al. 2016) as TAO builds them: no max-pool behind the stem, stride 2 already in stage 1
//! and none in stage 4 (16 in total), and a projection as the shortcut of *every* unit.
//!
//! Blocks: 0 is the stem, 1–4 are the stages.

use oxidet_graph::{Activation, Conv2d, GraphBuilder, NodeId};

use super::Pyramid;
use crate::net::layer::{BATCH_NORM, conv, conv_bn_act, k1, k3};

/// The depths there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Depth {
    D10,
    D18,
    D34,
    D50,
    D101,
}

impl Depth {
    pub(in crate::net) const ALL: [(u32, Self); 5] =
        [(10, Self::D10), (18, Self::D18), (34, Self::D34), (50, Self::D50), (101, Self::D101)];

    /// Units of each stage.
    fn repeats(self) -> [usize; 4] {
        match self {
            Self::D10 => [1, 1, 1, 1],
            Self::D18 => [2, 2, 2, 2],
            Self::D34 | Self::D50 => [3, 4, 6, 3],
            Self::D101 => [3, 4, 23, 3],
        }
    }

    pub(in crate::net) fn is_bottleneck(self) -> bool {
        matches!(self, Self::D50 | Self::D101)
    }
}

/// Width and first stride of each stage.
const STAGES: [(usize, usize); 4] = [(64, 2), (128, 2), (256, 2), (512, 1)];

/// Appends the backbone.
///
/// The basic variants hand out the outputs of stages 3 and 2. The bottleneck variants hand out the activation before the
/// last convolution of stages 4 and 3, both at stride 16.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId, depth: Depth) -> Pyramid {
    graph.set_block(Some(0));
    let names = ["conv1", "bn_conv1", "conv1_relu"];
    let mut map = conv_bn_act(graph, names, image, conv(7, 2, 64), Activation::Relu);

    let mut stages = Vec::with_capacity(STAGES.len());
    for (stage, ((width, first_stride), repeats)) in (1u16..).zip(STAGES.into_iter().zip(depth.repeats())) {
        graph.set_block(Some(stage));
        let mut last = None;
        for (index, letter) in ('a'..='z').take(repeats).enumerate() {
            let stride = if index == 0 { first_stride } else { 1 };
            let unit = unit(graph, &format!("block_{stage}{letter}"), map, depth, width, stride);
            map = unit.output;
            last = Some(unit);
        }
        stages.push(last.expect("every stage has a unit"));
    }
    graph.set_block(None);

    let [_, second, third, fourth] = &stages[..] else { unreachable!("there are four stages") };
    if depth.is_bottleneck() {
        Pyramid { top: map, c4: fourth.before_last, c3: third.before_last }
    } else {
        Pyramid { top: map, c4: third.output, c3: second.output }
    }
}

struct ResidualUnit {
    output: NodeId,
    /// The activation that the unit's last convolution reads.
    before_last: NodeId,
}

fn unit(
    graph: &mut GraphBuilder,
    name: &str,
    input: NodeId,
    depth: Depth,
    width: usize,
    stride: usize,
) -> ResidualUnit {
    let convs: &[Conv2d] = if depth.is_bottleneck() {
        &[conv(1, stride, width), k3(width), k1(4 * width)]
    } else {
        &[conv(3, stride, width), k3(width)]
    };
    let [inner @ .., last] = convs else { unreachable!("a unit has convolutions") };

    let mut before_last = input;
    for (j, conv) in (1..).zip(inner) {
        let names = ["conv", "bn", "relu"].map(|layer| format!("{name}_{layer}_{j}"));
        before_last = conv_bn_act(graph, names, before_last, *conv, Activation::Relu);
    }
    let j = convs.len();
    let residual = graph.conv(format!("{name}_conv_{j}"), before_last, *last);
    let residual = graph.batch_norm(format!("{name}_bn_{j}"), residual, BATCH_NORM);

    let shortcut = graph.conv(format!("{name}_conv_shortcut"), input, conv(1, stride, last.filters));
    let shortcut = graph.batch_norm(format!("{name}_bn_shortcut"), shortcut, BATCH_NORM);

    let sum = graph.add(format!("{name}_add"), residual, shortcut);
    ResidualUnit { output: graph.activation(format!("{name}_relu"), sum, Activation::Relu), before_last }
}
