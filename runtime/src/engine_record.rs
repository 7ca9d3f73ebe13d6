//! What is known of a built engine and not in it: a JSON file beside it.
//!
//! A plan of TensorRT is closed: it names neither classes nor preprocessing, and not even the version and the GPU it is for in a way that
//! others read. Nothing can be put in front of it, as trtexec, DeepStream and Triton read it as well. Format page: `docs/formats/engine.md`.

use std::fmt;
use std::path::{Path, PathBuf};

use oxidet_graph::Detector;
use oxidet_graph::onnx::{NmsTail, Suppression};
use oxidet_proto::manifest::{Precision, sha256_hex};
use oxidet_vision::{NmsConfig, Preprocess};
use serde::{Deserialize, Serialize};

use crate::{Artifact, Profile};

/// Version of the format.
const RECORD_VERSION: u32 = 1;

/// What is known of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineRecord {
    record_version: u32,
    /// The program that had it built.
    pub oxidet_version: String,
    /// SHA-256 of the engine.
    pub engine_sha256: String,
    /// SHA-256 of the ONNX model it was built of, before encryption.
    pub onnx_sha256: String,
    /// What built it, and for what.
    pub built: BuiltWith,
    /// What it computes in.
    pub precision: Precision,
    /// Batches that it takes.
    pub profile: Profile,
    /// Class names by id.
    pub classes: Vec<String>,
    /// How images become its input.
    pub preprocess: Preprocess,
    /// What suppresses, as `--nms` of `export` calls it; `none` where whoever runs the engine does.
    tail: String,
    /// How it suppresses, or is to be suppressed.
    pub nms: NmsConfig,
}

/// What built an engine, and for what: it runs with this version on this kind of GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltWith {
    /// `tensorrt`, `trtexec` or `onnxruntime`.
    pub builder: String,
    /// Version of TensorRT, where the builder tells: `10.3.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensorrt: Option<String>,
    /// The GPU, where the builder tells, with its compute capability: `Orin (sm_87)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

/// What an engine does not say about the detector in it.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorFacts {
    /// Class names by id.
    pub classes: Vec<String>,
    /// How images become its input.
    pub preprocess: Preprocess,
    /// How to suppress.
    pub nms: NmsConfig,
}

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {what}; build the engine again, or remove the file and give the spec")]
pub struct EngineRecordError {
    /// File name.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

impl EngineRecord {
    /// Of an engine that was just built of a model.
    pub fn new(
        engine: &[u8],
        onnx: &[u8],
        built: BuiltWith,
        precision: Precision,
        profile: Profile,
        tail: NmsTail,
        facts: DetectorFacts,
    ) -> Self {
        let DetectorFacts { classes, preprocess, nms } = facts;
        Self {
            record_version: RECORD_VERSION,
            oxidet_version: env!("CARGO_PKG_VERSION").into(),
            engine_sha256: sha256_hex(engine),
            onnx_sha256: sha256_hex(onnx),
            built,
            precision,
            profile,
            classes,
            preprocess,
            tail: tail.name().into(),
            nms,
        }
    }

    /// Whether a file is called as TensorRT's engines are. Their bytes are known to TensorRT alone.
    pub fn is_engine(path: &Path) -> bool {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ["engine", "plan", "trt"].contains(&extension.as_str())
    }

    /// Where the record of an engine is.
    pub fn path(engine: &Path) -> PathBuf {
        let mut name = engine.as_os_str().to_owned();
        name.push(".json");
        name.into()
    }

    /// What suppresses, and how.
    pub fn suppression(&self) -> Suppression {
        Suppression { tail: tail(&self.tail).unwrap_or(NmsTail::Raw), nms: self.nms }
    }

    /// As text, with a line end at the end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain structs always serialise");
        text.push('\n');
        text
    }

    /// Reads a record. `name` is for messages.
    ///
    /// # Errors
    /// [`EngineRecordError`]
    pub fn parse(name: &str, text: &str) -> Result<Self, EngineRecordError> {
        /// The version alone, so that a later format is named as such and not by its unknown fields.
        #[derive(Deserialize)]
        struct Version {
            record_version: u32,
        }
        let failed = |what: String| EngineRecordError { name: name.to_owned(), what };
        let no_record = |error: serde_json::Error| failed(format!("not the record of an engine ({error})"));
        let Version { record_version } = serde_json::from_str(text).map_err(no_record)?;
        if record_version != RECORD_VERSION {
            return Err(failed(format!(
                "record version {record_version}, this program reads version {RECORD_VERSION}"
            )));
        }
        let record: Self = serde_json::from_str(text).map_err(no_record)?;
        let Self { preprocess, nms, profile, classes, .. } = &record;
        let fraction = 0.0..=1.0;
        let sides = 1..=1 << 14;
        let rules = [
            (!classes.is_empty(), "it names no classes"),
            (
                matches!(preprocess.channels, 1 | 3) && preprocess.mean.len() == preprocess.channels,
                "`preprocess` needs 1 or 3 channels, and a mean for each",
            ),
            (preprocess.mean.iter().all(|mean| mean.is_finite()), "a mean of `preprocess` is not finite"),
            (
                sides.contains(&preprocess.width)
                    && sides.contains(&preprocess.height)
                    && preprocess.width * preprocess.height <= Detector::MOST_PIXELS,
                "the size in `preprocess` is none of an image",
            ),
            (matches!(preprocess.depth, 8 | 16), "`depth` of `preprocess` is neither 8 nor 16"),
            (
                fraction.contains(&nms.score_threshold) && fraction.contains(&nms.iou_threshold),
                "a threshold of `nms` is not between 0 and 1",
            ),
            (nms.top_k > 0 && nms.keep_top_k > 0, "`nms` keeps nothing"),
            (tail(&record.tail).is_some(), "`tail` is none of batched, efficient, onnx and none"),
            (Profile::new(profile.min, profile.opt, profile.max).is_ok(), "`profile` makes no sense"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(failed(what.to_owned())),
            None => Ok(record),
        }
    }

    /// Whether it is of these bytes.
    pub fn is_of(&self, engine: &[u8]) -> bool {
        self.engine_sha256 == sha256_hex(engine)
    }
}

impl DetectorFacts {
    /// What a model says about itself; none of a model that says too little.
    pub fn of(artifact: &Artifact) -> Option<Self> {
        let metadata = artifact.metadata()?;
        Some(Self {
            classes: metadata.labels.clone(),
            preprocess: metadata.preprocess.clone(),
            nms: artifact.suppression()?.nms,
        })
    }
}

impl BuiltWith {
    /// Whether an engine built so runs elsewhere: the same version, and the same compute capability. What is not known is no obstacle.
    ///
    /// # Errors
    /// Both, named.
    pub fn check(&self, tensorrt: &str, gpu: &str) -> Result<(), String> {
        let other_version = self.tensorrt.as_deref().is_some_and(|version| version != tensorrt);
        let other_gpu = self.gpu.as_deref().is_some_and(|built| capability(built) != capability(gpu));
        if other_version || other_gpu {
            return Err(format!(
                "it was built for {self}, and this is TensorRT {tensorrt} on {gpu}; a plan runs with the version and the kind of GPU it \
                 was built with: oxidet gen_trt_engine builds one here"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for BuiltWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tensorrt {
            Some(version) => write!(f, "TensorRT {version}")?,
            None => f.write_str("a version of TensorRT that was not told")?,
        }
        match &self.gpu {
            Some(gpu) => write!(f, " on {gpu}"),
            None => Ok(()),
        }
    }
}

/// `sm_87` of `Orin (sm_87)`; without one, the whole name.
fn capability(gpu: &str) -> &str {
    let end = gpu.rsplit_once('(').and_then(|(_, end)| end.strip_suffix(')'));
    end.filter(|end| end.starts_with("sm_")).unwrap_or(gpu)
}

fn tail(name: &str) -> Option<NmsTail> {
    NmsTail::ALL.into_iter().find(|tail| tail.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EngineRecord {
        let built = BuiltWith {
            builder: "tensorrt".into(),
            tensorrt: Some("10.3.0".into()),
            gpu: Some("Orin (sm_87)".into()),
        };
        let facts = DetectorFacts {
            classes: vec!["cat".into(), "dog".into()],
            preprocess: Preprocess::new(416, 320, 3),
            nms: NmsConfig { score_threshold: 0.001, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 },
        };
        let profile = Profile { min: 1, opt: 4, max: 8 };
        EngineRecord::new(b"plan", b"onnx", built, Precision::Int8, profile, NmsTail::Batched, facts)
    }

    #[test]
    fn a_record_survives_its_text() {
        let record = record();
        let read = EngineRecord::parse("m.engine.json", &record.to_json()).unwrap();
        assert_eq!(read, record);
        assert!(read.is_of(b"plan") && !read.is_of(b"another"));
        assert_eq!(read.suppression(), Suppression { tail: NmsTail::Batched, nms: record.nms });
        assert_eq!(EngineRecord::path(Path::new("a/m.engine")), Path::new("a/m.engine.json"));
    }

    #[test]
    fn an_engine_runs_with_the_version_and_the_capability_it_was_built_for() {
        let built = record().built;
        assert_eq!(built.check("10.3.0", "Orin (sm_87)"), Ok(()));
        assert_eq!(built.check("10.3.0", "Orin Nano (sm_87)"), Ok(()));
        let error = built.check("10.7.0", "Orin (sm_87)").unwrap_err();
        assert!(
            error.contains("TensorRT 10.3.0 on Orin") && error.contains("this is TensorRT 10.7.0 on Orin"),
            "{error}"
        );
        let error = built.check("10.3.0", "NVIDIA RTX 4090 (sm_89)").unwrap_err();
        assert!(error.contains("Orin (sm_87)") && error.contains("RTX 4090"), "{error}");
        let unknown = BuiltWith { tensorrt: None, gpu: None, ..built };
        assert_eq!(unknown.check("11.0.0", "Thor (sm_110)"), Ok(()));
    }

    #[test]
    fn broken_records_are_told_from_sound_ones() {
        let text = record().to_json();
        for (from, to, says) in [
            ("\"record_version\": 1", "\"record_version\": 9", "record version 9"),
            ("{", "[", "not the record of an engine"),
            ("\"channels\": 3", "\"channels\": 2", "1 or 3 channels"),
            ("\"depth\": 8", "\"depth\": 9", "neither 8 nor 16"),
            ("\"width\": 416", "\"width\": 0", "none of an image"),
            ("\"batched\"", "\"other\"", "`tail`"),
            ("\"opt\": 4", "\"opt\": 9", "`profile`"),
            ("\"top_k\": 400", "\"top_k\": 0", "keeps nothing"),
            ("\"builder\"", "\"bilder\"", "bilder"),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text, "{from}");
            let error = EngineRecord::parse("m.engine.json", &broken).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("m.engine.json"), "{from}: {error}");
        }
    }
}
