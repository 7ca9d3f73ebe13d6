//! Training with quantisation: a run keeps its ranges over a stop, and what it exports computes what it evaluated.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use oxidet_compute::Executor;
use oxidet_exporter::{Differences, check_quantizers, tensor_scales, without_quantizers};
use oxidet_graph::onnx::Batch;
use oxidet_graph::{Checkpoint, pass};
use oxidet_runtime::{Artifact, Backend, Cpu, EngineOptions};
use oxidet_tests::squares::{self, checked, draw, run, spec};
use oxidet_tests::{check_cases, checkpoint, exported, images, request, write_case};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::interp::TrainNet;
use oxidet_trainer::net::Freeze;
use oxidet_trainer::train::train;
use oxidet_vision::{Network, RawDetections};

fn read(path: &Path) -> Checkpoint {
    read_checkpoint(path, None).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_run_with_quantisation_learns_and_resumes_to_the_same_bytes() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 10);
    let results = tempfile::tempdir().expect("a folder");
    let with = |load: &str| spec(data.path(), &format!("enable_qat: true model_ema: true {load}"), "");
    let (whole, losses) = run(&with(""), &results.path().join("whole"), None, None);
    assert!(losses[5] < losses[0] / 2.0, "the loss falls: {losses:?}");

    let parts = results.path().join("parts");
    let (stopped, _) = run(&with(""), &parts, None, Some(7));
    let load = format!("resume_model_path: '{}'", stopped.checkpoint.display());
    let (resumed, _) = run(&with(&load), &parts, None, None);
    let bytes = |path: &Path| fs::read(path).expect("a checkpoint");
    assert!(bytes(&whole.checkpoint) == bytes(&resumed.checkpoint), "ranges are kept to the last bit");

    let stop = AtomicBool::new(false);
    let error = train(&squares::request(&spec(data.path(), &load, ""), &parts, &stop), &mut |_| {});
    let error = error.expect_err("the network is another").to_string();
    assert!(error.contains("training_config.enable_qat"), "{error}");
}

#[test]
fn the_spec_says_whether_a_pruned_model_trains_with_quantisation() {
    let data = tempfile::tempdir().expect("a folder");
    draw(data.path(), 4);
    let results = tempfile::tempdir().expect("a folder");
    let short = |load: &str| {
        let text = spec(data.path(), load, "").source().text().replace("num_epochs: 6", "num_epochs: 1");
        checked(&text)
    };
    let go = |load: &str, name: &str| run(&short(load), &results.path().join(name), None, None).0.checkpoint;
    let float = go("", "float");
    let pruned = |path: &Path| format!("pruned_model_path: '{}'", path.display());
    let quantized = go(&format!("enable_qat: true {}", pruned(&float)), "quantized");
    assert!(read(&quantized).detector.graph.is_quantized());
    let back = go(&pruned(&quantized), "back");
    assert_eq!(read(&back).detector, read(&float).detector);
}

/// A network with quantisers whose ranges are those of a batch.
fn quantized(arch: &str, nlayers: u32, activation: &str) -> Checkpoint {
    let mut checkpoint = checkpoint(arch, nlayers, activation, 3);
    let (detector, params) = pass::place_quantizers(&checkpoint.detector, &checkpoint.params);
    let shape = [2, 3, detector.preprocess.height, detector.preprocess.width];
    let measured = || -> Result<_, oxidet_trainer::interp::TrainNetError> {
        let mut net = TrainNet::new(&detector, &params, Freeze::default(), &candle_core::Device::Cpu)?;
        net.forward(&images(&checkpoint, 2), shape)?;
        net.params()
    };
    checkpoint.params = measured().unwrap_or_else(|error| panic!("{error}"));
    checkpoint.detector = detector;
    checkpoint
}

#[test]
fn scales_are_named_as_the_tensors_of_the_model() {
    for (arch, nlayers) in [("cspdarknet_tiny", 0), ("darknet", 19), ("mobilenet_v2", 0)] {
        let checkpoint = quantized(arch, nlayers, "");
        let scales = tensor_scales(&checkpoint).unwrap().tensor_scales;
        let float = exported(&without_quantizers(&checkpoint), 12, Batch::Dynamic);
        let model = oxidet_proto::onnx::decode(&float.onnx).unwrap();
        let graph = model.graph.unwrap();
        let made: Vec<&str> =
            graph.node.iter().flat_map(|node| &node.output).map(String::as_str).chain(["Input"]).collect();
        for tensor in scales.keys() {
            assert!(made.contains(&tensor.as_str()), "{arch}: `{tensor}` is no tensor of the model");
        }
        // Every convolution of the network reads a tensor with a range.
        let convs = graph.node.iter().filter(|node| node.op_type == "Conv");
        for conv in convs {
            assert!(scales.contains_key(&conv.input[0]), "{arch}: `{}` has no range", conv.input[0]);
        }
    }
}

#[test]
fn a_model_that_rounds_elsewhere_or_otherwise_is_found_out() {
    for (arch, nlayers) in [("resnet", 18), ("darknet", 19), ("mobilenet_v2", 0), ("efficientnet_b0", 0)] {
        let checkpoint = quantized(arch, nlayers, "");
        let model = exported(&checkpoint, 13, Batch::Dynamic).onnx;
        let pairs = check_quantizers(&checkpoint, &model).unwrap_or_else(|error| panic!("{arch}: {error}"));
        let scales = tensor_scales(&checkpoint).unwrap().tensor_scales;
        assert!(pairs > scales.len(), "{arch}: kernels have pairs too");

        let scaled = |factor: f32| {
            let mut other = checkpoint.clone();
            let name = other.params.iter().map(|(name, _)| name).find(|name| name.ends_with("/amax"));
            let name = name.expect("it has ranges").to_owned();
            other.params.get_mut(&name).expect("just found").data_mut()[0] *= factor;
            exported(&other, 13, Batch::Dynamic).onnx
        };
        // Of several that share a range only the largest counts; ten times any is larger.
        for wrong in [scaled(10.0), exported(&without_quantizers(&checkpoint), 13, Batch::Dynamic).onnx] {
            let error = check_quantizers(&checkpoint, &wrong).expect_err("it rounds otherwise").to_string();
            assert!(error.contains("does not round as the checkpoint does"), "{arch}: {error}");
        }
    }
}

#[test]
fn a_written_model_is_as_near_in_int8_as_programs_are() {
    for arch in ["cspdarknet_tiny", "mobilenet_v2", "squeezenet"] {
        let checkpoint = quantized(arch, 0, "");
        let input = images(&checkpoint, 2);
        let run = |network: &mut dyn Network| {
            let mut raw = RawDetections::default();
            network.run(&input, 2, &mut raw).unwrap();
            raw
        };
        let ours = |checkpoint: &Checkpoint| {
            run(&mut Executor::new(&checkpoint.detector, &checkpoint.params).unwrap())
        };
        let int8 = ours(&checkpoint);
        let rounding = Differences::between(&ours(&without_quantizers(&checkpoint)), &int8);
        let artifact = Artifact::load(&exported(&checkpoint, 13, Batch::Dynamic).onnx, None).unwrap();
        let engine = Cpu.prepare(&artifact, &EngineOptions::default()).unwrap();
        let written = Differences::between(&int8, &run(&mut *engine.session().unwrap()));
        assert!(written.are_within_rounding(&rounding), "{arch}: {written:?} {rounding:?}");
    }
}

#[test]
#[cfg_attr(not(peers), ignore = "set OXIDET_PEERS_PYTHON to a Python with onnx, onnxruntime and numpy")]
fn onnxruntime_computes_what_we_evaluate() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("cspdarknet_tiny", 0, ""),
        ("cspdarknet_tiny_3l", 0, "mish"),
        ("resnet", 18, ""),
        ("darknet", 19, ""),
        ("mobilenet_v2", 0, ""),
        ("efficientnet_b0", 0, ""),
    ];
    for (at, (arch, nlayers, activation)) in cases.into_iter().enumerate() {
        let checkpoint = quantized(arch, nlayers, activation);
        let input = images(&checkpoint, 2);
        let mut want = RawDetections::default();
        let mut network = Executor::new(&checkpoint.detector, &checkpoint.params).unwrap();
        network.run(&input, 2, &mut want).unwrap();
        let case = dir.path().join(format!("{at}_{arch}{nlayers}"));
        let (model, as_asked) = (exported(&checkpoint, 13, Batch::Dynamic), request(13, Batch::Dynamic));
        write_case(&case, &model, &as_asked, &input, &want).unwrap();
        fs::write(case.join("scales.json"), tensor_scales(&checkpoint).unwrap().to_json()).unwrap();
    }
    check_cases(dir.path(), &["--quantized"]);
}
