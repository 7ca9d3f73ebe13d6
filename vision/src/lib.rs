//! Pixels and boxes: the mathematics of a detector that every other crate shares.
//!
//! There is one preprocessing ([`Preprocess`]), one decoding of the heads ([`decode()`]), one suppression ([`suppress`]), one
//! overlap ([`iou()`]) and one average precision ([`metrics`]). Everything works on bytes and slices; this crate knows no
//! files, no tensor framework and no ONNX.

#![deny(unsafe_code)]

mod boxes;
mod decode;
mod detections;
pub mod draw;
mod head;
pub mod image;
mod iou;
mod kmeans;
pub mod metrics;
mod nms;
mod preprocess;

pub use boxes::{NormBox, PxBox};
pub use decode::{MAX_SIZE_LOGIT, decode, sigmoid};
pub use detections::{Network, NetworkError, RawDetections};
pub use head::Head;
pub use image::{Image, ImageError, Picture};
pub use iou::{iou, shape_iou};
pub use kmeans::{KmeansError, KmeansSettings, kmeans, mean_best_iou};
pub use nms::{Detection, NmsConfig, suppress};
pub use preprocess::{Letterbox, Preprocess};
