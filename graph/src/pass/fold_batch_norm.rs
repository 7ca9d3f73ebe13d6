//! Folds inference-mode batch normalisation into the convolution before it.
//!
//! `w' = w · γ / √(σ² + ε)` per output channel and `b' = β + (b − μ) · γ / √(σ² + ε)`: the folded network computes the
//! same function with one operator less per layer. The arithmetic is done in f64 and rounded once.

use crate::{Conv2d, Detector, Graph, GraphBuilder, NodeId, Op, ParamKind, Params, ParamsError, Tensor};

/// Returns `detector` and `params` with every batch normalisation that directly follows a convolution folded into it,
/// when nothing else reads the convolution. The convolution keeps its name and gains a bias. Stochastic depth, which does
/// nothing in inference either, is left out.
///
/// # Errors
/// [`ParamsError`] when `params` are not those of the detector's graph.
pub fn fold_batch_norm(detector: &Detector, params: &Params) -> Result<(Detector, Params), ParamsError> {
    params.check(&detector.graph)?;
    let graph = &detector.graph;
    let readers = graph.readers();
    let folds = |id: NodeId| -> Option<NodeId> {
        let [reader] = readers[id.index()].as_slice() else { return None };
        let is_conv = matches!(graph.node(id).op, Op::Conv2d(_));
        let is_output = detector.heads.iter().any(|head| head.output == id);
        (is_conv && !is_output && matches!(graph.node(*reader).op, Op::BatchNorm(_))).then_some(*reader)
    };

    let mut builder = GraphBuilder::new();
    let mut folded_params = Params::new();
    let mut new_ids: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| new_ids[input.index()]).collect();
        builder.set_block(node.block);
        let new_id = match (node.op, folds(id)) {
            (Op::Conv2d(conv), Some(batch_norm)) => {
                let (kernel, bias) = folded_weights(graph, params, id, batch_norm)?;
                folded_params.insert(ParamKind::Kernel.of(&node.name), kernel);
                folded_params.insert(ParamKind::Bias.of(&node.name), bias);
                builder.conv(&node.name, inputs[0], Conv2d { bias: true, ..conv })
            }
            (Op::BatchNorm(_), _) if folds(node.inputs[0]) == Some(id) => inputs[0],
            (Op::DropPath { .. }, _) => inputs[0],
            _ => {
                copy_params(graph, params, id, &mut folded_params);
                builder.push(&node.name, node.op, &inputs)
            }
        };
        new_ids.push(new_id);
    }
    Ok((detector.rebuilt(builder.finish(), &new_ids), folded_params))
}

fn copy_params(graph: &Graph, params: &Params, id: NodeId, into: &mut Params) {
    let layer = &graph.node(id).name;
    for kind in [
        ParamKind::Kernel,
        ParamKind::Bias,
        ParamKind::Gamma,
        ParamKind::Beta,
        ParamKind::MovingMean,
        ParamKind::MovingVariance,
        ParamKind::Amax,
    ] {
        if let Ok(tensor) = params.of(layer, kind) {
            into.insert(kind.of(layer), tensor.clone());
        }
    }
}

fn folded_weights(
    graph: &Graph,
    params: &Params,
    conv: NodeId,
    batch_norm: NodeId,
) -> Result<(Tensor, Tensor), ParamsError> {
    let (conv, batch_norm) = (graph.node(conv), graph.node(batch_norm));
    let Op::BatchNorm(settings) = batch_norm.op else { unreachable!("the caller picked a batch norm") };
    let statistic = |kind| params.of(&batch_norm.name, kind).map(Tensor::data);
    let (gamma, beta) = (statistic(ParamKind::Gamma)?, statistic(ParamKind::Beta)?);
    let (mean, variance) = (statistic(ParamKind::MovingMean)?, statistic(ParamKind::MovingVariance)?);
    let kernel = params.of(&conv.name, ParamKind::Kernel)?;
    let old_bias = params.of(&conv.name, ParamKind::Bias).ok().map(Tensor::data);

    let per_filter = kernel.data().len() / conv.channels;
    let mut weights = Vec::with_capacity(kernel.data().len());
    let mut bias = Vec::with_capacity(conv.channels);
    for (filter, old) in kernel.data().chunks_exact(per_filter).enumerate() {
        let factor =
            f64::from(gamma[filter]) / (f64::from(variance[filter]) + f64::from(settings.epsilon)).sqrt();
        weights.extend(old.iter().map(|w| (f64::from(*w) * factor) as f32));
        let offset = old_bias.map_or(0.0, |bias| f64::from(bias[filter])) - f64::from(mean[filter]);
        bias.push((f64::from(beta[filter]) + offset * factor) as f32);
    }
    Ok((Tensor::new(kernel.shape(), weights), Tensor::new([conv.channels], bias)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, BatchNorm, Padding};

    fn conv(filters: usize, bias: bool) -> Conv2d {
        Conv2d { filters, kernel: 1, stride: 1, padding: Padding::default(), groups: 1, bias }
    }

    #[test]
    fn a_folded_convolution_computes_conv_then_batch_norm() {
        let mut builder = GraphBuilder::new();
        let image = builder.input(1);
        let c = builder.conv("c", image, conv(2, true));
        let b = builder.batch_norm("c_bn", c, BatchNorm { epsilon: 1e-3, momentum: 0.99 });
        let r = builder.activation("r", b, Activation::Relu);
        let lone = builder.batch_norm("lone_bn", r, BatchNorm { epsilon: 1e-3, momentum: 0.99 });
        let graph = builder.finish();
        let detector = Detector::for_tests(graph, lone);
        let mut params = Params::new();
        params.insert("c/kernel", Tensor::new([2, 1, 1, 1], vec![2.0, -3.0]));
        params.insert("c/bias", Tensor::new([2], vec![0.5, 0.25]));
        for layer in ["c_bn", "lone_bn"] {
            params.insert(format!("{layer}/gamma"), Tensor::new([2], vec![1.5, 0.5]));
            params.insert(format!("{layer}/beta"), Tensor::new([2], vec![0.1, -0.2]));
            params.insert(format!("{layer}/moving_mean"), Tensor::new([2], vec![0.3, 0.7]));
            params.insert(format!("{layer}/moving_variance"), Tensor::new([2], vec![4.0, 0.25]));
        }
        let (folded, folded_params) = fold_batch_norm(&detector, &params).unwrap();

        let names: Vec<&str> = folded.graph.nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["Input", "c", "r", "lone_bn"]);
        folded_params.check(&folded.graph).unwrap();
        let (w, b) =
            (folded_params.get("c/kernel").unwrap().data(), folded_params.get("c/bias").unwrap().data());
        for x in [-1.0f32, 0.0, 2.5] {
            let first = (2.0 * x + 0.5 - 0.3) / (4.0f32 + 1e-3).sqrt() * 1.5 + 0.1;
            let second = (-3.0 * x + 0.25 - 0.7) / (0.25f32 + 1e-3).sqrt() * 0.5 - 0.2;
            assert!((w[0] * x + b[0] - first).abs() < 1e-5);
            assert!((w[1] * x + b[1] - second).abs() < 1e-5);
        }
    }
}
