//! A model file, read and made ready for a backend.

use oxidet_graph::onnx::{Batch, Cut, FloatType, Metadata, NmsTail, Suppression, WriteOptions, cut, read};
use oxidet_graph::{Detector, Params};
use oxidet_proto::container::{self, ContainerError, Kind, Passphrase, Sniffed};
use oxidet_proto::manifest::Precision;
use oxidet_proto::onnx::tensor_shape_proto::{Dimension, Value};
use oxidet_proto::onnx::{
    self, DataType, GraphProto, ModelProto, NodeProto, OnnxError, TensorProto, ValueInfoProto,
};

use crate::Signature;

/// A detector as ONNX, without its suppression node: the outputs are raw boxes and scores.
#[derive(Clone, Debug)]
pub struct Artifact {
    model: ModelProto,
    signature: Signature,
    node: Option<NodeProto>,
    suppression: Option<Suppression>,
    added: Option<String>,
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
        let Cut { node, suppression, classes, added } = cut(graph).map_err(not_a_detector)?;
        let classes = match (&metadata, classes) {
            (Some(metadata), _) => metadata.labels.len(),
            (None, Some(classes)) => classes,
            (None, None) => return Err(not_a_detector("it names neither its classes nor their number")),
        };
        let signature = Signature { channels, height, width, batch: batch(graph), classes };
        let left_to_us = metadata.as_ref().and_then(|metadata| metadata.nms);
        let left_to_us = left_to_us.map(|nms| Suppression { tail: NmsTail::Raw, nms });
        Ok(Self { model, signature, node, suppression: suppression.or(left_to_us), added, metadata })
    }

    /// What goes in and comes out.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Name of the input.
    pub fn input(&self) -> &str {
        let inputs = self.model.graph.iter().flat_map(image_inputs);
        inputs.map(|input| &*input.name).next().unwrap_or_default()
    }

    /// Suppression as the model's node does it; of a model without one, as its metadata has it.
    pub fn suppression(&self) -> Option<&Suppression> {
        self.suppression.as_ref()
    }

    /// The suppression node that the file ends with.
    pub fn node(&self) -> Option<&NodeProto> {
        self.node.as_ref()
    }

    /// Version of the standard ONNX operators.
    pub fn opset(&self) -> i64 {
        let standard = self.model.opset_import.iter().find(|import| import.domain.is_empty());
        standard.map_or(0, |import| import.version)
    }

    /// What the model says about itself; `None` for a model of another program.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Whether the model holds Q/DQ pairs, and is to be computed in INT8.
    pub fn is_quantized(&self) -> bool {
        self.nodes().any(|node| node.op_type == "QuantizeLinear" || node.op_type == "DequantizeLinear")
    }

    /// Whether layers of the model are float16.
    pub fn is_half(&self) -> bool {
        has_half(&self.model)
    }

    /// What the model itself is to be computed in.
    pub fn precision(&self) -> Precision {
        match (self.is_quantized(), self.is_half()) {
            (true, _) => Precision::Int8,
            (false, true) => Precision::Fp16,
            (false, false) => Precision::Fp32,
        }
    }

    /// Whether the model is an engine of TensorRT that ONNX Runtime has built (`EPContext`), and no network.
    pub fn holds_engine(&self) -> bool {
        self.nodes().any(|node| node.op_type == "EPContext")
    }

    fn nodes(&self) -> impl Iterator<Item = &NodeProto> {
        self.model.graph.iter().flat_map(|graph| &graph.node)
    }

    /// The model whose two outputs are boxes and scores; see [`cut`].
    pub(crate) fn model(&self) -> &ModelProto {
        &self.model
    }

    /// Whether the `cpu` backend computes the model with our own kernels: it is what oxidet writes of the network that it describes.
    pub fn is_own(&self) -> bool {
        self.network().is_some()
    }

    /// The network, where the model is what oxidet writes of it in single precision, quantised or not.
    pub fn network(&self) -> Option<(Detector, Params)> {
        let suppression = self.suppression?;
        let batch = match self.signature.batch {
            None => Batch::Dynamic,
            Some(images) => Batch::Static(u32::try_from(images).ok()?),
        };
        let options = WriteOptions {
            opset: self.opset(),
            batch,
            tail: suppression.tail,
            nms: suppression.nms,
            // Of the node, which is cut off.
            score_bits: 0,
            float: FloatType::F32,
        };
        read(&self.model, &options)
    }

    /// Whether a tensor of [`Artifact::model`] is one of the file, too; see [`Cut::added`].
    pub(crate) fn is_in_file(&self, tensor: &str) -> bool {
        self.added.as_deref() != Some(tensor)
    }

    /// That model with its `NonMaxSuppression` node back in place, whose output is the third. None where it has another, or none.
    pub(crate) fn whole(&self) -> Option<ModelProto> {
        let is_standard = self.suppression.is_some_and(|suppression| suppression.tail == NmsTail::Onnx);
        let node = self.node.as_ref().filter(|_| is_standard)?;
        let mut model = self.model.clone();
        let graph = model.graph.as_mut()?;
        graph.output.push(ValueInfoProto::unshaped(node.output.first()?, DataType::Int64));
        graph.node.push(node.clone());
        Some(model)
    }
}

/// Whether a model holds float16 constants.
pub(crate) fn has_half(model: &ModelProto) -> bool {
    model.graph.iter().flat_map(|graph| &graph.initializer).any(is_half)
}

/// Whether a constant is float16.
pub(crate) fn is_half(tensor: &TensorProto) -> bool {
    tensor.data_type == DataType::Float16 as i32
}

fn not_a_detector(what: impl Into<String>) -> ArtifactError {
    ArtifactError::NotADetector(what.into())
}

/// The inputs that images come in through: old files list constants among them.
fn image_inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    graph.input.iter().filter(move |input| !is_constant(&input.name))
}

/// Channels, height and width of the one image input.
fn input_shape(graph: &GraphProto) -> Result<(usize, usize, usize), ArtifactError> {
    let inputs: Vec<&ValueInfoProto> = image_inputs(graph).collect();
    let [input] = inputs[..] else {
        return Err(not_a_detector(format!("it has {} inputs instead of one", inputs.len())));
    };
    let fixed = |dim: &Dimension| match dim.value {
        Some(Value::DimValue(size)) => usize::try_from(size).ok().filter(|size| (1..=1 << 14).contains(size)),
        _ => None,
    };
    let Some((DataType::Float, [_, channels, height, width])) = input.tensor_shape() else {
        return Err(not_a_detector(format!(
            "input `{}` is not a float image batch [N, C, H, W]",
            input.name
        )));
    };
    match (fixed(channels), fixed(height), fixed(width)) {
        (Some(channels @ (1 | 3)), Some(height), Some(width)) if height * width <= Detector::MOST_PIXELS => {
            Ok((channels, height, width))
        }
        _ => Err(not_a_detector(format!(
            "the size of input `{}` is not fixed, or not that of an image",
            input.name
        ))),
    }
}

/// The fixed batch of the model, if it has one.
fn batch(graph: &GraphProto) -> Option<usize> {
    let input = image_inputs(graph).next()?;
    match input.tensor_shape()?.1.first()?.value {
        Some(Value::DimValue(images)) => usize::try_from(images).ok().filter(|images| *images > 0),
        _ => None,
    }
}
