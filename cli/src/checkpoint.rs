//! Checkpoints, which this program computes itself.

use std::path::Path;

use oxidet_compute::Executor;
use oxidet_graph::{Checkpoint, nms_from_spec};
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::{Checked, Verb};
use oxidet_runtime::Model;
use oxidet_trainer::checkpoint_file::read_checkpoint;

use crate::console;
use crate::exit::Failure;
use crate::spec;

/// Opens a checkpoint; without a `spec`, with the one that it was trained from.
pub fn open(path: &Path, passphrase: Option<&Passphrase>, spec: Option<&Checked>) -> Result<Model, Failure> {
    let checkpoint = read_checkpoint(path, passphrase)?;
    console::debug(&format!("{}: checkpoint of {}", path.display(), checkpoint.detector.arch));
    match spec {
        Some(spec) => model(path, &checkpoint, spec),
        None => {
            let spec = spec::of_checkpoint(None, path, &checkpoint, Verb::Inference)?;
            model(path, &checkpoint, &spec)
        }
    }
}

/// A checkpoint that is open already, or one made of it; `path` is for messages.
pub fn model(path: &Path, checkpoint: &Checkpoint, spec: &Checked) -> Result<Model, Failure> {
    let executor = Executor::new(&checkpoint.detector, &checkpoint.params)
        .map_err(|error| Failure::data(format!("{}: {error}", path.display())))?;
    Ok(Model {
        network: Box::new(executor),
        classes: checkpoint.detector.classes.clone(),
        preprocess: checkpoint.detector.preprocess.clone(),
        nms: nms_from_spec(spec.nms()),
    })
}
