//! Feature extractors. One file a family, written like the family's table; blocks are numbered as `freeze_blocks` does.

pub(super) mod cspdarknet_tiny;
pub(super) mod resnet;

use oxidet_graph::NodeId;

/// The maps of a backbone that the neck reads.
pub(super) struct Pyramid {
    /// The backbone's last map.
    pub(super) top: NodeId,
    /// The map at stride 16, for the mid head.
    pub(super) c4: NodeId,
    /// The map at stride 8, for the small head.
    pub(super) c3: NodeId,
}
