//! A training run: from a checked spec to checkpoints.
//!
//! [`train`] prints nothing. What happens is told to a listener as [`Event`]s; [`TrainRequest::stop`] asks it to finish the step
//! it is in, save and return.

mod diverged;
mod files;
mod monitor;
mod prepare;
mod resume;
mod run;
mod start;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use oxidet_graph::Detector;
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::Difference;
use oxidet_vision::metrics::Report;

use crate::checkpoint_file::CheckpointFileError;
use crate::data::{DataError, ImageOptions, Summary};
use crate::evaluate::Evaluated;
use crate::interp::TrainNetError;
use crate::loss::LossTerms;
use crate::net::NetError;
use crate::weights::LoadFileError;
use oxidet_compute::ExecutorError;

pub use crate::report::ReportError;
pub use diverged::{Divergence, Origin};
pub use run::train;
pub use start::LoadedWeights;

/// What to train, and where the results go.
#[derive(Clone, Copy, Debug)]
pub struct TrainRequest<'a> {
    /// The spec.
    pub spec: &'a Checked,
    /// Folder of the results; made when it is not there.
    pub results_dir: &'a Path,
    /// Encrypts checkpoints, and opens those the spec names.
    pub passphrase: Option<&'a Passphrase>,
    /// How images are read.
    pub images: ImageOptions,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
}

/// What happens during a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Labels are read.
    Data {
        /// Training images.
        train: &'a Summary,
        /// Validation images.
        validation: &'a Summary,
    },
    /// The network is built.
    Network {
        /// The network.
        detector: &'a Detector,
        /// Its parameters, running statistics included.
        parameters: usize,
    },
    /// Weights were taken from a file.
    Weights(&'a LoadedWeights),
    /// A run goes on.
    Resumed {
        /// Epochs it has completed.
        epoch: u32,
        /// Fields of the spec that have changed since.
        changes: &'a [Difference],
    },
    /// A batch is done.
    Step(Step),
    /// Validation goes on.
    Validating {
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// An epoch is done.
    Epoch(&'a Epoch),
    /// A checkpoint is written.
    Saved {
        /// Its file.
        path: &'a Path,
    },
    /// The epoch just done is the best so far and is kept.
    Best {
        /// Its file.
        path: &'a Path,
    },
    /// The run ends before its last epoch because it no longer improves.
    StoppedEarly {
        /// The best epoch; 0 when there was none.
        best: u32,
    },
    /// A report cannot be written; training goes on. Told once for each.
    ReportFailed(&'a ReportError),
}

/// One batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its epoch, from 1.
    pub epoch: u32,
    /// Epochs of the run.
    pub epochs: u32,
    /// Its number in the epoch, from 1.
    pub step: u64,
    /// Batches of an epoch.
    pub steps: u64,
    /// Images in it.
    pub images: usize,
    /// Learning rate it was learnt with.
    pub learning_rate: f64,
    /// Terms of the loss.
    pub terms: LossTerms,
    /// The loss, regularisation included.
    pub loss: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u32,
    /// Epochs of the run.
    pub epochs: u32,
    /// Mean loss of its batches, regularisation included.
    pub loss: f64,
    /// Learning rate of the next batch.
    pub learning_rate: f64,
    /// After the epoch, when it is due.
    pub validation: Option<Validation>,
}

/// Validation after an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// Average precision.
    pub report: Report,
    /// Loss per image, without regularisation.
    pub loss: f64,
    /// Detections in some of the images.
    pub found: Vec<Evaluated>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSummary {
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The checkpoint of the best epoch, if there was one.
    pub best: Option<PathBuf>,
    /// The last validation.
    pub validation: Option<Validation>,
    /// Whether it was asked to stop before the last epoch.
    pub interrupted: bool,
}

/// What stops a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The spec leaves out something that training needs.
    #[error("{0}")]
    Spec(String),
    /// The spec makes no network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Images or labels.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointFileError),
    /// `pretrain_model_path` does not give weights.
    #[error(transparent)]
    Pretrain(#[from] LoadFileError),
    /// A checkpoint does not fit the spec.
    #[error("{}: {what}", path.display())]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The results folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The loss or a parameter is no longer a number.
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// The network failed.
    #[error(transparent)]
    Network(#[from] TrainNetError),
    /// The network failed in validation.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The tensor library failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
