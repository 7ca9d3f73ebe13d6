//! Whether a written model rounds where its checkpoint does, and as it does.
//!
//! The two cannot be told apart by running them: sums that are rounded another way, as in any two programs, send single values to
//! the next step, and after a few layers maps differ by as much as quantisation itself changes them. So the model is read.

use std::collections::BTreeMap;

use oxidet_graph::onnx::rounded_tensor;
use oxidet_graph::quantization::{QuantizedMaps, kernel_steps, step};
use oxidet_graph::{Checkpoint, Op, ParamKind, pass};
use oxidet_proto::onnx::{GraphProto, NodeProto, TensorProto, decode};

use crate::ExportError;

/// Checks that every convolution and addition of a model reads what the checkpoint's does: rounded maps with the steps of their
/// ranges, rounded kernels with the steps of their filters, and nothing else rounded. Returns the number of Q/DQ pairs.
///
/// # Errors
/// The first difference, or what is wrong with the checkpoint.
pub fn check_quantizers(checkpoint: &Checkpoint, onnx: &[u8]) -> Result<usize, QuantizersError> {
    let (detector, params) =
        pass::fold_batch_norm(&checkpoint.detector, &checkpoint.params).map_err(ExportError::from)?;
    let graph = &detector.graph;
    let maps = QuantizedMaps::of(graph);
    let differs = |what: String| Err(QuantizersError::Differs(what));
    let Some(written) = decode(onnx).ok().and_then(|model| model.graph) else {
        return differs("it cannot be read".into());
    };
    let written = Written::new(&written);
    for id in graph.ids() {
        let node = graph.node(id);
        if !matches!(node.op, Op::Conv2d(_) | Op::Add) {
            continue;
        }
        let name = node.name.as_str();
        let Some(reader) = written.makers.get(name) else { return differs(format!("`{name}` is missing")) };
        for (input, value) in node.inputs.iter().zip(&reader.input) {
            let want = if maps.contains(*input) {
                let amax = maps.range(graph, &params, *input).map_err(ExportError::from)?;
                Some((rounded_tensor(graph, *input), vec![step(amax)]))
            } else {
                None
            };
            let found = written.pair(value);
            if want != found {
                return differs(format!("`{name}` reads {found:?}, not {want:?}"));
            }
        }
        if matches!(node.op, Op::Conv2d(_)) {
            let kernel = params.of(name, ParamKind::Kernel).map_err(ExportError::from)?;
            let value = ParamKind::Kernel.of(name);
            let quantized = maps.quantizes_kernel(graph, id);
            let want = quantized.then(|| (value.as_str(), kernel_steps(kernel)));
            let found = reader.input.get(1).and_then(|input| written.pair(input));
            let values = written.initializers.get(value.as_str()).and_then(|tensor| tensor.to_f32s().ok());
            if want != found || values.as_deref() != Some(kernel.data()) {
                return differs(format!("the kernel of `{name}` is another, or is rounded with other steps"));
            }
        }
    }
    Ok(written.makers.values().filter(|node| node.op_type == "QuantizeLinear").count())
}

/// Why a model is not what its checkpoint asks for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizersError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] ExportError),
    /// The model.
    #[error("the written model does not round as the checkpoint does: {0}")]
    Differs(String),
}

/// A model's nodes by the value they make, and its constants.
struct Written<'a> {
    makers: BTreeMap<&'a str, &'a NodeProto>,
    initializers: BTreeMap<&'a str, &'a TensorProto>,
}

impl<'a> Written<'a> {
    fn new(graph: &'a GraphProto) -> Self {
        let makers =
            graph.node.iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)));
        let initializers = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        Self { makers: makers.collect(), initializers: initializers.collect() }
    }

    /// What a value is the rounding of, and the steps, if it comes from a sound Q/DQ pair.
    fn pair(&self, value: &str) -> Option<(&'a str, Vec<f32>)> {
        let back = self.makers.get(value).filter(|node| node.op_type == "DequantizeLinear")?;
        let [codes, scale, zero] = &back.input[..] else { return None };
        let to = self.makers.get(codes.as_str()).filter(|node| node.op_type == "QuantizeLinear")?;
        let [source, scale_to, zero_to] = &to.input[..] else { return None };
        let zeros = self.initializers.get(zero.as_str()).map(|tensor| &tensor.raw_data)?;
        let axis = |node: &NodeProto| node.attribute("axis").and_then(|axis| axis.i);
        let sound = scale == scale_to && zero == zero_to && axis(back) == axis(to);
        let steps = self.initializers.get(scale.as_str())?.to_f32s().ok()?;
        let sound = sound && zeros.len() == steps.len() && zeros.iter().all(|zero| *zero == 0);
        // The steps of filters lie along the first axis; that of a map along none.
        let sound = sound && axis(back).map_or(steps.len() == 1, |axis| axis == 0);
        sound.then_some((source.as_str(), steps))
    }
}
