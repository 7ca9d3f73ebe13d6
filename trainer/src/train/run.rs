//! The training loop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use candle_core::Device;
use oxidet_graph::{Checkpoint, Detector, TrainingState, ap_mode_from_spec, nms_from_spec};
use oxidet_proto::lint::Checked;
use oxidet_vision::decode;

use super::csv;
use super::start::{Start, start};
use super::{Epoch, Event, Step, TrainError, TrainRequest, TrainSummary, Validation};
use crate::checkpoint_file::{write_atomically, write_checkpoint};
use crate::data::{
    Batch, CacheBudget, Dataset, DatasetRequest, ImageStore, LoaderSettings, Split, TrainLoader,
    TrainingData, TrainingSettings,
};
use crate::evaluate::{DEFAULT_SCORE, Evaluation};
use crate::interp::{Executor, TrainNet};
use crate::kernel::optimizer::Penalty;
use crate::loss::{LossConfig, LossTerms, YoloLoss};
use crate::net::{self, Freeze, NetConfig};
use crate::optimizer::{Optimizer, penalty_from_spec, regularisation, rule_from_spec};
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
    run.go(listen)
}

/// A run between two steps.
struct Run<'a> {
    request: TrainRequest<'a>,
    detector: Detector,
    net: TrainNet,
    optimizer: Optimizer,
    penalty: Penalty,
    schedule: Schedule,
    loss: YoloLoss,
    loader: TrainLoader,
    validation: Dataset,
    validation_images: ImageStore,
    evaluation: Evaluation,
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
        let Start { params, state, loaded } = start(spec, &detector, request.passphrase)?;

        let open = DatasetRequest::new(spec, request.images.bad_images);
        let dataset = Dataset::open(&open, Split::Train)?;
        let validation = Dataset::open(&open, Split::Validation)?;
        listen(Event::Data { train: &dataset.summary, validation: &validation.summary });
        listen(Event::Network { detector: &detector, parameters: detector.graph.param_count() });
        if let Some(loaded) = &loaded {
            listen(Event::Weights(loaded));
        }

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
        let budget = CacheBudget::new(request.images.cache_bytes);
        let validation_images = ImageStore::new(&validation, detector.preprocess.depth, budget.clone());
        let dataset = Arc::new(dataset);
        let images = ImageStore::new(&dataset, detector.preprocess.depth, budget);
        let data = TrainingData::new(dataset, images, TrainingSettings::from_spec(spec, state.seed));
        let steps_per_epoch = data.steps_per_epoch();
        let settings =
            LoaderSettings { workers: training.n_workers as usize, queue: training.max_queue_size as usize };
        let loader = TrainLoader::new(data, training.num_epochs.into(), settings, state.step);
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
            loss: YoloLoss {
                config: LossConfig::from_spec(spec.yolov4(), spec.class_weighting(), spec.classes()),
                heads: detector.geometry(),
                classes: detector.classes.len(),
            },
            loader,
            validation_images,
            detector,
            net,
            optimizer,
            penalty,
            schedule,
            validation,
            evaluation,
            state,
            epochs: training.num_epochs,
            checkpoint_interval: training.checkpoint_interval.max(1),
            steps_per_epoch,
        })
    }

    fn go(&mut self, listen: &mut dyn FnMut(Event<'_>)) -> Result<TrainSummary, TrainError> {
        self.prepare_folder()?;
        let mut summary = TrainSummary { checkpoint: PathBuf::new(), validation: None, interrupted: false };
        for epoch in self.state.epoch + 1..=self.epochs {
            let Some(loss) = self.epoch(epoch, listen)? else {
                summary.interrupted = true;
                summary.checkpoint = self.save(listen)?;
                break;
            };
            self.state.epoch = epoch;
            self.state.loss_sum = 0.0;
            let due = epoch % self.checkpoint_interval == 0 || epoch == self.epochs;
            let validation = if due { Some(self.validate(listen)?) } else { None };
            let learning_rate = self.learning_rate();
            let done = Epoch { epoch, epochs: self.epochs, loss, learning_rate, validation };
            self.log(&done)?;
            listen(Event::Epoch(&done));
            if due {
                summary.checkpoint = self.save(listen)?;
                summary.validation = done.validation;
            }
        }
        Ok(summary)
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
            if !loss.is_finite() {
                return Err(TrainError::Diverged { epoch, step, loss });
            }
            self.state.loss_sum += loss;
            listen(Event::Step(Step {
                epoch,
                epochs: self.epochs,
                step,
                steps: self.steps_per_epoch,
                images: batch.samples.len(),
                learning_rate,
                terms,
                loss,
            }));
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
        let maps = self.net.forward(&batch.images, shape)?;
        let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let (terms, gradients) = self.loss.compute(&views, &batch.truths, height, width);
        let mut loss = terms.total(&self.loss.config);
        if self.penalty != Penalty::default() {
            loss += regularisation(self.penalty, &self.net.params()?);
        }
        self.state.step += 1;
        if loss.is_finite() {
            self.net.backward(gradients)?;
            self.optimizer.step(self.net.trained(), self.net.gradients(), self.state.step, learning_rate)?;
        }
        Ok((terms, loss))
    }

    fn validate(&self, listen: &mut dyn FnMut(Event<'_>)) -> Result<Validation, TrainError> {
        let mut executor = Executor::new(&self.detector, &self.net.params()?)?;
        let (height, width) = (self.detector.preprocess.height, self.detector.preprocess.width);
        let total = self.validation.samples.len();
        let mut loss = 0.0;
        let report = self.evaluation.run_with(
            |batch, out| {
                let images = batch.samples.len();
                let maps = executor.head_maps(&batch.images, images)?;
                let (terms, _) = self.loss.compute(&maps, &batch.truths, height, width);
                loss += terms.total(&self.loss.config) * images as f64;
                decode(&maps, &self.loss.heads, height, width, images, self.loss.classes, out);
                Ok::<_, TrainError>(())
            },
            &self.validation,
            &self.validation_images,
            &mut |done| listen(Event::Validating { done, total }),
        )?;
        Ok(Validation { report, loss: loss / total as f64 })
    }

    fn save(&self, listen: &mut dyn FnMut(Event<'_>)) -> Result<PathBuf, TrainError> {
        let checkpoint = Checkpoint {
            detector: self.detector.clone(),
            params: self.net.params()?,
            spec: self.request.spec.source().text().to_owned(),
            training: Some(TrainingState {
                slots: self.optimizer.slots(self.net.trained()),
                ..self.state.clone()
            }),
        };
        let (arch, epoch) = (&self.detector.arch, self.state.epoch);
        // A run stopped inside an epoch saves beside the checkpoint of the epoch before.
        let inside = self.state.step > u64::from(epoch) * self.steps_per_epoch;
        let suffix = if inside { "_interrupted" } else { "" };
        let name = format!("yolov4_{arch}_epoch_{epoch:03}{suffix}.tlt");
        let path = self.weights_dir().join(name);
        write_checkpoint(&path, &checkpoint, self.request.passphrase)?;
        listen(Event::Saved { path: &path });
        Ok(path)
    }

    fn weights_dir(&self) -> PathBuf {
        self.request.results_dir.join("weights")
    }

    fn log_path(&self) -> PathBuf {
        self.request.results_dir.join(format!("yolov4_training_log_{}.csv", self.detector.arch))
    }

    /// Makes the folders, the class list, and the log: empty, or with the epochs before the resumed one.
    fn prepare_folder(&self) -> Result<(), TrainError> {
        let weights = self.weights_dir();
        fs::create_dir_all(&weights).map_err(|source| TrainError::Io { path: weights.clone(), source })?;
        let labels = self.request.results_dir.join("model_output_labels.txt");
        write(&labels, &self.detector.classes.join("\n"))?;
        let log = self.log_path();
        let before =
            if self.state.epoch > 0 { fs::read_to_string(&log).unwrap_or_default() } else { String::new() };
        let kept = csv::up_to(&before, self.state.epoch);
        write(&log, &if kept.is_empty() { csv::header(&self.detector.classes) } else { kept })
    }

    fn log(&self, epoch: &Epoch) -> Result<(), TrainError> {
        let path = self.log_path();
        let before =
            fs::read_to_string(&path).map_err(|source| TrainError::Io { path: path.clone(), source })?;
        write(&path, &(before + &csv::row(epoch, self.detector.classes.len())))
    }
}

fn write(path: &Path, text: &str) -> Result<(), TrainError> {
    write_atomically(path, text.as_bytes()).map_err(|source| TrainError::Io { path: path.to_owned(), source })
}

fn freeze(spec: &Checked, detector: &Detector) -> Freeze {
    let net = spec.yolov4();
    let blocks: Vec<u16> = net.freeze_blocks.iter().map(|block| *block as u16).collect();
    Freeze::new(&detector.graph, &blocks, net.freeze_bn)
}
