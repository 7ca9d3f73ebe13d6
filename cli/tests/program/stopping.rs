//! Training that is stopped, killed, or has nowhere to write.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{SPEC, oxidet, project};

/// The spec of a run of twelve epochs, with everything that has a state.
fn long(load: &str) -> String {
    SPEC.replace("num_epochs: 1 ", "num_epochs: 12 ")
        .replace("checkpoint_interval: 1", &format!("checkpoint_interval: 2 model_ema: true {load}"))
}

fn start(dir: &Path, results: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_oxidet"))
        .args(["train", "-e", "spec.txt", "-r", results])
        .current_dir(dir)
        .env_remove("OXIDET_KEY")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A project whose run in `out` goes on and has saved its second epoch.
fn saved(dir: &Path) -> Child {
    project(dir);
    fs::write(dir.join("spec.txt"), long("")).unwrap();
    let child = start(dir, "out");
    wait_for(&dir.join("out/weights/yolov4_cspdarknet_tiny_epoch_002.tlt"));
    child
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("spec.txt"), long("")).unwrap();
    let run = oxidet(dir, "train -e spec.txt -r whole");
    assert_eq!(run.code, 0, "{}", run.told());

    let mut child = start(dir, "parts");
    wait_for(&dir.join("parts/weights/yolov4_cspdarknet_tiny_epoch_004.tlt"));
    child.kill().unwrap();
    child.wait().unwrap();
    let load = "resume_model_path: 'parts/weights/yolov4_cspdarknet_tiny_epoch_004.tlt'";
    fs::write(dir.join("spec.txt"), long(load)).unwrap();
    let run = oxidet(dir, "train -e spec.txt -r parts");
    assert_eq!(run.code, 0, "{}", run.told());
    let read = |results: &str, file: &str| fs::read(dir.join(results).join(file)).unwrap();
    for file in [
        "weights/yolov4_cspdarknet_tiny_epoch_012.tlt",
        "weights/yolov4_cspdarknet_tiny_best.tlt",
        "yolov4_training_log_cspdarknet_tiny.csv",
    ] {
        assert!(read("whole", file) == read("parts", file), "{file} differs");
    }
}

#[test]
#[cfg(unix)]
fn a_terminated_run_saves_and_says_how_to_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut child = saved(dir);
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let status = fs::read_to_string(dir.join("out/status.json")).unwrap();
    assert!(status.contains("resume_model_path"), "{status}");
}

#[test]
#[cfg(unix)]
fn a_second_command_keeps_out_of_a_results_folder_and_a_killed_one_lets_go_of_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut child = saved(dir);
    for line in ["train -e spec.txt -r out", "train -e spec.txt -r ./images/../out"] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 4, "{line}: {}", run.told());
        assert!(run.stderr.contains("another oxidet is writing into this folder"), "{}", run.told());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let run = oxidet(dir, "evaluate -m out/weights/yolov4_cspdarknet_tiny_epoch_002.tlt -e spec.txt -r out");
    assert_eq!(run.code, 0, "{}", run.told());
}

#[test]
fn a_results_folder_that_cannot_be_made_is_told_before_training() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("taken"), "a file").unwrap();
    let run = oxidet(dir, "train -e spec.txt -r taken/out");
    assert_eq!(run.code, 4, "{}", run.told());
    assert!(run.stderr.contains("taken") && !run.stderr.contains("epoch 1"), "{}", run.told());
}
