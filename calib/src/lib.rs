//! From images to the ranges of a network's tensors, without a GPU.
//!
//! ```text
//! images ─► Taps (every tensor of the exported model) ─► Histogram ─ Method ─► ranges ─► cache, scale file, quantised network
//! ```
//!
//! [`measure`] runs a float model and counts the values of every tensor; a [`Method`] turns counts into ranges; [`quantize`] makes a
//! checkpoint of them that is evaluated and exported as one trained with quantisation is. [`layer_report`] says which tensors
//! INT8 hurts.

#![forbid(unsafe_code)]

mod fingerprint;
mod histogram;
mod layer_report;
mod measure;
mod method;
mod quantize;

pub use fingerprint::fingerprint;
pub use histogram::Histogram;
pub use layer_report::{
    LayerReport, LayerReportError, LayerReportRequest, TensorReport, disagreement, layer_report,
};
pub use measure::{MeasureError, Measured, measure};
pub use method::Method;
pub use quantize::{QuantizeError, Quantized, check_float_layers, quantize};
