//! `oxidet encrypt` and `oxidet decrypt`

use std::fs;
use std::path::Path;

use oxidet_proto::onnx::{GraphProto, ModelProto};
use oxidet_trainer::checkpoint_file::read_checkpoint;

use crate::support::{checkpoint, oxidet, save};

/// Bytes of a model that fills several chunks.
fn model() -> Vec<u8> {
    let graph = GraphProto { name: "x".repeat(200_000), ..GraphProto::default() };
    ModelProto { ir_version: 8, graph: Some(graph), ..ModelProto::default() }.to_bytes()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn models_and_checkpoints_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("a.onnx"), model()).unwrap();
    save(dir, "plain.tlt", &checkpoint());
    for (line, says) in [
        ("encrypt a.onnx -k secret", "a.etlt: an exported model (.etlt)"),
        ("decrypt a.etlt -o b/b.onnx -k secret", "b/b.onnx: an ONNX model"),
        ("encrypt plain.tlt -k secret", "plain.encrypted.tlt: a checkpoint (.tlt)"),
        ("OXIDET_KEY=secret decrypt plain.encrypted.tlt", "plain.encrypted.safetensors: a plain checkpoint"),
        ("encrypt plain.encrypted.safetensors -o locked.tlt -k secret", "locked.tlt: a checkpoint (.tlt)"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!((run.code, run.stdout.trim()), (0, says), "{line}: {}", run.told());
    }
    assert_eq!(fs::read(dir.join("b/b.onnx")).unwrap(), model());
    let plain = fs::read(dir.join("plain.tlt")).unwrap();
    assert_eq!(fs::read(dir.join("plain.encrypted.safetensors")).unwrap(), plain);
    let key = oxidet_proto::container::Passphrase::new("secret".into()).unwrap();
    let opened = read_checkpoint(&dir.join("locked.tlt"), Some(&key)).unwrap();
    assert_eq!(opened.to_bytes(), plain);
}

#[test]
fn nothing_is_left_behind_or_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("a.onnx"), model()).unwrap();
    assert_eq!(oxidet(dir, "encrypt a.onnx -k secret").code, 0);
    let sealed = fs::read(dir.join("a.etlt")).unwrap();
    let mut bad = sealed.clone();
    // In the last chunk, when the others have been written.
    *bad.last_mut().unwrap() ^= 1;
    fs::write(dir.join("bad.etlt"), bad).unwrap();
    fs::write(dir.join("short.etlt"), &sealed[..sealed.len() - 1]).unwrap();
    fs::write(dir.join("other.txt"), "no model, and longer than a header by far ".repeat(9)).unwrap();
    fs::write(dir.join("nvidia.etlt"), b"\x05\0\0\0Input\x93\x11").unwrap();
    let before = names(dir);
    for (line, code, says) in [
        ("encrypt a.onnx", 2, "give the key with -k"),
        ("encrypt a.onnx -k secret", 2, "a.etlt exists; --force"),
        ("encrypt a.onnx -o ./a.onnx -k secret --force", 2, "reads this file"),
        ("encrypt a.onnx -o . -k secret --force", 2, "is a folder"),
        ("encrypt missing.onnx -k secret", 3, "missing.onnx"),
        ("encrypt . -o x -k secret", 3, "folder"),
        ("encrypt a.etlt -o x -k secret", 3, "encrypted already"),
        ("encrypt other.txt -o x -k secret", 3, "neither a plain checkpoint nor an ONNX model"),
        ("encrypt nvidia.etlt -o x -k secret", 3, "NVIDIA's own .etlt"),
        ("decrypt a.etlt -o x -k Secret", 3, "wrong key"),
        ("decrypt a.etlt -k secret", 2, "a.onnx exists; --force"),
        ("decrypt a.etlt -o a.etlt -k secret --force", 2, "reads this file"),
        (
            "decrypt bad.etlt -o x -k secret",
            3,
            "bad.etlt: the file is damaged or was tampered with: chunk 4 of 4",
        ),
        ("decrypt short.etlt -o x -k secret", 3, "bytes instead of"),
        ("decrypt a.onnx -o x -k secret", 3, "not encrypted by oxidet"),
        ("decrypt nvidia.etlt -o x -k secret", 3, "NVIDIA's own .etlt"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.stderr.contains(says), "{line}: {}", run.told());
    }
    assert_eq!(names(dir), before);
    assert_eq!(fs::read(dir.join("a.etlt")).unwrap(), sealed);
    // A file that does not open leaves the one in its place alone.
    assert_eq!(oxidet(dir, "decrypt bad.etlt -o a.onnx -k secret --force").code, 3);
    assert_eq!(fs::read(dir.join("a.onnx")).unwrap(), model());
    assert_eq!(oxidet(dir, "decrypt a.etlt -k secret --force").code, 0);
    // Salt and nonce are drawn anew.
    assert_eq!(oxidet(dir, "encrypt a.onnx -o again.etlt -k secret").code, 0);
    assert_ne!(fs::read(dir.join("again.etlt")).unwrap(), sealed);
}
