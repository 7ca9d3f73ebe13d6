//! What a model file says about itself, in `metadata_props`.

use oxidet_proto::onnx::{ModelProto, StringStringEntryProto};
use oxidet_vision::{Head, NmsConfig, Preprocess};
use serde::de::DeserializeOwned;

use crate::Detector;

/// The facts a runtime needs besides the graph. Every member is one metadata entry of the same name, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Class names by id.
    pub labels: Vec<String>,
    /// What the input expects.
    pub preprocess: Preprocess,
    /// Stride, anchors and grid of the heads.
    pub heads: Vec<Head>,
    /// Suppression the model was exported with, in a node or left to who runs it.
    pub nms: Option<NmsConfig>,
}

impl Metadata {
    pub(super) fn of(detector: &Detector, nms: NmsConfig) -> Self {
        Self {
            labels: detector.classes.clone(),
            preprocess: detector.preprocess.clone(),
            heads: detector.geometry(),
            nms: Some(nms),
        }
    }

    pub(super) fn to_entries(&self) -> Vec<StringStringEntryProto> {
        let entry = |key: &str, json: Result<String, serde_json::Error>| {
            StringStringEntryProto::new(key, &json.expect("names and numbers make JSON"))
        };
        let mut entries = vec![
            entry("labels", serde_json::to_string(&self.labels)),
            entry("preprocess", serde_json::to_string(&self.preprocess)),
            entry("heads", serde_json::to_string(&self.heads)),
        ];
        if let Some(nms) = &self.nms {
            entries.push(entry("nms", serde_json::to_string(nms)));
        }
        entries
    }

    /// Reads the entries back; `None` for a model of another program, which has none of them.
    ///
    /// # Errors
    /// Which entry is missing or malformed.
    pub fn read(model: &ModelProto) -> Result<Option<Self>, String> {
        if model.metadata("preprocess").is_none() {
            return Ok(None);
        }
        let metadata = Self {
            labels: member(model, "labels")?,
            preprocess: member(model, "preprocess")?,
            heads: member(model, "heads")?,
            nms: if model.metadata("nms").is_some() { Some(member(model, "nms")?) } else { None },
        };
        let preprocess = &metadata.preprocess;
        if preprocess.mean.len() != preprocess.channels || !matches!(preprocess.channels, 1 | 3) {
            return Err("metadata entry `preprocess` contradicts itself".into());
        }
        Ok(Some(metadata))
    }
}

fn member<T: DeserializeOwned>(model: &ModelProto, key: &str) -> Result<T, String> {
    let text = model.metadata(key).ok_or_else(|| format!("metadata entry `{key}` is missing"))?;
    serde_json::from_str(text).map_err(|error| format!("metadata entry `{key}`: {error}"))
}
