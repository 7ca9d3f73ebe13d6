//! What the tests across crates share: untrained detectors and inputs for them, and a data set to train on.

pub mod squares;

use oxidet_exporter::{ExportRequest, Exported, export};
use oxidet_graph::onnx::Batch;
use oxidet_graph::{Checkpoint, ParamKind};
use oxidet_trainer::net::{NetConfig, PerHead, build, init_params};
use oxidet_vision::{NmsConfig, Preprocess};

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

/// The checkpoint as ONNX.
pub fn exported(checkpoint: &Checkpoint, opset: i64, batch: Batch) -> Exported {
    let request = ExportRequest {
        opset,
        batch,
        nms: NMS,
        score_bits: 0,
        model_file: "model.onnx".into(),
        encrypted: false,
    };
    export(checkpoint, &request).expect("the checkpoint can be exported")
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
