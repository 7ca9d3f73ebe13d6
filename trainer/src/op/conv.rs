//! Convolution, alone and with batch normalisation and activation behind it.

use super::batch_norm::{self, BnMode, NormNode, NormState, affine};
use super::tensor::{from_values, operand, output, sizes, values, with_values};
use super::windows;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor, bail};
use oxidet_compute::kernel::Store;
use oxidet_compute::kernel::conv::{
    Geometry, bias_gradient_into, forward_into, input_gradient_into, weight_gradient_into,
};
use oxidet_graph::{Activation, Padding};
use std::sync::Mutex;

/// How a convolution's window moves over its input. Sizes come from the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step of the window in both directions.
    pub stride: usize,
    /// Zero padding.
    pub padding: Padding,
    /// Channel groups.
    pub groups: usize,
}

/// `x ∗ w + bias`: x `[N, C, H, W]`, w `[out, C / groups, k, k]`, bias `[out]`, result `[N, out, H', W']`.
///
/// # Errors
/// When shapes or devices do not fit, or a tensor on the CPU is not f32.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, geometry: &ConvGeometry) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed(x, w, bias, geometry);
    }
    let node = Conv::new(x, w, geometry)?;
    let (x, w) = (operand(Conv::NAME, x)?, operand(Conv::NAME, w)?);
    match bias {
        None => x.apply_op2(&w, node),
        Some(bias) => x.apply_op3(&w, &operand(Conv::NAME, bias)?, node),
    }
}

/// Convolution without bias, batch normalisation and activation as one node, which keeps one map (the convolution's output)
/// for its backward pass: `activation(norm(x ∗ w))`. gamma and beta are `[out]`.
///
/// # Errors
/// When shapes or devices do not fit, or a tensor on the CPU is not f32.
#[expect(clippy::too_many_arguments, reason = "the parameters of three layers")]
pub fn conv_bn_act(
    x: &Tensor,
    w: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    geometry: &ConvGeometry,
    mode: BnMode<'_>,
    epsilon: f32,
    activation: Option<Activation>,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        let z = composed(x, w, None, geometry)?;
        return batch_norm::composed(&z, gamma, beta, mode, epsilon, activation);
    }
    let conv = Conv::new(x, w, geometry)?;
    let norm = NormNode::new(conv.geometry.output_shape(), mode, epsilon, activation)?;
    let affine = affine(gamma, beta)?;
    let node = ConvBnAct { conv, norm, saved: Mutex::new(None) };
    operand(Conv::NAME, x)?.apply_op3(&operand(Conv::NAME, w)?, &affine, node)
}

/// As [`conv2d`], of candle's operations.
///
/// The map is first made just as large as the windows need. Candle pads all sides alike, and its backward pass measures the
/// cells that no window reaches in rows only, so that it fails when there are more of them in columns, or fewer.
pub(super) fn composed(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
) -> Result<Tensor> {
    let [_, channels, out_height, out_width] = geometry.of(x, w)?.output_shape();
    let ConvGeometry { stride, padding, groups } = *geometry;
    let kernel = w.dim(2)?;
    let x = windows::fit(x, 2, padding.top, windows::span(out_height, kernel, stride), 0.0)?;
    let x = windows::fit(&x, 3, padding.left, windows::span(out_width, kernel, stride), 0.0)?;
    let y = x.conv2d(w, 0, stride, 1, groups)?;
    match bias {
        None => Ok(y),
        Some(bias) => y.broadcast_add(&bias.reshape((1, channels, 1, 1))?),
    }
}

impl ConvGeometry {
    fn of(&self, x: &Tensor, w: &Tensor) -> Result<Geometry> {
        Geometry::new(sizes(x.shape())?, sizes(w.shape())?, self.stride, self.padding, self.groups)
            .map_err(Error::wrap)
    }
}

struct Conv {
    geometry: Geometry,
    /// Whether the input, and the weights, need a gradient.
    wanted: (bool, bool),
}

impl Conv {
    const NAME: &'static str = "conv2d";

    fn new(x: &Tensor, w: &Tensor, geometry: &ConvGeometry) -> Result<Self> {
        Ok(Self { geometry: geometry.of(x, w)?, wanted: (x.track_op(), w.track_op()) })
    }

    fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let mut y = output(self.geometry.output_shape().iter().product());
        forward_into(&self.geometry, x, w, bias, None, &mut y);
        y
    }

    /// Gradients of input and weights, where wanted.
    fn backward(&self, x: &Tensor, w: &Tensor, gy: &[f32]) -> Result<(Option<Tensor>, Option<Tensor>)> {
        with_values(Self::NAME, [x, w], |[xs, ws]| {
            let gx = self.wanted.0.then(|| {
                let mut gx = output(xs.len());
                input_gradient_into(&self.geometry, gy, ws, &mut gx, Store::Replace);
                from_values(gx, x.shape())
            });
            let gw = self.wanted.1.then(|| {
                let mut gw = output(ws.len());
                weight_gradient_into(&self.geometry, xs, gy, &mut gw);
                from_values(gw, w.shape())
            });
            Ok((gx.transpose()?, gw.transpose()?))
        })
    }
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(values(Self::NAME, x, xl)?, values(Self::NAME, w, wl)?, None);
        Ok((CpuStorage::F32(y), self.geometry.output_shape().to_vec().into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        with_values(Self::NAME, [gy], |[gy]| self.backward(x, w, gy))
    }
}

/// With a bias as the third input.
impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let bias = values(Self::NAME, bias, bl)?;
        let channels = self.geometry.output_shape()[1];
        if bias.len() != channels {
            bail!("{}: {} biases for {channels} output channels", Self::NAME, bias.len());
        }
        let y = self.forward(values(Self::NAME, x, xl)?, values(Self::NAME, w, wl)?, Some(bias));
        Ok((CpuStorage::F32(y), self.geometry.output_shape().to_vec().into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        with_values(Self::NAME, [gy], |[gy]| {
            let (gx, gw) = self.backward(x, w, gy)?;
            let mut gb = output(bias.elem_count());
            bias_gradient_into(&self.geometry, gy, &mut gb);
            Ok((gx, gw, Some(from_values(gb, bias.shape())?)))
        })
    }
}

/// The third input is gamma and beta, stacked.
struct ConvBnAct {
    conv: Conv,
    norm: NormNode,
    /// The convolution's output and its statistics; taken, and freed, by the backward pass.
    saved: Mutex<Option<(Vec<f32>, NormState)>>,
}

impl CustomOp3 for ConvBnAct {
    fn name(&self) -> &'static str {
        "conv_bn_act"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        affine: &CpuStorage,
        al: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = CustomOp3::name(self);
        let z = self.conv.forward(values(name, x, xl)?, values(name, w, wl)?, None);
        let mut y = output(z.len());
        let state = self.norm.forward(&z, values(name, affine, al)?, &mut y)?;
        *self.saved.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((z, state));
        Ok((CpuStorage::F32(y), self.conv.geometry.output_shape().to_vec().into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let name = CustomOp3::name(self);
        let saved = self.saved.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let Some((z, state)) = saved else { bail!("{name}: the backward pass can run only once") };
        let (gz, ga) = with_values(name, [affine, gy], |[affine, gy]| {
            let mut gz = gy.to_vec();
            let ga = self.norm.backward(&state, &z, affine, &mut gz);
            Ok((gz, ga))
        })?;
        drop(z);
        let (gx, gw) = self.conv.backward(x, w, &gz)?;
        Ok((gx, gw, Some(from_values(ga, affine.shape())?)))
    }
}
