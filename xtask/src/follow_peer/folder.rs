//! The folder that tells the peer what to train: `case.json`, parameters and batches, as its own documentation describes them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use oxidet_compute::kernel::optimizer::Rule;
use oxidet_graph::{Detector, ParamSpec, Params, Tensor};
use oxidet_proto::lint::Checked;
use oxidet_trainer::data::{
    BadImages, Batch, CacheBudget, Dataset, DatasetRequest, ImageStore, LoaderSettings, Split, TrainLoader,
    TrainingData, TrainingSettings,
};
use oxidet_trainer::loss::LossConfig;
use oxidet_trainer::net::NetConfig;
use oxidet_trainer::optimizer::{penalty_from_spec, rule_from_spec};
use oxidet_trainer::schedule::Schedule;
use oxidet_vision::NormBox;
use oxidet_vision::metrics::Truth;
use serde_json::{Value, json};

/// Writes the first `steps` batches of a run with this spec and all that the peer needs to train on them.
///
/// # Errors
/// When the data cannot be read, the run is shorter, or the peer lacks what the spec asks for.
pub fn write(
    folder: &Path,
    spec: &Checked,
    detector: &Detector,
    initial: &Params,
    steps: usize,
) -> Result<()> {
    let dataset = Arc::new(Dataset::open(&DatasetRequest::new(spec, BadImages::Stop), Split::Train)?);
    let images = ImageStore::new(&dataset, detector.preprocess.depth, CacheBudget::new(0));
    let data = TrainingData::new(dataset, images, TrainingSettings::from_spec(spec, spec.random_seed.into()));
    let epochs = spec.training().num_epochs.into();
    let steps_of_the_run = data.steps_per_epoch() * epochs;
    ensure!(steps as u64 <= steps_of_the_run, "the run of the spec has {steps_of_the_run} steps only");

    let mut batches = Vec::new();
    for (number, batch) in
        TrainLoader::new(data, epochs, LoaderSettings::default(), 0).take(steps).enumerate()
    {
        let batch = batch?;
        std::fs::write(folder.join(format!("images_{number:03}.f32")), bytes(&batch.images))?;
        batches.push(described(&batch, detector));
    }
    let specs = detector.graph.param_specs();
    let mut values = Vec::new();
    for param in &specs {
        values.extend_from_slice(initial.get(&param.name).context("every parameter has a start")?.data());
    }
    std::fs::write(folder.join("params.f32"), bytes(&values))?;

    let training = spec.training();
    let penalty = penalty_from_spec(training.regularizer.as_ref());
    let case = json!({
        "network": network(spec, detector),
        "loss": loss(spec, detector.classes.len()),
        "optimizer": optimizer(training.optimizer.as_ref().and_then(rule_from_spec))?,
        "regularizer": { "l1": penalty.l1, "l2": penalty.l2 },
        "schedule": schedule(training.learning_rate.as_ref().and_then(Schedule::from_spec))?,
        "steps_of_the_run": steps_of_the_run,
        "params": specs.iter().map(|p| json!({ "name": p.name, "shape": p.shape })).collect::<Vec<_>>(),
        "batches": batches,
    });
    Ok(std::fs::write(folder.join("case.json"), serde_json::to_vec(&case)?)?)
}

/// Parameters as the peer writes them: in this order, without gaps.
///
/// # Errors
/// When the file cannot be read or has another length.
pub fn read_params(path: &Path, specs: &[ParamSpec]) -> Result<Params> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let (floats, rest) = bytes.as_chunks::<4>();
    let mut floats = floats.iter().map(|float| f32::from_le_bytes(*float));
    let params = specs
        .iter()
        .map(|spec| {
            let len = spec.shape.iter().product();
            let data: Vec<f32> = floats.by_ref().take(len).collect();
            ensure!(data.len() == len, "{} ends in {}", path.display(), spec.name);
            Ok((spec.name.clone(), Tensor::new(spec.shape.clone(), data)))
        })
        .collect::<Result<Params>>()?;
    ensure!(floats.next().is_none() && rest.is_empty(), "{} is too long", path.display());
    Ok(params)
}

fn described(batch: &Batch, detector: &Detector) -> Value {
    let shape = [batch.samples.len(), detector.preprocess.channels, batch.height, batch.width];
    let object = |truth: &Truth| {
        let NormBox { x1, y1, x2, y2 } = truth.bbox;
        (truth.class, [x1, y1, x2, y2].map(f64::from))
    };
    let objects: Vec<Vec<_>> =
        batch.truths.iter().map(|truths| truths.iter().map(object).collect()).collect();
    json!({ "shape": shape, "objects": objects })
}

fn network(spec: &Checked, detector: &Detector) -> Value {
    let config = NetConfig::from_spec(spec);
    let (anchors, extend, heads) = (config.anchors, config.grid_xy_extend, detector.heads.len());
    let anchors = [anchors.big, anchors.mid, anchors.small];
    let extend = [extend.big, extend.mid, extend.small];
    json!({
        "arch": detector.arch,
        "activation": config.activation,
        "force_relu": config.force_relu,
        "width": config.preprocess.width,
        "height": config.preprocess.height,
        "classes": config.classes.len(),
        "anchors": &anchors[..heads],
        "grid_xy_extend": &extend[..heads],
    })
}

fn loss(spec: &Checked, classes: usize) -> Value {
    let config = LossConfig::from_spec(spec.yolov4(), spec.class_weighting(), spec.classes());
    let mut class_weights = config.class_weights;
    class_weights.resize(classes, 1.0);
    json!({
        "loc_weight": config.loc_weight,
        "neg_obj_weight": config.neg_obj_weight,
        "class_weight": config.class_weight,
        "box_matching_iou": config.box_matching_iou,
        "matching_neutral_box_iou": config.neutral_iou,
        "label_smoothing": config.label_smoothing,
        "focal_alpha": config.focal_alpha,
        "focal_gamma": config.focal_gamma,
        "class_weights": class_weights,
    })
}

fn optimizer(rule: Option<Rule>) -> Result<Value> {
    Ok(match rule {
        Some(Rule::Adam { beta1, beta2, epsilon, amsgrad }) => {
            json!({ "kind": "adam", "beta1": beta1, "beta2": beta2, "epsilon": epsilon, "amsgrad": amsgrad })
        }
        Some(Rule::Sgd { momentum, nesterov }) => {
            json!({ "kind": "sgd", "momentum": momentum, "nesterov": nesterov })
        }
        Some(Rule::RmsProp { .. }) => {
            bail!("the original cannot train with rmsprop, so there is nothing to follow")
        }
        None => bail!("the spec names no optimizer"),
    })
}

fn schedule(schedule: Option<Schedule>) -> Result<Value> {
    Ok(match schedule.context("the spec names no learning_rate")? {
        Schedule::Annealing { min, max, soft_start, annealing } => {
            json!({ "kind": "annealing", "min": min, "max": max, "soft_start": soft_start, "annealing": annealing })
        }
        Schedule::Cosine { min, max, soft_start } => {
            json!({ "kind": "cosine", "min": min, "max": max, "soft_start": soft_start })
        }
    })
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
