//! Convolutions as the original's tables write them, and the unit of convolution, batch norm and activation.

use oxidet_graph::{Activation, BatchNorm, Conv2d, GraphBuilder, NodeId, Padding};

/// Keras' defaults, which most layers keep.
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

/// A depthwise convolution with "same" padding and no bias.
pub(super) const fn depthwise(kernel: usize, stride: usize, channels: usize) -> Conv2d {
    Conv2d { groups: channels, ..conv(kernel, stride, channels) }
}

/// Appends a convolution, a batch norm and an activation of these names; returns the activation.
pub(super) fn conv_bn_act<S: Into<String>>(
    graph: &mut GraphBuilder,
    names: [S; 3],
    input: NodeId,
    conv: Conv2d,
    activation: Activation,
) -> NodeId {
    conv_bn_act_with(graph, names, input, conv, BATCH_NORM, activation)
}

/// As [`conv_bn_act`], with other settings of the batch norm.
pub(super) fn conv_bn_act_with<S: Into<String>>(
    graph: &mut GraphBuilder,
    names: [S; 3],
    input: NodeId,
    conv: Conv2d,
    batch_norm: BatchNorm,
    activation: Activation,
) -> NodeId {
    let [conv_name, batch_norm_name, activation_name] = names;
    let map = graph.conv(conv_name, input, conv);
    let map = graph.batch_norm(batch_norm_name, map, batch_norm);
    graph.activation(activation_name, map, activation)
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
        let names = [name.to_owned(), format!("{name}_bn"), format!("{name}_{}", self.suffix)];
        conv_bn_act(graph, names, input, conv, self.activation)
    }

    /// Appends units one after the other; returns the last.
    pub(super) fn chain(self, graph: &mut GraphBuilder, input: NodeId, units: &[(&str, Conv2d)]) -> NodeId {
        units.iter().fold(input, |input, (name, conv)| self.append(graph, name, input, *conv))
    }
}
