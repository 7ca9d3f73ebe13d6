//! DarkNet 19 (Redmon & Farhadi 2017) and 53 (Redmon & Farhadi 2018), stride 32 in total.
//!
//! Blocks: 0 is `conv1`, 1–5 are the stages, with the convolution that halves the map for 53.

use oxidet_graph::{GraphBuilder, NodeId};

use super::{Pyramid, halve};
use crate::net::layer::{Unit, k1, k3, k3_s2};

/// The depths there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Depth {
    D19,
    D53,
}

impl Depth {
    pub(in crate::net) const ALL: [(u32, Self); 2] = [(19, Self::D19), (53, Self::D53)];
}

/// Appends the backbone.
pub(in crate::net) fn build(graph: &mut GraphBuilder, unit: Unit, image: NodeId, depth: Depth) -> Pyramid {
    graph.set_block(Some(0));
    let stem = unit.append(graph, "conv1", image, k3(32));
    let pyramid = match depth {
        Depth::D19 => plain(graph, unit, stem),
        Depth::D53 => residual(graph, unit, stem),
    };
    graph.set_block(None);
    pyramid
}

/// Stages of 3×3 convolutions with 1×1 convolutions of half the width between them; pools between the stages.
///
/// The finer maps are those of the *convolutions* that end stages 4 and 3, before batch norm and activation, as in the
/// original.
fn plain(graph: &mut GraphBuilder, unit: Unit, stem: NodeId) -> Pyramid {
    const STAGES: [(usize, usize); 5] = [(64, 1), (128, 3), (256, 3), (512, 5), (1024, 5)];
    let mut map = stem;
    let mut raw = Vec::new();
    for (stage, (width, convs)) in (1u16..).zip(STAGES) {
        map = halve(graph, format!("maxpool_{stage}"), map);
        graph.set_block(Some(stage));
        for index in 1..=convs {
            let conv = if index % 2 == 1 { k3(width) } else { k1(width / 2) };
            map = unit.append(graph, &format!("b{stage}_conv{index}"), map, conv);
        }
        raw.push(graph.find(&format!("b{stage}_conv{convs}")));
    }
    Pyramid { top: map, c4: raw[3], c3: raw[2] }
}

/// Stages of residual units. The finer maps are those of the seventh of eight units, as in the original.
fn residual(graph: &mut GraphBuilder, unit: Unit, stem: NodeId) -> Pyramid {
    const STAGES: [(usize, usize); 5] = [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)];
    const TAP: usize = 7;
    let mut map = stem;
    let mut taps = Vec::new();
    for (stage, (width, units)) in (1u16..).zip(STAGES) {
        graph.set_block(Some(stage));
        map = unit.append(graph, &format!("conv{}", stage + 1), map, k3_s2(width));
        for index in 1..=units {
            let name = format!("b{stage}_conv{index}");
            let squeezed = unit.append(graph, &format!("{name}_1"), map, k1(width / 2));
            let residual = unit.append(graph, &format!("{name}_2"), squeezed, k3(width));
            map = graph.add(format!("b{stage}_add{index}"), map, residual);
            if index == TAP {
                taps.push(map);
            }
        }
    }
    Pyramid { top: map, c4: taps[1], c3: taps[0] }
}
