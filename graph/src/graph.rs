//! Nodes, the graph they form, and the builder that appends them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Activation, BatchNorm, Conv2d, MaxPool, Op};

/// The position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(usize);

impl NodeId {
    /// Index into [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operator with a name and the nodes it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph; the original's layer name, so that weights import by name.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Where it reads from, always earlier nodes.
    pub inputs: Vec<NodeId>,
    /// Channels of its output.
    pub channels: usize,
    /// The backbone block it belongs to, as `freeze_blocks` numbers them. `None` outside the backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u16>,
}

/// Nodes in an order in which every node follows its inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    /// All nodes, inputs before their readers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node behind an id of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The ids of all nodes, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// For each node, the nodes that read it.
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                readers[input.0].push(NodeId(index));
            }
        }
        readers
    }

    /// Checks what a graph read from a file must keep: names unique, inputs earlier, operand counts and channels
    /// consistent. Graphs from [`GraphBuilder`] always pass.
    ///
    /// # Errors
    /// A sentence that names the first node at fault.
    pub fn validate(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let fault = |what: &str| Err(format!("node {index} `{}`: {what}", node.name));
            if node.name.is_empty() || !names.insert(node.name.as_str()) {
                return fault("its name is empty or used twice");
            }
            if node.inputs.iter().any(|input| input.0 >= index) {
                return fault("it reads a node that does not precede it");
            }
            let inputs: Vec<usize> = node.inputs.iter().map(|id| self.nodes[id.0].channels).collect();
            match output_channels(&node.op, &inputs) {
                Some(channels) if channels == node.channels => {}
                _ => return fault("its operator does not fit its inputs"),
            }
        }
        Ok(())
    }
}

/// Output channels of `op` on inputs of these channels, or `None` when they do not fit.
fn output_channels(op: &Op, inputs: &[usize]) -> Option<usize> {
    let channels = match (op, inputs) {
        (Op::Input { channels }, []) => *channels,
        (Op::Conv2d(conv), [input]) => {
            let fits = conv.groups > 0
                && conv.kernel > 0
                && conv.stride > 0
                && input % conv.groups == 0
                && conv.filters % conv.groups == 0;
            fits.then_some(conv.filters)?
        }
        (Op::MaxPool(pool), [input]) => (pool.kernel > 0 && pool.stride > 0).then_some(*input)?,
        (Op::Upsample { factor }, [input]) => (*factor > 0).then_some(*input)?,
        (Op::BatchNorm(_) | Op::Activation(_), [input]) => *input,
        (Op::Concat, [_, ..]) => inputs.iter().try_fold(0usize, |sum, c| sum.checked_add(*c))?,
        (Op::Add | Op::Scale, [a, b]) => (a == b).then_some(*a)?,
        (Op::GlobalAveragePool | Op::FakeQuantize, [input]) => *input,
        (Op::DropPath { rate }, [input]) => (0.0..1.0).contains(rate).then_some(*input)?,
        (Op::ChannelSlice { start, len }, [input]) => (start.checked_add(*len)? <= *input).then_some(*len)?,
        _ => return None,
    };
    (channels > 0).then_some(channels)
}

/// Appends nodes to a graph.
///
/// Misuse (a name given twice, operands that do not fit) is a bug of the network's author and panics.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    block: Option<u16>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks the nodes that follow as part of this backbone block, or of none.
    pub fn set_block(&mut self, block: Option<u16>) {
        self.block = block;
    }

    /// Channels of a node.
    pub fn channels(&self, id: NodeId) -> usize {
        self.graph.node(id).channels
    }

    /// The node of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn find(&self, name: &str) -> NodeId {
        self.graph.find(name).unwrap_or_else(|| panic!("{name} is not in the graph"))
    }

    /// Appends any operator.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = name.into();
        let channels: Vec<usize> = inputs.iter().map(|id| self.graph.node(*id).channels).collect();
        let Some(channels) = output_channels(&op, &channels) else {
            panic!("{name}: {op:?} does not fit inputs of {channels:?} channels");
        };
        assert!(self.graph.find(&name).is_none(), "{name} is already in the graph");
        self.graph.nodes.push(Node { name, op, inputs: inputs.to_vec(), channels, block: self.block });
        NodeId(self.graph.nodes.len() - 1)
    }

    /// Appends the image input, named `Input`.
    pub fn input(&mut self, channels: usize) -> NodeId {
        self.push("Input", Op::Input { channels }, &[])
    }

    /// Appends a convolution.
    pub fn conv(&mut self, name: impl Into<String>, input: NodeId, conv: Conv2d) -> NodeId {
        self.push(name, Op::Conv2d(conv), &[input])
    }

    /// Appends a batch normalisation.
    pub fn batch_norm(&mut self, name: impl Into<String>, input: NodeId, batch_norm: BatchNorm) -> NodeId {
        self.push(name, Op::BatchNorm(batch_norm), &[input])
    }

    /// Appends an activation.
    pub fn activation(&mut self, name: impl Into<String>, input: NodeId, activation: Activation) -> NodeId {
        self.push(name, Op::Activation(activation), &[input])
    }

    /// Appends a max-pooling.
    pub fn max_pool(&mut self, name: impl Into<String>, input: NodeId, pool: MaxPool) -> NodeId {
        self.push(name, Op::MaxPool(pool), &[input])
    }

    /// Appends a nearest-neighbour enlargement.
    pub fn upsample(&mut self, name: impl Into<String>, input: NodeId, factor: usize) -> NodeId {
        self.push(name, Op::Upsample { factor }, &[input])
    }

    /// Appends a concatenation along the channels.
    pub fn concat(&mut self, name: impl Into<String>, inputs: &[NodeId]) -> NodeId {
        self.push(name, Op::Concat, inputs)
    }

    /// Appends a sum.
    pub fn add(&mut self, name: impl Into<String>, a: NodeId, b: NodeId) -> NodeId {
        self.push(name, Op::Add, &[a, b])
    }

    /// Appends a mean over each channel.
    pub fn global_average_pool(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.push(name, Op::GlobalAveragePool, &[input])
    }

    /// Appends a product of a map and a gate `[N, C, 1, 1]`.
    pub fn scale(&mut self, name: impl Into<String>, map: NodeId, gate: NodeId) -> NodeId {
        self.push(name, Op::Scale, &[map, gate])
    }

    /// Appends stochastic depth.
    pub fn drop_path(&mut self, name: impl Into<String>, input: NodeId, rate: f32) -> NodeId {
        self.push(name, Op::DropPath { rate }, &[input])
    }

    /// Appends a quantiser and dequantiser.
    pub fn fake_quantize(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.push(name, Op::FakeQuantize, &[input])
    }

    /// Appends a selection of consecutive channels.
    pub fn channel_slice(
        &mut self,
        name: impl Into<String>,
        input: NodeId,
        start: usize,
        len: usize,
    ) -> NodeId {
        self.push(name, Op::ChannelSlice { start, len }, &[input])
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MapShape, Padding};

    fn conv(filters: usize) -> Conv2d {
        Conv2d { filters, kernel: 3, stride: 2, padding: Padding::all(1), groups: 1, bias: false }
    }

    #[test]
    fn shapes_follow_the_nodes() {
        let mut builder = GraphBuilder::new();
        let image = builder.input(3);
        let half = builder.conv("half", image, conv(8));
        let quarter = builder.conv("quarter", half, conv(16));
        let up = builder.upsample("up", quarter, 2);
        let joined = builder.concat("joined", &[up, half]);
        let graph = builder.finish();
        assert_eq!(graph.validate(), Ok(()));
        let shapes = graph.shapes(64, 96).unwrap();
        assert_eq!(shapes[joined.index()], MapShape { channels: 24, height: 32, width: 48 });
        let odd = graph.shapes(63, 94).unwrap_err();
        assert!(odd.to_string().contains("joined"), "{odd}");
    }

    #[test]
    fn a_graph_from_a_file_is_checked() {
        let mut builder = GraphBuilder::new();
        let image = builder.input(3);
        builder.conv("a", image, conv(8));
        let good = builder.finish();
        for break_it in [
            (|nodes: &mut Vec<Node>| nodes[1].name = "Input".into()) as fn(&mut Vec<Node>),
            |nodes| nodes[1].inputs = vec![NodeId(7)],
            |nodes| nodes[1].inputs.clear(),
            |nodes| nodes[1].channels = 9,
            |nodes| nodes[1].op = Op::Conv2d(Conv2d { groups: 2, ..conv(8) }),
        ] {
            let mut bad = good.clone();
            break_it(&mut bad.nodes);
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
