//! A whole run on a tiny data set: it learns, it writes what it should, and stopping changes nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use oxidet_proto::container::Passphrase;
use oxidet_tests::squares::{draw, run, spec};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::data::ImageOptions;
use oxidet_trainer::train::{TrainRequest, train};

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
    let request = TrainRequest {
        spec: &spec,
        results_dir: results.path(),
        passphrase: None,
        images: ImageOptions::default(),
        stop: &stop,
    };
    let error = train(&request, &mut |_| {}).expect_err("nonsense is refused");
    assert!(error.to_string().contains("nonsense.tlt"), "{error}");
}
