//! Convolutions as the original's tables write them, and the unit of convolution, batch norm and activation.

use oxidet_graph::{Activation, BatchNorm, Conv2d, GraphBuilder, NodeId, Padding};

/// Keras' defaults, which every layer keeps.
pub(super) const BATCH_NORM: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.99 };

/// A convolution with "same" padding and no bias. The padding is symmetric at every stride (⌊k/2⌋ on all sides), as the
/// original's patched Keras does and TensorFlow does not.
pub(super) const fn conv(kernel: usize, stride: usize, filters: usize) -> Conv2d {
    Conv2d { filters, kernel, stride, padding: Padding::all(kernel / 2), groups: 1, bias: false }
}

/// 1×1.
pub(super) const fn k1(filters: usize) -> Conv2d {
    conv(1, 1, filters)
}

/// 3×3.
pub(super) const fn k3(filters: usize) -> Conv2d {
    conv(3, 1, filters)
}

/// 3×3 with stride 2.
pub(super) const fn k3_s2(filters: usize) -> Conv2d {
    conv(3, 2, filters)
}

/// Convolution `<name>`, batch norm `<name>_bn`, activation `<name>_<suffix>`: how the Darknet family and the necks name
/// and build their layers. The suffix is only a name: a layer `_mish` may well compute LeakyReLU.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub(super) activation: Activation,
    pub(super) suffix: &'static str,
}

impl Unit {
    /// Appends one unit; returns its activation.
    pub(super) fn append(self, graph: &mut GraphBuilder, name: &str, input: NodeId, conv: Conv2d) -> NodeId {
        let conv = graph.conv(name, input, conv);
        let normalised = graph.batch_norm(format!("{name}_bn"), conv, BATCH_NORM);
        graph.activation(format!("{name}_{}", self.suffix), normalised, self.activation)
    }

    /// Appends units one after the other; returns the last.
    pub(super) fn chain(self, graph: &mut GraphBuilder, input: NodeId, units: &[(&str, Conv2d)]) -> NodeId {
        units.iter().fold(input, |input, (name, conv)| self.append(graph, name, input, *conv))
    }
}
