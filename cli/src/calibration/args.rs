//! What to measure ranges on, and how.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_calib::{Method, check_float_layers};
use oxidet_graph::onnx::NmsTail;
use oxidet_graph::{Checkpoint, Graph};
use oxidet_proto::lint::Checked;
use oxidet_proto::tensorfile;
use oxidet_trainer::data::{BadImages, Dataset, DatasetRequest, Split, epoch_order, list_images};
use oxidet_vision::Preprocess;

use super::{Calibration, Inputs};
use crate::console;
use crate::engine::read_float_layers;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files;
use crate::progress;

/// What to measure ranges on, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Calibration")]
pub struct CalibrationArgs {
    /// Folder of images to calibrate on (not searched deeper); without it, the training images of the spec
    #[arg(long = "cal_image_dir", value_name = "DIR")]
    image_dir: Option<PathBuf>,
    /// Tensorfile of input tensors to calibrate on; with --cal_image_dir it is written
    #[arg(long = "cal_data_file", value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Images are batches times batch_size, chosen at random [default: 10 x 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batches: Option<u32>,
    /// Images per batch; only the product counts, and how a tensorfile is written
    #[arg(long = "batch_size", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// How ranges are chosen: entropy, minmax, mse or percentile (percentile:99.99) [default: mse]
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// Draws the images [default: 0]
    #[arg(long = "calibration-seed", value_name = "N")]
    seed: Option<u64>,
    /// Layers that stay out of INT8: a name a line, as calibrate --layer-report writes them
    #[arg(long = "fp16_layers", value_name = "FILE")]
    fp16_layers: Option<PathBuf>,
}

impl CalibrationArgs {
    /// On images of a folder or tensors of a file, and all else as it is by default.
    pub fn on(
        image_dir: Option<PathBuf>,
        data_file: Option<PathBuf>,
        batches: Option<u32>,
        batch_size: Option<u32>,
    ) -> Self {
        Self { image_dir, data_file, batches, batch_size, method: None, seed: None, fp16_layers: None }
    }

    /// Whether it is said what to calibrate on.
    pub fn names_images(&self) -> bool {
        self.image_dir.is_some() || self.data_file.is_some()
    }

    /// An option that only counts when something is calibrated.
    pub fn idle_option(&self) -> Option<&'static str> {
        let others = [
            ("--cal_image_dir", self.image_dir.is_some()),
            ("--cal_data_file", self.data_file.is_some()),
            ("--fp16_layers", self.fp16_layers.is_some()),
        ];
        others.into_iter().find_map(|(name, given)| given.then_some(name)).or(self.measuring_option())
    }

    /// An option about measuring, which ranges that are there already leave nothing to.
    pub fn measuring_option(&self) -> Option<&'static str> {
        [
            ("--batches", self.batches.is_some()),
            ("--batch_size", self.batch_size.is_some()),
            ("--method", self.method.is_some()),
            ("--calibration-seed", self.seed.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    /// The file with layers that stay in float.
    pub fn fp16_layers(&self) -> Option<&Path> {
        self.fp16_layers.as_deref()
    }

    /// Adds the files that calibrating reads and writes.
    pub fn check_files(&self, plan: &mut FilePlan) -> Result<(), Failure> {
        if let Some(path) = &self.fp16_layers {
            plan.reads(path);
        }
        match &self.data_file {
            Some(path) if self.image_dir.is_some() => plan.writes(path),
            Some(path) => {
                plan.reads(path);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The layers of a network that stay in float.
    pub fn float_layers(&self, graph: &Graph) -> Result<BTreeSet<String>, Failure> {
        let Some(path) = &self.fp16_layers else { return Ok(BTreeSet::new()) };
        let layers = read_float_layers(path)?;
        check_float_layers(graph, &layers)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(layers)
    }

    /// Measures the tensors of a float network that is exported with such a tail.
    pub fn measure(
        &self,
        checkpoint: &Checkpoint,
        spec: &Checked,
        tail: NmsTail,
    ) -> Result<Calibration, Failure> {
        let float_layers = self.float_layers(&checkpoint.detector.graph)?;
        let inputs = self.inputs(&checkpoint.detector.preprocess, spec)?;
        Calibration::measure(checkpoint, spec, tail, self.method.unwrap_or(Method::Mse), inputs, float_layers)
    }

    fn batch_size(&self) -> usize {
        self.batch_size.unwrap_or(16) as usize
    }

    /// The images to run, in the order in which they are.
    fn inputs(&self, preprocess: &Preprocess, spec: &Checked) -> Result<Inputs, Failure> {
        let asked = self.batches.unwrap_or(10) as usize * self.batch_size();
        if let (None, Some(path)) = (&self.image_dir, &self.data_file) {
            let inputs = Inputs::open_tensorfile(path, preprocess, asked)?;
            console::info(&format!("calibrating on {} images of {}", inputs.len(), path.display()));
            return Ok(inputs);
        }
        let (all, from) = match &self.image_dir {
            Some(dir) => (list_images(dir)?, dir.display().to_string()),
            None => {
                let request = DatasetRequest::new(spec, BadImages::Stop);
                let dataset = Dataset::open(&request, Split::Train)?;
                let images = dataset.samples.into_iter().map(|sample| sample.image).collect();
                (images, "the training images of the spec".to_owned())
            }
        };
        if all.is_empty() {
            return Err(Failure::data(format!("{from}: no images (jpg, jpeg, png) to calibrate on")));
        }
        if all.len() < asked && (self.batches.is_some() || self.batch_size.is_some()) {
            console::warn(&format!(
                "{asked} images were asked for; calibrating on the {} of {from}",
                all.len()
            ));
        }
        let mut chosen = epoch_order(self.seed.unwrap_or(0), 0, all.len());
        chosen.truncate(asked);
        console::info(&format!("calibrating on {} of {} images: {from}", chosen.len(), all.len()));
        let paths = chosen.into_iter().map(|at| all[at].clone()).collect();
        let inputs = Inputs::Images { paths, preprocess: preprocess.clone() };
        match &self.data_file {
            Some(path) => self.through_tensorfile(&inputs, preprocess, path),
            None => Ok(inputs),
        }
    }

    /// Keeps the tensors in a file and takes them from there, so that each image is decoded once.
    fn through_tensorfile(
        &self,
        inputs: &Inputs,
        preprocess: &Preprocess,
        path: &Path,
    ) -> Result<Inputs, Failure> {
        if path.exists() {
            return Err(Failure::usage(format!(
                "{} exists; without --cal_image_dir it is calibrated on, with it it would be written",
                path.display()
            )));
        }
        let batch = tensorfile_batch(inputs.len(), self.batch_size());
        let shape = [batch, preprocess.channels, preprocess.height, preprocess.width];
        let bar = progress::bar(inputs.len() as u64, "writing tensors");
        let batches = inputs.batches(batch).inspect(|_| bar.inc(batch as u64));
        let name = path.to_string_lossy();
        files::stage_with(path, |file| tensorfile::write(&name, shape, batches, file))?.commit()?;
        bar.finish_and_clear();
        console::info(&format!("{name}: {} images in batches of {batch}", inputs.len()));
        Inputs::open_tensorfile(path, preprocess, inputs.len())
    }
}

/// Images in each batch of a tensorfile of `images`: all batches are of one size and no image is left out, so it is the largest
/// divisor that is not above what was asked for.
fn tensorfile_batch(images: usize, asked: usize) -> usize {
    (1..=asked.min(images)).rev().find(|batch| images.is_multiple_of(*batch)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensorfile_holds_every_image() {
        for (images, asked, batch) in [(160, 16, 16), (24, 16, 12), (3, 16, 3), (17, 16, 1), (1, 1, 1)] {
            assert_eq!(tensorfile_batch(images, asked), batch, "{images} images, {asked} a batch");
        }
    }
}
