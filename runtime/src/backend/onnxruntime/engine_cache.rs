//! Folders for built engines, one for everything that an engine depends on.
//!
//! The names that ONNX Runtime gives engines depend on the name of the model and of its tensors, not on weights, ranges or sizes: after
//! retraining it would run the old engine without a word (onnxruntime issues 6455, 32254). So each digest of it all has a folder.

use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::manifest::sha256_hex;
use tempfile::TempDir;

use super::Library;
use super::providers::CALIBRATION;
use crate::{Device, EngineOptions};

/// Where the engine of one model, as it is to be built, is kept.
pub struct EngineCache {
    parent: PathBuf,
    folder: PathBuf,
    calibration: Option<Vec<u8>>,
}

impl EngineCache {
    /// The place below `options.cache_dir`; none where no engine is built or none is to be kept.
    pub fn of(onnx: &[u8], options: &EngineOptions, library: &Library) -> Option<Self> {
        let parent = options.cache_dir.clone()?;
        if !matches!(options.device, Device::TensorRt(_) | Device::Dla(_)) {
            return None;
        }
        let digest = digest(onnx, options, library.build_info());
        let folder = parent.join(format!("onnxruntime-{}", &digest[..16]));
        Some(Self { parent, folder, calibration: options.calibration_cache.clone() })
    }

    /// The folder, if there is an engine in it.
    pub fn existing(&self) -> Option<&Path> {
        self.folder.is_dir().then_some(&*self.folder)
    }

    /// An empty folder to build into.
    pub fn temporary(&self) -> Result<TempDir, String> {
        fs::create_dir_all(&self.parent).map_err(|error| format!("{}: {error}", self.parent.display()))?;
        build_folder(
            tempfile::Builder::new().prefix(".building-").tempdir_in(&self.parent),
            self.calibration.as_deref(),
        )
    }

    /// Keeps what was built there, in place of what there was.
    pub fn keep(&self, built: TempDir) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(failed)?;
        }
        fs::rename(built.keep(), &self.folder).map_err(failed)
    }
}

/// A folder for an engine that is not kept, where its calibration cache has to lie.
pub fn unkept(calibration: Option<&[u8]>) -> Result<Option<TempDir>, String> {
    calibration.map(|text| build_folder(tempfile::tempdir(), Some(text))).transpose()
}

fn build_folder(made: std::io::Result<TempDir>, calibration: Option<&[u8]>) -> Result<TempDir, String> {
    let folder = made.map_err(|error| format!("a folder to build in: {error}"))?;
    if let Some(text) = calibration {
        let path = folder.path().join(CALIBRATION);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(folder)
}

/// Digest of everything that changes an engine.
fn digest(onnx: &[u8], options: &EngineOptions, build: &str) -> String {
    let EngineOptions {
        device,
        precision,
        profile,
        threads: _,
        calibration_cache,
        float_layers,
        strict,
        workspace,
        cache_dir: _,
        plugins,
    } = options;
    let ranges = calibration_cache.as_deref().map(sha256_hex);
    let text = format!(
        "{}\n{ranges:?}\n{device:?} {precision} {profile:?} {float_layers:?} {strict} {workspace:?} {plugins:?}\n{build}\n",
        sha256_hex(onnx)
    );
    sha256_hex(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    #[test]
    fn whatever_changes_an_engine_changes_its_folder() {
        let options = EngineOptions { device: Device::TensorRt(0), ..EngineOptions::default() };
        let mut seen = vec![digest(b"model", &options, "1.27")];
        let changed = [
            EngineOptions { device: Device::TensorRt(1), ..options.clone() },
            EngineOptions { profile: Profile { min: 1, opt: 2, max: 2 }, ..options.clone() },
            EngineOptions { calibration_cache: Some(b"a".into()), ..options.clone() },
            EngineOptions { calibration_cache: Some(b"b".into()), ..options.clone() },
            EngineOptions { workspace: Some(1), ..options.clone() },
        ];
        seen.extend(changed.iter().map(|options| digest(b"model", options, "1.27")));
        seen.push(digest(b"modem", &options, "1.27"));
        seen.push(digest(b"model", &options, "1.28"));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
        let threads = EngineOptions { threads: Some(3), ..options.clone() };
        assert_eq!(digest(b"model", &threads, ""), digest(b"model", &options, ""));
    }
}
