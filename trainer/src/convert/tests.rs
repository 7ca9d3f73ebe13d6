use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oxidet_proto::kitti;
use oxidet_proto::spec::{CocoConfig, KittiConfig, SampleModifierConfig};
use oxidet_proto::tfrecord::{Frame, Records};
use oxidet_vision::Image;
use oxidet_vision::image::encode_png;

use super::*;

/// Writes files; `.png` ones are pictures of 20 x 10 pixels.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match name.ends_with(".png") {
            true => fs::write(path, encode_png(&Image::filled(20, 10, &[1u8, 2, 3])).unwrap()).unwrap(),
            false => fs::write(path, text).unwrap(),
        }
    }
    root
}

/// `count` images with one object each: `Car` in even ones, `Traffic_Light` in odd ones.
fn kitti_set(count: usize) -> tempfile::TempDir {
    let root = folder(&[]);
    for dir in ["images", "labels"] {
        fs::create_dir(root.path().join(dir)).unwrap();
    }
    let png = encode_png(&Image::filled(20, 10, &[1u8, 2, 3])).unwrap();
    for number in 0..count {
        let class = ["Car", "Traffic_Light"][number % 2];
        fs::write(root.path().join(format!("images/{number:03}.png")), &png).unwrap();
        let label = format!("{class} 0.5 2 0.25 1.5 2 10.25 9 1 2 3 4 5 6 7\n");
        fs::write(root.path().join(format!("labels/{number:03}.txt")), label).unwrap();
    }
    root
}

fn kitti_config(root: &Path) -> KittiConfig {
    KittiConfig {
        root_directory_path: root.to_string_lossy().into_owned(),
        image_dir_name: "images".into(),
        label_dir_name: "labels".into(),
        num_partitions: 2,
        num_shards: 2,
        partition_mode: "random".into(),
        ..KittiConfig::default()
    }
}

fn spec(config: DatasetExportConfig, validation_fold: Option<u32>) -> Source {
    Source::Spec { config: Box::new(config), validation_fold }
}

fn kitti(config: KittiConfig) -> Source {
    spec(DatasetExportConfig { kitti_config: Some(config), ..DatasetExportConfig::default() }, None)
}

fn run(source: Source, out: &Path, seed: u64) -> Result<ConvertSummary, ConvertError> {
    convert(&ConvertRequest { source, output: Output::TfRecord(out.join("set")), seed }, &mut |_| {})
}

fn to_kitti(source: Source, dir: &Path) -> Result<ConvertSummary, ConvertError> {
    convert(&ConvertRequest { source, output: Output::Kitti(dir.to_owned()), seed: 1 }, &mut |_| {})
}

/// Files of a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Frames of all shards whose name contains `part`, in order.
fn frames(dir: &Path, part: &str) -> Vec<Frame> {
    let shards = names(dir).into_iter().filter(|name| name.contains(part) && !name.ends_with("json"));
    let bytes: Vec<u8> = shards.flat_map(|name| fs::read(dir.join(name)).unwrap()).collect();
    Records::new(&bytes[..]).map(|record| Frame::decode(&record.unwrap()).unwrap()).collect()
}

fn ids(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.id.as_str()).collect()
}

#[test]
fn a_random_split_takes_its_share_from_anywhere() {
    let root = kitti_set(21);
    let out = tempfile::tempdir().unwrap();
    let config = KittiConfig { val_split: 20.0, ..kitti_config(root.path()) };
    let summary = run(kitti(config.clone()), out.path(), 7).unwrap();
    let shard = |fold, shard| format!("set-fold-{fold:03}-of-002-shard-{shard:05}-of-00002");
    assert_eq!(names(out.path()), [shard(0, 0), shard(0, 1), shard(1, 0), shard(1, 1)]);
    assert_eq!(frames(out.path(), &shard(1, 0)).len(), 8, "the last shard takes what is left over");

    let (validation, training) = (frames(out.path(), "fold-000"), frames(out.path(), "fold-001"));
    assert_eq!((validation.len(), training.len()), (4, 17));
    let all: BTreeSet<&str> = ids(&validation).into_iter().chain(ids(&training)).collect();
    assert_eq!(all.len(), 21);
    assert!(ids(&validation).iter().any(|id| *id > "images/003"), "not the head of the list: {validation:?}");
    assert_eq!(summary.folds[0].role, Role::Validation);
    assert_eq!(summary.objects().into_iter().collect::<Vec<_>>(), [("car", 11), ("traffic_light", 10)]);

    let even = training.iter().find(|frame| frame.objects[0].class == "car").unwrap();
    assert_eq!((even.width, even.height), (20, 10));
    let label = kitti::parse("", "car 0.5 2 0.25 1.5 2 10.25 9 1 2 3 4 5 6 7").unwrap();
    assert_eq!(even.objects, [kitti::Object { line: 0, ..label[0].clone() }]);

    // The seed alone decides.
    let (again, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(kitti(config.clone()), again.path(), 7).unwrap();
    run(kitti(config), other.path(), 8).unwrap();
    for name in names(out.path()) {
        assert_eq!(fs::read(out.path().join(&name)).unwrap(), fs::read(again.path().join(&name)).unwrap());
    }
    assert_ne!(ids(&frames(other.path(), "fold-000")), ids(&validation));
}

#[test]
fn without_validation_everything_is_the_training_fold() {
    let root = kitti_set(3);
    let out = tempfile::tempdir().unwrap();
    let summary =
        run(kitti(KittiConfig { num_shards: 0, ..kitti_config(root.path()) }), out.path(), 1).unwrap();
    assert_eq!(names(out.path()), ["set-fold-001-of-002"]);
    assert_eq!((summary.folds.len(), summary.folds[0].role), (1, Role::Training));
    let error = run(kitti(KittiConfig { val_split: 20.0, ..kitti_config(root.path()) }), out.path(), 1);
    assert!(error.unwrap_err().to_string().contains("none of 3 images"));
}

/// Lengths 3, 2, 2, 1: dealt 3 | 2 | 2 and 1 to the first, from the last fold on.
#[test]
fn sequences_stay_together() {
    let root = kitti_set(8);
    let map = r#"{"d": ["000"], "c": ["001", "002"], "a": ["003", "004", "005"], "b": ["006", "007"]}"#;
    fs::write(root.path().join("map.json"), map).unwrap();
    let config = KittiConfig {
        partition_mode: "sequence".into(),
        kitti_sequence_to_frames_file: "map.json".into(),
        num_partitions: 3,
        num_shards: 0,
        ..kitti_config(root.path())
    };
    let out = tempfile::tempdir().unwrap();
    run(kitti(config.clone()), out.path(), 1).unwrap();
    let fold = |index: u32| -> BTreeSet<String> {
        let frames = frames(out.path(), &format!("fold-{index:03}-of-003"));
        frames.into_iter().map(|frame| frame.id.replace("images/00", "")).collect()
    };
    let set = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!([fold(0), fold(1), fold(2)], [set("1 2"), set("6 7"), set("0 3 4 5")]);

    let one = tempfile::tempdir().unwrap();
    run(kitti(KittiConfig { num_partitions: 0, ..config.clone() }), one.path(), 1).unwrap();
    assert_eq!(names(one.path()), ["set"]);

    let refused = |map: &str| {
        fs::write(root.path().join("map.json"), map).unwrap();
        run(kitti(config.clone()), out.path(), 1).unwrap_err().to_string()
    };
    assert!(refused("[1]").contains("map.json"));
    assert!(refused(r#"{"a": ["000", "100"]}"#).contains("frame \"100\" of sequence \"a\""));
    assert!(refused(r#"{"a": ["000"], "b": ["000"]}"#).contains("again in \"b\""));
    assert!(refused(r#"{"a": ["000"]}"#).contains("only 1 sequences"));
}

#[test]
fn all_bad_labels_are_reported_and_nothing_is_written() {
    let root = kitti_set(6);
    let out = tempfile::tempdir().unwrap();
    let label =
        |number: usize, text: &str| fs::write(root.path().join(format!("labels/{number:03}.txt")), text);
    label(1, "car 0 0 0 1 2 x 4 5\nvan 0\n").unwrap();
    label(4, "traffic light 0 0 0 1 2 3 4 5\n").unwrap();
    fs::write(root.path().join("images/002.png"), "no image").unwrap();
    let message = run(kitti(kitti_config(root.path())), out.path(), 1).unwrap_err().to_string();
    for words in ["001.txt:1: column 7", "001.txt:2: 2 columns", "004.txt:1:", "002.png"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(names(out.path()), [""; 0]);

    for number in 0..6 {
        fs::remove_file(root.path().join(format!("labels/{number:03}.txt"))).unwrap();
    }
    let message = run(kitti(kitti_config(root.path())), out.path(), 1).unwrap_err().to_string();
    assert!(
        message.starts_with("6 of the images") && message.contains("000, 001, 002, 003, 004;"),
        "{message}"
    );
    let config = KittiConfig { image_extension: ".jpg".into(), ..kitti_config(root.path()) };
    assert!(run(kitti(config), out.path(), 1).unwrap_err().to_string().contains("\".jpg\""));
}

#[test]
fn dropped_boxes_are_listed() {
    let root = kitti_set(1);
    let label = "Ümlaut 0 0 0 1.9 0 5 5 0 0 0 0 0 0 0\n\nb 0 0 0 1.2 0 1.9 5 0 0 0 0 0 0 0\n\
        c 0 0 0 1 5.5 4 -5.5 0 0 0 0 0 0 0\n";
    fs::write(root.path().join("labels/000.txt"), label).unwrap();
    let out = tempfile::tempdir().unwrap();
    let config = KittiConfig { num_shards: 0, ..kitti_config(root.path()) };
    let summary = run(kitti(config.clone()), out.path(), 1).unwrap();
    assert_eq!(summary.names.into_iter().collect::<Vec<_>>(), [("Ümlaut".to_owned(), "ümlaut".to_owned())]);
    assert_eq!(frames(out.path(), "set")[0].objects[0].bbox, [1.9, 0.0, 5.0, 5.0], "corners are not cut");
    let file = root.path().join("labels/000.txt");
    let want = format!(
        "{{\n  \"{0}_1\": [\n    1,\n    0,\n    1,\n    5\n  ],\n  \"{0}_2\": [\n    1,\n    5,\n    4,\n    -5\n  ]\n}}",
        file.display()
    );
    assert_eq!(fs::read_to_string(summary.warning_file.unwrap()).unwrap(), want);

    fs::write(file, "").unwrap();
    assert_eq!(run(kitti(config), out.path(), 1).unwrap().warning_file, None);
    assert_eq!(names(out.path()), ["set-fold-001-of-002"], "the old list is gone");
    assert_eq!(frames(out.path(), "set")[0].objects, []);
}

#[test]
fn shards_of_another_split_are_not_mixed_in() {
    let root = kitti_set(4);
    let out = tempfile::tempdir().unwrap();
    run(kitti(KittiConfig { val_split: 50.0, ..kitti_config(root.path()) }), out.path(), 1).unwrap();
    let before = names(out.path());
    run(kitti(KittiConfig { val_split: 50.0, ..kitti_config(root.path()) }), out.path(), 2).unwrap();
    let message = run(kitti(kitti_config(root.path())), out.path(), 1).unwrap_err().to_string();
    assert!(message.contains("set-fold-000-of-002-shard-00000-of-00002"), "{message}");
    assert_eq!(names(out.path()), before);
}

#[test]
fn lidar_features_are_written() {
    let root = kitti_set(1);
    let config = KittiConfig {
        point_clouds_dir: "velodyne".into(),
        calibrations_dir: "calib".into(),
        ..kitti_config(root.path())
    };
    let out = tempfile::tempdir().unwrap();
    assert!(run(kitti(config.clone()), out.path(), 1).unwrap_err().to_string().contains("calib"));
    fs::create_dir(root.path().join("calib")).unwrap();
    let calibration =
        "P2: 1 0 0 5 0 1 0 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 1 0 0 2 0 1 0 0 0 0 1 0\n";
    fs::write(root.path().join("calib/000.txt"), calibration).unwrap();
    run(kitti(config), out.path(), 1).unwrap();
    let frame = frames(out.path(), "set").remove(0);
    let point_cloud = frame.point_cloud.unwrap();
    assert_eq!((point_cloud.id.as_str(), point_cloud.channels), ("velodyne/000", 4));
    assert_eq!(frame.calibration.unwrap().lidar_to_image[..4], [1.0, 0.0, 0.0, 7.0]);
}

/// The same category has another id in the second file.
const COCO: [(&str, &str); 2] = [
    (
        "train.json",
        r#"{"images": [{"id": 2, "file_name": "b.v1.jpg", "width": 40, "height": 30}, {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "Traffic Light"}, {"id": 7, "name": "dog"}],
        "annotations": [{"id": 11, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3.5, 4]},
            {"id": 12, "image_id": 2, "category_id": 7, "bbox": [0, 0, 30, 20], "iscrowd": 1},
            {"id": 13, "image_id": 2, "category_id": 7, "bbox": [5, 5, 0, 4]}]}"#,
    ),
    (
        "val.json",
        r#"{"images": [{"id": 1, "file_name": "c.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}]}"#,
    ),
];

fn coco(root: &Path, modifier: SampleModifierConfig, validation_fold: Option<u32>) -> Source {
    let list = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let coco = CocoConfig {
        root_directory_path: root.to_string_lossy().into_owned(),
        img_dir_names: list(["train2017", "val2017"]),
        annotation_files: list(["train.json", "val.json"]),
        num_partitions: 2,
        num_shards: vec![1],
    };
    let config = DatasetExportConfig {
        coco_config: Some(coco),
        sample_modifier_config: Some(modifier),
        ..DatasetExportConfig::default()
    };
    spec(config, validation_fold)
}

#[test]
fn coco_files_are_folds() {
    let root = folder(&COCO);
    let out = tempfile::tempdir().unwrap();
    let summary = run(coco(root.path(), SampleModifierConfig::default(), Some(1)), out.path(), 1).unwrap();
    let train = frames(out.path(), "fold-000-of-002-shard-00000-of-00001");
    assert_eq!(ids(&train), ["train2017/b.v1", "train2017/a"], "in the order of the file");
    assert_eq!((train[0].width, train[0].height), (40, 30));
    assert_eq!(train[0].objects.len(), 1);
    assert_eq!(
        (train[0].objects[0].class.as_str(), train[0].objects[0].bbox),
        ("trafficlight", [1.0, 2.0, 4.5, 6.0])
    );
    assert_eq!(frames(out.path(), "fold-001")[0].objects[0].class, "dog");
    assert_eq!((summary.crowd, summary.dropped, summary.extension.as_str()), (1, 1, "jpg"));
    assert_eq!(summary.folds[1].role, Role::Validation);
    let dropped = fs::read_to_string(summary.warning_file.unwrap()).unwrap();
    assert!(dropped.starts_with("{\n  \"13\": ["), "{dropped}");

    let error = run(coco(root.path(), SampleModifierConfig::default(), Some(2)), out.path(), 1).unwrap_err();
    assert!(error.to_string().contains("the validation fold is 2"));
    fs::write(root.path().join("val.json"), COCO[1].1.replace("c.jpg", "c.png")).unwrap();
    let error = run(coco(root.path(), SampleModifierConfig::default(), None), out.path(), 1).unwrap_err();
    assert!(error.to_string().contains("val2017/c.png"), "{error}");
}

#[test]
fn the_sample_modifier_filters_repeats_and_caps_all_but_validation() {
    let root = folder(&COCO);
    let modifier = SampleModifierConfig {
        source_to_target_class_mapping: [("Traffic Light", "light"), ("dog", "animal")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        dominant_target_classes: vec!["animal".into()],
        num_duplicates: 2,
        ..SampleModifierConfig::default()
    };
    let counts = |modifier: SampleModifierConfig, fold| {
        let out = tempfile::tempdir().unwrap();
        run(coco(root.path(), modifier, fold), out.path(), 1).unwrap();
        (frames(out.path(), "fold-000").len(), frames(out.path(), "fold-001").len())
    };
    // One light and no animal: 1 > 0. The second image has neither.
    assert_eq!(counts(modifier.clone(), None), (4, 1));
    let capped = SampleModifierConfig { max_training_samples: 2, ..modifier.clone() };
    assert_eq!(counts(capped.clone(), None), (1, 1));
    assert_eq!(counts(capped, Some(1)), (2, 1));
    let filtered = SampleModifierConfig {
        filter_samples_containing_only: vec!["light".into(), "animal".into()],
        ..modifier
    };
    assert_eq!(counts(filtered.clone(), None), (1, 0));
    assert_eq!(counts(filtered, Some(0)), (2, 0));
}

const VOC: &str = "<annotation><size><width>20</width><height>10</height></size><object><name>Potted Plant</name>\
    <difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox></object></annotation>";

fn folders(root: &Path, labelling: Labelling) -> Folders {
    Folders { images: root.join("images"), labels: root.join("labels"), labelling, val_split: 0.0, shards: 0 }
}

#[test]
fn voc_folders_become_records_and_kitti_labels() {
    let files = [
        ("images/a.png", ""),
        ("images/b.png", ""),
        ("labels/a.xml", VOC),
        ("labels/b.xml", "<annotation/>"),
    ];
    let root = folder(&files);
    let source = || Source::Folders(folders(root.path(), Labelling::Voc));
    let out = tempfile::tempdir().unwrap();
    run(source(), out.path(), 1).unwrap();
    let frames = frames(out.path(), "set-fold-001-of-002");
    let frame = frames.iter().find(|frame| frame.id == "a").unwrap();
    let object = &frame.objects[0];
    assert_eq!(
        (object.class.as_str(), object.occlusion, object.bbox),
        ("pottedplant", 1, [0.0, 1.0, 20.0, 9.0])
    );

    let dir = out.path().join("new/labels");
    to_kitti(source(), &dir).unwrap();
    assert_eq!(names(&dir), ["a.txt", "b.txt"]);
    assert_eq!(
        fs::read_to_string(dir.join("a.txt")).unwrap(),
        "pottedplant 0.00 1 0.00 0.00 1.00 20.00 9.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00\n"
    );
    assert!(to_kitti(source(), &dir).unwrap_err().to_string().contains("not empty"));
    let split = Folders { val_split: 50.0, ..folders(root.path(), Labelling::Voc) };
    assert!(matches!(to_kitti(Source::Folders(split), &dir), Err(ConvertError::SplitOfFolder)));

    fs::write(root.path().join("labels/a.xml"), VOC.replace(">20</width>", ">40</width>")).unwrap();
    assert!(run(source(), out.path(), 1).unwrap_err().to_string().contains("40x10"));
    fs::remove_file(root.path().join("labels/a.xml")).unwrap();
    assert!(run(source(), out.path(), 1).unwrap_err().to_string().contains("a.png"));
}

#[test]
fn yolo_folders_become_records() {
    let root = folder(&[
        ("images/a.png", ""),
        ("images/b.png", ""),
        ("labels/a.txt", "1 0.5 0.5 0.5 0.4\n"),
        ("data.yaml", "names: [cat, Dog]\n"),
    ]);
    let names = root.path().join("data.yaml");
    let source = || Source::Folders(folders(root.path(), Labelling::Yolo { names: names.clone() }));
    let out = tempfile::tempdir().unwrap();
    let summary = run(source(), out.path(), 1).unwrap();
    assert_eq!((summary.unlabelled, summary.folds[0].records), (1, 2));
    let frames = frames(out.path(), "set");
    let frame = frames.iter().find(|frame| frame.id == "a").unwrap();
    assert_eq!((frame.objects[0].class.as_str(), frame.objects[0].bbox), ("dog", [5.0, 3.0, 15.0, 7.0]));

    fs::write(&names, "names: [cat]").unwrap();
    assert!(run(source(), out.path(), 1).unwrap_err().to_string().contains("a.txt:1: class 1"));
    fs::write(&names, "names: [cat, dog]").unwrap();
    fs::write(root.path().join("images/c.jpg"), "").unwrap();
    assert!(matches!(run(source(), out.path(), 1), Err(ConvertError::MixedExtensions { .. })));
    fs::remove_file(root.path().join("images/c.jpg")).unwrap();
    fs::remove_file(root.path().join("labels/a.txt")).unwrap();
    assert!(run(source(), out.path(), 1).unwrap_err().to_string().contains("2 of the images"));
}

#[test]
fn coco_becomes_label_folders_that_stay_inside() {
    let root = folder(&COCO);
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("labels");
    to_kitti(coco(root.path(), SampleModifierConfig::default(), None), &dir).unwrap();
    assert_eq!(names(&dir), ["train2017", "val2017"]);
    assert_eq!(names(&dir.join("train2017")), ["a.txt", "b.v1.txt"]);
    assert_eq!(names(out.path()), ["labels", "labels_warning.json"]);

    let Source::Spec { mut config, .. } = coco(root.path(), SampleModifierConfig::default(), None) else {
        unreachable!()
    };
    config.coco_config.as_mut().unwrap().img_dir_names = vec!["../../escape".into(), "..".into()];
    let dir = out.path().join("deep/er/labels");
    to_kitti(Source::Spec { config, validation_fold: None }, &dir).unwrap();
    assert_eq!(names(&dir), ["c.txt", "escape"]);
}
