//! `eval_config` and `nms_config`.

use crate::lint::rule::{BATCHED, EXPORT, NETWORK, Rule, TRAIN_EVALUATE, above, at_least};
use crate::spec::Experiment;

macro_rules! read {
    ($section:ident . $field:ident) => {
        |spec| spec.$section.as_ref().map(|s| s.$field.into())
    };
}

const CONFIDENCE: &str = "nms_config.confidence_threshold";

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::range(
        "S501",
        BATCHED,
        "eval_config.batch_size",
        read!(eval_config.batch_size),
        at_least(1.0),
        "the number of images per batch of validation, evaluate and inference",
    ),
    Rule::range(
        "S502",
        TRAIN_EVALUATE,
        "eval_config.matching_iou_threshold",
        read!(eval_config.matching_iou_threshold),
        above(0.0).up_to(1.0),
        "the overlap from which a detection is right; 0.5 is usual",
    ),
    Rule::range(
        "S511",
        NETWORK,
        CONFIDENCE,
        read!(nms_config.confidence_threshold),
        at_least(0.0).below(1.0),
        "the score above which a box is kept; 0.001 to 0.01 is usual",
    ),
    Rule::test("S512", NETWORK, "`confidence_threshold` should be above 0", |spec, findings| {
        if spec.nms_config.as_ref().is_some_and(|nms| nms.confidence_threshold == 0.0) {
            let finding =
                findings.warning(CONFIDENCE, "`confidence_threshold` is 0: every raw box is a candidate");
            finding
                .reason("that is slow, and lifts the average precision")
                .help("write `confidence_threshold: 0.001`");
        }
    }),
    Rule::range(
        "S513",
        NETWORK,
        "nms_config.clustering_iou_threshold",
        read!(nms_config.clustering_iou_threshold),
        above(0.0).up_to(1.0),
        "the overlap from which a box gives way to a better one; 0.5 to 0.6 is usual",
    ),
    Rule::range(
        "S514",
        NETWORK,
        "nms_config.top_k",
        read!(nms_config.top_k),
        at_least(1.0),
        "the most boxes kept; 200 is usual",
    ),
    Rule::range(
        "S515",
        EXPORT,
        "nms_config.infer_nms_score_bits",
        read!(nms_config.infer_nms_score_bits),
        at_least(0.0).up_to(10.0),
        "the bits of a score in the exported NMS; 0 means full precision",
    ),
    Rule::range(
        "S516",
        EXPORT,
        "nms_config.top_k",
        read!(nms_config.top_k),
        at_least(0.0).up_to(2048.0),
        "TensorRT's NMS handles twice 2048",
    ),
];
