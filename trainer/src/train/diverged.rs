//! A run whose numbers are no longer numbers: where it began, and what to do.

use std::fmt;
use std::path::PathBuf;

use oxidet_graph::{Detector, Params};

/// A training step that went wrong. Nothing of it is saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Batch of the epoch, from 1.
    pub step: u64,
    /// The loss of the batch, regularisation included.
    pub loss: f64,
    /// Where it began.
    pub origin: Origin,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Images of the batch.
    pub images: Vec<PathBuf>,
    /// The checkpoint to go back to.
    pub checkpoint: Option<PathBuf>,
}

/// The first thing that is not a finite number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Parameters, which the step moved too far: one of them, nearest the heads, and how many there are.
    Parameter {
        /// Its name.
        name: String,
        /// Parameters with such values.
        count: usize,
    },
    /// The output of a layer, whose inputs are finite.
    Layer(String),
    /// The loss, of finite outputs.
    Loss,
    /// The loss on the validation images, after the step.
    Validation,
}

/// The parameter with a value that is not finite that is nearest the heads, and how many there are.
pub(super) fn bad_parameter(detector: &Detector, params: &Params) -> Option<Origin> {
    let is_bad = |name: &str| params.get(name).is_some_and(|t| t.data().iter().any(|v| !v.is_finite()));
    let bad: Vec<String> = detector
        .graph
        .param_specs()
        .into_iter()
        .filter(|spec| spec.kind.is_trained() && is_bad(&spec.name))
        .map(|spec| spec.name)
        .collect();
    let name = bad.last()?.clone();
    Some(Origin::Parameter { name, count: bad.len() })
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Images named in the message.
        const NAMED: usize = 8;
        let Self { epoch, step, loss, learning_rate, .. } = self;
        writeln!(f, "training has diverged: the loss is {loss} at step {step} of epoch {epoch}")?;
        match &self.origin {
            Origin::Parameter { name, count: 1 } => {
                writeln!(f, "  began with: `{name}`, which the step moved")?;
            }
            Origin::Parameter { name, count } => {
                writeln!(
                    f,
                    "  began with: {count} parameters, which the step moved; nearest the heads `{name}`"
                )?;
            }
            Origin::Layer(name) => writeln!(f, "  began with: the output of layer `{name}`")?,
            Origin::Validation => {
                writeln!(f, "  began with: the loss on the validation images, after the step")?;
            }
            Origin::Loss => writeln!(f, "  began with: the loss; the outputs of the network are finite")?,
        }
        writeln!(f, "  learning rate: {learning_rate:.3e}")?;
        let names: Vec<String> =
            self.images.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        let more = self.images.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(f, "  images of the batch: {}{more}", names.join(", "))?;
        match &self.checkpoint {
            Some(path) => writeln!(f, "  last good checkpoint: {}", path.display())?,
            None => writeln!(f, "  last good checkpoint: none yet")?,
        }
        write!(
            f,
            "lower max_learning_rate or lengthen soft_start, lower the loss weights if they are large, and look at the boxes of \
             these images with `oxidet dataset check` and `oxidet dataset show`"
        )
    }
}
