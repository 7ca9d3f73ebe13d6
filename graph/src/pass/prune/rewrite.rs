//! Carries a plan out.

use super::Plan;
use crate::{Conv2d, Detector, Graph, GraphBuilder, NodeId, Op, ParamKind, ParamSpec, Params, Tensor};

impl Plan {
    /// The network with the channels of the plan: the same nodes, narrower.
    ///
    /// # Panics
    /// When the plan was made for another network.
    pub fn narrow(&self, detector: &Detector) -> Detector {
        let graph = &detector.graph;
        let mut builder = GraphBuilder::new();
        for id in graph.ids() {
            let node = graph.node(id);
            let op = match node.op {
                Op::Conv2d(conv) if conv.groups == 1 => {
                    Op::Conv2d(Conv2d { filters: self.kept(id).len(), ..conv })
                }
                // Of other grouped convolutions all filters are kept.
                Op::Conv2d(conv) if conv.groups == conv.filters => {
                    let channels = self.kept(id).len();
                    Op::Conv2d(Conv2d { filters: channels, groups: channels, ..conv })
                }
                op => op,
            };
            builder.set_block(node.block);
            builder.push(&node.name, op, &node.inputs);
        }
        Detector { graph: builder.finish(), ..detector.clone() }
    }

    /// The network with the channels of the plan, and its parameters. Ranges of quantisers stay what they are.
    ///
    /// # Panics
    /// When the plan was made for another network.
    pub fn apply(&self, detector: &Detector, params: &Params) -> (Detector, Params) {
        let graph = &detector.graph;
        let cut = change(graph, params, |spec, id, tensor| {
            if spec.kind == ParamKind::Amax {
                return tensor.clone();
            }
            let node = graph.node(id);
            let tensor = gather(tensor, 0, self.kept(id));
            match node.op {
                Op::Conv2d(conv) if spec.kind == ParamKind::Kernel && conv.groups == 1 => {
                    gather(&tensor, 1, self.kept(node.inputs[0]))
                }
                _ => tensor,
            }
        });
        (self.narrow(detector), cut)
    }

    /// Parameters of the whole network with which it computes what the pruned one does: what makes a channel that is not kept
    /// is 0.
    ///
    /// # Panics
    /// When the plan was made for another network.
    pub fn zeroed(&self, graph: &Graph, params: &Params) -> Params {
        change(graph, params, |spec, id, tensor| {
            let mut tensor = tensor.clone();
            if spec.kind.is_trained() {
                let per_channel = tensor.data().len() / graph.node(id).channels;
                let mut kept = self.kept(id).iter().copied().peekable();
                for (channel, values) in tensor.data_mut().chunks_exact_mut(per_channel).enumerate() {
                    if kept.next_if_eq(&channel).is_none() {
                        values.fill(0.0);
                    }
                }
            }
            tensor
        })
    }
}

/// Every parameter of `graph`, changed.
fn change(graph: &Graph, params: &Params, change: impl Fn(&ParamSpec, NodeId, &Tensor) -> Tensor) -> Params {
    let changed = |spec: &ParamSpec| {
        let id = graph.find(&spec.layer).expect("a parameter's layer is in the graph");
        let tensor = params.get(&spec.name).expect("plans are made of checked parameters");
        (spec.name.clone(), change(spec, id, tensor))
    };
    graph.param_specs().iter().map(changed).collect()
}

/// The slices `kept` of `tensor` along `axis`.
fn gather(tensor: &Tensor, axis: usize, kept: &[usize]) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let block = shape[axis] * inner;
    let mut data = Vec::with_capacity(tensor.data().len() / shape[axis] * kept.len());
    for outer in tensor.data().chunks_exact(block) {
        for slice in kept {
            data.extend_from_slice(&outer[slice * inner..(slice + 1) * inner]);
        }
    }
    shape[axis] = kept.len();
    Tensor::new(shape, data)
}
