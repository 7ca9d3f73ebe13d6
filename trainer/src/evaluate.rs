//! How good a network is on a data set: [`Evaluation`] measures, and this folder's parts put the measures on paper.

mod coco_files;
mod mistakes;
mod page;
mod pr_picture;
mod results;
#[cfg(test)]
mod tests;

pub use coco_files::{coco_annotations, coco_detections};
pub use mistakes::Mistakes;
pub(crate) use page::confusion_table;
pub use page::{Shown, mistakes_page};
pub use pr_picture::pr_picture;
pub use results::{confusion_csv, pr_curve_csv, results_json};

use oxidet_graph::ap_mode_from_spec;
use oxidet_proto::lint::Checked;
use oxidet_vision::metrics::{Metrics, Mode, Outcomes, Report, Scene, Settings, Truth};
use oxidet_vision::{
    Detection, Letterbox, Network, NetworkError, NmsConfig, Preprocess, PxBox, RawDetections,
};

use crate::augment::visible;
use crate::data::{Batch, DataError, Dataset, ImageStore, Sample, validation_batch};

/// Score from which detections count for the confusion matrix when nobody asks for another: that from which `inference` shows
/// them.
pub const DEFAULT_SCORE: f32 = 0.3;

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
    /// Score from which a detection counts for the confusion matrix.
    pub score_threshold: f32,
}

/// What was found in one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// Its index in the data set.
    pub sample: usize,
    /// Its objects, in pixels of the image and inside it.
    pub truths: Vec<Truth<PxBox>>,
    /// Detections, best first, in pixels of the image and inside it.
    pub detections: Vec<Detection<PxBox>>,
    /// What became of both at the score of the confusion matrix.
    pub outcomes: Outcomes,
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
    /// As `eval_config` asks, of a network that reads images prepared like this and whose candidates are suppressed like that.
    pub fn from_spec(spec: &Checked, preprocess: Preprocess, nms: NmsConfig) -> Self {
        let eval = spec.eval();
        Self {
            preprocess,
            nms,
            batch_size: eval.batch_size as usize,
            mode: ap_mode_from_spec(eval.average_precision_mode),
            iou_threshold: eval.matching_iou_threshold,
            score_threshold: DEFAULT_SCORE,
        }
    }

    /// Evaluates `network` on every image of `dataset`. `each` gets the images in order, as they are done.
    ///
    /// # Errors
    /// When an image cannot be read or the network fails.
    pub fn run(
        &self,
        network: &mut dyn Network,
        dataset: &Dataset,
        store: &ImageStore,
        each: &mut dyn FnMut(Evaluated),
    ) -> Result<Report, EvaluateError> {
        let forward = |batch: &Batch, out: &mut RawDetections| {
            Ok::<_, EvaluateError>(network.run(&batch.images, batch.samples.len(), out)?)
        };
        self.run_with(forward, dataset, store, each)
    }

    /// As [`Evaluation::run`], with any function in place of the network.
    pub(crate) fn run_with<E: From<DataError>>(
        &self,
        mut forward: impl FnMut(&Batch, &mut RawDetections) -> Result<(), E>,
        dataset: &Dataset,
        store: &ImageStore,
        each: &mut dyn FnMut(Evaluated),
    ) -> Result<Report, E> {
        let settings = Settings {
            iou_threshold: self.iou_threshold,
            mode: self.mode,
            score_threshold: self.score_threshold,
        };
        let mut metrics = Metrics::new(dataset.classes.len(), settings);
        let mut out = RawDetections::default();
        let images = dataset.samples.len();
        for first in (0..images).step_by(self.batch_size.max(1)) {
            let last = images.min(first + self.batch_size.max(1));
            let batch = validation_batch(dataset, store, &self.preprocess, first..last)?;
            forward(&batch, &mut out)?;
            for (image, truths) in batch.truths.iter().enumerate() {
                let sample = first + image;
                let canvas = Scene { truths, detections: &out.suppress(image, &self.nms) };
                let (truths, detections) = self.in_pixels(&dataset.samples[sample], canvas.detections);
                let pixels = Scene { truths: &truths, detections: &detections };
                let outcomes = metrics.update(canvas, pixels);
                each(Evaluated { sample, truths, detections, outcomes });
            }
        }
        Ok(metrics.compute())
    }

    /// Objects and detections of an image in its own pixels. The objects are those that are visible on the canvas.
    fn in_pixels(
        &self,
        sample: &Sample,
        detections: &[Detection],
    ) -> (Vec<Truth<PxBox>>, Vec<Detection<PxBox>>) {
        let (width, height) = (sample.width, sample.height);
        let letterbox = Letterbox::new(width, height, self.preprocess.width, self.preprocess.height);
        let truth = |object: &crate::data::Object| Truth {
            class: object.class,
            difficult: object.difficult,
            bbox: letterbox.to_canvas(&object.bbox),
        };
        let seen = sample.objects.iter().filter(|object| !visible(std::iter::once(truth(object))).is_empty());
        let truths = seen.map(|object| Truth {
            class: object.class,
            difficult: object.difficult,
            bbox: object.bbox.clip(width, height),
        });
        let detection = |found: &Detection| Detection {
            class: found.class,
            score: found.score,
            bbox: letterbox.to_image(&found.bbox),
        };
        (truths.collect(), detections.iter().map(detection).collect())
    }
}
