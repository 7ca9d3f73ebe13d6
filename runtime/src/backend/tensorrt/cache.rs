//! Built plans and timings, kept in a folder under a digest of everything that decides them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Version;
use crate::EngineOptions;

/// Changes when what is kept, or how it is built, does.
const FORMAT: u32 = 1;

/// 16 hexadecimal digits of everything that decides a plan.
pub(super) fn digest(
    onnx: &[u8],
    options: &EngineOptions,
    version: Version,
    gpu: &str,
) -> Result<String, String> {
    // Named one by one: what is added to the options must be decided on here.
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
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(format!("{FORMAT} {version} {gpu}").as_bytes());
    part(format!("{device:?} {precision:?} {profile:?} {float_layers:?} {strict} {workspace:?}").as_bytes());
    part(onnx);
    part(calibration_cache.as_deref().unwrap_or_default());
    for path in plugins {
        part(&fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

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

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error: io::Error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Profile};
    use oxidet_proto::manifest::Precision;

    #[test]
    fn everything_that_decides_a_plan_is_in_its_digest() {
        let version = Version { major: 10, minor: 3, patch: 0 };
        let plain = EngineOptions { device: Device::TensorRt(0), ..EngineOptions::default() };
        let dir = tempfile::tempdir().unwrap();
        let plugin = dir.path().join("plugin.so");
        fs::write(&plugin, "a").unwrap();
        let mut all = vec![
            digest(b"onnx", &plain, version, "Orin (sm_87)"),
            digest(b"onny", &plain, version, "Orin (sm_87)"),
            digest(b"onnx", &plain, Version { patch: 1, ..version }, "Orin (sm_87)"),
            digest(b"onnx", &plain, version, "Thor (sm_110)"),
        ];
        let changes: [&dyn Fn(&mut EngineOptions); 8] = [
            &|options| options.device = Device::Dla(0),
            &|options| options.precision = Precision::Fp16,
            &|options| options.profile = Profile { min: 1, opt: 1, max: 2 },
            &|options| options.calibration_cache = Some(b"TRT".to_vec()),
            &|options| options.float_layers = ["conv".to_owned()].into(),
            &|options| options.strict = true,
            &|options| options.workspace = Some(1),
            &|options| options.plugins = vec![plugin.clone()],
        ];
        for change in changes {
            let mut options = plain.clone();
            change(&mut options);
            all.push(digest(b"onnx", &options, version, "Orin (sm_87)"));
        }
        fs::write(&plugin, "b").unwrap();
        let with_plugin = EngineOptions { plugins: vec![plugin], ..plain.clone() };
        all.push(digest(b"onnx", &with_plugin, version, "Orin (sm_87)"));
        let mut digests: Vec<String> = all.into_iter().map(Result::unwrap).collect();
        assert!(digests.iter().all(|digest| digest.len() == 16));
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
        // Where it is kept, and how many threads the processor has, decide nothing.
        let elsewhere = EngineOptions { threads: Some(3), cache_dir: Some("x".into()), ..plain.clone() };
        assert_eq!(
            digest(b"onnx", &elsewhere, version, "Orin (sm_87)"),
            digest(b"onnx", &plain, version, "Orin (sm_87)")
        );
    }
}
