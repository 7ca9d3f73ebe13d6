//! Layers and their widths.

use oxidet_graph::difference::{Change, GraphDifferences};
use oxidet_graph::{Checkpoint, Graph, Layer, NodeId, Op};

use super::{Limit, Section};
use crate::columns::{Align, columns};
use crate::exit::Failure;
use crate::numbers::{percent, thousands};

/// What they are in numbers.
pub fn totals(before: &Checkpoint, after: &Checkpoint) -> Result<String, Failure> {
    let macs = |checkpoint: &Checkpoint| {
        checkpoint.detector.macs().map_err(|error| Failure::data(error.to_string()))
    };
    let quantizers = |checkpoint: &Checkpoint| {
        let nodes = checkpoint.detector.graph.nodes().iter();
        nodes.filter(|node| matches!(node.op, Op::FakeQuantize)).count() as u64
    };
    let parameters = |checkpoint: &Checkpoint| checkpoint.detector.graph.param_count() as u64;
    let row = |what: &str, a: u64, b: u64| [what.into(), thousands(a), thousands(b), ratio(a, b)];
    let rows = [
        row("parameters", parameters(before), parameters(after)),
        row("MACs", macs(before)?, macs(after)?),
        row("quantisers", quantizers(before), quantizers(after)),
    ];
    let heads = [("", Align::Left), ("A", Align::Right), ("B", Align::Right), ("B / A", Align::Right)];
    Ok(columns(heads, &rows))
}

fn ratio(before: u64, after: u64) -> String {
    if before == 0 { String::new() } else { percent(after, before) }
}

pub fn sections(before: &Graph, after: &Graph, limit: Limit) -> Vec<Section> {
    let found = GraphDifferences::between(before, after);
    vec![
        only("Layers only in A", before, &found.only_before, limit),
        only("Layers only in B", after, &found.only_after, limit),
        widths(&found.widths, limit),
        others(&found.others, limit),
    ]
}

/// Layers, or what of them is not in the other.
fn only(heading: &str, graph: &Graph, ids: &[NodeId], limit: Limit) -> Section {
    let layers = graph.layers().into_iter().filter_map(|layer| {
        let nodes: Vec<NodeId> = layer.nodes.into_iter().filter(|id| ids.contains(id)).collect();
        (!nodes.is_empty()).then_some(Layer { nodes, ..layer })
    });
    let layers: Vec<Layer> = layers.collect();
    let (first, more) = limit.of(&layers);
    let line = |layer: &Layer| format!("{}: {}", graph.node(layer.first()).name, graph.operators(layer));
    Section::new(heading, first.iter().map(line).chain(more).collect())
}

fn widths(changes: &[Change<usize>], limit: Limit) -> Section {
    let heading = format!("Widths: {} convolutions with another number of filters", changes.len());
    if changes.is_empty() {
        return Section::new(heading, Vec::new());
    }
    let (changes, more) = limit.of(changes);
    let rows: Vec<_> = changes
        .iter()
        .map(|Change { name, before, after }| {
            let (a, b) = (*before as u64, *after as u64);
            [name.clone(), thousands(a), thousands(b), ratio(a, b)]
        })
        .collect();
    let heads = [("layer", Align::Left), ("A", Align::Right), ("B", Align::Right), ("B / A", Align::Right)];
    Section::new(heading, [columns(heads, &rows)].into_iter().chain(more).collect())
}

fn others(changes: &[Change<String>], limit: Limit) -> Section {
    let (changes, more) = limit.of(changes);
    let line = |change: &Change<String>| format!("{}: {}, was {}", change.name, change.after, change.before);
    Section::new("Other differences of layers", changes.iter().map(line).chain(more).collect())
}
