//! The ranges of a network that was trained with quantisation, by the names its tensors have in ONNX.

use std::collections::BTreeMap;

use super::layers::value;
use crate::quantization::{QuantizedMaps, RangeError};
use crate::{Graph, NodeId, Op, Params};

/// The range of every tensor that is quantised, whether the model holds the quantisers or not. `graph` is the network as it is
/// written: batch norms folded, quantisers in place.
///
/// # Errors
/// When a parameter is missing, or a range has never been measured.
pub fn tensor_ranges(graph: &Graph, params: &Params) -> Result<BTreeMap<String, f32>, RangeError> {
    let maps = QuantizedMaps::of(graph);
    let mut ranges = BTreeMap::new();
    for id in graph.ids().filter(|id| maps.contains(*id)) {
        ranges.insert(rounded_tensor(graph, id).to_owned(), maps.range(graph, params, id)?);
    }
    Ok(ranges)
}

/// Name of the tensor that a quantised map is the rounding of: what a quantiser reads, else the map itself.
pub fn rounded_tensor(graph: &Graph, id: NodeId) -> &str {
    let node = graph.node(id);
    value(graph, if matches!(node.op, Op::FakeQuantize) { node.inputs[0] } else { id })
}
