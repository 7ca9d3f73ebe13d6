//! Calibrating a float model, and what is exported of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use oxidet_graph::ParamKind;
use oxidet_proto::calibration_cache::CalibrationCache;
use oxidet_proto::onnx::{GraphProto, decode};
use oxidet_proto::tensor_scales::TensorScales;

use crate::support::{checkpoint, oxidet, project, save};

/// The tensors of a cache, with the bits of their scales.
fn cache(dir: &Path, name: &str) -> BTreeMap<String, u32> {
    let cache = CalibrationCache::parse(name, &fs::read(dir.join(name)).unwrap()).unwrap();
    cache.entries().iter().map(|entry| (entry.tensor().to_owned(), entry.scale().to_bits())).collect()
}

fn graph(dir: &Path, name: &str) -> GraphProto {
    decode(&fs::read(dir.join(name)).unwrap()).unwrap().graph.unwrap()
}

/// The tensors that a model rounds, with the bits of the scales it rounds them with.
fn rounded(model: &GraphProto) -> BTreeMap<String, u32> {
    let constant = |name: &str| model.initializer.iter().find(|tensor| tensor.name == name).unwrap();
    let nodes = model.node.iter().filter(|node| node.op_type == "QuantizeLinear");
    let made: BTreeSet<&str> =
        model.node.iter().flat_map(|node| &node.output).map(String::as_str).chain(["Input"]).collect();
    // Kernels have pairs, too, and no node makes them.
    let maps = nodes.filter(|node| made.contains(node.input[0].as_str()));
    maps.map(|node| (node.input[0].clone(), constant(&node.input[1]).to_f32s().unwrap()[0].to_bits()))
        .collect()
}

/// Runs a command that is to succeed; what it says.
fn ok(dir: &Path, line: &str) -> String {
    let run = oxidet(dir, line);
    assert_eq!(run.code, 0, "{line}: {}", run.told());
    run.told()
}

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
    // A number, and the class ids of a network with one class, which are zeros and have no range.
    let others = ["BatchedNMS", "BatchedNMS_3"];
    let made =
        model.node.iter().flat_map(|node| &node.output).filter(|name| !others.contains(&name.as_str()));
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

#[test]
fn what_holds_zeros_has_no_range_in_any_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    let mut model = checkpoint();
    for kind in [ParamKind::Gamma, ParamKind::Beta] {
        model.params.get_mut(&kind.of("conv_1_bn")).unwrap().data_mut().fill(0.0);
    }
    save(dir, "model.tlt", &model);
    let images = "--batches 1 --batch_size 4";
    let told = ok(
        dir,
        &format!("calibrate -m model.tlt --cal_cache_file a.bin --cal_json_file a.json --preview {images}"),
    );
    assert!(told.contains("held zeros on all images") && told.contains("conv_1_mish"), "{told}");
    assert_eq!(told.matches("warning").count(), 1, "{told}");
    let ranges = cache(dir, "a.bin");
    assert!(!ranges.contains_key("conv_1_mish") && ranges.contains_key("conv_0_mish"), "{ranges:?}");
    assert!(ranges.values().all(|scale| f32::from_bits(*scale) > 1e-6), "{ranges:?}");
    let scales = TensorScales::parse("a.json", &fs::read_to_string(dir.join("a.json")).unwrap())
        .unwrap()
        .tensor_scales;
    assert!(scales.keys().eq(ranges.keys()));

    let export = "export -m model.tlt --data_type int8 --target trt10";
    ok(dir, &format!("{export} -o direct.onnx {images}"));
    let told = ok(dir, &format!("{export} -o read.onnx --cal_cache_file a.bin"));
    assert!(told.contains("a.bin has no ranges of") && told.contains("conv_1_mish"), "{told}");
    assert!(fs::read(dir.join("direct.onnx")).unwrap() == fs::read(dir.join("read.onnx")).unwrap());
    assert!(!rounded(&graph(dir, "direct.onnx")).contains_key("conv_1_mish"));
}

#[test]
fn files_with_ranges_say_what_the_model_with_pairs_says() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    fs::write(dir.join("keep.txt"), "conv_big_object\n").unwrap();
    fs::write(dir.join("typo.txt"), "conv_huge_object\n").unwrap();
    let images = "--batches 1 --batch_size 4";
    for (name, list) in [("all", ""), ("some", " --fp16_layers keep.txt")] {
        ok(
            dir,
            &format!(
                "calibrate -m model.tlt --cal_cache_file {name}.bin --cal_json_file {name}.json {images}{list}"
            ),
        );
        let export = "export -m model.tlt --data_type int8 --target trt10";
        ok(dir, &format!("{export} -o {name}.onnx {images}{list}"));
        ok(dir, &format!("{export} -o {name}_read.onnx --cal_cache_file {name}.bin{list}"));
        let bytes = |name: &str| fs::read(dir.join(name)).unwrap();
        assert!(bytes(&format!("{name}.onnx")) == bytes(&format!("{name}_read.onnx")), "{name}");

        let (model, ranges) = (graph(dir, &format!("{name}.onnx")), cache(dir, &format!("{name}.bin")));
        for (tensor, scale) in rounded(&model) {
            assert_eq!(ranges.get(&tensor), Some(&scale), "{name}: {tensor}");
        }
        let json = fs::read_to_string(dir.join(format!("{name}.json"))).unwrap();
        let scales = TensorScales::parse("json", &json).unwrap().tensor_scales;
        assert!(scales.keys().eq(ranges.keys()), "{name}");
        for (tensor, amax) in scales {
            assert_eq!((amax / 127.0).to_bits(), ranges[&tensor], "{name}: {tensor}");
        }
    }
    // What the head reads has no range, and nothing else has changed.
    let (all, some) = (cache(dir, "all.bin"), cache(dir, "some.bin"));
    let head = graph(dir, "some.onnx").node.into_iter().find(|node| node.name == "conv_big_object").unwrap();
    let gone: Vec<&String> = all.keys().filter(|tensor| !some.contains_key(*tensor)).collect();
    assert_eq!(gone, [&head.input[0]]);
    assert!(some.iter().all(|(tensor, scale)| all[tensor] == *scale));

    for line in [
        "calibrate -m model.tlt --cal_cache_file typo.bin --fp16_layers typo.txt --cal_image_dir images --cal_data_file typo.h5",
        "export -m model.tlt -o typo.onnx --data_type int8 --fp16_layers typo.txt",
    ] {
        let run = oxidet(dir, line);
        assert_eq!(run.code, 2, "{line}: {}", run.told());
        assert!(run.told().contains("conv_huge_object"), "{line}: {}", run.told());
    }
    for file in ["typo.bin", "typo.h5", "typo.onnx"] {
        assert!(!dir.join(file).exists(), "{file}");
    }
    // A cache that was made without the list would be used as it is.
    let export = "export -m model.tlt -o x.onnx --data_type int8 --fp16_layers keep.txt --cal_cache_file";
    let run = oxidet(dir, &format!("{export} all.bin"));
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.told().contains(&head.input[0]), "{}", run.told());
    ok(dir, &format!("{export} some.bin"));
}

#[test]
fn a_layer_that_ranges_do_not_keep_in_float_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    let model = checkpoint();
    save(dir, "model.tlt", &model);
    let graph = &model.detector.graph;
    // Of two convolutions that read one map, one: the other goes on reading it in INT8.
    let convs: Vec<_> =
        graph.nodes().iter().filter(|node| matches!(node.op, oxidet_graph::Op::Conv2d(_))).collect();
    let shared = convs.iter().enumerate().find_map(|(at, conv)| {
        let other = convs[at + 1..].iter().find(|other| other.inputs[0] == conv.inputs[0])?;
        Some(other.name.clone())
    });
    let shared = shared.expect("the network branches");
    fs::write(dir.join("keep.txt"), format!("{shared}\n")).unwrap();
    let images = "--batches 1 --batch_size 2 --fp16_layers keep.txt";
    let told = ok(dir, &format!("calibrate -m model.tlt --cal_cache_file a.bin {images}"));
    assert!(told.contains("only compute them in INT8, too") && told.contains(&shared), "{told}");
    let told = ok(dir, &format!("export -m model.tlt -o a.onnx --data_type int8 --target trt10 {images}"));
    assert!(!told.contains("INT8, too"), "{told}");
}

/// With each tail: the one of ONNX brought in a tensor of our own.
#[test]
fn a_cache_names_tensors_of_its_model_only() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    for tail in ["batched", "efficient", "onnx", "none"] {
        ok(
            dir,
            &format!(
                "export -m model.tlt -o {tail}.onnx --nms {tail} --data_type int8 --cal_cache_file {tail}.bin --batches 1"
            ),
        );
        let model = graph(dir, &format!("{tail}.onnx"));
        let made: BTreeSet<&str> =
            model.node.iter().flat_map(|node| &node.output).map(String::as_str).chain(["Input"]).collect();
        for tensor in cache(dir, &format!("{tail}.bin")).keys() {
            assert!(made.contains(tensor.as_str()), "{tail}: {tensor}");
        }
    }
}

/// Batches of three do not hold four images: that used to lose the last one.
#[test]
fn a_tensorfile_gives_the_cache_of_its_images() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    let calibrate = "calibrate -m model.tlt --batches 2 --batch_size 3";
    ok(dir, &format!("{calibrate} --cal_cache_file images.bin --cal_image_dir images"));
    let told = ok(
        dir,
        &format!("{calibrate} --cal_cache_file written.bin --cal_image_dir images --cal_data_file t.h5"),
    );
    assert!(told.contains("t.h5: 4 images in batches of 2"), "{told}");
    ok(dir, &format!("{calibrate} --cal_cache_file read.bin --cal_data_file t.h5"));
    for file in ["written.bin", "read.bin", "written.bin.json", "read.bin.json"] {
        let images = file.replace("written", "images").replace("read", "images");
        assert_eq!(fs::read(dir.join(file)).unwrap(), fs::read(dir.join(images)).unwrap(), "{file}");
    }
}

#[test]
fn batches_that_no_computer_holds_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    project(dir);
    save(dir, "model.tlt", &checkpoint());
    for option in ["static_batch_size", "min_batch_size", "opt_batch_size", "max_batch_size"] {
        let run = oxidet(dir, &format!("export -m model.tlt -o x.onnx --triton repo --{option} 100000"));
        assert_eq!(run.code, 2, "{option}: {}", run.told());
        assert!(run.told().contains(&format!("--{option} 100000")), "{option}: {}", run.told());
        assert!(run.told().contains("at most 256"), "{option}: {}", run.told());
    }
    assert!(!dir.join("x.onnx").exists());
    ok(dir, "export -m model.tlt -o x.onnx --nms onnx --static_batch_size 3");
}
