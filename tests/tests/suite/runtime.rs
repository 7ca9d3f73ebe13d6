//! An exported model computes what its checkpoint computes, and broken models are errors.

use oxidet_compute::Executor;
use oxidet_exporter::{Differences, ExportRequest, Tolerance, export};
use oxidet_graph::onnx::{Batch, FloatType, NmsTail, Suppression};
use oxidet_graph::{Checkpoint, Op, ParamKind};
use oxidet_proto::container::{KdfParams, Kind, Passphrase, RANDOM_LEN, seal};
use oxidet_runtime::{Artifact, ArtifactError, Backend, Cpu, EngineOptions, Session, Tract};
use oxidet_tests::{NMS, checkpoint, exported, images, request};
use oxidet_vision::{Network, RawDetections};

fn session(onnx: &[u8]) -> Box<dyn Session> {
    session_of(&Cpu, onnx)
}

fn session_of(backend: &dyn Backend, onnx: &[u8]) -> Box<dyn Session> {
    let artifact = Artifact::load(onnx, None).expect("the model is sound");
    let engine = backend.prepare(&artifact, &EngineOptions::default());
    engine.and_then(|engine| engine.session()).expect("the backend runs it")
}

#[test]
fn the_backends_agree_with_the_checkpoint() {
    for (arch, nlayers, activation, channels) in [
        ("cspdarknet_tiny", 0, "", 3),
        ("cspdarknet_tiny_3l", 0, "mish", 1),
        ("resnet", 10, "", 3),
        ("cspdarknet", 19, "mish", 3),
        ("mobilenet_v2", 0, "", 3),
        ("squeezenet", 0, "", 1),
        ("efficientnet_b0", 0, "", 3),
    ] {
        let checkpoint = checkpoint(arch, nlayers, activation, channels);
        let mut reference = Executor::new(&checkpoint.detector, &checkpoint.params).unwrap();
        for batch in [Batch::Dynamic, Batch::Static(2)] {
            let onnx = exported(&checkpoint, 12, batch).onnx;
            let sessions = [("cpu", session(&onnx)), ("tract", session_of(&Tract, &onnx))];
            for (backend, mut session) in sessions {
                for count in [1, 3] {
                    let input = images(&checkpoint, count);
                    let (mut want, mut got) = (RawDetections::default(), RawDetections::default());
                    reference.run(&input, count, &mut want).unwrap();
                    session.run(&input, count, &mut got).unwrap();
                    assert_eq!((got.batch, got.candidates, got.classes), (count, want.candidates, 3));
                    let is_near = |(got, want): (&f32, &f32)| (got - want).abs() <= 1e-4 * (1.0 + want.abs());
                    let mut all =
                        got.boxes.iter().zip(&want.boxes).chain(got.scores.iter().zip(&want.scores));
                    assert!(all.all(is_near), "{arch} {batch:?} {backend}");
                    // The same kernels, batch for batch.
                    if backend == "cpu" && batch == Batch::Dynamic {
                        assert_eq!(got, want, "{arch}");
                    }
                }
            }
        }
    }
}

#[test]
fn half_precision_is_within_its_tolerance_and_a_changed_layer_is_not() {
    for (arch, nlayers, activation) in [
        ("cspdarknet_tiny", 0, ""),
        ("cspdarknet", 19, "mish"),
        ("resnet", 10, ""),
        ("efficientnet_b0", 0, ""),
    ] {
        let checkpoint = checkpoint(arch, nlayers, activation, 3);
        let input = images(&checkpoint, 2);
        let run = |network: &mut dyn Network| {
            let mut raw = RawDetections::default();
            network.run(&input, 2, &mut raw).unwrap();
            raw
        };
        let reference = run(&mut Executor::new(&checkpoint.detector, &checkpoint.params).unwrap());
        let half = |checkpoint: &Checkpoint| {
            let request = ExportRequest { float: FloatType::F16, ..request(12, Batch::Dynamic) };
            run(&mut *session(&export(checkpoint, &request).unwrap().onnx))
        };
        let differences = Differences::between(&reference, &half(&checkpoint));
        assert!(differences.are_within(Tolerance::HALF), "{arch}: {differences:?}");

        // A tenth more of the first kernel.
        let mut broken = checkpoint.clone();
        let convs = broken.detector.graph.nodes().iter().filter(|node| matches!(node.op, Op::Conv2d(_)));
        let kernel = convs.map(|node| ParamKind::Kernel.of(&node.name)).next().unwrap();
        broken.params.get_mut(&kernel).unwrap().data_mut().iter_mut().for_each(|value| *value *= 1.1);
        let differences = Differences::between(&reference, &half(&broken));
        assert!(!differences.are_within(Tolerance::HALF), "{arch}: {differences:?}");
    }
}

#[test]
fn a_model_says_what_it_is() {
    let checkpoint = checkpoint("cspdarknet_tiny", 0, "", 3);
    let model = exported(&checkpoint, 13, Batch::Dynamic);
    let artifact = Artifact::load(&model.onnx, None).unwrap();
    assert_eq!(artifact.suppression(), Some(&Suppression { tail: NmsTail::Batched, nms: NMS }));
    let metadata = artifact.metadata().unwrap();
    assert_eq!(metadata.labels, checkpoint.detector.classes);
    assert_eq!(metadata.preprocess, checkpoint.detector.preprocess);
    assert_eq!(model.labels, "cat\ndog\nfox\n");
}

#[test]
fn an_input_of_the_wrong_size_is_an_error() {
    let checkpoint = checkpoint("cspdarknet_tiny", 0, "", 3);
    let mut session = session(&exported(&checkpoint, 12, Batch::Dynamic).onnx);
    assert!(session.run(&[0.0; 7], 1, &mut RawDetections::default()).is_err());
    assert!(session.run(&[], 0, &mut RawDetections::default()).is_err());
}

#[test]
fn encrypted_models_need_their_key() {
    let checkpoint = checkpoint("cspdarknet_tiny", 0, "", 3);
    let onnx = exported(&checkpoint, 12, Batch::Dynamic).onnx;
    let key = |text: &str| Passphrase::new(text.into()).unwrap();
    let params = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
    let sealed = seal(Kind::Onnx, &onnx, &key("right"), &[7; RANDOM_LEN], params).unwrap();
    assert!(Artifact::load(&sealed, Some(&key("right"))).is_ok());
    assert!(matches!(Artifact::load(&sealed, None), Err(ArtifactError::NeedsKey)));
    let wrong = Artifact::load(&sealed, Some(&key("wrong"))).unwrap_err();
    assert!(wrong.to_string().contains("wrong key"), "{wrong}");
    for damaged in [&sealed[..sealed.len() - 1], &sealed[..100], &[&sealed[..], b"x"].concat()] {
        assert!(Artifact::load(damaged, Some(&key("right"))).is_err());
    }
}

#[test]
fn broken_models_are_errors_and_never_panics() {
    let checkpoint = checkpoint("cspdarknet_tiny", 0, "", 3);
    let onnx = exported(&checkpoint, 12, Batch::Dynamic).onnx;
    for bytes in [&b""[..], b"hello", &[0xff; 64], &onnx[..onnx.len() / 2], &onnx[..onnx.len() - 1]] {
        assert!(Artifact::load(bytes, None).is_err());
    }
    // Damage in the graph (weights are the bulk of the file; their bytes may hold anything).
    let mut state = 9u64;
    for _ in 0..60 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut bad = onnx.clone();
        let at = (state >> 33) as usize % 6000;
        bad[at] ^= 1 << (state % 8);
        if let Ok(artifact) = Artifact::load(&bad, None) {
            let _ = Cpu.prepare(&artifact, &EngineOptions::default());
        }
    }
}
