//! From a checkpoint to a model that other programs run.
//!
//! A [`Target`] says what the model must be like. [`export`] folds the batch norms, writes ONNX and describes it in labels and a
//! manifest; [`verify`] runs the written model beside the checkpoint and compares. [`nvinfer_config`] and [`triton_model`] make the files
//! that DeepStream and Triton run it with. Bytes in, bytes out: this crate opens no files.

#![forbid(unsafe_code)]

mod deepstream;
mod deployment;
mod export;
mod quantizers;
mod selection;
mod target;
mod triton;
mod verify;

pub use deepstream::{DEEPSTREAM_DETECTIONS, check_deepstream, nvinfer_config};
pub use deployment::{Batches, Deployment, DeploymentError};
pub use export::{ExportError, ExportRequest, Exported, export, labels, tensor_scales, without_quantizers};
pub use quantizers::{QuantizersError, check_quantizers};
pub use target::{Facts, HalfRoute, Int8Route, Target, UnfitTail, deepstream_reads};
pub use triton::{TRITON_CACHE, TritonModel, triton_model};
pub use verify::{Differences, Select, Suppressed, Tolerance, Verification, Written, verify};
