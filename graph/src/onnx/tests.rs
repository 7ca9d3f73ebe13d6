//! The written model against the contract.

use oxidet_proto::onnx::decode;
use oxidet_proto::onnx::tensor_shape_proto::{Dimension, Value};
use oxidet_vision::{Head, Preprocess};

use super::*;
use crate::{Activation, Conv2d, DetectorHead, GraphBuilder, MaxPool, Padding, Tensor};

const NMS: NmsConfig = NmsConfig { score_threshold: 0.001, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 };

pub(super) fn detector() -> (Detector, Params) {
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

pub(super) fn options(opset: i64, batch: Batch, tail: NmsTail) -> WriteOptions {
    WriteOptions { opset, batch, tail, nms: NMS, score_bits: 3, float: FloatType::F32 }
}

/// Names, types and sizes (0 for a symbol) of values.
fn signature(values: &[ValueInfoProto]) -> Vec<(&str, DataType, Vec<i64>)> {
    let size = |dim: &Dimension| match dim.value {
        Some(Value::DimValue(size)) => size,
        _ => 0,
    };
    let of = |value| {
        let (r#type, dims): (_, &[Dimension]) = ValueInfoProto::tensor_shape(value).expect("it has a shape");
        (value.name.as_str(), r#type, dims.iter().map(size).collect())
    };
    values.iter().map(of).collect()
}

#[test]
fn the_contract_holds() {
    let (detector, params) = detector();
    let model = write(&detector, &params, &options(12, Batch::Dynamic, NmsTail::Batched)).unwrap();
    assert_eq!(model, decode(&model.to_bytes()).unwrap());
    assert_eq!(model.opset(), Some(12));
    let graph = model.graph.as_ref().unwrap();
    assert_eq!(graph.input.len(), 1);
    assert_eq!(graph.input[0].name, "Input");
    assert_eq!(
        signature(&graph.output),
        [
            ("BatchedNMS", DataType::Int32, vec![0, 1]),
            ("BatchedNMS_1", DataType::Float, vec![0, 200, 4]),
            ("BatchedNMS_2", DataType::Float, vec![0, 200]),
            ("BatchedNMS_3", DataType::Float, vec![0, 200]),
        ]
    );

    let nms = graph.node.last().unwrap();
    assert_eq!(
        (nms.op_type.as_str(), nms.name.as_str(), nms.domain.as_str()),
        ("BatchedNMSDynamic_TRT", "BatchedNMS_N", "")
    );
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
}

#[test]
fn every_value_is_made_once_before_it_is_read() {
    let (detector, params) = detector();
    for tail in NmsTail::ALL {
        for float in [FloatType::F32, FloatType::F16] {
            let options = WriteOptions { float, ..options(12, Batch::Dynamic, tail) };
            let graph = write(&detector, &params, &options).unwrap().graph.unwrap();
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
            for output in &graph.output {
                assert!(known.contains(&output.name.as_str()), "{}", output.name);
            }
        }
    }
}

#[test]
fn efficient_nms_reads_three_axes_and_has_the_next_thresholds() {
    let (detector, params) = detector();
    let graph =
        write(&detector, &params, &options(12, Batch::Static(2), NmsTail::Efficient)).unwrap().graph.unwrap();
    assert_eq!(
        signature(&graph.output),
        [
            ("num_detections", DataType::Int32, vec![2, 1]),
            ("detection_boxes", DataType::Float, vec![2, 200, 4]),
            ("detection_scores", DataType::Float, vec![2, 200]),
            ("detection_classes", DataType::Int32, vec![2, 200]),
        ]
    );
    let nms = graph.node.last().unwrap();
    assert_eq!((nms.op_type.as_str(), nms.domain.as_str()), ("EfficientNMS_TRT", ""));
    assert_eq!(nms.input, ["boxes", "scores"]);
    for (name, value) in [
        ("max_output_boxes", 200),
        ("background_class", -1),
        ("score_activation", 0),
        ("class_agnostic", 0),
        ("box_coding", 0),
    ] {
        assert_eq!(nms.attribute(name).unwrap().i, Some(value), "{name}");
    }
    // The plugin keeps what reaches a threshold, we what exceeds it.
    assert_eq!(nms.attribute("score_threshold").unwrap().f, Some(f32::from_bits(0.001f32.to_bits() + 1)));
    assert_eq!(nms.attribute("iou_threshold").unwrap().f, Some(f32::from_bits(0.5f32.to_bits() + 1)));
    assert_eq!(nms.attribute("plugin_version").unwrap().s.as_deref(), Some(&b"1"[..]));
}

#[test]
fn the_standard_node_has_constants_and_what_its_indices_point_into_is_an_output() {
    let (detector, params) = detector();
    let graph =
        write(&detector, &params, &options(12, Batch::Dynamic, NmsTail::Onnx)).unwrap().graph.unwrap();
    // Two anchors in 4 by 2 and 8 by 4 cells.
    assert_eq!(
        signature(&graph.output),
        [
            ("selected_indices", DataType::Int64, vec![0, 3]),
            ("boxes", DataType::Float, vec![0, 80, 4]),
            ("scores", DataType::Float, vec![0, 2, 80]),
        ]
    );
    let nms = graph.node.last().unwrap();
    assert_eq!(
        (nms.op_type.as_str(), &nms.input[..2]),
        ("NonMaxSuppression", &["boxes".into(), "scores".into()][..])
    );
    let constant = |at: usize| graph.initializer.iter().find(|tensor| tensor.name == nms.input[at]).unwrap();
    assert_eq!(constant(2).to_i64s().unwrap(), [200]);
    assert_eq!(constant(3).to_f32s().unwrap(), [0.5]);
    assert_eq!(constant(4).to_f32s().unwrap(), [0.001]);
}

#[test]
fn raw_models_end_in_boxes_and_scores() {
    let (detector, params) = detector();
    let graph = write(&detector, &params, &options(12, Batch::Dynamic, NmsTail::Raw)).unwrap().graph.unwrap();
    assert_eq!(
        signature(&graph.output),
        [("boxes", DataType::Float, vec![0, 80, 4]), ("scores", DataType::Float, vec![0, 80, 2])]
    );
}

#[test]
fn what_a_tail_was_written_with_is_read_back() {
    let (detector, params) = detector();
    for nms in [NMS, NmsConfig { score_threshold: 0.3, iou_threshold: 1.0, top_k: 100, keep_top_k: 50 }] {
        for tail in NmsTail::ALL {
            let options = WriteOptions { nms, ..options(12, Batch::Dynamic, tail) };
            let mut graph = write(&detector, &params, &options).unwrap().graph.unwrap();
            let written = graph.clone();
            let Cut { node, suppression, classes, added } = cut(&mut graph).unwrap();
            assert_eq!(node.map(|node| node.op_type).as_deref(), tail.operator());
            let top_k = match tail {
                NmsTail::Batched => Some(nms.top_k),
                NmsTail::Efficient => Some(4096),
                NmsTail::Onnx => Some(usize::MAX),
                NmsTail::Raw => None,
            };
            let want = top_k.map(|top_k| Suppression { tail, nms: NmsConfig { top_k, ..nms } });
            assert_eq!(suppression, want, "{tail:?}");
            assert_eq!(classes, (tail != NmsTail::Efficient).then_some(2), "{tail:?}");
            assert_eq!(graph.output.len(), 2, "{tail:?}");
            let made = |name: &str| graph.node.iter().any(|node| node.output.iter().any(|made| made == name));
            assert!(graph.output.iter().all(|output| made(&output.name)), "{tail:?}");
            // What is named as added, and nothing else, is not in what was written.
            let of_file: Vec<&String> = written.node.iter().flat_map(|node| &node.output).collect();
            let made = graph.node.iter().flat_map(|node| &node.output);
            let others: Vec<&String> = made.filter(|name| !of_file.contains(name)).collect();
            assert_eq!(others, added.iter().collect::<Vec<_>>(), "{tail:?}");
        }
    }
}

#[test]
fn nodes_that_suppress_otherwise_are_refused() {
    let (detector, params) = detector();
    for (tail, attribute, value) in [
        (NmsTail::Batched, "isNormalized", 0),
        (NmsTail::Batched, "topK", 0),
        (NmsTail::Efficient, "box_coding", 1),
        (NmsTail::Efficient, "score_activation", 1),
        (NmsTail::Efficient, "class_agnostic", 1),
        (NmsTail::Onnx, "center_point_box", 1),
    ] {
        let mut graph = write(&detector, &params, &options(12, Batch::Dynamic, tail)).unwrap().graph.unwrap();
        let node = graph.node.last_mut().unwrap();
        node.attribute.iter_mut().find(|found| found.name == attribute).unwrap().i = Some(value);
        let error = cut(&mut graph).unwrap_err();
        assert!(error.contains(attribute), "{error}");
    }
    // Somebody reads what was selected.
    let mut graph =
        write(&detector, &params, &options(12, Batch::Dynamic, NmsTail::Onnx)).unwrap().graph.unwrap();
    graph.output.remove(0);
    assert!(cut(&mut graph).unwrap_err().contains("not the last"));
}

#[test]
fn layers_are_float16_and_nothing_behind_them() {
    let (detector, params) = detector();
    let half = WriteOptions { float: FloatType::F16, ..options(12, Batch::Dynamic, NmsTail::Raw) };
    let graph = write(&detector, &params, &half).unwrap().graph.unwrap();
    assert!(
        signature(&graph.input)
            .iter()
            .chain(&signature(&graph.output))
            .all(|value| value.1 == DataType::Float)
    );
    for tensor in &graph.initializer {
        let is_parameter = params.get(&tensor.name).is_some();
        assert_eq!(tensor.data_type == DataType::Float16 as i32, is_parameter, "{}", tensor.name);
    }
    let casts: Vec<(&str, i64)> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Cast")
        .map(|node| (node.input[0].as_str(), node.attribute("to").unwrap().i.unwrap()))
        .collect();
    let [half, single] = [DataType::Float16, DataType::Float].map(|to| to as i64);
    assert_eq!(casts, [("Input", half), ("conv_big_object", single), ("conv_mid_object", single)]);
}

#[test]
fn what_float16_cannot_hold_is_named() {
    let (detector, params) = detector();
    let half = WriteOptions { float: FloatType::F16, ..options(12, Batch::Dynamic, NmsTail::Raw) };
    let mut large = params.clone();
    large.get_mut("conv_mid_object/kernel").unwrap().data_mut()[1] = 7e4;
    let error = write(&detector, &large, &half).unwrap_err().to_string();
    assert!(error.contains("conv_mid_object/kernel") && error.contains("70000"), "{error}");

    let mut bright = detector.clone();
    bright.preprocess.depth = 16;
    bright.preprocess.mean = vec![10.0; 3];
    assert_eq!(
        write(&bright, &params, &half).unwrap_err(),
        WriteError::Float16Input { depth: 16, mean: 10.0 }
    );
    bright.preprocess.mean = vec![3e4; 3];
    assert!(write(&bright, &params, &half).is_ok());
    let (quantized, params) = crate::pass::place_quantizers(&detector, &params);
    let half = WriteOptions { opset: QUANTIZED_OPSET, ..half };
    assert_eq!(write(&quantized, &params, &half).unwrap_err(), WriteError::QuantizedFloat16);
}

#[test]
fn metadata_comes_back() {
    let (detector, params) = detector();
    let model = write(&detector, &params, &options(13, Batch::Static(2), NmsTail::Raw)).unwrap();
    let metadata = Metadata::read(&model).unwrap().unwrap();
    assert_eq!(metadata, Metadata::of(&detector, NMS));
    assert_eq!(Metadata::read(&ModelProto::default()), Ok(None));
}

#[test]
fn equal_arguments_give_equal_bytes() {
    let (detector, params) = detector();
    for tail in NmsTail::ALL {
        let bytes = || write(&detector, &params, &options(17, Batch::Dynamic, tail)).unwrap().to_bytes();
        assert_eq!(bytes(), bytes());
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let (detector, params) = detector();
    let refused = |options: WriteOptions| write(&detector, &params, &options).unwrap_err();
    assert_eq!(refused(options(10, Batch::Dynamic, NmsTail::Batched)), WriteError::Opset(10));
    assert_eq!(refused(options(12, Batch::Static(0), NmsTail::Batched)), WriteError::EmptyBatch);
    for (tail, top_k) in [(NmsTail::Batched, 3000), (NmsTail::Efficient, 5000), (NmsTail::Raw, 0)] {
        let nms = NmsConfig { top_k: 2 * top_k, keep_top_k: top_k, ..NMS };
        let options = WriteOptions { nms, ..options(12, Batch::Dynamic, tail) };
        assert_eq!(refused(options), WriteError::TopK { tail, top_k });
    }
}
