//! Everything a run needs before its first step.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use oxidet_graph::{ClassWeighting, Detector, TrainingState, nms_from_spec};
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::TrainingConfig;

use super::monitor::Monitor;
use super::run::{LastStep, Run};
use super::start::{Start, start};
use super::{Event, TrainError, TrainRequest};
use crate::average::MovingAverage;
use crate::class_weighting;
use crate::data::{
    CacheBudget, Dataset, DatasetRequest, ImageStore, LoaderSettings, Split, TrainLoader, TrainingData,
    TrainingSettings,
};
use crate::evaluate::Evaluation;
use crate::interp::TrainNet;
use crate::loss::{LossConfig, YoloLoss};
use crate::net::{self, Freeze, NetConfig};
use crate::optimizer::{Optimizer, penalty_from_spec, rule_from_spec};
use crate::report::Reports;
use crate::schedule::Schedule;

impl<'a> Run<'a> {
    pub(super) fn prepare(
        request: &TrainRequest<'a>,
        listen: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        let spec = request.spec;
        let training = spec.training();
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
        let evaluation = Evaluation::from_spec(spec, detector.preprocess.clone(), nms_from_spec(spec.nms()));
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
