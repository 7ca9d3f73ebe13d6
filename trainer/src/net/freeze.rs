//! What `freeze_blocks` and `freeze_bn` leave alone.

use std::collections::BTreeSet;

use oxidet_graph::{Graph, NodeId, Op, ParamKind};

/// The parts of a network that training does not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freeze {
    /// Names of parameters that get no gradient. Their regularisation term stays in the loss.
    pub params: BTreeSet<String>,
    /// Batch norms that normalise with their running statistics and leave them as they are. γ and β still train.
    pub batch_norms: BTreeSet<NodeId>,
}

impl Freeze {
    /// The rules of the original: `blocks` freezes the convolutions, and only those, of these backbone blocks;
    /// `batch_norm` concerns all batch norms of the backbone. Nothing beyond the backbone can be frozen, and ids of
    /// blocks that are not there do nothing.
    pub fn new(graph: &Graph, blocks: &[u16], batch_norm: bool) -> Self {
        let mut freeze = Self::default();
        for id in graph.ids() {
            let node = graph.node(id);
            let Some(block) = node.block else { continue };
            match node.op {
                Op::Conv2d(conv) if blocks.contains(&block) => {
                    freeze.params.insert(ParamKind::Kernel.of(&node.name));
                    if conv.bias {
                        freeze.params.insert(ParamKind::Bias.of(&node.name));
                    }
                }
                Op::BatchNorm(_) if batch_norm => {
                    freeze.batch_norms.insert(id);
                }
                _ => {}
            }
        }
        freeze
    }
}
