//! No file is lost: not to another of the same command, not to a failure, and not to somebody who forgot that it was there.

use std::fs;
use std::path::Path;

use crate::support::{checkpoint, contents, oxidet, project, save};

/// Runs a line, which must end with `code` and say `says`.
fn told(dir: &Path, line: &str, code: i32, says: &str) {
    let run = oxidet(dir, line);
    assert_eq!(run.code, code, "{line}: {}", run.told());
    assert!(run.told().contains(says), "{line}: {}", run.told());
}

#[test]
fn refused_commands_leave_every_file_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    fs::write(dir.join("mine.json"), "{}").unwrap();
    fs::write(dir.join("cal.bin.json"), "{}").unwrap();
    fs::create_dir_all(dir.join("own")).unwrap();
    fs::write(dir.join("own/labels.txt"), "a list\n").unwrap();
    fs::create_dir_all(dir.join("taken/m.onnx")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    let here = dir.display();
    let before = contents(dir);
    for (line, says) in [
        // Two outputs of one name, in a folder that is not there yet.
        (format!("export -m model.tlt -o new/m.onnx --data_type int8 --cal_cache_file {here}/new/m.onnx"), "two files"),
        ("export -m model.tlt -o new/m.onnx --data_type int8 --cal_cache_file ./new/labels.txt".into(), "two files"),
        ("export -m model.tlt -o new/m.onnx --data_type int8 --cal_json_file ./new/manifest.json".into(), "two files"),
        ("calibrate -m model.tlt --cal_cache_file new/x.bin --cal_json_file ./new/x.bin".into(), "two files"),
        ("calibrate -m model.tlt --cal_cache_file new/x.bin --cal_json_file new/x.bin.json".into(), "two files"),
        ("calibrate -m model.tlt --cal_cache_file x.bin --layer-report x.bin.json".into(), "two files"),
        // Outputs in the place of inputs.
        ("export -m model.tlt -e spec.txt -o x.onnx --data_type int8 --cal_json_file spec.txt".into(), "reads this file"),
        ("calibrate -m model.tlt -e spec.txt --cal_cache_file ./spec.txt --force".into(), "reads this file"),
        ("export -m model.tlt -o x.onnx --data_type int8 --cal_json_file ./model.tlt".into(), "reads this file"),
        // What somebody else has written.
        ("calibrate -m model.tlt".into(), "cal.bin.json exists"),
        ("export -m model.tlt -o x.onnx --data_type int8 --cal_json_file mine.json".into(), "mine.json exists"),
        ("export -m model.tlt -o own/m.onnx".into(), "labels.txt exists"),
        ("export -m model.tlt -o taken/m.onnx --force".into(), "is a folder"),
        ("export -m model.tlt -o new/m.onnx --triton file".into(), "is a file"),
        // What cannot be had is told before anything is made.
        ("export -m model.tlt -o new/m.etlt".into(), "--key-file"),
        ("export -m model.tlt -o new/m.onnx --data_type int8 --target trt10 --target_opset 12".into(), "opset 13"),
        ("export -m model.tlt -o new/m.onnx --data_type int8 --target trt10 --trt 10.3.0".into(), "no calibration cache"),
        ("export -m model.tlt -o new/m.onnx --data_type int8 --trt 11.1.0".into(), "read no calibration caches"),
        ("calibrate -m model.tlt --cal_cache_file new/x.bin --trt 11.0.0".into(), "read no calibration caches"),
        ("export -m model.tlt -o new/m.onnx --target deepstream --gen_ds_config --static_batch_size 2 --max_batch_size 8".into(), "--static_batch_size 2"),
        ("calibrate -m model.tlt --cal_cache_file new/x.bin --preview --max-drop nan".into(), "0 to 1"),
    ] {
        let run = oxidet(dir, &line);
        assert_eq!(run.code, 2, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
        assert_eq!(contents(dir), before, "{line}");
    }
}

#[test]
fn what_an_export_wrote_may_be_written_anew_and_what_was_changed_may_not() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    let run = |line: &str, code: i32, says: &str| told(dir, line, code, says);
    let here = dir.display();
    run(
        &format!(
            "export -m model.tlt -o ds/a.onnx --target deepstream --gen_ds_config --data_type int8 --batches 1 --cal_cache_file {here}/ds/cal.bin"
        ),
        0,
        "a.onnx",
    );
    run("export -m model.tlt -o ds/b.onnx --target deepstream --gen_ds_config", 0, "b.onnx");
    let config = dir.join("ds/nvinfer_config.txt");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("interval=0", "interval=4")).unwrap();
    run(
        "export -m model.tlt -o ds/c.onnx --target deepstream --gen_ds_config",
        2,
        "nvinfer_config.txt exists",
    );
    run("verify ds", 1, "nvinfer_config.txt: changed");
    run("export -m model.tlt -o ds/c.onnx --target deepstream --gen_ds_config --force", 0, "c.onnx");
    run("export -m model.tlt -o plain/m.onnx", 0, "m.onnx");
    fs::copy(&config, dir.join("plain/nvinfer_config.txt")).unwrap();
    run("verify plain", 1, "nvinfer_config.txt: not in the manifest");
}

#[test]
fn a_cache_that_is_there_is_read_and_never_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    let run = |line: &str, code: i32, says: &str| told(dir, line, code, says);
    run("calibrate -m model.tlt --batches 1 --cal_cache_file a.bin", 0, "a.bin");
    let before = fs::read(dir.join("a.bin")).unwrap();
    run(
        "export -m model.tlt -o x.onnx --data_type int8 --cal_cache_file a.bin --method minmax",
        2,
        "--method",
    );
    run(
        "export -m model.tlt -o x.onnx --data_type int8 --cal_cache_file a.bin --calibration-seed 3",
        2,
        "--calibration-seed",
    );
    // Another header, the same ranges: the record goes with them.
    run("inspect a.bin --rewrite ten.bin --trt 10.3.0", 0, "ten.bin");
    run(
        "export -m model.tlt -o ten.onnx --data_type int8 --cal_cache_file ten.bin --trt 10.3.0",
        0,
        "ten.onnx",
    );
    let mut other = checkpoint();
    let name = other.detector.graph.param_specs()[0].name.clone();
    other.params.get_mut(&name).unwrap().data_mut()[0] += 0.5;
    save(dir, "other.tlt", &other);
    run(
        "export -m other.tlt -o o.onnx --data_type int8 --cal_cache_file ten.bin --trt 10.3.0",
        3,
        "another network",
    );
    run("inspect a.bin --rewrite a.bin --trt 10.3.0", 2, "exists");
    run("inspect a.bin --rewrite a.bin --trt 10.3.0 --force", 0, "a.bin");
    assert_eq!(fs::read(dir.join("a.bin")).unwrap(), fs::read(dir.join("ten.bin")).unwrap());
    assert_ne!(fs::read(dir.join("a.bin")).unwrap(), before);
    run(
        "export -m model.tlt -o again.onnx --data_type int8 --cal_cache_file a.bin --trt 10.3.0",
        0,
        "again.onnx",
    );
    run("inspect a.bin --rewrite model.tlt", 2, "exists");
    // A cache of another program, whose names are all there is to compare.
    fs::write(dir.join("foreign.bin"), "TRT-8503-EntropyCalibration2\nsomething: 3f800000\n").unwrap();
    run(
        "export -m model.tlt -o f.onnx --data_type int8 --cal_cache_file foreign.bin",
        3,
        "no tensor of this one",
    );
    fs::write(dir.join("partly.bin"), "TRT-8503-EntropyCalibration2\nInput: 3f800000\nsomething: 3f800000\n")
        .unwrap();
    run(
        "export -m model.tlt -o p.onnx --data_type int8 --cal_cache_file partly.bin",
        0,
        "called 1: something",
    );
}

#[test]
fn a_preview_is_of_int8_or_there_is_none() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    for line in [
        "export -m model.tlt -o a.onnx --preview",
        "export -m model.tlt -o b.onnx --data_type fp16 --preview",
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        assert!(
            run.told().contains("--preview has no effect") && !run.told().contains("INT8  "),
            "{}",
            run.told()
        );
    }
}
