//! What a spec says about pixels and boxes, in the terms of `vision`.

use oxidet_proto::spec::{ApMode, AugmentationConfig, NmsConfig as NmsSpec};
use oxidet_vision::metrics::Mode;
use oxidet_vision::{NmsConfig, Preprocess};

/// The preprocessing contract of `augmentation_config`: size, channels, depth, and the means it gives or the built-in ones.
pub fn preprocess_from_spec(spec: &AugmentationConfig) -> Preprocess {
    let side = |pixels: i32| usize::try_from(pixels).unwrap_or(0);
    let (width, height) = (side(spec.output_width), side(spec.output_height));
    let channels = if spec.output_channel == 1 { 1 } else { 3 };
    let mut preprocess = if spec.output_depth == 16 {
        Preprocess::sixteen_bit(width, height)
    } else {
        Preprocess::new(width, height, channels)
    };
    let names: &[&str] = if preprocess.channels == 1 { &["l"] } else { &["b", "g", "r"] };
    for (mean, name) in preprocess.mean.iter_mut().zip(names) {
        if let Some(given) = spec.image_mean.get(*name) {
            *mean = *given;
        }
    }
    preprocess
}

/// Suppression as `nms_config` asks: `top_k` detections an image, from twice as many candidates per class, as the exported
/// plugin node has it.
pub fn nms_from_spec(spec: &NmsSpec) -> NmsConfig {
    NmsConfig {
        score_threshold: spec.confidence_threshold,
        iou_threshold: spec.clustering_iou_threshold,
        top_k: 2 * spec.top_k as usize,
        keep_top_k: spec.top_k as usize,
    }
}

/// The rule for average precision that `eval_config` names.
pub fn ap_mode_from_spec(mode: ApMode) -> Mode {
    match mode {
        ApMode::Sample => Mode::Sample,
        ApMode::Integrate => Mode::Integrate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_come_in_tensor_order() {
        let mut spec = AugmentationConfig {
            output_width: 64,
            output_height: 32,
            output_channel: 3,
            ..Default::default()
        };
        assert_eq!(preprocess_from_spec(&spec), Preprocess::new(64, 32, 3));
        for (name, mean) in [("r", 1.0), ("g", 2.0), ("b", 3.0)] {
            spec.image_mean.insert(name.into(), mean);
        }
        assert_eq!(preprocess_from_spec(&spec).mean, [3.0, 2.0, 1.0]);
        spec = AugmentationConfig { output_channel: 1, image_mean: [("l".into(), 9.0)].into(), ..spec };
        assert_eq!(preprocess_from_spec(&spec).mean, [9.0]);
    }
}
