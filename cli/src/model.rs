//! A model file of any kind, ready to run.

use std::path::Path;

use oxidet_graph::nms_from_spec;
use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::NmsConfig as NmsSpec;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::interp::Executor;
use oxidet_vision::{Network, NmsConfig, Preprocess};

use crate::exit::Failure;

/// A network with what its input and output mean.
pub struct Model {
    network: Box<dyn Network>,
    classes: Vec<String>,
    preprocess: Preprocess,
}

impl Model {
    /// Opens a checkpoint.
    pub fn open(path: &Path, passphrase: Option<&Passphrase>, _spec: Option<&Checked>) -> Result<Self, Failure> {
        let checkpoint = read_checkpoint(path, passphrase)?;
        let executor = Executor::new(&checkpoint.detector, &checkpoint.params)
            .map_err(|error| Failure::data(format!("{}: {error}", path.display())))?;
        Ok(Self {
            network: Box::new(executor),
            classes: checkpoint.detector.classes,
            preprocess: checkpoint.detector.preprocess,
        })
    }

    pub fn network(&mut self) -> &mut dyn Network {
        &mut *self.network
    }

    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    pub fn nms(&self, spec: &NmsSpec) -> NmsConfig {
        nms_from_spec(spec)
    }
}
