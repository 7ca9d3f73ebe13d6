//! Batch normalisation with an activation behind it.

use super::activation;
use super::tensor::{from_values, operand, output, sizes, values, with_values};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use oxidet_compute::kernel::batch_norm::{
    AffineGradient, BatchStats, Normalization, frozen_backward_in_place, frozen_forward_into,
    train_backward_in_place, train_forward_into,
};
use oxidet_graph::Activation;
use std::sync::{Arc, Mutex};

/// Where a training-mode normalisation leaves the statistics of its batch, for the running averages.
#[derive(Clone, Debug, Default)]
pub struct BatchStatsSlot(Arc<Mutex<Option<BatchStats>>>);

impl BatchStatsSlot {
    /// The statistics of the last forward pass, once.
    pub fn take(&self) -> Option<BatchStats> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    fn put(&self, stats: BatchStats) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(stats);
    }
}

/// What a normalisation takes as mean and variance. gamma and beta are trained in both modes.
#[derive(Clone, Copy)]
pub enum BnMode<'a> {
    /// The batch's own, which are left in `stats`.
    Train {
        /// Receives mean and variances of the batch.
        stats: &'a BatchStatsSlot,
    },
    /// Given ones, `[C]` each, constant.
    Frozen {
        /// Running mean.
        mean: &'a Tensor,
        /// Running variance.
        variance: &'a Tensor,
    },
}

/// `activation((x − mean) / √(variance + epsilon) · gamma + beta)`: x `[N, C, H, W]`, gamma and beta `[C]`.
///
/// # Errors
/// When shapes or devices do not fit, or a tensor on the CPU is not f32.
pub fn batch_norm_act(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mode: BnMode<'_>,
    epsilon: f32,
    activation: Option<Activation>,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, gamma, beta, mode, epsilon, activation);
    }
    let norm = NormNode::new(sizes(x.shape())?, mode, epsilon, activation)?;
    operand("batch_norm", x)?.apply_op2(&affine(gamma, beta)?, BatchNormAct { norm, state: Mutex::new(None) })
}

/// As [`batch_norm_act`], of candle's operations. In training mode it waits for the device, to read the statistics.
pub(super) fn composed(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mode: BnMode<'_>,
    epsilon: f32,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let shape = sizes(x.shape())?;
    check_not_empty(shape)?;
    let [n, channels, height, width] = shape;
    let of_channels = |values: &Tensor| values.reshape((1, channels, 1, 1));
    let (centered, variance) = match mode {
        BnMode::Train { stats } => {
            let mean = x.mean_keepdim((0, 2, 3))?;
            let centered = x.broadcast_sub(&mean)?;
            let variance = centered.sqr()?.mean_keepdim((0, 2, 3))?;
            let count = (n * height * width) as f64;
            let unbiased = variance.affine(count / (count - 1.0).max(1.0), 0.0)?;
            let on_host = |values: &Tensor| values.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
            stats.put(BatchStats {
                mean: on_host(&mean)?,
                population_variance: on_host(&variance)?,
                unbiased_variance: on_host(&unbiased)?,
            });
            (centered, variance)
        }
        BnMode::Frozen { mean, variance } => {
            (x.broadcast_sub(&of_channels(&mean.detach())?)?, of_channels(&variance.detach())?)
        }
    };
    let deviation = variance.affine(1.0, f64::from(epsilon))?.sqrt()?;
    let scaled = centered.broadcast_mul(&(of_channels(gamma)? / deviation)?)?;
    activation::composed(&scaled.broadcast_add(&of_channels(beta)?)?, activation)
}

fn check_not_empty(shape: [usize; 4]) -> Result<()> {
    if shape.contains(&0) {
        bail!("batch_norm: an empty map of shape {shape:?}");
    }
    Ok(())
}

/// gamma and beta as one tensor `[2, C]`: a custom op has at most three inputs.
pub(super) fn affine(gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    Tensor::stack(&[operand("batch_norm", gamma)?, operand("batch_norm", beta)?], 0)
}

/// The normalisation part of a node.
pub(super) struct NormNode {
    channels: usize,
    pixels: usize,
    epsilon: f32,
    activation: Option<Activation>,
    mode: Mode,
}

enum Mode {
    Train(BatchStatsSlot),
    Frozen { mean: Vec<f32>, variance: Vec<f32> },
}

/// What the backward pass needs besides the input.
pub(super) enum NormState {
    Train(BatchStats),
    Frozen,
}

impl NormNode {
    /// The normalisation of maps of shape `[n, c, h, w]`.
    pub(super) fn new(
        shape: [usize; 4],
        mode: BnMode<'_>,
        epsilon: f32,
        activation: Option<Activation>,
    ) -> Result<Self> {
        check_not_empty(shape)?;
        let [_, channels, height, width] = shape;
        let mode = match mode {
            BnMode::Train { stats } => Mode::Train(stats.clone()),
            BnMode::Frozen { mean, variance } => {
                let (mean, variance) = (mean.to_vec1::<f32>()?, variance.to_vec1::<f32>()?);
                if mean.len() != channels || variance.len() != channels {
                    bail!(
                        "batch_norm: {} means and {} variances for {channels} channels",
                        mean.len(),
                        variance.len()
                    );
                }
                Mode::Frozen { mean, variance }
            }
        };
        Ok(Self { channels, pixels: height * width, epsilon, activation, mode })
    }

    fn normalization<'a>(&self, affine: &'a [f32]) -> Normalization<'a> {
        let (gamma, beta) = affine.split_at(self.channels);
        Normalization { pixels: self.pixels, gamma, beta, epsilon: self.epsilon, activation: self.activation }
    }

    pub(super) fn forward(&self, x: &[f32], affine: &[f32], y: &mut [f32]) -> Result<NormState> {
        if affine.len() != 2 * self.channels {
            bail!("batch_norm: {} gammas and betas for {} channels", affine.len(), self.channels);
        }
        let norm = self.normalization(affine);
        Ok(match &self.mode {
            Mode::Train(slot) => {
                let stats = train_forward_into(&norm, x, y);
                slot.put(stats.clone());
                NormState::Train(stats)
            }
            Mode::Frozen { mean, variance } => {
                frozen_forward_into(&norm, mean, variance, x, y);
                NormState::Frozen
            }
        })
    }

    /// Turns the gradient of the output into that of the input and returns that of gamma and beta, stacked.
    pub(super) fn backward(
        &self,
        state: &NormState,
        x: &[f32],
        affine: &[f32],
        gradient: &mut [f32],
    ) -> Vec<f32> {
        let norm = self.normalization(affine);
        let AffineGradient { gamma, beta } = match (state, &self.mode) {
            (NormState::Train(stats), _) => train_backward_in_place(&norm, stats, x, gradient),
            (NormState::Frozen, Mode::Frozen { mean, variance }) => {
                frozen_backward_in_place(&norm, mean, variance, x, gradient)
            }
            (NormState::Frozen, Mode::Train(_)) => unreachable!("forward makes the state of its own mode"),
        };
        [gamma, beta].concat()
    }
}

struct BatchNormAct {
    norm: NormNode,
    state: Mutex<Option<NormState>>,
}

impl CustomOp2 for BatchNormAct {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        affine: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(self.name(), x, xl)?;
        let mut y = output(x.len());
        let state = self.norm.forward(x, values(self.name(), affine, al)?, &mut y)?;
        *self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(state);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(state) = &*state else { bail!("{}: backward without forward", self.name()) };
        with_values(self.name(), [x, affine, gy], |[xs, affines, gys]| {
            let mut gx = gys.to_vec();
            let ga = self.norm.backward(state, xs, affines, &mut gx);
            Ok((Some(from_values(gx, x.shape())?), Some(from_values(ga, affine.shape())?)))
        })
    }
}
