//! Running models: images and video in, lines out, and what is told where something is missing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use oxidet_vision::Picture;
use serde_json::Value;

use crate::support::{checkpoint, oxidet, project, save};

fn ok(dir: &Path, line: &str) -> String {
    let run = oxidet(dir, line);
    assert_eq!(run.code, 0, "{line}: {}", run.told());
    run.stdout
}

/// A project with an exported model.
fn exported(dir: &Path) {
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    ok(dir, "export -m model.tlt -o model.onnx");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs with `input` on standard input.
fn piped(dir: &Path, line: &str, input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_oxidet"))
        .current_dir(dir)
        .args(line.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn checkpoint_and_model_find_the_same_in_images_and_in_video() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    exported(dir);
    // No spec: both say how they suppress. Batches change nothing.
    let of_checkpoint = lines(&ok(dir, "inference -m model.tlt -i images -t 0.01 --json - -b 3"));
    let of_model = lines(&ok(dir, "inference -m model.onnx -i images -t 0.01 --json -"));
    assert_eq!((of_checkpoint.len(), of_model.len()), (4, 4));
    for (number, (a, b)) in of_checkpoint.iter().zip(&of_model).enumerate() {
        assert_eq!(b["image"], format!("images/{number}.png"));
        assert_eq!((b["width"].as_u64(), b["height"].as_u64()), (Some(96), Some(64)));
        let (a, b) = (a["objects"].as_array().unwrap(), b["objects"].as_array().unwrap());
        assert!(!a.is_empty() && a.len() == b.len());
        for (a, b) in a.iter().zip(b) {
            assert_eq!(a["class"], "square");
            assert!((a["score"].as_f64().unwrap() - b["score"].as_f64().unwrap()).abs() < 1e-4);
        }
    }
    let folder =
        oxidet(dir, "inference -m model.onnx -i images -t 0.01 -r found --json found.jsonl --no-pictures");
    assert!(folder.stdout.starts_with("4 images, "), "{}", folder.told());
    assert_eq!(lines(&fs::read_to_string(dir.join("found.jsonl")).unwrap()), of_model);
    assert!(dir.join("found/labels/3.txt").exists() && !dir.join("found/images_annotated").exists());

    let frames: Vec<u8> = (0..4)
        .flat_map(|number| {
            let Picture::Eight(image) =
                Picture::decode(&fs::read(dir.join(format!("images/{number}.png"))).unwrap(), 8).unwrap()
            else {
                panic!("the pictures have 8 bits")
            };
            image.data
        })
        .collect();
    let command = "inference -m model.onnx -i - -t 0.01 --json - --format rgb24 --size 96x64";
    let (code, out, told) = piped(dir, command, &frames);
    assert_eq!(code, 0, "{told}");
    let of_video = lines(&out);
    for (number, (a, b)) in of_model.iter().zip(&of_video).enumerate() {
        assert_eq!(b["frame"], number);
        assert_eq!(a["objects"], b["objects"]);
    }
    let (code, out, told) = piped(dir, command, &frames[..frames.len() - 1]);
    assert_eq!((code, lines(&out).len() < 4), (3, true));
    assert!(told.contains("in the middle of frame 3"), "{told}");
    let mut y4m = b"YUV4MPEG2 W96 H64 F25:1 C444 XCOLORRANGE=FULL\n".to_vec();
    for _ in 0..3 {
        y4m.extend(b"FRAME\n");
        y4m.extend([100; 3 * 96 * 64]);
    }
    let (code, out, told) = piped(dir, "inference -m model.onnx -i - -t 0.01 -r video --json -", &y4m);
    assert_eq!((code, lines(&out).len()), (0, 3), "{told}");
    assert!(dir.join("video/images_annotated/00000002.jpg").exists());
    let (code, _, told) = piped(dir, "inference -m model.onnx -i - --json -", b"not a video");
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("YUV4MPEG2"), "{told}");
}

#[test]
fn a_broken_image_stops_the_run_and_leaves_no_lines() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    exported(dir);
    fs::write(dir.join("images/2.png"), b"no picture").unwrap();
    let run = oxidet(dir, "inference -m model.onnx -i images --json found.jsonl");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.stderr.contains("images/2.png"), "{}", run.told());
    assert!(!dir.join("found.jsonl").exists());
}

#[test]
fn speed_is_measured_stage_by_stage() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    exported(dir);
    let line = "benchmark -m model.onnx -m model.tlt -b 1,2 --iterations 3 --warm-up 1 --json speed.json";
    let table = ok(dir, line);
    assert_eq!(table.lines().count(), 6, "the machine, the heads and a line for each: {table}");
    let json: Value = serde_json::from_str(&fs::read_to_string(dir.join("speed.json")).unwrap()).unwrap();
    assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let measured = &row["measured"];
        let ms = |stage: &str| measured[stage]["p50_ms"].as_f64().unwrap();
        assert!(
            ms("network") > 0.0
                && ms("total") >= ms("network")
                && measured["images_per_second"].as_f64() > Some(0.0)
        );
        assert!(measured["network"]["p99_ms"].as_f64() >= measured["network"]["p50_ms"].as_f64());
    }
    let run = oxidet(
        dir,
        "ORT_DYLIB_PATH=/no/library benchmark -m model.onnx --iterations 2 --compare cpu,onnxruntime",
    );
    assert_eq!(run.code, 4, "{}", run.told());
    assert!(
        run.stdout.contains("cpu") && run.stdout.contains("failed") && run.stderr.contains("/no/library"),
        "{}",
        run.told()
    );
}

#[test]
fn what_is_missing_is_told_and_nothing_falls_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    exported(dir);
    let without = "ORT_DYLIB_PATH=/no/library OXIDET_TRT_SHIM=/no/shim";
    let json: Value =
        serde_json::from_str(&ok(dir, &format!("{without} doctor -m model.onnx --json"))).unwrap();
    let backends = json["backends"].as_array().unwrap();
    let names: Vec<&str> = backends.iter().map(|backend| backend["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cpu", "onnxruntime", "tensorrt"]);
    assert_eq!((&backends[0]["available"], &backends[1]["available"]), (&true.into(), &false.into()));
    assert!(backends[1]["missing"][0].as_str().unwrap().contains("/no/library"));
    assert_eq!(json["model"]["run_by"]["cpu"]["runs"], true);
    assert!(json["model"]["suppression"].as_str().unwrap().contains("BatchedNMSDynamic_TRT"));
    for (line, code, says) in [
        ("inference -m model.onnx -i images -r x --backend onnxruntime", 4, "ORT_DYLIB_PATH"),
        ("inference -m model.onnx -i images -r x --device cuda", 4, "ORT_DYLIB_PATH"),
        ("inference -m model.onnx -i images -r x --backend tensorrt", 4, "build-shim"),
        ("inference -m model.engine -i images -r x -e spec.txt", 4, "build-shim"),
        ("inference -m model.engine -i images -r x", 2, "-e"),
        ("inference -m model.engine -i images -r x -e spec.txt --backend cpu", 2, "--backend tensorrt"),
        ("inference -m model.onnx -i images -r x --backend cpu --device cuda", 3, "processor"),
        ("inference -m model.onnx -i images -r x --precision fp16", 3, "--data_type fp16"),
        ("inference -m model.onnx -i images -r x --precision int8", 3, "--data_type int8"),
        ("inference -m model.tlt -i images -r x --backend onnxruntime", 2, "export it first"),
        ("gen_trt_engine -m model.onnx --engine_file m.engine", 4, "build-shim"),
        ("gen_trt_engine -m model.onnx --engine_file model.onnx --force", 2, "--builder onnxruntime"),
        (
            "gen_trt_engine -m model.onnx --engine_file model.onnx --force --builder onnxruntime",
            2,
            "reads this file",
        ),
        ("gen_trt_engine -m model.onnx --engine_file m.engine --builder onnxruntime", 4, "ORT_DYLIB_PATH"),
        ("gen_trt_engine -m model.onnx --engine_file m.engine --trtexec /no/trtexec", 4, "/no/trtexec"),
        (
            "gen_trt_engine -m model.onnx --engine_file m.engine --cal_cache_file no.bin --data_type int8",
            3,
            "no.bin",
        ),
        ("export -m model.tlt -o x.onnx --engine_file m.engine", 4, "build-shim"),
        ("gen_trt_engine -m model.onnx --engine_file m.engine --min_batch_size 4", 2, "min <= opt <= max"),
        ("inference -m model.onnx -i - --format bgr24 --json -", 2, "--size"),
    ] {
        fs::write(dir.join("model.engine"), b"a plan").unwrap();
        let run = oxidet(dir, &format!("{without} {line}"));
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.stderr.contains(says), "{line}: {}", run.told());
        assert!(!dir.join("m.engine").exists());
    }
}

#[test]
fn bad_images_are_left_out_where_that_is_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    fs::write(dir.join("images/1.png"), "no image").unwrap();
    let whole = fs::read(dir.join("images/2.png")).unwrap();
    fs::write(dir.join("images/2.png"), &whole[..whole.len() / 2]).unwrap();
    let run = oxidet(dir, "inference -m model.tlt -i images -r out");
    assert_eq!(run.code, 3, "{}", run.told());
    for batch in [1, 2, 4] {
        let run = oxidet(
            dir,
            &format!("inference -m model.tlt -i images -r out{batch} -b {batch} --skip-bad-images"),
        );
        assert_eq!(run.code, 0, "{}", run.told());
        assert!(run.stdout.starts_with("2 images"), "{}", run.told());
        assert!(
            run.stderr.contains("2 images are left out") && run.stderr.contains("2.png: "),
            "{}",
            run.told()
        );
        assert_eq!(fs::read_dir(dir.join(format!("out{batch}/labels"))).unwrap().count(), 2);
    }
}

#[test]
fn images_are_never_replaced_by_drawn_ones() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    fs::create_dir(dir.join("out")).unwrap();
    fs::rename(dir.join("images"), dir.join("out/images_annotated")).unwrap();
    let before = fs::read(dir.join("out/images_annotated/0.png")).unwrap();
    for images in ["out/images_annotated", "out/images_annotated/0.png"] {
        let run = oxidet(dir, &format!("inference -m model.tlt -i {images} -r out"));
        assert_eq!(run.code, 2, "{}", run.told());
        assert!(run.stderr.contains("would replace"), "{}", run.told());
    }
    assert_eq!(fs::read(dir.join("out/images_annotated/0.png")).unwrap(), before);
    fs::write(dir.join("out/images_annotated/0.a.png"), &before).unwrap();
    fs::write(dir.join("out/images_annotated/0.JPG"), &before).unwrap();
    let run = oxidet(dir, "inference -m model.tlt -i out/images_annotated -r other");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.stderr.contains("0.JPG and "), "{}", run.told());
}
