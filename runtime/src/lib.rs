//! From a model file to detections.
//!
//! ```text
//! bytes ─► Artifact (decrypted, cut before its NMS node) ─► Backend ─► Engine ─► Session ─► vision::suppress
//! ```
//!
//! An [`Artifact`] is a model file with what it says about itself. A [`Backend`] prepares an [`Engine`], which hands out sessions, one per
//! thread. A [`Model`] is a session with all that is needed to detect objects with it, and the place to begin. [`Inference`] is the
//! `inference` verb, [`Benchmark`] measures. This crate never links a training framework.

mod artifact;
mod backend;
mod benchmark;
mod builder;
mod engine_record;
mod error_chain;
mod inference;
mod machine;
mod model;
mod options;
mod taps;

pub use artifact::{Artifact, ArtifactError};
pub use backend::cpu::{Cpu, Selection, Tract};
pub use backend::onnxruntime::{Library, OnnxRuntime};
pub use backend::processor::cores as processor_cores;
pub use backend::tensorrt::{self, TensorRt};
pub use backend::{Backend, Capabilities, Engine, PrepareError, Session, Signature, Unavailable};
pub use benchmark::{Benchmark, Measured, Times};
pub use builder::{Builder, BuiltEngine};
pub use engine_record::{BuiltWith, DetectorFacts, EngineRecord, EngineRecordError};
pub use error_chain::error_chain;
pub use inference::{
    Detected, FrameError, FrameFormat, Frames, Inference, InferenceError, InferenceSummary, Origin, Outputs,
    PixelFormat, Source,
};
pub use machine::Machine;
pub use model::{LoadError, Model};
pub use options::{BadProfile, Device, EngineOptions, Profile};
pub use taps::Taps;
