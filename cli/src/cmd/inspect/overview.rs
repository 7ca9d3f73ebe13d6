//! A network in a few lines.

use oxidet_vision::Preprocess;

use super::summary::{Head, Quantization, SpecNetwork, Summary, Training};
use crate::numbers::{mebibytes, percent, thousands};
use oxidet_graph::{SMALL, Sparsity};

pub fn overview(summary: &Summary) -> String {
    let mut lines = vec![
        ("network", network(summary)),
        ("input", input(&summary.input)),
        ("classes", summary.classes.join(", ")),
    ];
    lines.extend(summary.heads.iter().map(|told| ("head", head(told))));
    lines.extend(summary.sparsity.as_ref().map(|told| ("sparsity", sparsity(told))));
    lines.extend(summary.quantization.as_ref().map(|told| ("quantised", quantization(told))));
    lines.extend(summary.spec.as_ref().and_then(|told| Some(("spec", spec(told, summary.parameters)?))));
    lines.extend(summary.training.as_ref().map(|told| ("training", training(told))));
    let lines: Vec<String> = lines.iter().map(|(what, told)| format!("{what:<9}  {told}")).collect();
    lines.join("\n")
}

fn network(summary: &Summary) -> String {
    format!(
        "{}, {} parameters ({}), {} MACs an image",
        summary.arch,
        thousands(summary.parameters),
        mebibytes(summary.bytes),
        thousands(summary.macs)
    )
}

/// The input of a network in a line.
pub fn input(preprocess: &Preprocess) -> String {
    let mean: Vec<String> = preprocess.mean.iter().map(f32::to_string).collect();
    format!(
        "{} x {} x {} (width, height, channels), {} bits, minus {}",
        preprocess.width,
        preprocess.height,
        preprocess.channels,
        preprocess.depth,
        mean.join(" ")
    )
}

fn head(head: &Head) -> String {
    let anchors: Vec<String> = head.anchors.iter().map(|[w, h]| format!("({w:.1}, {h:.1})")).collect();
    format!("stride {:>2}, anchors {}", head.stride, anchors.join(" "))
}

fn sparsity(sparsity: &Sparsity) -> String {
    let share = |part: usize| percent(part as u64, sparsity.weights as u64);
    format!(
        "{} of the weights are 0, {} below {SMALL} of their layer's largest; {} of {} filters are dead",
        share(sparsity.zero),
        share(sparsity.small),
        thousands(sparsity.dead_filters as u64),
        thousands(sparsity.filters as u64)
    )
}

fn quantization(told: &Quantization) -> String {
    let Quantization { quantizers, without_range, convolutions, quantized_kernels } = told;
    let how = match without_range {
        0 => "trained with quantisation".into(),
        all if all == quantizers => "none has a range yet".into(),
        some => format!("trained with quantisation, but {some} have no range"),
    };
    format!("{quantizers} quantisers, {quantized_kernels} of {convolutions} kernels; {how}")
}

/// None where there is nothing to remark.
fn spec(told: &SpecNetwork, own: u64) -> Option<String> {
    match told {
        SpecNetwork::Same => None,
        SpecNetwork::Pruned { parameters } => Some(format!(
            "widths differ from the spec's network: pruned, {} of its {} parameters",
            percent(own, *parameters),
            thousands(*parameters)
        )),
        SpecNetwork::Other { parameters } => Some(format!(
            "describes another network, with {} parameters; oxidet diff against a checkpoint of it shows more",
            thousands(*parameters)
        )),
        SpecNetwork::Unreadable => Some("describes no network this version can build".into()),
    }
}

fn training(training: &Training) -> String {
    let best = training.best.as_ref();
    let best = best.map(|best| format!(", best epoch {}: {} {:.4}", best.epoch, best.monitor, best.value));
    format!("{} epochs, {} steps{}", training.epochs, training.steps, best.unwrap_or_default())
}
