//! The layers of the network, one after the other.

use oxidet_proto::onnx::{AttributeProto, DataType};

use super::{FloatType, INPUT, WriteError, Writer};
use crate::quantization::{QuantizedMaps, kernel_steps, step};
use crate::{Activation, Graph, Node, NodeId, Op, Padding, ParamKind, Params, Tensor};

/// Appends the layers. Where maps are quantised, pairs of QuantizeLinear and DequantizeLinear stand behind the quantisers, behind the
/// operators that only move what they made, and behind the kernels: engines look for a pair at each operator, and a second one
/// with the same step changes nothing.
pub(super) fn write(writer: &mut Writer, graph: &Graph, params: &Params) -> Result<(), WriteError> {
    let maps = QuantizedMaps::of(graph);
    // The value that readers of each node read.
    let mut values: Vec<String> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let inputs: Vec<&str> = node.inputs.iter().map(|input| values[input.index()].as_str()).collect();
        let mut made = value(graph, id).to_owned();
        match node.op {
            Op::Input { .. } if writer.float == FloatType::F16 => {
                made = writer.cast(&format!("{INPUT}/half"), INPUT, DataType::Float16);
            }
            Op::FakeQuantize => write_pair(writer, &made, inputs[0], maps.range(graph, params, id)?),
            _ => {
                let quantized_kernel = maps.quantizes_kernel(graph, id);
                write_node(writer, node, &inputs, params, quantized_kernel)?;
                if maps.contains(id) {
                    let moved = std::mem::replace(&mut made, format!("{}_qdq", node.name));
                    write_pair(writer, &made, &moved, maps.range(graph, params, id)?);
                }
            }
        }
        values.push(made);
    }
    Ok(())
}

/// Name of the value that a node makes.
pub(super) fn value(graph: &Graph, id: NodeId) -> &str {
    let node = graph.node(id);
    if matches!(node.op, Op::Input { .. }) { INPUT } else { &node.name }
}

/// A map rounded to the steps of its range.
fn write_pair(writer: &mut Writer, name: &str, input: &str, amax: f32) {
    let scale = writer.floats(&format!("{name}/scale"), &[], &[step(amax)]);
    let zero = writer.codes(&format!("{name}/zero"), &[], &[0]);
    let codes = writer.node("QuantizeLinear", &format!("{name}/codes"), &[input, &scale, &zero], Vec::new());
    writer.node("DequantizeLinear", name, &[&codes, &scale, &zero], Vec::new());
}

/// A kernel rounded to the steps of its filters.
fn write_kernel_pair(writer: &mut Writer, name: &str, kernel: &Tensor) -> String {
    let steps = kernel_steps(kernel);
    let filters = steps.len() as i64;
    let scale = writer.floats(&format!("{name}/scale"), &[filters], &steps);
    let zero = writer.codes(&format!("{name}/zero"), &[filters], &vec![0; steps.len()]);
    let axis = || vec![AttributeProto::int("axis", 0)];
    let codes = writer.node("QuantizeLinear", &format!("{name}/codes"), &[name, &scale, &zero], axis());
    writer.node("DequantizeLinear", &format!("{name}/rounded"), &[&codes, &scale, &zero], axis())
}

fn write_node(
    writer: &mut Writer,
    node: &Node,
    inputs: &[&str],
    params: &Params,
    quantized_kernel: bool,
) -> Result<(), WriteError> {
    let name = node.name.as_str();
    let sides = |attribute: &str, side: usize| AttributeProto::ints(attribute, [side as i64; 2]);
    let pads = |p: Padding| {
        AttributeProto::ints("pads", [p.top, p.left, p.bottom, p.right].map(|cells| cells as i64))
    };
    let parameter = |writer: &mut Writer, kind: ParamKind| -> Result<String, WriteError> {
        writer.parameter(&kind.of(name), params.of(name, kind)?)
    };
    match node.op {
        Op::Input { .. } => {}
        Op::FakeQuantize => unreachable!("written as a pair"),
        Op::Conv2d(conv) => {
            let mut kernel = parameter(writer, ParamKind::Kernel)?;
            if quantized_kernel {
                kernel = write_kernel_pair(writer, &kernel, params.of(name, ParamKind::Kernel)?);
            }
            let mut operands = vec![inputs[0].to_owned(), kernel];
            if conv.bias {
                operands.push(parameter(writer, ParamKind::Bias)?);
            }
            let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
            let attributes = vec![
                sides("kernel_shape", conv.kernel),
                sides("strides", conv.stride),
                pads(conv.padding),
                sides("dilations", 1),
                AttributeProto::int("group", conv.groups as i64),
            ];
            writer.node("Conv", name, &operands, attributes);
        }
        Op::BatchNorm(settings) => {
            let mut operands = vec![inputs[0].to_owned()];
            for kind in [ParamKind::Gamma, ParamKind::Beta, ParamKind::MovingMean, ParamKind::MovingVariance]
            {
                operands.push(parameter(writer, kind)?);
            }
            let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
            let epsilon = AttributeProto::float("epsilon", settings.epsilon);
            writer.node("BatchNormalization", name, &operands, vec![epsilon]);
        }
        Op::Activation(activation) => write_activation(writer, name, inputs[0], activation),
        Op::MaxPool(pool) => {
            let attributes =
                vec![sides("kernel_shape", pool.kernel), sides("strides", pool.stride), pads(pool.padding)];
            writer.node("MaxPool", name, inputs, attributes);
        }
        Op::Upsample { factor } => {
            // The region of interest is for another mode, but an operand up to opset 12.
            let roi = if writer.opset < 13 {
                writer.floats(&format!("{name}/roi"), &[0], &[])
            } else {
                String::new()
            };
            let scales = [1.0, 1.0, factor as f32, factor as f32];
            let scales = writer.floats(&format!("{name}/scales"), &[4], &scales);
            let attributes = vec![
                AttributeProto::string("mode", "nearest"),
                AttributeProto::string("coordinate_transformation_mode", "asymmetric"),
                AttributeProto::string("nearest_mode", "floor"),
            ];
            writer.node("Resize", name, &[inputs[0], &roi, &scales], attributes);
        }
        Op::Concat => {
            writer.node("Concat", name, inputs, vec![AttributeProto::int("axis", 1)]);
        }
        Op::Add => {
            writer.node("Add", name, inputs, Vec::new());
        }
        Op::GlobalAveragePool => {
            writer.node("GlobalAveragePool", name, inputs, Vec::new());
        }
        Op::Scale => {
            writer.node("Mul", name, inputs, Vec::new());
        }
        Op::DropPath { .. } => {
            writer.node("Identity", name, inputs, Vec::new());
        }
        Op::ChannelSlice { start, len } => {
            writer.slice(name, inputs[0], 1, start as i64, (start + len) as i64);
        }
    }
    Ok(())
}

fn write_activation(writer: &mut Writer, name: &str, input: &str, activation: Activation) {
    match activation {
        Activation::Relu => {
            writer.node("Relu", name, &[input], Vec::new());
        }
        Activation::LeakyRelu => {
            let alpha = AttributeProto::float("alpha", Activation::LEAKY_SLOPE);
            writer.node("LeakyRelu", name, &[input], vec![alpha]);
        }
        // ONNX has Mish from opset 18 on only; TensorRT fuses these three.
        Activation::Mish => {
            let softplus = writer.node("Softplus", &format!("{name}/softplus"), &[input], Vec::new());
            let tanh = writer.node("Tanh", &format!("{name}/tanh"), &[&softplus], Vec::new());
            writer.node("Mul", name, &[input, &tanh], Vec::new());
        }
        Activation::Swish => {
            let gate = writer.node("Sigmoid", &format!("{name}/sigmoid"), &[input], Vec::new());
            writer.node("Mul", name, &[input, &gate], Vec::new());
        }
        Activation::Sigmoid => {
            writer.node("Sigmoid", name, &[input], Vec::new());
        }
    }
}
