//! The training loop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use candle_core::Device;
use oxidet_graph::{
    Checkpoint, ClassWeighting, Detector, Params, TrainingState, ap_mode_from_spec, nms_from_spec,
};
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::TrainingConfig;
use oxidet_vision::decode;

use super::diverged::{Divergence, Origin, bad_parameter};
use super::monitor::Monitor;
use super::start::{Start, start};
use super::{Epoch, Event, Found, Step, TrainError, TrainRequest, TrainSummary, Validation};
use crate::average::MovingAverage;
use crate::checkpoint_file::{write_atomically, write_checkpoint};
use crate::class_weighting;
use crate::data::{
    Batch, CacheBudget, Dataset, DatasetRequest, ImageStore, LoaderSettings, Split, TrainLoader,
    TrainingData, TrainingSettings,
};
use crate::evaluate::{DEFAULT_SCORE, Evaluation};
use crate::interp::{Executor, TrainNet};
use crate::kernel::optimizer::Penalty;
use crate::loss::{Loss, LossConfig, LossTerms, YoloLoss};
use crate::net::{self, Freeze, NetConfig};
use crate::optimizer::{Optimizer, penalty_from_spec, rule_from_spec};
use crate::report::Reports;
use crate::schedule::Schedule;

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
struct LastStep {
    epoch: u32,
    step: u64,
    loss: f64,
    learning_rate: f64,
    samples: Vec<usize>,
}

/// A run between two steps.
struct Run<'a> {
    request: TrainRequest<'a>,
    detector: Detector,
    net: TrainNet,
    optimizer: Optimizer,
    average: Option<MovingAverage>,
    penalty: Penalty,
    schedule: Schedule,
    monitor: Monitor,
    /// The epoch after which monitoring began.
    monitored_since: u32,
    last: LastStep,
    before_last: LastStep,
    /// The checkpoint to go back to.
    last_saved: Option<PathBuf>,
    /// The spec that checkpoints carry.
    spec_text: String,
    loss: YoloLoss,
    dataset: Arc<Dataset>,
    loader: TrainLoader,
    validation: Dataset,
    validation_images: ImageStore,
    evaluation: Evaluation,
    reports: Reports,
    state: TrainingState,
    epochs: u32,
    checkpoint_interval: u32,
    steps_per_epoch: u64,
}

impl<'a> Run<'a> {
    fn prepare(request: &TrainRequest<'a>, listen: &mut dyn FnMut(Event<'_>)) -> Result<Self, TrainError> {
        let spec = request.spec;
        let (training, eval) = (spec.training(), spec.eval());
        let missing =
            |what: &str| TrainError::Spec(format!("training_config.{what} is not set; training needs it"));
        let rule =
            training.optimizer.as_ref().and_then(rule_from_spec).ok_or_else(|| missing("optimizer"))?;
        let schedule = training
            .learning_rate
            .as_ref()
            .and_then(Schedule::from_spec)
            .ok_or_else(|| missing("learning_rate"))?;

        let detector = net::build(&NetConfig::from_spec(spec))?;
        let start = start(spec, detector, request.passphrase)?;
        let Start { detector, params, mut state, loaded, changes, spec: spec_text } = start;

        let open = DatasetRequest::new(spec, request.images.bad_images);
        let dataset = Dataset::open(&open, Split::Train)?;
        let validation = Dataset::open(&open, Split::Validation)?;
        listen(Event::Data { train: &dataset.summary, validation: &validation.summary });
        listen(Event::Network { detector: &detector, parameters: detector.graph.param_count() });
        if let Some(loaded) = &loaded {
            listen(Event::Weights(loaded));
        }
        if let Some(path) = &training.resume_model_path {
            listen(Event::Resumed { epoch: state.epoch, changes: &changes });
            check_place(&state, &dataset, training, path)?;
        }
        state.images = dataset.samples.len() as u64;
        let monitor = Monitor::from_spec(training);
        // What another monitor found cannot be compared.
        state.best = state.best.filter(|best| monitor.found(best));

        // Where there is an average, it is what checkpoints have as their parameters.
        let live = state.live.take();
        let average = training.model_ema.then(|| MovingAverage::new(params.clone()));
        let params = live.unwrap_or(params);
        let net = TrainNet::new(&detector, &params, freeze(spec, &detector), &Device::Cpu)?;
        let penalty = penalty_from_spec(training.regularizer.as_ref());
        let optimizer = Optimizer::new(rule, penalty, net.trained(), &state.slots).map_err(|what| {
            TrainError::Weights {
                path: training.resume_model_path.clone().unwrap_or_default().into(),
                what: format!(
                    "the checkpoint lacks the optimiser's {what}; it was trained with another optimizer"
                ),
            }
        })?;
        let reports = Reports::new(request, &detector, &state, &dataset, &validation);
        let budget = CacheBudget::new(request.images.cache_bytes);
        let validation_images = ImageStore::new(&validation, detector.preprocess.depth, budget.clone());
        let dataset = Arc::new(dataset);
        let images = ImageStore::new(&dataset, detector.preprocess.depth, budget);
        let data = TrainingData::new(dataset.clone(), images, TrainingSettings::from_spec(spec, state.seed));
        let steps_per_epoch = data.steps_per_epoch();
        let settings =
            LoaderSettings { workers: training.n_workers as usize, queue: training.max_queue_size as usize };
        let loader = TrainLoader::new(data, training.num_epochs.into(), settings, state.step);
        let mut loss = LossConfig::from_spec(spec.yolov4(), spec.class_weighting(), spec.classes());
        if spec.class_weighting().enable_auto {
            let state =
                state.class_weighting.get_or_insert_with(|| class_weighting::start(&loss.class_weights));
            loss.class_weights.clone_from(&state.weights);
        } else {
            state.class_weighting = None;
        }
        let evaluation = Evaluation {
            preprocess: detector.preprocess.clone(),
            nms: nms_from_spec(spec.nms()),
            batch_size: eval.batch_size as usize,
            mode: ap_mode_from_spec(eval.average_precision_mode),
            iou_threshold: eval.matching_iou_threshold,
            score_threshold: DEFAULT_SCORE,
        };
        Ok(Self {
            request: *request,
            loss: YoloLoss { config: loss, heads: detector.geometry(), classes: detector.classes.len() },
            dataset,
            loader,
            validation_images,
            detector,
            net,
            optimizer,
            average,
            penalty,
            schedule,
            monitor,
            last: LastStep::default(),
            before_last: LastStep::default(),
            monitored_since: state.epoch,
            last_saved: training.resume_model_path.as_ref().map(PathBuf::from),
            spec_text,
            validation,
            evaluation,
            reports,
            state,
            epochs: training.num_epochs,
            checkpoint_interval: training.checkpoint_interval.max(1),
            steps_per_epoch,
        })
    }

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
            let Some(loss) = self.epoch(epoch, listen)? else {
                interrupted = true;
                self.save(listen)?;
                break;
            };
            self.end_epoch(epoch);
            self.check_parameters()?;
            let due = epoch % self.checkpoint_interval == 0 || epoch == self.epochs;
            let validate = due || self.monitor.validates_every_epoch();
            let validation = if validate { Some(self.validate(listen)?) } else { None };
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
        self.net.set_noise(self.state.seed, self.state.step);
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
    fn weights(&self) -> Result<Params, TrainError> {
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
                for (image, sample) in batch.samples.iter().enumerate() {
                    if self.reports.examples().contains(sample) {
                        let detections = out.suppress(image, &self.evaluation.nms);
                        found.push(Found { sample: *sample, detections });
                    }
                }
                Ok::<_, TrainError>(())
            },
            &self.validation,
            &self.validation_images,
            &mut |done| listen(Event::Validating { done, total }),
        )?;
        Ok(Validation { report, loss: loss / total as f64, found })
    }

    /// Saves all that the run needs to go on.
    fn save(&mut self, listen: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        self.check_parameters()?;
        let live = self.net.params()?;
        let (params, live) = match &self.average {
            Some(average) => (average.params().clone(), Some(live)),
            None => (live, None),
        };
        let slots = self.optimizer.slots(self.net.trained());
        let training = Some(TrainingState { slots, live, ..self.state.clone() });
        let (arch, epoch) = (&self.detector.arch, self.state.epoch);
        // A run stopped inside an epoch saves beside the checkpoint of the epoch before.
        let inside = self.state.step > u64::from(epoch) * self.steps_per_epoch;
        let suffix = if inside { "_interrupted" } else { "" };
        let path = self.weights_dir().join(format!("yolov4_{arch}_epoch_{epoch:03}{suffix}.tlt"));
        self.write(&path, params, training)?;
        listen(Event::Saved { path: &path });
        self.last_saved = Some(path);
        Ok(())
    }

    /// Saves the weights alone.
    fn save_best(&self, listen: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let path = self.best_path();
        self.write(&path, self.weights()?, None)?;
        listen(Event::Best { path: &path });
        Ok(())
    }

    fn write(&self, path: &Path, params: Params, training: Option<TrainingState>) -> Result<(), TrainError> {
        let (detector, spec) = (self.detector.clone(), self.spec_text.clone());
        let checkpoint = Checkpoint { detector, params, spec, training };
        Ok(write_checkpoint(path, &checkpoint, self.request.passphrase)?)
    }

    fn best_path(&self) -> PathBuf {
        self.weights_dir().join(format!("yolov4_{}_best.tlt", self.detector.arch))
    }

    fn weights_dir(&self) -> PathBuf {
        self.request.results_dir.join("weights")
    }

    /// Makes the folders and the class list.
    fn prepare_folder(&self) -> Result<(), TrainError> {
        let weights = self.weights_dir();
        fs::create_dir_all(&weights).map_err(|source| TrainError::Io { path: weights.clone(), source })?;
        let path = self.request.results_dir.join("model_output_labels.txt");
        write_atomically(&path, self.detector.classes.join("\n").as_bytes())
            .map_err(|source| TrainError::Io { path, source })
    }
}

/// Whether a resumed run has epochs left, and its place in them is one that its data has.
fn check_place(
    state: &TrainingState,
    dataset: &Dataset,
    training: &TrainingConfig,
    checkpoint: &str,
) -> Result<(), TrainError> {
    let refuse = |what: String| Err(TrainError::Weights { path: checkpoint.into(), what });
    let (before, now) = (state.images, dataset.samples.len() as u64);
    if before != 0 && before != now {
        return refuse(format!(
            "the run was training on {before} images and the spec's data has {now}; give it the same images, or start a new run \
             from its weights with pretrain_model_path"
        ));
    }
    if state.epoch >= training.num_epochs {
        return refuse(format!(
            "the run has completed {} epochs and the spec asks for {}; raise num_epochs to go on",
            state.epoch, training.num_epochs
        ));
    }
    let steps = now.div_ceil(u64::from(training.batch_size_per_gpu));
    let epochs = u64::from(state.epoch);
    if !(epochs * steps..(epochs + 1) * steps).contains(&state.step) {
        return refuse(format!("step {} is not in epoch {}; the file is damaged", state.step, epochs + 1));
    }
    let classes = dataset.classes.len();
    let fits = |state: &ClassWeighting| {
        [state.weights.len(), state.losses.len(), state.rows.len()].iter().all(|len| *len == classes)
    };
    if !state.class_weighting.as_ref().is_none_or(fits) {
        return refuse("its class weights are not for its classes; the file is damaged".into());
    }
    Ok(())
}

fn freeze(spec: &Checked, detector: &Detector) -> Freeze {
    let net = spec.yolov4();
    let blocks: Vec<u16> = net.freeze_blocks.iter().map(|block| *block as u16).collect();
    Freeze::new(&detector.graph, &blocks, net.freeze_bn)
}
