//! Running a model.

use ort::session::Session as OrtSession;
use ort::value::TensorRef;
use oxidet_vision::{Network, NetworkError, RawDetections};

use super::OrtEngine;
use crate::backend::batches::{Limits, in_batches};
use crate::backend::{Session, Signature};
use crate::{Device, Profile};

/// A session of ONNX Runtime, for one thread.
pub struct OrtRunner {
    session: OrtSession,
    signature: Signature,
    limits: Limits,
}

impl OrtRunner {
    pub fn new(session: OrtSession, engine: &OrtEngine) -> Self {
        // On the processor it is fastest image by image.
        let profile = match engine.options.device {
            Device::Cpu => Some(Profile::default()),
            Device::Cuda(_) | Device::TensorRt(_) | Device::Dla(_) => engine.profile(),
        };
        let limits = Limits::of(&engine.signature, profile);
        Self { session, signature: engine.signature.clone(), limits }
    }
}

impl Session for OrtRunner {}

impl Network for OrtRunner {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        let Self { session, signature, limits } = self;
        in_batches(signature, *limits, input, batch, out, |images, batch, out| {
            run(session, signature, images, batch, out).map_err(|error| error.to_string())
        })
    }
}

fn run(
    session: &mut OrtSession,
    signature: &Signature,
    images: &[f32],
    batch: usize,
    out: &mut RawDetections,
) -> Result<(), Box<dyn std::error::Error>> {
    let shape = [batch, signature.channels, signature.height, signature.width];
    let outputs = session.run(ort::inputs![TensorRef::from_array_view((shape, images))?])?;
    let [boxes, scores] = [0, 1].map(|at| outputs.values().nth(at));
    let (Some(boxes), Some(scores)) = (boxes, scores) else {
        return Err("the model has lost its outputs".into());
    };
    let (_, boxes) = boxes.try_extract_tensor::<f32>()?;
    let (_, scores) = scores.try_extract_tensor::<f32>()?;
    Ok(out.set(batch, signature.classes, boxes, scores)?)
}
