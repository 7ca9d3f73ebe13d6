//! The backbone of YOLOv4-tiny: CSPDarkNet (Wang et al. 2020) with three cross-stage blocks, stride 32 in total.
//! `cspdarknet_tiny` and `cspdarknet_tiny_3l` share it.
//!
//! Blocks: 0 `conv_0`, 1 `conv_1`, 2–4 the cross-stage blocks, 5 `conv_5`.

use oxidet_graph::{GraphBuilder, NodeId};

use super::{Pyramid, halve};
use crate::net::layer::{Unit, k1, k3, k3_s2};

/// Appends the backbone.
pub(in crate::net) fn build(graph: &mut GraphBuilder, unit: Unit, image: NodeId) -> Pyramid {
    graph.set_block(Some(0));
    let map = unit.append(graph, "conv_0", image, k3_s2(32));
    graph.set_block(Some(1));
    let map = unit.append(graph, "conv_1", map, k3_s2(64));
    graph.set_block(Some(2));
    let second = cross_stage(graph, unit, "conv_2", map, 64);
    graph.set_block(Some(3));
    let third = cross_stage(graph, unit, "conv_3", second.output, 128);
    graph.set_block(Some(4));
    let fourth = cross_stage(graph, unit, "conv_4", third.output, 256);
    graph.set_block(Some(5));
    let top = unit.append(graph, "conv_5", fourth.output, k3(512));
    graph.set_block(None);
    Pyramid { top, c4: fourth.tap, c3: third.tap }
}

struct CrossStage {
    /// Half the input's size, twice its width.
    output: NodeId,
    /// The last convolution, at the input's size: what the neck reads.
    tap: NodeId,
}

/// Half of the channels take the long way; everything is joined and pooled.
fn cross_stage(graph: &mut GraphBuilder, unit: Unit, name: &str, input: NodeId, width: usize) -> CrossStage {
    let half = width / 2;
    let route = unit.append(graph, &format!("{name}_conv_0"), input, k3(width));
    let split = graph.channel_slice(format!("{name}_split_0"), route, half, half);
    let first = unit.append(graph, &format!("{name}_conv_1"), split, k3(half));
    let second = unit.append(graph, &format!("{name}_conv_2"), first, k3(half));
    let joined = graph.concat(format!("{name}_concat_0"), &[second, first]);
    let tap = unit.append(graph, &format!("{name}_conv_3"), joined, k1(width));
    let joined = graph.concat(format!("{name}_concat_1"), &[route, tap]);
    CrossStage { output: halve(graph, format!("{name}_pool_0"), joined), tap }
}
