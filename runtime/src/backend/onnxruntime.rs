//! The `onnxruntime` backend: ONNX Runtime through a shared library that is opened at run time, on the processor, with CUDA or
//! with TensorRT.
//!
//! What is asked for is registered alone, and a provider that cannot be registered is an error: left to itself, ONNX Runtime
//! computes on the processor instead.

mod engine_cache;
mod library;
mod providers;
mod session;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use engine_cache::{EngineCache, folder_with, unkept};
use ort::session::Session as OrtSession;
use ort::session::builder::GraphOptimizationLevel;
use oxidet_proto::manifest::Precision;
use oxidet_proto::onnx::{self, ModelProto};
use session::OrtRunner;
use tempfile::TempDir;

use super::{Backend, Capabilities, Engine, PrepareError, Session, Signature, Unavailable, processor};
use crate::{Artifact, Device, EngineOptions, Profile};

pub use library::Library;

const NAME: &str = "onnxruntime";

/// Name of a model that holds its engine, in the folder it is built in.
const CONTEXT_MODEL: &str = "context.onnx";

/// The `onnxruntime` backend.
#[derive(Clone, Debug, Default)]
pub struct OnnxRuntime {
    library: Option<PathBuf>,
}

impl OnnxRuntime {
    /// With the library at `path`; without one, with the one that is found: see [`Library::open`].
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { library }
    }

    /// Builds an engine of TensorRT, a plan as other programs of TensorRT read it; its outputs are boxes and scores.
    ///
    /// # Errors
    /// As [`Backend::prepare`].
    pub fn build_plan(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Vec<u8>, PrepareError> {
        self.build_file(artifact, options, Purpose::Plan).map_err(failed)
    }

    /// The same, as an ONNX model with the engine in its one node (`EPContext`), which describes itself as the model did.
    ///
    /// # Errors
    /// As [`Backend::prepare`].
    pub fn build_context_model(
        &self,
        artifact: &Artifact,
        options: &EngineOptions,
    ) -> Result<Vec<u8>, PrepareError> {
        let built = self.build_file(artifact, options, Purpose::ContextModel).map_err(failed)?;
        describe(&built, artifact.model()).map_err(failed)
    }

    fn open(&self) -> Result<Library, String> {
        Library::open(self.library.as_deref())
    }

    fn engine(
        &self,
        artifact: &Artifact,
        options: &EngineOptions,
        purpose: Purpose,
    ) -> Result<OrtEngine, String> {
        check(artifact, options)?;
        let library = self.open()?;
        let onnx = artifact.model().to_bytes();
        let cache = EngineCache::of(&onnx, options, &library)?;
        Ok(OrtEngine {
            library,
            onnx,
            signature: artifact.signature().clone(),
            input: artifact.input().to_owned(),
            is_quantized: artifact.is_quantized(),
            is_half: artifact.is_half(),
            options: options.clone(),
            cache,
            purpose,
            first: Mutex::new(None),
        })
    }

    /// Builds in a folder of its own, and reads the engine that is in it then.
    fn build_file(
        &self,
        artifact: &Artifact,
        options: &EngineOptions,
        purpose: Purpose,
    ) -> Result<Vec<u8>, String> {
        let engine = self.engine(artifact, options, purpose)?;
        if !engine.builds_engine() {
            return Err("it builds engines for an NVIDIA GPU or DLA; choose such a device".into());
        }
        let folder = folder_with(None, options.calibration_cache.as_deref())?;
        drop(engine.build_in(Some(folder.path()))?);
        read_built(folder.path(), purpose)
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let library = self.open().map_err(|missing| Unavailable { backend: NAME, missing })?;
        let mut capabilities = Capabilities {
            version: format!("ONNX Runtime {}", library.version()),
            library: Some(library.path().to_owned()),
            devices: vec![format!("{} processor cores", processor::cores())],
            missing: Vec::new(),
        };
        for (title, device) in [("CUDA", Device::Cuda(0)), ("TensorRT", Device::TensorRt(0))] {
            match providers::try_out(&library, device) {
                Ok(()) => capabilities.devices.push(format!("GPU 0 through {title}")),
                Err(missing) => capabilities.missing.push(missing),
            }
        }
        Ok(capabilities)
    }

    fn probe_device(&self, device: Device) -> Result<(), Unavailable> {
        let tried = self.open().and_then(|library| providers::try_out(&library, device));
        tried.map_err(|missing| Unavailable { backend: NAME, missing })
    }

    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError> {
        let engine = self.engine(artifact, options, Purpose::Run).map_err(failed)?;
        let first = engine.build().map_err(failed)?;
        *engine.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(Box::new(engine))
    }
}

fn failed(reason: String) -> PrepareError {
    PrepareError { backend: NAME, reason }
}

/// The one engine in a folder, or the model that holds it.
fn read_built(folder: &Path, purpose: Purpose) -> Result<Vec<u8>, String> {
    let is_built = |path: &Path| match purpose {
        Purpose::ContextModel => path.file_name().is_some_and(|file| file == CONTEXT_MODEL),
        Purpose::Run | Purpose::Plan => path.extension().is_some_and(|extension| extension == "engine"),
    };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| format!("{}: {error}", folder.display()))?;
    let built: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(|path| is_built(path)).collect();
    match &built[..] {
        [path] => fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
        [] => Err("it built no engine".into()),
        _ => Err("it built more than one engine: TensorRT does not take the whole network".into()),
    }
}

/// A model with an engine in it, which says what the model it was built of says about itself, but for a network that it does not have.
fn describe(built: &[u8], model: &ModelProto) -> Result<Vec<u8>, String> {
    let mut built = onnx::decode(built).map_err(|error| format!("it built no ONNX model: {error}"))?;
    let entries = model.metadata_props.iter().filter(|entry| entry.key != "network");
    built.metadata_props = entries.cloned().collect();
    Ok(built.to_bytes())
}

fn check(artifact: &Artifact, options: &EngineOptions) -> Result<(), String> {
    let on_tensorrt = matches!(options.device, Device::TensorRt(_) | Device::Dla(_));
    if on_tensorrt && artifact.holds_engine() && !options.trusts_engine {
        return Err("the model holds an engine (EPContext), and opening an engine runs code: --trust-engine, if you know where it is from"
            .into());
    }
    if !on_tensorrt {
        processor::computes_what_the_model_says(artifact, options.precision)?;
    }
    let has_cache = options.calibration_cache.is_some();
    if artifact.is_quantized() && has_cache {
        return Err(
            "the model has Q/DQ pairs, and with them no calibration cache is read; leave one of the two out"
                .into(),
        );
    }
    if on_tensorrt && options.precision == Precision::Int8 && !artifact.is_quantized() && !has_cache {
        return Err("INT8 needs ranges: a calibration cache (--cal_cache_file), or a model with Q/DQ pairs \
                    (oxidet export --data_type int8 --target trt10)"
            .into());
    }
    if on_tensorrt && !options.float_layers.is_empty() {
        return Err("ONNX Runtime cannot leave single layers in floating point when it builds an engine; calibrate with --fp16_layers and \
                    export a model with Q/DQ pairs, or build with --builder tensorrt"
            .into());
    }
    Ok(())
}

/// What a session is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Run,
    /// The engine that is in the folder then.
    Plan,
    /// The model with that engine in it.
    ContextModel,
}

struct OrtEngine {
    library: Library,
    onnx: Vec<u8>,
    signature: Signature,
    input: String,
    is_quantized: bool,
    is_half: bool,
    options: EngineOptions,
    cache: Option<EngineCache>,
    purpose: Purpose,
    /// Made to see that the model is understood; the first who asks gets it.
    first: Mutex<Option<OrtSession>>,
}

impl OrtEngine {
    /// Batches that the engine is built for, where one is built.
    fn profile(&self) -> Option<Profile> {
        self.builds_engine().then_some(self.options.profile)
    }

    fn builds_engine(&self) -> bool {
        matches!(self.options.device, Device::TensorRt(_) | Device::Dla(_))
    }

    /// Makes a session: with the engine that was kept, or builds one and keeps it. One that does not load is built again.
    fn build(&self) -> Result<OrtSession, String> {
        let Some(cache) = &self.cache else {
            let folder = unkept(self.options.calibration_cache.as_deref())?;
            return self.build_in(folder.as_ref().map(TempDir::path));
        };
        if let Some(session) = cache.existing().and_then(|folder| self.build_in(Some(folder)).ok()) {
            return Ok(session);
        }
        let folder = cache.temporary()?;
        let session = self.build_in(Some(folder.path()))?;
        cache.keep(folder)?;
        Ok(session)
    }

    fn build_in(&self, folder: Option<&Path>) -> Result<OrtSession, String> {
        let build = || -> Result<OrtSession, ort::Error> {
            let mut builder = OrtSession::builder(self.library.environment())?
                .with_execution_providers(providers::of(self, folder))?
                .with_intra_threads(self.options.threads.unwrap_or_else(processor::cores))?
                // Threads that wait by spinning take the cores from decoding and suppression.
                .with_intra_op_spinning(false)?
                .with_optimization_level(self.optimization())?;
            if self.builds_engine() {
                // The whole network is one engine; a part on the processor would be a silent loss.
                builder = builder.with_disable_cpu_fallback()?;
            }
            builder.commit_from_memory(&self.onnx)
        };
        build().map_err(|error| providers::reason(&error))
    }

    /// A native calibration table names tensors, which optimised graphs lose.
    fn optimization(&self) -> GraphOptimizationLevel {
        if self.options.calibration_cache.is_some() {
            GraphOptimizationLevel::Disable
        } else {
            GraphOptimizationLevel::All
        }
    }
}

impl Engine for OrtEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, PrepareError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = match first {
            Some(session) => session,
            None => self.build().map_err(failed)?,
        };
        Ok(Box::new(OrtRunner::new(session, self)))
    }
}
