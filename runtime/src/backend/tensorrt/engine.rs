//! A plan that runs: engine and sessions.

use std::sync::Arc;

use oxidet_graph::onnx::Suppression;
use oxidet_vision::{Network, NetworkError, RawDetections};

use super::device::{Buffer, Gpu, Queue, Recording};
use super::failed;
use super::outputs::Outputs;
use super::plan::{Context, Numbers, Plan, Tensor};
use crate::backend::batches::{Limits, in_batches};
use crate::{BuiltWith, Engine, PrepareError, Profile, Session, Signature};

/// What a plan does not say about itself: of the record beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanFacts {
    /// Number of classes.
    pub classes: usize,
    /// Suppression that the model was exported with, if it is known: a plan that does otherwise is another model's.
    pub suppression: Option<Suppression>,
    /// What it was built with, if that is known: another version or GPU is named before the plan is opened.
    pub built: Option<BuiltWith>,
}

pub(super) struct TensorRtEngine {
    plan: Arc<Plan>,
    gpu: Arc<dyn Gpu>,
    outputs: Outputs,
    signature: Signature,
    input: Tensor,
}

impl TensorRtEngine {
    /// `raw` names boxes and scores where they are not called so.
    pub fn new(
        plan: Arc<Plan>,
        gpu: Arc<dyn Gpu>,
        facts: &PlanFacts,
        raw: Option<[&str; 2]>,
    ) -> Result<Self, String> {
        let inputs: Vec<&Tensor> = plan.tensors.iter().filter(|tensor| tensor.is_input).collect();
        let [input] = inputs[..] else {
            return Err(format!("it has {} inputs instead of one", inputs.len()));
        };
        let input = input.clone();
        let [_, Some(channels @ (1 | 3)), Some(height), Some(width)] = input.dims[..] else {
            return Err(format!("input `{}` is {}, not a batch of images", input.name, input.shape()));
        };
        if input.numbers != Numbers::Float {
            return Err(format!("input `{}` holds {:?}, not Float", input.name, input.numbers));
        }
        let (min, _, max) = input.batch;
        if min == 0 || max < min {
            return Err(format!("input `{}` has no profile of batches", input.name));
        }
        let outputs = Outputs::of(&plan.tensors, facts.classes, raw)?;
        if let Some(suppression) = &facts.suppression {
            compare(&outputs, suppression)?;
        }
        let signature = Signature { channels, height, width, batch: input.dims[0], classes: facts.classes };
        Ok(Self { plan, gpu, outputs, signature, input })
    }

    fn start(&self) -> Result<TensorRtSession, String> {
        self.gpu.bind()?;
        let queue = self.gpu.queue()?;
        let mut context = self.plan.context()?;
        let largest = self.input.batch.2;
        let mut make = |tensor: &Tensor| {
            let image = tensor.per_image().and_then(|values| values.checked_mul(4));
            let whole = image.and_then(|bytes| bytes.checked_mul(largest));
            let (Some(image), Some(whole)) = (image, whole) else {
                return Err(format!("tensor `{}` is {}: its size is not known", tensor.name, tensor.shape()));
            };
            let buffer = queue.buffer(whole)?;
            // SAFETY: the buffer holds the largest batch, and goes after the context.
            unsafe { context.set_address(&tensor.name, buffer.address()) }?;
            Ok(Place { buffer, image })
        };
        let input = make(&self.input)?;
        let output = |name: &str| {
            let mut tensors = self.plan.tensors.iter();
            let tensor = tensors.find(|tensor| tensor.name == name);
            make(tensor.ok_or_else(|| format!("it has no output `{name}`"))?)
        };
        let outputs = self.outputs.names().into_iter().map(output).collect::<Result<Vec<_>, _>>()?;
        Ok(TensorRtSession {
            context,
            input,
            outputs,
            queue,
            gpu: self.gpu.clone(),
            what: self.outputs.clone(),
            tensor: self.input.clone(),
            signature: self.signature.clone(),
            batch: None,
            repeated: Repeated::No,
        })
    }
}

impl Engine for TensorRtEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, PrepareError> {
        Ok(Box::new(self.start().map_err(failed)?))
    }
}

impl Drop for TensorRtEngine {
    fn drop(&mut self) {
        // As of a session.
        let _ = self.gpu.bind();
    }
}

/// Whether a plan suppresses as its record says.
fn compare(outputs: &Outputs, said: &Suppression) -> Result<(), String> {
    let (Outputs::Suppressed { tail, kept, .. }, said_kept) = (outputs, said.nms.keep_top_k) else {
        // Whoever runs a raw engine suppresses, whatever else the model had.
        return Ok(());
    };
    if *tail != said.tail {
        let (is, said) = (tail.name(), said.tail.name());
        return Err(format!(
            "it suppresses with --nms {is}, its record says --nms {said}: they are of two models"
        ));
    }
    if *kept != said_kept {
        return Err(format!(
            "it keeps {kept} detections of an image, its record says {said_kept}: they are of two models"
        ));
    }
    Ok(())
}

/// Where a tensor lies: the largest batch, in images of so many bytes.
struct Place {
    buffer: Box<dyn Buffer>,
    image: usize,
}

/// Whether a batch of the same size as the last is queued in one call.
enum Repeated {
    /// There is none yet.
    No,
    /// There was one, computed step by step, as TensorRT wants it before it is recorded.
    Once,
    /// From now on.
    Recorded(Box<dyn Recording>),
    /// It cannot be.
    Never,
}

/// Recording and context go first: they know the addresses of the buffers. These wait for the queue.
struct TensorRtSession {
    repeated: Repeated,
    context: Context,
    input: Place,
    outputs: Vec<Place>,
    queue: Box<dyn Queue>,
    gpu: Arc<dyn Gpu>,
    what: Outputs,
    tensor: Tensor,
    signature: Signature,
    /// That of the last run.
    batch: Option<usize>,
}

impl Session for TensorRtSession {}

impl Drop for TensorRtSession {
    fn drop(&mut self) {
        // What is freed is freed on the GPU that this thread uses.
        let _ = self.gpu.bind();
    }
}

impl Network for TensorRtSession {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        let (min, opt, max) = self.tensor.batch;
        let signature = self.signature.clone();
        let limits = Limits::of(&signature, Some(Profile { min, opt, max }));
        in_batches(&signature, limits, input, batch, out, |images, batch, out| {
            self.run_once(images, batch, out)
        })
    }
}

impl TensorRtSession {
    /// One batch that the engine takes.
    fn run_once(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), String> {
        self.gpu.bind()?;
        let bytes = batch * self.input.image;
        let host = self.input.buffer.host()?;
        let host = host.get_mut(..bytes).ok_or("the batch is larger than the engine's largest")?;
        let (words, _) = host.as_chunks_mut::<4>();
        for (word, value) in words.iter_mut().zip(input) {
            *word = value.to_ne_bytes();
        }
        self.shape(batch)?;
        let done = self.compute(batch);
        // Also after a failure: what was queued before it may still be under way.
        let finished = self.queue.finish();
        done.and(finished)?;
        let mut hosts = Vec::with_capacity(self.outputs.len());
        for output in &mut self.outputs {
            hosts.push(&*output.buffer.host()?);
        }
        self.what.read(&hosts, batch, self.signature.classes, out)
    }

    /// Sets the batch, if it is another than that of the last run. The outputs must have room in their buffers.
    fn shape(&mut self, batch: usize) -> Result<(), String> {
        if self.batch == Some(batch) {
            return Ok(());
        }
        self.batch = None;
        if !matches!(self.repeated, Repeated::Never) {
            // What was recorded is of the former shape.
            self.repeated = Repeated::No;
        }
        let Signature { channels, height, width, .. } = self.signature;
        self.context.set_shape(&self.tensor.name, &[batch, channels, height, width])?;
        for name in self.what.names() {
            let shape = self.context.shape(name)?;
            if usize::try_from(shape.first().copied().unwrap_or(0)) != Ok(batch) {
                return Err(format!("output `{name}` is of {shape:?} for a batch of {batch}"));
            }
        }
        self.batch = Some(batch);
        Ok(())
    }

    /// Queues what is to be done for a batch; from the third of a size on in one call.
    fn compute(&mut self, batch: usize) -> Result<(), String> {
        let Self { repeated, queue, input, context, outputs, .. } = self;
        let mut steps = || {
            input.buffer.upload(batch * input.image)?;
            // SAFETY: the queue lives beside the context and is waited for by the caller.
            unsafe { context.enqueue(queue.handle()) }?;
            outputs.iter_mut().try_for_each(|output| output.buffer.download(batch * output.image))
        };
        match repeated {
            Repeated::Recorded(recording) => return recording.replay(),
            Repeated::Never => return steps(),
            Repeated::No => {
                *repeated = Repeated::Once;
                return steps();
            }
            Repeated::Once => {}
        }
        let Some(recording) = queue.record(&mut steps) else {
            *repeated = Repeated::Never;
            return steps();
        };
        let replayed = recording.replay();
        *repeated = Repeated::Recorded(recording);
        replayed
    }
}
