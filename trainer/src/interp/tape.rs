//! A training step through candle's autograd, on any device.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::Tensor;
use oxidet_graph::{NodeId, ParamKind};

use super::TrainNetError;
use super::network::{Network, Range};
use crate::op::{self, BatchStatsSlot, BnMode, ConvGeometry};
use oxidet_compute::plan::{Kind, Norm, Step};

/// The heads of the last forward pass, with the operations behind them.
#[derive(Debug, Default)]
pub(super) struct Tape {
    heads: Vec<Tensor>,
}

impl Tape {
    /// The head maps of images of shape `[N, C, H, W]`.
    pub(super) fn forward(
        &mut self,
        net: &mut Network,
        images: &[f32],
        shape: [usize; 4],
    ) -> Result<Vec<Vec<f32>>, TrainNetError> {
        self.heads.clear();
        let (mut heads, mut batch_stats, mut ranges) = (BTreeMap::new(), Vec::new(), Vec::new());
        walk(net, images, shape, |step, output, seen| {
            if let (Some(norm), Some(stats)) = (step.kind.norm(), seen.stats.take()) {
                batch_stats.push((norm, stats));
            }
            ranges.extend(seen.range.map(|range| (step.output, range)));
            if net.detector.heads.iter().any(|head| head.output == step.output) {
                heads.insert(step.output, output.clone());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (norm, stats) in &batch_stats {
            net.follow(norm, stats)?;
        }
        for (quantizer, range) in ranges {
            net.set_range(quantizer, range)?;
        }
        self.heads = net.detector.heads.iter().filter_map(|head| heads.get(&head.output).cloned()).collect();
        Ok(self.heads.iter().map(|head| head.flatten_all()?.to_vec1()).collect::<Result<_, _>>()?)
    }

    /// Replaces `gradients` by those of the trained parameters, given those of the heads.
    pub(super) fn backward(
        &mut self,
        net: &Network,
        head_gradients: Vec<Vec<f32>>,
        gradients: &mut Vec<Tensor>,
    ) -> Result<(), TrainNetError> {
        // The scalar Σ head · gradient, with the gradients as constants, has the same gradients as the loss.
        let mut surrogate: Option<Tensor> = None;
        for (head, gradient) in std::mem::take(&mut self.heads).into_iter().zip(head_gradients) {
            let gradient = Tensor::from_vec(gradient, head.shape(), head.device())?;
            let term = (head * gradient)?.sum_all()?;
            surrogate = Some(match surrogate {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        let Some(surrogate) = surrogate else { return Ok(()) };
        let mut found = surrogate.backward()?;
        *gradients = net
            .trained
            .iter()
            .map(|param| match found.remove(&param.var) {
                Some(gradient) => Ok(gradient),
                None => param.var.zeros_like(),
            })
            .collect::<Result<_, _>>()?;
        Ok(())
    }
}

/// The first step whose output is not finite although its inputs are, for images of shape `[N, C, H, W]`. Nothing changes.
pub(super) fn first_non_finite(
    net: &Network,
    images: &[f32],
    shape: [usize; 4],
) -> Result<Option<NodeId>, TrainNetError> {
    let mut found = None;
    walk(net, images, shape, |step, output, _| {
        if output.flatten_all()?.to_vec1::<f32>()?.iter().any(|v| !v.is_finite()) {
            found = Some(step.output);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// What a step learns about its batch.
#[derive(Default)]
struct Seen {
    /// Of a batch norm.
    stats: BatchStatsSlot,
    /// Of a quantiser.
    range: Option<Range>,
}

/// Runs the steps on images of shape `[N, C, H, W]` until `seen` has seen enough: it gets each step with its output and what it
/// learnt.
fn walk(
    net: &Network,
    images: &[f32],
    shape: [usize; 4],
    mut seen: impl FnMut(&Step, &Tensor, &Seen) -> candle_core::Result<ControlFlow<()>>,
) -> Result<(), TrainNetError> {
    let mut maps: Vec<Option<Tensor>> = vec![None; net.detector.graph.nodes().len()];
    maps[0] = Some(Tensor::from_slice(images, &shape, &net.device)?);
    for step in &net.steps {
        let mut learnt = Seen::default();
        let inputs: Vec<&Tensor> = step
            .inputs
            .iter()
            .map(|id| maps[id.index()].as_ref().expect("a map is kept until its last reader ran"))
            .collect();
        let output = run(net, step, &inputs, &mut learnt)
            .map_err(|source| TrainNetError::Node { node: net.name(step.output).to_owned(), source })?;
        if seen(step, &output, &learnt)?.is_break() {
            break;
        }
        maps[step.output.index()] = Some(output);
        for id in &step.last_reads {
            maps[id.index()] = None;
        }
    }
    Ok(())
}

fn run(net: &Network, step: &Step, inputs: &[&Tensor], seen: &mut Seen) -> candle_core::Result<Tensor> {
    let stats = &seen.stats;
    let affine =
        |norm: &Norm| (net.param(norm.node, ParamKind::Gamma), net.param(norm.node, ParamKind::Beta));
    match step.kind {
        Kind::Conv { node, conv, batch_norm, activation } => {
            let mut kernel = net.param(node, ParamKind::Kernel).clone();
            if net.quantizes_kernel(node) {
                kernel = op::fake_quantize_kernel(&kernel)?;
            }
            let geometry = ConvGeometry { stride: conv.stride, padding: conv.padding, groups: conv.groups };
            if let Some(norm) = batch_norm {
                let ((gamma, beta), epsilon) = (affine(&norm), norm.settings.epsilon);
                let mode = mode(net, &norm, stats);
                return op::conv_bn_act(
                    inputs[0], &kernel, gamma, beta, &geometry, mode, epsilon, activation,
                );
            }
            let bias = conv.bias.then(|| net.param(node, ParamKind::Bias));
            let map = op::conv2d(inputs[0], &kernel, bias, &geometry)?;
            match activation {
                Some(activation) => op::activation(&map, activation),
                None => Ok(map),
            }
        }
        Kind::BatchNorm { norm, activation } => {
            let ((gamma, beta), epsilon) = (affine(&norm), norm.settings.epsilon);
            op::batch_norm_act(inputs[0], gamma, beta, mode(net, &norm, stats), epsilon, activation)
        }
        Kind::Add { activation: None } => op::add(inputs[0], inputs[1]),
        Kind::Add { activation: Some(activation) } => op::add_activate(inputs[0], inputs[1], activation),
        Kind::Activation(activation) => op::activation(inputs[0], activation),
        Kind::MaxPool(pool) => op::max_pool(inputs[0], &pool),
        Kind::Upsample { factor } => op::upsample(inputs[0], factor),
        Kind::Concat => op::concat(inputs),
        Kind::ChannelSlice { start, len } => op::channel_slice(inputs[0], start, len),
        Kind::GlobalAveragePool => inputs[0].mean_keepdim((2, 3)),
        Kind::Scale => inputs[0].broadcast_mul(inputs[1]),
        Kind::FakeQuantize => {
            let batch = inputs[0].detach().abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
            let range = net.range(step.output, batch)?;
            seen.range = Some(range);
            op::fake_quantize(inputs[0], range.shared)
        }
        Kind::DropPath { rate } => {
            let images = inputs[0].dim(0)?;
            let factors = net.path_factors(step.output, rate, images);
            inputs[0].broadcast_mul(&Tensor::from_vec(factors, (images, 1, 1, 1), &net.device)?)
        }
    }
}

fn mode<'a>(net: &'a Network, norm: &Norm, stats: &'a BatchStatsSlot) -> BnMode<'a> {
    if net.is_frozen(norm) {
        BnMode::Frozen {
            mean: net.param(norm.node, ParamKind::MovingMean),
            variance: net.param(norm.node, ParamKind::MovingVariance),
        }
    } else {
        BnMode::Train { stats }
    }
}
