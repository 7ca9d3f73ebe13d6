//! How long a model takes, stage by stage, and how many images a second come out when the stages overlap.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use oxidet_vision::{Picture, RawDetections};
use serde::Serialize;

use crate::inference::read;
use crate::{Inference, InferenceError, Model, Outputs, Source};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// Images per batch.
    pub batch_size: usize,
    /// Batches that are run first and not counted.
    pub warm_up: usize,
    /// Batches that are counted.
    pub iterations: usize,
}

/// What a benchmark found. Times are of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Images per batch.
    pub batch_size: usize,
    /// Reading and decoding the files.
    pub decode: Times,
    /// Letterbox and normalisation.
    pub preprocess: Times,
    /// The network.
    pub network: Times,
    /// Decisions: threshold, sorting, suppression.
    pub suppress: Times,
    /// One after the other.
    pub total: Times,
    /// Images a second of the network alone.
    pub network_images_per_second: f64,
    /// Images a second from files to detections, stages overlapping.
    pub images_per_second: f64,
}

/// Milliseconds; percentiles by the nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Half are at most this.
    pub p50_ms: f64,
    /// 95 of a hundred are at most this.
    pub p95_ms: f64,
    /// 99 of a hundred are at most this.
    pub p99_ms: f64,
    /// Mean.
    pub mean_ms: f64,
}

impl Times {
    /// Those of some durations.
    ///
    /// # Panics
    /// Without any.
    pub fn of(durations: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = durations.iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Self { p50_ms: rank(50), p95_ms: rank(95), p99_ms: rank(99), mean_ms: mean }
    }
}

/// The stages of a batch.
const DECODE: usize = 0;
const PREPROCESS: usize = 1;
const NETWORK: usize = 2;
const SUPPRESS: usize = 3;

impl Benchmark {
    /// Measures `model` on image files, which are used again from the first when there are too few. `progress` hears of each batch;
    /// when it says `false`, nothing more is measured and there is no result.
    ///
    /// # Errors
    /// [`InferenceError`] names the file.
    ///
    /// # Panics
    /// Without files, or when nothing is to be counted.
    pub fn run(
        &self,
        model: &mut Model,
        files: &[PathBuf],
        progress: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Measured>, InferenceError> {
        assert!(
            !files.is_empty() && self.iterations > 0 && self.batch_size > 0,
            "there is something to measure"
        );
        let mut stages: [Vec<Duration>; 4] = Default::default();
        let mut total = Vec::new();
        let mut files_in_turn = files.iter().cycle();
        let mut raw = RawDetections::default();
        let len = model.preprocess.tensor_len();
        let mut tensor = vec![0.0; self.batch_size * len];
        for batch in 0..self.warm_up + self.iterations {
            let paths: Vec<&PathBuf> = files_in_turn.by_ref().take(self.batch_size).collect();
            let mut clock = Clock::start();
            let pictures = paths.iter().map(|path| read(path, model.preprocess.depth));
            let pictures = pictures.collect::<Result<Vec<Picture>, _>>()?;
            clock.lap(DECODE);
            for (picture, tensor) in pictures.iter().zip(tensor.chunks_exact_mut(len)) {
                model.preprocess.apply(picture, tensor);
            }
            clock.lap(PREPROCESS);
            model.network.run(&tensor, self.batch_size, &mut raw)?;
            clock.lap(NETWORK);
            for image in 0..self.batch_size {
                std::hint::black_box(raw.suppress(image, &model.nms));
            }
            clock.lap(SUPPRESS);
            if batch >= self.warm_up {
                stages.iter_mut().zip(clock.laps).for_each(|(stage, lap)| stage.push(lap));
                total.push(clock.laps.iter().sum());
            }
            if !progress() {
                return Ok(None);
            }
        }
        let Some(images_per_second) = self.overlapping(model, files, progress)? else { return Ok(None) };
        let network_time: Duration = stages[NETWORK].iter().sum();
        let images = (self.iterations * self.batch_size) as f64;
        let [decode, preprocess, network, suppress] = stages.map(|stage| Times::of(&stage));
        Ok(Some(Measured {
            batch_size: self.batch_size,
            decode,
            preprocess,
            network,
            suppress,
            total: Times::of(&total),
            network_images_per_second: images / network_time.as_secs_f64(),
            images_per_second,
        }))
    }

    /// Images a second when stages overlap, as they do in [`Inference::run`].
    fn overlapping(
        &self,
        model: &mut Model,
        files: &[PathBuf],
        progress: &mut dyn FnMut() -> bool,
    ) -> Result<Option<f64>, InferenceError> {
        let images = self.iterations * self.batch_size;
        let source = Source::Files(files.iter().cycle().take(images).cloned().collect());
        let inference = Inference { threshold: 0.0, batch_size: self.batch_size, skip_bad_images: false };
        let started = Instant::now();
        let done = inference.run(model, source, &Outputs::default(), &mut |_| progress())?.images;
        Ok((done == images).then(|| images as f64 / started.elapsed().as_secs_f64()))
    }
}

/// Times of the stages of one batch.
struct Clock {
    last: Instant,
    laps: [Duration; 4],
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: [Duration::ZERO; 4] }
    }

    fn lap(&mut self, stage: usize) {
        let now = Instant::now();
        self.laps[stage] = now - self.last;
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let durations: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let times = Times::of(&durations);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            close(times.p50_ms, 50.0) && close(times.p95_ms, 95.0) && close(times.p99_ms, 99.0),
            "{times:?}"
        );
        assert!(close(times.mean_ms, 50.5));
        let one = Times::of(&[Duration::from_millis(7)]);
        assert!(close(one.p50_ms, 7.0) && close(one.p99_ms, 7.0), "{one:?}");
    }
}
