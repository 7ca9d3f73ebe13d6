//! What is trained: specs of the user's, or built-in ones that between them use every part of the loss and the optimisers.
//!
//! Rates are as high as fifty steps allow: ReLU and max pooling pass gradients on or not by what rounding decides, and every step
//! makes more of it. At 1e-3 the losses of `cspdarknet_tiny` in PyTorch's own single and double precision are two per cent apart.

use std::path::Path;

use anyhow::{Result, anyhow};
use oxidet_proto::lint::{Checked, Verb, check};
use oxidet_proto::spec::parse_experiment;

use super::squares;

/// A spec of ours.
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// Its images.
    data: Data,
    /// Fields of `yolov4_config`: backbone and terms of the loss.
    network: &'static str,
    /// Fields of `training_config`: schedule, regulariser and optimiser.
    training: &'static str,
}

enum Data {
    /// Drawn here, and trained on as they are.
    Squares,
    /// Photographs of `../shared`, with all the augmentation there is.
    Bccd,
}

/// All of them.
pub const BUILT_IN: [Case; 5] = [
    Case {
        name: "squares",
        data: Data::Squares,
        network: r#"arch: "cspdarknet_tiny" activation: "mish" big_grid_xy_extend: 0.05 mid_grid_xy_extend: 0.1"#,
        training: "
  learning_rate { soft_start_cosine_annealing_schedule {
    min_learning_rate: 1e-6 max_learning_rate: 1e-4 soft_start: 0.2
  } }
  regularizer { type: L2 weight: 3e-5 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }",
    },
    Case {
        name: "cspdarknet_tiny",
        data: Data::Bccd,
        network: r#"arch: "cspdarknet_tiny" big_grid_xy_extend: 0.05 mid_grid_xy_extend: 0.1"#,
        training: "
  learning_rate { soft_start_cosine_annealing_schedule {
    min_learning_rate: 1e-6 max_learning_rate: 1e-4 soft_start: 0.2
  } }
  regularizer { type: L2 weight: 3e-5 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }",
    },
    Case {
        name: "cspdarknet_tiny_mish",
        data: Data::Bccd,
        network: r#"arch: "cspdarknet_tiny" activation: "mish"
  label_smoothing: 0.1 focal_loss_alpha: 0.25 focal_loss_gamma: 2"#,
        training: "
  learning_rate { soft_start_annealing_schedule {
    min_learning_rate: 1e-6 max_learning_rate: 1e-4 soft_start: 0.2 annealing: 0.4
  } }
  regularizer { type: L1 weight: 1e-6 }
  optimizer { adam { epsilon: 1e-4 beta1: 0.9 beta2: 0.99 amsgrad: true } }",
    },
    Case {
        name: "cspdarknet_tiny_3l",
        data: Data::Bccd,
        network: r#"arch: "cspdarknet_tiny_3l" activation: "relu" small_anchor_shape: "[(12, 12), (25, 25), (40, 40)]""#,
        training: "
  learning_rate { soft_start_cosine_annealing_schedule {
    min_learning_rate: 1e-9 max_learning_rate: 2e-7 soft_start: 0.2
  } }
  regularizer { type: L2 weight: 1e-3 }
  optimizer { sgd { momentum: 0.9 nesterov: true } }",
    },
    Case {
        name: "resnet18",
        data: Data::Bccd,
        network: r#"arch: "resnet" nlayers: 18
  small_anchor_shape: "[(12, 12), (25, 25), (40, 40)]" small_grid_xy_extend: 0.2"#,
        training: "
  learning_rate { soft_start_annealing_schedule {
    min_learning_rate: 1e-7 max_learning_rate: 2e-5 soft_start: 0.2 annealing: 0.5
  } }
  regularizer { type: L1 weight: 3e-6 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }",
    },
];

/// The built-in case of this name, with images in `folder` if it draws some, or else the spec in this file.
///
/// # Errors
/// When there is no such spec, or it has mistakes.
pub fn read(name: &str, folder: &Path) -> Result<Checked> {
    let text = match BUILT_IN.iter().find(|case| case.name == name) {
        Some(case) => case.spec(folder)?,
        None => std::fs::read_to_string(name)
            .map_err(|error| anyhow!("{name} is no built-in case, and as a file: {error}"))?,
    };
    let parsed = parse_experiment(name, &text).map_err(|problems| anyhow!("{problems}"))?;
    check(parsed, Verb::Train).map_err(|problems| anyhow!("{problems}"))
}

impl Case {
    fn spec(&self, folder: &Path) -> Result<String> {
        let Self { network, training, data, .. } = self;
        let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/bccd");
        let (epochs, rest) = match data {
            Data::Squares => {
                squares::draw(folder)?;
                (10, plain(&folder.display().to_string()))
            }
            Data::Bccd => (1, augmented(shared)),
        };
        Ok(format!(
            r#"random_seed: 42
yolov4_config {{
  {network}
  big_anchor_shape: "[(82, 77), (115, 110), (150, 140)]"
  mid_anchor_shape: "[(25, 25), (60, 58), (70, 68)]"
  box_matching_iou: 0.25 matching_neutral_box_iou: 0.5
  loss_loc_weight: 2 loss_neg_obj_weights: 1.5 loss_class_weights: 1
}}
training_config {{
  batch_size_per_gpu: 4 num_epochs: {epochs} checkpoint_interval: {epochs} {training}
}}
eval_config {{ batch_size: 4 matching_iou_threshold: 0.5 }}
nms_config {{ confidence_threshold: 0.01 clustering_iou_threshold: 0.5 top_k: 200 }}
{rest}"#
        ))
    }
}

fn plain(data: &str) -> String {
    let side = squares::SIDE;
    let source = format!(r#"label_directory_path: "{data}/labels" image_directory_path: "{data}/images""#);
    format!(
        r#"class_weighting_config {{ class_weighting {{ key: "red" value: 2.5 }} }}
augmentation_config {{
  hue: 0 saturation: 1 exposure: 1 horizontal_flip: 0 vertical_flip: 0 jitter: 0
  output_width: {side} output_height: {side} output_channel: 3 mosaic_prob: 0 mosaic_min_ratio: 0.2
}}
dataset_config {{
  data_sources {{ {source} }}
  validation_data_sources {{ {source} }}
  include_difficult_in_training: true
  target_class_mapping {{ key: "red" value: "red" }}
  target_class_mapping {{ key: "green" value: "green" }}
  target_class_mapping {{ key: "blue" value: "blue" }}
}}
"#
    )
}

fn augmented(data: &str) -> String {
    format!(
        r#"class_weighting_config {{
  class_weighting {{ key: "platelets" value: 2.5 }}
  class_weighting {{ key: "wbc" value: 0.5 }}
}}
augmentation_config {{
  hue: 0.05 saturation: 1.3 exposure: 1.3 horizontal_flip: 0.5 vertical_flip: 0.5 jitter: 0.2
  output_width: 256 output_height: 192 output_channel: 3 randomize_input_shape_period: 10
  mosaic_prob: 0.3 mosaic_min_ratio: 0.2
}}
dataset_config {{
  data_sources {{ label_directory_path: "{data}/train/labels" image_directory_path: "{data}/train/images" }}
  validation_data_sources {{ label_directory_path: "{data}/val/labels" image_directory_path: "{data}/val/images" }}
  include_difficult_in_training: true
  target_class_mapping {{ key: "RBC" value: "rbc" }}
  target_class_mapping {{ key: "WBC" value: "wbc" }}
  target_class_mapping {{ key: "Platelets" value: "platelets" }}
}}
"#
    )
}
