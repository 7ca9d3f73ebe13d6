//! Training batches, prepared in the background.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::{Batch, DataError, TrainingData};

/// How batches are prepared; it changes nothing about what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderSettings {
    /// Threads that prepare batches; 0 means one less than there are processors, at least one.
    pub workers: usize,
    /// Batches prepared ahead; 0 means two for each worker.
    pub queue: usize,
}

/// The batches of a whole run, prepared in the background.
///
/// Batch `b` is made by worker `b mod workers`, and what is in it depends on its number and the seed alone: any number of
/// workers gives the same batches, and a run resumed at batch `b` sees what an uninterrupted one sees.
#[derive(Debug)]
pub struct TrainLoader {
    workers: Vec<Worker>,
    next: u64,
    end: u64,
}

#[derive(Debug)]
struct Worker {
    batches: Receiver<Result<Batch, DataError>>,
    thread: Option<JoinHandle<()>>,
}

impl TrainLoader {
    /// Starts at batch number `first`, counted over all epochs; stops after `epochs`.
    pub fn new(data: TrainingData, epochs: u64, settings: LoaderSettings, first: u64) -> Self {
        let data = Arc::new(data);
        let end = data.steps_per_epoch() * epochs;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let count = if settings.workers > 0 { settings.workers } else { (processors - 1).max(1) };
        let ahead = if settings.queue > 0 { settings.queue.div_ceil(count) } else { 2 };
        let workers = (0..count as u64)
            .map(|worker| {
                let (sender, receiver) = sync_channel(ahead);
                let data = data.clone();
                let numbers = (first + worker..end).step_by(count);
                let thread = thread::spawn(move || make(&data, numbers, &sender));
                Worker { batches: receiver, thread: Some(thread) }
            })
            .collect();
        Self { workers, next: 0, end: end.saturating_sub(first) }
    }
}

impl Iterator for TrainLoader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let worker = (self.next % self.workers.len() as u64) as usize;
        let worker = &mut self.workers[worker];
        self.next += 1;
        if let Ok(batch) = worker.batches.recv() {
            return Some(batch);
        }
        // It has ended before its time: after an error, which it sent first, or in a panic, which goes on here.
        if let Some(Err(panic)) = worker.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

/// Makes the batches of these numbers until somebody stops listening or one fails.
fn make(data: &TrainingData, numbers: impl Iterator<Item = u64>, to: &SyncSender<Result<Batch, DataError>>) {
    let mut order = (u64::MAX, Vec::new());
    for number in numbers {
        let (epoch, index) = (number / data.steps_per_epoch(), (number % data.steps_per_epoch()) as usize);
        if order.0 != epoch {
            order = (epoch, data.order(epoch));
        }
        let batch = data.batch(epoch, &order.1, index);
        let failed = batch.is_err();
        if to.send(batch).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Augmentation;
    use crate::data::{CacheBudget, Dataset, ImageStore, Object, Sample, TrainingSettings, validation_batch};
    use oxidet_vision::image::encode_png;
    use oxidet_vision::{Image, Preprocess, PxBox};

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

    fn load(dataset: &Arc<Dataset>, cache: usize, workers: usize, first: u64) -> TrainLoader {
        let augmentation = Augmentation {
            hue: 0.1,
            saturation: 1.5,
            exposure: 1.5,
            vertical_flip: 0.5,
            horizontal_flip: 0.5,
            jitter: 0.3,
            mosaic: 0.5,
            mosaic_min_ratio: 0.2,
        };
        let settings = TrainingSettings {
            seed: 11,
            batch_size: 4,
            include_difficult: false,
            augmentation,
            preprocess: Preprocess::new(128, 64, 3),
            size_period: 2,
        };
        let store = ImageStore::new(dataset, 8, CacheBudget::new(cache));
        let data = TrainingData::new(dataset.clone(), store, settings);
        TrainLoader::new(data, 3, LoaderSettings { workers, queue: 0 }, first)
    }

    #[test]
    fn batches_depend_on_seed_and_number_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path(), 10);
        let all = |workers, first| -> Vec<Batch> {
            // Room for some of the images.
            load(&dataset, 5 * 40 * 30 * 3, workers, first).map(Result::unwrap).collect()
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
        let sizes: Vec<_> = one.iter().map(|batch| (batch.width, batch.height)).collect();
        assert!(sizes.chunks(3).all(|epoch| epoch[0] == epoch[1]), "two batches share a size: {sizes:?}");
        assert!(sizes.iter().any(|size| *size != sizes[0]), "{sizes:?}");
        assert!(one.iter().all(|b| b.images.len() == b.samples.len() * 3 * b.width * b.height));
    }

    #[test]
    fn a_broken_image_stops_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path(), 5);
        std::fs::write(dir.path().join("3.png"), b"\x89PNG\r\n\x1a\nnonsense").unwrap();
        let error = load(&dataset, 0, 2, 0).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("3.png"), "{error}");
    }

    #[test]
    fn validation_letterboxes_and_keeps_difficult_objects() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = dataset(dir.path(), 2);
        let store = ImageStore::new(&dataset, 8, CacheBudget::new(0));
        let batch = validation_batch(&dataset, &store, &Preprocess::new(64, 32, 3), 0..2).unwrap();
        assert_eq!(batch.images.len(), 2 * 3 * 64 * 32);
        assert_eq!(batch.truths[0].iter().map(|truth| truth.difficult).collect::<Vec<_>>(), [false, true]);
        // 40×30 fits as 43×32, 10 columns from the left.
        let x1 = batch.truths[0][0].bbox.x1;
        assert!((x1 - (4.0 / 40.0 * 43.0 + 10.0) / 64.0).abs() < 1e-6, "{x1}");
    }
}
