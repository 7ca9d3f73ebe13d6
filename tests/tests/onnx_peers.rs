//! Exported models under the eyes of onnx and onnxruntime.

use std::process::Command;

use oxidet_graph::onnx::Batch;
use oxidet_tests::{bytes, checkpoint, exported, images};
use oxidet_trainer::interp::Executor;
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
        let opsets: &[i64] = if cases == 0 { &[11, 12, 13, 15, 17, 20] } else { &[12, 13] };
        for opset in opsets {
            for (batch, count) in [(Batch::Dynamic, 2), (Batch::Static(1), 1)] {
                let case = dir.path().join(format!("{cases:02}_{arch}{nlayers}_{opset}_{count}"));
                std::fs::create_dir(&case).unwrap();
                let input = images(&checkpoint, count);
                let mut want = RawDetections::default();
                network.run(&input, count, &mut want).unwrap();
                for (name, content) in [
                    ("model.onnx", exported(&checkpoint, *opset, batch).onnx),
                    ("input.f32", bytes(&input)),
                    ("boxes.f32", bytes(&want.boxes)),
                    ("scores.f32", bytes(&want.scores)),
                ] {
                    std::fs::write(case.join(name), content).unwrap();
                }
                cases += 1;
            }
        }
    }
    let python = std::env::var("OXIDET_PEERS_PYTHON").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/check_onnx.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), cases, "{text}");
}
