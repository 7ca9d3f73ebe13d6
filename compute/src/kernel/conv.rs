//! 2-D convolution (cross-correlation, dilation 1): forward, input gradient, weight gradient.
//!
//! Four ways to compute it, chosen by geometry:
//! - [`implicit`]: matrix product over taps and channels, packing image pixels tile by tile instead of building columns.
//!   Works for every geometry; strides are taken apart into stride-1 problems first ([`planes`]);
//! - [`weight_gradient`]: matrix product over pixels, for every geometry;
//! - [`depthwise`]: sums over windows, when every group has one input and one output channel;
//! - [`winograd`]: 3×3 stride 1 with enough channels, a quarter of the multiplications, a little more rounding error.
//!
//! Layouts: maps `[N, C, H, W]`, weights `[out, in / groups, k, k]`, bias `[out]`.

mod depthwise;
mod fixed;
mod implicit;
mod planes;
mod weight_gradient;

use super::memory::Scratch;
use super::simd::dispatch;
use super::winograd;
use super::{Store, bias};
pub use fixed::FixedWeights;
pub(super) use implicit::product_part;
use oxidet_graph::{Activation, Padding};

/// Sizes of one convolution. Made by [`Geometry::new`], which checks that they belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub(super) batch: usize,
    pub(super) in_channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_channels: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: Padding,
    pub(super) groups: usize,
    pub(super) direct: bool,
}

/// Sizes that make no convolution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Kernels are square.
    #[error("convolution weight {weight:?} is not square")]
    NotSquare {
        /// Shape `[out, in / groups, kh, kw]`.
        weight: [usize; 4],
    },
    /// A size of zero.
    #[error(
        "convolution of input {input:?} with weight {weight:?}, stride {stride}, {groups} groups: a size is 0"
    )]
    Empty {
        /// Shape `[N, C, H, W]`.
        input: [usize; 4],
        /// Shape `[out, in / groups, k, k]`.
        weight: [usize; 4],
        /// Step of the window.
        stride: usize,
        /// Channel groups.
        groups: usize,
    },
    /// Channels and groups do not fit.
    #[error("convolution of {channels} channels in {groups} groups does not fit weight {weight:?}")]
    Channels {
        /// Input channels.
        channels: usize,
        /// Shape `[out, in / groups, k, k]`.
        weight: [usize; 4],
        /// Channel groups.
        groups: usize,
    },
    /// The window is larger than the padded map.
    #[error("a {kernel}×{kernel} window does not fit a {height}×{width} map padded by {padding:?}")]
    WindowTooLarge {
        /// Side of the window.
        kernel: usize,
        /// Rows of the map.
        height: usize,
        /// Columns of the map.
        width: usize,
        /// Padding on each side.
        padding: Padding,
    },
}

impl Geometry {
    /// The convolution of a map of shape `input` `[N, C, H, W]` with weights of shape `weight` `[out, in / groups, k, k]`.
    ///
    /// # Errors
    /// When the sizes do not belong together or there is no output cell.
    pub fn new(
        input: [usize; 4],
        weight: [usize; 4],
        stride: usize,
        padding: Padding,
        groups: usize,
    ) -> Result<Self, GeometryError> {
        let [batch, in_channels, height, width] = input;
        let [out_channels, group_channels, kernel, kernel_width] = weight;
        if kernel != kernel_width {
            return Err(GeometryError::NotSquare { weight });
        }
        if input.contains(&0) || weight.contains(&0) || stride == 0 || groups == 0 {
            return Err(GeometryError::Empty { input, weight, stride, groups });
        }
        if group_channels.checked_mul(groups) != Some(in_channels) || out_channels % groups != 0 {
            return Err(GeometryError::Channels { channels: in_channels, weight, groups });
        }
        let padded =
            |side: usize, before: usize, after: usize| side.saturating_add(before).saturating_add(after);
        if padded(height, padding.top, padding.bottom) < kernel
            || padded(width, padding.left, padding.right) < kernel
        {
            return Err(GeometryError::WindowTooLarge { kernel, height, width, padding });
        }
        let direct = false;
        Ok(Self { batch, in_channels, height, width, out_channels, kernel, stride, padding, groups, direct })
    }

    /// The same, without [`winograd`]: its rounding error is that of other programs then, a tenth. Where the result is rounded to
    /// INT8 it decides how many values go to the next step, and with that how far a network is from itself elsewhere.
    #[must_use]
    pub fn direct(self) -> Self {
        Self { direct: true, ..self }
    }

    /// Shape of the input, `[N, C, H, W]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.in_channels, self.height, self.width]
    }

    /// Shape of the weights, `[out, in / groups, k, k]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups, self.kernel, self.kernel]
    }

    /// Shape of the output, `[N, out, H', W']`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.out_channels, self.out_height(), self.out_width()]
    }

    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        (self.height + self.padding.top + self.padding.bottom - self.kernel) / self.stride + 1
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + self.padding.left + self.padding.right - self.kernel) / self.stride + 1
    }

    fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    fn check(&self, input: usize, weight: usize, output: usize) {
        assert_eq!(input, self.input_shape().iter().product::<usize>(), "input length of {self:?}");
        assert_eq!(weight, self.weight_shape().iter().product::<usize>(), "weight length of {self:?}");
        assert_eq!(output, self.output_shape().iter().product::<usize>(), "output length of {self:?}");
    }
}

/// Writes `activation(input ∗ weight + bias)` to `output`.
///
/// # Panics
/// When a length does not fit `geometry`.
pub fn forward_into(
    geometry: &Geometry,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Option<Activation>,
    output: &mut [f32],
) {
    geometry.check(input.len(), weight.len(), output.len());
    if depthwise::fits(geometry) {
        dispatch!(simd => depthwise::forward(simd, geometry, input, weight, output));
    } else if winograd::pays(geometry) {
        dispatch!(simd => {
            let weights = winograd::transformed(simd, geometry, weight, Scratch::take);
            winograd::forward(simd, geometry, input, &weights, output);
        });
    } else {
        dispatch!(simd => {
            let weights = implicit::packed(simd, geometry, weight, Scratch::take);
            implicit::forward(simd, geometry, input, &weights, output);
        });
    }
    finish(geometry, bias, activation, output);
}

fn finish(geometry: &Geometry, bias: Option<&[f32]>, activation: Option<Activation>, output: &mut [f32]) {
    if bias.is_some() || activation.is_some() {
        let pixels = geometry.out_height() * geometry.out_width();
        bias::add_and_activate(output, geometry.out_channels, pixels, bias, activation);
    }
}

/// Stores the gradient with respect to the input in `input_gradient`, given that of the output.
///
/// # Panics
/// When a length does not fit `geometry`.
pub fn input_gradient_into(
    geometry: &Geometry,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
    store: Store,
) {
    geometry.check(input_gradient.len(), weight.len(), output_gradient.len());
    if depthwise::fits(geometry) {
        dispatch!(simd => depthwise::input_gradient(simd, geometry, output_gradient, weight, input_gradient, store));
    } else if winograd::pays(geometry) {
        dispatch!(simd => winograd::input_gradient(simd, geometry, output_gradient, weight, input_gradient, store));
    } else {
        dispatch!(simd => implicit::input_gradient(simd, geometry, output_gradient, weight, input_gradient, store));
    }
}

/// Writes the gradient with respect to the weights to `weight_gradient`, given the input and the gradient of the output.
///
/// # Panics
/// When a length does not fit `geometry`.
pub fn weight_gradient_into(
    geometry: &Geometry,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    geometry.check(input.len(), weight_gradient.len(), output_gradient.len());
    if depthwise::fits(geometry) {
        dispatch!(simd => depthwise::weight_gradient(simd, geometry, input, output_gradient, weight_gradient));
    } else if winograd::pays(geometry) {
        dispatch!(simd => winograd::weight_gradient(simd, geometry, input, output_gradient, weight_gradient));
    } else {
        dispatch!(simd => weight_gradient::weight_gradient(simd, geometry, input, output_gradient, weight_gradient));
    }
}

/// Writes the gradient with respect to the bias, the sum of `output_gradient` over images and pixels, to `bias_gradient`.
///
/// # Panics
/// When a length does not fit `geometry`.
pub fn bias_gradient_into(geometry: &Geometry, output_gradient: &[f32], bias_gradient: &mut [f32]) {
    let pixels = geometry.out_height() * geometry.out_width();
    assert_eq!(bias_gradient.len(), geometry.out_channels, "bias length of {geometry:?}");
    bias::gradient_into(output_gradient, pixels, bias_gradient);
}

#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
pub(super) use tests::reference;
