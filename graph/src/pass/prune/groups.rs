//! Which layers must lose the same channels.
//!
//! Every convolution makes channels of its own, a *space*. What computes channel by channel stays in the space of its input; a
//! concatenation is a row of spaces; what pairs the channels of two maps makes their spaces one. A [`Group`] is a space with
//! all that became one with it.

use crate::{Detector, NodeId, Op};

/// Layers that make the same channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The convolutions, in graph order. None where the channels are those of the image.
    pub layers: Vec<NodeId>,
    /// Their channels.
    pub channels: usize,
    /// Why all channels are kept. `None` where they may be pruned.
    pub whole: Option<Whole>,
}

/// Why a group keeps all its channels, and the node that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// It is the image.
    Input(NodeId),
    /// It is excluded.
    Excluded(NodeId),
    /// It is an output of the network.
    Output(NodeId),
    /// It takes some of the channels by number.
    Slice(NodeId),
    /// It is a grouped convolution, and not a depthwise one of a single layer's channels.
    Grouped(NodeId),
    /// It pairs concatenations whose parts are not of the same widths.
    Misaligned(NodeId),
}

/// The groups of a network.
#[derive(Debug)]
pub(super) struct Ties {
    /// By first layer.
    pub(super) groups: Vec<Group>,
    /// By node: the groups that its channels are, one after the other.
    pub(super) segments: Vec<Vec<usize>>,
}

/// Finds the groups of `detector`. Its heads and the channels of `excluded` nodes are kept whole.
pub(super) fn tie(detector: &Detector, excluded: &[NodeId]) -> Ties {
    let graph = &detector.graph;
    let mut spaces = Spaces::default();
    let mut segments: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let input = |i: usize| segments[node.inputs[i].index()].clone();
        let own = match node.op {
            Op::Input { channels } => vec![spaces.open(channels, None, Some(Whole::Input(id)))],
            Op::Conv2d(conv) if conv.groups == 1 => vec![spaces.open(conv.filters, Some(id), None)],
            Op::Conv2d(conv) => match input(0)[..] {
                [space] if conv.groups == conv.filters && conv.filters == spaces.of[space].channels => {
                    spaces.add_layer(space, id);
                    vec![space]
                }
                ref others => {
                    spaces.keep(others, Whole::Grouped(id));
                    vec![spaces.open(conv.filters, Some(id), Some(Whole::Grouped(id)))]
                }
            },
            Op::BatchNorm(_)
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::Upsample { .. }
            | Op::GlobalAveragePool
            | Op::DropPath { .. }
            | Op::FakeQuantize => input(0),
            Op::Concat => (0..node.inputs.len()).flat_map(input).collect(),
            Op::Add | Op::Scale => {
                let (a, b) = (input(0), input(1));
                if spaces.widths(&a) == spaces.widths(&b) {
                    a.iter().zip(&b).for_each(|(a, b)| spaces.unite(*a, *b));
                } else {
                    spaces.keep(&a, Whole::Misaligned(id));
                    spaces.keep(&b, Whole::Misaligned(id));
                }
                a
            }
            Op::ChannelSlice { len, .. } => {
                spaces.keep(&input(0), Whole::Slice(id));
                vec![spaces.open(len, None, Some(Whole::Slice(id)))]
            }
        };
        if detector.heads.iter().any(|head| head.output == id) {
            spaces.keep(&own, Whole::Output(id));
        }
        if excluded.contains(&id) {
            spaces.keep(&own, Whole::Excluded(id));
        }
        segments.push(own);
    }
    spaces.into_ties(segments)
}

/// Spaces, some of which have become one: disjoint sets.
#[derive(Default)]
struct Spaces {
    of: Vec<Group>,
    /// By space: one with a lower number that it became one with, or itself.
    parent: Vec<usize>,
}

impl Spaces {
    fn open(&mut self, channels: usize, layer: Option<NodeId>, whole: Option<Whole>) -> usize {
        self.of.push(Group { layers: layer.into_iter().collect(), channels, whole });
        self.parent.push(self.parent.len());
        self.parent.len() - 1
    }

    fn root(&self, mut space: usize) -> usize {
        while self.parent[space] != space {
            space = self.parent[space];
        }
        space
    }

    fn widths(&self, spaces: &[usize]) -> Vec<usize> {
        spaces.iter().map(|space| self.of[*space].channels).collect()
    }

    fn add_layer(&mut self, space: usize, layer: NodeId) {
        let root = self.root(space);
        self.of[root].layers.push(layer);
    }

    /// The first reason stays.
    fn keep(&mut self, spaces: &[usize], why: Whole) {
        for space in spaces {
            let root = self.root(*space);
            self.of[root].whole.get_or_insert(why);
        }
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (first, second) = (a.min(b), a.max(b));
        if first == second {
            return;
        }
        self.parent[second] = first;
        let mut layers = std::mem::take(&mut self.of[second].layers);
        let whole = self.of[first].whole.or(self.of[second].whole);
        let group = &mut self.of[first];
        group.layers.append(&mut layers);
        group.layers.sort_unstable();
        group.whole = whole;
    }

    fn into_ties(self, mut segments: Vec<Vec<usize>>) -> Ties {
        let mut number = vec![0; self.of.len()];
        let mut roots = 0;
        for space in 0..self.of.len() {
            let root = self.root(space);
            if root == space {
                number[space] = roots;
                roots += 1;
            } else {
                number[space] = number[root];
            }
        }
        segments.iter_mut().flatten().for_each(|space| *space = number[*space]);
        let is_root = |(space, group): (usize, Group)| (self.parent[space] == space).then_some(group);
        Ties { groups: self.of.into_iter().enumerate().filter_map(is_root).collect(), segments }
    }
}
