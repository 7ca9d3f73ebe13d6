//! Running a model together with its `NonMaxSuppression` node, to see that the node does what it should. Whoever wants detections
//! uses a [`Session`](crate::Session), whose suppression is that of every other model.

use oxidet_vision::{NetworkError, RawDetections};
use tract_onnx::prelude::*;

use super::{Plan, failed, guarded, parse, plan, raw_detections, values};
use crate::{Artifact, PrepareError, Signature};

/// A whole model, node included.
pub struct Selection {
    plan: Plan,
    signature: Signature,
}

impl Selection {
    /// Makes a model ready; none where it has no `NonMaxSuppression` node.
    ///
    /// # Errors
    /// When the backend does not understand the model.
    pub fn of(artifact: &Artifact) -> Option<Result<Self, PrepareError>> {
        let model = artifact.whole()?;
        let signature = artifact.signature().clone();
        let made = parse(&model).and_then(|model| plan(&model, &signature, signature.batch.unwrap_or(1)));
        Some(made.map(|plan| Self { plan, signature }).map_err(failed))
    }

    /// Boxes and scores of one image `[C, H, W]`, and the rows `[image, class, candidate]` that the node selects. A fixed batch is
    /// filled up with zeros.
    ///
    /// # Errors
    /// When the image has another size, or the backend fails.
    pub fn run(&self, image: &[f32]) -> Result<(RawDetections, Vec<[i64; 3]>), NetworkError> {
        let Signature { channels, height, width, classes, batch } = self.signature;
        let batch = batch.unwrap_or(1);
        let run = || -> Result<_, String> {
            let mut input = image.to_vec();
            input.resize(batch * image.len(), 0.0);
            let shape = [batch, channels, height, width];
            let tensor = Tensor::from_shape(&shape, &input).map_err(|error| error.to_string())?;
            let outputs = guarded(|| self.plan.run(tvec!(tensor.into())))?;
            let [boxes, scores, selected] = &outputs[..] else {
                return Err(format!(
                    "{} outputs instead of boxes, scores and what is selected",
                    outputs.len()
                ));
            };
            let raw = raw_detections(boxes, scores, batch, classes)?;
            let rows = values::<i64>(selected)?.as_chunks::<3>().0.to_vec();
            Ok((raw, rows))
        };
        run().map_err(|what| NetworkError(what.into()))
    }
}
