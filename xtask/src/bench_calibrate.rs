//! Time, memory and ranges of calibration, next to onnxruntime's calibrator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use oxidet_calib::{Method, measure};
use oxidet_graph::onnx::{self, Batch, FloatType, NmsTail, QUANTIZED_OPSET, WriteOptions};
use oxidet_graph::{Detector, Params, pass};
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::data::{list_images, read_picture};
use oxidet_trainer::net::init_params;
use oxidet_vision::NmsConfig;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::bench_train::network;

const NMS: NmsConfig = NmsConfig { score_threshold: 0.001, iou_threshold: 0.5, top_k: 400, keep_top_k: 200 };

/// Calibrates a network by entropy here and with onnxruntime's Python calibrator, each in a process of its own, and compares the ranges
/// that both choose from our counts.
#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint, or a network with random weights, as NAME@WIDTHxHEIGHT:1
    model: String,
    /// Folder of images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    #[arg(long, default_value_t = 64)]
    count: usize,
    /// A Python with onnx and onnxruntime
    #[arg(long, value_name = "PYTHON", required_unless_present = "worker")]
    peer: Option<PathBuf>,
    /// Also let onnxruntime choose ranges from our counts and compare: a few seconds a tensor
    #[arg(long)]
    ranges: bool,
    /// Writes what our contestant found to this file
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
}

/// What a contestant reports.
#[derive(Serialize, Deserialize)]
struct Found {
    seconds: f64,
    peak_mb: f64,
    #[serde(default)]
    tensors: Vec<Tensor>,
}

/// The counts of a tensor, and the edge that entropy chose.
#[derive(Serialize, Deserialize)]
struct Tensor {
    name: String,
    width: f32,
    counts: Vec<u64>,
    amax: f32,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let (detector, params) = open(&args.model)?;
    if let Some(report) = &args.worker {
        let found = calibrate(&detector, &params, &inputs(args)?)?;
        return Ok(std::fs::write(report, serde_json::to_string(&found)?)?);
    }
    let peer = args.peer.as_ref().context("a peer is needed")?;
    let dir = tempfile::tempdir()?;
    let [ours, theirs, model, tensors] =
        ["ours.json", "theirs.json", "model.onnx", "inputs.bin"].map(|name| dir.path().join(name));
    let us = Command::new(std::env::current_exe()?)
        .args(["bench-calibrate", &args.model, "--images"])
        .arg(&args.images)
        .args(["--count", &args.count.to_string(), "--worker"])
        .arg(&ours)
        .status()?;
    ensure!(us.success(), "our contestant failed");

    let options = WriteOptions {
        opset: QUANTIZED_OPSET,
        batch: Batch::Dynamic,
        tail: NmsTail::Batched,
        nms: NMS,
        score_bits: 0,
        float: FloatType::F32,
    };
    std::fs::write(&model, onnx::write(&detector, &params, &options)?.to_bytes())?;
    let mut values = Vec::new();
    for path in inputs(args)? {
        values.extend(tensor(&detector, &path)?);
    }
    std::fs::write(&tensors, values.iter().flat_map(|value: &f32| value.to_le_bytes()).collect::<Vec<_>>())?;
    drop(values);
    let them = Command::new(peer)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/calibrate_onnx.py"))
        .args([&model, &tensors, &theirs])
        .args(args.ranges.then_some(&ours))
        .status()?;
    ensure!(them.success(), "onnxruntime's calibrator failed");
    let read = |path: &Path| -> Result<Found> { Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?) };
    let (ours, theirs) = (read(&ours)?, read(&theirs)?);
    println!("{} images, {} tensors", args.count, ours.tensors.len());
    println!("oxidet       {:8.1} s  {:8.0} MB", ours.seconds, ours.peak_mb);
    println!("onnxruntime  {:8.1} s  {:8.0} MB", theirs.seconds, theirs.peak_mb);
    println!(
        "faster by {:.1}, memory {:.3} of theirs",
        theirs.seconds / ours.seconds,
        ours.peak_mb / theirs.peak_mb
    );
    Ok(())
}

fn open(model: &str) -> Result<(Detector, Params)> {
    let (detector, params) = if Path::new(model).exists() {
        let checkpoint = read_checkpoint(Path::new(model), None)?;
        (checkpoint.detector, checkpoint.params)
    } else {
        let (arch, width, height, _) = network::parse_case(model)?;
        let detector = network::detector(&arch, width, height)?;
        let params = init_params(&detector, 0);
        (detector, params)
    };
    Ok(pass::fold_batch_norm(&detector, &params)?)
}

fn inputs(args: &Args) -> Result<Vec<PathBuf>> {
    let mut images = list_images(&args.images)?;
    ensure!(images.len() >= args.count, "{} has only {} images", args.images.display(), images.len());
    images.truncate(args.count);
    Ok(images)
}

fn tensor(detector: &Detector, path: &Path) -> Result<Vec<f32>> {
    let mut tensor = vec![0.0; detector.preprocess.tensor_len()];
    detector.preprocess.apply(&read_picture(path, 8)?, &mut tensor);
    Ok(tensor)
}

/// Our contestant: decoding images is part of it.
fn calibrate(detector: &Detector, params: &Params, images: &[PathBuf]) -> Result<Found> {
    let start = Instant::now();
    let load = |at: usize| tensor(detector, &images[at]);
    let measured = measure(detector, params, (NmsTail::Batched, &NMS), images.len(), load, |_| {})?;
    let tensors = measured.tensors().par_iter().map(|(name, histogram)| Tensor {
        name: name.clone(),
        width: histogram.width(),
        counts: histogram.counts().to_vec(),
        amax: Method::Entropy.amax(histogram),
    });
    let tensors = tensors.collect();
    Ok(Found { seconds: start.elapsed().as_secs_f64(), peak_mb: peak_mb()?, tensors })
}

fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
