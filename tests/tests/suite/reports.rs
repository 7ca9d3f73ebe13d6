//! What a training run leaves for people to read, across stops and full disks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use oxidet_tests::squares::{draw, request, run, spec};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::train::{Event, train};
use serde_json::Value;

const VISUALIZER: &str = "visualizer { enabled: true num_images: 2 weight_histograms: true }";
const LOG: &str = "yolov4_training_log_cspdarknet_tiny.csv";

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn history(dir: &Path) -> Value {
    serde_json::from_str(&text(dir.join("history.json"))).expect("history.json is JSON")
}

/// A run of six epochs, killed in the fifth, and resumed from the checkpoint of the third: epoch four is learnt twice.
fn killed_and_resumed(data: &Path, results: &Path) {
    run(&spec(data, VISUALIZER, ""), results, None, Some(14));
    let checkpoint = results.join("weights/yolov4_cspdarknet_tiny_epoch_003.tlt");
    let load = format!("{VISUALIZER} resume_model_path: \"{}\"", checkpoint.display());
    run(&spec(data, &load, ""), results, None, None);
}

#[test]
fn a_resumed_run_tells_every_epoch_once() {
    let dir = tempfile::tempdir().expect("a folder");
    draw(dir.path(), 10);
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    run(&spec(dir.path(), "", ""), &whole, None, None);
    killed_and_resumed(dir.path(), &parts);
    for name in [LOG, "history.json"] {
        assert_eq!(text(whole.join(name)), text(parts.join(name)), "{name}");
    }
    let history = history(&parts);
    let epochs = history["epochs"].as_array().expect("a list");
    assert_eq!(
        epochs.iter().map(|e| e["epoch"].as_u64()).collect::<Vec<_>>(),
        (1..=6).map(Some).collect::<Vec<_>>()
    );
    for (epoch, line) in epochs.iter().zip(text(whole.join(LOG)).lines().skip(1)) {
        let fields: Vec<&str> = line.split(',').collect();
        for (value, field) in
            [(&epoch["ap"]["square"], 1), (&epoch["loss"], 2), (&epoch["validation_loss"], 5)]
        {
            let number = fields[field].parse::<f64>().ok().filter(|number| !number.is_nan());
            assert_eq!(value.as_f64(), number, "{line}");
        }
    }

    let page = text(parts.join("report.html"));
    assert!(page.contains("finished") && page.contains("since it was resumed after epoch 3"));
    assert!(text(whole.join("report.html")).matches("<image href=\"data:image/jpeg;base64,").count() == 10);
    for foreign in ["http:", "https:", "<script", "@import", "NaN", "inf<"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_told_once_and_stops_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    draw(dir.path(), 6);
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let (plain, _) = run(&spec(dir.path(), "", ""), &whole, None, None);
    for name in ["history.json", "report.html", LOG] {
        fs::create_dir_all(broken.join(name)).expect("made");
    }
    fs::write(broken.join("logs"), "a file").expect("written");
    let stop = AtomicBool::new(false);
    let spec = spec(dir.path(), VISUALIZER, "");
    let mut told = BTreeMap::new();
    let summary = train(&request(&spec, &broken, &stop), &mut |event| {
        if let Event::ReportFailed(error) = event {
            assert!(error.to_string().contains("training goes on"), "{error}");
            *told.entry(error.path.clone()).or_insert(0) += 1;
        }
    });
    let summary = summary.unwrap_or_else(|error| panic!("{error}"));
    let paths = ["history.json", "logs", "report.html", LOG].map(|name| (broken.join(name), 1));
    assert_eq!(told, BTreeMap::from(paths));
    let read = |path: &Path| read_checkpoint(path, None).unwrap_or_else(|error| panic!("{error}"));
    assert!(read(&plain.checkpoint).params == read(&summary.checkpoint).params, "reports change nothing");
}

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with tensorboard and pillow")]
fn tensorboard_shows_every_step_once() {
    let dir = tempfile::tempdir().expect("a folder");
    draw(dir.path(), 10);
    let results = dir.path().join("results");
    // What an earlier run left there is not of this one.
    run(&spec(dir.path(), VISUALIZER, ""), &results, None, Some(4));
    killed_and_resumed(dir.path(), &results);

    let out = dir.path().join("shown.json");
    let python = std::env::var("OXIDET_PEERS_PYTHON").expect("the build script saw it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/read_tensorboard.py");
    let output = std::process::Command::new(python)
        .args([script.as_ref(), results.join("logs").as_path(), &out])
        .output();
    let output = output.expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Value = serde_json::from_str(&text(out)).expect("the script writes JSON");

    let steps = |values: &Value| -> Vec<u64> {
        values.as_array().expect("a list").iter().map(|value| value[0].as_u64().expect("a step")).collect()
    };
    let numbers = |values: &Value| -> Vec<f64> {
        values.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
    };
    let tags = |run: &str, kind: &str| -> Vec<String> {
        shown[run][kind].as_object().expect("tags").keys().cloned().collect()
    };
    assert_eq!(tags(".", "scalars"), ["loss", "lr", "validation_loss", "mAP", "AP_square"]);
    let batch =
        ["batch/loss", "batch/lr", "batch/loss_loc", "batch/loss_pos", "batch/loss_neg", "batch/loss_cls"];
    assert_eq!(tags("batches", "scalars"), batch);
    for tag in batch {
        assert_eq!(steps(&shown["batches"]["scalars"][tag]), (1..=18).collect::<Vec<_>>(), "{tag}");
    }
    // The numbers of the history, those that are there.
    let history = history(&results);
    for (tag, of) in [
        ("loss", (|e| &e["loss"]) as fn(&Value) -> &Value),
        ("lr", |e| &e["learning_rate"]),
        ("validation_loss", |e| &e["validation_loss"]),
        ("mAP", |e| &e["map"]),
        ("AP_square", |e| &e["ap"]["square"]),
    ] {
        let epochs = history["epochs"].as_array().expect("a list").iter();
        let want: Vec<(u64, f32)> =
            epochs.filter_map(|epoch| Some((epoch["epoch"].as_u64()?, of(epoch).as_f64()? as f32))).collect();
        let values = shown["."]["scalars"][tag].as_array().expect("a list").iter();
        let found: Vec<(u64, f32)> =
            values.filter_map(|value| Some((value[0].as_u64()?, value[1].as_f64()? as f32))).collect();
        assert_eq!(found, want, "{tag}");
    }

    assert_eq!(tags(".", "images"), ["augmented_images/image/0", "augmented_images/image/1"]);
    for (tag, values) in shown["."]["images"].as_object().expect("tags") {
        assert_eq!(steps(values), [1, 2, 3, 4, 5, 6], "{tag}");
        for value in values.as_array().expect("a list") {
            let image = &value[1];
            assert_eq!((&image["size"], &image["png"]), (&Value::from(vec![64, 64]), &image["size"]));
            assert!(image["colors"].as_u64() > Some(2), "{tag} has a picture and a box in it");
        }
    }

    let checkpoint = results.join("weights/yolov4_cspdarknet_tiny_epoch_006.tlt");
    let checkpoint = read_checkpoint(&checkpoint, None).unwrap_or_else(|error| panic!("{error}"));
    let histograms = shown["."]["histograms"].as_object().expect("tags");
    let trained = checkpoint.detector.graph.param_specs().into_iter().filter(|spec| spec.kind.is_trained());
    for spec in trained {
        let what = spec.kind.name().replace("kernel", "weight");
        let values = &histograms[&format!("histogram/{what}/{}", spec.layer)];
        assert_eq!(steps(values), [1, 2, 3, 4, 5, 6], "{}", spec.name);
        let last = &values[5][1];
        let weights = checkpoint.params.get(&spec.name).expect("every parameter is there").data();
        let count = weights.len() as f64;
        assert_eq!(numbers(&last["counts"]), [count, count, 0.0], "{}", spec.name);
        let wide = || weights.iter().map(|weight| f64::from(*weight));
        let range = [wide().fold(f64::MAX, f64::min), wide().fold(f64::MIN, f64::max)];
        assert_eq!(numbers(&last["range"]), range, "{}", spec.name);
        let sums = [wide().sum::<f64>(), wide().map(|weight| weight * weight).sum()];
        assert_eq!(numbers(&last["sums"]), sums, "{}", spec.name);
    }
}
