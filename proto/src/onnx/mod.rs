//! ONNX models as protobuf messages: declared ([`ModelProto`] and its parts), built, written and read.
//!
//! This layer mirrors the standard and knows nothing of detectors: `graph` decides which operators it
//! accepts, `exporter` which it writes. The same message always gives the same bytes.

mod build;
mod census;
mod layout;
mod messages;
mod tensor;

use prost::Message;

pub use build::Dim;
pub use layout::is_model;
pub use messages::*;

/// ONNX file format version of the models we write: that of ONNX 1.10, which TensorRT 8 and later read.
pub const IR_VERSION: i64 = 8;

/// Why a model or a tensor in it cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The bytes are not a protobuf message of this kind, or end early.
    #[error("not an ONNX model, or a damaged one: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A message without a graph: another kind of protobuf file, or an empty one.
    #[error("not an ONNX model: it has no graph")]
    NoGraph,
    /// More nodes, attributes and tensors than any detector has.
    #[error("the ONNX model has more than {limit} nodes, attributes and tensors; it is not a detector")]
    TooManyParts {
        /// The most parts accepted.
        limit: usize,
    },
    /// A tensor that contradicts itself or is of another type than needed.
    #[error("ONNX tensor {name:?}: {what}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        what: String,
    },
}

impl ModelProto {
    /// The model as an `.onnx` file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Version of the standard operators (domain `""` or `ai.onnx`), if the model states it.
    pub fn opset(&self) -> Option<i64> {
        self.opset_import
            .iter()
            .find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"))
            .map(|set| set.version)
    }

    /// Value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }
}

/// Reads an `.onnx` file. The result has a graph; nothing else about it is promised.
///
/// Needs memory for at most a few hundred bytes per node, attribute and tensor besides a small multiple of
/// the file's size: a file of many empty parts is refused before it is decoded.
///
/// # Errors
/// [`OnnxError::Malformed`], [`OnnxError::NoGraph`], [`OnnxError::TooManyParts`].
pub fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    census::check(bytes)?;
    let model = ModelProto::decode(bytes)?;
    if model.graph.is_none() {
        return Err(OnnxError::NoGraph);
    }
    Ok(model)
}

#[cfg(test)]
mod tests;
