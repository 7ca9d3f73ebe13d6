//! In what two networks, and their parameters, differ. Nodes are matched by name.

use crate::{Checkpoint, Conv2d, Graph, Layer, NodeId, Op, ParamKind, Params};

/// What something is in one and in the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<T> {
    /// The name of a node.
    pub name: String,
    /// In the first.
    pub before: T,
    /// In the second.
    pub after: T,
}

/// In what two graphs differ, quantisers aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphDifferences {
    /// Nodes of the first that the second does not have.
    pub only_before: Vec<NodeId>,
    /// Nodes of the second that the first does not have.
    pub only_after: Vec<NodeId>,
    /// Convolutions with another number of filters.
    pub widths: Vec<Change<usize>>,
    /// Nodes that compute something else or read from elsewhere, and how they do.
    pub others: Vec<Change<String>>,
}

impl GraphDifferences {
    /// Compares two graphs.
    pub fn between(before: &Graph, after: &Graph) -> Self {
        let mut found = Self::default();
        for id in computing(before) {
            let node = before.node(id);
            let Some(other_id) = after.find(&node.name) else {
                found.only_before.push(id);
                continue;
            };
            if let (Op::Conv2d(a), Op::Conv2d(b)) = (node.op, after.node(other_id).op)
                && a.filters != b.filters
            {
                found.widths.push(Change { name: node.name.clone(), before: a.filters, after: b.filters });
            }
            if let Some((before, after)) = change((before, id), (after, other_id)) {
                found.others.push(Change { name: node.name.clone(), before, after });
            }
        }
        found.only_after =
            computing(after).filter(|id| before.find(&after.node(*id).name).is_none()).collect();
        found
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the second may be the first with filters taken away: some convolutions are narrower, and nothing else differs.
    pub fn is_pruning(&self) -> bool {
        let narrower = self.widths.iter().all(|width| width.after < width.before);
        narrower
            && !self.widths.is_empty()
            && *self == Self { widths: self.widths.clone(), ..Self::default() }
    }
}

/// All nodes but quantisers.
fn computing(graph: &Graph) -> impl Iterator<Item = NodeId> {
    graph.ids().filter(|id| !matches!(graph.node(*id).op, Op::FakeQuantize))
}

/// In what two nodes differ, but for widths.
fn change(before: (&Graph, NodeId), after: (&Graph, NodeId)) -> Option<(String, String)> {
    let pair = |told: &dyn Fn(&Graph, NodeId) -> String| (told(before.0, before.1), told(after.0, after.1));
    let differing = |pair: (String, String)| (pair.0 != pair.1).then_some(pair);
    let depthwise = is_depthwise(before, after);
    let op = |(graph, id): (&Graph, NodeId)| without_width(graph, id, depthwise);
    let of_operator = if op(before) == op(after) {
        None
    } else {
        // Settings that have no word are told as the checkpoint has them.
        differing(pair(&Graph::operator)).or_else(|| differing(pair(&settings)))
    };
    of_operator.or_else(|| differing(pair(&reads))).or_else(|| differing(pair(&block)))
}

/// Whether two nodes are convolutions channel by channel. With a single channel left one looks like any other.
fn is_depthwise(before: (&Graph, NodeId), after: (&Graph, NodeId)) -> bool {
    let groups = |(graph, id): (&Graph, NodeId)| match graph.node(id).op {
        Op::Conv2d(conv) if conv.groups == conv.filters => {
            (conv.groups == graph.node(graph.node(id).inputs[0]).channels).then_some(conv.groups)
        }
        _ => None,
    };
    matches!((groups(before), groups(after)), (Some(a), Some(b)) if a > 1 || b > 1)
}

/// The operator, without what follows from the widths of its inputs.
fn without_width(graph: &Graph, id: NodeId, depthwise: bool) -> Op {
    match graph.node(id).op {
        Op::Conv2d(conv) => {
            Op::Conv2d(Conv2d { filters: 0, groups: if depthwise { 0 } else { conv.groups }, ..conv })
        }
        Op::ChannelSlice { start, .. } => Op::ChannelSlice { start: usize::from(start > 0), len: 0 },
        op => op,
    }
}

fn settings(graph: &Graph, id: NodeId) -> String {
    serde_json::to_string(&graph.node(id).op).expect("an operator is plain data")
}

fn reads(graph: &Graph, id: NodeId) -> String {
    let name = |mut input: NodeId| {
        while let Op::FakeQuantize = graph.node(input).op {
            input = graph.node(input).inputs[0];
        }
        graph.node(input).name.as_str()
    };
    let names: Vec<&str> = graph.node(id).inputs.iter().map(|input| name(*input)).collect();
    format!("reads {}", names.join(", "))
}

fn block(graph: &Graph, id: NodeId) -> String {
    graph.node(id).block.map_or("in no block".into(), |block| format!("in block {block}"))
}

/// The quantisers whose own ranges differ; `None` where there is no such quantiser.
pub fn range_changes(before: &Checkpoint, after: &Checkpoint) -> Vec<Change<Option<f32>>> {
    let quantizers = |checkpoint: &Checkpoint| -> Vec<String> {
        let nodes = checkpoint.detector.graph.nodes().iter();
        nodes.filter(|node| matches!(node.op, Op::FakeQuantize)).map(|node| node.name.clone()).collect()
    };
    let amax = |checkpoint: &Checkpoint, name: &str| -> Option<f32> {
        checkpoint.params.of(name, ParamKind::Amax).ok()?.data().first().copied()
    };
    let mut names = quantizers(before);
    names.extend(quantizers(after).into_iter().filter(|name| amax(before, name).is_none()));
    let changes = names.into_iter().map(|name| {
        let (before, after) = (amax(before, &name), amax(after, &name));
        Change { name, before, after }
    });
    changes.filter(|change| change.before.map(f32::to_bits) != change.after.map(f32::to_bits)).collect()
}

/// By how much the parameters of a layer differ: ‖a − b‖ / ‖a‖ over all values of a kind, infinite when ‖a‖ is 0. `None` where the
/// layer has no such parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightChange {
    /// The layer's name.
    pub layer: String,
    /// Of kernel and bias.
    pub kernel: Option<f64>,
    /// Of the batch norm's scale and offset.
    pub norm: Option<f64>,
    /// Of the batch norm's running mean and variance.
    pub statistics: Option<f64>,
}

impl WeightChange {
    /// Kernel, batch norm, statistics.
    fn all(&self) -> [Option<f64>; 3] {
        [self.kernel, self.norm, self.statistics]
    }

    /// Larger changes first; a layer without kernel is measured by its batch norm.
    fn rank(&self) -> [f64; 3] {
        let norm = self.norm.unwrap_or(0.0);
        [self.kernel.unwrap_or(norm), norm, self.statistics.unwrap_or(0.0)]
    }
}

/// The layers with parameters that two checkpoints share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightChanges {
    /// Those that differ, the largest change of the kernel first.
    pub changed: Vec<WeightChange>,
    /// Number of those that are equal.
    pub same: usize,
    /// Number of those whose parameters have other shapes, so that they cannot be compared.
    pub reshaped: usize,
}

impl WeightChanges {
    /// Compares the parameters of two checkpoints, layer by layer of the first.
    pub fn between(before: &Checkpoint, after: &Checkpoint) -> Self {
        let graph = &before.detector.graph;
        let mut found = Self::default();
        for layer in graph.layers() {
            match compare(graph, &layer, &before.params, &after.params) {
                Comparison::NotShared => {}
                Comparison::Reshaped => found.reshaped += 1,
                Comparison::Change(change) => {
                    if change.all().iter().flatten().all(|change| *change == 0.0) {
                        found.same += 1;
                    } else {
                        found.changed.push(change);
                    }
                }
            }
        }
        found.changed.sort_by(|a, b| {
            let pairs = b.rank().into_iter().zip(a.rank());
            pairs.fold(std::cmp::Ordering::Equal, |order, (b, a)| order.then(b.total_cmp(&a)))
        });
        found
    }
}

enum Comparison {
    NotShared,
    Reshaped,
    Change(WeightChange),
}

fn compare(graph: &Graph, layer: &Layer, before: &Params, after: &Params) -> Comparison {
    let mut reshaped = false;
    let mut shared = false;
    let mut change = |kinds: [ParamKind; 2]| -> Option<f64> {
        let (mut difference, mut size, mut any) = (0.0, 0.0, false);
        for (node, kind) in layer.nodes.iter().flat_map(|node| kinds.map(|kind| (*node, kind))) {
            let name = kind.of(&graph.node(node).name);
            let (Some(a), Some(b)) = (before.get(&name), after.get(&name)) else { continue };
            if a.shape() != b.shape() {
                reshaped = true;
                continue;
            }
            any = true;
            for (a, b) in a.data().iter().zip(b.data()).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
                difference += (a - b) * (a - b);
                size += a * a;
            }
        }
        shared |= any;
        any.then(|| if difference == 0.0 { 0.0 } else { (difference / size).sqrt() })
    };
    let kernel = change([ParamKind::Kernel, ParamKind::Bias]);
    let norm = change([ParamKind::Gamma, ParamKind::Beta]);
    let statistics = change([ParamKind::MovingMean, ParamKind::MovingVariance]);
    match (reshaped, shared) {
        (true, _) => Comparison::Reshaped,
        (false, false) => Comparison::NotShared,
        (false, true) => {
            let layer = graph.node(layer.first()).name.clone();
            Comparison::Change(WeightChange { layer, kernel, norm, statistics })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, BatchNorm, Detector, GraphBuilder, Padding, Tensor};

    /// A convolution of `filters` filters of `kernel`, its batch norm and activation, a slice, and a head.
    fn network(filters: usize, kernel: usize, activation: Activation) -> Detector {
        let conv =
            Conv2d { filters, kernel, stride: 1, padding: Padding::all(kernel / 2), groups: 1, bias: false };
        let mut g = GraphBuilder::new();
        let image = g.input(1);
        let stem = g.conv("stem", image, conv);
        let bn = g.batch_norm("bn", stem, BatchNorm { epsilon: 1e-3, momentum: 0.99 });
        let act = g.activation("act", bn, activation);
        let deep = g.conv("deep", act, Conv2d { groups: filters, ..conv });
        let half = g.channel_slice("half", deep, filters / 2, filters / 2);
        let head = g.conv("head", half, Conv2d { filters: 6, bias: true, ..conv });
        Detector::for_tests(g.finish(), head)
    }

    fn checkpoint(detector: Detector, value: f32) -> Checkpoint {
        let specs = detector.graph.param_specs();
        let tensor = |shape: Vec<usize>| Tensor::new(shape.clone(), vec![value; shape.iter().product()]);
        let params = specs.into_iter().map(|spec| (spec.name, tensor(spec.shape))).collect();
        Checkpoint { detector, params, spec: String::new(), training: None }
    }

    #[test]
    fn widths_are_told_from_other_differences() {
        let plain = network(8, 3, Activation::Relu).graph;
        assert!(GraphDifferences::between(&plain, &plain).is_empty());
        let width = |name: &str| Change { name: name.into(), before: 8, after: 6 };
        let narrow = network(6, 3, Activation::Relu).graph;
        let found = GraphDifferences::between(&plain, &narrow);
        let want = GraphDifferences { widths: vec![width("stem"), width("deep")], ..Default::default() };
        assert_eq!(found, want);
        assert!(found.is_pruning() && !GraphDifferences::between(&narrow, &plain).is_pruning());
        let other = GraphDifferences::between(&plain, &network(8, 1, Activation::Mish).graph);
        let told: Vec<String> =
            other.others.iter().map(|c| format!("{}: {} to {}", c.name, c.before, c.after)).collect();
        assert_eq!(
            told,
            [
                "stem: conv 3x3 to conv 1x1",
                "act: relu to mish",
                "deep: depthwise 3x3 to depthwise 1x1",
                "head: conv 3x3 to conv 1x1"
            ]
        );
    }

    #[test]
    fn what_one_does_not_have_and_where_the_other_reads() {
        let mut g = GraphBuilder::new();
        let image = g.input(1);
        let conv =
            Conv2d { filters: 6, kernel: 1, stride: 1, padding: Padding::all(0), groups: 1, bias: true };
        let quantized = g.fake_quantize("Input_qdq", image);
        let norm = BatchNorm { epsilon: 1e-5, momentum: 0.99 };
        let before = {
            let mut g = GraphBuilder::new();
            let image = g.input(1);
            let gone = g.batch_norm("gone", image, norm);
            let bn = g.batch_norm("bn", image, norm);
            g.conv("a", gone, conv);
            g.conv("b", bn, conv);
            g.finish()
        };
        let bn = g.batch_norm("bn", image, BatchNorm { epsilon: 1e-3, ..norm });
        g.set_block(Some(2));
        g.conv("a", quantized, conv);
        g.set_block(None);
        g.conv("b", bn, conv);
        g.add("more", image, image);
        let after = g.finish();
        let found = GraphDifferences::between(&before, &after);
        let names = |graph: &Graph, ids: &[NodeId]| -> Vec<String> {
            ids.iter().map(|id| graph.node(*id).name.clone()).collect()
        };
        assert_eq!(names(&before, &found.only_before), ["gone"]);
        assert_eq!(names(&after, &found.only_after), ["more"], "no quantisers");
        let [bn, a] = &found.others[..] else { panic!("{found:?}") };
        assert!(bn.before.contains("epsilon") && bn.after.contains("0.001"), "{bn:?}");
        assert_eq!((a.before.as_str(), a.after.as_str()), ("reads gone", "reads Input"));
    }

    #[test]
    fn a_depthwise_convolution_stays_one_with_a_single_channel() {
        let network = |channels: usize| {
            let conv = Conv2d {
                filters: channels,
                kernel: 1,
                stride: 1,
                padding: Padding::all(0),
                groups: 1,
                bias: false,
            };
            let mut g = GraphBuilder::new();
            let image = g.input(3);
            let stem = g.conv("stem", image, conv);
            g.conv("deep", stem, Conv2d { kernel: 3, padding: Padding::all(1), groups: channels, ..conv });
            g.finish()
        };
        let found = GraphDifferences::between(&network(4), &network(1));
        assert!(found.is_pruning(), "{found:?}");
        assert!(!GraphDifferences::between(&network(1), &network(4)).is_pruning(), "wider is not pruned");
    }

    #[test]
    fn changes_are_relative_and_the_largest_comes_first() {
        let before = checkpoint(network(2, 1, Activation::Relu), 2.0);
        let mut after = before.clone();
        assert_eq!(WeightChanges::between(&before, &after).same, 3);
        // ‖(0, 3)‖ / ‖(2, 2)‖ of the kernel, with no bias; one of seven values of the head's kernel and bias.
        after.params.insert("stem/kernel", Tensor::new([2, 1, 1, 1], vec![2.0, 5.0]));
        after.params.insert("bn/beta", Tensor::new([2], vec![2.0, 2.0]));
        after.params.insert("bn/moving_mean", Tensor::new([2], vec![4.0, 2.0]));
        after.params.get_mut("head/bias").unwrap().data_mut()[0] = 1.0;
        let found = WeightChanges::between(&before, &after);
        let layers: Vec<&str> = found.changed.iter().map(|change| change.layer.as_str()).collect();
        assert_eq!((layers, found.same, found.reshaped), (vec!["stem", "head"], 1, 0));
        let stem = &found.changed[0];
        assert_eq!(stem.kernel, Some((9.0f64 / 8.0).sqrt()));
        assert_eq!((stem.norm, stem.statistics), (Some(0.0), Some(0.5)));
        assert_eq!(found.changed[1].kernel, Some((1.0f64 / 48.0).sqrt()), "6 weights and 6 biases");

        let zero = checkpoint(network(2, 1, Activation::Relu), 0.0);
        assert_eq!(WeightChanges::between(&zero, &before).changed[0].kernel, Some(f64::INFINITY));
        let wide = checkpoint(network(4, 1, Activation::Relu), 0.0);
        assert_eq!(WeightChanges::between(&before, &wide).reshaped, 3);
    }

    #[test]
    fn ranges_may_come_and_go() {
        let with = |ranges: &[(&str, f32)]| {
            let mut g = GraphBuilder::new();
            let image = g.input(1);
            for (name, _) in ranges {
                g.fake_quantize(*name, image);
            }
            let mut checkpoint = checkpoint(Detector::for_tests(g.finish(), image), 0.0);
            for (name, amax) in ranges {
                checkpoint.params.insert(ParamKind::Amax.of(name), Tensor::new([1], vec![*amax]));
            }
            checkpoint
        };
        let found = range_changes(
            &with(&[("same", 1.0), ("moved", 2.0), ("gone", 3.0)]),
            &with(&[("same", 1.0), ("moved", 2.5), ("new", 4.0)]),
        );
        let found: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.before, c.after)).collect();
        assert_eq!(
            found,
            [("moved", Some(2.0), Some(2.5)), ("gone", Some(3.0), None), ("new", None, Some(4.0))]
        );
    }
}
