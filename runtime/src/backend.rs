//! Ways to run a model.

mod batches;
mod build_folder;
pub mod cpu;
mod engine_digest;
pub mod onnxruntime;
pub(crate) mod processor;
pub mod tensorrt;

use std::path::PathBuf;

use oxidet_vision::Network;

use crate::{Artifact, Device, EngineOptions};

/// A way to execute a model. Choose one, share its [`Engine`], give each thread its own [`Session`].
pub trait Backend: Send + Sync {
    /// `cpu`, …
    fn name(&self) -> &'static str;

    /// What it can do here.
    ///
    /// # Errors
    /// What exactly is missing, if it can do nothing.
    fn probe(&self) -> Result<Capabilities, Unavailable>;

    /// Whether it can compute on a device here.
    ///
    /// # Errors
    /// What exactly is missing.
    fn probe_device(&self, device: Device) -> Result<(), Unavailable> {
        let _ = device;
        self.probe().map(drop)
    }

    /// Makes a model ready to run as asked; what was asked for and cannot be had is an error, never something else instead.
    ///
    /// # Errors
    /// When the backend does not understand the model, or cannot do what the options ask for.
    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError>;
}

/// What a backend has found on this computer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of what computes: `tract 0.23`, `ONNX Runtime 1.27.0`.
    pub version: String,
    /// The shared library that computes, where there is one.
    pub library: Option<PathBuf>,
    /// Where it can compute, in words: `2 processor cores`, `NVIDIA Orin (sm_87)`.
    pub devices: Vec<String>,
    /// What it could do if something were there: a line each, with what is missing and how to get it.
    pub missing: Vec<String>,
}

/// A model made ready by a backend.
pub trait Engine: Send + Sync {
    /// What goes in and comes out.
    fn signature(&self) -> &Signature;

    /// A session with working memory of its own.
    ///
    /// # Errors
    /// When the working memory cannot be had.
    fn session(&self) -> Result<Box<dyn Session>, PrepareError>;
}

/// A model that runs, for one thread.
pub trait Session: Network {}

/// What goes into a model and comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// 3 (blue, green, red) or 1 (luma).
    pub channels: usize,
    /// Input height in pixels.
    pub height: usize,
    /// Input width in pixels.
    pub width: usize,
    /// Images per batch, when the model fixes them.
    pub batch: Option<usize>,
    /// Number of classes.
    pub classes: usize,
}

/// Why a backend cannot run here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {backend} backend is not available: {missing}")]
pub struct Unavailable {
    /// Its name.
    pub backend: &'static str,
    /// What is missing, and how to get it.
    pub missing: String,
}

/// A model that a backend does not run.
#[derive(Debug, thiserror::Error)]
#[error("the {backend} backend cannot run this model: {reason}")]
pub struct PrepareError {
    /// Its name.
    pub backend: &'static str,
    /// Why not.
    pub reason: String,
}
