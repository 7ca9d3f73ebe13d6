use super::*;

fn sample() -> ModelProto {
    let conv = NodeProto::new("Conv", "conv", ["Input", "w"], ["y"])
        .attr(AttributeProto::ints("pads", [0, 0, 0, 0]))
        .attr(AttributeProto::int("group", 1));
    let nms = NodeProto::new("BatchedNMSDynamic_TRT", "BatchedNMS_N", ["y", ""], ["BatchedNMS"])
        .attr(AttributeProto::int("backgroundLabelId", -1))
        .attr(AttributeProto::int("scoreBits", 0))
        .attr(AttributeProto::float("iouThreshold", 0.5))
        .attr(AttributeProto::floats("scales", [1.0, 2.0]))
        .attr(AttributeProto::string("plugin_version", "1"))
        .attr(AttributeProto::tensor("value", TensorProto::i64s("", &[7])));
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "oxidet".into(),
        opset_import: vec![OperatorSetIdProto::standard(12)],
        metadata_props: vec![StringStringEntryProto::new("oxidet.arch", "resnet")],
        graph: Some(GraphProto {
            name: "g".into(),
            node: vec![conv, nms],
            initializer: vec![
                TensorProto::f32("w", &[1, 2, 1, 1], &[0.25, -1.0]),
                TensorProto::i64s("shape", &[1, -1]),
            ],
            input: vec![ValueInfoProto::tensor(
                "Input",
                DataType::Float,
                &[Dim::Symbol("N"), Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(4)],
            )],
            output: vec![ValueInfoProto::unshaped("BatchedNMS", DataType::Int32)],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// The bytes of Python's `onnx` for the same model: `sample.py` beside this file makes them.
#[test]
fn bytes_are_those_of_the_onnx_package() {
    assert_eq!(sample().to_bytes(), include_bytes!("sample.onnx"));
    assert_eq!(decode(include_bytes!("sample.onnx")).unwrap(), sample());
}

#[test]
fn lookups_find_what_is_there() {
    let model = sample();
    assert_eq!(
        (model.opset(), model.metadata("oxidet.arch"), model.metadata("x")),
        (Some(12), Some("resnet"), None)
    );
    let graph = model.graph.unwrap();
    assert_eq!(graph.node[1].attribute("scoreBits").unwrap().i, Some(0));
    let (elem_type, shape) = graph.input[0].tensor_shape().unwrap();
    assert_eq!((elem_type, shape.len()), (DataType::Float, 4));
    assert_eq!(graph.output[0].tensor_shape(), None);
}

#[test]
fn elements_come_from_either_field() {
    let raw = TensorProto::f32("w", &[2, 1], &[1.5, -2.0]);
    assert_eq!((raw.shape().unwrap(), raw.to_f32s().unwrap()), (vec![2, 1], vec![1.5, -2.0]));
    let typed = TensorProto { raw_data: vec![], float_data: vec![1.5, -2.0], ..raw.clone() };
    assert_eq!(typed.to_f32s().unwrap(), [1.5, -2.0]);
    assert_eq!(TensorProto::i64s("s", &[-1, 1 << 40]).to_i64s().unwrap(), [-1, 1 << 40]);
    assert_eq!(TensorProto::f32("scalar", &[], &[3.0]).to_f32s().unwrap(), [3.0]);
    assert_eq!(TensorProto::f32("empty", &[0], &[]).to_f32s().unwrap(), [0.0; 0]);
}

#[test]
fn half_precision_rounds_and_knows_its_bounds() {
    // 1/3 is 0x3555 in IEEE 754 binary16; 65519 still rounds to the largest number, 65520 does not.
    let half = TensorProto::f16s("w", &[3], &[1.0 / 3.0, -2.0, 65519.0]).unwrap();
    assert_eq!(half.raw_data, [0x55, 0x35, 0x00, 0xc0, 0xff, 0x7b]);
    assert_eq!(half.to_f32s().unwrap(), [0.333_251_95, -2.0, 65504.0]);
    let typed = TensorProto { raw_data: vec![], int32_data: vec![0x3555, 0xc000, 0x7bff], ..half.clone() };
    assert_eq!(typed.to_f32s(), half.to_f32s());
    for beyond in [65520.0, f32::INFINITY, f32::NAN] {
        let error = TensorProto::f16s("w", &[1], &[beyond]).unwrap_err().to_string();
        assert!(error.contains("\"w\"") && error.contains("65504"), "{error}");
    }
}

#[test]
fn contradictory_tensors_are_refused() {
    let good = TensorProto::f32("w", &[2], &[1.0, 2.0]);
    let cases = [
        (TensorProto { dims: vec![3], ..good.clone() }, "2 elements for shape [3]"),
        (TensorProto { dims: vec![-1], ..good.clone() }, "impossible shape [-1]"),
        (TensorProto { dims: vec![i64::MAX, 4], ..good.clone() }, "impossible shape"),
        (TensorProto { data_type: 7, ..good.clone() }, "elements are Int64, Float is needed"),
        (TensorProto { data_type: 99, ..good.clone() }, "elements are type 99, Float is needed"),
        (TensorProto { data_location: 1, ..good.clone() }, "elements are in another file"),
        (TensorProto { float_data: vec![1.0], ..good.clone() }, "elements are given twice"),
        (TensorProto { raw_data: vec![0; 7], ..good.clone() }, "7 bytes do not divide"),
        (TensorProto { raw_data: vec![], ..good }, "0 elements for shape [2]"),
    ];
    for (tensor, want) in cases {
        let error = tensor.to_f32s().unwrap_err().to_string();
        assert!(error.starts_with(&format!("ONNX tensor \"w\": {want}")), "{error}");
    }
}

#[test]
fn other_bytes_are_no_model() {
    assert_eq!(decode(b""), Err(OnnxError::NoGraph));
    assert!(matches!(decode(b"\x89HDF\r\n\x1a\n"), Err(OnnxError::Malformed(_))));
    assert!(matches!(decode(b"PK\x03\x04"), Err(OnnxError::Malformed(_))));
}

#[test]
fn no_truncation_and_no_flipped_byte_panics() {
    let bytes = sample().to_bytes();
    for len in 0..bytes.len() {
        let _ = decode(&bytes[..len]);
        for value in [0x00, 0x7f, 0x80, 0xff, bytes[len] ^ 1] {
            let mut changed = bytes.clone();
            changed[len] = value;
            if let Ok(model) = decode(&changed) {
                for tensor in model.graph.iter().flat_map(|graph| &graph.initializer) {
                    let _ = (tensor.to_f32s(), tensor.to_i64s());
                }
            }
        }
    }
}

/// A field of the given number with these contents.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(contents.len() as u64, &mut bytes);
    bytes.extend_from_slice(contents);
    bytes
}

#[test]
fn files_of_empty_parts_are_refused_before_they_grow() {
    let nodes = field(7, &[1 << 3 | 2, 0].repeat(500_001));
    assert!(matches!(decode(&nodes), Err(OnnxError::TooManyParts { .. })));
    let attributes = field(7, &field(1, &[5 << 3 | 2, 0].repeat(500_001)));
    assert!(matches!(decode(&attributes), Err(OnnxError::TooManyParts { .. })));
    assert_eq!(decode(&field(7, &[1 << 3 | 2, 0].repeat(1000))).unwrap().graph.unwrap().node.len(), 1000);
}

/// prost stops at 100 levels; groups (wire type 3) are the only way to nest without declared messages.
#[test]
fn deep_nesting_is_refused() {
    assert!(matches!(decode(&[0x0b; 100_000]), Err(OnnxError::Malformed(_))));
    assert!(matches!(decode(&field(7, &[0x0b; 100_000])), Err(OnnxError::Malformed(_))));
}
