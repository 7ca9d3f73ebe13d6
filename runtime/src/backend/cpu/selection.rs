//! Running a model together with its `NonMaxSuppression` node, to see that the node does what it should. Whoever wants detections
//! uses a [`Session`](crate::Session), whose suppression is that of every other model.

use oxidet_vision::{NetworkError, RawDetections};
use tract_onnx::prelude::*;

use super::failed;
use super::tract::{Plan, guarded, parse, plan, raw_detections, values};
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

    /// Boxes and scores of `count` images `[N, C, H, W]`, and the rows `[image, class, candidate]` that the node selects. The last of
    /// fixed batches is filled up with zeros.
    ///
    /// # Errors
    /// When there are not as many images, or the backend fails.
    pub fn run(&self, images: &[f32], count: usize) -> Result<(RawDetections, Vec<[i64; 3]>), NetworkError> {
        let Signature { channels, height, width, classes, batch } = self.signature;
        let (batch, len) = (batch.unwrap_or(1), channels * height * width);
        let error = |what: String| NetworkError(what.into());
        if images.len() != count * len {
            return Err(error(format!("{} values for {count} images of {len}", images.len())));
        }
        let mut raw = RawDetections::default();
        let mut rows = Vec::new();
        for (at, part) in images.chunks(batch * len).enumerate() {
            let held = part.len() / len;
            let (detected, selected) = self.run_batch(part, batch, classes).map_err(error)?;
            raw.append(&detected, held);
            let of_images = selected.into_iter().filter(|row| row[0] < held as i64);
            rows.extend(
                of_images.map(|[image, class, candidate]| [image + (at * batch) as i64, class, candidate]),
            );
        }
        Ok((raw, rows))
    }

    fn run_batch(
        &self,
        images: &[f32],
        batch: usize,
        classes: usize,
    ) -> Result<(RawDetections, Vec<[i64; 3]>), String> {
        let Signature { channels, height, width, .. } = self.signature;
        let mut input = images.to_vec();
        input.resize(batch * channels * height * width, 0.0);
        let tensor = Tensor::from_shape(&[batch, channels, height, width], &input)
            .map_err(|error| error.to_string())?;
        let outputs = guarded(|| self.plan.run(tvec!(tensor.into())))?;
        let [boxes, scores, selected] = &outputs[..] else {
            return Err(format!("{} outputs instead of boxes, scores and what is selected", outputs.len()));
        };
        let raw = raw_detections(boxes, scores, batch, classes)?;
        Ok((raw, values::<i64>(selected)?.as_chunks::<3>().0.to_vec()))
    }
}
