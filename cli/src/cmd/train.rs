//! `oxidet train`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{FormattedDuration, ProgressBar};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_trainer::data::Summary;
use oxidet_trainer::train::{Epoch, Event, Step, TrainRequest, TrainSummary, train};
use serde_json::{Map, Value, json};

use crate::console;
use crate::data::{DataArgs, warn_of_skipped};
use crate::exit::Failure;
use crate::key::KeyArgs;
use crate::progress;
use crate::spec;
use crate::status::{Status, StatusLog};
use crate::stop;
use crate::table;

/// Train a detector
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet train -e spec.txt -r results\n  \
    OXIDET_KEY=secret oxidet train -e spec.txt -r results      encrypted checkpoints\n\n\
    Checkpoints go to <results_dir>/weights. Ctrl-C saves and stops; set resume_model_path to go on.")]
pub struct TrainArgs {
    /// Experiment spec
    #[arg(short = 'e', long = "experiment_spec_file", alias = "experiment_spec", value_name = "SPEC")]
    spec: PathBuf,
    /// Folder for checkpoints and logs
    #[arg(short = 'r', long = "results_dir", value_name = "DIR")]
    results_dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Train although the spec asks for something this version does not do; it is left out
    #[arg(long)]
    allow_unsupported: bool,
}

pub fn run(args: &TrainArgs) -> Result<(), Failure> {
    let summary = StatusLog::around(Some(&args.results_dir), "YOLOv4 training", |log| {
        let spec = spec::read(&args.spec, Verb::Train, args.allow_unsupported)?;
        let passphrase = args.key.passphrase()?;
        let summary = train_spec(&spec, &args.results_dir, passphrase.as_ref(), &args.data, log)?;
        let map = summary.validation.as_ref().and_then(|validation| validation.report.map);
        Ok((summary, json!({ "kpi": { "mean average precision": map } })))
    })?;
    console::print(&format!("checkpoint: {}", summary.checkpoint.display()));
    Ok(())
}

/// Trains, with bars, lines and `status.json` for those who watch. A run that is interrupted has saved, and is a failure.
pub fn train_spec(
    spec: &Checked,
    results_dir: &Path,
    passphrase: Option<&Passphrase>,
    data: &DataArgs,
    log: &mut StatusLog,
) -> Result<TrainSummary, Failure> {
    let request = TrainRequest {
        spec,
        results_dir,
        passphrase,
        images: data.image_options(),
        stop: stop::on_signal()?,
    };
    log.line(Status::Started, "Starting training loop.", Value::Null, Value::Null);
    let mut watcher = Watcher::new(spec.classes().names(), log);
    let summary = train(&request, &mut |event| watcher.hear(&event))?;
    watcher.bar.finish_and_clear();
    if summary.interrupted {
        return Err(Failure::interrupted(format!(
            "stopped; to go on, set resume_model_path: \"{}\"",
            summary.checkpoint.display()
        )));
    }
    log.line(Status::Running, "Training loop complete.", Value::Null, Value::Null);
    Ok(summary)
}

/// Turns events into bars, lines and `status.json`.
struct Watcher<'a> {
    classes: Vec<String>,
    log: &'a mut StatusLog,
    bar: ProgressBar,
    epoch_started: Instant,
    pace: Pace,
}

/// How fast training goes, validation and saving left out.
struct Pace {
    /// When the step under way began.
    since: Instant,
    seconds: f64,
    steps: u64,
    images: usize,
}

impl Pace {
    fn step(&mut self, images: usize) {
        self.seconds += self.since.elapsed().as_secs_f64();
        self.steps += 1;
        self.images += images;
        self.since = Instant::now();
    }

    fn images_per_second(&self) -> f64 {
        self.images as f64 / self.seconds
    }

    fn seconds_for(&self, steps: u64) -> f64 {
        steps as f64 * self.seconds / self.steps as f64
    }
}

impl<'a> Watcher<'a> {
    fn new(classes: &[String], log: &'a mut StatusLog) -> Self {
        let now = Instant::now();
        let pace = Pace { since: now, seconds: 0.0, steps: 0, images: 0 };
        Self { classes: classes.to_vec(), log, bar: ProgressBar::hidden(), epoch_started: now, pace }
    }

    fn hear(&mut self, event: &Event<'_>) {
        match event {
            Event::Data { train, validation } => {
                self.data("training", train);
                self.data("validation", validation);
            }
            Event::Network { detector, parameters } => {
                (self.epoch_started, self.pace.since) = (Instant::now(), Instant::now());
                let preprocess = &detector.preprocess;
                console::info(&format!(
                    "network: {} at {}x{}x{}, {:.2} M parameters{}",
                    detector.arch,
                    preprocess.channels,
                    preprocess.height,
                    preprocess.width,
                    *parameters as f64 / 1e6,
                    if detector.graph.is_quantized() { ", trained with quantisation" } else { "" }
                ));
            }
            Event::Weights(loaded) => {
                console::info(&format!("weights: {} {}", loaded.path.display(), loaded.report));
                console::debug(&format!("{:#}", loaded.report));
            }
            Event::Step(step) => self.step(step),
            Event::Validating { done, total } => {
                if self.bar.length() != Some(*total as u64) || self.bar.is_finished() {
                    self.bar.finish_and_clear();
                    self.bar = progress::bar(*total as u64, "validating");
                }
                self.bar.set_position(*done as u64);
            }
            Event::Epoch(epoch) => self.epoch(epoch),
            Event::Resumed { epoch, changes } => {
                console::info(&format!("resuming after epoch {epoch}"));
                for change in *changes {
                    console::info(&format!("changed since the checkpoint: {change}"));
                }
            }
            Event::Saved { path } => {
                console::info(&format!("saved {}", path.display()));
                self.pace.since = Instant::now();
            }
            Event::Best { path } => {
                console::info(&format!("best so far; saved {}", path.display()));
                self.pace.since = Instant::now();
            }
            Event::StoppedEarly { best } => {
                console::info(&format!("no longer improving; stopping. The best epoch was {best}"));
            }
            Event::ReportFailed(error) => console::warn(&error.to_string()),
            _ => {}
        }
    }

    fn data(&self, what: &str, summary: &Summary) {
        let counts =
            self.classes.iter().zip(&summary.objects).map(|(class, count)| format!("{class} {count}"));
        console::info(&format!(
            "{what} data: {} images ({} without objects); {}",
            summary.images,
            summary.negatives,
            counts.collect::<Vec<_>>().join(", ")
        ));
        for (class, _) in self.classes.iter().zip(&summary.objects).filter(|(_, count)| **count == 0) {
            console::warn(&format!(
                "the {what} labels have no object of class `{class}`; check target_class_mapping"
            ));
        }
        warn_of_skipped(summary);
        if summary.invalid > 0 {
            console::info(&format!("{what} data: {} boxes without area are left out", summary.invalid));
        }
        if !summary.unmapped.is_empty() {
            let names = summary.unmapped.iter().map(|(name, count)| format!("{name} {count}"));
            console::info(&format!(
                "{what} data: objects of classes that are not mapped count as background: {}",
                names.collect::<Vec<_>>().join(", ")
            ));
        }
    }

    fn step(&mut self, step: &Step) {
        self.pace.step(step.images);
        if step.step == 1 || self.bar.length() != Some(step.steps) {
            self.bar.finish_and_clear();
            self.bar =
                progress::bar_without_eta(step.steps, &format!("epoch {}/{}", step.epoch, step.epochs));
        }
        let left = u64::from(step.epochs - step.epoch) * step.steps + step.steps - step.step;
        self.bar.set_message(format!(
            "loss {:.3} lr {:.2e} {:.1} img/s ETA {}",
            step.loss,
            step.learning_rate,
            self.pace.images_per_second(),
            FormattedDuration(Duration::from_secs_f64(self.pace.seconds_for(left)))
        ));
        self.bar.set_position(step.step);
    }

    fn epoch(&mut self, epoch: &Epoch) {
        self.bar.finish_and_clear();
        let seconds = self.epoch_started.elapsed().as_secs_f64();
        console::info(&format!(
            "epoch {}/{}: loss {:.4}, lr {:.3e}, {seconds:.1} s",
            epoch.epoch, epoch.epochs, epoch.loss, epoch.learning_rate
        ));
        let mut curves = Map::new();
        curves.insert("loss".into(), json!(epoch.loss));
        curves.insert("learning_rate".into(), json!(epoch.learning_rate));
        let mut kpi = Value::Null;
        if let Some(validation) = &epoch.validation {
            console::print(&table::average_precision(&self.classes, &validation.report));
            console::info(&format!("validation loss: {:.4}", validation.loss));
            curves.insert("validation_loss".into(), json!(validation.loss));
            // What has no value is left out.
            if let Some(map) = validation.report.map {
                curves.insert("mean average precision".into(), json!(map));
                kpi = json!({ "mean average precision": map });
            }
            for (class, result) in self.classes.iter().zip(&validation.report.per_class) {
                curves.extend(result.ap.map(|ap| (format!("AP_{class}"), json!(ap))));
            }
        }
        let data = json!({
            "epoch": epoch.epoch,
            "max_epoch": epoch.epochs,
            "time_per_epoch": clock(seconds),
            "eta": clock(seconds * f64::from(epoch.epochs - epoch.epoch)),
        });
        let mut tail = Map::new();
        tail.insert("graphical".into(), Value::Object(curves));
        if !kpi.is_null() {
            tail.insert("kpi".into(), kpi);
        }
        self.log.line(Status::Running, "Training loop in progress", data, Value::Object(tail));
        self.epoch_started = Instant::now();
        self.pace.since = self.epoch_started;
    }
}

/// `H:MM:SS.ffffff`, as Python prints a time span.
fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    format!("{}:{:02}:{:02}.{:06}", whole / 3600, whole / 60 % 60, whole % 60, (seconds.fract() * 1e6) as u64)
}
