//! The backend that is always there: [tract](https://github.com/sonos/tract), in pure Rust.
//!
//! Float16 layers are computed in single precision and rounded; see [`half`].
//!
//! Plans are made for a fixed batch, which runs fastest; a session keeps one for each batch size it has met.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use oxidet_proto::onnx::ModelProto;
use oxidet_vision::{Network, NetworkError, RawDetections};
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::*;

use super::batches::{Limits, in_batches};
use super::{Backend, Capabilities, Engine, PrepareError, Session, Signature, Unavailable, processor};
use crate::{Artifact, Device, EngineOptions};

const NAME: &str = "cpu";

mod half;
mod selection;

pub use selection::Selection;

/// The `cpu` backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let devices = vec![format!("{} processor cores", processor::cores())];
        Ok(Capabilities { version: "tract 0.23".into(), devices, ..Capabilities::default() })
    }

    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError> {
        if options.device != Device::Cpu {
            return Err(failed(
                "it computes on the processor; --backend onnxruntime and tensorrt use GPUs".into(),
            ));
        }
        processor::computes_what_the_model_says(artifact, options.precision).map_err(failed)?;
        let model = parse(artifact.model()).map_err(failed)?;
        let threads = options.threads.unwrap_or_else(processor::cores);
        let engine = CpuEngine {
            model: Arc::new(model),
            signature: artifact.signature().clone(),
            executor: Executor::multithread(threads),
        };
        // Whether the operators are known and fit shows only in a plan.
        plan(&engine.model, &engine.signature, engine.signature.batch.unwrap_or(1)).map_err(failed)?;
        Ok(Box::new(engine))
    }
}

pub(crate) fn failed(reason: String) -> PrepareError {
    PrepareError { backend: NAME, reason }
}

pub(crate) type Plan = Arc<TypedRunnableModel>;

struct CpuEngine {
    model: Arc<InferenceModel>,
    signature: Signature,
    executor: Executor,
}

impl Engine for CpuEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, PrepareError> {
        Ok(Box::new(CpuSession {
            model: self.model.clone(),
            signature: self.signature.clone(),
            executor: self.executor.clone(),
            plans: BTreeMap::new(),
        }))
    }
}

struct CpuSession {
    model: Arc<InferenceModel>,
    signature: Signature,
    executor: Executor,
    plans: BTreeMap<usize, Plan>,
}

impl Session for CpuSession {}

impl Network for CpuSession {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        let signature = self.signature.clone();
        let limits = Limits::of(&signature, None);
        in_batches(&signature, limits, input, batch, out, |images, batch, out| {
            self.run_batch(images, batch, out)
        })
    }
}

impl CpuSession {
    fn run_batch(&mut self, images: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), String> {
        let Signature { channels, height, width, classes, .. } = self.signature;
        let plan = match self.plans.get(&batch) {
            Some(plan) => plan.clone(),
            None => {
                let made = plan(&self.model, &self.signature, batch)?;
                self.plans.insert(batch, made.clone());
                made
            }
        };
        let tensor =
            Tensor::from_shape(&[batch, channels, height, width], images).map_err(|e| e.to_string())?;
        let executor = self.executor.clone();
        let outputs = guarded(|| multithread_tract_scope(executor, || plan.run(tvec!(tensor.into()))))?;
        let [boxes, scores] = &outputs[..] else {
            return Err(format!("{} outputs instead of boxes and scores", outputs.len()));
        };
        *out = raw_detections(boxes, scores, batch, classes)?;
        Ok(())
    }
}

fn raw_detections(
    boxes: &TValue,
    scores: &TValue,
    batch: usize,
    classes: usize,
) -> Result<RawDetections, String> {
    let mut raw = RawDetections::default();
    raw.set(batch, classes, &values(boxes)?, &values(scores)?).map_err(|error| error.to_string())?;
    Ok(raw)
}

fn values<T: Datum + Copy>(tensor: &TValue) -> Result<Vec<T>, String> {
    let view = tensor.to_plain_array_view::<T>().map_err(|error| error.to_string())?;
    Ok(view.iter().copied().collect())
}

pub(crate) fn parse(model: &ModelProto) -> Result<InferenceModel, String> {
    let bytes = half::widened(model)?.to_bytes();
    guarded(|| onnx().model_for_read(&mut &bytes[..]))
}

pub(crate) fn plan(model: &InferenceModel, signature: &Signature, batch: usize) -> Result<Plan, String> {
    let shape = [batch, signature.channels, signature.height, signature.width];
    guarded(|| model.clone().with_input_fact(0, f32::fact(shape).into())?.into_optimized()?.into_runnable())
}

/// Runs tract. On models it does not expect it can panic; that is the model's fault here, and an error.
pub(crate) fn guarded<T>(run: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("the model makes no sense to it".into()),
    }
}
