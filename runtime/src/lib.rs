//! From a model file to detections.
//!
//! ```text
//! bytes ─► Artifact (decrypted, cut before its NMS node) ─► Backend ─► Engine ─► Session ─► vision::suppress
//! ```
//!
//! An [`Artifact`] is a model with what it says about itself. A [`Backend`] prepares an [`Engine`], which hands out sessions, one per
//! thread. [`Inference`] is the `inference` verb on any network. This crate never links a training framework.

mod artifact;
mod backend;
mod inference;
mod options;
mod taps;

pub use artifact::{Artifact, ArtifactError};
pub use backend::cpu::{Cpu, Selection};
pub use backend::tensorrt::{self, TensorRt};
pub use backend::{Backend, Capabilities, Engine, PrepareError, Session, Signature, Unavailable};
pub use inference::{Found, Inference, InferenceError, InferenceSummary, detect};
pub use options::{BadProfile, Device, EngineOptions, Profile};
pub use taps::Taps;
