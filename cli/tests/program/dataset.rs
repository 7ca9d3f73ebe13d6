//! Looking at a data set before training.

use std::fs;
use std::path::Path;

use oxidet_vision::Image;
use oxidet_vision::image::{decode, encode_png};
use serde_json::Value;

use crate::support::{SPEC, oxidet, project};

/// The project with validation pictures of its own.
fn sound(dir: &Path) {
    project(dir);
    for part in ["images", "labels"] {
        fs::create_dir_all(dir.join("val").join(part)).unwrap();
    }
    let mut image = Image::filled(96, 64, &[40u8, 60, 50]);
    image.paste(&Image::filled(30, 30, &[230u8, 200, 90]), 60, 8);
    fs::write(dir.join("val/images/v.png"), encode_png(&image).unwrap()).unwrap();
    fs::write(dir.join("val/labels/v.txt"), "square 0 0 0 60 8 90 38 0 0 0 0 0 0 0\n").unwrap();
    let (before, after) = SPEC.split_once("validation_data_sources").unwrap();
    let after = after.replacen("\"labels\"", "\"val/labels\"", 1).replacen("\"images\"", "\"val/images\"", 1);
    fs::write(dir.join("spec.txt"), format!("{before}validation_data_sources{after}")).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_sound_set_passes_and_a_leak_does_not() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    sound(dir);
    let run = oxidet(dir, "dataset check spec.txt");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.ends_with("spec.txt: 0 errors, 0 warnings\n"), "{}", run.told());

    let run = oxidet(dir, "dataset check spec.txt --format json");
    assert_eq!(run.code, 0, "{}", run.told());
    let report = json(&run.stdout);
    assert_eq!(report["splits"]["train"]["images"], 4);
    assert_eq!(report["splits"]["train"]["classes"]["square"]["boxes"], 4);
    assert_eq!(report["splits"]["val"]["boxes"], 1);
    assert!(report["anchors"]["mean_best_iou"].as_f64().unwrap() > 0.99, "{report}");
    assert_eq!((&report["errors"], &report["warnings"]), (&0.into(), &0.into()));

    fs::copy(dir.join("images/2.png"), dir.join("val/images/v.png")).unwrap();
    fs::write(dir.join("images/3.png"), "no picture").unwrap();
    fs::write(dir.join("labels/0.txt"), "cat 0 0 0 1 1 9 9 0 0\nsquare 0 0 0 8 30 8 54 0 0\n").unwrap();
    let run = oxidet(dir, "dataset check spec.txt --format json --html page/data.html");
    assert_eq!(run.code, 1, "{}", run.told());
    let report = json(&run.stdout);
    let train = &report["splits"]["train"];
    assert_eq!((&train["images"], &train["negatives"], &train["invalid"]), (&3.into(), &1.into(), &1.into()));
    assert_eq!(train["unmapped"]["cat"], 1);
    assert_eq!(train["skipped"][0]["image"], "images/3.png");
    let findings: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["id"].as_str().unwrap(), finding["severity"].as_str().unwrap()))
        .collect();
    assert_eq!(findings, [("D111", "error"), ("D141", "error"), ("D122", "warning"), ("D131", "warning")]);
    assert_eq!(report["errors"], 2);
    assert_eq!(report["findings"][1]["examples"][0], "val/images/v.png = images/2.png");
    assert_eq!(report["findings"][3]["examples"][0], "labels/0.txt:2: square 8,30 to 8,54");
    let html = fs::read_to_string(dir.join("page/data.html")).unwrap();
    assert!(html.contains("D141") && html.contains("data:image/jpeg;base64,"));

    let run = oxidet(dir, "dataset check spec.txt");
    assert_eq!(run.code, 1, "{}", run.told());
    assert!(run.stdout.contains("error[D111]: train: 1 image of 4 cannot be read"), "{}", run.told());
}

#[test]
fn a_check_asks_only_for_what_it_reads() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    sound(dir);
    let spec = fs::read_to_string(dir.join("spec.txt")).unwrap();
    // Without training, evaluation and suppression there are still data, input size and anchors.
    let lines =
        spec.lines().filter(|line| !line.starts_with("eval_config") && !line.starts_with("nms_config"));
    let lines: Vec<&str> = lines.collect();
    let (from, to) = (
        lines.iter().position(|line| line.starts_with("training_config")).unwrap(),
        lines.iter().position(|line| line.starts_with("augmentation_config")).unwrap(),
    );
    let short = [&lines[..from], &lines[to..]].concat().join("\n");
    fs::write(dir.join("short.txt"), &short).unwrap();
    fs::write(dir.join("typo.txt"), short.replace("jitter", "jiter").replace("hue", "huee")).unwrap();
    for (line, code) in [
        ("dataset check short.txt", 0),
        ("dataset show short.txt -o out --split val", 0),
        ("dataset show short.txt -o out", 2),
        ("dataset check typo.txt", 2),
        ("dataset check missing.txt", 2),
        ("dataset check", 2),
        ("dataset paint spec.txt", 2),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
    }
}

#[test]
fn shown_pictures_come_with_their_recipes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    sound(dir);
    let spec = fs::read_to_string(dir.join("spec.txt")).unwrap();
    fs::write(dir.join("spec.txt"), spec.replace("mosaic_min_ratio", "mosaic_prob: 0.5 mosaic_min_ratio"))
        .unwrap();
    let show = |line: &str, folder: &str| {
        let run = oxidet(dir, &format!("dataset show spec.txt -o {folder}{line}"));
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        fs::read_to_string(dir.join(folder).join("recipes.txt")).unwrap()
    };
    let recipes = show("", "a");
    let pictures: Vec<&str> =
        recipes.lines().filter_map(|line| line.split_once(": canvas 96x64")).map(|(name, _)| name).collect();
    assert_eq!(pictures.len(), 4, "as many as there are: {recipes}");
    for name in pictures.iter().chain(&["contact_sheet.jpg"]) {
        let image: Image = decode(&fs::read(dir.join("a").join(name)).unwrap()).unwrap();
        assert!(image.width >= 96 && image.height > 64, "{name}");
    }
    assert_eq!(show("", "b"), recipes, "the same again");
    assert_eq!(
        fs::read(dir.join("a/contact_sheet.jpg")).unwrap(),
        fs::read(dir.join("b/contact_sheet.jpg")).unwrap()
    );
    assert_ne!(show(" --epoch 1", "c"), recipes);
    assert_ne!(show(" --seed 9", "d"), recipes);
    assert_eq!(show(" -n 2", "e").matches("canvas").count(), 2);
    assert_eq!(
        show(" --split val", "f"),
        "000_v.jpg: canvas 96x64\n  v.png: 96x64 letterboxed to 96x64 at (0, 0)\n"
    );
}
