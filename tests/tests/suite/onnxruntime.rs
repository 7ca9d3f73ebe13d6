//! The `onnxruntime` backend, with the library of the peers' Python: it computes what the checkpoint computes, and what it cannot do is
//! an error.

use std::fs;

use oxidet_compute::Executor;
use oxidet_exporter::{ExportRequest, Target, export};
use oxidet_graph::onnx::{Batch, FloatType, NmsTail};
use oxidet_proto::manifest::Precision;
use oxidet_runtime::{Artifact, Backend, Cpu, Device, EngineOptions, OnnxRuntime};
use oxidet_tests::{checkpoint, exported, images, onnxruntime_library, request};
use oxidet_vision::{Network, RawDetections};

fn assert_close(got: &RawDetections, want: &RawDetections, tolerance: f32, what: &str) {
    assert_eq!(
        (got.batch, got.candidates, got.classes),
        (want.batch, want.candidates, want.classes),
        "{what}"
    );
    for (got, want) in got.boxes.iter().zip(&want.boxes).chain(got.scores.iter().zip(&want.scores)) {
        assert!((got - want).abs() <= tolerance * (1.0 + want.abs()), "{what}: {got} {want}");
    }
}

fn run(
    backend: &dyn Backend,
    artifact: &Artifact,
    options: &EngineOptions,
    input: &[f32],
    count: usize,
) -> RawDetections {
    let mut session =
        backend.prepare(artifact, options).and_then(|engine| engine.session()).expect("the model runs");
    let mut out = RawDetections::default();
    session.run(input, count, &mut out).expect("the network runs");
    out
}

#[test]
#[cfg_attr(not(peers), ignore = "needs Python with onnxruntime: set OXIDET_PEERS_PYTHON")]
fn float_and_half_models_compute_what_the_checkpoint_computes() {
    let backend = OnnxRuntime::new(Some(onnxruntime_library()));
    for (arch, activation, channels) in [("cspdarknet_tiny", "", 3), ("cspdarknet_tiny_3l", "mish", 1)] {
        let checkpoint = checkpoint(arch, 0, activation, channels);
        let mut reference = Executor::new(&checkpoint.detector, &checkpoint.params).unwrap();
        for (batch, tail, count) in [
            (Batch::Dynamic, NmsTail::Batched, 3),
            (Batch::Static(2), NmsTail::Raw, 3),
            (Batch::Static(2), NmsTail::Onnx, 1),
        ] {
            let artifact = Artifact::load(
                &export(&checkpoint, &ExportRequest { tail, ..request(13, batch) }).unwrap().onnx,
                None,
            )
            .unwrap();
            let input = images(&checkpoint, count);
            let mut want = RawDetections::default();
            reference.run(&input, count, &mut want).unwrap();
            let options = EngineOptions { threads: Some(1), ..EngineOptions::default() };
            let got = run(&backend, &artifact, &options, &input, count);
            assert_close(&got, &want, 1e-4, &format!("{arch} {batch:?} {tail:?}"));
        }
        let half = ExportRequest {
            tail: NmsTail::Raw,
            float: FloatType::F16,
            target: Target::Ort,
            ..request(13, Batch::Dynamic)
        };
        let artifact = Artifact::load(&export(&checkpoint, &half).unwrap().onnx, None).unwrap();
        let input = images(&checkpoint, 1);
        let options = EngineOptions { precision: Precision::Fp16, ..EngineOptions::default() };
        let (ours, theirs) =
            (run(&Cpu, &artifact, &options, &input, 1), run(&backend, &artifact, &options, &input, 1));
        assert_close(&theirs, &ours, 2e-2, &format!("{arch} in half precision"));
    }
}

#[test]
#[cfg_attr(not(peers), ignore = "needs Python with onnxruntime: set OXIDET_PEERS_PYTHON")]
fn what_is_asked_for_and_not_there_is_an_error() {
    let backend = OnnxRuntime::new(Some(onnxruntime_library()));
    let found = backend.probe().unwrap();
    assert!(found.version.starts_with("ONNX Runtime 1."), "{}", found.version);
    assert_eq!(found.missing.len(), 2, "the library of the peers has no GPU providers: {found:?}");

    let onnx = exported(&checkpoint("cspdarknet_tiny", 0, "", 3), 12, Batch::Dynamic).onnx;
    let artifact = Artifact::load(&onnx, None).unwrap();
    let refused = |options: &EngineOptions| {
        let prepared = backend.prepare(&artifact, options);
        prepared.err().expect("this cannot be had").to_string()
    };
    for (device, word) in
        [(Device::Cuda(0), "CUDA"), (Device::TensorRt(0), "TensorRT"), (Device::Dla(0), "TensorRT")]
    {
        let dir = tempfile::tempdir().unwrap();
        let options =
            EngineOptions { device, cache_dir: Some(dir.path().into()), ..EngineOptions::default() };
        let text = refused(&options);
        assert!(text.contains(word), "{text}");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left of an engine that was not built"
        );
    }
    for precision in [Precision::Fp16, Precision::Int8] {
        let text = refused(&EngineOptions { precision, ..EngineOptions::default() });
        assert!(text.contains("oxidet export --target ort"), "{text}");
    }
    let on_gpu =
        EngineOptions { device: Device::TensorRt(0), precision: Precision::Int8, ..EngineOptions::default() };
    assert!(refused(&on_gpu).contains("calibration cache"));
}
