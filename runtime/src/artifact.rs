//! A model file, read and made ready for a backend.

use oxidet_graph::onnx::{Metadata, NMS_OP};
use oxidet_proto::container::{self, ContainerError, Kind, Passphrase, Sniffed};
use oxidet_proto::onnx::tensor_shape_proto::{Dimension, Value};
use oxidet_proto::onnx::{self, DataType, GraphProto, ModelProto, NodeProto, OnnxError, ValueInfoProto};
use oxidet_vision::NmsConfig;

use crate::Signature;

/// A detector as ONNX, without its suppression node: the outputs are raw boxes and scores.
#[derive(Clone, Debug)]
pub struct Artifact {
    model: ModelProto,
    signature: Signature,
    nms: Option<NmsConfig>,
    metadata: Option<Metadata>,
}

/// A file that is no model this program runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// It is encrypted and there is no key.
    #[error("this model is encrypted; give its key with -k, --key-file or OXIDET_KEY")]
    NeedsKey,
    /// The container does not open.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// Not ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// ONNX, but no detector.
    #[error("not a YOLOv4 detector: {0}")]
    NotADetector(String),
    /// Its description of itself is broken.
    #[error("the model's description of itself is damaged: {0}")]
    Metadata(String),
}

impl Artifact {
    /// Reads an ONNX model, plain or in our encrypted container; the content decides.
    ///
    /// # Errors
    /// [`ArtifactError`]
    pub fn load(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Self, ArtifactError> {
        match (container::sniff(bytes), passphrase) {
            (Sniffed::Oxidet { .. }, None) => Err(ArtifactError::NeedsKey),
            (Sniffed::Oxidet { .. }, Some(passphrase)) => {
                Self::from_onnx(&container::open(Kind::Onnx, bytes, passphrase)?)
            }
            (Sniffed::NvidiaEtlt, _) => Err(ContainerError::NvidiaEtlt.into()),
            (Sniffed::Hdf5, _) => Err(ContainerError::Hdf5.into()),
            (Sniffed::Other, _) => Self::from_onnx(bytes),
        }
    }

    fn from_onnx(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let mut model = onnx::decode(bytes)?;
        let metadata = Metadata::read(&model).map_err(ArtifactError::Metadata)?;
        let graph = model.graph.as_mut().ok_or_else(|| not_a_detector("it has no graph"))?;
        let (channels, height, width) = input_shape(graph)?;
        let (nms, classes) = cut(graph)?;
        let classes = match (&metadata, classes) {
            (Some(metadata), _) => metadata.labels.len(),
            (None, Some(classes)) => classes,
            (None, None) => return Err(not_a_detector("it names neither its classes nor their number")),
        };
        let signature = Signature { channels, height, width, batch: batch(graph), classes };
        Ok(Self { model, signature, nms, metadata })
    }

    /// What goes in and comes out.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Suppression as the model's node had it.
    pub fn nms(&self) -> Option<&NmsConfig> {
        self.nms.as_ref()
    }

    /// What the model says about itself; `None` for a model of another program.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The model whose two outputs are boxes `[N, B, 1, 4]` and scores `[N, B, K, 1]`.
    pub(crate) fn model(&self) -> &ModelProto {
        &self.model
    }
}

fn not_a_detector(what: impl Into<String>) -> ArtifactError {
    ArtifactError::NotADetector(what.into())
}

fn dims(info: &ValueInfoProto) -> Option<(DataType, &[Dimension])> {
    info.tensor_shape()
}

/// Channels, height and width of the one image input.
fn input_shape(graph: &GraphProto) -> Result<(usize, usize, usize), ArtifactError> {
    // Old files list constants among the inputs.
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !is_constant(&input.name)).collect();
    let [input] = inputs[..] else {
        return Err(not_a_detector(format!("it has {} inputs instead of one", inputs.len())));
    };
    let fixed = |dim: &Dimension| match dim.value {
        Some(Value::DimValue(size)) => usize::try_from(size).ok().filter(|size| (1..=1 << 14).contains(size)),
        _ => None,
    };
    let Some((DataType::Float, [_, channels, height, width])) = dims(input) else {
        return Err(not_a_detector(format!(
            "input `{}` is not a float image batch [N, C, H, W]",
            input.name
        )));
    };
    match (fixed(channels), fixed(height), fixed(width)) {
        (Some(channels @ (1 | 3)), Some(height), Some(width)) => Ok((channels, height, width)),
        _ => Err(not_a_detector(format!(
            "the size of input `{}` is not fixed, or not that of an image",
            input.name
        ))),
    }
}

/// The fixed batch of the model, if it has one.
fn batch(graph: &GraphProto) -> Option<usize> {
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let input = graph.input.iter().find(|input| !is_constant(&input.name))?;
    match dims(input)?.1.first()?.value {
        Some(Value::DimValue(images)) => usize::try_from(images).ok().filter(|images| *images > 0),
        _ => None,
    }
}

/// Takes the suppression node off: its inputs become the outputs. Returns its settings and number of classes.
fn cut(graph: &mut GraphProto) -> Result<(Option<NmsConfig>, Option<usize>), ArtifactError> {
    let Some(at) = graph.node.iter().position(|node| node.op_type == NMS_OP) else {
        return if graph.output.len() == 2 {
            Ok((None, None))
        } else {
            Err(not_a_detector(format!("it has no {NMS_OP} node, and not two outputs (boxes and scores)")))
        };
    };
    let node = graph.node.remove(at);
    let [boxes, scores] = &node.input[..] else {
        return Err(not_a_detector(format!("its {NMS_OP} node does not have two inputs")));
    };
    graph.output =
        [boxes, scores].map(|name| ValueInfoProto::unshaped(name, DataType::Float)).into_iter().collect();
    let (nms, classes) =
        settings(&node).map_err(|what| not_a_detector(format!("its {NMS_OP} node {what}")))?;
    Ok((Some(nms), Some(classes)))
}

fn settings(node: &NodeProto) -> Result<(NmsConfig, usize), String> {
    let count = |name: &str| {
        let value = node.attribute(name).and_then(|attribute| attribute.i);
        let value =
            value.and_then(|value| usize::try_from(value).ok()).filter(|value| (1..=1 << 16).contains(value));
        value.ok_or_else(|| format!("has no sound {name}"))
    };
    let share = |name: &str| {
        let value = node.attribute(name).and_then(|attribute| attribute.f);
        value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(|| format!("has no sound {name}"))
    };
    let nms = NmsConfig {
        score_threshold: share("scoreThreshold")?,
        iou_threshold: share("iouThreshold")?,
        top_k: count("topK")?,
        keep_top_k: count("keepTopK")?,
    };
    Ok((nms, count("numClasses")?))
}
