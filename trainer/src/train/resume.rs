//! Resuming: what may differ between the spec of a checkpoint and the one it is resumed with.

use oxidet_graph::{Checkpoint, Detector};
use oxidet_proto::lint::Checked;
use oxidet_proto::spec::{Difference, differences, parse_experiment};

/// Fields that a resumed run cannot change, by the start of their path, and why.
const FIXED: &[(&str, &str)] = &[
    ("random_seed", "every random number of the run comes from it"),
    ("yolov4_config.arch", NETWORK),
    ("yolov4_config.nlayers", NETWORK),
    ("yolov4_config.activation", NETWORK),
    ("yolov4_config.force_relu", NETWORK),
    ("yolov4_config.big_anchor_shape", HEADS),
    ("yolov4_config.mid_anchor_shape", HEADS),
    ("yolov4_config.small_anchor_shape", HEADS),
    ("yolov4_config.big_grid_xy_extend", HEADS),
    ("yolov4_config.mid_grid_xy_extend", HEADS),
    ("yolov4_config.small_grid_xy_extend", HEADS),
    ("yolov4_config.freeze_blocks", "the optimiser has a state for other parameters"),
    ("training_config.batch_size_per_gpu", "the steps already made are counted in batches of that size"),
    ("training_config.model_ema", "the moving average runs from the start of a run to its end"),
    ("training_config.enable_qat", NETWORK),
    ("augmentation_config.output_width", INPUT),
    ("augmentation_config.output_height", INPUT),
    ("augmentation_config.output_channel", INPUT),
    ("augmentation_config.output_depth", INPUT),
    ("augmentation_config.image_mean", INPUT),
];
const NETWORK: &str = "it makes another network";
const HEADS: &str = "the heads have learnt with the old one";
const INPUT: &str = "the network has learnt with inputs of the old kind";

/// Fields that say what to start from; they differ whenever a run is resumed.
const START: [&str; 3] = [
    "training_config.resume_model_path",
    "training_config.pretrain_model_path",
    "training_config.pruned_model_path",
];

/// Whether a path is a field or inside it.
fn is_at(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Checks that the run of `checkpoint` can go on with `spec`, whose network is `detector`. Returns the fields that differ and
/// may.
///
/// # Errors
/// A sentence that names every field that may not differ, with the reason.
pub(super) fn compatible(
    checkpoint: &Checkpoint,
    spec: &Checked,
    detector: &Detector,
) -> Result<Vec<Difference>, String> {
    let before = parse_experiment("the checkpoint's spec", &checkpoint.spec)
        .map_err(|problems| format!("the spec inside the checkpoint cannot be read: {problems}"))?;
    let mut changes = differences(&before.message, spec);
    changes.retain(|change| !START.contains(&change.path.as_str()));
    let reason = |change: &Difference| {
        let optimizer = change.path.starts_with("training_config.optimizer.")
            && (change.before.is_none() || change.after.is_none());
        let fixed = FIXED.iter().find(|(path, _)| is_at(&change.path, path)).map(|(_, reason)| *reason);
        fixed.or(optimizer.then_some("the state of the optimiser belongs to the old one"))
    };
    let mut refused: Vec<String> =
        changes.iter().filter_map(|change| Some(format!("\n  {change}: {}", reason(change)?))).collect();
    if refused.is_empty() {
        // What the fields do not show, such as classes, which come from a mapping.
        let other = &checkpoint.detector;
        let same = [
            ("classes", other.classes == detector.classes),
            ("network", other.graph == detector.graph),
            ("anchors", other.geometry() == detector.geometry()),
            ("input", other.preprocess == detector.preprocess),
        ];
        refused.extend(same.iter().filter(|(_, same)| !same).map(|(what, _)| {
            format!("\n  the {what} of the checkpoint and of the spec: the weights belong to the old ones")
        }));
    }
    if refused.is_empty() {
        return Ok(changes);
    }
    Err(format!(
        "the run cannot be resumed with this spec; these differ and must not:{}\n\
         use the spec it was trained with, or start a new run from its weights with pretrain_model_path",
        refused.concat()
    ))
}
