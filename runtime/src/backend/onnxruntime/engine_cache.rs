//! Folders for built engines, one for everything that an engine depends on.
//!
//! The names that ONNX Runtime gives engines depend on the name of the model and of its tensors, not on weights, ranges or sizes: after
//! retraining it would run the old engine without a word (onnxruntime issues 6455, 32254). So each digest of it all has a folder.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Library;
use super::providers::CALIBRATION;
use crate::backend::build_folder::build_folder;
use crate::backend::engine_digest::digest;
use crate::{Device, EngineOptions};

/// Where the engine of one model, as it is to be built, is kept.
pub struct EngineCache {
    parent: PathBuf,
    folder: PathBuf,
    calibration: Option<Vec<u8>>,
}

impl EngineCache {
    /// The place below `options.cache_dir`; none where no engine is built or none is to be kept.
    ///
    /// # Errors
    /// When a plugin cannot be read.
    pub fn of(onnx: &[u8], options: &EngineOptions, library: &Library) -> Result<Option<Self>, String> {
        let Some(parent) = options.cache_dir.clone() else { return Ok(None) };
        if !matches!(options.device, Device::TensorRt(_) | Device::Dla(_)) {
            return Ok(None);
        }
        let digest = digest(onnx, options, library.build_info())?;
        let folder = parent.join(format!("onnxruntime-{digest}"));
        Ok(Some(Self { parent, folder, calibration: options.calibration_cache.clone() }))
    }

    /// The folder, if there is an engine in it.
    pub fn existing(&self) -> Option<&Path> {
        self.folder.is_dir().then_some(&*self.folder)
    }

    /// An empty folder to build into.
    pub fn temporary(&self) -> Result<TempDir, String> {
        fs::create_dir_all(&self.parent).map_err(|error| format!("{}: {error}", self.parent.display()))?;
        folder_with(Some(&self.parent), self.calibration.as_deref())
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
    calibration.map(|text| folder_with(None, Some(text))).transpose()
}

/// A folder to build in, with the calibration cache that is to lie in it.
pub fn folder_with(parent: Option<&Path>, calibration: Option<&[u8]>) -> Result<TempDir, String> {
    let folder = build_folder(parent).map_err(|error| format!("a folder to build in: {error}"))?;
    if let Some(text) = calibration {
        let path = folder.path().join(CALIBRATION);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(folder)
}
