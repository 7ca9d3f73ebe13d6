//! Darknet's networks. Their files have no names: the order of the cfg file tells which numbers are whose.
//!
//! | arch | cfg | files |
//! |---|---|---|
//! | `darknet19` | `darknet19.cfg` | `darknet19_448.conv.23`, `darknet19.weights` |
//! | `darknet53` | `darknet53.cfg`, `yolov3.cfg` | `darknet53.conv.74`, `yolov3.weights` |
//! | `cspdarknet53` | `yolov4.cfg` | `yolov4.conv.137`, `yolov4.weights` |
//! | `cspdarknet_tiny`, `cspdarknet_tiny_3l` | `yolov4-tiny.cfg`, `yolov4-tiny-3l.cfg` | `yolov4-tiny.conv.29`, `yolov4-tiny.weights` |
//!
//! All their convolutions have batch norms. ε is 1e-5, that of the GPU kernels, on which everybody trains (`blas_kernels.cu`).

use oxidet_graph::{Detector, Op, ParamKind};
use oxidet_proto::weights::Array;
use oxidet_proto::weights::darknet::Weights;

use super::LoadError;
use super::input::DARKNET;
use super::scheme::{Counterpart, Scheme};
use super::source::{Program, Source};

/// The scheme for an architecture; [`source`] has given the numbers our names.
pub(super) fn scheme(arch: &str) -> Scheme {
    let notes: &[&str] = match arch {
        "cspdarknet53" => &["Darknet trained YOLOv4's backbone with Mish: give activation: \"mish\""],
        _ => &[],
    };
    Scheme { name: "Darknet", counterpart, input: DARKNET, epsilon: 1e-5, notes }
}

fn counterpart(arch: &str, conv: &str) -> Option<Counterpart> {
    order(arch)?.iter().any(|name| name == conv).then(|| Counterpart::with_batch_norm(conv, conv))
}

/// Our convolutions in the order of Darknet's cfg file.
fn order(arch: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut add = |name: String| names.push(name);
    match arch {
        "darknet19" => {
            add("conv1".into());
            for (block, convs) in [(1, 1), (2, 3), (3, 3), (4, 5), (5, 5)] {
                (1..=convs).for_each(|conv| add(format!("b{block}_conv{conv}")));
            }
        }
        "darknet53" => {
            add("conv1".into());
            for (stage, residuals) in [(1, 1), (2, 2), (3, 8), (4, 8), (5, 4)] {
                add(format!("conv{}", stage + 1));
                for residual in 1..=residuals {
                    add(format!("b{stage}_conv{residual}_1"));
                    add(format!("b{stage}_conv{residual}_2"));
                }
            }
        }
        "cspdarknet53" => {
            add("conv1".into());
            for (stage, residuals) in [(1, 1), (2, 2), (3, 8), (4, 8), (5, 4)] {
                add(format!("conv{}", stage + 1));
                // The way around comes first.
                add(format!("conv{}_1", stage + 1));
                add(format!("conv{}_2", stage + 1));
                for residual in 1..=residuals {
                    add(format!("b{stage}_conv{residual}_1"));
                    add(format!("b{stage}_conv{residual}_2"));
                }
                add(format!("b{stage}_partial_trans"));
                add(format!("b{stage}_final_trans"));
            }
        }
        "cspdarknet_tiny" | "cspdarknet_tiny_3l" => {
            add("conv_0".into());
            add("conv_1".into());
            for block in 2..=4 {
                (0..4).for_each(|conv| add(format!("conv_{block}_conv_{conv}")));
            }
            add("conv_5".into());
        }
        _ => return None,
    }
    Some(names)
}

/// Gives the numbers of a file to the layers of the backbone.
pub(super) fn source(weights: &Weights, detector: &Detector) -> Result<Source, LoadError> {
    let arch = &detector.arch;
    let order = order(arch).ok_or_else(|| {
        LoadError::Unsound(format!(
            "Darknet has no {arch}; its weights are for darknet19, darknet53, cspdarknet53, cspdarknet_tiny and cspdarknet_tiny_3l"
        ))
    })?;
    let graph = &detector.graph;
    let mut rest = weights.values.as_slice();
    let mut arrays = Vec::new();
    for name in &order {
        let Some(node) = graph.find(name).map(|id| graph.node(id)) else { continue };
        let Op::Conv2d(conv) = node.op else { continue };
        let input = graph.node(node.inputs[0]);
        let inputs = if matches!(input.op, Op::Input { .. }) { 3 } else { input.channels };
        let vector = vec![conv.filters];
        for (kind, shape) in [
            (ParamKind::Beta, vector.clone()),
            (ParamKind::Gamma, vector.clone()),
            (ParamKind::MovingMean, vector.clone()),
            (ParamKind::MovingVariance, vector),
            (ParamKind::Kernel, vec![conv.filters, inputs, conv.kernel, conv.kernel]),
        ] {
            let (values, after) = rest.split_at_checked(shape.iter().product()).ok_or_else(|| {
                LoadError::Unsound(format!(
                    "the file ends before `{name}` of {arch}: it has {} numbers; is it for another arch?",
                    weights.values.len()
                ))
            })?;
            // The one thing that tells numbers of this network from those of another.
            if kind == ParamKind::MovingVariance
                && values.iter().any(|variance| !variance.is_finite() || *variance < 0.0)
            {
                return Err(LoadError::Unsound(format!(
                    "where the variances of `{name}` should be are negative numbers; is the file for another arch than {arch}?"
                )));
            }
            arrays.push(Array { name: kind.of(name), shape, values: values.to_vec() });
            rest = after;
        }
    }
    if !rest.is_empty() {
        let name = "the layers behind the backbone".to_owned();
        arrays.push(Array { name, shape: vec![rest.len()], values: rest.to_vec() });
    }
    Ok(Source::new("Darknet weights", Program::Darknet, arrays))
}
