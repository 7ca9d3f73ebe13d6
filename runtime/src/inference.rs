//! Detecting objects in image files and in video: the `inference` verb.
//!
//! Images are read and preprocessed, networks run, and detections suppressed and written at the same time, on threads of their own
//! ([`pipeline`]); results come in the order of the images whatever the number of threads.

mod error;
mod frames;
mod output;
mod pipeline;
mod source;

use oxidet_vision::{Detection, NmsConfig, PxBox, RawDetections};

use crate::Model;
use crate::backend::processor;
use crate::model::detections;

pub use error::InferenceError;
pub use frames::{FrameError, FrameFormat, Frames, PixelFormat};
pub use output::Outputs;
pub(crate) use source::read;
pub use source::{Origin, Source};

use source::Item;

/// Settings of a run over images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inference {
    /// Detections below this score are left out.
    pub threshold: f32,
    /// Images per batch.
    pub batch_size: usize,
    /// Leaves out image files that cannot be read, instead of ending with the first.
    pub skip_bad_images: bool,
}

/// An image that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// Which image it is.
    pub origin: Origin,
    /// Its pixels per row and rows.
    pub size: (usize, usize),
    /// What was found, best first.
    pub found: Vec<Detection<PxBox>>,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InferenceSummary {
    /// Images.
    pub images: usize,
    /// Objects found.
    pub detections: usize,
    /// Images that were left out, with the reason.
    pub skipped: Vec<String>,
}

impl Inference {
    /// Detects in all images of `source` and writes `outputs`. `listen` hears of every image when it is done, in order; when it says
    /// `false`, the run ends there.
    ///
    /// # Errors
    /// [`InferenceError`] names the file, the first in order.
    pub fn run(
        &self,
        model: &mut Model,
        source: Source,
        outputs: &Outputs,
        listen: &mut dyn FnMut(&Detected) -> bool,
    ) -> Result<InferenceSummary, InferenceError> {
        outputs.prepare()?;
        let mut summary = InferenceSummary::default();
        let keeps_pictures = outputs.pictures.is_some();
        let Model { network, classes, preprocess, nms } = model;
        let finish = |item, image, raw: &RawDetections| self.finish(item, image, raw, nms, classes, outputs);
        let workers = processor::cores();
        let batches = source.batches(preprocess, self, keeps_pictures);
        let mut skipped = Vec::new();
        let skip = &mut |error: InferenceError| skipped.push(error.to_string());
        pipeline::run(batches, workers, &mut **network, &finish, skip, &mut |detected| {
            summary.images += 1;
            summary.detections += detected.found.len();
            listen(detected)
        })?;
        Ok(InferenceSummary { skipped, ..summary })
    }

    /// Suppresses one image's candidates and writes what is found.
    fn finish(
        &self,
        item: Item,
        image: usize,
        raw: &RawDetections,
        nms: &NmsConfig,
        classes: &[String],
        outputs: &Outputs,
    ) -> Result<Detected, InferenceError> {
        let Item { origin, letterbox, picture } = item;
        let found = detections(raw, image, nms, self.threshold, &letterbox);
        let detected = Detected { origin, size: letterbox.image, found };
        outputs.write(&detected, picture, classes)?;
        Ok(detected)
    }
}
