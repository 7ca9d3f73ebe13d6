//! The backend that is always there: [tract](https://github.com/sonos/tract), in pure Rust.
//!
//! Float16 layers are computed in single precision and rounded; see [`half`].
//!
//! Plans are made for a fixed batch, which runs fastest; a session keeps one for each batch size it has met.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use oxidet_proto::onnx::ModelProto;
use oxidet_vision::{Network, NetworkError, RawDetections};
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::*;

use oxidet_proto::manifest::Precision;

use super::{Backend, Capabilities, Engine, PrepareError, Session, Signature, Unavailable};
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
        let devices = vec![format!("{} processor cores", cores())];
        Ok(Capabilities { version: "tract 0.23".into(), devices, ..Capabilities::default() })
    }

    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError> {
        refuse_what_is_not_there(artifact, options).map_err(failed)?;
        let model = parse(artifact.model()).map_err(failed)?;
        let threads = options.threads.unwrap_or_else(cores);
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

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// It computes what the model says, on the processor.
fn refuse_what_is_not_there(artifact: &Artifact, options: &EngineOptions) -> Result<(), String> {
    if options.device != Device::Cpu {
        return Err("it computes on the processor only; --backend onnxruntime or tensorrt uses a GPU".into());
    }
    match options.precision {
        Precision::Int8 if !artifact.is_quantized() => {
            Err("it computes in INT8 only models with Q/DQ pairs: \
            oxidet export --target ort --data_type int8 writes one"
                .into())
        }
        Precision::Fp16 if !artifact.is_half() => {
            Err("it computes in half precision only models whose layers are: \
            oxidet export --target ort --data_type fp16 writes one"
                .into())
        }
        _ => Ok(()),
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
        let error = |what: String| NetworkError(what.into());
        let Signature { channels, height, width, classes, .. } = self.signature;
        let len = channels * height * width;
        if batch == 0 || input.len() != batch * len {
            return Err(error(format!(
                "{} values for {batch} images of {channels}x{height}x{width}",
                input.len()
            )));
        }
        if let Some(fixed) = self.signature.batch.filter(|fixed| *fixed != batch) {
            return self.run_fixed(input, batch, fixed, out);
        }
        let plan = match self.plans.get(&batch) {
            Some(plan) => plan.clone(),
            None => {
                let made = plan(&self.model, &self.signature, batch).map_err(error)?;
                self.plans.insert(batch, made.clone());
                made
            }
        };
        let tensor =
            Tensor::from_shape(&[batch, channels, height, width], input).map_err(|e| error(e.to_string()))?;
        let executor = self.executor.clone();
        let result = guarded(|| multithread_tract_scope(executor, || plan.run(tvec!(tensor.into()))));
        let outputs = result.map_err(error)?;
        let [boxes, scores] = &outputs[..] else {
            return Err(error(format!("{} outputs instead of boxes and scores", outputs.len())));
        };
        *out = raw_detections(boxes, scores, batch, classes).map_err(error)?;
        Ok(())
    }
}

impl CpuSession {
    /// Runs a model of a fixed batch on any number of images: in its own batches, the last one filled up with zeros.
    fn run_fixed(
        &mut self,
        input: &[f32],
        batch: usize,
        fixed: usize,
        out: &mut RawDetections,
    ) -> Result<(), NetworkError> {
        let len = input.len() / batch;
        let mut all = RawDetections::default();
        let mut part = RawDetections::default();
        for images in input.chunks(fixed * len) {
            let mut padded = images.to_vec();
            padded.resize(fixed * len, 0.0);
            self.run(&padded, fixed, &mut part)?;
            let real = images.len() / len;
            all.boxes.extend_from_slice(&part.boxes[..real * part.candidates * 4]);
            all.scores.extend_from_slice(&part.scores[..real * part.candidates * part.classes]);
        }
        (all.batch, all.candidates, all.classes) = (batch, part.candidates, part.classes);
        *out = all;
        Ok(())
    }
}

fn raw_detections(
    boxes: &TValue,
    scores: &TValue,
    batch: usize,
    classes: usize,
) -> Result<RawDetections, String> {
    let (boxes, scores) = (values::<f32>(boxes)?, values::<f32>(scores)?);
    let candidates = boxes.len() / (4 * batch);
    if boxes.len() != batch * candidates * 4 || scores.len() != batch * candidates * classes {
        return Err(format!(
            "outputs of {} and {} values are not boxes and scores of {classes} classes",
            boxes.len(),
            scores.len()
        ));
    }
    Ok(RawDetections { batch, candidates, classes, boxes, scores, suppressed: false })
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
