//! Average precision of a network over a data set.

use oxidet_vision::metrics::{MeanAveragePrecision, Mode, Report};
use oxidet_vision::{Network, NetworkError, NmsConfig, Preprocess, RawDetections};

use crate::data::{Batch, DataError, Dataset, ImageStore, validation_batch};

/// How a network is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What the network reads.
    pub preprocess: Preprocess,
    /// Suppression of its candidates.
    pub nms: NmsConfig,
    /// Images per batch.
    pub batch_size: usize,
    /// Rule for average precision.
    pub mode: Mode,
    /// Overlap from which an object counts as found.
    pub iou_threshold: f32,
}

/// What stops an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// An image or label.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl Evaluation {
    /// Evaluates `network` on every image of `dataset`. `progress` hears how many images are done.
    ///
    /// # Errors
    /// When an image cannot be read or the network fails.
    pub fn run(
        &self,
        network: &mut dyn Network,
        dataset: &Dataset,
        store: &ImageStore,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Report, EvaluateError> {
        let forward = |batch: &Batch, out: &mut RawDetections| {
            Ok::<_, EvaluateError>(network.run(&batch.images, batch.samples.len(), out)?)
        };
        self.run_with(forward, dataset, store, progress)
    }

    /// As [`Evaluation::run`], with any function in place of the network.
    pub(crate) fn run_with<E: From<DataError>>(
        &self,
        mut forward: impl FnMut(&Batch, &mut RawDetections) -> Result<(), E>,
        dataset: &Dataset,
        store: &ImageStore,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Report, E> {
        let mut metric = MeanAveragePrecision::new(dataset.classes.len(), self.iou_threshold, self.mode);
        let mut out = RawDetections::default();
        let images = dataset.samples.len();
        for first in (0..images).step_by(self.batch_size.max(1)) {
            let last = images.min(first + self.batch_size.max(1));
            let batch = validation_batch(dataset, store, &self.preprocess, first..last)?;
            forward(&batch, &mut out)?;
            for (image, truths) in batch.truths.iter().enumerate() {
                metric.update(truths, &out.suppress(image, &self.nms));
            }
            progress(last);
        }
        Ok(metric.compute())
    }
}
