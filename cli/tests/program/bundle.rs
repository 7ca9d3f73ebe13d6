//! What is written along with a model, and checking it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{checkpoint, oxidet, project, save};

/// `[section]` and `key=value`, read by the simplest rules there are.
fn ini(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut values = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            let old = values.insert(format!("{section}.{key}"), value.to_owned());
            assert_eq!(old, None, "{key} is there twice");
        }
    }
    values
}

fn ok(dir: &Path, line: &str) -> String {
    let run = oxidet(dir, line);
    assert_eq!(run.code, 0, "{line}: {}", run.told());
    run.told()
}

fn refused(dir: &Path, line: &str, code: i32, says: &str) {
    let run = oxidet(dir, line);
    assert_eq!(run.code, code, "{line}: {}", run.told());
    assert!(run.told().contains(says), "{line}: {}", run.told());
}

#[test]
fn a_deepstream_set_says_what_the_network_reads() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    let model = checkpoint();
    save(dir, "model.tlt", &model);
    ok(
        dir,
        "export -m model.tlt -o ds/m.onnx --target deepstream --gen_ds_config --max_batch_size 4 --data_type int8 --batches 1",
    );
    let config = ini(&fs::read_to_string(dir.join("ds/nvinfer_config.txt")).unwrap());
    let preprocess = &model.detector.preprocess;
    for (key, value) in [
        ("onnx-file", "m.onnx".to_owned()),
        ("model-engine-file", "m.onnx_b4_gpu0_int8.engine".into()),
        ("labelfile-path", "labels.txt".into()),
        ("int8-calib-file", "cal.bin".into()),
        ("network-mode", "1".into()),
        ("batch-size", "4".into()),
        ("num-detected-classes", model.detector.classes.len().to_string()),
        ("infer-dims", format!("3;{};{}", preprocess.height, preprocess.width)),
        ("net-scale-factor", "1.0".into()),
        ("offsets", "103.939;116.779;123.68".into()),
        ("model-color-format", "1".into()),
        ("maintain-aspect-ratio", "1".into()),
        ("symmetric-padding", "1".into()),
        ("cluster-mode", "4".into()),
        ("parse-bbox-func-name", "NvDsInferParseCustomBatchedNMSTLT".into()),
    ] {
        assert_eq!(config.get(&format!("property.{key}")), Some(&value), "{key}");
    }
    assert!(config["class-attrs-all.pre-cluster-threshold"].parse::<f32>().unwrap() >= 0.3);
    for file in ["m.onnx", "labels.txt", "cal.bin"] {
        assert!(dir.join("ds").join(file).exists(), "{file}");
    }
    let told = ok(dir, "verify ds");
    for file in ["m.onnx", "labels.txt", "nvinfer_config.txt", "cal.bin", "cal.bin.json"] {
        assert!(told.contains(&format!("{file}: ok")), "{file}: {told}");
    }
    refused(dir, "export -m model.tlt -o x.onnx --target trt11 --gen_ds_config", 2, "deepstream");
}

#[test]
fn a_triton_model_has_a_configuration_and_says_how_its_engine_is_built() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    let told = ok(
        dir,
        "export -m model.tlt -o m.onnx --target trt10 --triton repo --max_batch_size 16 --data_type fp16",
    );
    assert!(told.contains("trtexec") && told.contains("--fp16"), "{told}");
    ok(dir, "export -m model.tlt -o o.onnx --target ort --triton repo --max_batch_size 2");
    let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
    let config = read("repo/m/config.pbtxt");
    for part in ["platform: \"tensorrt_plan\"", "max_batch_size: 16", "TYPE_INT32", "--maxShapes=Input:16x3x"]
    {
        assert!(config.contains(part), "{part}: {config}");
    }
    let config = read("repo/o/config.pbtxt");
    for part in ["platform: \"onnxruntime_onnx\"", "max_batch_size: 2", "\"boxes\"", "\"scores\""] {
        assert!(config.contains(part), "{part}: {config}");
    }
    for file in ["m/model.onnx", "m/labels.txt", "o/1/model.onnx"] {
        assert!(dir.join("repo").join(file).exists(), "{file}");
    }
}

#[test]
fn a_changed_file_or_signature_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    fs::write(dir.join("key.pem"), PRIVATE).unwrap();
    fs::write(dir.join("key.pub"), PUBLIC).unwrap();
    fs::write(dir.join("other.pub"), OTHER_PUBLIC).unwrap();
    ok(dir, "export -m model.tlt -o out/m.onnx --sign-key key.pem");
    let told = ok(dir, "verify out --public-key key.pub");
    assert!(told.contains("m.onnx: ok") && told.contains("manifest.json.sig: ok"), "{told}");
    assert!(ok(dir, "verify out/manifest.json").contains("not checked"));
    refused(dir, "verify out --public-key other.pub", 1, "manifest.json.sig");
    refused(dir, "verify out --public-key key.pem", 2, "public half");
    let signature = dir.join("out/manifest.json.sig");
    if Command::new("openssl").arg("version").output().is_ok() {
        let checked = Command::new("openssl")
            .args("pkeyutl -verify -pubin -inkey key.pub -rawin -in out/manifest.json -sigfile out/manifest.json.sig".split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }

    // Each file in turn is changed by a byte, or taken away.
    for (file, says) in [("m.onnx", "m.onnx: changed"), ("labels.txt", "labels.txt: changed")] {
        let path = dir.join("out").join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, bad).unwrap();
        refused(dir, "verify out --public-key key.pub", 1, says);
        fs::remove_file(&path).unwrap();
        refused(dir, "verify out", 1, &says.replace("changed", "missing"));
        fs::write(&path, good).unwrap();
    }
    let manifest = dir.join("out/manifest.json");
    let good = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, good.replacen("labels.txt", "../labels.txt", 1)).unwrap();
    refused(dir, "verify out", 3, "files");
    fs::write(&manifest, good.replacen("fp32", "fp16", 1)).unwrap();
    refused(dir, "verify out --public-key key.pub", 1, "manifest.json.sig");
    fs::write(&manifest, &good).unwrap();
    fs::remove_file(&signature).unwrap();
    refused(dir, "verify out --public-key key.pub", 1, "not signed");
    ok(dir, "verify out");

    ok(dir, "export -m model.tlt -o enc/m.etlt -k secret");
    refused(dir, "verify enc", 2, "key");
    refused(dir, "verify enc -k wrong", 3, "key");
    assert!(ok(dir, "verify enc -k secret").contains("m.etlt: ok"));
}

/// Test 2 of RFC 8032, section 7.1.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n\
    -----END PUBLIC KEY-----\n";
/// Test 1 there.
const OTHER_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";
