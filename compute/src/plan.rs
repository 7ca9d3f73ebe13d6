//! The steps of an interpretation: the graph's nodes with chains fused, and when each map is read for the last time.

use oxidet_graph::{Activation, BatchNorm, Conv2d, Graph, MaxPool, NodeId, Op};

/// What one step computes, with the activation that follows, if one does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A convolution, then what follows it.
    Conv {
        /// The node that names its parameters.
        node: NodeId,
        /// Its settings.
        conv: Conv2d,
        /// The batch norm behind it.
        batch_norm: Option<Norm>,
        /// The activation behind that.
        activation: Option<Activation>,
    },
    /// A batch norm without a convolution of its own.
    BatchNorm {
        /// The batch norm.
        norm: Norm,
        /// The activation behind it.
        activation: Option<Activation>,
    },
    /// The sum of two maps.
    Add {
        /// The activation behind it.
        activation: Option<Activation>,
    },
    /// An activation without an operation of its own.
    Activation(Activation),
    /// The largest value of each window.
    MaxPool(MaxPool),
    /// Nearest neighbours.
    Upsample {
        /// How many times larger.
        factor: usize,
    },
    /// Maps joined by their channels.
    Concat,
    /// Some channels.
    ChannelSlice {
        /// The first of them.
        start: usize,
        /// How many.
        len: usize,
    },
    /// The mean of each channel.
    GlobalAveragePool,
    /// A map times one gate a channel.
    Scale,
    /// Stochastic depth.
    DropPath {
        /// Share of the images whose map becomes zero in training.
        rate: f32,
    },
    /// Rounding to the steps of INT8.
    FakeQuantize,
}

/// A batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// The node that names its parameters.
    pub node: NodeId,
    /// Its settings.
    pub settings: BatchNorm,
}

/// One or several nodes computed at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it computes.
    pub kind: Kind,
    /// The maps it reads.
    pub inputs: Vec<NodeId>,
    /// The node whose map it makes: the last of its chain.
    pub output: NodeId,
    /// Maps that no later step reads and that are no output of the network.
    pub last_reads: Vec<NodeId>,
}

/// The steps that compute every node of `graph`, in order. Two neighbours become one step only when nothing else sees
/// the map between them: it has a single reader and is not in `outputs`.
pub fn plan(graph: &Graph, outputs: &[NodeId]) -> Vec<Step> {
    let readers = graph.readers();
    let only_reader = |id: NodeId| match readers[id.index()][..] {
        [reader] if !outputs.contains(&id) => Some(reader),
        _ => None,
    };
    let activation_after = |id: NodeId| {
        let reader = only_reader(id)?;
        let Op::Activation(activation) = graph.node(reader).op else { return None };
        Some(activation)
    };
    let batch_norm_after = |id: NodeId| {
        let reader = only_reader(id)?;
        let Op::BatchNorm(settings) = graph.node(reader).op else { return None };
        Some(Norm { node: reader, settings })
    };

    let mut absorbed = vec![false; graph.nodes().len()];
    let mut steps = Vec::new();
    for id in graph.ids() {
        if absorbed[id.index()] {
            continue;
        }
        let node = graph.node(id);
        let kind = match node.op {
            Op::Input { .. } => continue,
            Op::Conv2d(conv) => {
                let batch_norm = if conv.bias { None } else { batch_norm_after(id) };
                let activation = activation_after(batch_norm.map_or(id, |norm| norm.node));
                Kind::Conv { node: id, conv, batch_norm, activation }
            }
            Op::BatchNorm(settings) => {
                Kind::BatchNorm { norm: Norm { node: id, settings }, activation: activation_after(id) }
            }
            Op::Add => Kind::Add { activation: activation_after(id) },
            Op::Activation(activation) => Kind::Activation(activation),
            Op::MaxPool(pool) => Kind::MaxPool(pool),
            Op::Upsample { factor } => Kind::Upsample { factor },
            Op::Concat => Kind::Concat,
            Op::ChannelSlice { start, len } => Kind::ChannelSlice { start, len },
            Op::GlobalAveragePool => Kind::GlobalAveragePool,
            Op::Scale => Kind::Scale,
            Op::DropPath { rate } => Kind::DropPath { rate },
            Op::FakeQuantize => Kind::FakeQuantize,
        };
        let mut output = id;
        for _ in 0..kind.absorbs() {
            output = only_reader(output).expect("a fused node was found as the only reader");
            absorbed[output.index()] = true;
        }
        steps.push(Step { kind, inputs: node.inputs.clone(), output, last_reads: Vec::new() });
    }
    mark_last_reads(&mut steps, outputs, graph.nodes().len());
    steps
}

impl Kind {
    /// The batch norm of the step.
    pub fn norm(&self) -> Option<Norm> {
        match *self {
            Self::Conv { batch_norm, .. } => batch_norm,
            Self::BatchNorm { norm, .. } => Some(norm),
            _ => None,
        }
    }

    /// Nodes of the chain behind the first.
    fn absorbs(&self) -> usize {
        match self {
            Self::Conv { batch_norm, activation, .. } => {
                usize::from(batch_norm.is_some()) + usize::from(activation.is_some())
            }
            Self::BatchNorm { activation, .. } | Self::Add { activation } => {
                usize::from(activation.is_some())
            }
            _ => 0,
        }
    }
}

fn mark_last_reads(steps: &mut [Step], outputs: &[NodeId], nodes: usize) {
    let mut read_later = vec![false; nodes];
    for output in outputs {
        read_later[output.index()] = true;
    }
    for step in steps.iter_mut().rev() {
        for id in step.inputs.iter().copied() {
            if !std::mem::replace(&mut read_later[id.index()], true) {
                step.last_reads.push(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidet_graph::{GraphBuilder, Padding};

    const CONV: Conv2d =
        Conv2d { filters: 4, kernel: 1, stride: 1, padding: Padding::all(0), groups: 1, bias: false };
    const NORM: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.99 };

    #[test]
    fn a_chain_is_one_step_unless_somebody_looks_inside() {
        let mut g = GraphBuilder::new();
        let image = g.input(4);
        let conv = g.conv("conv", image, CONV);
        let norm = g.batch_norm("norm", conv, NORM);
        let relu = g.activation("relu", norm, Activation::Relu);
        let raw = g.conv("raw", relu, CONV);
        let raw_norm = g.batch_norm("raw_norm", raw, NORM);
        let sum = g.add("sum", raw, raw_norm);
        let mish = g.activation("mish", sum, Activation::Mish);
        let biased = g.conv("biased", mish, Conv2d { bias: true, ..CONV });
        let lone = g.batch_norm("lone", biased, NORM);
        let graph = g.finish();

        let steps = plan(&graph, &[lone]);
        let found: Vec<(&[NodeId], NodeId, &[NodeId])> =
            steps.iter().map(|step| (&step.inputs[..], step.output, &step.last_reads[..])).collect();
        assert_eq!(
            found,
            [
                (&[image][..], relu, &[image][..]),
                (&[relu], raw, &[relu]),
                (&[raw], raw_norm, &[]),
                (&[raw, raw_norm], mish, &[raw, raw_norm]),
                (&[mish], biased, &[mish]),
                (&[biased], lone, &[biased]),
            ]
        );
        let Kind::Conv { node, batch_norm: Some(found), activation: Some(Activation::Relu), .. } =
            steps[0].kind
        else {
            panic!("{:?}", steps[0]);
        };
        assert_eq!((node, found.node), (conv, norm));

        let watched = plan(&graph, &[norm, lone]);
        assert_eq!((watched[0].output, watched[1].output), (norm, relu));
        assert!(watched[1].last_reads.is_empty(), "an output of the network is never released");
    }
}
