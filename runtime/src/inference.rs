//! Detecting objects in image files and in video: the `inference` verb.
//!
//! Images are read and preprocessed, networks run, and detections suppressed and written at the same time, on threads of their own
//! ([`pipeline`]); results come in the order of the images whatever the number of threads.

mod error;
mod frames;
mod output;
mod pipeline;
mod source;

use std::thread;

use oxidet_vision::{
    Detection, Letterbox, Network, NetworkError, NmsConfig, Picture, Preprocess, PxBox, RawDetections,
};

pub use error::InferenceError;
pub use frames::{FrameError, FrameFormat, Frames, PixelFormat};
pub use output::Outputs;
pub use source::{Origin, Source};

pub(crate) use source::read;

use source::Item;

/// Detects objects in images of any size, best first per image, in pixels of the image and inside it.
///
/// # Errors
/// When the network fails.
pub fn detect(
    network: &mut dyn Network,
    preprocess: &Preprocess,
    nms: &NmsConfig,
    images: &[Picture],
) -> Result<Vec<Vec<Detection<PxBox>>>, NetworkError> {
    let mut input = vec![0.0; images.len() * preprocess.tensor_len()];
    let letterboxes: Vec<_> = images
        .iter()
        .zip(input.chunks_exact_mut(preprocess.tensor_len()))
        .map(|(image, tensor)| preprocess.apply(image, tensor))
        .collect();
    let mut raw = RawDetections::default();
    network.run(&input, images.len(), &mut raw)?;
    let found = |(image, letterbox): (usize, &_)| in_pixels(&raw.suppress(image, nms), letterbox);
    Ok(letterboxes.iter().enumerate().map(found).collect())
}

fn in_pixels(detections: &[Detection], letterbox: &Letterbox) -> Vec<Detection<PxBox>> {
    let in_pixels =
        |d: &Detection| Detection { class: d.class, score: d.score, bbox: letterbox.to_image(&d.bbox) };
    detections.iter().map(in_pixels).collect()
}

/// Settings of a run over images.
#[derive(Clone, Debug, PartialEq)]
pub struct Inference {
    /// What the network reads.
    pub preprocess: Preprocess,
    /// Suppression.
    pub nms: NmsConfig,
    /// Detections below this score are left out.
    pub threshold: f32,
    /// Class names by id.
    pub classes: Vec<String>,
    /// Images per batch.
    pub batch_size: usize,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InferenceSummary {
    /// Images.
    pub images: usize,
    /// Objects found.
    pub detections: usize,
}

impl Inference {
    /// Detects in all images of `source` and writes `outputs`. `listen` hears of every image when it is done, in order; when it says
    /// `false`, the run ends there.
    ///
    /// # Errors
    /// [`InferenceError`] names the file, the first in order.
    pub fn run(
        &self,
        network: &mut dyn Network,
        source: Source,
        outputs: &Outputs,
        listen: &mut dyn FnMut(&Detected) -> bool,
    ) -> Result<InferenceSummary, InferenceError> {
        outputs.prepare()?;
        let mut summary = InferenceSummary::default();
        let keeps_pictures = outputs.pictures.is_some();
        let finish = |item: Item, image: usize, raw: &RawDetections| self.finish(item, image, raw, outputs);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let batches = source.batches(&self.preprocess, self.batch_size.max(1), keeps_pictures);
        pipeline::run(batches, workers, network, &finish, &mut |detected| {
            summary.images += 1;
            summary.detections += detected.found.len();
            listen(detected)
        })?;
        Ok(summary)
    }

    /// Suppresses one image's candidates and writes what is found.
    fn finish(
        &self,
        item: Item,
        image: usize,
        raw: &RawDetections,
        outputs: &Outputs,
    ) -> Result<Detected, InferenceError> {
        let detections = raw.suppress(image, &self.nms);
        let kept: Vec<Detection> = detections.into_iter().filter(|d| d.score >= self.threshold).collect();
        let found = in_pixels(&kept, &item.letterbox);
        let detected = Detected { origin: item.origin, size: item.letterbox.image, found };
        outputs.write(&detected, item.picture, &self.classes)?;
        Ok(detected)
    }
}
