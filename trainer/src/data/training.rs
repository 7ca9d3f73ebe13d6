//! Making the batches of a training run.

use std::sync::Arc;

use oxidet_graph::preprocess_from_spec;
use oxidet_proto::lint::Checked;
use oxidet_vision::image::Subpixel;
use oxidet_vision::metrics::Truth;
use oxidet_vision::{Image, NormBox, Picture, Preprocess};

use super::random::{Purpose, epoch_order, rng};
use super::{Batch, DataError, Dataset, ImageStore, Sample};
use crate::augment::{Augmentation, Recipe, draw_size};

/// How training batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSettings {
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Images per batch; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Whether objects marked difficult are trained on.
    pub include_difficult: bool,
    /// What happens to images.
    pub augmentation: Augmentation,
    /// What the network reads.
    pub preprocess: Preprocess,
    /// Batches between changes of the input size; 0 keeps that of `preprocess`.
    pub size_period: usize,
}

impl TrainingSettings {
    /// As the spec asks, for a run with this seed.
    pub fn from_spec(spec: &Checked, seed: u64) -> Self {
        Self {
            seed,
            batch_size: spec.training().batch_size_per_gpu as usize,
            include_difficult: spec.dataset().include_difficult_in_training,
            augmentation: Augmentation::from_spec(spec.augmentation()),
            preprocess: preprocess_from_spec(spec.augmentation()),
            size_period: spec.augmentation().randomize_input_shape_period as usize,
        }
    }
}

/// A data set as training sees it. What is in a batch depends on its number and the seed alone.
#[derive(Debug)]
pub struct TrainingData {
    dataset: Arc<Dataset>,
    store: ImageStore,
    settings: TrainingSettings,
}

impl TrainingData {
    /// Of the images of `dataset`, read through `store`.
    pub fn new(dataset: Arc<Dataset>, store: ImageStore, settings: TrainingSettings) -> Self {
        Self { dataset, store, settings }
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.dataset.samples.len().div_ceil(self.settings.batch_size) as u64
    }

    /// The order of the samples in an epoch, from 0.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        epoch_order(self.settings.seed, epoch, self.dataset.samples.len())
    }

    /// What becomes of the sample at `place` of the [order](Self::order) of an epoch, in the size of its batch.
    pub fn recipe(&self, epoch: u64, sample: usize, place: usize) -> Recipe {
        let (width, height) = self.size(epoch, place / self.settings.batch_size);
        let size = |sample: usize| (self.dataset.samples[sample].width, self.dataset.samples[sample].height);
        let mut rng = rng(self.settings.seed, epoch, sample as u64, Purpose::Augment);
        self.settings.augmentation.draw(sample, &size, self.dataset.samples.len(), width, height, &mut rng)
    }

    /// Carries out a recipe.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn render(&self, recipe: &Recipe) -> Result<(Picture, Vec<Truth>), DataError> {
        if self.settings.preprocess.depth == u16::DEPTH {
            let (canvas, truths) = self.render_as::<u16>(recipe)?;
            Ok((canvas.into(), truths))
        } else {
            let (canvas, truths) = self.render_as::<u8>(recipe)?;
            Ok((canvas.into(), truths))
        }
    }

    fn render_as<S: Subpixel>(&self, recipe: &Recipe) -> Result<(Image<S>, Vec<Truth>), DataError> {
        let samples = recipe.parts.iter().map(|part| part.sample);
        let sources = samples
            .map(|sample| {
                let picture = self.store.get(&self.dataset, sample)?;
                Ok((picture, self.truths(&self.dataset.samples[sample])))
            })
            .collect::<Result<Vec<_>, DataError>>()?;
        let views: Vec<(&Image<S>, &[Truth])> = sources
            .iter()
            .map(|(picture, truths)| {
                (S::view(picture).expect("the store reads images of the network's depth"), truths.as_slice())
            })
            .collect();
        Ok(recipe.render(&views))
    }

    /// The objects of a sample in fractions of its image.
    fn truths(&self, sample: &Sample) -> Vec<Truth> {
        let (w, h) = (sample.width as f32, sample.height as f32);
        let wanted =
            sample.objects.iter().filter(|object| self.settings.include_difficult || !object.difficult);
        let truth = |object: &super::Object| {
            let b = object.bbox;
            let bbox = NormBox { x1: b.x1 / w, y1: b.y1 / h, x2: b.x2 / w, y2: b.y2 / h };
            Truth { class: object.class, difficult: object.difficult, bbox }
        };
        wanted.map(truth).collect()
    }

    /// Width and height of batch `index` of an epoch.
    fn size(&self, epoch: u64, index: usize) -> (usize, usize) {
        let Preprocess { width, height, .. } = self.settings.preprocess;
        match index.checked_div(self.settings.size_period) {
            Some(period) => {
                draw_size(width, height, &mut rng(self.settings.seed, epoch, period as u64, Purpose::Size))
            }
            None => (width, height),
        }
    }

    /// Batch `index` of an epoch with this order.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub(super) fn batch(&self, epoch: u64, order: &[usize], index: usize) -> Result<Batch, DataError> {
        let first = index * self.settings.batch_size;
        let samples = &order[first..order.len().min(first + self.settings.batch_size)];
        let (width, height) = self.size(epoch, index);
        let preprocess = Preprocess { width, height, ..self.settings.preprocess.clone() };
        let len = preprocess.tensor_len();
        let mut images = vec![0.0; samples.len() * len];
        let mut truths = Vec::with_capacity(samples.len());
        for ((place, sample), tensor) in (first..).zip(samples).zip(images.chunks_exact_mut(len)) {
            let recipe = self.recipe(epoch, *sample, place);
            let (canvas, seen) = self.render(&recipe)?;
            preprocess.normalise(&canvas, tensor);
            truths.push(seen);
        }
        Ok(Batch { images, width, height, truths, samples: samples.to_vec() })
    }
}
