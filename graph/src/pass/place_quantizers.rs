//! Where quantisers go, for training, calibration and export alike.
//!
//! A map is quantised where it is made if a convolution or an addition reads it, directly or through operators that only move
//! values. So everything an INT8 kernel reads is quantised once, with one step; nothing comes between a convolution, its
//! batch norm and its activation, which an engine computes at once; decoding stays in float.

use std::collections::BTreeSet;

use crate::quantization::moves_values;
use crate::{Detector, Graph, GraphBuilder, NodeId, Op, ParamKind, Params, Tensor};

/// Returns `detector` with quantisers, and `params` with their ranges, all 0: no data seen. The quantiser of layer `x` is called
/// `x_qdq`, as in TAO.
pub fn place_quantizers(detector: &Detector, params: &Params) -> (Detector, Params) {
    place_quantizers_except(detector, params, &BTreeSet::new())
}

/// The same, but leaves convolutions and additions of these names in float. A pooled, joined or otherwise moved map is one map
/// to all its readers: if one of them stays in float, they all do.
pub fn place_quantizers_except(
    detector: &Detector,
    params: &Params,
    float_layers: &BTreeSet<String>,
) -> (Detector, Params) {
    let graph = &detector.graph;
    let needed = needed(graph, float_layers);
    let mut params = params.clone();
    let mut builder = GraphBuilder::new();
    // By node: what most read, and what those read that need it quantised.
    let mut plain: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    let mut quantized: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let from = if needed.readers[id.index()] { &quantized } else { &plain };
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| from[input.index()]).collect();
        builder.set_block(node.block);
        let new = builder.push(&node.name, node.op, &inputs);
        plain.push(new);
        quantized.push(if needed.maps[id.index()] && !moves_values(&node.op) {
            let name = format!("{}_qdq", node.name);
            params.insert(ParamKind::Amax.of(&name), Tensor::new([1], vec![0.0]));
            builder.fake_quantize(name, new)
        } else {
            new
        });
    }
    (detector.rebuilt(builder.finish(), &plain), params)
}

/// Returns `detector` without quantisers, and `params` without their ranges.
pub fn strip_quantizers(detector: &Detector, params: &Params) -> (Detector, Params) {
    let graph = &detector.graph;
    let mut params = params.clone();
    let mut builder = GraphBuilder::new();
    let mut new_ids: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| new_ids[input.index()]).collect();
        builder.set_block(node.block);
        new_ids.push(if matches!(node.op, Op::FakeQuantize) {
            params.remove(&ParamKind::Amax.of(&node.name));
            inputs[0]
        } else {
            builder.push(&node.name, node.op, &inputs)
        });
    }
    (detector.rebuilt(builder.finish(), &new_ids), params)
}

/// What of a graph is quantised.
struct Needed {
    /// By node: whether a reader wants its map quantised.
    maps: Vec<bool>,
    /// By node: whether it reads its inputs quantised.
    readers: Vec<bool>,
}

fn needed(graph: &Graph, float_layers: &BTreeSet<String>) -> Needed {
    let nodes = graph.nodes().len();
    let mut needed = Needed { maps: vec![false; nodes], readers: vec![false; nodes] };
    // By node: whether a reader wants its map in float.
    let mut float = vec![false; nodes];
    for id in graph.ids().rev() {
        let node = graph.node(id);
        let computes = matches!(node.op, Op::Conv2d(_) | Op::Add);
        let moves = moves_values(&node.op);
        let in_float = computes && float_layers.contains(&node.name) || moves && float[id.index()];
        let reads = !in_float && (computes || moves && needed.maps[id.index()]);
        needed.readers[id.index()] = reads;
        for input in &node.inputs {
            needed.maps[input.index()] |= reads;
            float[input.index()] |= in_float;
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantization::QuantizedMaps;
    use crate::{Activation, BatchNorm, Conv2d, MaxPool, Padding};

    const CONV: Conv2d =
        Conv2d { filters: 4, kernel: 1, stride: 1, padding: Padding::all(0), groups: 1, bias: false };

    /// A residual unit, a pooled concatenation that a raw convolution feeds too, and a head.
    fn network() -> Detector {
        let norm = BatchNorm { epsilon: 1e-3, momentum: 0.99 };
        let mut g = GraphBuilder::new();
        let image = g.input(1);
        let raw = g.conv("raw", image, CONV);
        let bn = g.batch_norm("bn", raw, norm);
        let act = g.activation("act", bn, Activation::Mish);
        let branch = g.conv("branch", act, CONV);
        let branch_bn = g.batch_norm("branch_bn", branch, norm);
        let sum = g.add("sum", branch_bn, act);
        let pool = g.max_pool("pool", sum, MaxPool { kernel: 1, stride: 1, padding: Padding::default() });
        let both = g.concat("both", &[pool, raw]);
        let head = g.conv("head", both, Conv2d { filters: 6, ..CONV });
        Detector::for_tests(g.finish(), head)
    }

    #[test]
    fn convolutions_and_sums_read_quantised_maps_and_nothing_else_changes() {
        let plain = network();
        let (quantized, params) = place_quantizers(&plain, &Params::new());
        let graph = &quantized.graph;
        let reads = |name: &str| -> Vec<&str> {
            let node = graph.node(graph.find(name).unwrap());
            node.inputs.iter().map(|input| graph.node(*input).name.as_str()).collect()
        };
        for (node, inputs) in [
            ("raw", &["Input_qdq"][..]),
            ("bn", &["raw"]),
            ("branch", &["act_qdq"]),
            ("branch_bn", &["branch"]),
            ("sum", &["branch_bn_qdq", "act_qdq"]),
            ("pool", &["sum_qdq"]),
            ("both", &["pool", "raw_qdq"]),
            ("head", &["both"]),
        ] {
            assert_eq!(reads(node), inputs, "{node}");
        }
        assert_eq!(params.len(), 5);
        assert_eq!(graph.validate(), Ok(()));
        let maps = QuantizedMaps::of(graph);
        assert!(
            graph
                .ids()
                .filter(|id| matches!(graph.node(*id).op, Op::Conv2d(_)))
                .all(|conv| maps.quantizes_kernel(graph, conv)),
            "every kernel"
        );
        assert!(!maps.contains(quantized.heads[0].output));
        assert_eq!(strip_quantizers(&quantized, &params), (plain, Params::new()));
    }

    #[test]
    fn layers_stay_in_float_by_name() {
        let plain = network();
        let quantizers = |float: &[&str]| -> Vec<String> {
            let float = float.iter().map(|name| (*name).to_owned()).collect();
            let (quantized, params) = place_quantizers_except(&plain, &Params::new(), &float);
            assert_eq!(quantized.graph.validate(), Ok(()));
            params.iter().map(|(name, _)| name.replace("_qdq/amax", "")).collect()
        };
        assert_eq!(quantizers(&[]), ["Input", "act", "branch_bn", "raw", "sum"]);
        assert_eq!(quantizers(&["raw"]), ["act", "branch_bn", "raw", "sum"]);
        // `act` is still read by the sum; what reaches the head comes through the concatenation.
        assert_eq!(quantizers(&["branch"]), ["Input", "act", "branch_bn", "raw", "sum"]);
        assert_eq!(quantizers(&["head"]), ["Input", "act", "branch_bn"]);
        assert_eq!(quantizers(&["branch", "sum"]), ["Input", "raw", "sum"]);
    }
}
