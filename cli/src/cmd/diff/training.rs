//! Where training stands.

use oxidet_graph::TrainingState;

use super::Section;

pub fn section(before: Option<&TrainingState>, after: Option<&TrainingState>) -> Section {
    let lines = match (before, after) {
        (Some(before), Some(after)) => state(before, after),
        (Some(_), None) => vec!["B has no training state: it is only for use".into()],
        (None, Some(_)) => vec!["A has no training state: it is only for use".into()],
        (None, None) => Vec::new(),
    };
    Section::new("Training", lines)
}

fn state(before: &TrainingState, after: &TrainingState) -> Vec<String> {
    let best = |state: &TrainingState| {
        let best = state.best.as_ref();
        best.map_or("none".into(), |best| format!("{} with {} {}", best.epoch, best.monitor, best.value))
    };
    let mut lines = Vec::new();
    let mut line = |what: &str, before: String, after: String| {
        if before != after {
            lines.push(format!("{what}: {after}, was {before}"));
        }
    };
    line("epoch", before.epoch.to_string(), after.epoch.to_string());
    line("step", before.step.to_string(), after.step.to_string());
    line("seed", before.seed.to_string(), after.seed.to_string());
    line("images", before.images.to_string(), after.images.to_string());
    line("best epoch", best(before), best(after));
    line("sum of losses in the epoch", before.loss_sum.to_string(), after.loss_sum.to_string());
    for (what, same) in [
        ("class weights", before.class_weighting == after.class_weighting),
        ("optimiser's state", before.slots == after.slots),
        ("weights behind the moving average", before.live == after.live),
    ] {
        if !same {
            lines.push(format!("{what}: not the same"));
        }
    }
    lines
}
