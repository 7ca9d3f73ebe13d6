//! The `tensorrt` backend: NVIDIA's TensorRT itself, through a small C++ library that is compiled on the device.
//!
//! TensorRT's interface is C++ whose virtual tables change with every major version. So `runtime/shim/oxidet_trt.cpp` wraps it in C
//! functions, [`build_shim`] compiles it against the headers installed, and [`TensorRt`] opens it when it is needed. Nothing of NVIDIA's
//! is needed to build this program. Device memory and streams are CUDA's driver's ([`Cuda`]), opened at run time as well.
//!
//! What is asked for and cannot be had is an error: half precision or INT8 that the device, the model or the version does not have,
//! layers that do not exist, an accelerator that is not there.

mod abi;
mod build;
mod cache;
mod cuda;
mod device;
mod engine;
mod library;
mod outputs;
mod plan;
mod request;
mod shim;
mod trtexec;
mod version;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use oxidet_graph::onnx::NmsTail;
use oxidet_proto::onnx::{self, NodeProto};

pub use self::build::{Progress, ProgressListener};
pub use self::cuda::Cuda;
pub use self::device::{Buffer, Gpu, Gpus, Queue, Recording};
pub use self::engine::PlanFacts;
pub use self::library::{LogListener, Severity, data_folder, shim_file_name, shim_places};
pub use self::plan::{Numbers, Tensor};
pub use self::shim::{BuiltShim, Compiler, Headers, SHIM_SOURCES, ShimBuild, ShimError, build_shim};
pub use self::trtexec::TrtExec;
pub use self::version::Version;

use self::build::{Failure, Layer, Made, Source};
use self::cache::Slot;
use self::engine::TensorRtEngine;
use self::library::Library;
use self::plan::Plan;
use self::request::{Model, Request};
use super::engine_digest::digest;
use super::{Backend, Capabilities, Engine, PrepareError, Unavailable};
use crate::{Artifact, BuiltWith, Device, EngineOptions};

const NAME: &str = "tensorrt";

/// The `tensorrt` backend.
#[derive(Clone)]
pub struct TensorRt {
    shim: Option<PathBuf>,
    gpus: Arc<dyn Gpus>,
}

impl Default for TensorRt {
    fn default() -> Self {
        Self::new()
    }
}

/// A model that did not become a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// TensorRT, its shim or a GPU is missing.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The listener stopped it.
    #[error("the build was cancelled")]
    Cancelled,
    /// The model or the options.
    #[error(transparent)]
    Failed(#[from] PrepareError),
}

/// A plan, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The `.engine` file: as trtexec, DeepStream and Triton read it.
    pub plan: Vec<u8>,
    /// TensorRT that built it.
    pub version: Version,
    /// The GPU it was built on, where that is told: `Orin (sm_87)`.
    pub gpu: Option<String>,
}

/// What a plan is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanDescription {
    /// TensorRT that opened it.
    pub version: Version,
    /// The GPU it was opened on.
    pub gpu: String,
    /// Inputs and outputs.
    pub tensors: Vec<Tensor>,
    /// Layers as TensorRT describes them, in JSON.
    pub layers: String,
}

impl TensorRt {
    /// With the shim where it is usually found ([`shim_places`]), on CUDA's GPUs.
    pub fn new() -> Self {
        Self { shim: None, gpus: Arc::new(Cuda) }
    }

    /// With a certain shim.
    #[must_use]
    pub fn with_shim(self, shim: impl Into<PathBuf>) -> Self {
        Self { shim: Some(shim.into()), ..self }
    }

    /// On other GPUs than CUDA's: for tests.
    #[must_use]
    pub fn with_gpus(self, gpus: impl Gpus + 'static) -> Self {
        Self { gpus: Arc::new(gpus), ..self }
    }

    /// Opens the shim and tells the version of TensorRT that runs.
    ///
    /// # Errors
    /// What is missing.
    pub fn version(&self) -> Result<Version, Unavailable> {
        Ok(self.library()?.version)
    }

    /// What TensorRT says from now on goes there. There is one listener in a process.
    ///
    /// # Errors
    /// What is missing.
    pub fn on_log(&self, listener: LogListener) -> Result<(), Unavailable> {
        self.library()?.listen(listener);
        Ok(())
    }

    /// Builds a plan of an ONNX file, suppression node and all. With `options.cache_dir` the timings are kept there for the next
    /// build; the plan itself is for the caller to keep.
    ///
    /// # Errors
    /// [`BuildError`]
    pub fn build(
        &self,
        onnx: &[u8],
        options: &EngineOptions,
        progress: &mut ProgressListener<'_>,
    ) -> Result<Built, BuildError> {
        let (_, model, layers) = model_of_file(onnx)?;
        let (library, gpu) = self.start(options.device)?;
        let slot =
            options.cache_dir.as_deref().map(|folder| Slot::new(folder, "", library.version, gpu.name()));
        let Made { plan, .. } = make(&library, onnx, layers, model, options, slot.as_ref(), progress)?;
        Ok(Built { plan, version: library.version, gpu: Some(gpu.name().to_owned()) })
    }

    /// Opens a plan: an `.engine` file of [`build`](Self::build), trtexec, TAO Deploy or DeepStream. A plan holds code; open only
    /// those you trust.
    ///
    /// # Errors
    /// When something is missing; when the plan is of another version or GPU; when it is not that of a detector with these classes.
    pub fn load(
        &self,
        plan: &[u8],
        facts: &PlanFacts,
        options: &EngineOptions,
    ) -> Result<Box<dyn Engine>, PrepareError> {
        let Opened { gpu, plan, .. } = self.opened(plan, facts.built.as_ref(), options)?;
        Ok(Box::new(TensorRtEngine::new(plan, gpu, facts, None).map_err(failed)?))
    }

    /// Opens a plan and tells what is in it.
    ///
    /// # Errors
    /// As [`load`](Self::load), for any plan.
    pub fn describe(&self, plan: &[u8], options: &EngineOptions) -> Result<PlanDescription, PrepareError> {
        let Opened { library, gpu, plan } = self.opened(plan, None, options)?;
        let layers = plan.inspect().map_err(failed)?;
        Ok(PlanDescription {
            version: library.version,
            gpu: gpu.name().to_owned(),
            tensors: plan.tensors.clone(),
            layers,
        })
    }

    /// As [`Backend::prepare`], and hears what the builder does and what happens to the cache of plans.
    ///
    /// # Errors
    /// [`BuildError`]
    pub fn prepare_with(
        &self,
        artifact: &Artifact,
        options: &EngineOptions,
        progress: &mut ProgressListener<'_>,
    ) -> Result<Prepared, BuildError> {
        let (library, gpu) = self.start(options.device)?;
        // The outputs are raw, whatever node the file had: what suppresses is ours.
        let onnx = artifact.model().to_bytes();
        let graph = artifact.model().graph.as_ref();
        let layers = graph.iter().flat_map(|graph| &graph.node).map(layer).collect();
        let outputs: Vec<&str> =
            graph.iter().flat_map(|graph| &graph.output).map(|output| output.name.as_str()).collect();
        let &[boxes, scores] = &outputs[..] else {
            return Err(failed("it does not have two outputs, boxes and scores".into()).into());
        };
        let facts = PlanFacts { classes: artifact.signature().classes, suppression: None, built: None };
        let slot = match &options.cache_dir {
            None => None,
            Some(folder) => {
                let builder = format!("TensorRT {} {}", library.version, gpu.name());
                let digest = digest(&onnx, options, &builder).map_err(failed)?;
                Some(Slot::new(folder, &digest, library.version, gpu.name()))
            }
        };
        let engine = |plan: &[u8]| {
            let plan = open(&library, gpu.as_ref(), plan, options.device)?;
            TensorRtEngine::new(plan, gpu.clone(), &facts, Some([boxes, scores]))
        };
        let mut set_aside = None;
        if let Some(slot) = &slot
            && let Some(plan) = slot.read_plan().map_err(failed)?
        {
            library.load_plugins(&options.plugins).map_err(failed)?;
            match engine(&plan) {
                Ok(engine) => {
                    return Ok(Prepared { engine: Box::new(engine), built: false, set_aside: None });
                }
                Err(why) => set_aside = Some((slot.set_aside().map_err(failed)?, why)),
            }
        }
        let built = make(&library, &onnx, layers, model(artifact), options, slot.as_ref(), progress)?;
        let engine = engine(&built.plan).map_err(failed)?;
        if let Some(slot) = &slot {
            slot.write_plan(&built.plan).map_err(failed)?;
        }
        Ok(Prepared { engine: Box::new(engine), built: true, set_aside })
    }

    fn library(&self) -> Result<Arc<Library>, Unavailable> {
        if !cfg!(target_os = "linux") {
            return Err(missing("its shim is made for Linux".into()));
        }
        Library::find(self.shim.as_deref()).map_err(missing)
    }

    /// The shim, and the GPU of a device, bound to this thread.
    fn start(&self, device: Device) -> Result<(Arc<Library>, Arc<dyn Gpu>), BuildError> {
        let ordinal = ordinal(device)?;
        let library = self.library()?;
        let gpu = self.gpus.open(ordinal).map_err(missing)?;
        gpu.bind().map_err(missing)?;
        Ok((library, gpu))
    }

    fn opened(
        &self,
        plan: &[u8],
        built: Option<&BuiltWith>,
        options: &EngineOptions,
    ) -> Result<Opened, PrepareError> {
        let (library, gpu) = self.start(options.device).map_err(flat)?;
        if let Some(built) = built {
            built.check(&library.version.to_string(), gpu.name()).map_err(failed)?;
        }
        library.load_plugins(&options.plugins).map_err(failed)?;
        let plan = open(&library, gpu.as_ref(), plan, options.device).map_err(failed)?;
        Ok(Opened { library, gpu, plan })
    }
}

/// An open plan, and what it is open with.
struct Opened {
    library: Arc<Library>,
    gpu: Arc<dyn Gpu>,
    plan: Arc<Plan>,
}

/// An engine, and how it came to be.
pub struct Prepared {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Whether it was built now, and not found in the cache.
    pub built: bool,
    /// A plan in the cache that did not open: where it lies now, and why it did not.
    pub set_aside: Option<(PathBuf, String)>,
}

impl Backend for TensorRt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        // All that is missing at once, rather than one after the other.
        match (self.library(), self.gpus.names()) {
            (Ok(library), Ok(devices)) => Ok(Capabilities {
                version: format!("TensorRT {}", library.version),
                library: Some(library.path.clone()),
                devices,
                missing: Vec::new(),
            }),
            (Err(one), Err(other)) => Err(missing(format!("{}; {other}", one.missing))),
            (Err(error), Ok(_)) => Err(error),
            (Ok(_), Err(error)) => Err(missing(error)),
        }
    }

    fn probe_device(&self, device: Device) -> Result<(), Unavailable> {
        let ordinal = ordinal(device).map_err(|error| missing(error.reason))?;
        self.probe()?;
        self.gpus.open(ordinal).map(drop).map_err(missing)
    }

    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError> {
        let prepared = self.prepare_with(artifact, options, &mut |_| ControlFlow::Continue(()));
        prepared.map(|prepared| prepared.engine).map_err(flat)
    }
}

/// Builds a model, with the timings of former builds.
fn make(
    library: &Library,
    onnx: &[u8],
    layers: Vec<Layer>,
    model: Model,
    options: &EngineOptions,
    slot: Option<&Slot>,
    progress: &mut ProgressListener<'_>,
) -> Result<Made, BuildError> {
    let request = Request::new(model, options, library.version).map_err(failed)?;
    library.load_plugins(&options.plugins).map_err(failed)?;
    let timing = slot.map(Slot::read_timing).transpose().map_err(failed)?.flatten();
    let source = Source {
        onnx,
        layers,
        workspace: options.workspace,
        float_layers: options.float_layers.iter().cloned().collect(),
        timing,
    };
    let built = library.build(&source, &request, progress).map_err(|failure| match failure {
        Failure::Cancelled => BuildError::Cancelled,
        Failure::Failed(why) => BuildError::Failed(failed(format!("{why} (TensorRT {})", library.version))),
    })?;
    if let Some(slot) = slot {
        slot.write_timing(&built.timing).map_err(failed)?;
    }
    Ok(built)
}

fn open(library: &Arc<Library>, gpu: &dyn Gpu, plan: &[u8], device: Device) -> Result<Arc<Plan>, String> {
    Plan::open(library.clone(), plan, dla_core(device)).map_err(|why| {
        format!(
            "{why}. This is TensorRT {} on {}; a plan runs with the version and the kind of GPU it was built with",
            library.version,
            gpu.name()
        )
    })
}

/// The GPU of a device; accelerators belong to the first.
fn ordinal(device: Device) -> Result<u32, PrepareError> {
    match device {
        Device::TensorRt(ordinal) => Ok(ordinal),
        Device::Dla(_) => Ok(0),
        Device::Cpu | Device::Cuda(_) => {
            Err(failed("it computes with TensorRT on an NVIDIA GPU or DLA; choose such a device".into()))
        }
    }
}

fn dla_core(device: Device) -> Option<u32> {
    match device {
        Device::Dla(core) => Some(core),
        _ => None,
    }
}

/// A model with its suppression node, as it is built into a plan.
fn model_of_file(onnx: &[u8]) -> Result<(Artifact, Model, Vec<Layer>), PrepareError> {
    let artifact = Artifact::load(onnx, None).map_err(|error| failed(error.to_string()))?;
    let graph = onnx::decode(onnx).map_err(|error| failed(error.to_string()))?.graph.unwrap_or_default();
    let layers = graph.node.iter().map(layer).collect();
    let suppression = artifact.suppression().map(|suppression| suppression.tail);
    let model = Model { batched: suppression == Some(NmsTail::Batched), ..model(&artifact) };
    Ok((artifact, model, layers))
}

fn layer(node: &NodeProto) -> Layer {
    Layer { name: node.name.clone(), operator: node.op_type.clone() }
}

fn model(artifact: &Artifact) -> Model {
    Model {
        quantized: artifact.is_quantized(),
        half: artifact.is_half(),
        batched: false,
        batch: artifact.signature().batch,
    }
}

fn failed(reason: String) -> PrepareError {
    PrepareError { backend: NAME, reason }
}

fn missing(missing: String) -> Unavailable {
    Unavailable { backend: NAME, missing }
}

/// As what only prepares has it.
fn flat(error: BuildError) -> PrepareError {
    match error {
        BuildError::Failed(error) => error,
        BuildError::Unavailable(error) => failed(error.missing),
        BuildError::Cancelled => failed("the build was cancelled".into()),
    }
}

/// Where TensorRT's shim would be put by [`build_shim`] if no folder is named.
pub fn default_shim_path() -> Option<PathBuf> {
    Some(data_folder()?.join(shim_file_name()))
}
