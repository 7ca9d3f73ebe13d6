//! The files of a run: its folder and its checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use oxidet_graph::{Checkpoint, Params, TrainingState};

use super::run::Run;
use super::{Event, TrainError};
use crate::checkpoint_file::write_checkpoint;

impl Run<'_> {
    /// Saves all that the run needs to go on. Its parameters are finite.
    pub(super) fn save(&mut self, listen: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
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
    pub(super) fn save_best(&self, listen: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
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

    pub(super) fn best_path(&self) -> PathBuf {
        self.weights_dir().join(format!("yolov4_{}_best.tlt", self.detector.arch))
    }

    fn weights_dir(&self) -> PathBuf {
        self.request.results_dir.join("weights")
    }

    /// Makes the folders and the class list.
    pub(super) fn prepare_folder(&self) -> Result<(), TrainError> {
        let weights = self.weights_dir();
        fs::create_dir_all(&weights).map_err(|source| TrainError::Io { path: weights.clone(), source })?;
        let path = self.request.results_dir.join("model_output_labels.txt");
        oxidet_files::write(&path, self.detector.classes.join("\n").as_bytes())
            .map_err(|source| TrainError::Io { path, source })
    }
}
