//! `yolov4_config`: the network, its anchors, its loss.

use super::message::message;

message! {
    /// The network, its anchors, its loss.
    Yolov4Config as "YOLOv4Config" {
        /// Anchors at stride 32 as text, `[(w, h), …]` in px of the input (`parse_anchors` reads it).
        big_anchor_shape: String = 1,
        /// Anchors at stride 16.
        mid_anchor_shape: String = 2,
        /// Anchors at stride 8; empty for a network with two heads.
        small_anchor_shape: String = 3,
        /// A prediction whose best IoU reaches this is no negative, in [0.25, 1].
        matching_neutral_box_iou: f32 = 4,
        /// Anchors whose shape IoU is above this match too, in (0, 1].
        box_matching_iou: f32 = 5,
        /// Backbone; `arch::ARCHS` has their names.
        arch: String = 6,
        /// Depth of the backbone, where it comes in several.
        nlayers: u32 = 7,
        /// Has no effect.
        arch_conv_blocks: u32 = 8,
        /// Weight of the box term (CIoU), at least 0.
        loss_loc_weight: f32 = 9,
        /// Weight of the negative objectness term, at least 0.
        loss_neg_obj_weights: f32 = 10,
        /// Weight of the class term, at least 0.
        loss_class_weights: f32 = 11,
        /// Backbone blocks whose convolutions are not trained; `oxidet inspect -e SPEC --blocks` lists them.
        freeze_blocks: Vec<f32> = 12,
        /// Backbone batch norms use their running statistics while training.
        freeze_bn: bool = 13,
        /// ReLU wherever the network has LeakyReLU or Mish.
        force_relu: bool = 14,
        /// Focal loss α, in [0, 1); on when α and γ are above 0.
        focal_loss_alpha: f32 = 15,
        /// Focal loss γ, at least 0.
        focal_loss_gamma: f32 = 16,
        /// Label smoothing, in [0, 0.3].
        label_smoothing: f32 = 17,
        /// How far a centre at stride 32 may leave its cell, in [0, 0.3].
        big_grid_xy_extend: f32 = 18,
        /// The same at stride 16.
        mid_grid_xy_extend: f32 = 19,
        /// The same at stride 8; 0 for a network with two heads.
        small_grid_xy_extend: f32 = 20,
        /// CSPDarkNet's activation: `mish`, `relu`, anything else is LeakyReLU 0.1.
        activation: String = 21,
    }
}
