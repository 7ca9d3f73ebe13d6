//! Weights, and ranges of quantisers.

use oxidet_graph::Checkpoint;
use oxidet_graph::difference::{WeightChanges, range_changes};

use super::{Limit, Section};
use crate::columns::{Align, columns};
use crate::numbers::short;

pub fn weights(before: &Checkpoint, after: &Checkpoint, limit: Limit) -> Section {
    let WeightChanges { changed, same, reshaped } = WeightChanges::between(before, after);
    let heading = format!("Weights: {} layers differ, {same} are equal", changed.len());
    let reshaped = (reshaped > 0)
        .then(|| format!("{reshaped} layers have other shapes; their weights are not compared"));
    if changed.is_empty() {
        return Section::new(heading, reshaped.into_iter().collect());
    }
    let (first, more) = limit.of(&changed);
    let number = |change: Option<f64>| change.map_or(String::new(), short);
    let rows: Vec<_> = first
        .iter()
        .map(|change| {
            [change.layer.clone(), number(change.kernel), number(change.norm), number(change.statistics)]
        })
        .collect();
    let heads = [
        ("‖A − B‖ / ‖A‖", Align::Left),
        ("kernel", Align::Right),
        ("batch norm", Align::Right),
        ("statistics", Align::Right),
    ];
    Section::new(heading, [columns(heads, &rows)].into_iter().chain(more).chain(reshaped).collect())
}

pub fn ranges(before: &Checkpoint, after: &Checkpoint, limit: Limit) -> Section {
    let changes = range_changes(before, after);
    let heading = format!("Ranges: {} quantisers", changes.len());
    if changes.is_empty() {
        return Section::new(heading, Vec::new());
    }
    let (first, more) = limit.of(&changes);
    let number = |range: Option<f32>| range.map_or("none".into(), |range| short(f64::from(range)));
    let rows: Vec<_> = first
        .iter()
        .map(|change| [change.name.clone(), number(change.before), number(change.after)])
        .collect();
    let heads = [("quantiser", Align::Left), ("A", Align::Right), ("B", Align::Right)];
    Section::new(heading, [columns(heads, &rows)].into_iter().chain(more).collect())
}
