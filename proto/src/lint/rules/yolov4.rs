//! `yolov4_config`: the network and its loss. Anchors have a file of their own.

use super::anchors;
use crate::lint::findings::Findings;
use crate::lint::rule::{ALL, Bounds, NETWORK, Rule, TRAIN, above, at_least};
use crate::prototxt::closest;
use crate::spec::Experiment;
use crate::spec::arch::{ARCHS, find};

const WEIGHT: Bounds = at_least(0.0);
const EXTEND: Bounds = at_least(0.0).up_to(0.3);
const EXTEND_WHY: &str = "how far a box centre may leave its grid cell";

macro_rules! read {
    ($field:ident) => {
        |spec| spec.yolov4_config.as_ref().map(|y| y.$field.into())
    };
}

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::test("S401", ALL, "`arch` must be a known backbone", arch_is_known),
    Rule::test("S402", NETWORK, "`nlayers` must be a depth that the backbone comes in", depth_is_known),
    Rule::test("S403", NETWORK, "`activation` should have an effect", activation_acts),
    Rule::test("S404", TRAIN, "ids of `freeze_blocks` should have an effect", freezing_acts),
    Rule::range(
        "S411",
        TRAIN,
        "yolov4_config.box_matching_iou",
        read!(box_matching_iou),
        above(0.0).up_to(1.0),
        "anchors with a larger shape IoU match a box; 0.25 to 0.5 is usual",
    ),
    Rule::range(
        "S412",
        TRAIN,
        "yolov4_config.matching_neutral_box_iou",
        read!(matching_neutral_box_iou),
        at_least(0.25).up_to(1.0),
        "predictions with at least this IoU are no negatives; 0.5 is usual",
    ),
    Rule::range(
        "S413",
        TRAIN,
        "yolov4_config.loss_loc_weight",
        read!(loss_loc_weight),
        WEIGHT,
        "weight of the box loss",
    ),
    Rule::range(
        "S414",
        TRAIN,
        "yolov4_config.loss_neg_obj_weights",
        read!(loss_neg_obj_weights),
        WEIGHT,
        "weight of the loss of negatives",
    ),
    Rule::range(
        "S415",
        TRAIN,
        "yolov4_config.loss_class_weights",
        read!(loss_class_weights),
        WEIGHT,
        "weight of the class loss",
    ),
    Rule::test("S416", TRAIN, "the loss weights should be set", loss_terms_act),
    Rule::range(
        "S417",
        TRAIN,
        "yolov4_config.label_smoothing",
        read!(label_smoothing),
        at_least(0.0).up_to(0.3),
        "how far targets are moved from 0 and 1; 0, 0.1 and 0.2 are usual",
    ),
    Rule::range(
        "S418",
        TRAIN,
        "yolov4_config.focal_loss_alpha",
        read!(focal_loss_alpha),
        at_least(0.0).below(1.0),
        "the weight of positives in the focal loss; 0 turns it off",
    ),
    Rule::range(
        "S419",
        TRAIN,
        "yolov4_config.focal_loss_gamma",
        read!(focal_loss_gamma),
        at_least(0.0),
        "the exponent of the focal loss; 0 turns it off",
    ),
    Rule::test("S421", ALL, "anchors must be lists of pairs of positive numbers", anchors::can_be_read),
    Rule::test("S422", NETWORK, "there must be anchors for every head, and for no other", anchors::fit_heads),
    Rule::test("S423", NETWORK, "every head must have as many anchors", anchors::are_as_many),
    Rule::test("S424", NETWORK, "anchors should grow from small to big", anchors::grow),
    Rule::test("S425", NETWORK, "anchors should fit into the input", anchors::fit_input),
    Rule::range(
        "S431",
        NETWORK,
        "yolov4_config.big_grid_xy_extend",
        read!(big_grid_xy_extend),
        EXTEND,
        EXTEND_WHY,
    ),
    Rule::range(
        "S432",
        NETWORK,
        "yolov4_config.mid_grid_xy_extend",
        read!(mid_grid_xy_extend),
        EXTEND,
        EXTEND_WHY,
    ),
    Rule::range(
        "S433",
        NETWORK,
        "yolov4_config.small_grid_xy_extend",
        read!(small_grid_xy_extend),
        EXTEND,
        EXTEND_WHY,
    ),
    Rule::test(
        "S434",
        NETWORK,
        "`small_grid_xy_extend` must be 0 when there is no small head",
        |spec, findings| {
            let two_heads = find(&spec.yolov4().arch).is_some_and(|arch| arch.heads == 2);
            if two_heads && spec.yolov4().small_grid_xy_extend != 0.0 {
                let message = format!("`{}` has no head for small objects", spec.yolov4().arch);
                findings.error("yolov4_config.small_grid_xy_extend", message).help("remove the field");
            }
        },
    ),
];

fn arch_is_known(spec: &Experiment, findings: &mut Findings<'_>) {
    let Some(yolov4) = &spec.yolov4_config else { return };
    if find(&yolov4.arch).is_some() {
        return;
    }
    let names = || ARCHS.iter().map(|arch| arch.name);
    let message = match yolov4.arch.as_str() {
        "" => "`arch` is missing: which backbone?".to_owned(),
        other => format!("there is no backbone `{}`", other.chars().take(40).collect::<String>()),
    };
    let finding = findings.error("yolov4_config.arch", message);
    match closest(&yolov4.arch, names()) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help(format!("it can be {}", names().collect::<Vec<_>>().join(", "))),
    };
}

fn depth_is_known(spec: &Experiment, findings: &mut Findings<'_>) {
    let yolov4 = spec.yolov4();
    let Some(arch) = find(&yolov4.arch) else { return };
    if !arch.nlayers.is_empty() && !arch.nlayers.contains(&yolov4.nlayers) {
        let depths: Vec<String> = arch.nlayers.iter().map(u32::to_string).collect();
        let message = match findings.is_written("yolov4_config.nlayers") {
            true => format!("there is no `{}` with {} layers", arch.name, yolov4.nlayers),
            false => format!("`nlayers` is missing: how deep a `{}`?", arch.name),
        };
        findings.error("yolov4_config.nlayers", message).help(format!("it can be {}", depths.join(", ")));
    }
}

fn activation_acts(spec: &Experiment, findings: &mut Findings<'_>) {
    const PATH: &str = "yolov4_config.activation";
    let yolov4 = spec.yolov4();
    let Some(arch) = find(&yolov4.arch) else { return };
    let plain = yolov4.activation.to_lowercase().replace(['_', '-', ' '], "");
    if yolov4.activation.is_empty() {
    } else if !arch.reads_activation {
        let message = format!("`activation` has no effect on `{}`", arch.name);
        findings.warning(PATH, message).help("remove it");
    } else if !matches!(yolov4.activation.as_str(), "mish" | "relu")
        && !matches!(plain.as_str(), "leakyrelu" | "leaky" | "lrelu")
    {
        let finding = findings.warning(PATH, "an unknown `activation` means LeakyReLU");
        match closest(&yolov4.activation, ["mish", "relu"]) {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding.help("write \"mish\" or \"relu\", or remove it for LeakyReLU"),
        };
    }
}

fn freezing_acts(spec: &Experiment, findings: &mut Findings<'_>) {
    let yolov4 = spec.yolov4();
    let Some(arch) = find(&yolov4.arch) else { return };
    for (i, &id) in yolov4.freeze_blocks.iter().enumerate() {
        let ids = &arch.freeze_blocks;
        let (first, last) = (*ids.start() as f32, *ids.end() as f32);
        let acts = id.fract() == 0.0 && (first..=last).contains(&id);
        if !acts {
            let path = format!("yolov4_config.freeze_blocks[{i}]");
            let finding = findings.warning(&path, format!("`{}` has no block {id} to freeze", arch.name));
            finding.help(format!("its blocks are {} to {}", ids.start(), ids.end()));
        }
    }
}

fn loss_terms_act(spec: &Experiment, findings: &mut Findings<'_>) {
    let Some(yolov4) = &spec.yolov4_config else { return };
    let terms = [
        ("loss_loc_weight", yolov4.loss_loc_weight, "boxes are not learnt"),
        (
            "loss_neg_obj_weights",
            yolov4.loss_neg_obj_weights,
            "nothing is learnt from places without an object",
        ),
        ("loss_class_weights", yolov4.loss_class_weights, "classes are not learnt"),
    ];
    for (field, weight, consequence) in terms {
        let path = format!("yolov4_config.{field}");
        if weight == 0.0 && !findings.is_written(&path) {
            let finding =
                findings.warning(&path, format!("`{field}` is missing, which means 0: {consequence}"));
            finding.help(format!("write `{field}: 1.0`"));
        }
    }
}
