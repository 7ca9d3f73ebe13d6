//! TensorBoard events in `<results>/logs`.
//!
//! Two runs, as TensorBoard calls folders, because their steps count different things: what is told of epochs is in `logs`
//! itself, what is told of batches in `logs/batches`. A resumed run adds a file to each that takes back what earlier files say of
//! the steps it does again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oxidet_graph::Detector;
use oxidet_proto::tensorboard::{Event, Value};
use oxidet_proto::tfrecord::write_record;
use oxidet_vision::Preprocess;
use oxidet_vision::draw::draw_truths;
use oxidet_vision::image::encode_png;
use rayon::prelude::*;

use crate::data::Batch;
use crate::train::{Epoch, Step};

const NAME: &str = "events.out.tfevents.";

/// The event files of a run.
#[derive(Debug)]
pub(super) struct Board {
    epochs: EventFile,
    batches: EventFile,
}

/// Where a run begins or goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Epochs completed.
    pub(super) epoch: u32,
    /// Batches completed.
    pub(super) step: u64,
}

impl Board {
    /// Goes on in the folder `logs`; a run that begins removes the event files of others first.
    pub(super) fn open(logs: &Path, at: Position) -> io::Result<Self> {
        let open = |folder: &Path, step: u64| {
            fs::create_dir_all(folder)?;
            let earlier = event_files(folder)?;
            if at.step == 0 {
                earlier.iter().try_for_each(fs::remove_file)?;
            }
            EventFile::create(folder, if at.step == 0 { 0 } else { earlier.len() }, step)
        };
        Ok(Self {
            epochs: open(logs, u64::from(at.epoch) + 1)?,
            batches: open(&logs.join("batches"), at.step + 1)?,
        })
    }

    /// What is known of a batch.
    pub(super) fn step(&mut self, step: &Step) -> io::Result<()> {
        let number = u64::from(step.epoch - 1) * step.steps + step.step;
        let values = [
            ("batch/loss", step.loss),
            ("batch/lr", step.learning_rate),
            ("batch/loss_loc", step.terms.loc),
            ("batch/loss_pos", step.terms.pos),
            ("batch/loss_neg", step.terms.neg),
            ("batch/loss_cls", step.terms.class),
        ];
        self.batches.write(number, values.map(|(tag, value)| Value::scalar(tag, value)).into())
    }

    /// The first `count` images of a batch with their boxes.
    pub(super) fn images(
        &mut self,
        epoch: u32,
        batch: &Batch,
        count: usize,
        detector: &Detector,
    ) -> io::Result<()> {
        let preprocess =
            Preprocess { width: batch.width, height: batch.height, ..detector.preprocess.clone() };
        let tensors = batch.images.par_chunks_exact(preprocess.tensor_len()).zip(&batch.truths);
        let images = tensors.take(count).enumerate().map(|(number, (tensor, truths))| {
            let mut image = preprocess.picture(tensor).to_viewable().to_color();
            draw_truths(&mut image, truths, &detector.classes);
            let png = encode_png(&image).map_err(io::Error::other)?;
            let tag = format!("augmented_images/image/{number}");
            Ok(Value::image(tag, (image.width, image.height), true, png))
        });
        let images = images.collect::<io::Result<Vec<_>>>()?;
        images.into_iter().try_for_each(|image| self.epochs.write(epoch.into(), vec![image]))
    }

    /// What is known of an epoch, and `more` of it.
    pub(super) fn epoch(&mut self, epoch: &Epoch, classes: &[String], more: Vec<Value>) -> io::Result<()> {
        let mut values = vec![Value::scalar("loss", epoch.loss), Value::scalar("lr", epoch.learning_rate)];
        if let Some(validation) = &epoch.validation {
            values.push(Value::scalar("validation_loss", validation.loss));
            values.extend(validation.report.map.map(|map| Value::scalar("mAP", map)));
            let classes = classes.iter().zip(&validation.report.per_class);
            values.extend(
                classes.filter_map(|(name, class)| Some(Value::scalar(format!("AP_{name}"), class.ap?))),
            );
        }
        values.extend(more);
        self.epochs.write(epoch.epoch.into(), values)
    }
}

/// A file of events. Each is handed to the system at once, so that those who watch see it and a crash leaves whole ones.
#[derive(Debug)]
struct EventFile {
    file: File,
}

impl EventFile {
    /// Begins a file that takes back what the `earlier` files of the folder say of `step` and later.
    fn create(folder: &Path, earlier: usize, step: u64) -> io::Result<Self> {
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("{NAME}{:010}.oxidet.{earlier:06}", now() as u64);
        let mut file = Self { file: File::create_new(folder.join(name))? };
        file.event(&Event::file_version(now()))?;
        if earlier > 0 {
            file.event(&Event::restart(now(), step as i64))?;
        }
        Ok(file)
    }

    fn write(&mut self, step: u64, values: Vec<Value>) -> io::Result<()> {
        self.event(&Event::values(now(), step as i64, values))
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let mut record = Vec::new();
        write_record(&mut record, &event.encode())?;
        self.file.write_all(&record)
    }
}

/// Event files of a folder, in order.
fn event_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(NAME) && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
