//! Built plans and timings, kept in a folder under a digest of everything that decides them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Version;

/// The files of a digest.
pub(super) struct Slot {
    pub plan: PathBuf,
    /// Shared by all models on this device.
    pub timing: PathBuf,
}

impl Slot {
    pub fn new(folder: &Path, digest: &str, version: Version, gpu: &str) -> Self {
        let gpu: String = gpu.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        Self {
            plan: folder.join(digest).join("model.engine"),
            timing: folder.join(format!("timing_{version}_{gpu}.cache")),
        }
    }

    /// The plan, if there is one.
    pub fn read_plan(&self) -> Result<Option<Vec<u8>>, String> {
        read(&self.plan)
    }

    pub fn read_timing(&self) -> Result<Option<Vec<u8>>, String> {
        read(&self.timing)
    }

    pub fn write_plan(&self, bytes: &[u8]) -> Result<(), String> {
        write(&self.plan, bytes)
    }

    pub fn write_timing(&self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() { Ok(()) } else { write(&self.timing, bytes) }
    }

    /// Puts a plan that does not open out of the way, where it can be looked at. Tells where.
    pub fn set_aside(&self) -> Result<PathBuf, String> {
        let aside = self.plan.with_extension("engine.broken");
        fs::rename(&self.plan, &aside).map_err(|error| format!("{}: {error}", self.plan.display()))?;
        Ok(aside)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    oxidet_files::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
