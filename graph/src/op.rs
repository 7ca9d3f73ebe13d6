//! The operators a graph is made of.

use serde::{Deserialize, Serialize};

use crate::Activation;

/// Cells added on each side of a map before a window slides over it. Convolutions pad with 0, max-pooling with −∞.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Padding {
    /// Rows above the map.
    pub top: usize,
    /// Columns left of the map.
    pub left: usize,
    /// Rows below the map.
    pub bottom: usize,
    /// Columns right of the map.
    pub right: usize,
}

impl Padding {
    /// The same padding on all four sides.
    pub const fn all(cells: usize) -> Self {
        Self { top: cells, left: cells, bottom: cells, right: cells }
    }
}

/// A 2-D convolution (cross-correlation), dilation 1. Kernel layout `[out, in / groups, k, k]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv2d {
    /// Output channels.
    pub filters: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step of the window in both directions.
    pub stride: usize,
    /// Zero padding.
    pub padding: Padding,
    /// Channel groups; equal to the input channels for a depthwise convolution.
    pub groups: usize,
    /// Whether a bias `[out]` is added.
    pub bias: bool,
}

/// Batch normalisation over `[N, H, W]` for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of the running statistics that one training step keeps (Keras convention).
    pub momentum: f32,
}

/// Max-pooling; cells outside the map count as −∞.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Side of the square window.
    pub kernel: usize,
    /// Step of the window in both directions.
    pub stride: usize,
    /// −∞ padding.
    pub padding: Padding,
}

/// What a node computes. Maps are `[N, C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The image batch, preprocessed. No inputs.
    Input {
        /// 3 (blue, green, red) or 1 (luma).
        channels: usize,
    },
    /// See [`Conv2d`].
    Conv2d(Conv2d),
    /// See [`BatchNorm`].
    BatchNorm(BatchNorm),
    /// See [`Activation`].
    Activation(Activation),
    /// See [`MaxPool`].
    MaxPool(MaxPool),
    /// Nearest-neighbour enlargement by a whole factor.
    Upsample {
        /// Output cells per input cell and axis.
        factor: usize,
    },
    /// Joins maps along the channel axis, in input order.
    Concat,
    /// Sum of two maps of one shape.
    Add,
    /// The mean of each channel: `[N, C, H, W]` to `[N, C, 1, 1]`.
    GlobalAveragePool,
    /// Every channel of the first map times that of the second, `[N, C, 1, 1]`: the gate of squeeze and excitation (Hu et
    /// al. 2018).
    Scale,
    /// In training, every image of the batch is either all 0, with probability `rate`, or divided by 1 − `rate`
    /// (stochastic depth, Huang et al. 2016); otherwise the map as it is.
    DropPath {
        /// Share of images left out, below 1.
        rate: f32,
    },
    /// Rounds every value to the nearest that an INT8 engine can hold there: a quantiser and a dequantiser (Q/DQ). See
    /// [`quantization`](crate::quantization).
    FakeQuantize,
    /// Channels `start .. start + len` of the input.
    ChannelSlice {
        /// First channel kept.
        start: usize,
        /// Channels kept.
        len: usize,
    },
}
