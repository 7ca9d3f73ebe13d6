//! The training loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use oxidet_graph::{Detector, Params, TrainingState};
use oxidet_vision::decode;

use super::diverged::{Divergence, Origin, bad_parameter};
use super::monitor::Monitor;
use super::{Epoch, Event, Step, TrainError, TrainRequest, TrainSummary, Validation};
use crate::average::MovingAverage;
use crate::class_weighting;
use crate::data::{Batch, Dataset, ImageStore, TrainLoader};
use crate::evaluate::Evaluation;
use crate::interp::TrainNet;
use crate::loss::{Loss, LossTerms, YoloLoss};
use crate::optimizer::Optimizer;
use crate::report::Reports;
use crate::schedule::Schedule;
use oxidet_compute::Executor;
use oxidet_compute::kernel::optimizer::Penalty;

/// Trains. Writes checkpoints to `<results>/weights/`, the class list and the log of the epochs to `<results>/`.
///
/// # Errors
/// [`TrainError`]; checkpoints written before stay.
pub fn train(
    request: &TrainRequest<'_>,
    listen: &mut dyn FnMut(Event<'_>),
) -> Result<TrainSummary, TrainError> {
    let mut run = Run::prepare(request, listen)?;
    run.prepare_folder()?;
    run.reports.open(listen);
    let result = run.go(listen);
    run.reports.finish(&result, listen);
    result
}

/// What a divergence is reported with.
#[derive(Default)]
pub(super) struct LastStep {
    epoch: u32,
    step: u64,
    loss: f64,
    learning_rate: f64,
    samples: Vec<usize>,
}

/// A run between two steps.
pub(super) struct Run<'a> {
    pub(super) request: TrainRequest<'a>,
    pub(super) detector: Detector,
    pub(super) net: TrainNet,
    pub(super) optimizer: Optimizer,
    pub(super) average: Option<MovingAverage>,
    pub(super) penalty: Penalty,
    pub(super) schedule: Schedule,
    pub(super) monitor: Monitor,
    /// The epoch after which monitoring began.
    pub(super) monitored_since: u32,
    pub(super) last: LastStep,
    pub(super) before_last: LastStep,
    /// The checkpoint to go back to.
    pub(super) last_saved: Option<PathBuf>,
    /// The spec that checkpoints carry.
    pub(super) spec_text: String,
    pub(super) loss: YoloLoss,
    pub(super) dataset: Arc<Dataset>,
    pub(super) loader: TrainLoader,
    pub(super) validation: Dataset,
    pub(super) validation_images: ImageStore,
    pub(super) evaluation: Evaluation,
    pub(super) reports: Reports,
    pub(super) state: TrainingState,
    pub(super) epochs: u32,
    pub(super) checkpoint_interval: u32,
    pub(super) steps_per_epoch: u64,
}

impl<'a> Run<'a> {
    fn go(&mut self, listen: &mut dyn FnMut(Event<'_>)) -> Result<TrainSummary, TrainError> {
        let mut validated = None;
        let mut interrupted = false;
        let first = self.state.epoch + 1;
        for epoch in first..=self.epochs {
            if self.is_out_of_patience(epoch - 1) {
                // A run that had stopped before it was resumed.
                self.stopped_early(listen);
                break;
            }
            let loss = self.epoch(epoch, listen)?;
            self.check_parameters()?;
            let Some(loss) = loss else {
                interrupted = true;
                self.save(listen)?;
                break;
            };
            self.end_epoch(epoch);
            let due = epoch % self.checkpoint_interval == 0 || epoch == self.epochs;
            let validate = due || self.monitor.validates_every_epoch();
            let validation = match validate.then(|| self.validate(listen)).transpose() {
                Ok(validation) => validation,
                Err(error) => {
                    // What was trained is not lost to an image that cannot be read.
                    self.save(listen)?;
                    return Err(error);
                }
            };
            if validation.as_ref().is_some_and(|validation| !validation.loss.is_finite()) {
                return Err(self.diverged(Origin::Validation));
            }
            let learning_rate = self.learning_rate();
            let done = Epoch { epoch, epochs: self.epochs, loss, learning_rate, validation };
            let is_best = self.monitor.improves(&done, &mut self.state.best);
            let is_last = self.is_out_of_patience(epoch);
            self.reports.epoch(&done, &self.net, listen)?;
            listen(Event::Epoch(&done));
            // First what the run needs to go on, lest it lack the room.
            if due || is_last {
                self.save(listen)?;
            }
            if is_best {
                self.save_best(listen)?;
            }
            if is_best || due || is_last {
                self.reports.saved(listen);
            }
            validated = done.validation.or(validated);
            if is_last {
                self.stopped_early(listen);
                break;
            }
        }
        Ok(TrainSummary {
            checkpoint: self.last_saved.clone().unwrap_or_default(),
            best: self.state.best.as_ref().map(|_| self.best_path()),
            validation: validated,
            interrupted,
        })
    }

    fn is_out_of_patience(&self, epoch: u32) -> bool {
        self.monitor.is_out_of_patience(epoch, self.state.best.as_ref(), self.monitored_since)
    }

    fn stopped_early(&self, listen: &mut dyn FnMut(Event<'_>)) {
        listen(Event::StoppedEarly { best: self.state.best.as_ref().map_or(0, |best| best.epoch) });
    }

    /// Ends what is counted from one epoch to the next.
    fn end_epoch(&mut self, epoch: u32) {
        self.state.epoch = epoch;
        self.state.loss_sum = 0.0;
        if let Some(weighting) = &mut self.state.class_weighting {
            class_weighting::next_epoch(weighting, epoch);
            self.loss.config.class_weights.clone_from(&weighting.weights);
        }
    }

    /// Trains on the rest of an epoch. Returns its mean loss, or `None` when asked to stop before its end.
    fn epoch(&mut self, epoch: u32, listen: &mut dyn FnMut(Event<'_>)) -> Result<Option<f64>, TrainError> {
        let end = u64::from(epoch) * self.steps_per_epoch;
        while self.state.step < end {
            if self.request.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let Some(batch) = self.loader.next() else { break };
            let (batch, learning_rate) = (batch?, self.learning_rate());
            let (terms, loss) = self.step(&batch, learning_rate)?;
            let step = self.steps_per_epoch - (end - self.state.step);
            let last = LastStep { epoch, step, loss, learning_rate, samples: batch.samples.clone() };
            self.before_last = std::mem::replace(&mut self.last, last);
            if !loss.is_finite() {
                return Err(self.explain(&batch));
            }
            self.state.loss_sum += loss;
            let step = Step {
                epoch,
                epochs: self.epochs,
                step,
                steps: self.steps_per_epoch,
                images: batch.samples.len(),
                learning_rate,
                terms,
                loss,
            };
            self.reports.step(&step, &batch, listen);
            listen(Event::Step(step));
        }
        Ok(Some(self.state.loss_sum / self.steps_per_epoch as f64))
    }

    /// The rate for the next batch.
    fn learning_rate(&self) -> f64 {
        let steps = u64::from(self.epochs) * self.steps_per_epoch;
        self.schedule.rate((self.state.step as f64 / steps as f64).min(1.0))
    }

    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<(LossTerms, f64), TrainError> {
        let (height, width) = (batch.height, batch.width);
        let shape = [batch.samples.len(), self.detector.preprocess.channels, height, width];
        self.net.set_step(self.state.seed, self.state.step);
        let maps = self.net.forward(&batch.images, shape)?;
        let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let Loss { terms, classes, gradients } = self.loss.compute(&views, &batch.truths, height, width);
        let mut loss = terms.total(&self.loss.config);
        if self.penalty != Penalty::default() {
            loss += self.net.regularisation(self.penalty)?;
        }
        self.state.step += 1;
        if !loss.is_finite() {
            return Ok((terms, loss));
        }
        let step = self.state.step;
        self.net.backward(gradients)?;
        let (trained, gradients) = (self.net.trained(), self.net.gradients());
        self.optimizer.step(trained, gradients, step, learning_rate, self.average.as_mut())?;
        if let Some(average) = &mut self.average {
            average.follow(&self.net.running_statistics()?, step);
        }
        if let Some(weighting) = &mut self.state.class_weighting {
            class_weighting::count(weighting, &classes);
        }
        Ok((terms, loss))
    }

    /// The error of a step whose loss is not finite.
    fn explain(&mut self, batch: &Batch) -> TrainError {
        let origin = || -> Result<Origin, TrainError> {
            if let Some(origin) = bad_parameter(&self.detector, &self.net.params()?) {
                return Ok(origin);
            }
            let channels = self.detector.preprocess.channels;
            let shape = [batch.samples.len(), channels, batch.height, batch.width];
            Ok(self.net.first_non_finite(&batch.images, shape)?.map_or(Origin::Loss, Origin::Layer))
        };
        match origin() {
            Ok(origin @ Origin::Parameter { .. }) => {
                // It was the step before that moved them.
                self.last = std::mem::take(&mut self.before_last);
                self.diverged(origin)
            }
            Ok(origin) => self.diverged(origin),
            Err(error) => error,
        }
    }

    /// Whether the last step left all parameters finite.
    fn check_parameters(&self) -> Result<(), TrainError> {
        match bad_parameter(&self.detector, &self.net.params()?) {
            Some(origin) => Err(self.diverged(origin)),
            None => Ok(()),
        }
    }

    /// What the last step spoiled.
    fn diverged(&self, origin: Origin) -> TrainError {
        let LastStep { epoch, step, loss, learning_rate, samples } = &self.last;
        let image = |sample: &usize| self.dataset.samples[*sample].image.clone();
        TrainError::Diverged(Box::new(Divergence {
            epoch: *epoch,
            step: *step,
            loss: *loss,
            learning_rate: *learning_rate,
            origin,
            images: samples.iter().map(image).collect(),
            checkpoint: self.last_saved.clone(),
        }))
    }

    /// The weights that are validated and shipped: the moving average where there is one.
    pub(super) fn weights(&self) -> Result<Params, TrainError> {
        match &self.average {
            Some(average) => Ok(average.params().clone()),
            None => Ok(self.net.params()?),
        }
    }

    fn validate(&self, listen: &mut dyn FnMut(Event<'_>)) -> Result<Validation, TrainError> {
        let mut executor = Executor::new(&self.detector, &self.weights()?)?;
        let (height, width) = (self.detector.preprocess.height, self.detector.preprocess.width);
        let total = self.validation.samples.len();
        let (mut loss, mut found) = (0.0, Vec::new());
        let report = self.evaluation.run_with(
            |batch, out| {
                let images = batch.samples.len();
                let maps = executor.head_maps(&batch.images, images)?;
                let terms = self.loss.compute(&maps, &batch.truths, height, width).terms;
                loss += terms.total(&self.loss.config) * images as f64;
                decode(&maps, &self.loss.heads, height, width, images, self.loss.classes, out);
                Ok::<_, TrainError>(())
            },
            &self.validation,
            &self.validation_images,
            &mut |image| {
                listen(Event::Validating { done: image.sample + 1, total });
                if self.reports.examples().contains(&image.sample) {
                    found.push(image);
                }
            },
        )?;
        Ok(Validation { report, loss: loss / total as f64, found })
    }
}
