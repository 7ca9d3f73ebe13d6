//! Models that are run by their nodes, with tract.
//!
//! A plan is made for one image, or for the batch that the model fixes; a batch of as many as there are threads runs one on each. Float16 layers
//! are computed in single precision and rounded; see [`half`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Arc;

use oxidet_proto::onnx::ModelProto;
use oxidet_vision::{Network, NetworkError, RawDetections};
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::*;

use super::half;
use crate::backend::batches::{Limits, side_by_side};
use crate::backend::{Engine, PrepareError, Session, Signature};
use crate::{Artifact, Profile};

pub(crate) type Plan = Arc<TypedRunnableModel>;

/// Any model, run by tract.
pub struct TractEngine(TractSession);

impl TractEngine {
    pub fn new(artifact: &Artifact, threads: usize) -> Result<Self, String> {
        let signature = artifact.signature().clone();
        let plan = plan(&parse(artifact.model())?, &signature, signature.batch.unwrap_or(1))?;
        Ok(Self(TractSession {
            // A plan is for batches of one size.
            limits: Limits::of(&signature, Some(Profile::default())),
            plan,
            signature,
            all_threads: Executor::multithread(threads),
            single_threads: vec![Executor::SingleThread; threads],
        }))
    }
}

impl Engine for TractEngine {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, PrepareError> {
        Ok(Box::new(self.0.clone()))
    }
}

#[derive(Clone)]
struct TractSession {
    plan: Plan,
    signature: Signature,
    limits: Limits,
    /// For fewer batches of the plan's than there are threads.
    all_threads: Executor,
    /// For as many, or more.
    single_threads: Vec<Executor>,
}

impl Session for TractSession {}

impl Network for TractSession {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        let Self { plan, signature, limits, all_threads, single_threads } = self;
        let plans = batch.div_ceil(signature.batch.unwrap_or(1));
        let workers =
            if plans < single_threads.len() { slice::from_mut(all_threads) } else { &mut single_threads[..] };
        side_by_side(workers, (signature, *limits), input, batch, out, |executor, images, batch, out| {
            run(plan, signature, executor, images, batch, out)
        })
    }
}

fn run(
    plan: &Plan,
    signature: &Signature,
    executor: &Executor,
    images: &[f32],
    batch: usize,
    out: &mut RawDetections,
) -> Result<(), String> {
    let Signature { channels, height, width, classes, .. } = *signature;
    let tensor = Tensor::from_shape(&[batch, channels, height, width], images).map_err(|e| e.to_string())?;
    let outputs = guarded(|| multithread_tract_scope(executor.clone(), || plan.run(tvec!(tensor.into()))))?;
    let [boxes, scores] = &outputs[..] else {
        return Err(format!("{} outputs instead of boxes and scores", outputs.len()));
    };
    *out = raw_detections(boxes, scores, batch, classes)?;
    Ok(())
}

pub(super) fn raw_detections(
    boxes: &TValue,
    scores: &TValue,
    batch: usize,
    classes: usize,
) -> Result<RawDetections, String> {
    let mut raw = RawDetections::default();
    raw.set(batch, classes, &values(boxes)?, &values(scores)?).map_err(|error| error.to_string())?;
    Ok(raw)
}

pub(super) fn values<T: Datum + Copy>(tensor: &TValue) -> Result<Vec<T>, String> {
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
