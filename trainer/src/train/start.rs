//! What a run starts from: random weights, weights of another network, or a checkpoint of itself.

use std::path::{Path, PathBuf};

use oxidet_graph::{Detector, Params, TrainingState};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;

use super::TrainError;
use crate::checkpoint_file::read_checkpoint;
use crate::net::init_params;
use crate::weights::{LoadReport, load_file};

/// What was taken from `pretrain_model_path`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedWeights {
    /// The file.
    pub path: PathBuf,
    /// What became of its content.
    pub report: LoadReport,
}

/// The state a run starts in.
pub(super) struct Start {
    pub(super) params: Params,
    pub(super) state: TrainingState,
    pub(super) loaded: Option<LoadedWeights>,
}

/// Prepares the start that the spec asks for.
pub(super) fn start(
    spec: &Checked,
    detector: &Detector,
    passphrase: Option<&Passphrase>,
) -> Result<Start, TrainError> {
    let seed = u64::from(spec.random_seed);
    let training = spec.training();
    if let Some(path) = &training.resume_model_path {
        return resume(Path::new(path), detector, passphrase);
    }
    let params = init_params(&detector.graph, seed);
    let (params, loaded) = match &training.pretrain_model_path {
        Some(path) => {
            let (params, report) = load_file(Path::new(path), passphrase, detector, params)?;
            (params, Some(LoadedWeights { path: path.into(), report }))
        }
        None => (params, None),
    };
    Ok(Start { params, state: TrainingState { seed, ..TrainingState::default() }, loaded })
}

fn resume(path: &Path, detector: &Detector, passphrase: Option<&Passphrase>) -> Result<Start, TrainError> {
    let misfit = |what: String| TrainError::Weights { path: path.to_owned(), what };
    let checkpoint = read_checkpoint(path, passphrase)?;
    let other = &checkpoint.detector;
    for (field, same) in [
        (
            "network (arch, nlayers, activation, force_relu or number of anchors)",
            other.graph == detector.graph,
        ),
        ("classes", other.classes == detector.classes),
        ("anchors or grid_xy_extend", other.geometry() == detector.geometry()),
        ("input size, channels or image_mean", other.preprocess == detector.preprocess),
    ] {
        if !same {
            return Err(misfit(format!(
                "the spec's {field} differ from the checkpoint's, so the run cannot be resumed; \
                 use the spec it was trained with, or start a new run with pretrain_model_path"
            )));
        }
    }
    let state = checkpoint.training.ok_or_else(|| {
        misfit("the checkpoint has no training state to resume from; use pretrain_model_path".into())
    })?;
    Ok(Start { params: checkpoint.params, state, loaded: None })
}
