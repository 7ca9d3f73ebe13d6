//! A training step on the CPU, straight on the kernels: a [`Program`] over one block of memory.

use candle_core::Tensor;
use oxidet_graph::quantization::fake_quantize_kernel;
use oxidet_graph::{Activation, NodeId, ParamKind};

use super::TrainNetError;
use super::memory::BufferId;
use super::network::{Network, Range};
use super::program::{Again, BackwardProgram, Geometry, Program, StepProgram};
use crate::op::{with_values, write_values};
use oxidet_compute::kernel::batch_norm::{self, AffineGradient, BatchStats, Normalization};
use oxidet_compute::kernel::memory::Buffer;
use oxidet_compute::kernel::{
    Store, activation, add, channels, conv, fake_quantize, global_average, max_pool, scale, upsample,
};
use oxidet_compute::plan::{Kind, Norm, Step};

/// The memory of training steps, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// For the shape of the last images.
    program: Option<Program>,
    block: Buffer,
    saved: Vec<Saved>,
}

/// What a step keeps for its backward pass besides maps.
#[derive(Debug, Default)]
struct Saved {
    /// Of a batch norm that follows the batch.
    statistics: Option<BatchStats>,
    /// Of a max-pooling.
    winners: Vec<u16>,
    /// Of stochastic depth: the factor of each image.
    factors: Vec<f32>,
    /// Of a convolution with a quantised kernel: what it computes with.
    kernel: Vec<f32>,
    /// Of a quantiser.
    range: Option<Range>,
}

impl Planned {
    /// The head maps of images of shape `[N, C, H, W]`.
    pub(super) fn forward(
        &mut self,
        net: &mut Network,
        images: &[f32],
        shape: [usize; 4],
    ) -> Result<Vec<Vec<f32>>, TrainNetError> {
        if self.program.as_ref().is_none_or(|program| program.images != shape) {
            self.prepare(net, shape)?;
        }
        let Some(program) = &self.program else { unreachable!("made above") };
        self.block[program.layout.range(program.image)].copy_from_slice(images);
        for ((step, buffers), saved) in net.steps.iter().zip(&program.steps).zip(&mut self.saved) {
            let pass = Pass { net, program, block: &mut self.block };
            pass.forward(step, buffers, saved)
                .map_err(|source| TrainNetError::Node { node: net.name(step.output).to_owned(), source })?;
        }
        for (index, saved) in self.saved.iter().enumerate() {
            if let (Some(norm), Some(statistics)) = (net.steps[index].kind.norm(), &saved.statistics) {
                net.follow(&norm, statistics)?;
            }
            if let Some(range) = saved.range {
                net.set_range(net.steps[index].output, range)?;
            }
        }
        let heads = program.heads.iter();
        Ok(heads.map(|(map, _)| self.block[program.layout.range(*map)].to_vec()).collect())
    }

    fn prepare(&mut self, net: &Network, shape: [usize; 4]) -> Result<(), TrainNetError> {
        let program = Program::new(net, shape)?;
        if self.block.len() < program.layout.len {
            // The old block goes before the new one comes.
            self.block = Buffer::default();
            self.block = Buffer::zeroed(program.layout.len);
        }
        self.saved.resize_with(program.steps.len(), Saved::default);
        self.program = Some(program);
        Ok(())
    }

    /// Writes the gradients of the trained parameters to `gradients`, given those of the heads.
    pub(super) fn backward(
        &mut self,
        net: &Network,
        head_gradients: &[Vec<f32>],
        gradients: &[Tensor],
    ) -> Result<(), TrainNetError> {
        let Some(program) = &self.program else { return Ok(()) };
        for ((_, buffer), gradient) in program.heads.iter().zip(head_gradients) {
            if let Some(buffer) = buffer {
                self.block[program.layout.range(*buffer)].copy_from_slice(gradient);
            }
        }
        for (index, step) in net.steps.iter().enumerate().rev() {
            let buffers = &program.steps[index];
            let Some(backward) = &buffers.backward else { continue };
            let mut pass = Pass { net, program, block: &mut self.block };
            for again in &backward.again {
                pass.compute_again(again, &self.saved[again.step])?;
            }
            pass.backward(step, buffers, backward, &self.saved[index], gradients)
                .map_err(|source| TrainNetError::Node { node: net.name(step.output).to_owned(), source })?;
        }
        Ok(())
    }
}

/// One step's view of everything.
struct Pass<'a> {
    net: &'a Network,
    program: &'a Program,
    block: &'a mut [f32],
}

impl Pass<'_> {
    /// The values of parameters of `node`.
    fn with_params<R, const N: usize>(
        net: &Network,
        node: NodeId,
        kinds: [ParamKind; N],
        body: impl FnOnce([&[f32]; N]) -> candle_core::Result<R>,
    ) -> candle_core::Result<R> {
        with_values("training", kinds.map(|kind| net.param(node, kind)), body)
    }

    fn forward(self, step: &Step, buffers: &StepProgram, saved: &mut Saved) -> candle_core::Result<()> {
        let Self { net, program, block } = self;
        let layout = &program.layout;
        let (inputs, output) = (&buffers.inputs, buffers.output);
        let shape = |input: usize| program.shapes[step.inputs[input].index()];
        match step.kind {
            Kind::Conv { node, batch_norm, activation, conv } => {
                let Geometry::Conv(geometry) = &buffers.geometry else { unreachable!("a convolution's own") };
                let target = buffers.before.unwrap_or(output);
                let inline = if buffers.before.is_none() { activation } else { None };
                let [x, z] = layout.buffers(block, [inputs[0], target]);
                Self::with_params(net, node, [ParamKind::Kernel], |[kernel]| {
                    let kernel = if net.quantizes_kernel(node) {
                        saved.kernel.resize(kernel.len(), 0.0);
                        fake_quantize_kernel(kernel, conv.filters, &mut saved.kernel);
                        &saved.kernel
                    } else {
                        kernel
                    };
                    if conv.bias {
                        Self::with_params(net, node, [ParamKind::Bias], |[bias]| {
                            conv::forward_into(geometry, x, kernel, Some(bias), inline, z);
                            Ok(())
                        })
                    } else {
                        conv::forward_into(geometry, x, kernel, None, inline, z);
                        Ok(())
                    }
                })?;
                match (buffers.before, batch_norm) {
                    (Some(before), Some(norm)) => {
                        let [z, y] = layout.buffers(block, [before, output]);
                        saved.statistics = normalize(net, &norm, activation, &geometry.output_shape(), z, y)?;
                    }
                    (Some(before), None) => {
                        let [z, y] = layout.buffers(block, [before, output]);
                        activation::forward_into(activation.expect("it has one to keep its input"), z, y);
                    }
                    (None, _) => {}
                }
            }
            Kind::BatchNorm { norm, activation } => {
                let (batch, map) = (program.images[0], shape(0));
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                let shape = [batch, map.channels, map.height, map.width];
                saved.statistics = normalize(net, &norm, activation, &shape, x, y)?;
            }
            Kind::Add { activation } => {
                let inline = if buffers.before.is_none() { activation } else { None };
                let target = buffers.before.unwrap_or(output);
                if inputs[0] == inputs[1] {
                    let [x, sum] = layout.buffers(block, [inputs[0], target]);
                    add::forward_into(inline, x, x, sum);
                } else {
                    let [a, b, sum] = layout.buffers(block, [inputs[0], inputs[1], target]);
                    add::forward_into(inline, a, b, sum);
                }
                if let (Some(before), Some(activation)) = (buffers.before, activation) {
                    let [sum, y] = layout.buffers(block, [before, output]);
                    activation::forward_into(activation, sum, y);
                }
            }
            Kind::Activation(activation) => {
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                activation::forward_into(activation, x, y);
            }
            Kind::MaxPool(_) => {
                let Geometry::MaxPool(geometry) = &buffers.geometry else { unreachable!("a pooling's own") };
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                saved.winners.resize(y.len(), 0);
                max_pool::forward_into(geometry, x, y, &mut saved.winners);
            }
            Kind::Upsample { factor } => {
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                upsample::forward_into(factor, shape(0).width, x, y);
            }
            Kind::Concat => {
                let whole = program.shapes[step.output.index()].len();
                let mut start = 0;
                for (index, input) in inputs.iter().enumerate() {
                    let len = shape(index).len();
                    let [x, y] = layout.buffers(block, [*input, output]);
                    channels::place_into(x, whole, start, len, y, Store::Replace);
                    start += len;
                }
            }
            Kind::ChannelSlice { start, len } => {
                let map = shape(0);
                let pixels = map.height * map.width;
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                channels::slice_into(x, map.len(), start * pixels, len * pixels, y, Store::Replace);
            }
            Kind::GlobalAveragePool => {
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                global_average::forward_into(x, y);
            }
            Kind::Scale => {
                let [x, gate, y] = layout.buffers(block, [inputs[0], inputs[1], output]);
                scale::forward_into(x, gate, y);
            }
            Kind::FakeQuantize => {
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                let range = net.range(step.output, fake_quantize::amax(x))?;
                fake_quantize::forward_into(range.shared, x, y);
                saved.range = Some(range);
            }
            Kind::DropPath { rate } => {
                saved.factors = net.path_factors(step.output, rate, program.images[0]);
                let [x, y] = layout.buffers(block, [inputs[0], output]);
                scale::forward_into(x, &saved.factors, y);
            }
        }
        Ok(())
    }

    /// Writes the output of an earlier step once more.
    fn compute_again(&mut self, again: &Again, saved: &Saved) -> candle_core::Result<()> {
        let (kind, buffers) = (&self.net.steps[again.step].kind, &self.program.steps[again.step]);
        let [z, y] = self.program.layout.buffers(self.block, [again.from, again.to]);
        match *kind {
            Kind::Conv { batch_norm: Some(norm), activation, .. } => {
                let Geometry::Conv(geometry) = &buffers.geometry else { unreachable!("a convolution's own") };
                let pixels = geometry.out_height() * geometry.out_width();
                with_statistics(self.net, &norm, activation, pixels, saved, |norm, mean, variance| {
                    batch_norm::frozen_forward_into(norm, mean, variance, z, y);
                })
            }
            Kind::Conv { activation: Some(activation), .. } | Kind::Add { activation: Some(activation) } => {
                activation::forward_into(activation, z, y);
                Ok(())
            }
            Kind::FakeQuantize => {
                let range = saved.range.expect("its forward pass has found one");
                fake_quantize::forward_into(range.shared, z, y);
                Ok(())
            }
            _ => unreachable!("nothing else is computed again"),
        }
    }

    fn backward(
        mut self,
        step: &Step,
        buffers: &StepProgram,
        backward: &BackwardProgram,
        saved: &Saved,
        gradients: &[Tensor],
    ) -> candle_core::Result<()> {
        let (net, program) = (self.net, self.program);
        let shape = |input: usize| program.shapes[step.inputs[input].index()];
        match step.kind {
            Kind::Conv { node, batch_norm, activation, .. } => {
                let Geometry::Conv(geometry) = &buffers.geometry else { unreachable!("a convolution's own") };
                if let (Some(norm), Some(before)) = (batch_norm, buffers.before) {
                    let pixels = geometry.out_height() * geometry.out_width();
                    let [z, g] = self.program.layout.buffers(self.block, [before, backward.gradient]);
                    norm_backward(net, &norm, activation, pixels, saved, gradients, z, g)?;
                } else if let Some(activation) = activation {
                    self.activation_backward(activation, buffers.before.unwrap_or(buffers.output), backward);
                }
                self.conv_backward(node, geometry, backward, &saved.kernel, gradients)?;
            }
            Kind::BatchNorm { norm, activation } => {
                let pixels = shape(0).height * shape(0).width;
                let [x, g] = self.program.layout.buffers(self.block, [backward.inputs[0], backward.gradient]);
                norm_backward(net, &norm, activation, pixels, saved, gradients, x, g)?;
                self.deliver(backward);
            }
            Kind::Add { activation } => {
                if let Some(activation) = activation {
                    self.activation_backward(activation, buffers.before.unwrap_or(buffers.output), backward);
                }
                self.deliver(backward);
            }
            Kind::Activation(activation) => {
                self.activation_backward(activation, backward.inputs[0], backward);
                self.deliver(backward);
            }
            Kind::MaxPool(_) => {
                let Geometry::MaxPool(geometry) = &buffers.geometry else { unreachable!("a pooling's own") };
                self.deliver_with(backward, |_, g, gx, store| {
                    max_pool::backward_into(geometry, &saved.winners, g, gx, store);
                });
            }
            Kind::Upsample { factor } => {
                let width = shape(0).width;
                self.deliver_with(backward, |_, g, gx, store| {
                    upsample::backward_into(factor, width, g, gx, store)
                });
            }
            Kind::Concat => {
                let whole = program.shapes[step.output.index()].len();
                let starts: Vec<usize> = (0..step.inputs.len())
                    .scan(0, |next, input| Some(std::mem::replace(next, *next + shape(input).len())))
                    .collect();
                self.deliver_with(backward, |input, g, gx, store| {
                    channels::slice_into(g, whole, starts[input], shape(input).len(), gx, store);
                });
            }
            Kind::ChannelSlice { start, len } => {
                let (map, pixels) = (shape(0), shape(0).height * shape(0).width);
                self.deliver_with(backward, |_, g, gx, store| {
                    channels::slice_backward_into(g, map.len(), start * pixels, len * pixels, gx, store);
                });
            }
            Kind::GlobalAveragePool => {
                self.deliver_with(backward, |_, g, gx, store| global_average::backward_into(g, gx, store));
            }
            Kind::Scale => self.scale_backward(backward),
            Kind::FakeQuantize => self.deliver(backward),
            Kind::DropPath { .. } => {
                let g = &mut self.block[program.layout.range(backward.gradient)];
                scale::in_place(g, &saved.factors);
                self.deliver(backward);
            }
        }
        Ok(())
    }

    fn activation_backward(&mut self, activation: Activation, input: BufferId, backward: &BackwardProgram) {
        let [x, g] = self.program.layout.buffers(self.block, [input, backward.gradient]);
        activation::backward_in_place(activation, x, g);
    }

    fn scale_backward(&mut self, backward: &BackwardProgram) {
        let layout = &self.program.layout;
        let [map, gate] = [backward.inputs[0], backward.inputs[1]];
        if let Some((target, store)) = backward.deliveries[0] {
            let [g, gate, gx] = layout.buffers(self.block, [backward.gradient, gate, target]);
            scale::map_gradient_into(g, gate, gx, store);
        }
        if let Some((target, store)) = backward.deliveries[1] {
            let [g, map, gx] = layout.buffers(self.block, [backward.gradient, map, target]);
            scale::gate_gradient_into(map, g, gx, store);
        }
    }

    fn conv_backward(
        &mut self,
        node: NodeId,
        geometry: &conv::Geometry,
        backward: &BackwardProgram,
        rounded: &[f32],
        gradients: &[Tensor],
    ) -> candle_core::Result<()> {
        let (net, layout) = (self.net, &self.program.layout);
        if let Some(index) = net.trained_index(node, ParamKind::Bias) {
            let g = &self.block[layout.range(backward.gradient)];
            write_values(&gradients[index], |gb| conv::bias_gradient_into(geometry, g, gb))?;
        }
        if let Some(index) = net.trained_index(node, ParamKind::Kernel) {
            let [x, g] = layout.buffers(self.block, [backward.inputs[0], backward.gradient]);
            write_values(&gradients[index], |gw| conv::weight_gradient_into(geometry, x, g, gw))?;
        }
        Self::with_params(net, node, [ParamKind::Kernel], |[kernel]| {
            let kernel = if net.quantizes_kernel(node) { rounded } else { kernel };
            self.deliver_with(backward, |_, g, gx, store| {
                conv::input_gradient_into(geometry, g, kernel, gx, store);
            });
            Ok(())
        })
    }

    /// Sends the gradient of the output on as it is, where it is not passed on in place.
    fn deliver(&mut self, backward: &BackwardProgram) {
        self.deliver_with(backward, |_, g, gx, store| match store {
            Store::Replace => gx.copy_from_slice(g),
            Store::Add => add::accumulate(g, gx),
        });
    }

    /// Calls `body(input, gradient of the output, gradient of the input, …)` for every input that gets a gradient.
    fn deliver_with(&mut self, backward: &BackwardProgram, body: impl Fn(usize, &[f32], &mut [f32], Store)) {
        for (input, delivery) in backward.deliveries.iter().enumerate() {
            if let Some((target, store)) = delivery {
                let [g, gx] = self.program.layout.buffers(self.block, [backward.gradient, *target]);
                body(input, g, gx, *store);
            }
        }
    }
}

/// Normalises `x` of shape `[N, C, H, W]`. Returns the statistics of the batch if they were used.
fn normalize(
    net: &Network,
    norm: &Norm,
    activation: Option<Activation>,
    shape: &[usize; 4],
    x: &[f32],
    y: &mut [f32],
) -> candle_core::Result<Option<BatchStats>> {
    let pixels = shape[2] * shape[3];
    if net.is_frozen(norm) {
        with_statistics(net, norm, activation, pixels, &Saved::default(), |norm, mean, variance| {
            batch_norm::frozen_forward_into(norm, mean, variance, x, y);
        })?;
        return Ok(None);
    }
    Pass::with_params(net, norm.node, [ParamKind::Gamma, ParamKind::Beta], |[gamma, beta]| {
        let norm = Normalization { pixels, gamma, beta, epsilon: norm.settings.epsilon, activation };
        Ok(Some(batch_norm::train_forward_into(&norm, x, y)))
    })
}

/// Calls `body` with the normalisation and the mean and variance it used: those of the batch, or the running ones.
fn with_statistics<R>(
    net: &Network,
    norm: &Norm,
    activation: Option<Activation>,
    pixels: usize,
    saved: &Saved,
    body: impl FnOnce(&Normalization<'_>, &[f32], &[f32]) -> R,
) -> candle_core::Result<R> {
    let kinds = [ParamKind::Gamma, ParamKind::Beta, ParamKind::MovingMean, ParamKind::MovingVariance];
    Pass::with_params(net, norm.node, kinds, |[gamma, beta, mean, variance]| {
        let norm = Normalization { pixels, gamma, beta, epsilon: norm.settings.epsilon, activation };
        Ok(match &saved.statistics {
            Some(batch) => body(&norm, &batch.mean, &batch.population_variance),
            None => body(&norm, mean, variance),
        })
    })
}

/// The backward pass of [`normalize`], in place, and the gradients of its affine part.
#[expect(clippy::too_many_arguments, reason = "the state of a layer")]
fn norm_backward(
    net: &Network,
    norm: &Norm,
    activation: Option<Activation>,
    pixels: usize,
    saved: &Saved,
    gradients: &[Tensor],
    x: &[f32],
    gradient: &mut [f32],
) -> candle_core::Result<()> {
    let AffineGradient { gamma, beta } =
        with_statistics(net, norm, activation, pixels, saved, |norm, mean, variance| {
            match &saved.statistics {
                Some(batch) => batch_norm::train_backward_in_place(norm, batch, x, gradient),
                None => batch_norm::frozen_backward_in_place(norm, mean, variance, x, gradient),
            }
        })?;
    for (kind, values) in [(ParamKind::Gamma, gamma), (ParamKind::Beta, beta)] {
        if let Some(index) = net.trained_index(norm.node, kind) {
            write_values(&gradients[index], |target| target.copy_from_slice(&values))?;
        }
    }
    Ok(())
}
