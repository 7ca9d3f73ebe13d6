//! Half precision on processors without it.
//!
//! Computing in software floats would take minutes an image. So float16 constants become single ones of the same values, layers
//! compute in single precision, and what each makes is rounded to float16: as on a GPU, which stores half and sums up in single. A
//! value beyond float16 becomes infinite here as there.

use std::borrow::Cow;
use std::collections::BTreeSet;

use oxidet_proto::onnx::{AttributeProto, DataType, ModelProto, NodeProto, TensorProto};

use crate::artifact::{has_half, is_half};

/// Operators that make new values; all others only move those they read.
const COMPUTE: [&str; 11] = [
    "Add",
    "BatchNormalization",
    "Conv",
    "Exp",
    "GlobalAveragePool",
    "LeakyRelu",
    "Mul",
    "Sigmoid",
    "Softplus",
    "Sub",
    "Tanh",
];

/// A model that computes what `model` does, without float16 operators or constants.
pub(super) fn widened(model: &ModelProto) -> Result<Cow<'_, ModelProto>, String> {
    if !has_half(model) {
        return Ok(Cow::Borrowed(model));
    }
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        let mut half = BTreeSet::new();
        for tensor in graph.initializer.iter_mut().filter(|tensor| is_half(tensor)) {
            let values = tensor.to_f32s().map_err(|error| error.to_string())?;
            half.insert(tensor.name.clone());
            *tensor = TensorProto::f32(&tensor.name, &tensor.dims, &values);
        }
        let mut nodes = Vec::with_capacity(graph.node.len());
        for mut node in std::mem::take(&mut graph.node) {
            let to = (node.op_type == "Cast").then(|| node.attribute("to").and_then(|to| to.i)).flatten();
            let casts_to_half = to == Some(DataType::Float16 as i64);
            let makes_half =
                casts_to_half || to.is_none() && node.input.iter().any(|input| half.contains(input));
            if makes_half {
                half.extend(node.output.iter().cloned());
            }
            let rounds = casts_to_half || makes_half && COMPUTE.contains(&node.op_type.as_str());
            let [made] = &mut node.output[..] else {
                nodes.push(node);
                continue;
            };
            if rounds {
                let value = made.clone();
                *made = format!("{value}/unrounded");
                let [unrounded, rounded] = [made.clone(), format!("{value}/float16")];
                nodes.push(node);
                nodes.push(cast(&unrounded, &rounded, DataType::Float16));
                nodes.push(cast(&rounded, &value, DataType::Float));
            } else {
                nodes.push(node);
            }
        }
        graph.node = nodes;
        // It would say float16 of what no longer is.
        graph.value_info.clear();
    }
    Ok(Cow::Owned(model))
}

fn cast(from: &str, to: &str, r#type: DataType) -> NodeProto {
    NodeProto::new("Cast", &format!("{to}/cast"), [from], [to]).attr(AttributeProto::int("to", r#type as i64))
}
