//! The tails of a model: what stands behind its boxes and scores, written and read.
//!
//! | tail | node | outputs |
//! |---|---|---|
//! | batched | `BatchedNMSDynamic_TRT`, a TensorRT plugin up to version 10 | `BatchedNMS`, `BatchedNMS_1` … `_3` |
//! | efficient | `EfficientNMS_TRT`, a TensorRT plugin from version 8 on | `num_detections`, `detection_boxes` … |
//! | onnx | `NonMaxSuppression`, standard | `selected_indices`, `boxes`, `scores` |
//! | raw | none | `boxes`, `scores` |
//!
//! All suppress alike: a score counts above its threshold, a box is dropped above the IoU threshold, each class by itself.
//! They differ in how many candidates they look at; see [`Suppression`].

use oxidet_proto::onnx::tensor_shape_proto::{Dimension, Value};
use oxidet_proto::onnx::{AttributeProto, DataType, Dim, GraphProto, NodeProto, ValueInfoProto};
use oxidet_vision::NmsConfig;

use super::{BOXES, SCORES, WriteError, Writer};

const BATCHED: &str = "BatchedNMSDynamic_TRT";
/// The same with a fixed batch, of older exporters.
const BATCHED_FIXED: &str = "BatchedNMS_TRT";
const EFFICIENT: &str = "EfficientNMS_TRT";
const STANDARD: &str = "NonMaxSuppression";

const BATCHED_OUTPUTS: [&str; 4] = ["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"];
const EFFICIENT_OUTPUTS: [&str; 4] =
    ["num_detections", "detection_boxes", "detection_scores", "detection_classes"];

/// Candidates that `BatchedNMSDynamic_TRT` sorts per class, and `EfficientNMS_TRT` over all classes.
const PLUGIN_CANDIDATES: usize = 4096;

/// What stands behind boxes and scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmsTail {
    /// `BatchedNMSDynamic_TRT`.
    Batched,
    /// `EfficientNMS_TRT`.
    Efficient,
    /// The standard `NonMaxSuppression`.
    Onnx,
    /// Nothing: who runs the model suppresses.
    Raw,
}

impl NmsTail {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Batched, Self::Efficient, Self::Onnx, Self::Raw];

    /// As it is called on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::Efficient => "efficient",
            Self::Onnx => "onnx",
            Self::Raw => "none",
        }
    }

    /// Operator of its node.
    pub fn operator(self) -> Option<&'static str> {
        match self {
            Self::Batched => Some(BATCHED),
            Self::Efficient => Some(EFFICIENT),
            Self::Onnx => Some(STANDARD),
            Self::Raw => None,
        }
    }

    /// Outputs of its node: the number of detections, boxes, scores and class ids.
    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Batched => &BATCHED_OUTPUTS,
            Self::Efficient => &EFFICIENT_OUTPUTS,
            Self::Onnx | Self::Raw => &[],
        }
    }

    /// Those of its outputs that hold floats, of boxes, scores and class ids.
    pub fn float_outputs(self) -> &'static [&'static str] {
        let outputs = self.outputs();
        let floats = if self == Self::Efficient { 1..3 } else { 1..4 };
        outputs.get(floats).unwrap_or_default()
    }

    /// The most detections of an image that it can be asked for; `BatchedNMSDynamic_TRT` looks at twice as many candidates.
    pub(super) fn most_detections(self) -> Option<usize> {
        match self {
            Self::Batched => Some(PLUGIN_CANDIDATES / 2),
            Self::Efficient => Some(PLUGIN_CANDIDATES),
            Self::Onnx | Self::Raw => None,
        }
    }
}

/// Sizes of the tensors that a tail reads.
pub(super) struct Sizes<'a> {
    pub batch: Dim<'a>,
    pub candidates: usize,
    pub classes: usize,
}

/// Appends a tail to a graph that makes [`BOXES`] and [`SCORES`]. Returns the outputs of the model.
pub(super) fn write(
    writer: &mut Writer,
    tail: NmsTail,
    nms: &NmsConfig,
    score_bits: u32,
    sizes: &Sizes<'_>,
) -> Result<Vec<ValueInfoProto>, WriteError> {
    let kept = nms.keep_top_k;
    let cut_short = tail == NmsTail::Batched && (nms.top_k > PLUGIN_CANDIDATES || kept > nms.top_k);
    if kept == 0 || cut_short || tail.most_detections().is_some_and(|most| kept > most) {
        return Err(WriteError::TopK { tail, top_k: kept });
    }
    Ok(match tail {
        NmsTail::Batched => batched(writer, nms, score_bits, sizes),
        NmsTail::Efficient => efficient(writer, nms, sizes),
        NmsTail::Onnx => standard(writer, nms, sizes),
        NmsTail::Raw => raw(writer, sizes).into(),
    })
}

/// Attributes are those TAO writes, with version and namespace spelled out.
fn batched(writer: &mut Writer, nms: &NmsConfig, score_bits: u32, sizes: &Sizes<'_>) -> Vec<ValueInfoProto> {
    let ints = [
        ("shareLocation", 1),
        ("backgroundLabelId", -1),
        ("numClasses", sizes.classes as i64),
        ("topK", nms.top_k as i64),
        ("keepTopK", nms.keep_top_k as i64),
        ("isNormalized", 1),
        ("clipBoxes", 1),
        ("scoreBits", score_bits.into()),
    ];
    let floats = [("scoreThreshold", nms.score_threshold), ("iouThreshold", nms.iou_threshold)];
    writer.nodes.push(plugin(BATCHED, "BatchedNMS_N", [BOXES, SCORES], BATCHED_OUTPUTS, &ints, &floats));
    detections(BATCHED_OUTPUTS, DataType::Float, nms.keep_top_k, sizes.batch)
}

/// The plugin keeps scores that reach the threshold and drops boxes whose IoU reaches the other: the next numbers above ours make
/// that the same.
fn efficient(writer: &mut Writer, nms: &NmsConfig, sizes: &Sizes<'_>) -> Vec<ValueInfoProto> {
    let [boxes, scores] = raw(writer, sizes);
    let ints = [
        ("max_output_boxes", nms.keep_top_k as i64),
        ("background_class", -1),
        ("score_activation", 0),
        ("class_agnostic", 0),
        ("box_coding", 0),
    ];
    let floats =
        [("score_threshold", nms.score_threshold.next_up()), ("iou_threshold", nms.iou_threshold.next_up())];
    writer.nodes.push(plugin(
        EFFICIENT,
        "EfficientNMS_N",
        [&boxes.name, &scores.name],
        EFFICIENT_OUTPUTS,
        &ints,
        &floats,
    ));
    detections(EFFICIENT_OUTPUTS, DataType::Int32, nms.keep_top_k, sizes.batch)
}

/// Boxes and scores are outputs too: what the node makes are places in them.
fn standard(writer: &mut Writer, nms: &NmsConfig, sizes: &Sizes<'_>) -> Vec<ValueInfoProto> {
    let boxes = raw_boxes(writer, sizes);
    let rows = by_candidate(writer, "scores_by_candidate", sizes);
    let swap = AttributeProto::ints("perm", [0, 2, 1]);
    let scores = writer.node("Transpose", "scores", &[&rows], vec![swap]);
    let limit = writer.integers("nms/max_output_boxes_per_class", &[nms.keep_top_k as i64]);
    let iou = writer.floats("nms/iou_threshold", &[1], &[nms.iou_threshold]);
    let score = writer.floats("nms/score_threshold", &[1], &[nms.score_threshold]);
    let corners = vec![AttributeProto::int("center_point_box", 0)];
    writer.node(STANDARD, "selected_indices", &["boxes", &scores, &limit, &iou, &score], corners);
    let by_class = [sizes.batch, fixed(sizes.classes), fixed(sizes.candidates)];
    vec![
        ValueInfoProto::tensor("selected_indices", DataType::Int64, &[Dim::Symbol("M"), Dim::Fixed(3)]),
        boxes,
        ValueInfoProto::tensor(&scores, DataType::Float, &by_class),
    ]
}

/// `boxes` `[N, B, 4]` and `scores` `[N, B, K]`.
fn raw(writer: &mut Writer, sizes: &Sizes<'_>) -> [ValueInfoProto; 2] {
    let boxes = raw_boxes(writer, sizes);
    let scores = by_candidate(writer, "scores", sizes);
    let shape = [sizes.batch, fixed(sizes.candidates), fixed(sizes.classes)];
    [boxes, ValueInfoProto::tensor(&scores, DataType::Float, &shape)]
}

fn raw_boxes(writer: &mut Writer, sizes: &Sizes<'_>) -> ValueInfoProto {
    let boxes = writer.reshape("boxes", BOXES, &[0, sizes.candidates as i64, 4]);
    ValueInfoProto::tensor(&boxes, DataType::Float, &[sizes.batch, fixed(sizes.candidates), Dim::Fixed(4)])
}

/// Scores `[N, B, K]`.
fn by_candidate(writer: &mut Writer, name: &str, sizes: &Sizes<'_>) -> String {
    writer.reshape(name, SCORES, &[0, sizes.candidates as i64, sizes.classes as i64])
}

fn plugin(
    op: &str,
    name: &str,
    inputs: [&str; 2],
    outputs: [&str; 4],
    ints: &[(&str, i64)],
    floats: &[(&str, f32)],
) -> NodeProto {
    let node = NodeProto::new(op, name, inputs, outputs);
    let node = ints.iter().fold(node, |node, (name, value)| node.attr(AttributeProto::int(name, *value)));
    let node = floats.iter().fold(node, |node, (name, value)| node.attr(AttributeProto::float(name, *value)));
    node.attr(AttributeProto::string("plugin_version", "1"))
        .attr(AttributeProto::string("plugin_namespace", ""))
}

/// What the plugins make: a count, boxes, scores and classes, padded to `kept` per image.
fn detections(
    [count, boxes, scores, classes]: [&str; 4],
    class_type: DataType,
    kept: usize,
    batch: Dim<'_>,
) -> Vec<ValueInfoProto> {
    let kept = fixed(kept);
    vec![
        ValueInfoProto::tensor(count, DataType::Int32, &[batch, Dim::Fixed(1)]),
        ValueInfoProto::tensor(boxes, DataType::Float, &[batch, kept, Dim::Fixed(4)]),
        ValueInfoProto::tensor(scores, DataType::Float, &[batch, kept]),
        ValueInfoProto::tensor(classes, class_type, &[batch, kept]),
    ]
}

fn fixed(size: usize) -> Dim<'static> {
    Dim::Fixed(size as i64)
}

/// What a model says about its suppression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression {
    /// What does it.
    pub tail: NmsTail,
    /// With which settings, in our terms: thresholds are to be exceeded, `top_k` counts per class. The standard node and models
    /// without a node know no such limit, or name none.
    pub nms: NmsConfig,
}

impl Suppression {
    /// Candidates looked at over all classes of an image, where that is limited.
    pub fn candidates(&self) -> Option<usize> {
        (self.tail == NmsTail::Efficient).then_some(PLUGIN_CANDIDATES)
    }
}

/// What [`cut`] takes off a graph, and learns from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cut {
    /// The suppression node. A graph without one has boxes and scores as outputs.
    pub node: Option<NodeProto>,
    /// What the node does.
    pub suppression: Option<Suppression>,
    /// Number of classes, where the graph tells.
    pub classes: Option<usize>,
    /// A tensor that only what remains has: scores in the order below, where the file has them by class.
    pub added: Option<String>,
}

/// Takes the suppression node off a graph; what remains has two outputs, boxes `[N, B, 4]` or `[N, B, 1, 4]`, and scores
/// `[N, B, K]` or `[N, B, K, 1]`.
///
/// # Errors
/// What makes it no detector, or its node one that suppresses otherwise than [`oxidet_vision::suppress`].
pub fn cut(graph: &mut GraphProto) -> Result<Cut, String> {
    let operators = [BATCHED, BATCHED_FIXED, EFFICIENT, STANDARD];
    let Some(at) = graph.node.iter().position(|node| operators.contains(&node.op_type.as_str())) else {
        let [_, scores] = &graph.output[..] else {
            return Err("it has no NMS node, and not two outputs (boxes and scores)".into());
        };
        return Ok(Cut { classes: axis(scores, 2), ..Cut::default() });
    };
    let node = graph.node.remove(at);
    let of_node = |what: String| format!("its {} node {what}", node.op_type);
    let [boxes, scores, ..] = &node.input[..] else {
        return Err(of_node("does not read boxes and scores".into()));
    };
    let is_last = node.output.iter().all(|made| graph.output.iter().any(|output| output.name == *made));
    if !is_last {
        return Err(of_node("is not the last: what follows it is not understood".into()));
    }
    let (suppression, classes) = match node.op_type.as_str() {
        EFFICIENT => (read_efficient(&node), None),
        STANDARD => {
            let output = graph.output.iter().find(|output| output.name == *scores);
            (read_standard(&node, graph), output.and_then(|scores| axis(scores, 1)))
        }
        _ => (read_batched(&node), Some(count(&node, "numClasses").map_err(of_node)?)),
    };
    let suppression = suppression.map_err(of_node)?;
    let added = (suppression.tail == NmsTail::Onnx).then(|| format!("{scores}/by_candidate"));
    if let Some(swapped) = &added {
        let swap = AttributeProto::ints("perm", [0, 2, 1]);
        graph.node.push(NodeProto::new("Transpose", swapped, [scores], [swapped]).attr(swap));
    }
    let outputs = [boxes, added.as_ref().unwrap_or(scores)];
    graph.output = outputs.map(|name| ValueInfoProto::unshaped(name, DataType::Float)).into();
    Ok(Cut { suppression: Some(suppression), classes, added, node: Some(node) })
}

/// Size of an axis, where it is fixed.
fn axis(value: &ValueInfoProto, axis: usize) -> Option<usize> {
    let (_, shape) = value.tensor_shape()?;
    match shape.get(axis) {
        Some(Dimension { value: Some(Value::DimValue(size)) }) => usize::try_from(*size).ok(),
        _ => None,
    }
}

fn read_batched(node: &NodeProto) -> Result<Suppression, String> {
    expect(node, &[("shareLocation", 1, 1), ("backgroundLabelId", -1, -1), ("isNormalized", 1, 1)])?;
    let nms = NmsConfig {
        score_threshold: share(node, "scoreThreshold")?,
        iou_threshold: share(node, "iouThreshold")?,
        top_k: count(node, "topK")?,
        keep_top_k: count(node, "keepTopK")?,
    };
    Ok(Suppression { tail: NmsTail::Batched, nms })
}

fn read_efficient(node: &NodeProto) -> Result<Suppression, String> {
    let usual = [
        ("background_class", -1, -1),
        ("score_activation", 0, 0),
        ("class_agnostic", 0, 0),
        ("box_coding", 0, 0),
    ];
    expect(node, &usual)?;
    let nms = NmsConfig {
        score_threshold: share(node, "score_threshold")?.next_down(),
        iou_threshold: share(node, "iou_threshold")?.next_down(),
        top_k: PLUGIN_CANDIDATES,
        keep_top_k: count(node, "max_output_boxes")?,
    };
    Ok(Suppression { tail: NmsTail::Efficient, nms })
}

fn read_standard(node: &NodeProto, graph: &GraphProto) -> Result<Suppression, String> {
    expect(node, &[("center_point_box", 0, 0)])?;
    let constant = |at: usize, what: &str| {
        let name = node.input.get(at).ok_or_else(|| format!("has no {what}"))?;
        let tensor = graph.initializer.iter().find(|tensor| tensor.name == *name);
        tensor.ok_or_else(|| format!("has a {what} that is no constant"))
    };
    let number = |at: usize, what: &str| {
        let values = constant(at, what)?.to_f32s().map_err(|error| error.to_string())?;
        let value = values.first().copied().filter(|value| (0.0..=1.0).contains(value));
        value.ok_or_else(|| format!("has no sound {what}"))
    };
    let limit = constant(2, "max_output_boxes_per_class")?.to_i64s().map_err(|error| error.to_string())?;
    let limit = limit.first().and_then(|limit| usize::try_from(*limit).ok()).filter(|limit| *limit > 0);
    let nms = NmsConfig {
        score_threshold: number(4, "score_threshold")?,
        iou_threshold: number(3, "iou_threshold")?,
        top_k: usize::MAX,
        keep_top_k: limit.ok_or("has no sound max_output_boxes_per_class")?,
    };
    Ok(Suppression { tail: NmsTail::Onnx, nms })
}

/// Refuses integer attributes of other values than `(name, value where absent, only value that is understood)`.
fn expect(node: &NodeProto, attributes: &[(&str, i64, i64)]) -> Result<(), String> {
    for (name, absent, wanted) in attributes {
        let found = node.attribute(name).and_then(|attribute| attribute.i).unwrap_or(*absent);
        if found != *wanted {
            return Err(format!("has {name} {found}; only {wanted} is understood"));
        }
    }
    Ok(())
}

fn count(node: &NodeProto, name: &str) -> Result<usize, String> {
    let value = node.attribute(name).and_then(|attribute| attribute.i);
    let value =
        value.and_then(|value| usize::try_from(value).ok()).filter(|value| (1..=1 << 16).contains(value));
    value.ok_or_else(|| format!("has no sound {name}"))
}

fn share(node: &NodeProto, name: &str) -> Result<f32, String> {
    let value = node.attribute(name).and_then(|attribute| attribute.f);
    // The plugin whose thresholds are to be reached needs the number above 1 to say "never".
    let value = value.filter(|value| (0.0..=1f32.next_up()).contains(value));
    value.ok_or_else(|| format!("has no sound {name}"))
}
