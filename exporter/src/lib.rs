//! From a checkpoint to a model that other programs run.
//!
//! A [`Target`] says what the model must be like. [`export`] folds the batch norms, writes ONNX and describes it in labels and a
//! manifest; [`verify`] runs the written model beside the checkpoint and compares. Bytes in, bytes out: this crate opens no files.

mod export;
mod quantizers;
mod selection;
mod target;
mod verify;

pub use export::{ExportError, ExportRequest, Exported, export, tensor_scales, without_quantizers};
pub use quantizers::{QuantizersError, check_quantizers};
pub use target::{Facts, HalfRoute, Int8Route, Target, UnfitTail, deepstream_reads};
pub use verify::{Select, Suppressed, Tolerance, Verification, Written, verify};
