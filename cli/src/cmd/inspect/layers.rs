//! The layers of a network as a table.

use super::summary::{Layer, Quantizer, Summary};
use crate::columns::{Align, columns};
use crate::numbers::{percent, short, thousands};

pub fn layers(summary: &Summary) -> String {
    let heads = [
        ("layer", Align::Left),
        ("operator", Align::Left),
        ("output", Align::Left),
        ("parameters", Align::Right),
        ("MACs", Align::Right),
        ("zero", Align::Right),
        ("small", Align::Right),
        ("dead", Align::Right),
        ("range", Align::Left),
    ];
    let rows: Vec<_> = summary.layers.iter().map(row).collect();
    columns(heads, &rows)
}

fn row(layer: &Layer) -> [String; 9] {
    let [channels, height, width] = layer.output;
    let number = |number: u64| if number == 0 { String::new() } else { thousands(number) };
    let share = |part: usize, whole: usize| match part {
        0 => String::new(),
        _ => percent(part as u64, whole as u64),
    };
    let sparsity = layer.sparsity.unwrap_or_default();
    [
        layer.name.clone(),
        layer.operator.clone(),
        format!("[{channels}, {height}, {width}]"),
        number(layer.parameters),
        number(layer.macs),
        share(sparsity.zero, sparsity.weights),
        share(sparsity.small, sparsity.weights),
        number(sparsity.dead_filters as u64),
        layer.quantizers.iter().map(range).collect::<Vec<_>>().join(", "),
    ]
}

/// The range in use; a quantiser's own where it is another.
fn range(quantizer: &Quantizer) -> String {
    let [own, shared] = [quantizer.amax, quantizer.shared_amax].map(|amax| short(f64::from(amax)));
    if quantizer.amax == quantizer.shared_amax { shared } else { format!("{shared} (its own {own})") }
}
