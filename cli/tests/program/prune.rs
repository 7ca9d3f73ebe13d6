//! `oxidet prune`

use std::fs;
use std::path::Path;

use crate::support::{SPEC, checkpoint, oxidet, project, save, yolo_v4};
use oxidet_graph::pass::place_quantizers;
use oxidet_proto::container::Passphrase;
use oxidet_trainer::checkpoint_file::{read_checkpoint, write_checkpoint};
use serde_json::Value;

const CHECKPOINT: &str = "out/weights/yolov4_cspdarknet_tiny_epoch_001.tlt";

/// A project with a checkpoint.
fn trained(dir: &Path) {
    project(dir);
    let run = oxidet(dir, "train -e spec.txt -r out");
    assert_eq!(run.code, 0, "{}", run.told());
}

/// Lines of a `status.json`.
fn status(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("status.json")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_pruned_model_is_measured_exported_and_retrained() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    trained(dir);
    // No filter is larger than the largest: all layers are cut to their minimum.
    let line = format!(
        "prune -m {CHECKPOINT} -e spec.txt -o small/pruned.tlt -n max -eq union -pg 8 -pth 1 -nf 16 --results_dir log -v"
    );
    let run = yolo_v4(dir, &line);
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stderr.contains("conv_0: 32 -> 16 filters"), "{}", run.told());
    assert!(!run.stderr.contains("conv_2_conv_0:"), "what a slice reads is kept: {}", run.told());

    let whole = read_checkpoint(&dir.join(CHECKPOINT), None).unwrap();
    let pruned = read_checkpoint(&dir.join("small/pruned.tlt"), None).unwrap();
    assert_eq!((&pruned.training, &pruned.spec), (&None, &whole.spec));
    let parameters = pruned.detector.graph.param_count();
    let ratio = parameters as f64 / whole.detector.graph.param_count() as f64;
    assert!(ratio < 0.3, "{ratio}");
    let bytes = fs::metadata(dir.join("small/pruned.tlt")).unwrap().len();
    let kpi = serde_json::json!({
        "pruning_ratio": ratio, "size": bytes as f64 / f64::from(1 << 20), "param_count": parameters as f64 / 1e6,
    });
    let [.., running, success] = &status(&dir.join("log"))[..] else { panic!("too few lines") };
    assert_eq!((&running["status"], &running["kpi"]), (&"RUNNING".into(), &kpi));
    assert_eq!((&success["status"], &success["kpi"]), (&"SUCCESS".into(), &kpi));

    let path = "num_epochs: 1 pruned_model_path: \"small/pruned.tlt\"";
    fs::write(dir.join("retrain.txt"), SPEC.replace("num_epochs: 1", path)).unwrap();
    for line in [
        "evaluate -m small/pruned.tlt -e spec.txt",
        "export -m small/pruned.tlt -o small/model.onnx",
        "train -e retrain.txt -r again",
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 0, "{line}: {}", run.told());
    }
    let retrained = read_checkpoint(&dir.join(CHECKPOINT.replace("out", "again")), None).unwrap();
    assert_eq!(retrained.detector.graph, pruned.detector.graph);
    assert_ne!(retrained.params, pruned.params);
}

#[test]
fn a_dry_run_shows_what_thresholds_leave() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    trained(dir);
    let run = oxidet(dir, &format!("prune -m {CHECKPOINT} -pth 1.5 --dry-run"));
    assert_eq!(run.code, 0, "{}", run.told());
    let rows: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let first: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let tenths = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"];
    assert_eq!(first, [&["threshold", "unpruned"], &tenths[..], &["1.5"]].concat());
    assert_eq!(rows[1][2..4], ["100", "%"]);
    let share = |row: &[&str]| row[2].parse::<f64>().unwrap();
    assert!(rows[1..].is_sorted_by(|a, b| share(a) >= share(b)), "{}", run.stdout);
    assert!(share(&rows[11]) < 30.0, "{}", run.stdout);

    let run = oxidet(dir, &format!("prune -m {CHECKPOINT} -e spec.txt --dry-run -o never.tlt"));
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.lines().next().unwrap().ends_with("mAP"), "{}", run.told());
    assert!(run.stderr.contains("mAP of the first 4 validation images"), "{}", run.told());
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 4, "nothing but the project and the training: {files:?}");
}

#[test]
fn a_share_of_the_macs_is_reached_or_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    trained(dir);
    let run = oxidet(dir, &format!("prune -m {CHECKPOINT} -o half.tlt --target-macs 50%"));
    assert_eq!(run.code, 0, "{}", run.told());
    let macs = |file: &str| -> u64 {
        read_checkpoint(&dir.join(file), None).unwrap().detector.graph.macs(64, 96).unwrap().iter().sum()
    };
    let share = macs("half.tlt") as f64 / macs(CHECKPOINT) as f64;
    assert!((0.4..=0.5).contains(&share), "{share}");
    // What is printed does the same again.
    let threshold = run.stdout.lines().next().unwrap().split_whitespace().last().unwrap();
    let run = oxidet(dir, &format!("prune -m {CHECKPOINT} -o again.tlt -pth {threshold}"));
    assert_eq!(run.code, 0, "{}", run.told());
    assert_eq!(fs::read(dir.join("half.tlt")).unwrap(), fs::read(dir.join("again.tlt")).unwrap());
}

#[test]
fn what_cannot_be_pruned_is_refused_with_the_reason() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    trained(dir);
    fs::write(dir.join("other.txt"), SPEC.replace("output_width: 96", "output_width: 128")).unwrap();
    let resnet =
        SPEC.replace("\"cspdarknet_tiny\"", "\"resnet\" nlayers: 10 small_anchor_shape: \"[(9, 9)]\"");
    fs::write(dir.join("resnet.txt"), resnet).unwrap();
    fs::write(dir.join("there.tlt"), "").unwrap();
    for (arguments, code, says) in [
        ("-o no.tlt -m missing.tlt", 3, "missing.tlt"),
        ("", 2, "--output_file"),
        ("-o ./out/../out/weights/yolov4_cspdarknet_tiny_epoch_001.tlt", 2, "-o is the model itself"),
        ("-o no.tlt -pth -1", 2, "a number from 0"),
        ("-o no.tlt -pg 0", 2, "--pruning_granularity"),
        ("-o no.tlt -nf 0", 2, "--min_num_filters"),
        ("-o no.tlt -el conv_0 yolo_conv33_6", 2, "`yolo_conv33_6`; did you mean `yolo_conv3_6`?"),
        ("-o no.tlt --target-macs 50", 2, "a percentage such as 50% is needed"),
        ("-o no.tlt --target-macs 50% -pth 0.5", 2, "cannot be used with"),
        ("-o no.tlt --target-macs 2%", 2, "2.0 % of the MACs cannot be reached; the least is"),
        ("-o no.tlt -e resnet.txt", 3, "the spec's network (arch, nlayers) differ"),
        ("-o images", 2, "-o images is a folder"),
        ("-o no.tlt -e other.txt", 3, "input of the model and of the spec differ"),
        ("-o no -pth 1 -nf 1", 0, "no.hdf5"),
        ("-o there.tlt -el conv_0", 0, "there.tlt"),
    ] {
        let model = if arguments.contains("-m ") { "" } else { CHECKPOINT };
        let model = if model.is_empty() { String::new() } else { format!(" -m {model}") };
        let run = oxidet(dir, format!("prune{model} {arguments}").trim_end());
        assert_eq!(run.code, code, "{arguments}: {}", run.told());
        assert!(run.told().contains(says), "{arguments}: {}", run.told());
        assert!(!dir.join("no.tlt").exists(), "{arguments}");
    }
}

#[test]
fn an_exclusion_that_keeps_more_than_it_names_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    save(dir, "model.tlt", &checkpoint());
    let run = oxidet(dir, "prune -m model.tlt -o a.tlt -pth 0.99 -el conv_4_concat_0");
    assert_eq!(run.code, 0, "{}", run.told());
    let told = "`conv_4_concat_0` is excluded, which keeps all channels of conv_4_conv_1, conv_4_conv_2";
    assert!(run.told().contains(told), "{}", run.told());
    let run = oxidet(dir, "prune -m model.tlt -o b.tlt -pth 0.99 -el conv_5");
    assert!(!run.told().contains("is excluded"), "{}", run.told());
}

#[test]
fn an_encrypted_model_trained_with_quantisation_keeps_its_ranges() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut model = checkpoint();
    (model.detector, model.params) = place_quantizers(&model.detector, &model.params);
    let ranges: Vec<String> =
        model.params.iter().map(|(name, _)| name.to_owned()).filter(|name| name.ends_with("/amax")).collect();
    for (at, name) in ranges.iter().enumerate() {
        model.params.get_mut(name).unwrap().data_mut()[0] = 1.0 + at as f32;
    }
    let key = Passphrase::new("secret".into()).unwrap();
    write_checkpoint(&dir.join("model.tlt"), &model, Some(&key)).unwrap();
    let run = oxidet(dir, "prune -m model.tlt -o a.tlt -pth 0.99 -k secret");
    assert_eq!(run.code, 0, "{}", run.told());
    let pruned = read_checkpoint(&dir.join("a.tlt"), Some(&key)).unwrap();
    assert!(pruned.detector.graph.param_count() < model.detector.graph.param_count());
    for name in &ranges {
        assert_eq!(pruned.params.get(name), model.params.get(name), "{name}");
    }
    assert!(read_checkpoint(&dir.join("a.tlt"), None).is_err(), "it is encrypted, too");

    model.params.get_mut(&ranges[0]).unwrap().data_mut()[0] = -1.0;
    save(dir, "damaged.tlt", &model);
    let run = oxidet(dir, "prune -m damaged.tlt -o b.tlt");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.told().contains("/amax` is [-1.0]"), "{}", run.told());
}

#[test]
fn a_model_that_computes_no_numbers_is_the_models_fault() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut model = checkpoint();
    model.params.get_mut("conv_5_bn/moving_variance").unwrap().data_mut()[0] = -9.0;
    save(dir, "model.tlt", &model);
    let run = oxidet(dir, "prune -m model.tlt -o a.tlt -pth 0.99");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.told().contains("model.tlt: the model's outputs are not finite"), "{}", run.told());
}
