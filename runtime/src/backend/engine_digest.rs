//! What decides a built engine: engines are kept under its digest, so that none is taken for that of another model.

use std::fs;

use sha2::{Digest, Sha256};

use crate::EngineOptions;

/// Changes when what is kept, or how it is built, does.
const FORMAT: u32 = 1;

/// 16 hexadecimal digits of everything that decides a plan.
///
/// `builder` is what builds, in words: versions, and the GPU where it is known.
///
/// # Errors
/// When a plugin cannot be read.
pub fn digest(onnx: &[u8], options: &EngineOptions, builder: &str) -> Result<String, String> {
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
        trusts_engine: _,
    } = options;
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(format!("{FORMAT} {builder}").as_bytes());
    part(format!("{device:?} {precision:?} {profile:?} {float_layers:?} {strict} {workspace:?}").as_bytes());
    part(onnx);
    part(calibration_cache.as_deref().unwrap_or_default());
    for path in plugins {
        part(&fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Profile};
    use oxidet_proto::manifest::Precision;

    #[test]
    fn everything_that_decides_a_plan_is_in_its_digest() {
        let plain = EngineOptions { device: Device::TensorRt(0), ..EngineOptions::default() };
        let dir = tempfile::tempdir().unwrap();
        let plugin = dir.path().join("plugin.so");
        fs::write(&plugin, "a").unwrap();
        let mut all = vec![
            digest(b"onnx", &plain, "10.3.0 Orin (sm_87)"),
            digest(b"onny", &plain, "10.3.0 Orin (sm_87)"),
            digest(b"onnx", &plain, "10.3.1 Orin (sm_87)"),
            digest(b"onnx", &plain, "10.3.0 Thor (sm_110)"),
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
            all.push(digest(b"onnx", &options, "10.3.0 Orin (sm_87)"));
        }
        fs::write(&plugin, "b").unwrap();
        let with_plugin = EngineOptions { plugins: vec![plugin], ..plain.clone() };
        all.push(digest(b"onnx", &with_plugin, "10.3.0 Orin (sm_87)"));
        let mut digests: Vec<String> = all.into_iter().map(Result::unwrap).collect();
        assert!(digests.iter().all(|digest| digest.len() == 16));
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
        // Where it is kept, and how many threads the processor has, decide nothing.
        let elsewhere = EngineOptions { threads: Some(3), cache_dir: Some("x".into()), ..plain.clone() };
        assert_eq!(
            digest(b"onnx", &elsewhere, "10.3.0 Orin (sm_87)"),
            digest(b"onnx", &plain, "10.3.0 Orin (sm_87)")
        );
    }
}
