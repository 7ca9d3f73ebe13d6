//! Necks: they mix the backbone's maps and hand one map to each head.

pub(super) mod levels;
pub(super) mod pan;
pub(super) mod spp;
pub(super) mod tiny;

use oxidet_graph::NodeId;

/// Base widths of a PAN neck at the two finer strides.
#[derive(Clone, Copy)]
pub(super) struct Widths {
    pub(super) c4: usize,
    pub(super) c3: usize,
}

/// The maps that the heads read.
pub(super) struct Branches {
    pub(super) big: NodeId,
    pub(super) mid: NodeId,
    /// `None` for networks with two heads.
    pub(super) small: Option<NodeId>,
}
