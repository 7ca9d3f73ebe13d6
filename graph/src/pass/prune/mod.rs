//! Removes filters of small weight, and the channels they make, from a network.
//!
//! After "min weight" pruning of Molchanov et al. 2016, as TAO does it: a layer's filters are ranked by the norm of their
//! weights, those not above a threshold go. Layers whose maps are added, multiplied or filtered channel by channel make one
//! [`Group`] and lose the same channels.
//!
//! ```text
//! detector ─groups─► which layers belong together ─┐
//! params ─statistics─► how large each filter is ───┴─► Pruner ─select─► Plan ─rewrite─► smaller detector and params
//! ```
//! All that does not depend on the threshold is in the [`Pruner`], so trying many thresholds costs little.

mod groups;
mod rewrite;
mod select;
mod statistics;
mod target;

pub use groups::{Group, Whole};
pub use statistics::{Criterion, Normalizer};

use oxidet_proto::prototxt::closest;

use crate::{Detector, NodeId, ParamKind, Params, ParamsError, ShapeError};
use groups::{Ties, tie};
use select::select;
use statistics::{merge, normalize, norms};

/// How filters are chosen, but for the threshold. The default is TAO's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    /// What makes norms of different layers comparable.
    pub normalizer: Normalizer,
    /// What a channel counts that several layers make.
    pub criterion: Criterion,
    /// The number of filters kept is rounded up to a multiple of this; at least 1.
    pub granularity: usize,
    /// Filters that a layer keeps at least, if it has as many; at least 1.
    pub min_filters: usize,
    /// Names of nodes whose channels are all kept.
    pub excluded: Vec<String>,
}

impl Default for Pruning {
    fn default() -> Self {
        Self {
            normalizer: Normalizer::Max,
            criterion: Criterion::Union,
            granularity: 8,
            min_filters: 16,
            excluded: Vec::new(),
        }
    }
}

/// Why a network cannot be pruned as asked.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// An excluded layer that is not there.
    #[error("no layer is called `{name}`{}", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoSuchLayer {
        /// The name asked for.
        name: String,
        /// A layer with a similar name.
        near: Option<String>,
    },
    /// A kernel without sound numbers.
    #[error("the kernel of `{0}` holds values that are not finite numbers")]
    NotFinite(String),
    /// Fewer MACs asked for than can be reached.
    #[error("even the highest threshold leaves {least} MACs, more than the {most} asked for")]
    Unreachable {
        /// MACs asked for.
        most: u64,
        /// MACs with every layer at its minimum.
        least: u64,
    },
    /// Parameters that are not those of the network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// A network that does not fit its own input.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Channels kept of every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By node: indices into its channels, ascending.
    kept: Vec<Vec<usize>>,
}

impl Plan {
    /// Channels that a node keeps, ascending.
    pub fn kept(&self, id: NodeId) -> &[usize] {
        &self.kept[id.index()]
    }
}

/// A network examined for pruning.
#[derive(Debug)]
pub struct Pruner<'a> {
    detector: &'a Detector,
    granularity: usize,
    min_filters: usize,
    ties: Ties,
    /// By group: what each channel counts; nothing for a group that is kept whole.
    statistics: Vec<Option<Vec<f64>>>,
}

impl<'a> Pruner<'a> {
    /// Finds what belongs together in `detector`, and what its filters count.
    ///
    /// # Errors
    /// [`PruneError`] for excluded layers that are not there and parameters that are unsound or of another network.
    pub fn new(detector: &'a Detector, params: &Params, pruning: &Pruning) -> Result<Self, PruneError> {
        let graph = &detector.graph;
        params.check(graph)?;
        let excluded: Result<Vec<NodeId>, PruneError> =
            pruning.excluded.iter().map(|name| find(detector, name)).collect();
        let ties = tie(detector, &excluded?);
        let statistic = |layer: NodeId| -> Result<Vec<f64>, PruneError> {
            let name = &graph.node(layer).name;
            let norms = norms(params.of(name, ParamKind::Kernel)?);
            if !norms.iter().all(|norm| norm.is_finite()) {
                return Err(PruneError::NotFinite(name.clone()));
            }
            Ok(normalize(norms, pruning.normalizer))
        };
        let of_group = |group: &Group| -> Result<Option<Vec<f64>>, PruneError> {
            if group.whole.is_some() {
                return Ok(None);
            }
            let layers: Result<Vec<Vec<f64>>, PruneError> =
                group.layers.iter().map(|layer| statistic(*layer)).collect();
            Ok(Some(merge(&layers?, pruning.criterion)))
        };
        let statistics: Result<_, PruneError> = ties.groups.iter().map(of_group).collect();
        Ok(Self {
            detector,
            granularity: pruning.granularity.max(1),
            min_filters: pruning.min_filters.max(1),
            ties,
            statistics: statistics?,
        })
    }

    /// What belongs together, by the first layer of each group.
    pub fn groups(&self) -> &[Group] {
        &self.ties.groups
    }

    /// Keeps the channels that count more than `threshold`, and as many more as minimum and granularity ask for.
    pub fn plan(&self, threshold: f64) -> Plan {
        let of_group: Vec<Vec<usize>> = self
            .ties
            .groups
            .iter()
            .zip(&self.statistics)
            .map(|(group, statistic)| match statistic {
                Some(statistic) => select(statistic, threshold, self.granularity, self.min_filters),
                None => (0..group.channels).collect(),
            })
            .collect();
        let of_node = |segments: &Vec<usize>| {
            let mut kept = Vec::new();
            let mut offset = 0;
            for group in segments {
                kept.extend(of_group[*group].iter().map(|channel| offset + channel));
                offset += self.ties.groups[*group].channels;
            }
            kept
        };
        Plan { kept: self.ties.segments.iter().map(of_node).collect() }
    }
}

fn find(detector: &Detector, name: &str) -> Result<NodeId, PruneError> {
    detector.graph.find(name).ok_or_else(|| {
        let names = detector.graph.nodes().iter().map(|node| node.name.as_str());
        PruneError::NoSuchLayer { name: name.to_owned(), near: closest(name, names).map(str::to_owned) }
    })
}

#[cfg(test)]
mod tests;
