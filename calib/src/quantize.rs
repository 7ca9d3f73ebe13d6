//! From ranges to a network that computes in INT8.

use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::onnx::rounded_tensor;
use oxidet_graph::quantization::QuantizedMaps;
use oxidet_graph::{Checkpoint, Graph, NodeId, Op, ParamKind, ParamsError, Tensor, pass};

/// A network that cannot be quantised as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// A layer that is to stay in float and does not exist.
    #[error("there is no convolution or addition called `{0}` to leave in float")]
    NoSuchLayer(String),
    /// The parameters are not those of the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
}

/// A network with quantisers and their ranges.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// It is evaluated and exported as one trained with quantisation. Its batch norms are folded.
    pub checkpoint: Checkpoint,
    /// Tensors that should have been quantised but have no range; the layers that read them stay in float.
    pub without_range: Vec<String>,
}

/// Quantises a float network: the maps that convolutions and additions read with the ranges of the tensors, by their names in ONNX,
/// kernels with those of their filters. `float_layers` and what has no range stay in float.
///
/// # Errors
/// [`QuantizeError`]
pub fn quantize(
    checkpoint: &Checkpoint,
    ranges: &BTreeMap<String, f32>,
    float_layers: &BTreeSet<String>,
) -> Result<Quantized, QuantizeError> {
    let (folded, params) = pass::fold_batch_norm(&checkpoint.detector, &checkpoint.params)?;
    if let Some(name) = float_layers.iter().find(|name| !is_layer(&folded.graph, name)) {
        return Err(QuantizeError::NoSuchLayer(name.clone()));
    }
    let mut float = float_layers.clone();
    let mut without_range = Vec::new();
    loop {
        let (detector, mut params) = pass::place_quantizers_except(&folded, &params, &float);
        let graph = &detector.graph;
        let mut missing = Vec::new();
        for quantizer in quantizers(graph) {
            match ranges.get(rounded_tensor(graph, quantizer)) {
                Some(amax) if *amax > 0.0 => {
                    let name = ParamKind::Amax.of(&graph.node(quantizer).name);
                    params.insert(name, Tensor::new([1], vec![*amax]));
                }
                _ => missing.push(quantizer),
            }
        }
        if missing.is_empty() {
            let spec = checkpoint.spec.clone();
            return Ok(Quantized {
                checkpoint: Checkpoint { detector, params, spec, training: None },
                without_range,
            });
        }
        for quantizer in missing {
            float.extend(readers(graph, quantizer));
            without_range.push(rounded_tensor(graph, quantizer).to_owned());
        }
    }
}

/// The quantisers of a graph.
pub(crate) fn quantizers(graph: &Graph) -> impl Iterator<Item = NodeId> {
    graph.ids().filter(|id| matches!(graph.node(*id).op, Op::FakeQuantize))
}

/// Names of the layers that read what a quantiser makes.
pub(crate) fn readers(graph: &Graph, quantizer: NodeId) -> Vec<String> {
    QuantizedMaps::readers(graph, quantizer).into_iter().map(|id| graph.node(id).name.clone()).collect()
}

fn is_layer(graph: &Graph, name: &str) -> bool {
    graph.find(name).is_some_and(|id| matches!(graph.node(id).op, Op::Conv2d(_) | Op::Add))
}
