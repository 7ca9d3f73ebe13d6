//! Every rule fires on one edit of a valid spec, and on nothing before the edit.

use std::collections::BTreeSet;

use super::super::{READING, Report, Verdict, report, rules};
use crate::prototxt::Severity;
use crate::spec::SpecKind;

/// `cli-and-spec.md` §10, with a backbone and augmentation that this version has.
const EXPERIMENT: &str = r#"random_seed: 7
yolov4_config {
  arch: "resnet" nlayers: 18
  big_anchor_shape: "[(110, 60), (160, 115), (300, 175)]"
  mid_anchor_shape: "[(43, 32), (80, 32), (57, 57)]"
  small_anchor_shape: "[(16, 14), (30, 20), (21, 50)]"
  box_matching_iou: 0.25  matching_neutral_box_iou: 0.5
  loss_loc_weight: 1  loss_neg_obj_weights: 1  loss_class_weights: 1
}
training_config {
  batch_size_per_gpu: 8  num_epochs: 20  checkpoint_interval: 5
  learning_rate { soft_start_cosine_annealing_schedule { min_learning_rate: 1e-7 max_learning_rate: 1e-4 soft_start: 0.1 } }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }
}
eval_config { batch_size: 8 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 200 }
augmentation_config {
  saturation: 1.5 exposure: 1.5 hue: 0.1 horizontal_flip: 0.5 jitter: 0.3
  output_width: 416 output_height: 416 output_channel: 3
  mosaic_min_ratio: 0.2
}
dataset_config {
  data_sources { label_directory_path: "train/labels" image_directory_path: "train/images" }
  validation_data_sources { label_directory_path: "val/labels" image_directory_path: "val/images" }
  include_difficult_in_training: true
  target_class_mapping { key: "car" value: "car" }
  target_class_mapping { key: "van" value: "car" }
}
"#;

const KITTI: &str = r#"kitti_config {
  root_directory_path: "data" image_dir_name: "images" label_dir_name: "labels" image_extension: ".png"
  partition_mode: "random" num_partitions: 2 val_split: 14 num_shards: 10
}
"#;

const COCO: &str = r#"coco_config {
  root_directory_path: "data" img_dir_names: ["a", "b"] annotation_files: ["a.json", "b.json"]
  num_partitions: 2 num_shards: [4]
}
sample_modifier_config {
  dominant_target_classes: "car"
  source_to_target_class_mapping { key: "van" value: "car" }
}
"#;

const TRAIN_LABELS: &str = r#"label_directory_path: "train/labels""#;
const VAL_LABELS: &str = r#"label_directory_path: "val/labels""#;
const COSINE: &str = "soft_start_cosine_annealing_schedule { min_learning_rate: 1e-7 max_learning_rate: 1e-4 soft_start: 0.1 }";
const ANNEALING: &str = "soft_start_annealing_schedule { min_learning_rate: 1e-7 max_learning_rate: 1e-4 soft_start: 0.5 annealing: 0.5 }";
const ADAM: &str = "adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 }";

/// Code, what is replaced, by what. An empty "what" adds at the end.
const EXPERIMENT_CASES: &[(&str, &str, &str)] = &[
    ("S101", EXPERIMENT, "random_seed: 1"),
    ("S102", EXPERIMENT, "random_seed: 1"),
    ("S103", EXPERIMENT, ""),
    ("S104", "eval_config { batch_size: 8 matching_iou_threshold: 0.5 }", ""),
    ("S105", "nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 200 }", ""),
    ("S106", EXPERIMENT, "eval_config { batch_size: 8 matching_iou_threshold: 0.5 }"),
    (
        "S111",
        "target_class_mapping { key: \"car\" value: \"car\" }\n  target_class_mapping { key: \"van\" value: \"car\" }",
        "",
    ),
    ("S112", r#"key: "van" value: "car""#, r#"key: "van""#),
    ("S112", r#"key: "van" value: "car""#, r#"value: "car""#),
    ("S113", r#"key: "van" value: "car""#, r#"key: "Car" value: "van""#),
    ("S114", r#"key: "van" value: "car""#, r#"key: "van" value: "Car""#),
    ("S115", r#"key: "van" value: "car""#, r#"key: "big van" value: "car""#),
    ("S115", r#"key: "van" value: "car""#, r#"key: "van" value: "big car""#),
    (
        "S121",
        r#"data_sources { label_directory_path: "train/labels" image_directory_path: "train/images" }"#,
        "",
    ),
    ("S123", TRAIN_LABELS, ""),
    ("S123", TRAIN_LABELS, r#"label_directory_path: """#),
    ("S124", r#"image_directory_path: "train/images""#, ""),
    ("S125", TRAIN_LABELS, r#"label_directory_path: "l" source_weight: -0.5"#),
    ("S126", TRAIN_LABELS, r#"tfrecords_path: "t*""#),
    ("S127", "include_difficult_in_training", r#"image_extension: ".png" include_difficult_in_training"#),
    (
        "S132",
        r#"validation_data_sources { label_directory_path: "val/labels" image_directory_path: "val/images" }"#,
        "",
    ),
    ("S133", VAL_LABELS, ""),
    ("S134", r#"image_directory_path: "val/images""#, ""),
    ("S136", VAL_LABELS, r#"tfrecords_path: "t*""#),
    ("S201", "hue: 0.1", "hue: 1.01"),
    ("S201", "hue: 0.1", "hue: nan"),
    ("S202", "saturation: 1.5", ""),
    ("S203", "exposure: 1.5", "exposure: 0.99"),
    ("S204", "hue: 0.1", "vertical_flip: -0.1"),
    ("S205", "horizontal_flip: 0.5", "horizontal_flip: 2"),
    ("S206", "jitter: 0.3", "jitter: 1.5"),
    ("S207", "hue: 0.1", "mosaic_prob: 1.1"),
    ("S208", "mosaic_min_ratio: 0.2", ""),
    ("S208", "mosaic_min_ratio: 0.2", "mosaic_min_ratio: 0.5"),
    ("S209", "hue: 0.1", "randomize_input_shape_period: -1"),
    ("S211", "output_width: 416", "output_width: 400"),
    ("S211", "output_width: 416", "output_width: 2147483616"),
    ("S212", "output_height: 416", ""),
    ("S212", "output_height: 416", "output_height: -32"),
    ("S213", "output_channel: 3", "output_channel: 2"),
    ("S214", "output_channel: 3", "output_channel: 3 output_depth: 16"),
    ("S214", "output_channel: 3", "output_channel: 1 output_depth: 12"),
    ("S215", "output_channel: 3", "output_channel: 1 output_depth: 16"),
    ("S216", "hue: 0.1", "image_mean { key: 'r' value: 1 } image_mean { key: 'b' value: 1 }"),
    (
        "S217",
        "output_channel: 3",
        "output_channel: 1 image_mean { key: 'l' value: 1 } image_mean { key: 'r' value: 1 }",
    ),
    ("S218", "output_channel: 3", "output_channel: 1 image_mean { key: 'l' value: inf }"),
    ("S301", "batch_size_per_gpu: 8", "batch_size_per_gpu: 0"),
    ("S302", "num_epochs: 20", ""),
    ("S303", "checkpoint_interval: 5", ""),
    ("S304", COSINE, ""),
    ("S305", ADAM, ""),
    ("S311", "min_learning_rate: 1e-7", ""),
    ("S311", "min_learning_rate: 1e-7", "min_learning_rate: nan"),
    ("S312", "max_learning_rate: 1e-4", "max_learning_rate: 1e-7"),
    ("S313", "soft_start: 0.1", "soft_start: 1.5"),
    ("S314", COSINE, ANNEALING),
    ("S321", "beta1: 0.9", "beta1: 1"),
    ("S322", "beta2: 0.999", ""),
    ("S323", "epsilon: 1e-7", "epsilon: 0"),
    ("S324", ADAM, "sgd { momentum: -0.1 }"),
    ("S325", ADAM, "rmsprop { rho: 1.0 epsilon: 1e-7 }"),
    ("S326", ADAM, "rmsprop { rho: 0.9 epsilon: 1e-7 momentum: -1 }"),
    ("S327", ADAM, "rmsprop { rho: 0.9 }"),
    ("S331", "num_epochs: 20", "num_epochs: 20 regularizer { type: L1 }"),
    ("S331", "num_epochs: 20", "num_epochs: 20 regularizer { type: L2 weight: 1 }"),
    ("S341", "num_epochs: 20", r#"num_epochs: 20 early_stopping { monitor: "accuracy" patience: 3 }"#),
    (
        "S342",
        "num_epochs: 20",
        r#"num_epochs: 20 early_stopping { monitor: "loss" patience: 3 min_delta: -1 }"#,
    ),
    ("S343", "num_epochs: 20", r#"num_epochs: 20 early_stopping { monitor: "loss" }"#),
    ("S351", "num_epochs: 20", "num_epochs: 20 visualizer { wandb_config { enabled: false } }"),
    ("S401", "\"resnet\"", "\"resnet18\""),
    ("S401", r#"arch: "resnet""#, ""),
    ("S402", "nlayers: 18", "nlayers: 20"),
    ("S402", "nlayers: 18", ""),
    ("S403", "nlayers: 18", r#"nlayers: 18 activation: "mish""#),
    ("S403", r#"arch: "resnet" nlayers: 18"#, r#"arch: "cspdarknet_tiny_3l" activation: "Mish""#),
    ("S404", "nlayers: 18", "nlayers: 18 freeze_blocks: [0, 5]"),
    ("S404", "nlayers: 18", "nlayers: 18 freeze_blocks: 0.5"),
    ("S411", "box_matching_iou: 0.25", ""),
    ("S412", "matching_neutral_box_iou: 0.5", "matching_neutral_box_iou: 0.2"),
    ("S413", "loss_loc_weight: 1", "loss_loc_weight: -1"),
    ("S414", "loss_neg_obj_weights: 1", "loss_neg_obj_weights: -1"),
    ("S415", "loss_class_weights: 1", "loss_class_weights: -1e-3"),
    ("S416", "loss_class_weights: 1", ""),
    ("S417", "nlayers: 18", "nlayers: 18 label_smoothing: 0.31"),
    ("S418", "nlayers: 18", "nlayers: 18 focal_loss_alpha: 1"),
    ("S419", "nlayers: 18", "nlayers: 18 focal_loss_gamma: -2"),
    ("S421", "(300, 175)]", "(300, 175)"),
    ("S421", "(300, 175)]", "(300, 0)]"),
    ("S422", "mid_anchor_shape: \"[(43, 32), (80, 32), (57, 57)]\"", ""),
    ("S422", r#"arch: "resnet" nlayers: 18"#, r#"arch: "cspdarknet_tiny""#),
    ("S423", "(57, 57)", "(57, 57), (58, 58)"),
    ("S424", "[(16, 14), (30, 20), (21, 50)]", "[(160, 140), (30, 20), (21, 50)]"),
    ("S425", "(300, 175)", "(500, 175)"),
    ("S431", "nlayers: 18", "nlayers: 18 big_grid_xy_extend: 0.31"),
    ("S432", "nlayers: 18", "nlayers: 18 mid_grid_xy_extend: -0.1"),
    ("S433", "nlayers: 18", "nlayers: 18 small_grid_xy_extend: 1"),
    ("S434", r#"arch: "resnet" nlayers: 18"#, r#"arch: "cspdarknet_tiny" small_grid_xy_extend: 0.2"#),
    ("S501", "batch_size: 8", ""),
    ("S502", "matching_iou_threshold: 0.5", "matching_iou_threshold: 1.01"),
    ("S511", "confidence_threshold: 0.001", "confidence_threshold: 1"),
    ("S512", "confidence_threshold: 0.001", ""),
    ("S513", "clustering_iou_threshold: 0.5", "clustering_iou_threshold: 0"),
    ("S514", "top_k: 200", "top_k: 0"),
    ("S516", "top_k: 200", "top_k: 2049"),
    ("S515", "top_k: 200", "top_k: 200 infer_nms_score_bits: 11"),
    ("S601", "", "class_weighting_config { class_weighting { key: 'Car' value: 2 } }"),
    ("S602", "", "class_weighting_config { class_weighting { key: 'car' value: -2 } }"),
];

const CONVERT_CASES: &[(&str, &str, &str, &str)] = &[
    ("S701", KITTI, KITTI, "image_directory_path: 'a'"),
    ("S702", KITTI, "\"random\"", "\"Random\""),
    ("S703", KITTI, "num_partitions: 2", "num_partitions: 3"),
    ("S704", KITTI, "val_split: 14", "val_split: 100"),
    ("S705", KITTI, "\"random\"", "\"sequence\""),
    ("S706", COCO, "num_partitions: 2", "num_partitions: 3"),
    ("S707", COCO, "num_shards: [4]", "num_shards: []"),
    ("S708", COCO, "value: \"car\"", "value: \"van\""),
    ("S709", KITTI, "\".png\"", "\"png\""),
];

fn codes(report: &Report) -> Vec<&'static str> {
    report.diagnostics.iter().map(|d| d.code).collect()
}

fn edit(base: &str, what: &str, by: &str) -> String {
    match what {
        "" => format!("{base}{by}"),
        _ => {
            assert!(base.contains(what), "nothing to replace: {what}");
            base.replacen(what, by, 1)
        }
    }
}

#[test]
fn valid_specs_have_no_findings() {
    for (text, kind) in [
        (EXPERIMENT, SpecKind::Experiment),
        (KITTI, SpecKind::DatasetConvert),
        (COCO, SpecKind::DatasetConvert),
    ] {
        let report = report("spec", text);
        assert_eq!((report.kind, report.verdict), (kind, Verdict::Runs), "{}", report.diagnostics);
        assert!(report.diagnostics.is_empty(), "{}", report.diagnostics);
    }
}

#[test]
fn every_rule_fires_on_its_edit() {
    let mut failures = Vec::new();
    let experiment = EXPERIMENT_CASES.iter().map(|&(code, what, by)| (code, EXPERIMENT, what, by));
    for (code, base, what, by) in experiment.chain(CONVERT_CASES.iter().copied()) {
        let report = report("spec", &edit(base, what, by));
        let fires = report.diagnostics.iter().any(|d| d.code == code);
        if !fires {
            failures.push(format!("{code} {by:?}: {:?}\n{}", codes(&report), report.diagnostics));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_rule_has_a_case_and_codes_are_unique() {
    let all: Vec<&str> = rules().map(|(code, _)| code).collect();
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
    let known: BTreeSet<&str> = all.into_iter().skip(READING.len()).collect();
    let tested = EXPERIMENT_CASES.iter().map(|c| c.0).chain(CONVERT_CASES.iter().map(|c| c.0)).collect();
    assert_eq!(known, tested);
}

/// One edit, one finding: most mistakes must not drag others along.
#[test]
fn findings_do_not_drag_others_along() {
    let follow_ups = ["S101", "S102", "S103", "S106", "S111", "S126", "S136", "S421", "S422", "S434"];
    for &(code, what, by) in EXPERIMENT_CASES.iter().filter(|case| !follow_ups.contains(&case.0)) {
        let report = report("spec", &edit(EXPERIMENT, what, by));
        let others: Vec<_> = codes(&report).into_iter().filter(|&c| c != code && c != "S900").collect();
        assert!(others.is_empty(), "{code} {by:?}: {others:?}\n{}", report.diagnostics);
    }
}

#[test]
fn bounds_are_the_documented_ones() {
    for (what, by) in [
        ("nlayers: 18", "nlayers: 18 label_smoothing: 0.3 big_grid_xy_extend: 0.3 small_grid_xy_extend: 0.3"),
        ("matching_neutral_box_iou: 0.5", "matching_neutral_box_iou: 0.25"),
        ("matching_iou_threshold: 0.5", "matching_iou_threshold: 1.0"),
        ("hue: 0.1", "hue: 1 vertical_flip: 1.0"),
        ("mosaic_min_ratio: 0.2", "mosaic_min_ratio: 0.499"),
        ("saturation: 1.5", "saturation: 1"),
        ("soft_start: 0.1", "soft_start: 1"),
        ("top_k: 200", "top_k: 2048 infer_nms_score_bits: 10"),
        ("output_width: 416", "output_width: 8192"),
        (r#"arch: "resnet" nlayers: 18"#, r#"arch: "cspdarknet_tiny_3l" activation: "leaky_relu""#),
        ("num_epochs: 20", "num_epochs: 20 regularizer { type: NO_REG }"),
        ("nlayers: 18", "nlayers: 18 arch_conv_blocks: 2 freeze_blocks: [0, 4] freeze_bn: true"),
        ("output_channel: 3", "output_channel: 1 output_depth: 8 image_mean { key: 'l' value: 117 }"),
        ("", "class_weighting_config { class_weighting { key: 'car' value: 2 } }"),
    ] {
        let report = report("spec", &edit(EXPERIMENT, what, by));
        let found: Vec<_> = codes(&report).into_iter().filter(|&c| c != "S900").collect();
        assert!(found.is_empty(), "{by}: {}", report.diagnostics);
    }
}

#[test]
fn severities_decide_the_verdict() {
    for (what, by, verdict) in [
        ("confidence_threshold: 0.001", "", Verdict::Runs),
        ("hue: 0.1", "hue: 7", Verdict::Invalid),
        ("hue: 0.1", "heu: 0.1", Verdict::Unreadable),
        ("hue: 0.1", "mosaic_prob: 0.5", Verdict::Runs),
    ] {
        let report = report("spec", &edit(EXPERIMENT, what, by));
        assert_eq!(report.verdict, verdict, "{}", report.diagnostics);
        assert_eq!(report.spec.is_some(), verdict != Verdict::Unreadable);
        assert_eq!(report.diagnostics.count(Severity::Error) > 0, verdict != Verdict::Runs);
    }
}

#[test]
fn an_unreadable_part_hides_only_what_follows_from_it() {
    let text = edit(EXPERIMENT, "clustering_iou_threshold", "cluster_iou_threshold");
    let report = report("spec", &edit(&text, "hue: 0.1", "hue: 3"));
    assert_eq!(codes(&report), ["S003", "S201"]);
}
