//! Training: forward and backward passes over a network whose parameters change.

use candle_core::{Device, Tensor};
use oxidet_graph::{Detector, Params, ParamsError, ShapeError};

use super::network::{Network, TrainedParam};
use super::planned::Planned;
use super::tape::{self, Tape};
use crate::net::Freeze;
use oxidet_compute::kernel::optimizer::Penalty;

/// What keeps a network from training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainNetError {
    /// The parameters are not those of the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The images do not halve evenly through the network.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A node cannot be computed.
    #[error("{node}: {source}")]
    Node {
        /// Name of the node.
        node: String,
        /// Why not.
        source: candle_core::Error,
    },
    /// Images of another size than announced, or of another number of channels than the network's.
    #[error("{found} values are no images of shape {shape:?} for a network of {channels} channels")]
    Images {
        /// Values given.
        found: usize,
        /// Shape announced, `[N, C, H, W]`.
        shape: [usize; 4],
        /// Channels of the network's input.
        channels: usize,
    },
    /// Gradients that do not belong to the head maps.
    #[error("head {head}: {found} gradients for a map of {expected} values")]
    HeadGradient {
        /// Index of the head.
        head: usize,
        /// Gradients given.
        found: usize,
        /// Values of the map; 0 when there is no such head.
        expected: usize,
    },
    /// Any other failure of the tensor library.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A detector in training.
#[derive(Debug)]
pub struct TrainNet {
    network: Network,
    path: Path,
    /// Those of the last backward pass, by trained parameter.
    gradients: Vec<Tensor>,
    /// Values of each head map of the last forward pass, until the backward pass has used it.
    head_lens: Vec<usize>,
}

/// How a step is computed. Both ways give the same results up to rounding.
#[derive(Debug)]
enum Path {
    /// On the CPU: straight on the kernels, in memory planned beforehand; from a thread of the pool, so that the kernels'
    /// many parallel loops need not wake one up each.
    Planned(Planned),
    /// On any device: through candle's autograd.
    Tape(Tape),
}

impl TrainNet {
    /// Prepares `detector` for training on `device` from `params`, all but `freeze`.
    ///
    /// # Errors
    /// When `params` are not those of the graph.
    pub fn new(
        detector: &Detector,
        params: &Params,
        freeze: Freeze,
        device: &Device,
    ) -> Result<Self, TrainNetError> {
        let path =
            if device.is_cpu() { Path::Planned(Planned::default()) } else { Path::Tape(Tape::default()) };
        Self::on_path(Network::new(detector, params, freeze, device)?, path)
    }

    fn on_path(network: Network, path: Path) -> Result<Self, TrainNetError> {
        let zeros = |param: &TrainedParam| param.var.zeros_like();
        let gradients = network.trained.iter().map(zeros).collect::<Result<_, _>>()?;
        Ok(Self { network, path, gradients, head_lens: Vec::new() })
    }

    /// On candle's autograd whatever the device, to compare the two ways.
    #[cfg(test)]
    pub(super) fn on_tape(
        detector: &Detector,
        params: &Params,
        freeze: Freeze,
    ) -> Result<Self, TrainNetError> {
        Self::on_path(Network::new(detector, params, freeze, &Device::Cpu)?, Path::Tape(Tape::default()))
    }

    /// The parameters that gradient descent changes, by name.
    pub fn trained(&self) -> &[TrainedParam] {
        &self.network.trained
    }

    /// The network.
    pub fn detector(&self) -> &Detector {
        &self.network.detector
    }

    /// A copy of all parameters as they are now.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn params(&self) -> Result<Params, TrainNetError> {
        self.network.params_where(|_| true)
    }

    /// Says that the forward passes that follow belong to the step after `step` others, of a run with this seed: these decide
    /// which images stochastic depth leaves out, and how much the ranges of quantisers move.
    pub fn set_step(&mut self, seed: u64, step: u64) {
        (self.network.seed, self.network.step) = (seed, step);
    }

    /// One training pass: the raw head maps, `[N, A · (5 + K), H / stride, W / stride]`, big objects first, of
    /// preprocessed images of shape `[N, C, H, W]`, whose sides may be any multiples of 32.
    ///
    /// Batch norms use the statistics of the batch, and their running statistics follow: `r ← r · momentum + b · (1 −
    /// momentum)`, the variance unbiased. Frozen ones use their running statistics and leave them. Quantisers round with a moving
    /// average of the largest magnitudes, the batch's included: decay 0.999, corrected for its start at 0.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn forward(&mut self, images: &[f32], shape: [usize; 4]) -> Result<Vec<Vec<f32>>, TrainNetError> {
        let channels = self.network.detector.graph.nodes()[0].channels;
        if images.is_empty() || images.len() != shape.iter().product::<usize>() || shape[1] != channels {
            return Err(TrainNetError::Images { found: images.len(), shape, channels });
        }
        let heads = match &mut self.path {
            Path::Planned(planned) => {
                let network = &mut self.network;
                rayon::scope(|_| planned.forward(network, images, shape))?
            }
            Path::Tape(tape) => tape.forward(&mut self.network, images, shape)?,
        };
        self.head_lens = heads.iter().map(Vec::len).collect();
        Ok(heads)
    }

    /// Computes [`Self::gradients`], given the gradients of the loss with respect to the head maps that the last
    /// [`Self::forward`] returned, one value for each of theirs. A forward pass allows one backward pass.
    ///
    /// # Errors
    /// When `head_gradients` do not fit the heads.
    pub fn backward(&mut self, head_gradients: Vec<Vec<f32>>) -> Result<(), TrainNetError> {
        let head_lens = std::mem::take(&mut self.head_lens);
        for head in 0..head_lens.len().max(head_gradients.len()) {
            let found = head_gradients.get(head).map_or(0, Vec::len);
            let expected = head_lens.get(head).copied().unwrap_or(0);
            if found != expected {
                return Err(TrainNetError::HeadGradient { head, found, expected });
            }
        }
        match &mut self.path {
            Path::Planned(planned) => {
                let (network, gradients) = (&self.network, &self.gradients);
                rayon::scope(|_| planned.backward(network, &head_gradients, gradients))?;
            }
            Path::Tape(tape) => tape.backward(&self.network, head_gradients, &mut self.gradients)?,
        }
        Ok(())
    }

    /// Name of the first layer whose output is not finite in a forward pass over `images`, if there is one. Leaves everything as
    /// it is.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn first_non_finite(
        &self,
        images: &[f32],
        shape: [usize; 4],
    ) -> Result<Option<String>, TrainNetError> {
        let node = tape::first_non_finite(&self.network, images, shape)?;
        Ok(node.map(|node| self.network.name(node).to_owned()))
    }

    /// The regularisation term of the loss: the penalty summed over the kernels of all convolutions, frozen ones included.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn regularisation(&self, penalty: Penalty) -> Result<f64, TrainNetError> {
        self.network.regularisation(penalty)
    }

    /// The running statistics of all batch norms, and the ranges of all quantisers.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn running_statistics(&self) -> Result<Params, TrainNetError> {
        self.network.params_where(|kind| !kind.is_trained())
    }

    /// Gradients of the loss with respect to [`Self::trained`], in that order, from the last [`Self::backward`].
    pub fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }
}
