//! The nodes of a graph as people count them.

use crate::{Activation, Graph, NodeId, Op};

/// A convolution with the batch norm and the activation behind it, where nothing else reads between; or any other node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its nodes, at least one. The first gives it its name, the last makes its map.
    pub nodes: Vec<NodeId>,
    /// The quantisers of its map.
    pub quantizers: Vec<NodeId>,
}

impl Layer {
    /// The node that gives it its name.
    pub fn first(&self) -> NodeId {
        self.nodes[0]
    }

    /// The node that makes its map.
    pub fn last(&self) -> NodeId {
        self.nodes[self.nodes.len() - 1]
    }
}

impl Graph {
    /// The layers, in the order of their first nodes. Every node is in one of them.
    pub fn layers(&self) -> Vec<Layer> {
        let readers = self.readers();
        let mut layers: Vec<Layer> = Vec::new();
        // By node.
        let mut layer_of: Vec<usize> = Vec::with_capacity(self.nodes().len());
        for id in self.ids() {
            let node = self.node(id);
            let before = node.inputs.first().copied();
            let joined = before.filter(|before| match (node.op, self.node(*before).op) {
                (Op::FakeQuantize, _) => true,
                (Op::BatchNorm(_), Op::Conv2d(_)) | (Op::Activation(_), Op::Conv2d(_) | Op::BatchNorm(_)) => {
                    readers[before.index()] == [id]
                }
                _ => false,
            });
            let number = joined.map_or(layers.len(), |before| layer_of[before.index()]);
            match layers.get_mut(number) {
                Some(layer) if matches!(node.op, Op::FakeQuantize) => layer.quantizers.push(id),
                Some(layer) => layer.nodes.push(id),
                None => layers.push(Layer { nodes: vec![id], quantizers: Vec::new() }),
            }
            layer_of.push(number);
        }
        layers
    }

    /// What a node computes, in a word or two: `conv 3x3/2` (side of the kernel, stride), `depthwise 3x3`, `bn`, `leaky relu`.
    pub fn operator(&self, id: NodeId) -> String {
        let node = self.node(id);
        let window = |kernel: usize, stride: usize| match stride {
            1 => format!("{kernel}x{kernel}"),
            _ => format!("{kernel}x{kernel}/{stride}"),
        };
        match node.op {
            Op::Input { .. } => "input".into(),
            Op::Conv2d(conv) => {
                let window = window(conv.kernel, conv.stride);
                match conv.groups {
                    1 => format!("conv {window}"),
                    groups if groups == self.node(node.inputs[0]).channels => format!("depthwise {window}"),
                    groups => format!("conv {window} in {groups} groups"),
                }
            }
            Op::BatchNorm(_) => "bn".into(),
            Op::Activation(activation) => match activation {
                Activation::Relu => "relu",
                Activation::LeakyRelu => "leaky relu",
                Activation::Mish => "mish",
                Activation::Swish => "swish",
                Activation::Sigmoid => "sigmoid",
            }
            .into(),
            Op::MaxPool(pool) => format!("max pool {}", window(pool.kernel, pool.stride)),
            Op::Upsample { factor } => format!("upsample x{factor}"),
            Op::Concat => "concat".into(),
            Op::Add => "add".into(),
            Op::GlobalAveragePool => "global average pool".into(),
            Op::Scale => "scale".into(),
            Op::DropPath { rate } => format!("drop path {rate}"),
            Op::FakeQuantize => "quantiser".into(),
            Op::ChannelSlice { start, len } => format!("channels {start} to {}", start + len),
        }
    }

    /// What the nodes of a layer compute: `conv 3x3/2, bn, leaky relu`.
    pub fn operators(&self, layer: &Layer) -> String {
        layer.nodes.iter().map(|node| self.operator(*node)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::place_quantizers;
    use crate::{BatchNorm, Conv2d, Detector, GraphBuilder, MaxPool, Padding, Params};

    #[test]
    fn what_only_follows_a_convolution_is_part_of_its_layer() {
        let conv =
            Conv2d { filters: 6, kernel: 3, stride: 2, padding: Padding::all(1), groups: 1, bias: false };
        let norm = BatchNorm { epsilon: 1e-3, momentum: 0.99 };
        let mut g = GraphBuilder::new();
        let image = g.input(1);
        let stem = g.conv("stem", image, conv);
        let stem_bn = g.batch_norm("stem_bn", stem, norm);
        let stem_act = g.activation("stem_act", stem_bn, Activation::LeakyRelu);
        let deep = g.conv("deep", stem_act, Conv2d { groups: 6, stride: 1, ..conv });
        let deep_bn = g.batch_norm("deep_bn", deep, norm);
        // Reads what the batch norm reads too, so that one is a layer of its own.
        let grouped = g.conv("grouped", deep, Conv2d { groups: 3, kernel: 1, stride: 1, ..conv });
        let sum = g.add("sum", deep_bn, grouped);
        let pool = g.max_pool("pool", sum, MaxPool { kernel: 2, stride: 2, padding: Padding::default() });
        let head = g.conv("head", pool, Conv2d { kernel: 1, stride: 1, bias: true, ..conv });
        let plain = Detector::for_tests(g.finish(), head);
        let rows = |graph: &Graph| -> Vec<String> {
            let name = |id: &NodeId| graph.node(*id).name.clone();
            let row = |layer: &Layer| {
                let quantizers: Vec<String> = layer.quantizers.iter().map(name).collect();
                format!("{}: {} {}", name(&layer.first()), graph.operators(layer), quantizers.join(" "))
            };
            graph.layers().iter().map(row).collect()
        };
        assert_eq!(
            rows(&plain.graph).iter().map(|row| row.trim_end()).collect::<Vec<_>>(),
            [
                "Input: input",
                "stem: conv 3x3/2, bn, leaky relu",
                "deep: depthwise 3x3",
                "deep_bn: bn",
                "grouped: conv 1x1 in 3 groups",
                "sum: add",
                "pool: max pool 2x2/2",
                "head: conv 1x1",
            ]
        );
        let (quantized, _) = place_quantizers(&plain, &Params::new());
        let rows = rows(&quantized.graph);
        assert_eq!(rows[1], "stem: conv 3x3/2, bn, leaky relu stem_act_qdq");
        assert_eq!(rows[2], "deep: depthwise 3x3 deep_qdq");
        assert_eq!(rows[7], "head: conv 1x1 ");
        assert_eq!(rows.len(), 8);
    }
}
