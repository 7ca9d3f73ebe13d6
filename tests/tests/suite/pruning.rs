//! A pruned network trains on: with a moving average, over a stop, and with quantisation.

use std::fs;
use std::path::{Path, PathBuf};

use oxidet_graph::pass::prune::{Pruner, Pruning};
use oxidet_graph::pass::strip_quantizers;
use oxidet_graph::{Checkpoint, Detector};
use oxidet_tests::squares::{draw, run, spec};
use oxidet_trainer::checkpoint_file::{read_checkpoint, write_checkpoint};

fn read(path: &Path) -> Checkpoint {
    read_checkpoint(path, None).unwrap_or_else(|error| panic!("{error}"))
}

/// Prunes a checkpoint to another. Returns its network.
fn prune(from: &Path, to: &Path, pruning: &Pruning) -> Detector {
    let whole = read(from);
    let pruner = Pruner::new(&whole.detector, &whole.params, pruning);
    let plan = pruner.unwrap_or_else(|error| panic!("{error}")).plan(0.9);
    let (detector, params) = plan.apply(&whole.detector, &whole.params);
    assert!(detector.graph.param_count() < whole.detector.graph.param_count());
    let pruned = Checkpoint { detector: detector.clone(), params, training: None, ..whole };
    write_checkpoint(to, &pruned, None).unwrap_or_else(|error| panic!("{error}"));
    detector
}

#[test]
fn a_pruned_network_recovers_with_a_moving_average_and_resumes_to_the_same_bytes() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 10);
    let results = tempfile::tempdir().expect("a folder");
    let at = |name: &str| results.path().join(name);
    let train = |load: &str, name: &str, stop| {
        let (summary, losses) = run(&spec(data.path(), load, ""), &at(name), None, stop);
        (summary.checkpoint, losses)
    };
    let (whole, before) = train("", "whole", None);
    let pruned = at("pruned.tlt");
    let detector = prune(&whole, &pruned, &Pruning::default());
    let start = format!("pruned_model_path: '{}' model_ema: true", pruned.display());
    let (retrained, losses) = train(&start, "retrained", None);
    assert!(losses[5] < losses[0] && losses[5] < 1.2 * before[5], "it recovers: {losses:?} {before:?}");
    assert_eq!(read(&retrained).detector, detector);

    let resume = |from: &Path| format!("resume_model_path: '{}' model_ema: true", from.display());
    let (stopped, _) = train(&start, "parts", Some(7));
    let (resumed, _) = train(&resume(&stopped), "parts", None);
    let bytes = |path: &PathBuf| fs::read(path).expect("a checkpoint");
    // The spec of a resumed run names another start; all else is the same.
    assert!(bytes(&resumed) == bytes(&retrained), "the last checkpoints are the same bytes");

    // With quantisation, pruned again, and without.
    let start = |from: &Path, qat: bool| format!("pruned_model_path: '{}' enable_qat: {qat}", from.display());
    let (quantized, _) = train(&start(&retrained, true), "quantized", None);
    let model = read(&quantized);
    assert!(model.detector.graph.is_quantized());
    assert_eq!(strip_quantizers(&model.detector, &model.params).0, detector);
    let smaller = at("smaller.tlt");
    let more = Pruning { granularity: 1, min_filters: 4, ..Pruning::default() };
    assert!(prune(&quantized, &smaller, &more).graph.is_quantized(), "pruning keeps the quantisers");
    let (float, _) = train(&start(&smaller, false), "float", None);
    assert!(!read(&float).detector.graph.is_quantized(), "the spec decides");
}
