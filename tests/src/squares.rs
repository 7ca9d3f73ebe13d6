//! A data set of bright squares, small enough to train on in seconds.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::{Checked, Verb, check};
use oxidet_proto::spec::parse_experiment;
use oxidet_trainer::data::ImageOptions;
use oxidet_trainer::train::{Event, TrainRequest, TrainSummary, train};
use oxidet_vision::Image;
use oxidet_vision::image::encode_png;

/// Bright squares on dark ground, in `images` and `labels` of `dir`.
pub fn draw(dir: &Path, images: usize) {
    for folder in ["images", "labels"] {
        fs::create_dir_all(dir.join(folder)).expect("the folder can be made");
    }
    for i in 0..images {
        let mut image = Image::filled(64, 64, &[30u8, 40, (i * 5) as u8]);
        let (x, y, side) = (4 + i * 5 % 30, 6 + i * 11 % 28, 18 + i % 8);
        image.paste(&Image::filled(side, side, &[220u8, 200, 180]), x as isize, y as isize);
        let label = format!("square 0 0 0 {x} {y} {} {} 0 0 0 0 0 0 0\n", x + side, y + side);
        fs::write(dir.join(format!("images/{i}.png")), encode_png(&image).expect("it encodes"))
            .expect("written");
        fs::write(dir.join(format!("labels/{i}.txt")), label).expect("written");
    }
}

/// A spec for six epochs on them, checked. `load` goes to `training_config`, `vary` to `augmentation_config`.
pub fn spec(dir: &Path, load: &str, vary: &str) -> Checked {
    let dir = dir.display();
    let source = format!("label_directory_path: \"{dir}/labels\" image_directory_path: \"{dir}/images\"");
    let text = format!(
        r#"random_seed: 3
yolov4_config {{
  arch: "cspdarknet_tiny" big_anchor_shape: "[(24, 24)]" mid_anchor_shape: "[(18, 18)]"
  box_matching_iou: 0.25 matching_neutral_box_iou: 0.5
  loss_loc_weight: 1 loss_neg_obj_weights: 1 loss_class_weights: 1
}}
training_config {{
  batch_size_per_gpu: 4 num_epochs: 6 checkpoint_interval: 3 {load}
  learning_rate {{ soft_start_cosine_annealing_schedule {{ min_learning_rate: 1e-6 max_learning_rate: 2e-3 soft_start: 0.1 }} }}
  regularizer {{ type: L2 weight: 1e-5 }}
  optimizer {{ adam {{ epsilon: 1e-7 beta1: 0.9 beta2: 0.999 }} }}
}}
eval_config {{ batch_size: 4 matching_iou_threshold: 0.5 }}
nms_config {{ confidence_threshold: 0.01 clustering_iou_threshold: 0.5 top_k: 100 }}
augmentation_config {{
  hue: 0.1 saturation: 1.2 exposure: 1.2 horizontal_flip: 0.5 vertical_flip: 0.5 jitter: 0.1
  output_width: 64 output_height: 64 output_channel: 3 mosaic_min_ratio: 0.2 {vary}
}}
dataset_config {{
  data_sources {{ {source} }} validation_data_sources {{ {source} }}
  include_difficult_in_training: true
  target_class_mapping {{ key: "square" value: "square" }}
}}
"#
    );
    checked(&text)
}

/// A spec text, checked for training.
pub fn checked(text: &str) -> Checked {
    let parsed = parse_experiment("spec.txt", text).unwrap_or_else(|problems| panic!("{problems}"));
    check(parsed, Verb::Train).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Training into a folder, without a key.
pub fn request<'a>(spec: &'a Checked, results_dir: &'a Path, stop: &'a AtomicBool) -> TrainRequest<'a> {
    TrainRequest { spec, results_dir, passphrase: None, images: ImageOptions::default(), stop }
}

/// Trains; stops after `stop_after` steps where that is given. Returns the summary and the losses of the epochs.
pub fn run(
    spec: &Checked,
    dir: &Path,
    key: Option<&Passphrase>,
    stop_after: Option<usize>,
) -> (TrainSummary, Vec<f64>) {
    let stop = AtomicBool::new(false);
    let (mut steps, mut losses) = (0, Vec::new());
    let request = TrainRequest { passphrase: key, ..request(spec, dir, &stop) };
    let summary = train(&request, &mut |event| match event {
        Event::Step(_) => {
            steps += 1;
            stop.store(Some(steps) == stop_after, Ordering::Relaxed);
        }
        Event::Epoch(epoch) => losses.push(epoch.loss),
        _ => {}
    });
    (summary.unwrap_or_else(|error| panic!("{error}")), losses)
}
