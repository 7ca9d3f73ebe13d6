//! CSPDarkNet 19 and 53 (Wang et al. 2020; Bochkovskiy et al. 2020), stride 32 in total: half of every stage goes around its
//! convolutions.
//!
//! Blocks: 0 is `conv1`, 1–5 are the stages, with the convolution that halves the map for 53.

use oxidet_graph::{GraphBuilder, NodeId};

use super::darknet::Depth;
use super::{Pyramid, halve};
use crate::net::layer::{Unit, k1, k3, k3_s2};

/// Appends the backbone. The finer maps are those of the *convolutions* that end stages 4 and 3, before batch norm and
/// activation, as in the original.
pub(in crate::net) fn build(graph: &mut GraphBuilder, unit: Unit, image: NodeId, depth: Depth) -> Pyramid {
    graph.set_block(Some(0));
    let stem = unit.append(graph, "conv1", image, k3(32));
    let top = match depth {
        Depth::D19 => plain(graph, unit, stem),
        Depth::D53 => residual(graph, unit, stem),
    };
    graph.set_block(None);
    Pyramid { top, c4: graph.find("b4_final_trans"), c3: graph.find("b3_final_trans") }
}

/// Stages without residual sums; pools between them.
fn plain(graph: &mut GraphBuilder, unit: Unit, stem: NodeId) -> NodeId {
    let map = halve(graph, "maxpool_1", stem);
    graph.set_block(Some(1));
    let mut map = unit.append(graph, "b1_conv1", map, k3(64));
    for (stage, width) in (2u16..).zip([128, 256, 512, 1024]) {
        let half = width / 2;
        let name = |layer: &str| format!("b{stage}_{layer}");
        map = halve(graph, format!("maxpool_{stage}"), map);
        graph.set_block(Some(stage));
        let x = unit.append(graph, &name("conv1"), map, k3(width));
        let side = unit.append(graph, &name("part1"), x, k1(half));
        let mut main = unit.append(graph, &name("part2"), x, k1(half));
        for pair in 1..=if stage >= 4 { 2 } else { 1 } {
            main = unit.append(graph, &name(&format!("conv{}", 2 * pair)), main, k1(half));
            main = unit.append(graph, &name(&format!("conv{}", 2 * pair + 1)), main, k3(half));
        }
        map = transition(graph, unit, stage, main, side, width);
    }
    map
}

/// Stages of residual units. In the first, the part that goes around is as wide as the stage, not half.
fn residual(graph: &mut GraphBuilder, unit: Unit, stem: NodeId) -> NodeId {
    const STAGES: [(usize, usize); 5] = [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)];
    let mut map = stem;
    for (stage, (width, units)) in (1u16..).zip(STAGES) {
        let (part, inner) = if stage == 1 { (64, 32) } else { (width / 2, width / 2) };
        graph.set_block(Some(stage));
        let conv = format!("conv{}", stage + 1);
        let x = unit.append(graph, &conv, map, k3_s2(width));
        let side = unit.append(graph, &format!("{conv}_1"), x, k1(part));
        let mut main = unit.append(graph, &format!("{conv}_2"), x, k1(part));
        for index in 1..=units {
            let name = format!("b{stage}_conv{index}");
            let squeezed = unit.append(graph, &format!("{name}_1"), main, k1(inner));
            let residual = unit.append(graph, &format!("{name}_2"), squeezed, k3(part));
            main = graph.add(format!("b{stage}_add{index}"), main, residual);
        }
        map = transition(graph, unit, stage, main, side, width);
    }
    map
}

/// Joins the two parts of a stage.
fn transition(
    graph: &mut GraphBuilder,
    unit: Unit,
    stage: u16,
    main: NodeId,
    side: NodeId,
    width: usize,
) -> NodeId {
    let part = graph.channels(side);
    let main = unit.append(graph, &format!("b{stage}_partial_trans"), main, k1(part));
    let joined = graph.concat(format!("b{stage}_concat"), &[main, side]);
    unit.append(graph, &format!("b{stage}_final_trans"), joined, k1(width))
}
