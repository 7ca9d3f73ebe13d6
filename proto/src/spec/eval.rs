//! `eval_config`: the batch of everything but training, and how average precision is measured.

use super::message::{enumeration, message};

message! {
    /// Validation, evaluation and inference.
    EvalConfig as "EvalConfig" {
        /// Rule for the area under the precision-recall curve.
        average_precision_mode: ApMode = 1,
        /// Images per batch of validation, evaluation and inference; at least 1.
        batch_size: u32 = 2,
        /// IoU from which a detection matches a truth box, in (0, 1].
        matching_iou_threshold: f32 = 3,
        /// Draws the precision-recall curve.
        visualize_pr_curve: bool = 4,
    }
}

enumeration! {
    /// Rule for the area under the precision-recall curve.
    ApMode as "AP_MODE" {
        /// 11 points (PASCAL VOC 2007).
        Sample = 0 as "SAMPLE",
        /// Area under the envelope (PASCAL VOC 2010).
        Integrate = 1 as "INTEGRATE",
    }
}
