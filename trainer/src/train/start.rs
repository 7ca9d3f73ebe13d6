//! What a run starts from: random weights, weights of another network, or a checkpoint of itself.

use std::path::{Path, PathBuf};

use oxidet_graph::{Checkpoint, Detector, Params, TrainingState, pass};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::Difference;

use super::TrainError;
use super::resume::compatible;
use crate::checkpoint_file::read_checkpoint;
use crate::net::{check_fits, init_params};
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
        // Whether to train with quantisation is for the spec to say, not for the file.
        let (model, params) = pass::strip_quantizers(&checkpoint.detector, &checkpoint.params);
        check_fits(&model, &detector).map_err(|what| TrainError::Weights { path: path.to_owned(), what })?;
        let report = LoadReport {
            source: "a checkpoint, with its network".into(),
            loaded: params.iter().map(|(name, _)| name.to_owned()).collect(),
            backbone_share: 1.0,
            ..LoadReport::default()
        };
        let loaded = Some(LoadedWeights { path: path.to_owned(), report });
        let (detector, params) = quantized(spec, model, params);
        return Ok(Start { detector, params, state, loaded, changes, spec: text });
    }
    let params = init_params(&detector, seed);
    let (params, loaded) = match &training.pretrain_model_path {
        Some(path) => {
            let (params, report) = load_file(Path::new(path), passphrase, &detector, params)?;
            (params, Some(LoadedWeights { path: path.into(), report }))
        }
        None => (params, None),
    };
    let (detector, params) = quantized(spec, detector, params);
    Ok(Start { detector, params, state, loaded, changes, spec: text })
}

/// The network with quantisers, if the spec asks for them.
fn quantized(spec: &Checked, detector: Detector, params: Params) -> (Detector, Params) {
    if spec.training().enable_qat {
        return pass::place_quantizers(&detector, &params);
    }
    (detector, params)
}

fn resume(
    path: &Path,
    spec: &Checked,
    detector: Detector,
    passphrase: Option<&Passphrase>,
) -> Result<Start, TrainError> {
    let misfit = |what: String| TrainError::Weights { path: path.to_owned(), what };
    let checkpoint = read_checkpoint(path, passphrase)?;
    // A run that retrains a pruned model, or trains with quantisation, goes on with the network it had.
    let detector = if check_fits(&checkpoint.detector, &detector).is_ok() {
        let Detector { graph, heads, .. } = &checkpoint.detector;
        Detector { graph: graph.clone(), heads: heads.clone(), ..detector }
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
