//! A model behind the border.

use std::ffi::{CString, c_char};
use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::container::Passphrase;
use oxidet_runtime::{
    ArtifactError, Backend, Cpu, Device, EngineOptions, EngineRecord, LoadError, Model, OnnxRuntime, TensorRt,
};
use oxidet_vision::{Detection, Picture, PxBox};

use crate::status::Failed;
use crate::text;

const TENSORRT: &str = "tensorrt";

/// `oxidet_options`
#[repr(C)]
pub struct Options {
    backend: *const c_char,
    device: *const c_char,
    device_index: u32,
    threads: u32,
    key: *const c_char,
    ort_library: *const c_char,
    engine_cache: *const c_char,
}

/// An open model.
pub struct Detector {
    model: Model,
    /// Class names by id.
    pub names: Vec<CString>,
}

/// Options as the runtime knows them.
struct Asked {
    backend: Box<dyn Backend>,
    engine: EngineOptions,
    passphrase: Option<Passphrase>,
}

impl Asked {
    /// # Safety
    /// The texts of `options` are null or texts.
    unsafe fn read(options: Option<&Options>) -> Result<Self, Failed> {
        let Some(options) = options else {
            return Ok(Self { backend: Box::new(Cpu), engine: EngineOptions::default(), passphrase: None });
        };
        // SAFETY: the caller's promise.
        let (backend, device, key, library, cache) = unsafe {
            (
                text(options.backend)?,
                text(options.device)?,
                text(options.key)?,
                text(options.ort_library)?,
                text(options.engine_cache)?,
            )
        };
        let backend: Box<dyn Backend> = match backend {
            None | Some("cpu") => Box::new(Cpu),
            Some("onnxruntime") => Box::new(OnnxRuntime::new(library.map(PathBuf::from))),
            Some(TENSORRT) => Box::new(TensorRt::new()),
            Some(other) => {
                return Err(Failed::usage(format!(
                    "there is no backend {other:?}: cpu, onnxruntime, tensorrt"
                )));
            }
        };
        let device = match device {
            None if backend.name() == TENSORRT => Device::TensorRt(options.device_index),
            None | Some("cpu") => Device::Cpu,
            Some("cuda") => Device::Cuda(options.device_index),
            Some("tensorrt") => Device::TensorRt(options.device_index),
            Some(other) => {
                return Err(Failed::usage(format!("there is no device {other:?}: cpu, cuda, tensorrt")));
            }
        };
        let engine = EngineOptions {
            device,
            threads: (options.threads > 0).then_some(options.threads as usize),
            cache_dir: cache.map(PathBuf::from),
            ..EngineOptions::default()
        };
        let passphrase = key.filter(|key| !key.is_empty()).map(|key| Passphrase::new(key.to_owned()));
        let passphrase = passphrase.transpose().map_err(|error| Failed::usage(error.to_string()))?;
        Ok(Self { backend, engine, passphrase })
    }
}

impl Detector {
    /// Opens a model.
    ///
    /// # Safety
    /// The texts of `options` are null or texts.
    pub unsafe fn open(path: &str, options: Option<&Options>) -> Result<Self, Failed> {
        // SAFETY: the caller's promise.
        let Asked { mut backend, mut engine, passphrase } = unsafe { Asked::read(options)? };
        if EngineRecord::is_engine(Path::new(path)) && engine.device == Device::Cpu {
            // What runs engines, and no other does.
            (backend, engine.device) = (Box::new(TensorRt::new()), Device::TensorRt(0));
        }
        let bytes = fs::read(path).map_err(|error| Failed::data(format!("{path}: {error}")))?;
        backend.probe_device(engine.device).map_err(|error| Failed::environment(error.to_string()))?;
        let opened = if EngineRecord::is_engine(Path::new(path)) {
            Model::load_engine(&bytes, &record(path)?, &TensorRt::new(), &engine)
        } else {
            Model::load(&bytes, passphrase.as_ref(), &*backend, &engine)
        };
        let model = opened.map_err(|error| {
            let text = format!("{path}: {error}");
            match error {
                LoadError::Artifact(ArtifactError::NeedsKey) => Failed::usage(text),
                _ => Failed::data(text),
            }
        })?;
        let names = model.classes.iter().map(|name| CString::new(name.replace('\0', "")).unwrap_or_default());
        Ok(Self { names: names.collect(), model })
    }

    /// Detects in one image.
    pub fn detect(&mut self, picture: &Picture, threshold: f32) -> Result<Vec<Detection<PxBox>>, Failed> {
        self.model.detect(picture, threshold).map_err(|error| Failed::data(error.to_string()))
    }
}

/// What lies beside an engine.
fn record(engine: &str) -> Result<EngineRecord, Failed> {
    let path = EngineRecord::path(Path::new(engine));
    let name = path.to_string_lossy();
    let text = fs::read_to_string(&path).map_err(|error| {
        Failed::data(format!(
            "{name}: {error}; oxidet gen_trt_engine writes this file beside the engines that it builds"
        ))
    })?;
    EngineRecord::parse(&name, &text).map_err(|error| Failed::data(error.to_string()))
}
