//! The C example is compiled, linked with the library and run, and finds what the Rust library finds.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use oxidet_graph::onnx::Batch;
use oxidet_proto::container::{KdfParams, Kind, Passphrase, RANDOM_LEN, seal};
use oxidet_runtime::{Cpu, EngineOptions, Model};
use oxidet_tests::{checkpoint, exported};
use oxidet_vision::{Image, Picture};

/// Where cargo puts the library: beside the tests.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().expect("a file lies in a folder").to_owned()
}

fn compile(dir: &Path) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = dir.join("detect");
    let output = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(here.join("examples/detect.c"))
        .arg("-I")
        .arg(here.join("include"))
        .arg("-L")
        .arg(library_dir())
        .arg("-loxidet")
        .output()
        .expect("cc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, args: &[&Path]) -> Output {
    Command::new(program).args(args).env("LD_LIBRARY_PATH", library_dir()).output().expect("the example runs")
}

#[test]
#[cfg_attr(not(c_compiler), ignore = "needs a C compiler (cc)")]
fn the_example_finds_what_the_library_finds() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let onnx = exported(&checkpoint("cspdarknet_tiny", 0, "", 3), 12, Batch::Dynamic).onnx;
    fs::write(at("model.onnx"), &onnx).unwrap();
    let (width, height) = (50, 40);
    let data: Vec<u8> = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
    let ppm = [format!("P6 {width} {height} 255\n").as_bytes(), &data].concat();
    fs::write(at("picture.ppm"), ppm).unwrap();

    let mut model = Model::load(&onnx, None, &Cpu, &EngineOptions::default()).unwrap();
    let picture = Picture::from(Image { width, height, channels: 3, data });
    let mut want = String::new();
    for found in model.detect(&picture, 0.3).unwrap() {
        let b = found.bbox;
        let name = &model.classes[found.class];
        writeln!(want, "{name} {:.3} {:.1} {:.1} {:.1} {:.1}", found.score, b.x1, b.y1, b.x2, b.y2).unwrap();
    }
    assert!(want.lines().count() > 0, "the test needs something to be found");

    let program = compile(dir.path());
    let output = run(&program, &[&at("model.onnx"), &at("picture.ppm")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), want);

    let key = Passphrase::new("key".into()).unwrap();
    let params = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
    fs::write(at("model.etlt"), seal(Kind::Onnx, &onnx, &key, &[3; RANDOM_LEN], params).unwrap()).unwrap();
    let opened = run(&program, &[&at("model.etlt"), &at("picture.ppm"), Path::new("key")]);
    assert_eq!(opened.stdout, output.stdout);

    for (args, code, word) in [
        (&[at("model.etlt"), at("picture.ppm")][..], 2, "encrypted"),
        (&[at("model.etlt"), at("picture.ppm"), "other".into()], 3, "wrong key"),
        (&[at("missing.onnx"), at("picture.ppm")], 3, "missing.onnx"),
        (&[at("picture.ppm"), at("picture.ppm")], 3, "picture.ppm"),
    ] {
        let args: Vec<&Path> = args.iter().map(PathBuf::as_path).collect();
        let output = run(&program, &args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(word), "{text}");
    }
}
