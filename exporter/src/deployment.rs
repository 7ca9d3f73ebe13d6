//! A model on its way into another program, and why it may not fit.

use std::path::Path;

use oxidet_graph::onnx::NmsTail;
use oxidet_proto::manifest::{Manifest, Precision};

use crate::Target;

/// A model and how it will be run: what [`nvinfer_config`](crate::nvinfer_config) and [`triton_model`](crate::triton_model) are
/// made from.
#[derive(Clone, Copy, Debug)]
pub struct Deployment<'a> {
    /// What the model says about itself.
    pub manifest: &'a Manifest,
    /// What it was exported for.
    pub target: Target,
    /// Its suppression.
    pub tail: NmsTail,
    /// Images at once, where the model leaves that open.
    pub batches: Batches,
    /// File name of its calibration cache, if it has one.
    pub cache: Option<&'a str>,
}

/// Images at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// At least.
    pub min: u32,
    /// As a rule: what an engine is tuned for.
    pub opt: u32,
    /// At most.
    pub max: u32,
}

impl Default for Batches {
    fn default() -> Self {
        Self { min: 1, opt: 1, max: 1 }
    }
}

/// A model that a program cannot be made to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeploymentError {
    /// DeepStream has no parser for its outputs.
    #[error(
        "DeepStream's parser reads the four outputs of BatchedNMS only, and the model has --nms {}; \
         use --target deepstream, or read the tensors in a program of your own (output-tensor-meta)",
        .0.name()
    )]
    Parser(NmsTail),
    /// DeepStream has 8 bits a value.
    #[error(
        "the model reads images of 16 bits, and DeepStream's nvinfer gives it 8: the lower 8 would be lost; \
         --triton serves it to programs that send the tensors themselves"
    )]
    SixteenBits,
    /// INT8 ranges where the engine's builder does not look.
    #[error(
        "the INT8 ranges of the model are in a scale file, and the engine's builder wants a calibration cache; \
         --cal_cache_file writes one"
    )]
    Ranges,
    /// Triton cannot open our container.
    #[error(
        "Triton serves models in the clear, and cannot open an encrypted one; export to an .onnx, on the server's disk"
    )]
    Encrypted,
    /// A tensor that a Triton configuration cannot describe.
    #[error(
        "the tensor `{0}` of the model has no shape, or a type that Triton's configuration does not have"
    )]
    Tensor(String),
}

impl<'a> Deployment<'a> {
    /// Name of the ONNX file; of an encrypted one, of what `oxidet decrypt` makes of it.
    pub(crate) fn onnx_file(&self) -> String {
        let model = &self.manifest.model;
        if model.encrypted {
            Path::new(&model.file).with_extension("onnx").to_string_lossy().into_owned()
        } else {
            model.file.clone()
        }
    }

    /// Images at once: fixed by the model, or the most there are to be.
    pub(crate) fn batch(&self) -> u32 {
        self.manifest.network.input_shape.0.unwrap_or(self.batches.max)
    }

    /// The cache that an INT8 engine is built with; `None` of other engines, and of models that hold their ranges.
    pub(crate) fn cache_in_use(&self) -> Result<Option<&'a str>, DeploymentError> {
        if self.manifest.precision != Precision::Int8 || self.manifest.model.quantized {
            return Ok(None);
        }
        self.cache.map(Some).ok_or(DeploymentError::Ranges)
    }
}
