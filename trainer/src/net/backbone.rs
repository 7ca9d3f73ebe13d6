//! Feature extractors. One file a family, written like the family's table; blocks are numbered as `freeze_blocks` does.

pub(super) mod cspdarknet;
pub(super) mod cspdarknet_tiny;
pub(super) mod darknet;
pub(super) mod efficientnet_b0;
pub(super) mod googlenet;
pub(super) mod mobilenet_v1;
pub(super) mod mobilenet_v2;
pub(super) mod resnet;
pub(super) mod squeezenet;
pub(super) mod vgg;

use oxidet_graph::{GraphBuilder, MaxPool, NodeId, Padding};

/// The maps of a backbone that the neck reads.
pub(super) struct Pyramid {
    /// The backbone's last map.
    pub(super) top: NodeId,
    /// The map for the mid head; at stride 16, or 8 for VGG.
    pub(super) c4: NodeId,
    /// The map for the small head; at half that stride, or to be enlarged to it.
    pub(super) c3: NodeId,
}

/// Appends a max-pooling of 2×2.
fn halve(graph: &mut GraphBuilder, name: impl Into<String>, map: NodeId) -> NodeId {
    graph.max_pool(name, map, MaxPool { kernel: 2, stride: 2, padding: Padding::default() })
}
