//! What goes wrong in the middle: processes that are killed, disks that are full, inputs that change.
//! Afterwards every file is whole or absent, and the work can be done again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{SPEC, checkpoint, contents, oxidet, project, save};

/// Commands that make files in `out`.
const COMMANDS: [&str; 5] = [
    "train -e spec.txt -r out",
    "calibrate -m model.tlt -e spec.txt --cal_cache_file out/cal.bin --cal_json_file out/cal.json",
    "export -m model.tlt -e spec.txt -o out/model.etlt --key-file key.txt",
    "export -m model.tlt -e spec.txt -o out/model.onnx --data_type int8 --target trt10 --batches 2",
    "dataset_convert -d convert.txt -o out/set",
];

fn prepare(dir: &Path) {
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    let spec = SPEC.replace("num_epochs: 1 ", "num_epochs: 3 ");
    fs::write(dir.join("spec.txt"), spec).unwrap();
    let convert = "kitti_config { root_directory_path: '.' image_dir_name: 'images' label_dir_name: 'labels' \
        image_extension: '.png' partition_mode: 'random' num_partitions: 2 val_split: 25 num_shards: 2 }";
    fs::write(dir.join("convert.txt"), convert).unwrap();
    fs::write(dir.join("key.txt"), "secret\n").unwrap();
}

fn start(dir: &Path, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_oxidet"))
        .args(line.split(' '))
        .current_dir(dir)
        .env_remove("OXIDET_KEY")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What is in `out`, but for logs, which grow as a run goes on, and for temporary files, whose names say what they are.
fn finished(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = contents(&dir.join("out"));
    files.retain(|name, bytes| {
        let file = Path::new(name).file_name().unwrap().to_string_lossy().into_owned();
        if file == "history.json" {
            serde_json::from_slice::<serde_json::Value>(bytes).expect("a history that is whole");
            return false;
        }
        let log = ["status.json", ".csv", ".tfevents", "report.html"].iter().any(|part| file.contains(part));
        let temporary = file.starts_with(".oxidet-") && file.ends_with(".part");
        !log && !temporary
    });
    files
}

/// Everything that is finished is what a whole run makes, but for salts: an encrypted model differs each time, and with it its manifest.
fn assert_whole(dir: &Path, whole: &BTreeMap<String, Vec<u8>>, context: &str) {
    for (name, bytes) in finished(dir) {
        let expected = whole.get(&name).unwrap_or_else(|| panic!("{context}: {name} is no result"));
        if name.ends_with(".etlt") {
            let run = oxidet(dir, &format!("decrypt out/{name} -o opened.onnx --key-file key.txt --force"));
            assert_eq!(run.code, 0, "{context}: {name}: {}", run.told());
        } else {
            let encrypted = name == "manifest.json" && whole.contains_key("model.etlt");
            assert!(bytes == *expected || encrypted, "{context}: {name} is neither whole nor absent");
        }
    }
}

#[test]
fn a_killed_command_leaves_whole_files_or_none() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    prepare(dir);
    for line in COMMANDS {
        let began = Instant::now();
        let run = oxidet(dir, line);
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        let took = began.elapsed();
        let whole = finished(dir);
        fs::remove_dir_all(dir.join("out")).unwrap();
        // More places at the end, where files are written.
        for step in [0.5, 0.85, 0.93, 0.98] {
            let mut child = start(dir, line);
            std::thread::sleep(took.mul_f64(step));
            let _ = child.kill();
            child.wait().unwrap();
            assert_whole(dir, &whole, &format!("{line} killed after {step} of {took:?}"));
            let _ = fs::remove_dir_all(dir.join("out"));
        }
        // And it can be done again where it was killed.
        let mut child = start(dir, line);
        std::thread::sleep(took.mul_f64(0.9));
        let _ = child.kill();
        child.wait().unwrap();
        if finished(dir).is_empty() {
            let run = oxidet(dir, line);
            assert_eq!(run.code, 0, "{line}: {}", run.told());
            assert_eq!(finished(dir).keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "{line}");
        }
        let _ = fs::remove_dir_all(dir.join("out"));
    }
}

/// A limit on the size of files fails as a full disk does: in the middle of a write.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_leaves_no_half_files() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    prepare(dir);
    for line in COMMANDS {
        let limit = if line.starts_with("dataset_convert") || line.starts_with("calibrate") { 0 } else { 64 };
        let run = oxidet(dir, line);
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        let whole = finished(dir);
        fs::remove_dir_all(dir.join("out")).unwrap();
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" {line}");
        let output = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_oxidet")])
            .current_dir(dir)
            .env_remove("OXIDET_KEY")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{line}: {told}");
        assert!(told.contains("out/") && told.contains("too large"), "{line}: {told}");
        assert!(finished(dir).len() < whole.len(), "{line} was not stopped");
        assert_whole(dir, &whole, line);
        let parts = contents(&dir.join("out")).into_keys().filter(|name| name.ends_with(".part")).count();
        assert_eq!(parts, 0, "{line} leaves temporary files");
        let _ = fs::remove_dir_all(dir.join("out"));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_place_that_cannot_be_written_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    prepare(dir);
    for line in COMMANDS {
        // Nobody can make files there, not even root.
        let run = oxidet(dir, &line.replace("out", "/proc/out"));
        assert_eq!(run.code, 4, "{line}: {}", run.told());
        assert!(run.stderr.contains("/proc"), "{line}: {}", run.told());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_printed_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    prepare(dir);
    for line in ["lint spec.txt", "inspect model.tlt --format json", "diff model.tlt model.tlt", "doctor"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_oxidet"))
            .args(line.split(' '))
            .current_dir(dir)
            .stdout(full)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{line}: {told}");
        assert!(told.contains("could not be printed"), "{line}: {told}");
    }
}

/// Waits for a checkpoint and calls `change`; returns what training said then.
fn while_training(dir: &Path, change: impl FnOnce()) -> (Option<i32>, String) {
    let spec = SPEC.replace("num_epochs: 1 ", "num_epochs: 400 ");
    fs::write(dir.join("spec.txt"), spec).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_oxidet"))
        .args(["train", "-e", "spec.txt", "-r", "out", "--cache-ram", "0"])
        .current_dir(dir)
        .env_remove("OXIDET_KEY")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let saved = dir.join("out/weights/yolov4_cspdarknet_tiny_epoch_002.tlt");
    let began = Instant::now();
    while !saved.exists() {
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    change();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn images_that_go_away_or_break_while_training_are_named() {
    for (what, change) in [
        ("removed", (|path| fs::remove_file(path).unwrap()) as fn(&Path)),
        ("cut", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        project(dir);
        let image = dir.join("images/2.png");
        let before = fs::read(&image).unwrap();
        let (code, told) = while_training(dir, || change(&image));
        assert_eq!(code, Some(3), "{what}: {told}");
        assert!(told.contains("2.png"), "{what}: {told}");
        // The checkpoints are there, and the run goes on from them when the image is back.
        fs::write(&image, before).unwrap();
        let mut saved: Vec<String> = contents(&dir.join("out/weights")).into_keys().collect();
        saved.retain(|name| name.contains("_epoch_"));
        let last = saved.last().unwrap();
        let epoch: u32 = last.trim_end_matches(".tlt").rsplit('_').next().unwrap().parse().unwrap();
        let spec = SPEC.replace("num_epochs: 1 ", &format!("num_epochs: {} ", epoch + 1)).replace(
            "training_config {",
            &format!("training_config {{ resume_model_path: 'out/weights/{last}'"),
        );
        fs::write(dir.join("spec.txt"), spec).unwrap();
        let run = oxidet(dir, "train -e spec.txt -r out");
        assert_eq!(run.code, 0, "{what}: {}", run.told());
    }
}

#[test]
fn a_validation_image_that_cannot_be_read_costs_no_training() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::create_dir(dir.join("val")).unwrap();
    for number in 0..2 {
        let bytes = fs::read(dir.join(format!("images/{number}.png"))).unwrap();
        let end = if number == 1 { bytes.len() / 2 } else { bytes.len() };
        fs::write(dir.join(format!("val/{number}.png")), &bytes[..end]).unwrap();
    }
    let (first, last) = SPEC.split_once("validation_data_sources").unwrap();
    let last = last.replacen("image_directory_path: \"images\"", "image_directory_path: \"val\"", 1);
    fs::write(dir.join("spec.txt"), format!("{first}validation_data_sources{last}")).unwrap();
    let run = oxidet(dir, "train -e spec.txt -r out");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.stderr.contains("val/1.png"), "{}", run.told());
    assert!(dir.join("out/weights/yolov4_cspdarknet_tiny_epoch_001.tlt").is_file(), "{}", run.told());
}
