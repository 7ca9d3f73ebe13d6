//! `dataset_convert`, and what comes after it.

use std::fs;

use crate::support::{SPEC, oxidet, project, yolo_v4};

const CONVERT: &str = r#"
kitti_config {
  root_directory_path: "." image_dir_name: "images" label_dir_name: "labels"
  partition_mode: "random" num_partitions: 2 val_split: 25 num_shards: 2
}
image_directory_path: "."
"#;

/// The last part of what the command prints belongs into a spec that trains.
#[test]
fn the_printed_block_trains() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("convert.txt"), CONVERT).unwrap();
    let run = yolo_v4(dir, "dataset_convert -d convert.txt -o records/set -r out");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.contains("fold 001 of 002 (training)"), "{}", run.told());

    let lines: Vec<serde_json::Value> = fs::read_to_string(dir.join("out/status.json"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["status"], &last["kpi"]["num_images"]), (&"SUCCESS".into(), &4.into()));
    assert_eq!(last["categorical"]["num_objects"]["square"], 4);
    assert_eq!(lines.iter().filter(|line| line["message"].to_string().contains("shard-")).count(), 4);

    let block = &run.stdout[run.stdout.find("dataset_config {").unwrap()..];
    let head = &SPEC[..SPEC.find("dataset_config {").unwrap()];
    fs::write(dir.join("train.txt"), format!("{head}{block}")).unwrap();
    let run = oxidet(dir, "train -e train.txt -r trained");
    assert_eq!(run.code, 0, "{}", run.told());
}

#[test]
fn a_prefix_needs_no_folder_and_another_seed_is_another_split() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("convert.txt"), CONVERT.replace("num_shards: 2", "")).unwrap();
    let fold = |prefix: &str| fs::read(dir.join(format!("{prefix}-fold-000-of-002"))).unwrap();
    for (prefix, seed) in [("a", 42), ("b", 42), ("c", 1), ("d", 2), ("e", 3), ("f", 4)] {
        let line = format!("dataset_convert --dataset_spec convert.txt -o {prefix} --seed {seed}");
        let run = oxidet(dir, &line);
        assert_eq!(run.code, 0, "{}", run.told());
    }
    assert_eq!(fold("a"), fold("b"));
    assert!(["c", "d", "e", "f"].iter().any(|prefix| fold(prefix) != fold("a")));
}

#[test]
fn exit_codes_and_messages() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("convert.txt"), CONVERT).unwrap();
    fs::write(dir.join("percent.txt"), CONVERT.replace("25", "100")).unwrap();
    fs::write(dir.join("none.txt"), CONVERT.replace("25", "1")).unwrap();
    fs::write(dir.join("jpeg.txt"), CONVERT.replace("num_shards", "image_extension: \".jpg\" num_shards"))
        .unwrap();
    fs::write(dir.join("nowhere.txt"), CONVERT.replace("\"labels\"", "\"etiquettes\"")).unwrap();
    for (line, code, says) in [
        ("dataset_convert --help", 0, "Examples:"),
        ("dataset_convert -o x", 2, "--dataset_export_spec"),
        ("dataset_convert -d convert.txt", 2, "--output_filename"),
        ("dataset_convert -d convert.txt -o out/", 2, "out/"),
        ("dataset_convert -d spec.txt -o x", 2, "a training spec"),
        ("dataset_convert -d percent.txt -o x", 2, "val_split"),
        ("dataset_convert -d none.txt -o x", 2, "none of 4 images"),
        ("dataset_convert -d convert.txt -o x -f 2", 2, "validation fold is 2"),
        ("dataset_convert -d convert.txt -o x --to kitti", 2, "KITTI files already"),
        ("dataset_convert -d jpeg.txt -o x", 3, "\".jpg\""),
        ("dataset_convert -d nowhere.txt -o x", 3, "etiquettes"),
        ("DATA_BASE_PATH=/nowhere dataset_convert -d convert.txt -o x", 3, "/nowhere"),
        ("dataset_convert -d convert.txt -o spec.txt/x", 4, "spec.txt"),
        ("dataset_convert --from yolo --images images --labels labels -o x", 2, "--names"),
        ("dataset_convert --from voc --images images --labels labels -o x", 3, "no label file"),
        ("dataset_convert --from voc --images images --labels labels -o x --val-split 100", 2, "below 100"),
        ("lint convert.txt", 0, "0 errors"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
    fs::write(dir.join("labels/1.txt"), "square 0 0 0 1 2 3\nsquare x 0 0 1 2 3 4 5\n").unwrap();
    fs::write(dir.join("labels/3.txt"), "square\n").unwrap();
    let run = oxidet(dir, "dataset_convert -d convert.txt -o x");
    assert_eq!(run.code, 3);
    for place in ["1.txt:1:", "1.txt:2:", "3.txt:1:"] {
        assert!(run.stderr.contains(place), "{}", run.told());
    }
}
