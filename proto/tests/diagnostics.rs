//! What people read, letter by letter.

use oxidet_proto::lint::report;
use oxidet_proto::spec::parse_experiment;

fn shown(text: &str) -> String {
    report("specs/kitti.txt", text).diagnostics.to_string()
}

fn reading(text: &str) -> String {
    parse_experiment("spec.txt", text).map_or_else(|e| e.to_string(), |p| format!("{:?}", p.warnings))
}

#[test]
fn every_problem_of_a_text_at_once() {
    let text = r#"yolov4_config {
  arch "resnet"
  nlayer: 18
  big_anchor_shape: "[(10, 13), (16/2, 30)]"
  freeze_bn: TRUE
}
eval_config { average_precision_mode: integrate batch_size: 1.0 }
nms_config { cluster_iou_threshold: 0.5, top_k = 200 }
augmentation_config { hue: 1.5 batch_size_per_gpu: 8 }
"#;
    assert_eq!(
        shown(text),
        r#"error[S001]: `:` is missing after `arch`
  --> specs/kitti.txt:2:3
 2 |   arch "resnet"
   |   ^^^^
   = help: write `arch: "resnet"`

error[S003]: unknown field `nlayer` in `yolov4_config`
  --> specs/kitti.txt:3:3
 3 |   nlayer: 18
   |   ^^^^^^
   = help: did you mean `nlayers`?

error[S421]: expected a number, the width of an anchor in px, found `16/2`
  --> specs/kitti.txt:4:34
 4 |   big_anchor_shape: "[(10, 13), (16/2, 30)]"
   |                                  ^^^^
   = help: write anchors like "[(10.5, 13), (16, 30)]": width and height in px of the network input

error[S004]: `freeze_bn` takes `true` or `false`
  --> specs/kitti.txt:5:14
 5 |   freeze_bn: TRUE
   |              ^^^^

error[S005]: `average_precision_mode` has no value `integrate`; it takes `SAMPLE`, `INTEGRATE`
  --> specs/kitti.txt:7:39
 7 | eval_config { average_precision_mode: integrate batch_size: 1.0 }
   |                                       ^^^^^^^^^
   = help: did you mean `INTEGRATE`?

error[S004]: `batch_size` takes a whole number from 0 to 4294967295
  --> specs/kitti.txt:7:61
 7 | eval_config { average_precision_mode: integrate batch_size: 1.0 }
   |                                                             ^^^

error[S003]: unknown field `cluster_iou_threshold` in `nms_config`
  --> specs/kitti.txt:8:14
 8 | nms_config { cluster_iou_threshold: 0.5, top_k = 200 }
   |              ^^^^^^^^^^^^^^^^^^^^^
   = help: did you mean `clustering_iou_threshold`?

error[S001]: expected `:` and a value or `{` after `top_k`, found `=`
  --> specs/kitti.txt:8:42
 8 | nms_config { cluster_iou_threshold: 0.5, top_k = 200 }
   |                                          ^^^^^
   = help: write `top_k: …` or `top_k { … }`

error[S201]: `hue` is 1.5, must be from 0 to 1
  --> specs/kitti.txt:9:28
 9 | augmentation_config { hue: 1.5 batch_size_per_gpu: 8 }
   |                            ^^^
   = note: the shift as a share of 180°

error[S003]: unknown field `batch_size_per_gpu` in `augmentation_config`
  --> specs/kitti.txt:9:32
 9 | augmentation_config { hue: 1.5 batch_size_per_gpu: 8 }
   |                                ^^^^^^^^^^^^^^^^^^
   = help: `batch_size_per_gpu` belongs in `training_config`
"#
    );
}

#[test]
fn a_forgotten_bracket_is_found_where_it_was_opened() {
    assert_eq!(
        reading("eval_config {\n  batch_size: 8\nnms_config { top_k: 200 }\n"),
        r#"error[S001]: `{` is never closed
  --> spec.txt:1:13
 1 | eval_config {
   |             ^
   = help: add the `}` that ends it

error[S003]: unknown field `nms_config` in `eval_config`
  --> spec.txt:3:1
 3 | nms_config { top_k: 200 }
   | ^^^^^^^^^^
   = help: `nms_config` belongs at the top level; is a closing bracket missing above?
"#
    );
}

#[test]
fn recovery_goes_on_with_the_next_field() {
    for (text, codes) in [
        ("random_seed: ] 5\nnms_config { top_k: x }", vec!["S001", "S004"]),
        ("random_seed:\nnms_config { top_k: x }", vec!["S001", "S004"]),
        ("random_seed\nnms_config { top_k: x }", vec!["S001", "S004"]),
        ("} nms_config { top_k: x }", vec!["S001", "S004"]),
        ("nms_config { top_k: 1 > eval_config { batch_size: x }", vec!["S001", "S004"]),
        ("yolov4_config { arch: \"resnet\n nlayers: x }", vec!["S002", "S004"]),
        ("yolov4_config { arch: \"\\xff\" nlayers: x }", vec!["S002", "S004"]),
        ("yolov4_config { freeze_blocks: [1, x, 2 nlayers: x }", vec!["S001", "S004"]),
        ("yolov4_config { arch: “resnet”\n nlayers: x }", vec!["S001", "S004"]),
        ("training_config { optimizer: 5 num_epochs: x }", vec!["S004", "S004"]),
        (
            "dataset_config { target_class_mapping: 'car' target_class_mapping { k: 'a' } }",
            vec!["S004", "S003"],
        ),
        ("dataset_config { target_class_mapping { key: car value: van } type: x }", vec!["S004", "S004"]),
        ("training_config { regularizer { type: 7 } regularizer { type: 'L1' } }", vec!["S005", "S004"]),
    ] {
        let found = parse_experiment("spec", text).unwrap_err();
        assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), codes, "{text}\n{found}");
    }
}

#[test]
fn repeated_fields_are_warned_of() {
    let text = "random_seed: 1\ndataset_config {\n  data_sources { tfrecords_path: 'a' label_directory_path: 'b' }\n}\nrandom_seed: 2";
    let parsed = parse_experiment("spec.txt", text).unwrap();
    assert_eq!(parsed.message.random_seed, 2);
    let said: Vec<_> =
        parsed.warnings.iter().map(|d| (d.code, d.message.as_str(), d.reason.as_deref())).collect();
    assert_eq!(
        said,
        [
            (
                "S007",
                "`label_directory_path` replaces the `tfrecords_path` of line 3",
                Some("only one of them can be set; the last one counts")
            ),
            ("S006", "`random_seed` is given twice; this value counts", Some("the first one is on line 1")),
        ]
    );
    assert!(parsed.spans.contains("dataset_config.data_sources[0].label_directory_path"));
    assert!(!parsed.spans.contains("dataset_config.data_sources[0].tfrecords_path"));
}

#[test]
fn every_field_knows_its_place() {
    let text = "yolov4_config { small_anchor_shape: 's' freeze_blocks: [0, 3] }
        dataset_config {
          data_sources {} data_sources: [{ tfrecords_path: 't' }]
          target_class_mapping { key: 'a.b[\"' value: 'v' }
        }
        training_config { optimizer { adam { beta1: 0.5 } } }";
    let parsed = parse_experiment("spec", text).unwrap();
    let at = |path: &str| parsed.spans.get(path).map(|place| parsed.source.slice(place.value));
    for (path, want) in [
        ("yolov4_config.small_anchor_shape", Some("'s'")),
        ("yolov4_config.freeze_blocks[1]", Some("3")),
        ("dataset_config.data_sources[1].tfrecords_path", Some("'t'")),
        ("dataset_config.data_sources[0]", Some("{}")),
        ("dataset_config.target_class_mapping[\"a.b[\\\"\"]", Some("'v'")),
        ("training_config.optimizer.adam", Some("{ beta1: 0.5 }")),
        ("training_config.optimizer.adam.beta1", Some("0.5")),
        ("training_config.optimizer.sgd", None),
    ] {
        assert_eq!(at(path), want, "{path}");
    }
    let nearest = |path: &str| parsed.spans.nearest(path).map(|span| parsed.source.slice(span));
    assert_eq!(nearest("training_config.optimizer.adam.epsilon"), Some("adam"));
    assert_eq!(nearest("dataset_config.data_sources[0].image_directory_path"), Some("data_sources"));
    assert_eq!(nearest("nms_config.top_k"), None);
}
