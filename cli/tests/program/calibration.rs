//! Calibrating a float model, and what is exported of it.

use std::fs;

use oxidet_graph::ParamKind;
use oxidet_proto::calibration_cache::CalibrationCache;
use oxidet_proto::onnx::decode;

use crate::support::{checkpoint, oxidet, project, save};

#[test]
fn a_float_model_is_calibrated_once_and_exported_in_every_way() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    for (line, code, says) in [
        ("calibrate -m model.tlt --cal_cache_file a.bin --cal_json_file a.json", 0, "a.bin: ranges of"),
        ("calibrate -m model.tlt --cal_cache_file a.bin", 2, "--force"),
        ("calibrate -m model.tlt --cal_cache_file b.bin --method minmax --trt 10.3.0", 0, "TensorRT 10.3.0"),
        ("calibrate -m model.tlt --cal_cache_file c.bin --method kl", 2, "entropy"),
        ("calibrate -m model.tlt --cal_cache_file c.bin --cal_image_dir .", 3, "no images"),
        ("calibrate -m model.tlt --cal_cache_file model.tlt --force", 2, "reads this file"),
        ("inspect a.bin -m model.tlt", 0, "EntropyCalibration2"),
        ("export -m model.tlt -o cached.onnx --data_type int8", 0, "cal.bin: ranges of"),
        ("export -m model.tlt -o again.onnx --data_type int8", 2, "cal.bin exists"),
        (
            "export -m model.tlt -o pairs.onnx --data_type int8 --target trt10 --cal_cache_file a.bin",
            0,
            "Q/DQ",
        ),
        ("export -m model.tlt -o direct.onnx --data_type int8 --target trt10", 0, "Q/DQ"),
        ("export -m model.tlt -o x.onnx --data_type int8 --target trt11 --cal_cache_file x.bin", 2, "trt10"),
        ("export -m model.tlt -o x.onnx --data_type int8 --target trt8 --cal_cache_file b.bin", 0, "--trt"),
        ("export -m model.tlt -o idle.onnx --cal_cache_file no.bin", 0, "no effect"),
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.told().contains(says), "{line}: {}", run.told());
    }
    let bytes = |name: &str| fs::read(dir.join(name)).unwrap();
    // One set of ranges, however it comes about.
    assert_eq!(bytes("a.bin"), bytes("cal.bin"));
    let cache = CalibrationCache::parse("a.bin", &bytes("a.bin")).unwrap();
    let model = decode(&bytes("cached.onnx")).unwrap().graph.unwrap();
    let made = model.node.iter().flat_map(|node| &node.output).filter(|name| *name != "BatchedNMS");
    let tensors: Vec<&str> = ["Input"].into_iter().chain(made.map(String::as_str)).collect();
    assert_eq!(cache.entries().iter().map(|entry| entry.tensor()).collect::<Vec<_>>(), tensors);
    let pairs = |name: &str| {
        let graph = decode(&bytes(name)).unwrap().graph.unwrap();
        graph.node.iter().filter(|node| node.op_type == "QuantizeLinear").count()
    };
    assert_eq!(pairs("cached.onnx"), 0);
    assert!(pairs("pairs.onnx") > 34 && pairs("pairs.onnx") == pairs("direct.onnx"));
    assert!(!dir.join("no.bin").exists());
}

#[test]
fn a_cache_of_another_network_is_refused_by_the_layer_that_changed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    let mut model = checkpoint();
    save(dir, "model.tlt", &model);
    let run = oxidet(dir, "calibrate -m model.tlt --cal_cache_file a.bin --batches 1 --batch_size 2");
    assert_eq!(run.code, 0, "{}", run.told());
    model.params.get_mut(&ParamKind::Kernel.of("conv_1")).unwrap().data_mut()[0] += 0.5;
    save(dir, "other.tlt", &model);
    let export = "-o x.onnx --data_type int8 --target ort --cal_cache_file a.bin";
    let run = oxidet(dir, &format!("export -m other.tlt {export}"));
    assert_eq!(run.code, 3, "{}", run.told());
    assert!(run.told().contains("the weights of `conv_1` are others"), "{}", run.told());
    assert!(!dir.join("x.onnx").exists());

    let text = fs::read_to_string(dir.join("a.bin")).unwrap();
    fs::write(dir.join("a.bin"), text.replacen("Input: ", "Input: 0", 1).replacen("Input: 0", "Input: 3", 1))
        .unwrap();
    let run = oxidet(dir, &format!("export -m model.tlt {export}"));
    assert_eq!(run.code, 3, "{}", run.told());
}

#[test]
fn layers_stay_in_float_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    fs::write(dir.join("keep.txt"), "# why\nconv_big_object\n").unwrap();
    fs::write(dir.join("typo.txt"), "conv_huge_object\n").unwrap();
    let export = "export -m model.tlt --data_type int8 --target trt10 --batches 1 --batch_size 2";
    let run = oxidet(dir, &format!("{export} -o all.onnx"));
    assert_eq!(run.code, 0, "{}", run.told());
    let run = oxidet(dir, &format!("{export} -o some.onnx --fp16_layers keep.txt"));
    assert_eq!(run.code, 0, "{}", run.told());
    let run = oxidet(dir, &format!("{export} -o none.onnx --fp16_layers typo.txt"));
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.told().contains("conv_huge_object"), "{}", run.told());
    let reads_rounded = |name: &str| {
        let graph = decode(&fs::read(dir.join(name)).unwrap()).unwrap().graph.unwrap();
        let head = graph.node.iter().find(|node| node.name == "conv_big_object").unwrap();
        graph
            .node
            .iter()
            .any(|node| node.op_type == "DequantizeLinear" && head.input.contains(&node.output[0]))
    };
    assert!(reads_rounded("all.onnx") && !reads_rounded("some.onnx"));
}
