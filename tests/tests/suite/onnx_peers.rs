//! Exported models under the eyes of onnx and onnxruntime.

use oxidet_compute::Executor;
use oxidet_exporter::{ExportRequest, Target, export};
use oxidet_graph::onnx::{Batch, NmsTail};
use oxidet_runtime::{Artifact, Backend, Cpu, EngineOptions};
use oxidet_tests::{check_cases, checkpoint, exported, images, request, write_case};
use oxidet_vision::{Network, RawDetections};

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with onnx, onnxruntime and numpy")]
fn onnx_accepts_the_models_and_onnxruntime_agrees_with_us() {
    let dir = tempfile::tempdir().unwrap();
    let mut cases = 0;
    for (arch, nlayers, activation, channels) in [
        ("cspdarknet_tiny", 0, "", 3),
        ("cspdarknet_tiny", 0, "relu", 1),
        ("cspdarknet_tiny_3l", 0, "mish", 3),
        ("resnet", 10, "", 3),
        ("resnet", 50, "", 3),
        ("mobilenet_v1", 0, "", 3),
        ("efficientnet_b0", 0, "", 3),
    ] {
        let checkpoint = checkpoint(arch, nlayers, activation, channels);
        let mut network = Executor::new(&checkpoint.detector, &checkpoint.params).unwrap();
        let opsets: &[i64] = if cases == 0 { &[11, 12, 13, 15, 17, 20] } else { &[13] };
        for opset in opsets {
            for (batch, count) in [(Batch::Dynamic, 2), (Batch::Static(1), 1)] {
                let input = images(&checkpoint, count);
                let mut want = RawDetections::default();
                network.run(&input, count, &mut want).unwrap();
                let case = dir.path().join(format!("{cases:02}_{arch}{nlayers}_{opset}_{count}"));
                let model = exported(&checkpoint, *opset, batch);
                write_case(&case, &model, &request(*opset, batch), &input, &want).unwrap();
                cases += 1;
            }
        }
    }
    check_cases(dir.path(), &[]);
}

/// Boxes and scores of the peers are those of our `cpu` backend, which runs the same file.
#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with onnx, onnxruntime and numpy")]
fn onnxruntime_runs_the_models_of_every_target() {
    let dir = tempfile::tempdir().unwrap();
    // Every target and node with the smallest network, and the node that a target takes by itself with others.
    let checkpoints = [
        (checkpoint("cspdarknet_tiny", 0, "mish", 3), true),
        (checkpoint("mobilenet_v2", 0, "", 3), false),
        (checkpoint("efficientnet_b0", 0, "", 3), false),
    ];
    for (checkpoint, every_tail) in &checkpoints {
        let arch = &checkpoint.detector.arch;
        for target in Target::ALL {
            let facts = target.facts();
            let tails = if *every_tail { facts.tails } else { &facts.tails[..1] };
            for tail in tails {
                for half in [false, true] {
                    let opset = if *tail == NmsTail::Onnx { 11 } else { 12 };
                    let (batch, count) = if half { (Batch::Static(2), 2) } else { (Batch::Dynamic, 3) };
                    let float = target.float_type(half);
                    let request = ExportRequest { tail: *tail, float, ..request(opset, batch) };
                    let model = export(checkpoint, &request).unwrap();
                    let input = images(checkpoint, count);
                    let want = run(&model.onnx, &input, count);
                    let case = format!("{arch}_{}_{}_{float:?}", facts.name, tail.name());
                    let case = dir.path().join(format!("{case}_{count}"));
                    write_case(&case, &model, &request, &input, &want).unwrap();
                }
            }
        }
    }
    check_cases(dir.path(), &[]);
}

fn run(onnx: &[u8], input: &[f32], count: usize) -> RawDetections {
    let artifact = Artifact::load(onnx, None).expect("the model is sound");
    let mut session = Cpu
        .prepare(&artifact, &EngineOptions::default())
        .and_then(|engine| engine.session())
        .expect("the backend runs it");
    let mut found = RawDetections::default();
    session.run(input, count, &mut found).expect("it runs");
    found
}
