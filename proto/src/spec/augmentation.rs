//! `augmentation_config`: the network's input, and how training images are varied.

use std::collections::BTreeMap;

use super::message::message;

message! {
    /// Input size and augmentation.
    AugmentationConfig as "AugmentationConfig" {
        /// Hue shift within ± this share of 180°, in [0, 1].
        hue: f32 = 1,
        /// Saturation factor within [1/s, s]; at least 1.
        saturation: f32 = 2,
        /// Exposure factor within [1/e, e]; at least 1.
        exposure: f32 = 3,
        /// Probability of a vertical flip, in [0, 1].
        vertical_flip: f32 = 4,
        /// Probability of a horizontal flip, in [0, 1].
        horizontal_flip: f32 = 5,
        /// Largest change of the crop's edges, as a share of the image, in [0, 1].
        jitter: f32 = 6,
        /// Input width in px; a multiple of 32.
        output_width: i32 = 7,
        /// Input height in px; a multiple of 32.
        output_height: i32 = 8,
        /// 1 (gray) or 3 (BGR).
        output_channel: i32 = 9,
        /// Batches between changes of the input size (0.6–1.5 × base); 0 keeps it fixed.
        randomize_input_shape_period: i32 = 10,
        /// Probability of a mosaic of four images, in [0, 1].
        mosaic_prob: f32 = 11,
        /// Smallest share of a mosaic tile per axis, in (0, 0.5).
        mosaic_min_ratio: f32 = 12,
        /// Mean subtracted per channel: keys `b`, `g`, `r`, or `l` for gray. Empty: the built-in means.
        image_mean: BTreeMap<String, f32> = 13,
        /// Bits per channel: 8 (also 0), or 16 for gray PNG.
        output_depth: u32 = 14,
    }
}
