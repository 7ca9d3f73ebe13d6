//! VGG 16/19 (Simonyan & Zisserman 2015) as TAO builds them: no pooling, the first convolution of groups 2–5 has stride 2
//! instead (16 in total), and every convolution a batch norm.
//!
//! Blocks: 1–5 are the groups.

use oxidet_graph::{Activation, GraphBuilder, NodeId};

use super::Pyramid;
use crate::net::layer::{conv, conv_bn_act};

/// The depths there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Depth {
    D16,
    D19,
}

impl Depth {
    pub(in crate::net) const ALL: [(u32, Self); 2] = [(16, Self::D16), (19, Self::D19)];

    /// Convolutions of each group.
    fn repeats(self) -> [usize; 5] {
        match self {
            Self::D16 => [2, 2, 3, 3, 3],
            Self::D19 => [2, 2, 4, 4, 4],
        }
    }
}

/// Width of each group.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Appends the backbone. It hands out the last map of groups 5, 4 and 3, at strides 16, 8 and 4.
pub(in crate::net) fn build(graph: &mut GraphBuilder, image: NodeId, depth: Depth) -> Pyramid {
    let mut map = image;
    let groups = (1u16..).zip(WIDTHS.into_iter().zip(depth.repeats()));
    let outputs: Vec<NodeId> = groups
        .map(|(group, (width, repeats))| {
            graph.set_block(Some(group));
            for (index, letter) in ('a'..='z').take(repeats).enumerate() {
                let stride = if index == 0 && group > 1 { 2 } else { 1 };
                let name = format!("block_{group}{letter}");
                let names = [format!("{name}_conv_1"), format!("{name}_bn_1"), format!("{name}_relu")];
                map = conv_bn_act(graph, names, map, conv(3, stride, width), Activation::Relu);
            }
            map
        })
        .collect();
    graph.set_block(None);
    Pyramid { top: outputs[4], c4: outputs[3], c3: outputs[2] }
}
