//! Train, evaluate, detect and export with the program as its users call it.

use std::fs;
use std::path::Path;

use crate::support::{SPEC, oxidet, project, yolo_v4};
use oxidet_vision::Image;
use oxidet_vision::image::{decode, encode_png};
use serde_json::Value;

const KEY: &str = "correct-horse";
const CHECKPOINT: &str = "out/weights/yolov4_cspdarknet_tiny_epoch_001.tlt";

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn sixteen_bit_gray_images_go_the_whole_way() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    for number in 0..4 {
        let path = dir.join(format!("images/{number}.png"));
        let color = decode::<u8>(&fs::read(&path).unwrap()).unwrap();
        let data = color.data.as_chunks::<3>().0.iter().map(|p| 20_000 + u16::from(p[1]) * 100).collect();
        let deep = Image { width: color.width, height: color.height, channels: 1, data };
        fs::write(&path, encode_png(&deep).unwrap()).unwrap();
    }
    let eight = "output_channel: 3 mosaic_min_ratio: 0.2";
    let sixteen = "output_channel: 1 output_depth: 16 mosaic_min_ratio: 0.2 mosaic_prob: 0.5";
    let spec = SPEC
        .replace(eight, sixteen)
        .replace("include_difficult", "image_extension: \"png\" include_difficult")
        .replace("num_epochs: 1 ", "num_epochs: 2 ");
    assert!(spec.contains(sixteen));
    fs::write(dir.join("spec.txt"), spec).unwrap();

    let model = "out/weights/yolov4_cspdarknet_tiny_epoch_002.tlt";
    for line in [
        "train -e spec.txt -r out",
        &format!("export -m {model} -e spec.txt -o model.onnx"),
        "inference -m model.onnx -i images -e spec.txt -r found -t 0.001",
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 0, "{line}: {}", run.told());
    }
    assert_eq!(json(&dir.join("manifest.json"))["preprocess"]["depth"], 16);
    let map = |model: &str| {
        let run = oxidet(dir, &format!("evaluate -e spec.txt -r eval -m {model}"));
        assert_eq!(run.code, 0, "{}", run.told());
        json(&dir.join("eval/evaluation.json"))["map"].as_f64().unwrap()
    };
    assert_eq!(map(model), map("model.onnx"));

    let gray = Image::filled(96, 64, &[9u8]);
    fs::write(dir.join("images/3.png"), encode_png(&gray).unwrap()).unwrap();
    for line in ["train -e spec.txt -r again", "inference -m model.onnx -i images -e spec.txt -r again"] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 3, "{line}: {}", run.told());
        assert!(run.stderr.contains("3.png") && run.stderr.contains("8 bits"), "{}", run.told());
    }
    let run = oxidet(dir, "evaluate -e spec.txt -m model.onnx --skip-bad-images --cache-ram 1MB");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stderr.contains("1 images cannot be read") && run.stderr.contains("3.png"), "{}", run.told());
}

#[test]
fn the_whole_way_with_a_key() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("key.txt"), format!("{KEY}\n")).unwrap();

    let run = yolo_v4(dir, &format!("train -e spec.txt -r out -k {KEY} --gpus 1 -np 1"));
    assert_eq!(run.code, 0, "{}", run.told());
    for file in [
        CHECKPOINT,
        "out/status.json",
        "out/model_output_labels.txt",
        "out/yolov4_training_log_cspdarknet_tiny.csv",
    ] {
        assert!(dir.join(file).is_file(), "{file}");
    }
    assert!(!run.stderr.contains('\r'), "no bars where nobody watches: {}", run.stderr);

    // Every way to give the key opens the checkpoint; none, another or an empty one does not.
    for (line, code) in [
        (format!("-k {KEY}"), 0),
        ("--key-file key.txt".into(), 0),
        (format!("OXIDET_KEY={KEY}"), 0),
        ("-v".into(), 2),
        ("-k wrong".into(), 3),
        (format!("-k wrong OXIDET_KEY={KEY}"), 3),
    ] {
        let run = oxidet(dir, &format!("evaluate -m {CHECKPOINT} -e spec.txt -r eval {line}"));
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(!run.told().contains(KEY), "{line}: {}", run.told());
    }
    let evaluation = json(&dir.join("eval/evaluation.json"));
    assert_eq!(evaluation["classes"][0]["name"], "square");
    assert_eq!(evaluation["classes"][0]["truths"], 4);

    let run = oxidet(dir, &format!("export -m {CHECKPOINT} -o model.etlt --key-file key.txt"));
    assert_eq!(run.code, 0, "{}", run.told());
    let run = oxidet(dir, &format!("export -m {CHECKPOINT} -o model.etlt --key-file key.txt"));
    assert_eq!(run.code, 2, "an existing model stays: {}", run.told());
    let run = oxidet(dir, &format!("export -m {CHECKPOINT} -o model.onnx -e spec.txt --key-file key.txt"));
    assert_eq!(run.code, 0, "{}", run.told());
    assert_eq!(fs::read_to_string(dir.join("labels.txt")).unwrap(), "square\n");
    assert_eq!(json(&dir.join("manifest.json"))["model"]["file"], "model.onnx");

    // All three files are the same detector.
    let map = |line: &str| {
        let run = oxidet(dir, &format!("evaluate -e spec.txt -r eval {line}"));
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        json(&dir.join("eval/evaluation.json"))["map"].as_f64().unwrap()
    };
    let want = map(&format!("-m {CHECKPOINT} -k {KEY}"));
    assert_eq!(map(&format!("-m model.etlt -k {KEY}")), want);
    assert_eq!(map("-m model.onnx"), want);

    let run = oxidet(dir, "inference -m model.onnx -i images -e spec.txt -r found -t 0.01");
    assert_eq!(run.code, 0, "{}", run.told());
    for number in 0..4 {
        assert!(dir.join(format!("found/labels/{number}.txt")).is_file());
        assert!(dir.join(format!("found/images_annotated/{number}.png")).is_file());
    }
    let run = oxidet(dir, "inference -m model.onnx -i images/2.png -e spec.txt -r one -t 0.01");
    assert_eq!(run.code, 0, "{}", run.told());
    assert_eq!(
        fs::read_to_string(dir.join("one/labels/2.txt")).unwrap(),
        fs::read_to_string(dir.join("found/labels/2.txt")).unwrap()
    );

    for file in walk(dir).iter().filter(|file| !file.ends_with("key.txt")) {
        let bytes = fs::read(file).unwrap();
        assert!(
            !bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()),
            "the key is in {}",
            file.display()
        );
    }
}

/// All files below a folder.
fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn damaged_files_are_told_from_wrong_keys_and_nothing_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    assert_eq!(oxidet(dir, &format!("train -e spec.txt -r out -k {KEY}")).code, 0);
    let whole = fs::read(dir.join(CHECKPOINT)).unwrap();
    let mut tampered = whole.clone();
    tampered[whole.len() / 2] ^= 1;
    for (what, bytes, says) in [
        ("cut", &whole[..whole.len() / 2], "damaged"),
        ("tampered", &tampered[..], "not authentic"),
        ("empty", &[][..], "neither a checkpoint"),
        ("foreign", b"just some text, nothing more", "neither a checkpoint"),
    ] {
        fs::write(dir.join("bad.tlt"), bytes).unwrap();
        let run = oxidet(dir, &format!("evaluate -m bad.tlt -e spec.txt -k {KEY}"));
        assert_eq!(run.code, 3, "{what}: {}", run.told());
        assert!(run.stderr.contains("bad.tlt") && run.stderr.contains(says), "{what}: {}", run.told());
        let run = oxidet(dir, &format!("export -m bad.tlt -e spec.txt -o bad.onnx -k {KEY}"));
        assert_eq!(run.code, 3, "{what}: {}", run.told());
        assert!(!dir.join("bad.onnx").exists() && !dir.join("labels.txt").exists(), "{what}");
    }
}
