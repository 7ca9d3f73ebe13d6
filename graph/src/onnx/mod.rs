//! The ONNX form of a detector. `docs/formats/onnx.md` describes the contract for users of the files.
//!
//! A node's output value has the name of its layer. Behind the heads the decoding of boxes and scores is written out in plain
//! operators, and the suppression as one TensorRT plugin node. Only operators whose form is the same from opset 11 to 20 are
//! used.

mod decode;
mod layers;
mod metadata;
mod ranges;

use oxidet_proto::onnx::{
    AttributeProto, DataType, Dim, GraphProto, IR_VERSION, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, ValueInfoProto,
};
use oxidet_vision::NmsConfig;

use crate::quantization::RangeError;
use crate::{Detector, Params, ParamsError, ShapeError};

pub use metadata::Metadata;
pub use ranges::{rounded_tensor, tensor_ranges};

/// Name of the model's input.
pub const INPUT: &str = "Input";
/// Name of the boxes `[N, B, 1, 4]`: x1, y1, x2, y2 in fractions of the canvas, not clipped.
pub const BOXES: &str = "box/concat_concat";
/// Name of the scores `[N, B, K, 1]`.
pub const SCORES: &str = "cls/mul";
/// Operator of the suppression node.
pub const NMS_OP: &str = "BatchedNMSDynamic_TRT";
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

/// How a model is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteOptions {
    /// One of [`OPSETS`].
    pub opset: i64,
    /// The batch axis.
    pub batch: Batch,
    /// Settings of the suppression node. Without them the outputs are the raw boxes and scores.
    pub nms: Option<NmsConfig>,
    /// `scoreBits` of that node: bits of a half-precision score that are sorted; 0 sorts all.
    pub score_bits: u32,
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
    /// More detections than the plugin sorts.
    #[error("the NMS plugin keeps 1 to 2048 detections (4096 candidates per class); top_k is {0}")]
    TopK(usize),
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

    let mut graph = Writer { opset: options.opset, ..Writer::default() };
    layers::write(&mut graph, &detector.graph, params)?;
    let candidates = decode::write(&mut graph, detector, &shapes);

    let batch = match options.batch {
        Batch::Dynamic => Dim::Symbol("N"),
        Batch::Static(images) => Dim::Fixed(images.into()),
    };
    let fixed = |size: usize| Dim::Fixed(size as i64);
    let float = |name: &str, shape: &[Dim<'_>]| ValueInfoProto::tensor(name, DataType::Float, shape);
    let outputs = match &options.nms {
        Some(nms) => {
            write_nms(&mut graph, nms, options.score_bits, detector.classes.len())?;
            let kept = fixed(nms.keep_top_k);
            vec![
                ValueInfoProto::tensor("BatchedNMS", DataType::Int32, &[batch, Dim::Fixed(1)]),
                float("BatchedNMS_1", &[batch, kept, Dim::Fixed(4)]),
                float("BatchedNMS_2", &[batch, kept]),
                float("BatchedNMS_3", &[batch, kept]),
            ]
        }
        None => vec![
            float(BOXES, &[batch, fixed(candidates), Dim::Fixed(1), Dim::Fixed(4)]),
            float(SCORES, &[batch, fixed(candidates), fixed(detector.classes.len()), Dim::Fixed(1)]),
        ],
    };
    let sides = [fixed(preprocess.channels), fixed(preprocess.height), fixed(preprocess.width)];
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "oxidet".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        opset_import: vec![OperatorSetIdProto::standard(options.opset)],
        metadata_props: Metadata::of(detector, options.nms).to_entries(),
        graph: Some(GraphProto {
            name: detector.arch.clone(),
            node: graph.nodes,
            initializer: graph.initializers,
            input: vec![float(INPUT, &[batch, sides[0], sides[1], sides[2]])],
            output: outputs,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    })
}

/// The plugin node of TensorRT that suppresses. Its attributes are those TAO writes, with version and namespace spelled out.
fn write_nms(graph: &mut Writer, nms: &NmsConfig, score_bits: u32, classes: usize) -> Result<(), WriteError> {
    if nms.top_k > 4096 || nms.keep_top_k > nms.top_k || nms.keep_top_k == 0 {
        return Err(WriteError::TopK(nms.keep_top_k));
    }
    let node = NodeProto::new(
        NMS_OP,
        "BatchedNMS_N",
        [BOXES, SCORES],
        ["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"],
    );
    let ints = [
        ("shareLocation", 1),
        ("backgroundLabelId", -1),
        ("numClasses", classes as i64),
        ("topK", nms.top_k as i64),
        ("keepTopK", nms.keep_top_k as i64),
        ("isNormalized", 1),
        ("clipBoxes", 1),
        ("scoreBits", score_bits.into()),
    ];
    let node = ints.into_iter().fold(node, |node, (name, value)| node.attr(AttributeProto::int(name, value)));
    let node = node
        .attr(AttributeProto::float("scoreThreshold", nms.score_threshold))
        .attr(AttributeProto::float("iouThreshold", nms.iou_threshold))
        .attr(AttributeProto::string("plugin_version", "1"))
        .attr(AttributeProto::string("plugin_namespace", ""));
    graph.nodes.push(node);
    Ok(())
}

/// Nodes and constants in the making.
#[derive(Default)]
struct Writer {
    opset: i64,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Writer {
    /// Appends a node with one output, which has the node's name. Returns that name.
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let node = NodeProto::new(op, name, inputs.iter().copied(), [name]);
        self.nodes.push(attributes.into_iter().fold(node, NodeProto::attr));
        name.to_owned()
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
