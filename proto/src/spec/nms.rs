//! `nms_config`: from raw boxes to detections.

use super::message::message;

message! {
    /// Score threshold and non-maximum suppression.
    NmsConfig as "NMSConfig" {
        /// Boxes with a confidence above this are kept, in [0, 1).
        confidence_threshold: f32 = 1,
        /// A box with a larger IoU than this with a better one is dropped, in (0, 1].
        clustering_iou_threshold: f32 = 2,
        /// Most boxes kept, per class and in total.
        top_k: u32 = 3,
        /// Precision of scores in the exported NMS node, 1 to 10; 0 means full.
        infer_nms_score_bits: u32 = 4,
        /// Has no effect.
        force_on_cpu: bool = 5,
    }
}
