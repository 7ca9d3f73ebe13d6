//! The demo's experiment spec, a short example of the real thing.

use std::path::Path;

use super::scene::{HEIGHT, WIDTH};

/// Epochs of training, as many as two cores do in three minutes.
const EPOCHS: u32 = 26;

/// The spec for the data set in the folder `data`.
pub fn text(data: &Path, seed: u32) -> String {
    let data = quoted(data);
    format!(
        r#"# A small YOLOv4 on drawn pictures, written by `oxidet demo`.
random_seed: {seed}
yolov4_config {{
  arch: "cspdarknet_tiny"
  big_anchor_shape: "[(58, 58), (82, 78), (104, 98)]"
  mid_anchor_shape: "[(17, 17), (26, 25), (40, 38)]"
  box_matching_iou: 0.4
  matching_neutral_box_iou: 0.5
  loss_loc_weight: 1.0
  loss_neg_obj_weights: 1.0
  loss_class_weights: 1.0
  big_grid_xy_extend: 0.05
  mid_grid_xy_extend: 0.05
}}
training_config {{
  batch_size_per_gpu: 4
  num_epochs: {EPOCHS}
  checkpoint_interval: {EPOCHS}
  learning_rate {{
    soft_start_cosine_annealing_schedule {{
      min_learning_rate: 1e-6
      max_learning_rate: 2e-3
      soft_start: 0.1
    }}
  }}
  optimizer {{ adam {{ epsilon: 1e-7 beta1: 0.9 beta2: 0.999 }} }}
}}
eval_config {{
  average_precision_mode: INTEGRATE
  batch_size: 8
  matching_iou_threshold: 0.5
}}
nms_config {{
  confidence_threshold: 0.001
  clustering_iou_threshold: 0.5
  top_k: 200
}}
augmentation_config {{
  hue: 0.1
  saturation: 1.3
  exposure: 1.3
  horizontal_flip: 0.5
  jitter: 0.1
  output_width: {WIDTH}
  output_height: {HEIGHT}
  output_channel: 3
  mosaic_min_ratio: 0.2
}}
dataset_config {{
  data_sources {{
    label_directory_path: "{data}/train/labels"
    image_directory_path: "{data}/train/images"
  }}
  validation_data_sources {{
    label_directory_path: "{data}/val/labels"
    image_directory_path: "{data}/val/images"
  }}
  include_difficult_in_training: true
  target_class_mapping {{ key: "box" value: "box" }}
  target_class_mapping {{ key: "disc" value: "disc" }}
  target_class_mapping {{ key: "triangle" value: "triangle" }}
}}
"#
    )
}

/// A path inside a string of the spec.
fn quoted(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"")
}
