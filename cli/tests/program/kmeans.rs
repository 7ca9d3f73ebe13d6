//! Anchors from labels.

use std::fs;
use std::path::Path;

use oxidet_vision::Image;
use oxidet_vision::image::encode_png;
use serde_json::Value;

use crate::support::{SPEC, oxidet, yolo_v4};

/// A folder with one picture of 100 × 100 px whose boxes are of nine sizes, three times each and a bit apart, with a
/// `DontCare` region and an object of another class; and `spec.txt` for it.
fn project(dir: &Path) {
    for part in ["images", "labels"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    fs::write(dir.join("images/a.png"), encode_png(&Image::filled(100, 100, &[9u8, 9, 9])).unwrap()).unwrap();
    let mut labels = String::new();
    for size in [2, 4, 8, 12, 18, 27, 40, 60, 90] {
        for (w, h) in [(size * 10, size * 10), (size * 10, size * 10), (size * 10 + 1, size * 10 - 1)] {
            let (w, h) = (f64::from(w) / 10.0, f64::from(h) / 10.0);
            labels += &format!("square 0 0 0 0 0 {w} {h} 0 0 0 0 0 0 0\n");
        }
    }
    labels += "circle 0 0 0 0 0 90 9 0 0 0 0 0 0 0\nDontCare -1 -1 -10 0 0 9 90 -1 -1 -1 0 0 0 0\n";
    fs::write(dir.join("labels/a.txt"), labels).unwrap();
    fs::write(dir.join("spec.txt"), SPEC.replace("96", "160").replace("64", "320")).unwrap();
}

fn status(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_old_command_line_prints_anchors_by_area() {
    let temp = tempfile::tempdir().unwrap();
    project(temp.path());
    fs::write(temp.path().join("labels/a.txt"), {
        let text = fs::read_to_string(temp.path().join("labels/a.txt")).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("circle"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    })
    .unwrap();
    let run = yolo_v4(temp.path(), "kmeans -l labels -i images -x 200 -y 100 -n 9 --results_dir out");
    assert_eq!(run.code, 0, "{}", run.told());
    let want = ["(4.00, 2.00)", "(8.00, 4.00)", "(16.00, 8.00)", "(24.00, 12.00)", "(36.00, 18.00)"];
    assert_eq!(run.stdout.lines().take(5).collect::<Vec<_>>(), want);
    for says in [
        "small_anchor_shape: \"[(4.00, 2.00), (8.00, 4.00), (16.00, 8.00)]\"",
        "big_anchor_shape: \"[(80.00, 40.00), (120.00, 60.00), (180.00, 90.00)]\"",
        "mean best IoU: 0.9",
        "27 boxes used, 1 ignored (1 of class `DontCare`)",
    ] {
        assert!(run.stdout.contains(says), "`{says}`: {}", run.told());
    }
    let lines = status(&temp.path().join("out/status.json"));
    assert_eq!(
        (lines[0]["status"].as_str(), lines[1]["status"].as_str()),
        (Some("STARTED"), Some("SUCCESS"))
    );
    let list = lines[1]["kpi"]["k-means generated anchors"].as_str().unwrap();
    assert!(list.starts_with("['(4.00, 2.00)', '(8.00, 4.00)'"), "{list}");
    let again = yolo_v4(temp.path(), "kmeans -l labels -i images -x 200 -y 100");
    assert_eq!(again.stdout, run.stdout);
}

#[test]
fn a_spec_gets_anchors_for_its_network() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    // Two heads, one anchor each: the spec decides, or -n.
    let run = oxidet(dir, "kmeans -e spec.txt");
    assert_eq!(run.code, 0, "{}", run.told());
    assert_eq!(run.stdout.lines().position(str::is_empty), Some(2), "{}", run.told());
    assert!(run.stdout.contains("27 boxes used, 2 ignored (1 of class `DontCare`, 1 of class `circle`)"));

    let before = fs::read_to_string(dir.join("spec.txt")).unwrap();
    let commented = before.replace("mid_anchor_shape: \"[(24, 24)]\"", "# none yet: 0.5 ä\r\n");
    fs::write(dir.join("spec.txt"), &commented).unwrap();
    let run = oxidet(dir, "kmeans -e spec.txt -n 6 --write --min_x 15");
    assert_eq!(run.code, 0, "{}", run.told());
    let after = fs::read_to_string(dir.join("spec.txt")).unwrap();
    for line in commented.lines().filter(|line| !line.contains("anchor_shape")) {
        assert!(after.lines().any(|other| other == line), "{line}");
    }
    assert!(
        after.contains("  mid_anchor_shape: \"[(19.20, 38.40), "),
        "boxes of 8 px are 12.8 wide: {after}"
    );
    assert!(after.contains("# none yet: 0.5 ä\r\n"));
    assert_eq!(after.lines().count(), commented.lines().count() + 1);
    assert!(run.stdout.contains("9 not larger than --min_x and --min_y"), "{}", run.told());
    assert_eq!(oxidet(dir, "lint spec.txt").code, 0);

    // Nothing is better than what was just computed.
    let run = oxidet(dir, "kmeans -e spec.txt --min_x 15");
    let fits: Vec<&str> =
        run.stdout.lines().find(|line| line.starts_with("mean best")).unwrap().split(": ").collect();
    assert_eq!(fits[1].split(';').next().unwrap(), fits[2], "{}", run.told());
}

#[test]
fn failures_have_a_name_and_a_line_in_the_status() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::create_dir(dir.join("none")).unwrap();
    for (line, code, says) in [
        ("kmeans -l labels -i images -x 416", 2, "--size_y"),
        ("kmeans -l labels labels -i images -x 416 -y 416", 2, "2 label folders"),
        ("kmeans -l labels -i images -x 416 -y 416 --write", 2, "--experiment_spec"),
        ("kmeans -l labels -i images -x 416 -y 416 -n 0", 2, "1..=999"),
        ("kmeans -e spec.txt -x 416", 2, "cannot be used"),
        ("kmeans -e spec.txt -n 5", 2, "2 heads"),
        ("kmeans -e spec.txt -n 20", 3, "distinct"),
        ("kmeans -e spec.txt --min_x 400", 3, "no box"),
        ("kmeans -l none -i images -x 416 -y 416 -r out", 3, "a.png"),
        ("kmeans -l missing -i images -x 416 -y 416", 3, "missing"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
        assert!(!run.told().contains("panicked"), "{line}: {}", run.told());
    }
    let lines = status(&dir.join("out/status.json"));
    assert_eq!(lines.last().unwrap()["status"], "FAILURE");
}
