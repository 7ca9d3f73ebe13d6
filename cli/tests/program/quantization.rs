//! Training with quantisation, and what is exported of it.

use std::fs;

use oxidet_proto::onnx::{ModelProto, decode};
use oxidet_proto::tensor_scales::TensorScales;

use crate::support::{SPEC, checkpoint, oxidet, project, save, yolo_v4};

const QAT: &str = "out/weights/yolov4_cspdarknet_tiny_epoch_001.tlt";

#[test]
fn a_model_trained_with_quantisation_is_exported_in_every_way() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    fs::write(dir.join("qat.txt"), SPEC.replace("num_epochs: 1", "num_epochs: 1 enable_qat: true")).unwrap();
    let run = oxidet(dir, "train -e qat.txt -r out");
    assert_eq!(run.code, 0, "{}", run.told());
    assert!(run.told().contains("trained with quantisation"), "{}", run.told());
    for (line, says) in [
        (format!("evaluate -m {QAT} -e qat.txt"), "mAP"),
        (format!("export -m {QAT} -o pairs.onnx"), "Q/DQ"),
        (format!("export -m {QAT} -o int8.onnx --data_type int8 --target_opset 17"), "INT8"),
        (
            format!("export -m {QAT} -o float.onnx --target_opset 12 --cal_json_file scales/cal.json"),
            "ranges of 34",
        ),
        (format!("export -m {QAT} -o plain.onnx --force_ptq --cal_json_file never.json"), "no effect"),
        (format!("export -m {QAT} -o fp32.onnx --data_type fp32"), "4 images"),
        (
            format!("export -m {QAT} -o cached.onnx --cal_cache_file qat.bin --trt 10.3.0"),
            "34 tensors for TensorRT 10.3.0",
        ),
        (
            format!(
                "export -m {QAT} -o ptq.onnx --data_type int8 --force_ptq --cal_cache_file ptq.bin --batches 1"
            ),
            "calibrating on",
        ),
        (format!("inspect {QAT}"), "quantis"),
        ("evaluate -m pairs.onnx -e qat.txt".into(), "mAP"),
    ] {
        let run = yolo_v4(dir, &line);
        assert_eq!(run.code, 0, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
    let model = |name: &str| -> ModelProto { decode(&fs::read(dir.join(name)).unwrap()).unwrap() };
    let quantizers = |name: &str| {
        let graph = model(name).graph.unwrap();
        graph.node.iter().filter(|node| node.op_type == "QuantizeLinear").count()
    };
    assert_eq!(model("pairs.onnx").opset(), Some(13));
    assert_eq!(quantizers("pairs.onnx"), quantizers("int8.onnx"));
    assert!(quantizers("pairs.onnx") > 34);
    assert_eq!((quantizers("float.onnx"), quantizers("plain.onnx")), (0, 0));
    let bytes = |name: &str| fs::read(dir.join(name)).unwrap();
    assert!(bytes("float.onnx") == bytes("plain.onnx") && bytes("float.onnx") == bytes("fp32.onnx"));
    assert!(!dir.join("never.json").exists());
    let scales =
        TensorScales::parse("cal.json", &fs::read_to_string(dir.join("scales/cal.json")).unwrap()).unwrap();
    assert!(scales.tensor_scales["Input"] > 50.0, "{scales:?}");

    for (line, says) in [
        (format!("export -m {QAT} -o a.onnx --target_opset 12"), "opset 13"),
        (format!("export -m {QAT} -o a.onnx --cal_json_file {QAT}"), "reads this file"),
        (format!("export -m {QAT} -o new/a.onnx --cal_json_file new/./a.onnx"), "would be lost"),
        (format!("export -m {QAT} -o a.onnx --cal_json_file manifest.json"), "would be lost"),
    ] {
        let run = oxidet(dir, &line);
        assert_eq!(run.code, 2, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
}

#[test]
fn a_float_model_has_no_ranges() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    for (line, code, says) in [
        ("export -m model.tlt -o a.onnx --cal_json_file cal.json", 2, "enable_qat"),
        ("export -m model.tlt -o a.onnx --force_ptq", 0, "no effect"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
    assert!(!dir.join("cal.json").exists());
}
