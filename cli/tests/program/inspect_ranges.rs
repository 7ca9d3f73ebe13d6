//! `oxidet inspect` of calibration caches and scale files

use std::fs;

use serde_json::{Value, json};

use crate::support::{checkpoint, oxidet, save};

const CACHE: &str =
    "TRT-8503-EntropyCalibration2\r\nInput: 3F98401E\r\nconv_0_mish: 3d418306\r\nodd:0: 0\r\n";

#[test]
fn a_cache_is_told_and_compared_with_a_model() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("cal.bin"), CACHE).unwrap();
    save(dir, "model.tlt", &checkpoint());

    let run = oxidet(dir, "inspect cal.bin");
    assert_eq!(run.code, 0, "{}", run.told());
    assert_eq!(
        run.stdout.lines().collect::<Vec<_>>(),
        [
            "header     TRT-8503-EntropyCalibration2",
            "TensorRT   8.5.3",
            "tensors    3",
            "",
            "tensor        amax    scale",
            "Input        151.1    1.189",
            "conv_0_mish  6.000  0.04724",
            "odd:0            0        0",
        ]
    );
    assert!(
        run.stderr.contains("cal.bin: the scale is 0") && run.stderr.contains("1: odd:0"),
        "{}",
        run.told()
    );

    let run = oxidet(dir, "inspect cal.bin -m model.tlt");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.contains("no tensor  1: odd:0\n"), "{}", run.told());
    let run = oxidet(dir, "inspect cal.bin -m model.tlt --json");
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["tensorrt"], &told["algorithm"]), (&json!("8.5.3"), &json!("EntropyCalibration2")));
    assert_eq!(told["tensors"][1], json!({ "name": "conv_0_mish", "amax": 6.0, "scale": 0.047_244_094 }));
    assert_eq!(told["model"]["unknown"], json!(["odd:0"]));
    let without: Vec<&str> = told["model"]["without_range"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(without.len() + 2, told["model"]["tensors"].as_u64().unwrap() as usize);
    for (name, missing) in [("conv_0", true), ("cls/mul", true), ("conv_0_mish", false), ("Input", false)] {
        assert_eq!(without.contains(&name), missing, "{name} in {without:?}");
    }
    // The batch norm is folded away before a model is exported.
    assert!(!without.contains(&"conv_0_bn"));
}

#[test]
fn a_cache_is_rewritten_for_another_version() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("cal.bin"), CACHE).unwrap();
    let below = "\nInput: 3f98401e\nconv_0_mish: 3d418306\nodd:0: 00000000\n";
    for (line, header) in [
        ("inspect cal.bin --rewrite same.bin", "TRT-8503-EntropyCalibration2"),
        ("inspect cal.bin --rewrite same.bin --trt 10.3.0 --force", "TRT-100300-EntropyCalibration2"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.stdout.trim(), format!("same.bin: {header}, 3 tensors"), "{}", run.told());
        assert!(run.stderr.contains("the scale is 0"), "{}", run.told());
        assert_eq!(fs::read_to_string(dir.join("same.bin")).unwrap(), format!("{header}{below}"));
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::write(dir.join("cal.bin"), CACHE).unwrap();
    fs::write(dir.join("bad.bin"), "TRT-8503-EntropyCalibration2\na: 7fc00000\n").unwrap();
    fs::write(
        dir.join("cal.json"),
        "{\n    \"tensor_scales\": {\n        \"conv_0_mish:0\": 6.0\n    }\n}\n",
    )
    .unwrap();
    save(dir, "model.tlt", &checkpoint());
    for (line, code, says) in [
        ("inspect cal.json", 0, "conv_0_mish:0  6.000  0.04724"),
        ("inspect cal.json -m model.tlt", 0, "no tensor  none"),
        ("inspect cal.json --rewrite x", 2, "--rewrite is for calibration caches"),
        ("inspect model.tlt --rewrite x", 2, "not a calibration cache"),
        ("inspect model.tlt -m model.tlt", 2, "oxidet diff compares two checkpoints"),
        ("inspect cal.bin --blocks", 2, "are for checkpoints"),
        ("inspect cal.bin --spec", 2, "are for checkpoints"),
        ("inspect cal.bin --rewrite cal.bin", 2, "cal.bin exists; --force"),
        ("inspect cal.bin --rewrite x --trt 10", 2, "such as 8.5.3 or 10.3.0"),
        ("inspect cal.bin --trt 10.3.0", 2, "--rewrite"),
        ("inspect bad.bin", 3, "bad.bin:2: the scale of `a` is NaN"),
        ("inspect bad.bin --rewrite x", 3, "bad.bin:2"),
        ("inspect cal.bin -m missing.tlt", 3, "missing.tlt"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
    assert!(!dir.join("x").exists());
}
