//! The same inputs give the same bytes: twice, with one thread and with several.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{SPEC, checkpoint, contents, oxidet, project, save};

/// These tell when and how fast; everything else is compared.
const LOGS: [&str; 3] = ["status.json", "events.out.tfevents", "report.html"];

/// All files below a folder but logs, by their names in it.
fn results(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(folder);
    files.retain(|name, _| !LOGS.iter().any(|log| name.contains(log)));
    files
}

/// Runs a command that writes into the folder `{out}`, with one thread, again, and with three; all folders must be equal.
fn same_bytes(dir: &Path, line: &str) {
    let mut first: Option<BTreeMap<String, Vec<u8>>> = None;
    for (number, threads) in [1, 1, 3].into_iter().enumerate() {
        // Where results go is written into some of them.
        let out = dir.join("out");
        let run = oxidet(dir, &format!("RAYON_NUM_THREADS={threads} {}", line.replace("{out}", "out")));
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        let files = results(&out);
        assert!(!files.is_empty(), "{line} writes nothing");
        fs::rename(&out, dir.join(format!("out_{number}"))).unwrap();
        let Some(first) = &first else {
            first = Some(files);
            continue;
        };
        assert_eq!(first.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>(), "{line}");
        for (name, bytes) in &files {
            assert!(first[name] == *bytes, "{line}: {name} differs with {threads} threads");
        }
    }
}

fn prepared() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    project(temp.path());
    save(temp.path(), "model.tlt", &checkpoint());
    temp
}

#[test]
fn training() {
    let temp = prepared();
    let spec = SPEC.replace("num_epochs: 1 ", "num_epochs: 2 model_ema: true n_workers: 2 ");
    fs::write(temp.path().join("spec.txt"), spec).unwrap();
    same_bytes(temp.path(), "train -e spec.txt -r {out}");
}

#[test]
fn evaluation() {
    let temp = prepared();
    same_bytes(temp.path(), "evaluate -m model.tlt -e spec.txt -r {out} --gallery 2");
}

#[test]
fn pruning() {
    let temp = prepared();
    same_bytes(temp.path(), "prune -m model.tlt -o {out}/pruned.tlt -pth 0.9");
}

#[test]
fn calibration() {
    let temp = prepared();
    same_bytes(
        temp.path(),
        "calibrate -m model.tlt -e spec.txt --cal_cache_file {out}/cal.bin --cal_json_file {out}/cal.json --layer-report {out}/layers.json",
    );
}

#[test]
fn export() {
    let temp = prepared();
    for line in [
        "export -m model.tlt -e spec.txt -o {out}/model.onnx",
        "export -m model.tlt -e spec.txt -o {out}/model.onnx --data_type fp16 --target trt10",
        "export -m model.tlt -e spec.txt -o {out}/model.onnx --data_type int8 --target trt8 --batches 2 --cal_cache_file {out}/cal.bin",
    ] {
        same_bytes(temp.path(), line);
        for number in 0..3 {
            fs::remove_dir_all(temp.path().join(format!("out_{number}"))).unwrap();
        }
    }
}

#[test]
fn conversion() {
    let temp = prepared();
    let convert = "kitti_config { root_directory_path: '.' image_dir_name: 'images' label_dir_name: 'labels' \
        image_extension: '.png' partition_mode: 'random' num_partitions: 2 val_split: 25 num_shards: 2 }";
    fs::write(temp.path().join("convert.txt"), convert).unwrap();
    same_bytes(temp.path(), "dataset_convert -d convert.txt -o {out}/set");
}

#[test]
fn detection() {
    let temp = prepared();
    same_bytes(temp.path(), "inference -m model.tlt -i images -t 0.001 -r {out} --json {out}/found.jsonl");
}
