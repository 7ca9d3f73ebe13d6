//! The ONNX form of a detector. `docs/formats/onnx.md` describes the contract for users of the files.
//!
//! A node's output value has the name of its layer. Behind the heads the decoding of boxes and scores is written out in plain
//! operators, and the suppression as one node, or left to who runs the model ([`NmsTail`]). Only operators whose form is the same
//! from opset 11 to 20 are used.
//!
//! With [`FloatType::F16`] the layers between the input and the heads' maps are float16. Decoding and suppression never are:
//! float16 numbers near 1 are half a pixel of a large image apart.

mod decode;
mod layers;
mod metadata;
mod nms;
mod ranges;
mod read;

use oxidet_proto::onnx::{
    AttributeProto, DataType, Dim, GraphProto, IR_VERSION, ModelProto, NodeProto, OnnxError,
    OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use oxidet_vision::NmsConfig;

use crate::quantization::RangeError;
use crate::{Detector, Params, ParamsError, ShapeError, Tensor};

pub use metadata::Metadata;
pub use nms::{Cut, NmsTail, Suppression, cut};
pub use ranges::{rounded_tensor, tensor_ranges};
pub use read::read;

/// Name of the model's input.
pub const INPUT: &str = "Input";
/// Name of the boxes `[N, B, 1, 4]`: x1, y1, x2, y2 in fractions of the canvas, not clipped.
pub const BOXES: &str = "box/concat_concat";
/// Name of the scores `[N, B, K, 1]`.
pub const SCORES: &str = "cls/mul";
/// Opsets that can be written.
pub const OPSETS: std::ops::RangeInclusive<i64> = 11..=20;

/// The first of them that can hold a quantised network.
pub const QUANTIZED_OPSET: i64 = 13;

/// The batch axis of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Any number of images; the axis is called `N`.
    Dynamic,
    /// Exactly this many.
    Static(u32),
}

/// The numbers of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

/// How a model is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteOptions {
    /// One of [`OPSETS`].
    pub opset: i64,
    /// The batch axis.
    pub batch: Batch,
    /// What stands behind boxes and scores.
    pub tail: NmsTail,
    /// Its settings. A model without a suppression node has them in its metadata only.
    pub nms: NmsConfig,
    /// `scoreBits` of `BatchedNMSDynamic_TRT`: bits of a half-precision score that are sorted; 0 sorts all.
    pub score_bits: u32,
    /// The numbers of the layers. A quantised network has single ones.
    pub float: FloatType,
}

/// A detector that cannot be written.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An opset whose operators have another form.
    #[error("opset {0} cannot be written; use {first} to {last}", first = OPSETS.start(), last = OPSETS.end())]
    Opset(i64),
    /// A batch of no images.
    #[error("a static batch needs at least one image")]
    EmptyBatch,
    /// More detections than the suppression node can be asked for.
    #[error(
        "nms_config.top_k is {top_k}; a model with --nms {} gives at least 1 detection{}",
        tail.name(),
        tail.most_detections().map(|most| format!(" and at most {most}")).unwrap_or_default()
    )]
    TopK {
        /// The node.
        tail: NmsTail,
        /// What was asked for.
        top_k: usize,
    },
    /// A number that half precision does not have.
    #[error("the layers cannot be written in half precision (fp16): {0}")]
    Float16(OnnxError),
    /// Input values that half precision does not have.
    #[error("{depth}-bit images with a mean of {mean} have values beyond the ±65504 of float16; export fp32")]
    Float16Input {
        /// Bits of the images.
        depth: u8,
        /// Their mean.
        mean: f32,
    },
    /// A quantised network in half precision.
    #[error(
        "a quantised network (Q/DQ) is single precision between its INT8 layers: float16 there needs scales of that type, which \
         most engines do not read"
    )]
    QuantizedFloat16,
    /// A quantised network in an opset that cannot quantise filter by filter.
    #[error("a quantised network needs opset {QUANTIZED_OPSET} or later, not {0}")]
    QuantizedOpset(i64),
    /// A quantiser that has seen no data.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// The parameters are not those of the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The network does not fit its input size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// The model of `detector`. Equal arguments give equal models.
///
/// # Errors
/// [`WriteError`]
pub fn write(detector: &Detector, params: &Params, options: &WriteOptions) -> Result<ModelProto, WriteError> {
    if !OPSETS.contains(&options.opset) {
        return Err(WriteError::Opset(options.opset));
    }
    if detector.graph.is_quantized() && options.opset < QUANTIZED_OPSET {
        return Err(WriteError::QuantizedOpset(options.opset));
    }
    if options.batch == Batch::Static(0) {
        return Err(WriteError::EmptyBatch);
    }
    params.check(&detector.graph)?;
    let preprocess = &detector.preprocess;
    let shapes = detector.graph.shapes(preprocess.height, preprocess.width)?;
    if options.float == FloatType::F16 {
        check_half(detector)?;
    }

    let mut graph = Writer::new(options.opset, options.float);
    layers::write(&mut graph, &detector.graph, params)?;
    let candidates = decode::write(&mut graph, detector, &shapes);

    let batch = match options.batch {
        Batch::Dynamic => Dim::Symbol("N"),
        Batch::Static(images) => Dim::Fixed(images.into()),
    };
    let fixed = |size: usize| Dim::Fixed(size as i64);
    let sizes = nms::Sizes { batch, candidates, classes: detector.classes.len() };
    let outputs = nms::write(&mut graph, options.tail, &options.nms, options.score_bits, &sizes)?;
    let mut metadata = Metadata::of(detector, options.nms).to_entries();
    metadata.push(read::describe(detector));
    let sides = [fixed(preprocess.channels), fixed(preprocess.height), fixed(preprocess.width)];
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "oxidet".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        opset_import: vec![OperatorSetIdProto::standard(options.opset)],
        metadata_props: metadata,
        graph: Some(GraphProto {
            name: detector.arch.clone(),
            node: graph.nodes,
            initializer: graph.initializers,
            input: vec![ValueInfoProto::tensor(
                INPUT,
                DataType::Float,
                &[batch, sides[0], sides[1], sides[2]],
            )],
            output: outputs,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    })
}

/// Whether a detector can run in half precision at all.
fn check_half(detector: &Detector) -> Result<(), WriteError> {
    if detector.graph.is_quantized() {
        return Err(WriteError::QuantizedFloat16);
    }
    let depth = detector.preprocess.depth;
    let brightest = 2f32.powi(depth.into()) - 1.0;
    // Beyond float16's largest number, but still rounded to it, would be up to 65520.
    let is_beyond = |mean: &&f32| mean.abs().max((brightest - **mean).abs()) > 65504.0;
    match detector.preprocess.mean.iter().find(is_beyond) {
        Some(&mean) => Err(WriteError::Float16Input { depth, mean }),
        None => Ok(()),
    }
}

/// Nodes and constants in the making.
struct Writer {
    opset: i64,
    /// Of layers and their parameters.
    float: FloatType,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Writer {
    fn new(opset: i64, float: FloatType) -> Self {
        Self { opset, float, nodes: Vec::new(), initializers: Vec::new() }
    }

    /// Appends a node with one output, which has the node's name. Returns that name.
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let node = NodeProto::new(op, name, inputs.iter().copied(), [name]);
        self.nodes.push(attributes.into_iter().fold(node, NodeProto::attr));
        name.to_owned()
    }

    /// Another type of the same values.
    fn cast(&mut self, name: &str, input: &str, to: DataType) -> String {
        self.node("Cast", name, &[input], vec![AttributeProto::int("to", to as i64)])
    }

    /// Adds a parameter of a layer, in the layers' type. Returns its name.
    fn parameter(&mut self, name: &str, tensor: &Tensor) -> Result<String, WriteError> {
        let dims: Vec<i64> = tensor.shape().iter().map(|dim| *dim as i64).collect();
        let written = match self.float {
            FloatType::F32 => TensorProto::f32(name, &dims, tensor.data()),
            FloatType::F16 => TensorProto::f16s(name, &dims, tensor.data()).map_err(WriteError::Float16)?,
        };
        self.initializers.push(written);
        Ok(name.to_owned())
    }

    /// Adds a constant. Returns its name.
    fn floats(&mut self, name: &str, dims: &[i64], data: &[f32]) -> String {
        self.initializers.push(TensorProto::f32(name, dims, data));
        name.to_owned()
    }

    /// Adds a constant of INT8 codes. Returns its name.
    fn codes(&mut self, name: &str, dims: &[i64], data: &[i8]) -> String {
        self.initializers.push(TensorProto::i8s(name, dims, data));
        name.to_owned()
    }

    /// Adds a list of integers. Returns its name.
    fn integers(&mut self, name: &str, data: &[i64]) -> String {
        self.initializers.push(TensorProto::i64s(name, data));
        name.to_owned()
    }

    /// Elements `start .. end` of one axis.
    fn slice(&mut self, name: &str, input: &str, axis: i64, start: i64, end: i64) -> String {
        let starts = self.integers(&format!("{name}/starts"), &[start]);
        let ends = self.integers(&format!("{name}/ends"), &[end]);
        let axes = self.integers(&format!("{name}/axes"), &[axis]);
        self.node("Slice", name, &[input, &starts, &ends, &axes], Vec::new())
    }

    /// Another shape; 0 keeps the axis of the input.
    fn reshape(&mut self, name: &str, input: &str, shape: &[i64]) -> String {
        let shape = self.integers(&format!("{name}/shape"), shape);
        self.node("Reshape", name, &[input, &shape], Vec::new())
    }
}

#[cfg(test)]
mod tests;
