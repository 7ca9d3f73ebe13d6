//! What a run starts from: random weights, weights of another network, or a checkpoint of itself.

use std::path::{Path, PathBuf};

use oxidet_graph::checkpoint::read_safetensors;
use oxidet_graph::{Checkpoint, CheckpointError, Detector, ParamSpec, Params, TrainingState};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;

use super::TrainError;
use crate::checkpoint_file::{CheckpointFileError, CheckpointFileErrorKind, read_checkpoint, read_payload};
use crate::net::init_params;

/// What was taken from `pretrain_model_path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedWeights {
    /// The file.
    pub path: PathBuf,
    /// Parameters taken from it.
    pub loaded: usize,
    /// Parameters of neck and heads that it lacks or has with another shape; they start random.
    pub left_random: Vec<String>,
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
    let mut params = init_params(detector, seed);
    let loaded = match &training.pretrain_model_path {
        Some(path) => Some(pretrain(Path::new(path), detector, passphrase, &mut params)?),
        None => None,
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

/// Copies weights by name and shape: all of the backbone, which the file must have, and what fits of the rest.
fn pretrain(
    path: &Path,
    detector: &Detector,
    passphrase: Option<&Passphrase>,
    params: &mut Params,
) -> Result<LoadedWeights, TrainError> {
    let failed = |kind| TrainError::Checkpoint(CheckpointFileError { path: path.to_owned(), kind });
    let payload = read_payload(path, passphrase).map_err(failed)?;
    let weights = match Checkpoint::from_bytes(&payload) {
        Ok(checkpoint) => checkpoint.params,
        Err(CheckpointError::Foreign) => {
            read_safetensors(&payload).map_err(|error| failed(CheckpointFileErrorKind::Checkpoint(error)))?
        }
        Err(error) => return Err(failed(CheckpointFileErrorKind::Checkpoint(error))),
    };
    let mut left_random = Vec::new();
    for spec in detector.graph.param_specs() {
        match weights.get(&spec.name) {
            Some(tensor) if tensor.shape() == spec.shape => params.insert(&spec.name, tensor.clone()),
            other if in_backbone(detector, &spec) => {
                let what = match other {
                    Some(tensor) => {
                        let (found, wanted) = (tensor.shape(), &spec.shape);
                        format!("`{}` has shape {found:?}, this backbone needs {wanted:?}", spec.name)
                    }
                    None => format!("`{}` of the backbone is not in it; is it for another arch?", spec.name),
                };
                return Err(TrainError::Weights { path: path.to_owned(), what });
            }
            _ => left_random.push(spec.name),
        }
    }
    let loaded = detector.graph.param_specs().len() - left_random.len();
    Ok(LoadedWeights { path: path.to_owned(), loaded, left_random })
}

fn in_backbone(detector: &Detector, spec: &ParamSpec) -> bool {
    detector.graph.find(&spec.layer).is_some_and(|id| detector.graph.node(id).block.is_some())
}
