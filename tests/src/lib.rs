//! What the tests across crates share: untrained detectors and inputs for them, and a data set to train on.

pub mod squares;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use oxidet_exporter::{ExportRequest, Exported, Target, export};
use oxidet_graph::onnx::{Batch, FloatType, NmsTail};
use oxidet_graph::{Checkpoint, ParamKind};
use oxidet_proto::manifest::Precision;
use oxidet_trainer::net::{NetConfig, PerHead, build, init_params};
use oxidet_vision::{Detection, NmsConfig, Preprocess, RawDetections};

/// Suppression that keeps plenty.
pub const NMS: NmsConfig =
    NmsConfig { score_threshold: 0.01, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 };

/// A detector with random weights and running statistics that are not the initial ones, so that every operator matters.
pub fn checkpoint(arch: &str, nlayers: u32, activation: &str, channels: usize) -> Checkpoint {
    let config = NetConfig {
        arch: arch.into(),
        nlayers,
        activation: activation.into(),
        force_relu: false,
        anchors: PerHead {
            big: vec![(30.0, 40.0), (60.0, 50.0)],
            mid: vec![(15.0, 20.0), (22.0, 18.0)],
            small: vec![(6.0, 7.0), (10.0, 9.0)],
        },
        grid_xy_extend: PerHead { big: 0.05, mid: 0.1, small: 0.2 },
        classes: vec!["cat".into(), "dog".into(), "fox".into()],
        preprocess: Preprocess::new(96, 64, channels),
    };
    let detector = build(&config).expect("the configuration is sound");
    let mut params = init_params(&detector, 5);
    for spec in detector.graph.param_specs() {
        let tensor = params.get_mut(&spec.name).expect("every parameter is initialised");
        for (i, value) in tensor.data_mut().iter_mut().enumerate() {
            match spec.kind {
                ParamKind::MovingMean | ParamKind::Beta | ParamKind::Bias => *value = 0.1 * (i as f32).sin(),
                ParamKind::MovingVariance | ParamKind::Gamma => *value = 1.0 + 0.2 * (i as f32).cos(),
                ParamKind::Amax => *value = 4.0,
                ParamKind::Kernel => {}
            }
        }
    }
    Checkpoint { detector, params, spec: String::new(), training: None }
}

/// The checkpoint as ONNX, as TAO writes it.
pub fn exported(checkpoint: &Checkpoint, opset: i64, batch: Batch) -> Exported {
    export(checkpoint, &request(opset, batch)).expect("the checkpoint can be exported")
}

/// How TAO exports.
pub fn request(opset: i64, batch: Batch) -> ExportRequest {
    ExportRequest {
        opset,
        batch,
        tail: NmsTail::Batched,
        nms: NMS,
        score_bits: 0,
        float: FloatType::F32,
        model_file: "model.onnx".into(),
        encrypted: false,
        target: Target::Trt8,
        precision: Precision::Fp32,
        calibration: None,
    }
}

/// Little-endian floats.
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Images `[N, C, H, W]` with values as preprocessing makes them.
pub fn images(checkpoint: &Checkpoint, batch: usize) -> Vec<f32> {
    let len = batch * checkpoint.detector.preprocess.tensor_len();
    (0..len).map(|i| ((i as f32 * 12.9898).sin() * 43758.547).fract() * 120.0).collect()
}

/// A case of `peers/check_onnx.py` in a folder: a model as `request` asked for it, an input, and what it should compute.
pub fn write_case(
    folder: &Path,
    model: &Exported,
    request: &ExportRequest,
    input: &[f32],
    want: &RawDetections,
) -> io::Result<()> {
    let nms = serde_json::json!({
        "score_threshold": request.nms.score_threshold,
        "iou_threshold": request.nms.iou_threshold,
        "top_k": request.nms.top_k,
        "keep_top_k": request.nms.keep_top_k,
        "classes": want.classes,
        "candidates": want.candidates,
        "half": request.float == FloatType::F16,
    });
    let detections = (0..want.batch).flat_map(|image| {
        let found = want.suppress(image, &request.nms).into_iter();
        found.flat_map(move |Detection { class, score, bbox: b }| {
            [image as f32, class as f32, score, b.x1, b.y1, b.x2, b.y2]
        })
    });
    fs::create_dir(folder)?;
    for (name, content) in [
        ("model.onnx", model.onnx.clone()),
        ("nms.json", nms.to_string().into_bytes()),
        ("input.f32", bytes(input)),
        ("boxes.f32", bytes(&want.boxes)),
        ("scores.f32", bytes(&want.scores)),
        ("detections.f32", bytes(&detections.collect::<Vec<_>>())),
    ] {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// Runs `peers/check_onnx.py` on a folder of cases.
///
/// # Panics
/// With what it says, unless it approves of all of them.
pub fn check_cases(folder: &Path, flags: &[&str]) {
    let python = std::env::var("OXIDET_PEERS_PYTHON").expect("tests that call this are ignored without it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/check_onnx.py");
    let output = Command::new(python).arg(script).arg(folder).args(flags).output().expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let cases = fs::read_dir(folder).expect("the folder is there").count();
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), cases, "{text}");
}

/// The library of ONNX Runtime that came with the peers' Python.
///
/// # Panics
/// When there is none.
pub fn onnxruntime_library() -> PathBuf {
    let python = std::env::var("OXIDET_PEERS_PYTHON").expect("tests that call this are ignored without it");
    let code = "import onnxruntime, pathlib; print(*pathlib.Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so*'))";
    let output = Command::new(python).args(["-c", code]).output().expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    PathBuf::from(text.split_whitespace().next().expect("onnxruntime has a library"))
}
