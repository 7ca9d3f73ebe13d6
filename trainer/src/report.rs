//! What a training run leaves for people to read: the CSV log, `history.json`, `report.html` and TensorBoard events.
//!
//! A report that cannot be written is told once and does not stop the run: checkpoints matter more. Files that are written anew
//! each time are tried again each time, so they are complete once there is room again.

mod csv;
mod examples;
mod histogram;
mod history;
mod machine;
mod page;
mod tensorboard;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oxidet_graph::{Detector, TrainingState};
use oxidet_proto::spec::VisualizerConfig;

use crate::data::{Batch, Dataset, Summary};
use crate::interp::{TrainNet, TrainNetError};
use crate::train::{Epoch, Event, Step, TrainError, TrainRequest, TrainSummary, Validation};
use examples::Examples;
use histogram::histograms;
use history::History;
use tensorboard::{Board, Position};

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; training goes on without it", path.display())]
pub struct ReportError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

type Listen<'a> = &'a mut dyn FnMut(Event<'_>);

/// The reports of a run.
#[derive(Debug)]
pub(crate) struct Reports {
    results_dir: PathBuf,
    detector: Detector,
    visualizer: VisualizerConfig,
    run: Run,
    /// The CSV log.
    log: String,
    history: History,
    board: Option<Board>,
    /// The epoch whose images are shown last.
    images_of: u32,
    /// The last validation and its epoch.
    validation: Option<(u32, Validation)>,
    examples: Examples,
    pace: Pace,
    /// What could not be written, and was told.
    told: BTreeSet<PathBuf>,
}

/// What does not change while a run lasts.
#[derive(Debug)]
struct Run {
    spec_name: String,
    spec_text: String,
    epochs: u32,
    /// Where it began, or was resumed.
    from: Position,
    train: Summary,
    validation: Summary,
    started: Instant,
}

/// How fast training goes, validation and saving left out.
#[derive(Debug)]
struct Pace {
    /// When the step under way began.
    since: Instant,
    time: Duration,
    images: usize,
}

/// How a run stands.
#[derive(Clone, Debug)]
enum Outcome {
    Running,
    Done,
    Interrupted,
    Failed(String),
}

impl Reports {
    /// For a run that goes on from `state`. Writes nothing yet.
    pub(crate) fn new(
        request: &TrainRequest<'_>,
        detector: &Detector,
        state: &TrainingState,
        train: &Dataset,
        validation: &Dataset,
    ) -> Self {
        let (training, source) = (request.spec.training(), request.spec.source());
        Self {
            results_dir: request.results_dir.to_owned(),
            visualizer: training.visualizer.clone().unwrap_or_default(),
            run: Run {
                spec_name: source.name().to_owned(),
                spec_text: source.text().to_owned(),
                epochs: training.num_epochs,
                from: Position { epoch: state.epoch, step: state.step },
                train: train.summary.clone(),
                validation: validation.summary.clone(),
                started: Instant::now(),
            },
            log: String::new(),
            history: History::default(),
            board: None,
            images_of: 0,
            validation: None,
            examples: Examples::of(validation, detector.preprocess.depth),
            pace: Pace { since: Instant::now(), time: Duration::ZERO, images: 0 },
            told: BTreeSet::new(),
            detector: detector.clone(),
        }
    }

    /// Opens the reports in the results folder: empty, or with the epochs before the resumed one.
    pub(crate) fn open(&mut self, listen: Listen<'_>) {
        let epoch = self.run.from.epoch;
        let before = |name: &str| match epoch {
            0 => String::new(),
            _ => fs::read_to_string(self.results_dir.join(name)).unwrap_or_default(),
        };
        let log = csv::up_to(&before(&self.log_name()), epoch);
        let history =
            History::read(&before("history.json"), &self.detector.arch, &self.detector.classes, epoch);
        self.log = if log.is_empty() { csv::header(&self.detector.classes) } else { log };
        self.history = history;
        self.write(&self.log_name(), &self.log.clone(), listen);
        self.write("history.json", &self.history.to_json(), listen);
        self.open_board(self.run.from, listen);
        self.pace.since = Instant::now();
    }

    /// The validation samples whose detections the reports show.
    pub(crate) fn examples(&self) -> &[usize] {
        self.examples.samples()
    }

    /// A batch is done.
    pub(crate) fn step(&mut self, step: &Step, batch: &Batch, listen: Listen<'_>) {
        self.pace.step(step.images);
        let Some(board) = &mut self.board else { return };
        let mut written = board.step(step);
        let images = self.visualizer.num_images as usize;
        // The first batch of an epoch, or of what is left of it.
        if images > 0 && self.images_of != step.epoch {
            self.images_of = step.epoch;
            written = written.and_then(|()| board.images(step.epoch, batch, images, &self.detector));
        }
        self.board_written(written, listen);
    }

    /// An epoch is done and validated.
    ///
    /// # Errors
    /// When the parameters cannot be read.
    pub(crate) fn epoch(
        &mut self,
        epoch: &Epoch,
        net: &TrainNet,
        listen: Listen<'_>,
    ) -> Result<(), TrainNetError> {
        if let Some(validation) = &epoch.validation {
            self.validation = Some((epoch.epoch, validation.clone()));
        }
        self.log += &csv::row(epoch, self.detector.classes.len());
        self.history.push(epoch);
        self.write(&self.log_name(), &self.log.clone(), listen);
        self.write("history.json", &self.history.to_json(), listen);
        if let Some(board) = &mut self.board {
            let histograms = match self.visualizer.weight_histograms {
                true => histograms(&self.detector.graph, &net.params()?),
                false => Vec::new(),
            };
            let written = board.epoch(epoch, &self.detector.classes, histograms);
            self.board_written(written, listen);
        }
        self.pace.since = Instant::now();
        Ok(())
    }

    /// A checkpoint is written.
    pub(crate) fn saved(&mut self, listen: Listen<'_>) {
        self.write_page(&Outcome::Running, listen);
        self.pace.since = Instant::now();
    }

    /// The run is over.
    pub(crate) fn finish(&mut self, result: &Result<TrainSummary, TrainError>, listen: Listen<'_>) {
        let outcome = match result {
            Ok(summary) if summary.interrupted => Outcome::Interrupted,
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.write_page(&outcome, listen);
    }

    fn write_page(&mut self, outcome: &Outcome, listen: Listen<'_>) {
        self.examples.load();
        let page = page::page(self, outcome);
        self.write("report.html", &page, listen);
    }

    fn log_name(&self) -> String {
        format!("yolov4_training_log_{}.csv", self.detector.arch)
    }

    fn logs(&self) -> PathBuf {
        self.results_dir.join("logs")
    }

    fn open_board(&mut self, at: Position, listen: Listen<'_>) {
        if !self.visualizer.enabled {
            return;
        }
        match Board::open(&self.logs(), at) {
            Ok(board) => self.board = Some(board),
            Err(source) => self.tell(self.logs(), source, listen),
        }
    }

    /// Events that could not be written leave a file that ends in the middle of one: it is given up.
    fn board_written(&mut self, written: io::Result<()>, listen: Listen<'_>) {
        if let Err(source) = written {
            self.board = None;
            self.tell(self.logs(), source, listen);
        }
    }

    fn write(&mut self, name: &str, text: &str, listen: Listen<'_>) {
        let path = self.results_dir.join(name);
        if let Err(source) = oxidet_files::write(&path, text.as_bytes()) {
            self.tell(path, source, listen);
        }
    }

    fn tell(&mut self, path: PathBuf, source: io::Error, listen: Listen<'_>) {
        if self.told.insert(path.clone()) {
            listen(Event::ReportFailed(&ReportError { path, source }));
        }
    }
}

impl Pace {
    fn step(&mut self, images: usize) {
        self.time += self.since.elapsed();
        self.images += images;
        self.since = Instant::now();
    }

    fn images_per_second(&self) -> Option<f64> {
        (self.images > 0).then(|| self.images as f64 / self.time.as_secs_f64().max(1e-9))
    }
}
