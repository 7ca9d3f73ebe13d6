//! Weights of other networks and other programs, for a network of ours.
//!
//! [`oxidet_proto::weights`] reads the file. A file with our layer names, which are TAO's, is copied ([`native`]): all of the backbone, and
//! what fits of the rest. For the names of another program there is a table ([`scheme`]), and what that program does differently is worked
//! into the numbers ([`fill`]): the input it was trained on, the ε of its batch norms, layers it does not have. Nothing is silent:
//! [`LoadReport`] tells of every parameter and of every array of the file, and too little is an error.

mod darknet;
mod file;
mod fill;
mod input;
mod keras;
mod native;
mod our_names;
mod report;
mod scheme;
mod source;
mod timm;
mod torchvision;

use oxidet_graph::{Checkpoint, CheckpointError, Detector, NodeId, Params};
use oxidet_proto::weights::{self, WeightsError};

pub use file::{LoadFileError, load_file};
pub use report::{Adaptation, LoadReport};

use source::Source;

/// Share of the backbone's convolution weights that a file of another program must fill. Below, what looks like a pretrained network would
/// mostly be a random one.
pub const LEAST_SHARE: f64 = 0.5;

/// Why weights do not get into a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A layer of the backbone that must be in the file.
    #[error("{0}")]
    Backbone(String),
    /// A damaged checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Weights of another network.
    #[error("{source_name} fill only {:.0} % of the backbone's convolutions, {} % is the least; \
             not filled: {missing}; is the file for another arch than {arch}?", share * 100.0, LEAST_SHARE * 100.0)]
    TooLittle {
        /// What the file is taken for.
        source_name: String,
        /// The share filled.
        share: f64,
        /// Some of what is left.
        missing: String,
        /// The network.
        arch: String,
    },
    /// No name in common.
    #[error("no layer of the file is one of {arch}: it has {found}; a file for {arch} has {expected}")]
    Unmatched {
        /// The network.
        arch: String,
        /// Some names of the file.
        found: String,
        /// Some names that were looked for.
        expected: String,
    },
    /// The numbers cannot be what they are taken for.
    #[error("{0}")]
    Unsound(String),
    /// A file that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Puts the weights in `bytes` (a checkpoint of ours, decrypted, or a file that [`oxidet_proto::weights`] reads; the content decides) into
/// the network. Parameters that the file does not fill keep the values of `start`.
///
/// # Errors
/// [`LoadError`]
pub fn load(bytes: &[u8], detector: &Detector, start: Params) -> Result<(Params, LoadReport), LoadError> {
    let source = match Checkpoint::from_bytes(bytes) {
        Ok(checkpoint) => Source::of_params(checkpoint.params),
        Err(CheckpointError::Malformed(_) | CheckpointError::Foreign) => match weights::read(bytes)? {
            weights::Weights::Darknet(weights) => darknet::source(&weights, detector)?,
            weights::Weights::Keras(weights) => Source::of_keras(weights),
            weights::Weights::Safetensors(arrays) => Source::of_state_dict("safetensors", arrays),
            weights::Weights::Torch(arrays) => Source::of_state_dict("torch weights", arrays),
        },
        Err(error) => return Err(error.into()),
    };
    let (params, report) = load_source(&source, detector, start)?;
    check_numbers(&params)?;
    Ok((params, report))
}

/// Whether all numbers are some, and no kernel is all 0: such a file is damaged or was never trained.
fn check_numbers(params: &Params) -> Result<(), LoadError> {
    for (name, tensor) in params.iter() {
        if tensor.data().iter().any(|value| !value.is_finite()) {
            return Err(LoadError::Unsound(format!(
                "`{name}` would have values that are not finite; is the file whole?"
            )));
        }
        if name.ends_with("/kernel") && tensor.data().iter().all(|value| *value == 0.0) {
            return Err(LoadError::Unsound(format!("all of `{name}` would be 0; is the file whole?")));
        }
    }
    Ok(())
}

fn load_source(
    source: &Source,
    detector: &Detector,
    start: Params,
) -> Result<(Params, LoadReport), LoadError> {
    match scheme::best(detector, source) {
        Some(scheme::Match { scheme, prefix, .. }) => fill::fill(detector, source, scheme, &prefix, start),
        None => native::copy(detector, source, start),
    }
}

/// The nodes of the backbone.
fn backbone(detector: &Detector) -> impl Iterator<Item = NodeId> + '_ {
    detector.graph.ids().filter(|id| detector.graph.node(*id).block.is_some())
}

/// A few names, for a message.
fn some(names: impl IntoIterator<Item = String>) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(4).collect();
    let more = if names.next().is_some() { ", …" } else { "" };
    if first.is_empty() { "none".into() } else { format!("{}{more}", first.join(", ")) }
}

#[cfg(test)]
mod tests;
