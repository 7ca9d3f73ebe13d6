//! Time and memory of training steps, next to PyTorch's.
//!
//! Every contestant is a process of its own that makes one step whenever it is told to, so steps alternate in one run and
//! peak memory is per network. All start from the same parameters and images; their first losses must agree.

pub mod network;
mod worker;

pub use worker::{Args as WorkerArgs, work};

use anyhow::{Context, Result, bail, ensure};
use oxidet_graph::{Detector, Params};
use oxidet_trainer::net::init_params;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Adam's learning rate: small enough for any network to stay finite.
const LEARNING_RATE: f64 = 1e-4;
/// Largest relative difference of the first losses.
const LOSS_TOLERANCE: f64 = 1e-3;

/// Measures training steps: forward, backward, optimiser; images a second; peak memory.
#[derive(clap::Args)]
pub struct Args {
    /// Networks, as NAME or NAME@WIDTHxHEIGHT:BATCH [default: resnet18, cspdarknet_tiny, mobilenet_v2]
    networks: Vec<String>,
    /// Measured steps of every contestant, after two that are not counted
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Threads of every contestant
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A Python with torch, to train the same networks with
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Writes the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Milliseconds of one step, as a worker reports them.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct StepTime {
    forward: f64,
    backward: f64,
    optimizer: f64,
    loss: f64,
}

impl StepTime {
    fn total(&self) -> f64 {
        self.forward + self.backward + self.optimizer
    }
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    arch: String,
    width: usize,
    height: usize,
    batch: usize,
    forward_ms: f64,
    backward_ms: f64,
    optimizer_ms: f64,
    ours_ms: f64,
    images_per_second: f64,
    ours_peak_mb: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_peak_mb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_layout: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_version: Option<String>,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let cases = if args.networks.is_empty() {
        network::CASES.map(|(arch, width, height, batch)| (arch.to_owned(), width, height, batch)).to_vec()
    } else {
        args.networks.iter().map(|text| network::parse_case(text)).collect::<Result<_>>()?
    };
    println!(
        "{:<18} {:>9} {:>5} {:>8} {:>9} {:>6} {:>7} {:>7} {:>8} {:>8} {:>9} {:>6} {:>7}",
        "network",
        "size",
        "batch",
        "forward",
        "backward",
        "optim",
        "step",
        "img/s",
        "peak MB",
        "PyTorch",
        "peak MB",
        "ratio",
        "memory"
    );
    let mut rows = Vec::new();
    for case in cases {
        let row = measure(args, case)?;
        print_row(&row);
        rows.push(row);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "rows": rows }))?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn print_row(row: &Row) {
    let or_dash = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    };
    println!(
        "{:<18} {:>9} {:>5} {:>8.0} {:>9.0} {:>6.0} {:>7.0} {:>7.2} {:>8.0} {:>8} {:>9} {:>6} {:>7}",
        row.arch,
        format!("{}x{}", row.width, row.height),
        row.batch,
        row.forward_ms,
        row.backward_ms,
        row.optimizer_ms,
        row.ours_ms,
        row.images_per_second,
        row.ours_peak_mb,
        or_dash(row.peer_ms, 0),
        or_dash(row.peer_peak_mb, 0),
        or_dash(row.ratio, 2),
        or_dash(row.peer_peak_mb.map(|peer| row.ours_peak_mb / peer), 2),
    );
}

fn measure(args: &Args, (arch, width, height, batch): (String, usize, usize, usize)) -> Result<Row> {
    let detector = network::detector(&arch, width, height)?;
    let folder = tempfile::tempdir()?;
    describe(folder.path(), &detector, batch)?;

    let threads = args.threads.to_string();
    let mut ours = Contestant::start(
        "ours",
        Command::new(std::env::current_exe()?).args([
            "bench-train-worker",
            &format!("{arch}@{width}x{height}:{batch}"),
            "--threads",
            &threads,
        ]),
    )?;
    let mut peers = Vec::new();
    if let Some(python) = &args.peer {
        let script = folder.path().join("peer.py");
        std::fs::write(&script, include_str!("bench_train/peer.py"))?;
        for layout in ["nchw", "nhwc"] {
            let mut command = Command::new(python);
            command.arg(&script).arg(folder.path()).args([layout, threads.as_str()]);
            command.env("OMP_NUM_THREADS", &threads);
            peers.push(Contestant::start(layout, &mut command)?);
        }
    }

    for step in 0..args.steps + 2 {
        let loss = ours.step()?.loss;
        for peer in &mut peers {
            let peer_loss = peer.step()?.loss;
            ensure!(
                step > 0 || (peer_loss - loss).abs() <= LOSS_TOLERANCE * loss.abs(),
                "{arch}: the first loss is {loss} here and {peer_loss} in PyTorch: they compute different things"
            );
        }
    }
    let fastest = peers.iter().min_by(|a, b| a.median(StepTime::total).total_cmp(&b.median(StepTime::total)));
    let peer_ms = fastest.map(|peer| peer.median(StepTime::total));
    let ours_ms = ours.median(StepTime::total);
    Ok(Row {
        forward_ms: ours.median(|step| step.forward),
        backward_ms: ours.median(|step| step.backward),
        optimizer_ms: ours.median(|step| step.optimizer),
        ours_ms,
        images_per_second: 1e3 * batch as f64 / ours_ms,
        ours_peak_mb: ours.peak_mb()?,
        peer_ms,
        ratio: peer_ms.map(|peer| peer / ours_ms),
        peer_peak_mb: fastest.map(Contestant::peak_mb).transpose()?,
        peer_layout: fastest.map(|peer| peer.name),
        peer_version: fastest.map(|peer| format!("torch {}", peer.version)),
        arch,
        width,
        height,
        batch,
    })
}

/// What a worker of another language needs to build the network.
#[derive(Serialize)]
struct Description<'a> {
    graph: &'a oxidet_graph::Graph,
    heads: Vec<usize>,
    params: Vec<ParamDescription>,
    values: usize,
    images: [usize; 4],
    learning_rate: f64,
}

#[derive(Serialize)]
struct ParamDescription {
    name: String,
    shape: Vec<usize>,
}

/// Writes `network.json`, `params.f32` and `images.f32`.
fn describe(folder: &Path, detector: &Detector, batch: usize) -> Result<()> {
    let params = initial_params(detector);
    let specs = detector.graph.param_specs();
    let mut values = Vec::new();
    for spec in &specs {
        values.extend_from_slice(params.get(&spec.name).context("every parameter has a start")?.data());
    }
    let preprocess = &detector.preprocess;
    let shape = [batch, preprocess.channels, preprocess.height, preprocess.width];
    let description = Description {
        graph: &detector.graph,
        heads: detector.heads.iter().map(|head| head.output.index()).collect(),
        params: specs
            .into_iter()
            .map(|spec| ParamDescription { name: spec.name, shape: spec.shape })
            .collect(),
        values: values.len(),
        images: shape,
        learning_rate: LEARNING_RATE,
    };
    std::fs::write(folder.join("network.json"), serde_json::to_vec(&description)?)?;
    std::fs::write(folder.join("params.f32"), bytes(&values))?;
    std::fs::write(folder.join("images.f32"), bytes(&images(shape.iter().product())))?;
    Ok(())
}

fn initial_params(detector: &Detector) -> Params {
    init_params(detector, 42)
}

/// Smoothly varying values of the size of preprocessed pixels.
fn images(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i % 977) as f32 * 0.37).sin() * 60.0 + ((i % 31) as f32 - 15.0) * 3.0).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A process that trains on demand.
struct Contestant {
    name: &'static str,
    version: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    steps: Vec<StepTime>,
}

impl Contestant {
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name}: no pipes")
        };
        let mut this = Self {
            name,
            version: String::new(),
            child,
            input,
            output: BufReader::new(output),
            steps: Vec::new(),
        };
        #[derive(Deserialize)]
        struct Ready {
            version: String,
        }
        this.version = this.read::<Ready>()?.version;
        Ok(this)
    }

    fn read<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line)
            .with_context(|| format!("{}: it stopped, or said `{}`", self.name, line.trim()))
    }

    fn step(&mut self) -> Result<StepTime> {
        writeln!(self.input, "step")?;
        let time = self.read()?;
        self.steps.push(time);
        Ok(time)
    }

    /// The median over the counted steps.
    fn median(&self, of: impl Fn(&StepTime) -> f64) -> f64 {
        let mut times: Vec<f64> = self.steps.iter().skip(2).map(of).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    /// Largest resident memory so far, from the system.
    fn peak_mb(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).context(path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // It ends by itself when its input does; nothing is left to report.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
