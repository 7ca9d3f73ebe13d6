//! Ways to run a model.

pub mod cpu;

use oxidet_vision::Network;

use crate::Artifact;

/// A way to execute a model. Choose one, share its [`Engine`], give each thread its own [`Session`].
pub trait Backend: Send + Sync {
    /// `cpu`, …
    fn name(&self) -> &'static str;

    /// Whether it can run here.
    ///
    /// # Errors
    /// What exactly is missing.
    fn probe(&self) -> Result<(), Unavailable>;

    /// Makes a model ready to run.
    ///
    /// # Errors
    /// When the backend does not understand the model.
    fn prepare(&self, artifact: &Artifact) -> Result<Box<dyn Engine>, PrepareError>;
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
