//! Batches for training and validation.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use oxidet_vision::metrics::Truth;
use oxidet_vision::{Letterbox, NormBox, Preprocess};
use rayon::prelude::*;

use super::random::{Purpose, epoch_order, rng};
use super::{DataError, Dataset, ImageStore, Sample};
use crate::augment::{Augmentation, visible};

/// Images as the network reads them, with their objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[N, C, H, W]`, preprocessed.
    pub images: Vec<f32>,
    /// Per image, boxes in fractions of the canvas.
    pub truths: Vec<Vec<Truth>>,
    /// Per image, its index in the data set.
    pub samples: Vec<usize>,
}

/// How training batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderSettings {
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Images per batch; the last batch of an epoch may be smaller.
    pub batch_size: usize,
    /// Epochs of the run.
    pub epochs: u64,
    /// Whether objects marked difficult are trained on.
    pub include_difficult: bool,
    /// What happens to images.
    pub augmentation: Augmentation,
    /// What the network reads.
    pub preprocess: Preprocess,
    /// Threads that prepare batches; 0 means one less than there are processors, at least one.
    pub workers: usize,
    /// Batches prepared ahead; 0 means two for each worker.
    pub queue: usize,
}

impl LoaderSettings {
    /// Batches of an epoch over `samples` images.
    pub fn steps_per_epoch(&self, samples: usize) -> u64 {
        samples.div_ceil(self.batch_size) as u64
    }
}

/// The batches of a whole run, prepared in the background.
///
/// Batch `b` is made by worker `b mod workers`, and what is in it depends on its number and the seed alone: any number of
/// workers gives the same batches, and a run resumed at batch `b` sees what an uninterrupted one sees.
#[derive(Debug)]
pub struct TrainLoader {
    queues: Vec<Receiver<Result<Batch, DataError>>>,
    next: u64,
    end: u64,
}

impl TrainLoader {
    /// Starts at batch number `first`, counted over all epochs.
    pub fn new(dataset: Arc<Dataset>, store: Arc<ImageStore>, settings: LoaderSettings, first: u64) -> Self {
        let steps = settings.steps_per_epoch(dataset.samples.len());
        let end = steps * settings.epochs;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = if settings.workers > 0 { settings.workers } else { (processors - 1).max(1) };
        let ahead = if settings.queue > 0 { settings.queue.div_ceil(workers) } else { 2 };
        let queues = (0..workers as u64)
            .map(|worker| {
                let (sender, receiver) = sync_channel(ahead);
                let maker = Maker {
                    dataset: dataset.clone(),
                    store: store.clone(),
                    settings: settings.clone(),
                    steps,
                };
                let numbers = (first + worker..end).step_by(workers);
                thread::spawn(move || maker.run(numbers, &sender));
                receiver
            })
            .collect();
        Self { queues, next: 0, end: end.saturating_sub(first) }
    }
}

impl Iterator for TrainLoader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let worker = (self.next % self.queues.len() as u64) as usize;
        self.next += 1;
        // A worker ends early only after an error, which it sent first.
        self.queues[worker].recv().ok()
    }
}

/// One worker of a [`TrainLoader`].
struct Maker {
    dataset: Arc<Dataset>,
    store: Arc<ImageStore>,
    settings: LoaderSettings,
    steps: u64,
}

impl Maker {
    /// Makes the batches of these numbers until somebody stops listening or one fails.
    fn run(&self, numbers: impl Iterator<Item = u64>, to: &SyncSender<Result<Batch, DataError>>) {
        let mut order = (u64::MAX, Vec::new());
        for number in numbers {
            let (epoch, index) = (number / self.steps, (number % self.steps) as usize);
            if order.0 != epoch {
                order = (epoch, epoch_order(self.settings.seed, epoch, self.dataset.samples.len()));
            }
            let size = self.settings.batch_size;
            let samples = &order.1[index * size..order.1.len().min((index + 1) * size)];
            let batch = self.batch(epoch, samples);
            let failed = batch.is_err();
            if to.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn batch(&self, epoch: u64, samples: &[usize]) -> Result<Batch, DataError> {
        let Preprocess { width, height, .. } = self.settings.preprocess;
        let len = self.settings.preprocess.tensor_len();
        let mut images = vec![0.0; samples.len() * len];
        let mut truths = Vec::with_capacity(samples.len());
        for (sample, tensor) in samples.iter().zip(images.chunks_exact_mut(len)) {
            let image = self.store.get(&self.dataset, *sample)?;
            let mut objects = image_truths(&self.dataset.samples[*sample]);
            objects.retain(|truth| self.settings.include_difficult || !truth.difficult);
            let mut rng = rng(self.settings.seed, epoch, *sample as u64, Purpose::Augment);
            let (canvas, seen) = self.settings.augmentation.apply(&image, &objects, width, height, &mut rng);
            self.settings.preprocess.normalise(&canvas, tensor);
            truths.push(seen);
        }
        Ok(Batch { images, truths, samples: samples.to_vec() })
    }
}

/// The objects of a sample in fractions of its image.
fn image_truths(sample: &Sample) -> Vec<Truth> {
    let (w, h) = (sample.width as f32, sample.height as f32);
    let truth = |object: &super::Object| {
        let b = object.bbox;
        let bbox = NormBox { x1: b.x1 / w, y1: b.y1 / h, x2: b.x2 / w, y2: b.y2 / h };
        Truth { class: object.class, difficult: object.difficult, bbox }
    };
    sample.objects.iter().map(truth).collect()
}

/// The samples `from..to` as validation sees them: letterboxed, boxes clipped to the canvas, difficult objects kept and marked.
///
/// # Errors
/// When an image cannot be read.
pub fn validation_batch(
    dataset: &Dataset,
    store: &ImageStore,
    preprocess: &Preprocess,
    samples: std::ops::Range<usize>,
) -> Result<Batch, DataError> {
    let len = preprocess.tensor_len();
    let mut images = vec![0.0; samples.len() * len];
    let truths = images
        .par_chunks_exact_mut(len)
        .zip(samples.clone())
        .map(|(tensor, index)| {
            let sample = &dataset.samples[index];
            let letterbox: Letterbox = preprocess.apply(&*store.get(dataset, index)?, tensor);
            let truths = sample.objects.iter().map(|object| Truth {
                class: object.class,
                difficult: object.difficult,
                bbox: letterbox.to_canvas(&object.bbox),
            });
            Ok(visible(truths))
        })
        .collect::<Result<_, DataError>>()?;
    Ok(Batch { images, truths, samples: samples.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Object;
    use oxidet_vision::image::encode_png;
    use oxidet_vision::{Image, PxBox};

    fn dataset(dir: &std::path::Path, images: usize) -> Arc<Dataset> {
        let samples = (0..images)
            .map(|i| {
                let image = dir.join(format!("{i}.png"));
                let data = (0..40 * 30 * 3).map(|j| ((i * 37 + j * 13) % 256) as u8).collect();
                let bytes = encode_png(&Image { width: 40, height: 30, channels: 3, data }).unwrap();
                std::fs::write(&image, bytes).unwrap();
                let bbox = PxBox { x1: 4.0, y1: 3.0, x2: 20.0, y2: 15.0 };
                let object = |difficult| Object { class: 0, difficult, bbox };
                Sample { image, width: 40, height: 30, objects: vec![object(false), object(true)] }
            })
            .collect();
        Arc::new(Dataset { samples, classes: vec!["thing".into()], ..Dataset::default() })
    }

    fn settings(workers: usize) -> LoaderSettings {
        let augmentation = Augmentation {
            hue: 0.1,
            saturation: 1.5,
            exposure: 1.5,
            vertical_flip: 0.5,
            horizontal_flip: 0.5,
            jitter: 0.3,
        };
        LoaderSettings {
            seed: 11,
            batch_size: 4,
            epochs: 3,
            include_difficult: false,
            augmentation,
            preprocess: Preprocess::new(64, 32, 3),
            workers,
            queue: 0,
        }
    }

    #[test]
    fn batches_depend_on_seed_and_number_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path(), 10);
        let all = |workers, first| -> Vec<Batch> {
            let store = Arc::new(ImageStore::new(&dataset));
            TrainLoader::new(dataset.clone(), store, settings(workers), first).map(Result::unwrap).collect()
        };
        let one = all(1, 0);
        assert_eq!(one.len(), 9, "three batches an epoch, the last one short");
        assert_eq!(one[2].samples.len(), 2);
        let mut seen: Vec<usize> = one[..3].iter().flat_map(|batch| batch.samples.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert!(one == all(3, 0), "the number of workers changes nothing");
        assert!(one[4..] == all(2, 4), "a resumed run sees what an uninterrupted one sees");
        assert!(one.iter().flat_map(|batch| &batch.truths).flatten().all(|truth| !truth.difficult));
    }

    #[test]
    fn a_broken_image_stops_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path(), 5);
        std::fs::write(dir.path().join("3.png"), b"\x89PNG\r\n\x1a\nnonsense").unwrap();
        let store = Arc::new(ImageStore::new(&dataset));
        let error = TrainLoader::new(dataset, store, settings(2), 0).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("3.png"), "{error}");
    }

    #[test]
    fn validation_letterboxes_and_keeps_difficult_objects() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path(), 2);
        let store = ImageStore::new(&dataset);
        let batch = validation_batch(&dataset, &store, &Preprocess::new(64, 32, 3), 0..2).unwrap();
        assert_eq!(batch.images.len(), 2 * 3 * 64 * 32);
        assert_eq!(batch.truths[0].iter().map(|truth| truth.difficult).collect::<Vec<_>>(), [false, true]);
        // 40×30 fits as 43×32, 10 columns from the left.
        let x1 = batch.truths[0][0].bbox.x1;
        assert!((x1 - (4.0 / 40.0 * 43.0 + 10.0) / 64.0).abs() < 1e-6, "{x1}");
    }
}
