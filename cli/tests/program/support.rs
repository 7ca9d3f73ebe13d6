//! Running the program, and a data set small enough to train on in seconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oxidet_graph::{Checkpoint, Conv2d, GraphBuilder, NodeId, Op};
use oxidet_proto::lint::{self, Verb};
use oxidet_proto::spec::parse_experiment;
use oxidet_trainer::checkpoint_file::write_checkpoint;
use oxidet_trainer::net::{NetConfig, build, init_params};
use oxidet_vision::Image;
use oxidet_vision::image::encode_png;

/// What a run of the program left behind.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `oxidet` in `dir` with a line of arguments; `KEY=value` words in front of them go to the environment.
pub fn oxidet(dir: &Path, line: &str) -> Run {
    run(env!("CARGO_BIN_EXE_oxidet"), dir, line)
}

/// Runs the program under its other name.
pub fn yolo_v4(dir: &Path, line: &str) -> Run {
    run(env!("CARGO_BIN_EXE_yolo_v4"), dir, line)
}

fn run(program: &str, dir: &Path, line: &str) -> Run {
    let mut command = Command::new(program);
    command.current_dir(dir).env_remove("OXIDET_KEY");
    for word in line.split(' ') {
        match word.split_once('=') {
            Some((name, value)) if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
                command.env(name, value)
            }
            _ => command.arg(word),
        };
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

impl Run {
    /// The exit code and what was said, for messages.
    pub fn told(&self) -> String {
        format!("exit code {}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

/// A folder with four pictures of a bright square, their labels, and `spec.txt` for one epoch of training on them.
pub fn project(dir: &Path) -> PathBuf {
    for part in ["images", "labels"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    for number in 0..4 {
        let (x, y) = (8 + 6 * number, 30 - 5 * number);
        let mut image = Image::filled(96, 64, &[40u8, 60, 50]);
        image.paste(&Image::filled(24, 24, &[230u8, 200, 90]), x as isize, y as isize);
        fs::write(dir.join(format!("images/{number}.png")), encode_png(&image).unwrap()).unwrap();
        let label = format!("Square 0 0 0 {x} {y} {} {} 0 0 0 0 0 0 0\n", x + 24, y + 24);
        fs::write(dir.join(format!("labels/{number}.txt")), label).unwrap();
    }
    let spec = dir.join("spec.txt");
    fs::write(&spec, SPEC).unwrap();
    spec
}

/// A checkpoint of the network of [`SPEC`], before any training.
pub fn checkpoint() -> Checkpoint {
    let spec = lint::check(parse_experiment("spec", SPEC).unwrap(), Verb::Export).unwrap();
    let detector = build(&NetConfig::from_spec(&spec)).unwrap();
    let params = init_params(&detector, 1);
    Checkpoint { detector, params, spec: SPEC.into(), training: None }
}

/// The same with half of the filters, but for those of the heads.
pub fn pruned() -> Checkpoint {
    let Checkpoint { mut detector, spec, .. } = checkpoint();
    let mut builder = GraphBuilder::new();
    let mut ids: Vec<NodeId> = Vec::new();
    for id in detector.graph.ids() {
        let node = detector.graph.node(id);
        let is_head = detector.heads.iter().any(|head| head.output == id);
        let op = match node.op {
            Op::Conv2d(conv) if !is_head => Op::Conv2d(Conv2d { filters: conv.filters / 2, ..conv }),
            Op::ChannelSlice { start, len } => Op::ChannelSlice { start: start / 2, len: len / 2 },
            op => op,
        };
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| ids[input.index()]).collect();
        builder.set_block(node.block);
        ids.push(builder.push(&node.name, op, &inputs));
    }
    detector.graph = builder.finish();
    let params = init_params(&detector, 1);
    Checkpoint { detector, params, spec, training: None }
}

/// All files below a folder by their names in it, with what is in them; none where there is no folder.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if path.is_dir() {
            files
                .extend(contents(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    files
}

/// Writes a checkpoint, without a key.
pub fn save(dir: &Path, name: &str, checkpoint: &Checkpoint) {
    write_checkpoint(&dir.join(name), checkpoint, None).unwrap();
}

/// The spec of [`project`].
pub const SPEC: &str = r#"
random_seed: 1
yolov4_config {
  arch: "cspdarknet_tiny"
  big_anchor_shape: "[(40, 40)]" mid_anchor_shape: "[(24, 24)]"
  box_matching_iou: 0.25 matching_neutral_box_iou: 0.5
  loss_loc_weight: 1 loss_neg_obj_weights: 1 loss_class_weights: 1
}
training_config {
  batch_size_per_gpu: 2 num_epochs: 1 checkpoint_interval: 1
  learning_rate { soft_start_cosine_annealing_schedule { min_learning_rate: 1e-6 max_learning_rate: 1e-3 soft_start: 0.1 } }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }
}
eval_config { batch_size: 2 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 20 }
augmentation_config {
  hue: 0.1 saturation: 1.2 exposure: 1.2 horizontal_flip: 0.5
  output_width: 96 output_height: 64 output_channel: 3 mosaic_min_ratio: 0.2
}
dataset_config {
  data_sources { label_directory_path: "labels" image_directory_path: "images" }
  validation_data_sources { label_directory_path: "labels" image_directory_path: "images" }
  include_difficult_in_training: true
  target_class_mapping { key: "square" value: "square" }
}
"#;
