//! Fields that a spec may use and this version does not honour yet. They are refused by name, never ignored.
//!
//! Work that adds a feature removes its row here.

use super::rule::{TRAIN, Verb};
use crate::prototxt::Diagnostic;
use crate::spec::{Experiment, Parsed, WandbMode};

/// One feature of the original that is not there yet.
struct Gap {
    what: &'static str,
    verbs: &'static [Verb],
    /// Paths of the fields that ask for it.
    used: fn(&Experiment) -> Vec<String>,
}

const WANDB: &str = "training_config.visualizer.wandb_config";

const GAPS: &[Gap] = &[
    Gap {
        what: "Weights & Biases",
        verbs: TRAIN,
        used: |e| {
            let present = e.training().visualizer.as_ref().is_some_and(|v| v.wandb_config.is_some());
            when(present, WANDB)
        },
    },
    Gap {
        what: "ClearML",
        verbs: TRAIN,
        used: |e| {
            let present = e.training().visualizer.as_ref().is_some_and(|v| v.clearml_config.is_some());
            when(present, "training_config.visualizer.clearml_config")
        },
    },
];

/// What the spec asks for that `verb` needs and this version does not do: one error with the place for each.
///
/// `--allow-unsupported` turns the refusal into a warning; [`report`](super::report()) shows them as
/// warnings, for all verbs.
pub fn unsupported(spec: &Parsed<Experiment>, verb: Verb) -> Vec<Diagnostic> {
    find(spec, |gap| gap.verbs.contains(&verb), Diagnostic::error)
}

pub(super) fn warnings(spec: &Parsed<Experiment>) -> Vec<Diagnostic> {
    find(spec, |_| true, Diagnostic::warning)
}

fn find(
    spec: &Parsed<Experiment>,
    wanted: impl Fn(&Gap) -> bool,
    make: fn(&'static str, Option<crate::prototxt::Span>, String) -> Diagnostic,
) -> Vec<Diagnostic> {
    let gaps = GAPS.iter().filter(|gap| wanted(gap));
    let uses = gaps.flat_map(|gap| (gap.used)(&spec.message).into_iter().map(move |path| (gap, path)));
    let uses = uses.filter(|(_, path)| path != WANDB || !wandb_is_off(spec));
    let found = uses.map(|(gap, path)| {
        let message = format!("this version does not support {} yet", gap.what);
        make("S900", spec.spans.nearest(&path), message)
            .reason(format!("`{path}` asks for it"))
            .help("--allow-unsupported goes on without it")
    });
    found.collect()
}

/// Whether a spec that configures Weights & Biases also says that it is not wanted.
pub(super) fn wandb_is_off(spec: &Parsed<Experiment>) -> bool {
    let config = spec.message.training().visualizer.as_ref().and_then(|v| v.wandb_config.as_ref());
    config.is_some_and(|config| {
        let disabled = !config.enabled && spec.spans.contains(&format!("{WANDB}.enabled"));
        disabled || config.mode == WandbMode::Disabled
    })
}

fn when(used: bool, path: &str) -> Vec<String> {
    used.then(|| path.to_owned()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse_experiment;

    #[test]
    fn refuses_by_place_and_only_where_it_matters() {
        for (text, verb, places) in [
            (
                "augmentation_config { mosaic_prob: 0.5 randomize_input_shape_period: 9 output_depth: 16 }",
                Verb::Train,
                vec![],
            ),
            ("yolov4_config { arch: 'cspdarknet_tiny_3l' freeze_bn: true }", Verb::Train, vec![]),
            (
                "training_config { visualizer { enabled: true num_images: 3 } model_ema: t }",
                Verb::Train,
                vec![],
            ),
            ("training_config { enable_qat: True pruned_model_path: 'p' }", Verb::Train, vec![]),
            (
                "training_config { visualizer { enabled: t wandb_config {} clearml_config {} } }",
                Verb::Train,
                vec!["{}", "{}"],
            ),
            ("training_config { visualizer { wandb_config { enabled: false } } }", Verb::Train, vec![]),
            ("training_config { visualizer { wandb_config { mode: DISABLED } } }", Verb::Train, vec![]),
            (
                "training_config { visualizer { wandb_config { project: 'p' } } }",
                Verb::Train,
                vec!["{ project: 'p' }"],
            ),
        ] {
            let parsed = parse_experiment("spec", text).unwrap();
            let found = unsupported(&parsed, verb);
            let slices: Vec<&str> = found.iter().map(|d| parsed.source.slice(d.span.unwrap())).collect();
            assert_eq!(slices, places, "{text}");
        }
    }
}
