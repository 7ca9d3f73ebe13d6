//! From ranges to a network that computes in INT8.

use std::collections::{BTreeMap, BTreeSet};

use oxidet_graph::onnx::{rounded_tensor, tensor_ranges};
use oxidet_graph::quantization::{QuantizedMaps, RangeError};
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
    /// A quantiser has no range.
    #[error(transparent)]
    Range(#[from] RangeError),
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
    check_float_layers(&folded.graph, float_layers)?;
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

/// Whether a network has these layers, and they can stay in float while others are quantised.
///
/// # Errors
/// [`QuantizeError::NoSuchLayer`]
pub fn check_float_layers(graph: &Graph, float_layers: &BTreeSet<String>) -> Result<(), QuantizeError> {
    let is_layer =
        |name: &str| graph.find(name).is_some_and(|id| matches!(graph.node(id).op, Op::Conv2d(_) | Op::Add));
    match float_layers.iter().find(|name| !is_layer(name)) {
        Some(name) => Err(QuantizeError::NoSuchLayer(name.clone())),
        None => Ok(()),
    }
}

impl Quantized {
    /// The ranges that make an engine builder, which knows tensors only, round as this network does. Of `measured`, in its order:
    ///
    /// - a tensor that the network rounds has the range it is rounded with;
    /// - one that it rounds but for layers that stay in float has none, so that what reads it stays in float;
    /// - all others, which lie between a convolution and its activation or behind the heads, have their own. Of zeros there is none.
    ///
    /// # Errors
    /// When the parameters are not those of the network.
    pub fn ranges(&self, measured: &[(String, f32)]) -> Result<Vec<(String, f32)>, QuantizeError> {
        let Checkpoint { detector, params, .. } = &self.checkpoint;
        let rounded = tensor_ranges(&detector.graph, params)?;
        let (float, params) = pass::strip_quantizers(detector, params);
        let (all, _) = pass::place_quantizers(&float, &params);
        let could_be: BTreeSet<&str> = maps(&all.graph).collect();
        let range = |(tensor, own): &(String, f32)| {
            let amax = match rounded.get(tensor) {
                Some(amax) => *amax,
                None if could_be.contains(tensor.as_str()) => return None,
                None => *own,
            };
            (amax > 0.0).then(|| (tensor.clone(), amax))
        };
        Ok(measured.iter().filter_map(range).collect())
    }

    /// Those of `float_layers` that ranges alone cannot keep in float, as all they read is rounded for others, too.
    pub fn not_kept_by_ranges<'a>(&self, float_layers: &'a BTreeSet<String>) -> Vec<&'a str> {
        let graph = &self.checkpoint.detector.graph;
        let rounded: BTreeSet<&str> = maps(graph).collect();
        let has_ranges = |name: &&str| {
            let inputs = graph.find(name).map(|id| &graph.node(id).inputs);
            inputs.is_some_and(|inputs| {
                inputs.iter().all(|input| rounded.contains(rounded_tensor(graph, *input)))
            })
        };
        float_layers.iter().map(String::as_str).filter(has_ranges).collect()
    }
}

/// Names of the tensors that quantised maps of a graph are the rounding of.
fn maps(graph: &Graph) -> impl Iterator<Item = &str> {
    let maps = QuantizedMaps::of(graph);
    graph.ids().filter(move |id| maps.contains(*id)).map(|id| rounded_tensor(graph, id))
}

/// The quantisers of a graph.
pub(crate) fn quantizers(graph: &Graph) -> impl Iterator<Item = NodeId> {
    graph.ids().filter(|id| matches!(graph.node(*id).op, Op::FakeQuantize))
}

/// Names of the layers that read what a quantiser makes.
pub(crate) fn readers(graph: &Graph, quantizer: NodeId) -> Vec<String> {
    QuantizedMaps::readers(graph, quantizer).into_iter().map(|id| graph.node(id).name.clone()).collect()
}
