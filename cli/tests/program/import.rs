//! `oxidet import`

use std::fs;

use crate::support::{oxidet, project};

/// Numbers of YOLOv4-tiny's backbone: the original's parameter count.
const TINY: usize = 3_633_632;

#[test]
fn import_makes_a_checkpoint_or_says_why_not() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    let darknet = |numbers: usize| {
        let header = [0u32, 2, 5, 0, 0].into_iter().flat_map(u32::to_le_bytes);
        header.chain((0..numbers).flat_map(|_| 0.01f32.to_le_bytes())).collect::<Vec<u8>>()
    };
    fs::write(dir.join("tiny.conv.29"), darknet(TINY + 7)).unwrap();
    fs::write(dir.join("short.weights"), darknet(TINY - 1)).unwrap();
    fs::write(dir.join("other.h5"), include_bytes!("../../../proto/src/weights/fixtures/keras3.h5")).unwrap();
    for (line, code, says) in [
        ("import -m tiny.conv.29 -e spec.txt -o out/start.tlt", 0, "100.0 % are from the file"),
        ("import -m tiny.conv.29 -e spec.txt -o out/start.tlt", 2, "out/start.tlt exists"),
        ("evaluate -m out/start.tlt -e spec.txt", 0, "mAP"),
        ("import -m tiny.conv.29 -e spec.txt -o out/start.tlt --force -k KEY", 0, "behind the backbone"),
        ("import -m out/start.tlt -e spec.txt -o again.tlt", 2, "encrypted"),
        ("import -m out/start.tlt -e spec.txt -o again.tlt -k KEY", 0, "a checkpoint with our names"),
        ("import -m short.weights -e spec.txt -o no.tlt", 3, "short.weights: the file ends before `conv_5`"),
        ("import -m other.h5 -e spec.txt -o no.tlt", 3, "`first/kernel` [3, 3, 2, 4]"),
        ("import -m spec.txt -e spec.txt -o no.tlt", 3, "neither"),
        ("import -m missing.h5 -e spec.txt -o no.tlt", 3, "missing.h5"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
    assert!(!dir.join("no.tlt").exists());
}
