//! The written model against the contract.

use oxidet_proto::onnx::decode;
use oxidet_vision::{Head, Preprocess};

use super::*;
use crate::{Activation, Conv2d, DetectorHead, GraphBuilder, MaxPool, Padding, Tensor};

const NMS: NmsConfig = NmsConfig { score_threshold: 0.001, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 };

fn detector() -> (Detector, Params) {
    let conv = |filters, stride| Conv2d {
        filters,
        kernel: 3,
        stride,
        padding: Padding::all(1),
        groups: 1,
        bias: true,
    };
    let mut builder = GraphBuilder::new();
    let image = builder.input(3);
    let half = builder.conv("half", image, conv(4, 2));
    let half = builder.activation("half_mish", half, Activation::Mish);
    let pooled =
        builder.max_pool("pool", half, MaxPool { kernel: 2, stride: 2, padding: Padding::default() });
    let slice = builder.channel_slice("slice", pooled, 2, 2);
    let up = builder.upsample("up", slice, 2);
    let joined = builder.concat("joined", &[up, half]);
    let big = builder.conv("conv_big_object", pooled, conv(2 * 7, 1));
    let mid = builder.conv("conv_mid_object", joined, conv(2 * 7, 1));
    let head = |output, stride| DetectorHead {
        output,
        geometry: Head { stride, anchors: vec![(0.5, 0.25), (0.1, 0.2)], grid_xy_extend: 0.05 },
    };
    let detector = Detector {
        arch: "tiny".into(),
        graph: builder.finish(),
        heads: vec![head(big, 4), head(mid, 2)],
        classes: vec!["a".into(), "b".into()],
        preprocess: Preprocess::new(16, 8, 3),
    };
    detector.validate().unwrap();
    let params = detector.graph.param_specs().into_iter().map(|spec| {
        let data = (0..spec.shape.iter().product()).map(|i: usize| (i as f32).sin()).collect();
        (spec.name, Tensor::new(spec.shape, data))
    });
    let params = params.collect();
    (detector, params)
}

fn options(opset: i64, batch: Batch, nms: Option<NmsConfig>) -> WriteOptions {
    WriteOptions { opset, batch, nms, score_bits: 3 }
}

#[test]
fn the_contract_holds() {
    let (detector, params) = detector();
    let model = write(&detector, &params, &options(12, Batch::Dynamic, Some(NMS))).unwrap();
    assert_eq!(model, decode(&model.to_bytes()).unwrap());
    assert_eq!(model.opset(), Some(12));
    let graph = model.graph.as_ref().unwrap();
    assert_eq!(graph.input.len(), 1);
    assert_eq!(graph.input[0].name, "Input");
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"]);

    let nms = graph.node.last().unwrap();
    assert_eq!((nms.op_type.as_str(), nms.name.as_str(), nms.domain.as_str()), (NMS_OP, "BatchedNMS_N", ""));
    assert_eq!(nms.input, [BOXES, SCORES]);
    let int = |name: &str| nms.attribute(name).unwrap().i;
    for (name, value) in [
        ("shareLocation", 1),
        ("backgroundLabelId", -1),
        ("numClasses", 2),
        ("topK", 400),
        ("keepTopK", 200),
        ("isNormalized", 1),
        ("clipBoxes", 1),
        ("scoreBits", 3),
    ] {
        assert_eq!(int(name), Some(value), "{name}");
    }
    assert_eq!(nms.attribute("scoreThreshold").unwrap().f, Some(0.001));
    assert_eq!(nms.attribute("iouThreshold").unwrap().f, Some(0.5));

    // Every value is made once, before it is read.
    let mut known: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    known.extend(["Input", ""]);
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(&input.as_str()), "{} reads {input}", node.name);
        }
        for output in &node.output {
            assert!(!known.contains(&output.as_str()) && !output.contains(':'), "{output}");
            known.push(output);
        }
    }
}

#[test]
fn metadata_comes_back() {
    let (detector, params) = detector();
    let model = write(&detector, &params, &options(13, Batch::Static(2), Some(NMS))).unwrap();
    let metadata = Metadata::read(&model).unwrap().unwrap();
    assert_eq!(metadata, Metadata::of(&detector, Some(NMS)));
    assert_eq!(Metadata::read(&ModelProto::default()), Ok(None));
}

#[test]
fn equal_arguments_give_equal_bytes() {
    let (detector, params) = detector();
    let bytes = || write(&detector, &params, &options(17, Batch::Dynamic, None)).unwrap().to_bytes();
    assert_eq!(bytes(), bytes());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let (detector, params) = detector();
    let refused = |options: WriteOptions| write(&detector, &params, &options).unwrap_err();
    assert_eq!(refused(options(10, Batch::Dynamic, None)), WriteError::Opset(10));
    assert_eq!(refused(options(12, Batch::Static(0), None)), WriteError::EmptyBatch);
    let nms = NmsConfig { top_k: 6000, keep_top_k: 3000, ..NMS };
    assert_eq!(refused(options(12, Batch::Dynamic, Some(nms))), WriteError::TopK(3000));
}
