//! INT8 as an engine computes it: symmetric, one step a map for activations, one a filter for kernels.
//!
//! - A map with range `a` (its [amax](crate::ParamKind::Amax)) has the step `a / 127` and codes −128 … 127.
//! - A filter with largest weight `m` has the step `m / 127` and codes −127 … 127. As the step scales with the filter, the codes
//!   are the same before and after its batch norm is folded into it.
//! - Both round half to even, as ONNX' `QuantizeLinear` does.
//!
//! A graph says where with [`Op::FakeQuantize`], which [`pass::place_quantizers`](crate::pass::place_quantizers)
//! inserts: a map behind such a node, or behind operators that only move values, is quantised, and a convolution that reads a
//! quantised map has a quantised kernel.

use crate::{Graph, Node, NodeId, Op, ParamKind, Params, ParamsError, Tensor};

pub use oxidet_proto::calibration_cache::LEVELS;

/// Ranges are no smaller, so that a step divides.
pub const LEAST_AMAX: f32 = 1e-6;

/// The step of a range.
pub fn step(amax: f32) -> f32 {
    amax.max(LEAST_AMAX) / LEVELS
}

/// A range that has this step.
pub fn amax_of_step(of: f32) -> f32 {
    let near = of * LEVELS;
    [near, near.next_up(), near.next_down()].into_iter().find(|amax| step(*amax) == of).unwrap_or(near)
}

/// The step of each filter of a kernel `[out, in / groups, k, k]`.
pub fn kernel_steps(kernel: &Tensor) -> Vec<f32> {
    let per_filter = kernel.data().len() / kernel.shape()[0];
    kernel.data().chunks_exact(per_filter).map(kernel_step).collect()
}

/// Writes the weights of a kernel of `filters` filters to `rounded` as an engine sees them.
///
/// # Panics
/// When the lengths differ.
pub fn fake_quantize_kernel(kernel: &[f32], filters: usize, rounded: &mut [f32]) {
    assert_eq!(kernel.len(), rounded.len());
    let per_filter = kernel.len() / filters;
    for (filter, rounded) in kernel.chunks_exact(per_filter).zip(rounded.chunks_exact_mut(per_filter)) {
        let step = kernel_step(filter);
        for (rounded, w) in rounded.iter_mut().zip(filter) {
            *rounded = (w / step).round_ties_even() * step;
        }
    }
}

/// The step of one filter.
fn kernel_step(filter: &[f32]) -> f32 {
    let largest = filter.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    // Of a filter of zeros any step will do.
    if largest > f32::MIN_POSITIVE * LEVELS { largest / LEVELS } else { 1.0 }
}

/// Whether an operator only moves values, so that what it makes of quantised maps is quantised with the same step.
/// Stochastic depth is the map itself where it counts.
pub(crate) fn moves_values(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool(_) | Op::Upsample { .. } | Op::Concat | Op::ChannelSlice { .. } | Op::DropPath { .. }
    )
}

impl Graph {
    /// Whether there is a quantiser.
    pub fn is_quantized(&self) -> bool {
        self.nodes().iter().any(|node| matches!(node.op, Op::FakeQuantize))
    }
}

/// A quantised map that cannot be rounded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// Its quantisers have seen no data.
    #[error(
        "the range of `{0}` has never been measured; train the model with quantisation for an epoch, or leave its quantisers out"
    )]
    Unmeasured(String),
    /// A parameter is missing.
    #[error(transparent)]
    Params(#[from] ParamsError),
}

/// Which maps of a graph are quantised, and which share a range: those that a concatenation joins have one step, or it would have
/// to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizedMaps {
    /// By node.
    group: Vec<Option<usize>>,
    /// By group: its quantisers.
    quantizers: Vec<Vec<NodeId>>,
}

impl QuantizedMaps {
    /// Finds them.
    pub fn of(graph: &Graph) -> Self {
        // Every node begins in a group of its own; a later group joins an earlier one.
        let mut group: Vec<Option<usize>> = Vec::with_capacity(graph.nodes().len());
        for (index, Node { op, inputs, .. }) in graph.nodes().iter().enumerate() {
            let of_inputs: Option<Vec<usize>> = inputs.iter().map(|input| group[input.index()]).collect();
            let own = match of_inputs {
                _ if matches!(op, Op::FakeQuantize) => Some(index),
                Some(inputs) if moves_values(op) => {
                    let first = inputs.iter().copied().min();
                    if inputs.iter().any(|input| Some(*input) != first) {
                        for joined in group.iter_mut().filter(|g| g.is_some_and(|g| inputs.contains(&g))) {
                            *joined = first;
                        }
                    }
                    first
                }
                _ => None,
            };
            group.push(own);
        }
        let mut quantizers = vec![Vec::new(); graph.nodes().len()];
        for id in graph.ids().filter(|id| matches!(graph.node(*id).op, Op::FakeQuantize)) {
            quantizers[group[id.index()].unwrap_or(id.index())].push(id);
        }
        Self { group, quantizers }
    }

    /// Whether the map of a node is quantised.
    pub fn contains(&self, id: NodeId) -> bool {
        self.group[id.index()].is_some()
    }

    /// Whether a convolution has a quantised kernel.
    pub fn quantizes_kernel(&self, graph: &Graph, conv: NodeId) -> bool {
        let node = graph.node(conv);
        matches!(node.op, Op::Conv2d(_)) && self.contains(node.inputs[0])
    }

    /// The convolutions and additions that read what a quantiser makes, directly or moved.
    pub fn readers(graph: &Graph, quantizer: NodeId) -> Vec<NodeId> {
        let mut made = vec![false; graph.nodes().len()];
        made[quantizer.index()] = true;
        let mut readers = Vec::new();
        for id in graph.ids().filter(|id| id.index() > quantizer.index()) {
            let node = graph.node(id);
            if node.inputs.iter().any(|input| made[input.index()]) {
                match node.op {
                    Op::Conv2d(_) | Op::Add => readers.push(id),
                    op => made[id.index()] = moves_values(&op),
                }
            }
        }
        readers
    }

    /// The quantisers that share the range of a map. None where it is not quantised.
    pub fn sharing(&self, id: NodeId) -> &[NodeId] {
        self.group[id.index()].map_or(&[], |group| &self.quantizers[group])
    }

    /// The range that a quantised map is rounded with.
    ///
    /// # Errors
    /// When a parameter is missing, or no quantiser that shares the range has seen data.
    pub fn range(&self, graph: &Graph, params: &Params, id: NodeId) -> Result<f32, RangeError> {
        match self.amax(graph, params, id)? {
            amax if amax > 0.0 => Ok(amax),
            _ => Err(RangeError::Unmeasured(graph.node(id).name.clone())),
        }
    }

    /// The largest of the ranges that a quantised map shares. 0 when none of the quantisers has seen data.
    ///
    /// # Errors
    /// [`ParamsError::Missing`]
    pub fn amax(&self, graph: &Graph, params: &Params, id: NodeId) -> Result<f32, ParamsError> {
        self.sharing(id).iter().try_fold(0.0f32, |most, quantizer| {
            let own = params.of(&graph.node(*quantizer).name, ParamKind::Amax)?;
            Ok(own.data().iter().fold(most, |most, amax| most.max(*amax)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, MaxPool, Padding};

    #[test]
    fn each_filter_has_its_own_step() {
        let kernel = Tensor::new([3, 1, 1, 3], vec![-1.0, 0.5, 0.2, 100.0, -50.0, 20.0, 0.0, 0.0, 0.0]);
        let steps = kernel_steps(&kernel);
        assert_eq!(steps, [1.0 / 127.0, 100.0 / 127.0, 1.0]);
        // 0.5 · 127 = 63.5, which rounds to the even 64.
        let codes = [-127i8, 64, 25, 127, -64, 25, 0, 0, 0];
        let mut rounded = vec![0.0; 9];
        fake_quantize_kernel(kernel.data(), 3, &mut rounded);
        let want: Vec<f32> =
            codes.iter().enumerate().map(|(i, code)| f32::from(*code) * steps[i / 3]).collect();
        assert_eq!(rounded, want);
    }

    #[test]
    fn a_step_leads_back_to_a_range_that_has_it() {
        for at in 1..10_000u32 {
            let amax = at as f32 * 0.017 + 1.0 / at as f32;
            assert_eq!(step(amax_of_step(step(amax))), step(amax), "{amax}");
        }
    }

    #[test]
    fn what_a_concatenation_joins_has_one_range() {
        let mut g = GraphBuilder::new();
        let image = g.input(2);
        let a = g.fake_quantize("a", image);
        let b = g.fake_quantize("b", image);
        let c = g.fake_quantize("c", image);
        let pool = g.max_pool("pool", b, MaxPool { kernel: 1, stride: 1, padding: Padding::default() });
        let both = g.concat("both", &[a, pool]);
        let half = g.channel_slice("half", both, 0, 1);
        let mixed = g.concat("mixed", &[c, image]);
        let graph = g.finish();
        let maps = QuantizedMaps::of(&graph);
        let params: Params = [("a/amax", 2.0), ("b/amax", 5.0), ("c/amax", 1.0)]
            .map(|(name, amax)| (name.to_owned(), Tensor::new([1], vec![amax])))
            .into_iter()
            .collect();
        let amax = |id| maps.contains(id).then(|| maps.amax(&graph, &params, id).unwrap());
        assert_eq!(
            [a, b, c, pool, both, half].map(amax),
            [Some(5.0), Some(5.0), Some(1.0), Some(5.0), Some(5.0), Some(5.0)]
        );
        assert_eq!([image, mixed].map(amax), [None, None]);
    }
}
