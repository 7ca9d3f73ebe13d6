//! What a calibration cache was made from, written beside it as `<cache>.json`: a cache itself holds names and numbers only, and nobody
//! can tell whether they are still those of a network. Format page: `docs/formats/calibration-cache.md`.

use serde::{Deserialize, Serialize};

use crate::manifest::sha256_hex;

/// Version of the format this program writes and reads.
pub const RECORD_VERSION: u32 = 1;

/// Where ranges come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRecord {
    /// [`RECORD_VERSION`].
    pub record_version: u32,
    /// Version of the oxidet that calibrated.
    pub oxidet_version: String,
    /// Digest of the cache.
    pub cache_sha256: String,
    /// How the ranges were chosen.
    pub method: String,
    /// Number of images.
    pub images: u64,
    /// Digest of the input tensors, in their order.
    pub inputs_sha256: String,
    /// Digest of how images become input tensors.
    pub preprocess_sha256: String,
    /// Digest of the network's structure.
    pub graph_sha256: String,
    /// Digests of the layers that have weights, in the order of the network.
    pub layers: Vec<LayerDigest>,
}

/// The weights of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerDigest {
    /// Its name.
    pub layer: String,
    /// Digest of its parameters.
    pub sha256: String,
}

/// A file that is no record of a cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationRecordError {
    /// Not JSON of this form.
    #[error("{name}: not the record of a calibration: {source}; calibrate again")]
    Json {
        /// Name of the file.
        name: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Another version of the format.
    #[error(
        "{name}: version {found} of a calibration's record, this program reads {RECORD_VERSION}; calibrate again"
    )]
    Version {
        /// Name of the file.
        name: String,
        /// Version found.
        found: u32,
    },
}

impl CalibrationRecord {
    /// The text of the file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("names and numbers are plain data");
        text.push('\n');
        text
    }

    /// Reads a record; `name` is for messages.
    ///
    /// # Errors
    /// [`CalibrationRecordError`]
    pub fn parse(name: &str, text: &str) -> Result<Self, CalibrationRecordError> {
        let record: Self = serde_json::from_str(text)
            .map_err(|source| CalibrationRecordError::Json { name: name.to_owned(), source })?;
        match record.record_version {
            RECORD_VERSION => Ok(record),
            found => Err(CalibrationRecordError::Version { name: name.to_owned(), found }),
        }
    }

    /// Whether this is the record of a cache.
    pub fn is_of(&self, cache: &[u8]) -> bool {
        self.cache_sha256 == sha256_hex(cache)
    }

    /// What has changed from the network calibrated to the one that `now` describes; None when nothing has.
    pub fn change(&self, now: &Self) -> Option<String> {
        if self.preprocess_sha256 != now.preprocess_sha256 {
            return Some(
                "images are made input tensors in another way (size, channels or image_mean)".into(),
            );
        }
        let names = |record: &Self| record.layers.iter().map(|layer| layer.layer.clone()).collect::<Vec<_>>();
        let (was, is) = (names(self), names(now));
        if was != is {
            let first =
                was.iter().zip(&is).position(|(was, is)| was != is).unwrap_or(was.len().min(is.len()));
            let name = is.get(first).or(was.get(first)).map_or("", String::as_str);
            return Some(format!("the network has other layers, `{name}` is the first"));
        }
        let changed: Vec<&str> = self
            .layers
            .iter()
            .zip(&now.layers)
            .filter(|(was, is)| was.sha256 != is.sha256)
            .map(|(was, _)| was.layer.as_str())
            .collect();
        match changed[..] {
            [] if self.graph_sha256 != now.graph_sha256 => {
                Some("the layers of the network are connected in another way".into())
            }
            [] => None,
            [layer] => Some(format!("the weights of `{layer}` are others")),
            [first, ..] => {
                Some(format!("the weights of {} layers are others, `{first}` is the first", changed.len()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(layers: &[(&str, &str)]) -> CalibrationRecord {
        let layer = |(layer, sha256): &(&str, &str)| LayerDigest {
            layer: (*layer).to_owned(),
            sha256: (*sha256).to_owned(),
        };
        CalibrationRecord {
            record_version: RECORD_VERSION,
            oxidet_version: "0.1.0".into(),
            cache_sha256: sha256_hex(b"TRT-8503-EntropyCalibration2\n"),
            method: "entropy".into(),
            images: 3,
            inputs_sha256: "i".into(),
            preprocess_sha256: "p".into(),
            graph_sha256: "g".into(),
            layers: layers.iter().map(layer).collect(),
        }
    }

    #[test]
    fn what_changed_is_named() {
        let was = record(&[("conv_0", "a"), ("conv_1", "b"), ("head", "c")]);
        let change = |layers: &[(&str, &str)]| was.change(&record(layers)).unwrap_or_default();
        assert_eq!(was.change(&was), None);
        assert_eq!(
            change(&[("conv_0", "a"), ("conv_1", "x"), ("head", "c")]),
            "the weights of `conv_1` are others"
        );
        assert_eq!(
            change(&[("conv_0", "a"), ("conv_1", "x"), ("head", "y")]),
            "the weights of 2 layers are others, `conv_1` is the first"
        );
        assert_eq!(
            change(&[("conv_0", "a"), ("head", "c")]),
            "the network has other layers, `head` is the first"
        );
        assert_eq!(
            change(&[("conv_0", "a"), ("conv_1", "b")]),
            "the network has other layers, `head` is the first"
        );
        let other = CalibrationRecord { graph_sha256: "x".into(), ..was.clone() };
        assert!(was.change(&other).unwrap().contains("connected"));
        let other = CalibrationRecord { preprocess_sha256: "x".into(), ..was.clone() };
        assert!(was.change(&other).unwrap().contains("image_mean"));
    }

    #[test]
    fn a_record_reads_back_and_knows_its_cache() {
        let was = record(&[("conv_0", "a")]);
        assert_eq!(CalibrationRecord::parse("cal.bin.json", &was.to_json()).unwrap(), was);
        assert!(was.is_of(b"TRT-8503-EntropyCalibration2\n") && !was.is_of(b""));
        let text = was.to_json().replace("\"record_version\": 1", "\"record_version\": 9");
        let error = CalibrationRecord::parse("cal.bin.json", &text).unwrap_err().to_string();
        assert!(error.contains("cal.bin.json: version 9"), "{error}");
        assert!(CalibrationRecord::parse("cal.bin.json", "{}").is_err());
    }
}
