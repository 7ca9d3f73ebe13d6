//! Engines that are files, built by a `trtexec` that writes down what it is told.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::{checkpoint, oxidet, project, save};

/// A program that says it is TensorRT 10.3, and whose engines are its arguments and its calibration cache.
fn trtexec(dir: &Path) {
    let script = "#!/bin/sh\n\
        echo '&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b26] # trtexec'\n\
        [ \"$1\" = --help ] && exit 0\n\
        echo '[I] Selected Device: Orin'\n\
        echo '[I] Compute Capability: 8.7'\n\
        for word; do case $word in --saveEngine=*) engine=${word#--saveEngine=} ;; --calib=*) calib=${word#--calib=} ;; esac; done\n\
        printf '%s\\n' \"$@\" > \"$engine\"\n\
        [ -z \"$calib\" ] || cat \"$calib\" >> \"$engine\"\n";
    fs::write(dir.join("trtexec"), script).unwrap();
    fs::set_permissions(dir.join("trtexec"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// A project with its checkpoint, and as a model.
fn start(dir: &Path) {
    project(dir);
    trtexec(dir);
    save(dir, "model.tlt", &checkpoint());
    ok(dir, "export -m model.tlt -e spec.txt -o model.onnx");
}

fn ok(dir: &Path, line: &str) -> String {
    let run = oxidet(dir, line);
    assert_eq!(run.code, 0, "{line}: {}", run.told());
    run.stdout + &run.stderr
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn an_engine_has_a_record_that_says_what_it_does_not() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    start(dir);
    let line = "gen_trt_engine -m model.onnx --engine_file m.engine --data_type fp16 --max_batch_size 4 --trtexec ./trtexec";
    let told = ok(dir, line);
    assert!(told.contains("TensorRT 10.3.0 on Orin (sm_87)"), "{told}");
    let words = read(dir, "m.engine");
    assert!(words.contains("--fp16") && words.contains("--maxShapes=Input:4x3x"), "{words}");
    assert!(words.contains("--memPoolSize=workspace:2048"), "{words}");
    let record: Value = serde_json::from_str(&read(dir, "m.engine.json")).unwrap();
    assert_eq!(record["built"]["builder"], "trtexec");
    assert_eq!((&record["precision"], &record["profile"]["max"]), (&"fp16".into(), &4.into()));
    assert_eq!((&record["classes"][0], &record["tail"]), (&"square".into(), &"batched".into()));
    // A second one is not built over it unasked.
    let again = oxidet(dir, line);
    assert_eq!(again.code, 2, "{}", again.told());
    ok(dir, &format!("{line} --force"));
    let told = ok(dir, "doctor -m m.engine");
    assert!(told.contains("TensorRT 10.3.0 on Orin (sm_87)") && told.contains("1 to 4 images"), "{told}");
    // What the record says is looked at before the engine is run; here there is no TensorRT.
    let run = oxidet(dir, "OXIDET_TRT_SHIM=/no/shim inference -m m.engine -i images -r found");
    assert_eq!(run.code, 4, "{}", run.told());
    fs::write(dir.join("m.engine.json"), "{}").unwrap();
    let run = oxidet(dir, "inference -m m.engine -i images -r found");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.stderr.contains("m.engine.json: not the record of an engine"), "{}", run.told());
}

#[test]
fn ranges_come_from_a_cache_a_scale_file_or_images() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    start(dir);
    let build = "gen_trt_engine -m model.onnx -e spec.txt --data_type int8 --trtexec ./trtexec --force --engine_file m.engine";
    let run = oxidet(dir, build);
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.stderr.contains("int8 needs ranges"), "{}", run.told());
    // The cache is made, with the header of the TensorRT that builds, and then used as it is.
    let told = ok(
        dir,
        &format!("{build} --cal_image_dir images --cal_cache_file cal.bin --batches 1 --batch_size 2"),
    );
    assert!(told.contains("calibrating on 2 of 4 images"), "{told}");
    let cache = read(dir, "cal.bin");
    assert!(cache.starts_with("TRT-100300-EntropyCalibration2\nInput: "), "{cache}");
    let engine = read(dir, "m.engine");
    assert!(engine.contains("--int8") && engine.ends_with(&cache), "{engine}");
    let told = ok(dir, &format!("{build} --cal_image_dir images --cal_cache_file cal.bin"));
    assert!(told.contains("cal.bin is there, and is used"), "{told}");
    assert!(read(dir, "m.engine").ends_with(&cache));
    // A scale file has the same ranges.
    ok(
        dir,
        "calibrate -m model.tlt -e spec.txt --cal_image_dir images --cal_cache_file c.bin --cal_json_file cal.json",
    );
    ok(dir, &format!("{build} --cal_json_file cal.json"));
    let cache = read(dir, "c.bin");
    let lines = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().filter(|line| line.contains(": ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&read(dir, "m.engine")), lines(&cache));
}

#[test]
fn export_builds_the_engine_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    start(dir);
    let line = "export -m model.tlt -e spec.txt -o new/m.etlt -k secret --data_type int8 --cal_image_dir images \
        --engine_file new/m.engine --trtexec ./trtexec --max_batch_size 2 --max_workspace_size 1073741824 -s";
    let told = ok(dir, line);
    assert!(told.contains("new/m.engine") && !told.contains("no effect"), "{told}");
    let engine = read(dir, "new/m.engine");
    assert!(
        engine.contains("--int8") && !engine.contains("--fp16") && engine.contains("workspace:1024"),
        "{engine}"
    );
    assert!(engine.contains("--maxShapes=Input:2x") && engine.contains("TRT-100300-Entropy"), "{engine}");
    let record: Value = serde_json::from_str(&read(dir, "new/m.engine.json")).unwrap();
    let manifest: Value = serde_json::from_str(&read(dir, "new/manifest.json")).unwrap();
    assert_eq!(record["onnx_sha256"], manifest["model"]["onnx_sha256"]);
    let told = ok(dir, "export -m model.tlt -e spec.txt -o other/m.onnx -s");
    assert!(told.contains("--strict_type_constraints has no effect without --engine_file"), "{told}");
}
