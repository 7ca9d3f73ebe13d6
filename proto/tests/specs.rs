//! Other people's specs: what we read agrees with Google's protobuf runtime, and our verdict with the
//! original loader.
//!
//! `../shared/specs` holds the texts, `expected/<name>.json` the message and the verdict.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use std::fs;
use std::path::{Path, PathBuf};

use oxidet_proto::lint::{Verb, Verdict, check, report};
use oxidet_proto::prototxt::Severity;
use oxidet_proto::spec::{Spec, SpecKind, parse};
use serde_json::Value;

const SPECS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/specs");

fn specs() -> Vec<(PathBuf, String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(SPECS).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = Path::new(SPECS).join("expected").join(format!("{name}.json"));
        if path.extension().is_some_and(|e| e == "txt") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text, serde_json::from_str(&fs::read_to_string(expected).unwrap()).unwrap()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 11, "{} specs in {SPECS}", found.len());
    found
}

#[test]
#[cfg_attr(not(shared_data), ignore = "needs ../shared/specs, which is not here")]
fn messages_agree_with_protobuf() {
    for (path, text, expected) in specs() {
        let spec = parse("spec", &text).unwrap_or_else(|e| panic!("{}\n{e}", path.display()));
        assert_eq!(expected["parse"], "ok");
        assert_eq!(spec.to_json(), expected["message"], "{}", path.display());
        let convert = path.file_name().unwrap().to_str().unwrap().starts_with("convert__");
        let kind = if convert { SpecKind::DatasetConvert } else { SpecKind::Experiment };
        assert_eq!(spec.kind(), kind, "{}", path.display());
    }
}

#[test]
#[cfg_attr(not(shared_data), ignore = "needs ../shared/specs, which is not here")]
fn verdicts_agree_with_the_original() {
    for (path, text, expected) in specs() {
        let report = report("spec", &text);
        let accepted = expected.get("tao_loader").is_none_or(|verdict| verdict == "accept");
        assert_eq!(report.verdict == Verdict::Runs, accepted, "{}\n{}", path.display(), report.diagnostics);
        if let Some(Spec::Experiment(parsed)) = report.spec {
            for verb in [Verb::Train, Verb::Evaluate, Verb::Inference, Verb::Export] {
                assert_eq!(check(parsed.clone(), verb).is_ok(), accepted, "{} {verb:?}", path.display());
            }
        }
    }
}

/// What we say about shipped specs is what their authors would want to know.
#[test]
#[cfg_attr(not(shared_data), ignore = "needs ../shared/specs, which is not here")]
fn shipped_specs_get_few_words() {
    let mut said = Vec::new();
    for (path, text, _) in specs() {
        let name = path.file_stem().unwrap().to_str().unwrap().rsplit("__").next().unwrap().to_owned();
        for diagnostic in report("spec", &text).diagnostics.iter().filter(|d| d.code != "S900") {
            assert_eq!(diagnostic.severity, Severity::Warning);
            said.push(format!("{name} {}: {}", diagnostic.code, diagnostic.message));
        }
    }
    assert_eq!(
        said,
        [
            "yolo_v4_tiny_kitti_vis S006: `activation` is given twice; this value counts",
            "yolo_v4_yolov4_tiny_ITS S115: no label can be of class `Heavy Truck`",
            "yolo_v4_yolov4_tiny_ITS S115: no label can be of class `Person Group`",
            "yolo_v4_yolov4_tiny_ITS S115: no label can be of class `Road sign`",
            "yolo_v4_yolov4_tiny_ITS S115: no label can be of class `person group`",
            "yolo_v4_yolov4_tiny_ITS S115: no label can be of class `road sign`",
        ]
    );
}
