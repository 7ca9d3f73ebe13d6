//! A whole run on a tiny data set: it learns, it writes what it should, and stopping changes nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use oxidet_proto::container::Passphrase;
use oxidet_proto::lint::Checked;
use oxidet_tests::squares::{checked, draw, request, run, spec};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::train::{Event, TrainSummary, train};

#[test]
fn a_stopped_and_resumed_run_ends_where_an_uninterrupted_one_does() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 10);
    let results = tempfile::tempdir().expect("a folder");
    let whole = results.path().join("whole");
    let vary = "mosaic_prob: 0.3 randomize_input_shape_period: 2";
    let (uninterrupted, losses) = run(&spec(data.path(), "", vary), &whole, None, None);
    assert_eq!(losses.len(), 6);
    // Sums over the rows of a network compare between inputs of one size only.
    let (_, losses) = run(&spec(data.path(), "", ""), &results.path().join("fixed"), None, None);
    assert!(losses[5] < losses[0] / 2.0, "the loss falls: {losses:?}");

    // Three steps an epoch: seven steps end inside the third.
    let parts = results.path().join("parts");
    let key = Passphrase::new("key".into()).expect("not empty");
    let (stopped, _) = run(&spec(data.path(), "", vary), &parts, Some(&key), Some(7));
    assert!(stopped.interrupted);
    let load = format!("resume_model_path: \"{}\"", stopped.checkpoint.display());
    let (resumed, _) = run(&spec(data.path(), &load, vary), &parts, Some(&key), None);
    assert_eq!(resumed.checkpoint.file_name(), uninterrupted.checkpoint.file_name());

    let read = |path: &Path, key| read_checkpoint(path, key).unwrap_or_else(|error| panic!("{error}"));
    let (a, b) = (read(&uninterrupted.checkpoint, None), read(&resumed.checkpoint, Some(&key)));
    assert!(a.params == b.params, "weights and running statistics are equal to the last bit");
    assert!(a.training == b.training, "so are the optimiser's state and the counters");
    let log =
        |dir: &Path| fs::read_to_string(dir.join("yolov4_training_log_cspdarknet_tiny.csv")).expect("a log");
    assert_eq!(log(&whole), log(&parts));
    assert_eq!(log(&whole).lines().count(), 7);
    assert_eq!(fs::read_to_string(whole.join("model_output_labels.txt")).ok().as_deref(), Some("square"));
}

#[test]
fn a_run_starts_from_the_weights_of_another() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 4);
    let results = tempfile::tempdir().expect("a folder");
    let (first, _) = run(&spec(data.path(), "", ""), &results.path().join("first"), None, None);
    let load = format!("pretrain_model_path: \"{}\"", first.checkpoint.display());
    let (_, losses) = run(&spec(data.path(), &load, ""), &results.path().join("second"), None, None);
    let (_, from_scratch) = run(&spec(data.path(), "", ""), &results.path().join("third"), None, None);
    assert!(losses[0] < 0.75 * from_scratch[0], "{losses:?} {from_scratch:?}");

    let nonsense = results.path().join("nonsense.tlt");
    fs::write(&nonsense, b"no checkpoint").expect("written");
    let spec = spec(data.path(), &format!("pretrain_model_path: \"{}\"", nonsense.display()), "");
    let stop = AtomicBool::new(false);
    let error = train(&request(&spec, results.path(), &stop), &mut |_| {}).expect_err("nonsense is refused");
    assert!(error.to_string().contains("nonsense.tlt"), "{error}");
}

/// The error of a run that must not start or end well.
fn refusal(spec: &Checked, dir: &Path) -> String {
    let stop = AtomicBool::new(false);
    train(&request(spec, dir, &stop), &mut |_| {}).expect_err("refused").to_string()
}

#[test]
fn a_run_with_everything_that_has_a_state_resumes_to_the_same_bytes() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 10);
    let results = tempfile::tempdir().expect("a folder");
    let everything = "model_ema: true early_stopping { monitor: 'validation_loss' patience: 9 }";
    let with = |load: &str| {
        let text =
            spec(data.path(), &format!("{everything} {load}"), "mosaic_prob: 0.3").source().text().to_owned();
        let text =
            text + "class_weighting_config { enable_auto: true class_weighting { key: 'square' value: 2 } }";
        checked(&text)
    };
    let (whole, _) = run(&with(""), &results.path().join("whole"), None, None);
    let parts = results.path().join("parts");
    let (stopped, _) = run(&with(""), &parts, None, Some(7));
    let load = |path: &Path| format!("resume_model_path: '{}'", path.display());
    let (stopped, _) = run(&with(&load(&stopped.checkpoint)), &parts, None, Some(5));
    let (resumed, _) = run(&with(&load(&stopped.checkpoint)), &parts, None, None);
    let bytes = |path: &Path| fs::read(path).expect("a checkpoint");
    assert!(
        bytes(&whole.checkpoint) == bytes(&resumed.checkpoint),
        "the last checkpoints are the same bytes"
    );
    let best = |summary: &TrainSummary| bytes(summary.best.as_deref().expect("an epoch was best"));
    assert!(best(&whole) == best(&resumed), "so are the best ones");

    let checkpoint = read_checkpoint(&whole.checkpoint, None).expect("a checkpoint");
    let state = checkpoint.training.expect("a training state");
    let live = state.live.expect("the weights behind the average");
    assert!(live != checkpoint.params, "the average is not the weights of the last step");
    assert_eq!(
        state.class_weighting.expect("weights of the classes").weights,
        [1.0],
        "a single class weighs 1"
    );
}

#[test]
fn a_resumed_run_says_what_has_changed() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 8);
    let results = tempfile::tempdir().expect("a folder");
    let (stopped, _) = run(&spec(data.path(), "", ""), results.path(), None, Some(3));
    let load = format!("resume_model_path: '{}'", stopped.checkpoint.display());
    let resume = |change: &dyn Fn(&str) -> String| {
        let text = change(spec(data.path(), &load, "").source().text());
        checked(&text)
    };
    let refused = resume(&|text| text.replace("batch_size_per_gpu: 4", "batch_size_per_gpu: 2"));
    let error = refusal(&refused, results.path());
    assert!(error.contains("training_config.batch_size_per_gpu: 2, was 4"), "{error}");
    let refused = resume(&|text| text.replace("[(24, 24)]", "[(24, 25)]"));
    let error = refusal(&refused, results.path());
    assert!(error.contains("yolov4_config.big_anchor_shape"), "{error}");
    let refused = resume(&|text| {
        text.replace("adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 }", "sgd { momentum: 0.9 }")
    });
    let error = refusal(&refused, results.path());
    assert!(error.contains("training_config.optimizer.sgd.momentum"), "{error}");

    draw(data.path(), 9);
    let error = refusal(&resume(&|text| text.to_owned()), results.path());
    assert!(error.contains("8 images") && error.contains("has 9"), "{error}");
    fs::remove_file(data.path().join("images/8.png")).expect("removed");
    fs::remove_file(data.path().join("labels/8.txt")).expect("removed");

    let allowed = resume(&|text| text.replace("num_epochs: 6", "num_epochs: 3"));
    let stop = AtomicBool::new(false);
    let mut heard = Vec::new();
    let summary = train(&request(&allowed, results.path(), &stop), &mut |event| {
        if let Event::Resumed { changes, .. } = event {
            heard.extend(changes.iter().map(ToString::to_string));
        }
    });
    assert_eq!(heard, ["training_config.num_epochs: 3, was 6"]);
    let checkpoint = summary.unwrap_or_else(|error| panic!("{error}")).checkpoint;
    assert!(checkpoint.ends_with("yolov4_cspdarknet_tiny_epoch_003.tlt"), "{}", checkpoint.display());
}

#[test]
fn a_run_that_no_longer_improves_stops() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 4);
    let results = tempfile::tempdir().expect("a folder");
    let early = "early_stopping { monitor: 'loss' min_delta: 1e6 patience: 2 }";
    let (summary, losses) = run(&spec(data.path(), early, ""), results.path(), None, None);
    assert_eq!(losses.len(), 3, "the first epoch is the best, two more are waited for");
    assert!(!summary.interrupted);
    assert!(summary.checkpoint.ends_with("yolov4_cspdarknet_tiny_epoch_003.tlt"), "it is saved: {summary:?}");
    let best = read_checkpoint(summary.best.as_deref().expect("a best epoch"), None).expect("a checkpoint");
    assert!(best.training.is_none(), "the best is for use, not for resuming");
}

#[test]
fn a_diverging_run_names_where_it_began() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 8);
    let results = tempfile::tempdir().expect("a folder");
    let text = spec(data.path(), "", "")
        .source()
        .text()
        .replace("max_learning_rate: 2e-3 soft_start: 0.1", "max_learning_rate: 1e30 soft_start: 0");
    let text = text.replace("num_epochs: 6 checkpoint_interval: 3", "num_epochs: 20 checkpoint_interval: 1");
    let spec = checked(&text);
    let error = refusal(&spec, results.path());
    for part in ["training has diverged", "began with: ", ".png", "last good checkpoint", "max_learning_rate"]
    {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    for file in fs::read_dir(results.path().join("weights")).expect("a folder") {
        let checkpoint = read_checkpoint(&file.expect("a file").path(), None).expect("a checkpoint");
        let finite = checkpoint.params.iter().all(|(_, tensor)| tensor.data().iter().all(|v| v.is_finite()));
        assert!(finite, "nothing bad is saved");
    }
}

#[test]
fn an_epoch_that_spoils_the_network_is_not_saved() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 4);
    let results = tempfile::tempdir().expect("a folder");
    let text = spec(data.path(), "", "")
        .source()
        .text()
        .replace("max_learning_rate: 2e-3 soft_start: 0.1", "max_learning_rate: 1e30 soft_start: 0");
    let text = text.replace("checkpoint_interval: 3", "checkpoint_interval: 1");
    let spec = checked(&text);
    // One step an epoch: its loss is still that of the network before.
    let error = refusal(&spec, results.path());
    for part in ["step 1 of epoch 1", ".png", "last good checkpoint: none yet"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    let saved = fs::read_dir(results.path().join("weights")).expect("a folder").count();
    assert_eq!(saved, 0, "neither as the last nor as the best");
}
