//! The network as data.
//!
//! A network is written once, as a [`Graph`] of a few typed operators with named nodes. Training interprets it, passes
//! rewrite it, export serialises it. A [`Detector`] is a graph with what its output means: heads, classes and the
//! preprocessing its input expects. A [`Checkpoint`] is a detector with its [`Params`], the spec it was trained from
//! and, while training goes on, the training state.
//!
//! This crate knows no files, no devices and no tensor framework.

#![forbid(unsafe_code)]

mod activation;
pub mod checkpoint;
mod cost;
mod detector;
pub mod difference;
mod from_spec;
mod graph;
mod layers;
pub mod onnx;
mod op;
mod params;
pub mod pass;
pub mod quantization;
mod shape;
mod sparsity;

pub use activation::Activation;
pub use checkpoint::{BestEpoch, Checkpoint, CheckpointError, ClassWeighting, TrainingState};
pub use detector::{Detector, DetectorHead};
pub use from_spec::{ap_mode_from_spec, nms_from_spec, preprocess_from_spec};
pub use graph::{Graph, GraphBuilder, Node, NodeId};
pub use layers::Layer;
pub use op::{BatchNorm, Conv2d, MaxPool, Op, Padding};
pub use params::{ParamKind, ParamSpec, Params, ParamsError, Tensor};
pub use shape::{MapShape, ShapeError};
pub use sparsity::{SMALL, Sparsity};
