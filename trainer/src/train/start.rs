//! What a run starts from: random weights, weights of another network, or a checkpoint of itself.

use std::path::{Path, PathBuf};

use oxidet_graph::checkpoint::read_safetensors;
use oxidet_graph::{Checkpoint, CheckpointError, Detector, ParamSpec, Params, TrainingState};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::Difference;

use super::TrainError;
use super::resume::compatible;
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
    /// The network of the spec, or the pruned one.
    pub(super) detector: Detector,
    pub(super) params: Params,
    pub(super) state: TrainingState,
    pub(super) loaded: Option<LoadedWeights>,
    /// Fields of the spec that have changed since the run that is resumed.
    pub(super) changes: Vec<Difference>,
    /// The spec that checkpoints of the run carry. A run resumed without changes keeps that of its start.
    pub(super) spec: String,
}

/// Prepares the start that the spec asks for, where `detector` is its network.
pub(super) fn start(
    spec: &Checked,
    detector: Detector,
    passphrase: Option<&Passphrase>,
) -> Result<Start, TrainError> {
    let training = spec.training();
    if let Some(path) = &training.resume_model_path {
        return resume(Path::new(path), spec, detector, passphrase);
    }
    let seed = u64::from(spec.random_seed);
    let state = TrainingState { seed, ..TrainingState::default() };
    let (changes, text) = (Vec::new(), spec.source().text().to_owned());
    if let Some(path) = &training.pruned_model_path {
        let path = Path::new(path);
        let checkpoint = read_checkpoint(path, passphrase)?;
        check_pruned(&checkpoint.detector, &detector)
            .map_err(|what| TrainError::Weights { path: path.to_owned(), what })?;
        let Checkpoint { detector, params, .. } = checkpoint;
        let loaded = LoadedWeights { path: path.to_owned(), loaded: params.len(), left_random: Vec::new() };
        return Ok(Start { detector, params, state, loaded: Some(loaded), changes, spec: text });
    }
    let mut params = init_params(&detector, seed);
    let loaded = match &training.pretrain_model_path {
        Some(path) => Some(pretrain(Path::new(path), &detector, passphrase, &mut params)?),
        None => None,
    };
    Ok(Start { detector, params, state, loaded, changes, spec: text })
}

fn resume(
    path: &Path,
    spec: &Checked,
    detector: Detector,
    passphrase: Option<&Passphrase>,
) -> Result<Start, TrainError> {
    let misfit = |what: String| TrainError::Weights { path: path.to_owned(), what };
    let checkpoint = read_checkpoint(path, passphrase)?;
    // A run that retrains a pruned model goes on with the pruned network.
    let detector = if check_pruned(&checkpoint.detector, &detector).is_ok() {
        Detector { graph: checkpoint.detector.graph.clone(), ..detector }
    } else {
        detector
    };
    let changes = compatible(&checkpoint, spec, &detector).map_err(misfit)?;
    let Checkpoint { params, training, spec: before, .. } = checkpoint;
    let state = training.ok_or_else(|| {
        misfit("the checkpoint has no training state to resume from; use pretrain_model_path".into())
    })?;
    let spec = if changes.is_empty() { before } else { spec.source().text().to_owned() };
    Ok(Start { detector, params, state, loaded: None, changes, spec })
}

/// Whether a model is the network of the spec but for the widths of its layers.
fn check_pruned(model: &Detector, spec: &Detector) -> Result<(), String> {
    let names = |detector: &Detector| -> Vec<String> {
        detector.graph.nodes().iter().map(|node| node.name.clone()).collect()
    };
    let same = [
        ("network (arch, nlayers)", model.arch == spec.arch && names(model) == names(spec)),
        ("classes", model.classes == spec.classes),
        ("anchors or grid_xy_extend", model.geometry() == spec.geometry()),
        ("input size, channels, depth or image_mean", model.preprocess == spec.preprocess),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => {
            Err(format!("the spec's {what} differ from the model's; use those it was trained with"))
        }
        None => Ok(()),
    }
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
