//! `oxidet diff`

use oxidet_graph::pass::place_quantizers;
use oxidet_graph::{Checkpoint, ParamKind, TrainingState};
use oxidet_trainer::checkpoint_file::write_checkpoint;

use crate::support::{checkpoint, oxidet, pruned, save};

#[test]
fn the_same_is_called_identical() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut model = checkpoint();
    model.params.get_mut("conv_0/kernel").unwrap().data_mut()[0] = f32::NAN;
    save(dir, "a.tlt", &model);
    let key = oxidet_proto::container::Passphrase::new("secret".into()).unwrap();
    write_checkpoint(&dir.join("b.tlt"), &model, Some(&key)).unwrap();
    let run = oxidet(dir, "diff a.tlt b.tlt -k secret");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.stdout.contains("They are identical"), "{}", run.told());
    let run = oxidet(dir, "diff a.tlt b.tlt");
    assert_eq!(run.code, 2, "{}", run.told());
    let run = oxidet(dir, "diff a.tlt missing.tlt");
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(oxidet(dir, "diff --help").stdout.contains("Exit code: 0 whether they differ or not"));
}

#[test]
fn every_difference_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (detector, params) = {
        let Checkpoint { detector, params, .. } = checkpoint();
        place_quantizers(&detector, &params)
    };
    let state = TrainingState { epoch: 3, step: 12, ..TrainingState::default() };
    let before = Checkpoint { detector, params, training: Some(state.clone()), ..checkpoint() };
    let mut after = before.clone();
    after.spec = after.spec.replace("num_epochs: 1", "num_epochs: 2");
    after.detector.classes = vec!["circle".into()];
    after.detector.preprocess.mean[0] = 100.0;
    after.detector.heads[1].geometry.anchors[0].0 /= 2.0;
    after.training = Some(TrainingState { epoch: 4, ..state });
    for weight in after.params.get_mut("conv_1/kernel").unwrap().data_mut() {
        *weight *= 1.5;
    }
    after.params.get_mut(&ParamKind::Amax.of("Input_qdq")).unwrap().data_mut()[0] = 151.5;
    save(dir, "a.tlt", &before);
    save(dir, "b.tlt", &after);

    let run = oxidet(dir, "diff a.tlt b.tlt");
    assert_eq!(run.code, 0, "{}", run.told());
    let lines: Vec<String> =
        run.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for told in [
        "parameters 5,871,084 5,871,084 100 %",
        "training_config.num_epochs: 2, was 1",
        "classes: circle, was square",
        "input: 96 x 64 x 3 (width, height, channels), 8 bits, minus 100 116.779 123.68, was \
         96 x 64 x 3 (width, height, channels), 8 bits, minus 103.939 116.779 123.68",
        "epoch: 4, was 3",
        "conv_1 0.5000 0 0",
        "Input_qdq 0 151.5",
    ] {
        assert!(lines.iter().any(|line| line == told), "{told}\n{}", run.told());
    }
    assert!(lines.iter().any(|line| line.starts_with("head 2: ")), "{}", run.told());
    for silent in ["identical", "only in", "Widths", "step:", "head 1"] {
        assert!(!run.stdout.contains(silent), "{silent}: {}", run.told());
    }
}

#[test]
fn pruning_and_quantisation_are_told_from_other_changes() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (before, after) = (checkpoint(), pruned());
    let convolutions =
        before.detector.graph.param_specs().iter().filter(|spec| spec.kind == ParamKind::Kernel).count();
    let (detector, params) = place_quantizers(&after.detector, &after.params);
    save(dir, "a.tlt", &before);
    save(dir, "b.tlt", &Checkpoint { detector, params, ..after });

    let run = oxidet(dir, "diff a.tlt b.tlt --all");
    assert_eq!(run.code, 0, "{}", run.told());
    let narrow = format!("Widths: {} convolutions with another number of filters", convolutions - 2);
    for told in [narrow.as_str(), "50.0 %", "Ranges: ", "have other shapes"] {
        assert!(run.stdout.contains(told), "{told}\n{}", run.told());
    }
    for silent in ["only in", "Other differences", "--all", "Spec"] {
        assert!(!run.stdout.contains(silent), "{silent}: {}", run.told());
    }
}

#[test]
fn long_lists_end_after_twenty_lines() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let before = checkpoint();
    let mut after = before.clone();
    let kernels: Vec<_> = before
        .detector
        .graph
        .param_specs()
        .into_iter()
        .filter(|spec| spec.kind == ParamKind::Kernel)
        .collect();
    for (number, kernel) in kernels.iter().enumerate() {
        // Each has moved further than the one before it.
        let factor = 2.0 + number as f32;
        after
            .params
            .get_mut(&kernel.name)
            .unwrap()
            .data_mut()
            .iter_mut()
            .for_each(|weight| *weight *= factor);
    }
    save(dir, "a.tlt", &before);
    save(dir, "b.tlt", &after);
    let (first, last) = (&kernels[0].layer, &kernels[kernels.len() - 1].layer);
    let listed = |line: &str| -> Vec<String> {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 0, "{}", run.told());
        let table = run.stdout.lines().skip_while(|line| !line.starts_with("Weights")).skip(2);
        table.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let some = listed("diff a.tlt b.tlt");
    assert_eq!((some.len(), &some[0], some[20].as_str()), (21, last, "…"));
    let all = listed("diff a.tlt b.tlt --all");
    assert_eq!((all.len(), &all[0], &all[all.len() - 1]), (kernels.len(), last, first));
    assert!(kernels.len() > 20);
}
