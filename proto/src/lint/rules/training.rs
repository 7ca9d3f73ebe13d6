//! `training_config`: how long, how fast, from where.

use crate::lint::rule::{Bounds, Rule, TRAIN, above, at_least};
use crate::spec::{Adam, EarlyStopping, Experiment, RegularizerType, RmsProp, Sgd};

const COUNT: Bounds = at_least(1.0);
const OPEN_SHARE: Bounds = above(0.0).below(1.0);

macro_rules! read {
    ($field:ident) => {
        |spec| spec.training_config.as_ref().map(|t| t.$field.into())
    };
    ($message:ident . $field:ident) => {
        |spec| $message(spec).map(|m| m.$field.into())
    };
}

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::range(
        "S301",
        TRAIN,
        "training_config.batch_size_per_gpu",
        read!(batch_size_per_gpu),
        COUNT,
        "the number of images per step",
    ),
    Rule::range(
        "S302",
        TRAIN,
        "training_config.num_epochs",
        read!(num_epochs),
        COUNT,
        "how often the data is seen",
    ),
    Rule::range(
        "S303",
        TRAIN,
        "training_config.checkpoint_interval",
        read!(checkpoint_interval),
        COUNT,
        "the number of epochs between checkpoints; 10 is usual",
    ),
    Rule::test("S304", TRAIN, "a learning rate schedule must be set", |spec, findings| {
        if spec.training_config.is_some() && schedule(spec).is_none() {
            let finding =
                findings.error("training_config.learning_rate", "there is no learning rate schedule");
            finding.help(
                "add `learning_rate { soft_start_cosine_annealing_schedule { min_learning_rate: 1e-7 \
                 max_learning_rate: 1e-4 soft_start: 0.3 } }`",
            );
        }
    }),
    Rule::test("S305", TRAIN, "an optimizer must be set", |spec, findings| {
        let Some(training) = &spec.training_config else { return };
        let chosen = training.optimizer.as_ref();
        if !chosen.is_some_and(|o| o.adam.is_some() || o.sgd.is_some() || o.rmsprop.is_some()) {
            let finding = findings.error("training_config.optimizer", "there is no optimizer");
            finding.help("add `optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }`");
        }
    }),
    Rule::test("S311", TRAIN, "`min_learning_rate` must be above 0", |spec, findings| {
        let Some(s) = schedule(spec) else { return };
        if !(s.min > 0.0 && s.min.is_finite()) {
            findings.error(&s.path("min_learning_rate"), "`min_learning_rate` must be above 0");
        }
    }),
    Rule::test("S312", TRAIN, "`max_learning_rate` must be above `min_learning_rate`", |spec, findings| {
        let Some(s) = schedule(spec) else { return };
        let fits = s.max > s.min && s.max.is_finite();
        if !fits && !s.min.is_nan() {
            let message = format!(
                "`max_learning_rate` is {}, must be above `min_learning_rate`, which is {}",
                s.max, s.min
            );
            findings.error(&s.path("max_learning_rate"), message);
        }
    }),
    Rule::test("S313", TRAIN, "`soft_start` must be from 0 to 1", |spec, findings| {
        let Some(s) = schedule(spec) else { return };
        if !(0.0..=1.0).contains(&s.soft_start) {
            let finding = findings.error(&s.path("soft_start"), "`soft_start` must be from 0 to 1");
            finding.reason("the share of the run in which the rate rises");
        }
    }),
    Rule::test("S314", TRAIN, "`annealing` must be above `soft_start` and at most 1", |spec, findings| {
        let Some(s) = schedule(spec) else { return };
        let Some(annealing) = s.annealing else { return };
        if !(annealing > s.soft_start && annealing <= 1.0) {
            let message = format!(
                "`annealing` is {annealing}, must be above `soft_start`, which is {}, and at most 1",
                s.soft_start
            );
            let finding = findings.error(&s.path("annealing"), message);
            finding.reason("the share of the run after which the rate falls");
        }
    }),
    Rule::range(
        "S321",
        TRAIN,
        "training_config.optimizer.adam.beta1",
        read!(adam.beta1),
        OPEN_SHARE,
        "0.9 is usual",
    ),
    Rule::range(
        "S322",
        TRAIN,
        "training_config.optimizer.adam.beta2",
        read!(adam.beta2),
        OPEN_SHARE,
        "0.999 is usual",
    ),
    Rule::range(
        "S323",
        TRAIN,
        "training_config.optimizer.adam.epsilon",
        read!(adam.epsilon),
        above(0.0),
        "1e-7 is usual",
    ),
    Rule::range(
        "S324",
        TRAIN,
        "training_config.optimizer.sgd.momentum",
        read!(sgd.momentum),
        at_least(0.0),
        "0.9 is usual",
    ),
    Rule::range(
        "S325",
        TRAIN,
        "training_config.optimizer.rmsprop.rho",
        read!(rmsprop.rho),
        OPEN_SHARE,
        "0.9 is usual",
    ),
    Rule::range(
        "S326",
        TRAIN,
        "training_config.optimizer.rmsprop.momentum",
        read!(rmsprop.momentum),
        at_least(0.0),
        "0 turns it off",
    ),
    Rule::range(
        "S327",
        TRAIN,
        "training_config.optimizer.rmsprop.epsilon",
        read!(rmsprop.epsilon),
        above(0.0),
        "1e-7 is usual",
    ),
    Rule::range(
        "S331",
        TRAIN,
        "training_config.regularizer.weight",
        |spec| {
            let regularizer = spec.training().regularizer.as_ref()?;
            (regularizer.r#type != RegularizerType::None).then(|| regularizer.weight.into())
        },
        OPEN_SHARE,
        "the factor of the weights' norm in the loss; `type: NO_REG` turns it off",
    ),
    Rule::test("S341", TRAIN, "early stopping must monitor something there is", |spec, findings| {
        const MONITORS: [&str; 3] = ["loss", "validation_loss", "mAP"];
        let Some(early) = early_stopping(spec) else { return };
        if !MONITORS.contains(&early.monitor.as_str()) {
            let message = match early.monitor.as_str() {
                "" => "`monitor` is missing: what is to improve?".to_owned(),
                other => format!("`{}` cannot be monitored", other.chars().take(40).collect::<String>()),
            };
            let finding = findings.error("training_config.early_stopping.monitor", message);
            finding.help(format!("it can be {}", MONITORS.join(", ")));
        }
    }),
    Rule::range(
        "S342",
        TRAIN,
        "training_config.early_stopping.min_delta",
        read!(early_stopping.min_delta),
        at_least(0.0),
        "the smallest improvement that counts",
    ),
    Rule::range(
        "S343",
        TRAIN,
        "training_config.early_stopping.patience",
        read!(early_stopping.patience),
        COUNT,
        "the number of epochs without improvement before stopping",
    ),
    Rule::test(
        "S351",
        TRAIN,
        "`wandb_config` starts Weights & Biases even when `enabled` is false",
        |spec, findings| {
            let Some(wandb) = spec.training().visualizer.as_ref().and_then(|v| v.wandb_config.as_ref())
            else {
                return;
            };
            let path = "training_config.visualizer.wandb_config.enabled";
            if !wandb.enabled && findings.is_written(path) {
                let finding = findings.warning(path, "`enabled: false` turns Weights & Biases off");
                finding
                    .reason("the original starts it wherever `wandb_config` is present")
                    .help("remove `wandb_config`");
            }
        },
    ),
];

fn adam(spec: &Experiment) -> Option<&Adam> {
    spec.training().optimizer.as_ref()?.adam.as_ref()
}

fn sgd(spec: &Experiment) -> Option<&Sgd> {
    spec.training().optimizer.as_ref()?.sgd.as_ref()
}

fn rmsprop(spec: &Experiment) -> Option<&RmsProp> {
    spec.training().optimizer.as_ref()?.rmsprop.as_ref()
}

fn early_stopping(spec: &Experiment) -> Option<&EarlyStopping> {
    spec.training().early_stopping.as_ref()
}

/// What the two schedules have in common.
struct Schedule {
    name: &'static str,
    min: f32,
    max: f32,
    soft_start: f32,
    annealing: Option<f32>,
}

impl Schedule {
    fn path(&self, field: &str) -> String {
        format!("training_config.learning_rate.{}.{field}", self.name)
    }
}

fn schedule(spec: &Experiment) -> Option<Schedule> {
    let rate = spec.training().learning_rate.as_ref()?;
    let annealing = rate.soft_start_annealing_schedule.as_ref().map(|s| Schedule {
        name: "soft_start_annealing_schedule",
        min: s.min_learning_rate,
        max: s.max_learning_rate,
        soft_start: s.soft_start,
        annealing: Some(s.annealing),
    });
    let cosine = || {
        rate.soft_start_cosine_annealing_schedule.as_ref().map(|s| Schedule {
            name: "soft_start_cosine_annealing_schedule",
            min: s.min_learning_rate,
            max: s.max_learning_rate,
            soft_start: s.soft_start,
            annealing: None,
        })
    };
    annealing.or_else(cosine)
}
