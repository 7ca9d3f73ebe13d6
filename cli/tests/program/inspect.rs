//! `oxidet inspect`

use std::fs;

use oxidet_graph::pass::place_quantizers;
use oxidet_graph::{BestEpoch, ParamKind, TrainingState};
use oxidet_trainer::checkpoint_file::write_checkpoint;
use serde_json::{Value, json};

use crate::support::{SPEC, checkpoint, oxidet, project, pruned, save};

/// YOLOv4-tiny for one class and one anchor a head.
const PARAMETERS: u64 = 5_871_084;

fn inspect_json(dir: &std::path::Path, line: &str) -> Value {
    let run = oxidet(dir, &format!("inspect {line} --json"));
    assert_eq!(run.code, 0, "{line}: {}", run.told());
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn a_checkpoint_is_told_layer_by_layer() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut model = checkpoint();
    let kernel = model.params.get_mut("conv_0/kernel").unwrap().data_mut();
    // The first filter is 0, some of the second too, and one weight is next to it.
    kernel.fill(0.5);
    kernel[..27 + 6].fill(0.0);
    kernel[40] = 1e-6;
    model.training = Some(TrainingState {
        epoch: 3,
        step: 12,
        best: Some(BestEpoch { epoch: 2, monitor: "mAP".into(), value: 0.5 }),
        ..TrainingState::default()
    });
    save(dir, "model.tlt", &model);

    let run = oxidet(dir, "inspect model.tlt");
    assert_eq!(run.code, 0, "{}", run.told());
    let line = |start: &str| -> &str {
        run.stdout.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{}", run.told()))
    };
    assert!(line("network").contains("cspdarknet_tiny, 5,871,084 parameters (22.4 MiB)"), "{}", run.told());
    assert!(line("input").contains("96 x 64 x 3"), "{}", run.told());
    assert!(line("training").contains("3 epochs, 12 steps, best epoch 2: mAP 0.5000"), "{}", run.told());
    assert!(line("sparsity").contains("1 of "), "{}", run.told());
    // 864 weights and four numbers a filter; 27 multiplications at each of 32 · 32 · 48 outputs; 33 and 34 of 864.
    let words: Vec<&str> = line("conv_0 ").split_whitespace().collect();
    assert_eq!(words.join(" "), "conv_0 conv 3x3/2, bn, leaky relu [32, 32, 48] 992 1,327,104 3.8 % 3.9 % 1");
    for silent in ["quantised", "spec"] {
        assert!(!run.stdout.lines().any(|line| line.starts_with(silent)), "{}", run.told());
    }

    let told = inspect_json(dir, "-m model.tlt");
    assert_eq!((&told["parameters"], &told["bytes"]), (&json!(PARAMETERS), &json!(4 * PARAMETERS)));
    assert_eq!(told["spec"], json!({ "network": "same" }));
    assert_eq!(told["training"]["best"], json!({ "epoch": 2, "monitor": "mAP", "value": 0.5 }));
    assert_eq!(told["heads"][0]["anchors"], json!([[40.0, 40.0]]));
    let layers = told["layers"].as_array().unwrap();
    let total = |key: &str| layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("parameters"), total("macs")), (PARAMETERS, told["macs"].as_u64().unwrap()));
    let first = layers.iter().find(|layer| layer["name"] == "conv_0").unwrap();
    assert_eq!(first["nodes"], json!(["conv_0", "conv_0_bn", "conv_0_mish"]));
    assert_eq!(
        first["sparsity"],
        json!({ "weights": 864, "zero": 33, "small": 34, "filters": 32, "dead_filters": 1 })
    );

    let run = oxidet(dir, "inspect model.tlt --spec");
    assert_eq!(run.stdout.trim(), SPEC.trim());
}

#[test]
fn ranges_are_shown_and_pruning_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut model = pruned();
    (model.detector, model.params) = place_quantizers(&model.detector, &model.params);
    save(dir, "fresh.tlt", &model);
    let quantizers: Vec<String> = model
        .detector
        .graph
        .nodes()
        .iter()
        .map(|node| node.name.clone())
        .filter(|n| n.ends_with("_qdq"))
        .collect();
    for name in &quantizers {
        model.params.get_mut(&ParamKind::Amax.of(name)).unwrap().data_mut()[0] = 2.0;
    }
    // A concatenation joins it with what `conv_2_conv_1` makes.
    let widest = "conv_2_conv_2_mish_qdq";
    model.params.get_mut(&ParamKind::Amax.of(widest)).unwrap().data_mut()[0] = 5.25;
    save(dir, "model.tlt", &model);

    let run = oxidet(dir, "inspect fresh.tlt");
    assert!(run.stdout.contains("none has a range yet"), "{}", run.told());
    let run = oxidet(dir, "inspect model.tlt");
    assert_eq!(run.code, 0, "{}", run.told());
    let convolutions =
        model.detector.graph.param_specs().iter().filter(|s| s.kind == ParamKind::Kernel).count();
    let quantised = format!(
        "quantised  {} quantisers, {convolutions} of {convolutions} kernels; trained with quantisation",
        quantizers.len()
    );
    assert!(run.stdout.contains(&quantised), "{quantised}\n{}", run.told());
    let pruned = "spec       widths differ from the spec's network: pruned, 25.";
    assert!(run.stdout.contains(pruned), "{}", run.told());
    let narrow = run.stdout.lines().find(|line| line.starts_with("conv_2_conv_1 ")).unwrap();
    assert!(narrow.ends_with("5.250 (its own 2.000)"), "{}", run.told());

    let told = inspect_json(dir, "model.tlt");
    assert_eq!(told["spec"], json!({ "network": "pruned", "parameters": PARAMETERS }));
    let ranges: Vec<&Value> =
        told["layers"].as_array().unwrap().iter().flat_map(|l| l["quantizers"].as_array().unwrap()).collect();
    assert_eq!(ranges.len(), quantizers.len());
    let last = ranges.iter().find(|range| range["name"] == widest).unwrap();
    assert_eq!((&last["amax"], &last["shared_amax"]), (&json!(5.25), &json!(5.25)));
    assert!(ranges.iter().all(|range| range["amax"] == 2.0 || range["name"] == widest));
}

#[test]
fn a_spec_is_enough_for_a_network() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    let run = oxidet(dir, "inspect -e spec.txt");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.contains("5,871,084 parameters"), "{}", run.told());
    assert!(!run.stdout.contains("sparsity") && !run.stdout.contains("dead"), "{}", run.told());
    let run = oxidet(dir, "inspect -e spec.txt --blocks");
    assert!(run.stdout.contains("freeze_blocks keeps"), "{}", run.told());
    assert!(!run.stdout.contains("operator"), "{}", run.told());
    let told = inspect_json(dir, "-e spec.txt");
    assert_eq!((&told["sparsity"], &told["layers"][1]["sparsity"]), (&Value::Null, &Value::Null));

    let key = oxidet_proto::container::Passphrase::new("secret".into()).unwrap();
    write_checkpoint(&dir.join("locked.tlt"), &checkpoint(), Some(&key)).unwrap();
    fs::write(dir.join("bad.tlt"), "no model").unwrap();
    for (line, code, says) in [
        ("inspect", 2, "MODEL"),
        ("inspect locked.tlt -m b.tlt", 2, "oxidet diff"),
        ("inspect a.tlt -e spec.txt", 2, "cannot be used with"),
        ("inspect -e spec.txt --spec", 2, "required"),
        ("inspect a.tlt --json --blocks", 2, "cannot be used with"),
        ("inspect missing.tlt", 3, "missing.tlt"),
        ("inspect bad.tlt", 3, "bad.tlt"),
        ("inspect locked.tlt", 2, "encrypted"),
        ("inspect locked.tlt -k secret", 0, "cspdarknet_tiny"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
}
