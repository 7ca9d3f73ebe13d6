//! The checkpoint: a detector, its parameters, the spec and the training state in one file.
//!
//! A checkpoint is a [safetensors](https://github.com/huggingface/safetensors) file. Its `__metadata__` has one entry,
//! `oxidet`, a JSON object with everything that is not a tensor; the parameters are stored under their own names, optimiser
//! slots as `optimizer/<slot>/<parameter>`, and the weights behind a moving average as `live/<parameter>`. `docs/formats/checkpoint.md` describes it for other readers.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::{Detector, ParamKind, Params, ParamsError, Tensor};

/// Latest version of the layout described in `docs/formats/checkpoint.md`. Version 2 adds `live/`, version 3 quantisers; a file has
/// the least that describes it.
const FORMAT: u32 = 3;
const METADATA_KEY: &str = "oxidet";
const SLOT_PREFIX: &str = "optimizer/";
const LIVE_PREFIX: &str = "live/";

/// A trained, or half-trained, detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The network.
    pub detector: Detector,
    /// Its parameters.
    pub params: Params,
    /// The experiment spec it was trained from, as the user wrote it.
    pub spec: String,
    /// Where training stands. `None` once a checkpoint is only for use.
    pub training: Option<TrainingState>,
}

/// What training needs besides the parameters to go on as if it had never stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Epochs completed.
    pub epoch: u32,
    /// Batches completed since the start of training.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Training images; 0 where it is not known.
    #[serde(default)]
    pub images: u64,
    /// Sum of the losses of the batches since the last completed epoch.
    pub loss_sum: f64,
    /// The best epoch so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<BestEpoch>,
    /// Of a run that weights classes by their loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weighting: Option<ClassWeighting>,
    /// Per-parameter state of the optimiser, by slot name (`m`, `v`, …).
    #[serde(skip)]
    pub slots: BTreeMap<String, Params>,
    /// The weights that training goes on from, where the checkpoint's parameters are their moving average.
    #[serde(skip)]
    pub live: Option<Params>,
}

/// An epoch that was better than those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestEpoch {
    /// Its number, from 1.
    pub epoch: u32,
    /// What is monitored, as `early_stopping` names it: `mAP`, `loss` or `validation_loss`.
    pub monitor: String,
    /// Its value after the epoch.
    pub value: f64,
}

/// Weights of the classes and what the next ones are made from. One entry a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassWeighting {
    /// The weights.
    pub weights: Vec<f64>,
    /// Weighted loss of the class' rows since the last completed epoch.
    pub losses: Vec<f64>,
    /// Number of these rows.
    pub rows: Vec<u64>,
}

/// A file that is not a checkpoint of ours, or not a sound one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a readable checkpoint: {0}")]
    Malformed(String),
    /// A safetensors file of another program.
    #[error(
        "a safetensors file without oxidet's description of the network; use it as pretrain_model_path instead"
    )]
    Foreign,
    /// Written by a later version.
    #[error("checkpoint format {0} is newer than this program reads ({FORMAT}); update oxidet")]
    TooNew(u32),
    /// Parameters and network do not fit.
    #[error("the checkpoint contradicts itself: {0}")]
    Params(#[from] ParamsError),
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    format: u32,
    version: String,
    detector: Detector,
    spec: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<TrainingState>,
}

impl Checkpoint {
    /// The bytes of the file. Equal checkpoints give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let has_live = self.training.as_ref().is_some_and(|training| training.live.is_some());
        let metadata = Metadata {
            format: match (self.detector.graph.is_quantized(), has_live) {
                (true, _) => FORMAT,
                (false, true) => 2,
                (false, false) => 1,
            },
            version: env!("CARGO_PKG_VERSION").into(),
            detector: self.detector.clone(),
            spec: self.spec.clone(),
            training: self.training.clone(),
        };
        let slots = self.training.iter().flat_map(|training| &training.slots).flat_map(|(slot, params)| {
            params.iter().map(move |(name, tensor)| (format!("{SLOT_PREFIX}{slot}/{name}"), tensor))
        });
        let live = self.training.iter().filter_map(|training| training.live.as_ref()).flat_map(Params::iter);
        let live = live.map(|(name, tensor)| (format!("{LIVE_PREFIX}{name}"), tensor));
        let tensors: BTreeMap<String, (&[usize], Vec<u8>)> = self
            .params
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor))
            .chain(slots)
            .chain(live)
            .map(|(name, tensor)| {
                (name, (tensor.shape(), tensor.data().iter().flat_map(|x| x.to_le_bytes()).collect()))
            })
            .collect();
        let views = tensors.iter().map(|(name, (shape, bytes))| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes)
                .expect("a tensor holds what its shape says");
            (name, view)
        });
        let json = serde_json::to_string(&metadata).expect("the description is plain data");
        safetensors::serialize(views, Some(HashMap::from([(METADATA_KEY.to_owned(), json)])))
            .expect("names are unique and shapes fit")
    }

    /// Reads a checkpoint and checks that its parts fit together.
    ///
    /// # Errors
    /// [`CheckpointError`]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let malformed = |error: &dyn std::fmt::Display| CheckpointError::Malformed(error.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| malformed(&error))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| malformed(&error))?;
        let json = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(METADATA_KEY))
            .ok_or(CheckpointError::Foreign)?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_str(json).map_err(|error| malformed(&error))?;
        if version.format > FORMAT {
            return Err(CheckpointError::TooNew(version.format));
        }
        let metadata: Metadata = serde_json::from_str(json).map_err(|error| malformed(&error))?;
        metadata.detector.validate().map_err(|error| malformed(&error))?;

        let mut params = Params::new();
        let mut slots: BTreeMap<String, Params> = BTreeMap::new();
        let mut live = Params::new();
        for (name, tensor) in read_tensors(&file)?.iter() {
            let slot = name.strip_prefix(SLOT_PREFIX).and_then(|rest| rest.split_once('/'));
            if let Some((slot, param)) = slot {
                slots.entry(slot.to_owned()).or_default().insert(param, tensor.clone());
            } else if let Some(param) = name.strip_prefix(LIVE_PREFIX) {
                live.insert(param, tensor.clone());
            } else {
                params.insert(name, tensor.clone());
            }
        }
        if !live.is_empty() {
            live.check(&metadata.detector.graph)?;
        }
        params.check(&metadata.detector.graph)?;
        for (name, tensor) in params.iter().filter(|(name, _)| ParamKind::Amax.is_kind_of(name)) {
            if !tensor.data().iter().all(|amax| amax.is_finite() && *amax >= 0.0) {
                return Err(malformed(&format!("the range `{name}` is {:?}", tensor.data())));
            }
        }
        for slot in slots.values() {
            for (name, tensor) in slot.iter() {
                let param = params.get(name).ok_or_else(|| ParamsError::Unknown(name.to_owned()))?;
                if tensor.shape() != param.shape() {
                    let (found, expected) = (tensor.shape().to_vec(), param.shape().to_vec());
                    return Err(ParamsError::Shape { name: name.to_owned(), found, expected }.into());
                }
            }
        }
        let live = (!live.is_empty()).then_some(live);
        let training = metadata.training.map(|training| TrainingState { slots, live, ..training });
        Ok(Self { detector: metadata.detector, params, spec: metadata.spec, training })
    }
}

fn read_tensors(file: &SafeTensors<'_>) -> Result<Params, CheckpointError> {
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                let what = format!("tensor `{name}` is {:?}, only F32 is read", view.dtype());
                return Err(CheckpointError::Malformed(what));
            }
            let (values, _) = view.data().as_chunks::<4>();
            let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            Ok((name, Tensor::new(view.shape(), values)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv2d, GraphBuilder, Padding};

    fn checkpoint() -> Checkpoint {
        let mut builder = GraphBuilder::new();
        let image = builder.input(1);
        let conv =
            Conv2d { filters: 6, kernel: 1, stride: 1, padding: Padding::default(), groups: 1, bias: true };
        let output = builder.conv("head", image, conv);
        let mut params = Params::new();
        params.insert("head/kernel", Tensor::new([6, 1, 1, 1], vec![1.0, -0.0, 0.5, 1e-30, f32::MAX, 3.0]));
        params.insert("head/bias", Tensor::new([6], vec![0.25; 6]));
        let slots = BTreeMap::from([("m".to_owned(), params.clone())]);
        let training = Some(TrainingState {
            epoch: 3,
            step: 99,
            seed: 7,
            images: 12,
            loss_sum: 0.1 + 0.2,
            best: Some(BestEpoch { epoch: 2, monitor: "mAP".into(), value: 0.7 }),
            class_weighting: Some(ClassWeighting {
                weights: vec![1.1],
                losses: vec![1.0 / 3.0],
                rows: vec![5],
            }),
            slots,
            live: Some(params.clone()),
        });
        Checkpoint {
            detector: Detector::for_tests(builder.finish(), output),
            params,
            spec: "a: 1".into(),
            training,
        }
    }

    #[test]
    fn round_trip_keeps_every_bit() {
        let checkpoint = checkpoint();
        let bytes = checkpoint.to_bytes();
        let back = Checkpoint::from_bytes(&bytes).unwrap();
        assert_eq!(back, checkpoint);
        assert_eq!(back.to_bytes(), bytes);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let bytes = checkpoint().to_bytes();
        for end in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x15;
            let _ = Checkpoint::from_bytes(&bad);
        }
    }

    #[test]
    fn a_parameter_of_the_wrong_shape_is_named() {
        let mut bad = checkpoint();
        bad.params.insert("head/bias", Tensor::new([5], vec![0.0; 5]));
        bad.training = None;
        let error = Checkpoint::from_bytes(&bad.to_bytes()).unwrap_err();
        assert!(error.to_string().contains("head/bias"), "{error}");
    }

    #[test]
    fn weights_of_another_program_are_told_apart() {
        let data = [0u8; 8];
        let view = TensorView::new(Dtype::F32, vec![2], &data).unwrap();
        let bytes = safetensors::serialize([("w", view)], None).unwrap();
        assert!(matches!(Checkpoint::from_bytes(&bytes), Err(CheckpointError::Foreign)));
    }
}
