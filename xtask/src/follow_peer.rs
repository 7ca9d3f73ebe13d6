//! Training step by step next to an independent implementation of the original in PyTorch.
//!
//! A spec is trained here as `oxidet train` trains it. `peers/train_yolov4.py`, which knows the original and nothing of this code, gets
//! the same batches and initial parameters in a folder. Losses must agree in every step, parameters are compared at the end.

mod case;
mod folder;
mod squares;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use oxidet_graph::{ParamSpec, Params};
use oxidet_proto::lint::Checked;
use oxidet_trainer::checkpoint_file::read_checkpoint;
use oxidet_trainer::data::ImageOptions;
use oxidet_trainer::net::{self, NetConfig, init_params};
use oxidet_trainer::train::{Event, TrainRequest, train};
use serde::{Deserialize, Serialize};

/// Largest relative difference of the losses of a step.
const TOLERANCE: f64 = 0.01;

/// Trains specs here and in PyTorch from the same parameters on the same batches, and compares the losses of every step.
#[derive(clap::Args)]
pub struct Args {
    /// Spec files, or names of built-in cases [default: every built-in case]
    specs: Vec<String>,
    /// Python with torch and numpy
    #[arg(long, value_name = "PYTHON")]
    peer: PathBuf,
    /// Steps to follow
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Lets the peer compute in double precision: how far rounding alone carries the losses apart
    #[arg(long)]
    double: bool,
    /// Writes losses and differences as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A step, as both sides tell of it. The loss includes regularisation, the terms are not weighted.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Step {
    loss: f64,
    loc: f64,
    pos: f64,
    neg: f64,
    class: f64,
    learning_rate: f64,
}

/// What came of a case.
#[derive(Serialize)]
struct Comparison {
    case: String,
    ours: Vec<Step>,
    peer: Vec<Step>,
    /// Largest relative difference of the losses.
    loss: f64,
    /// Relative differences after the last step.
    params: ParamDifference,
}

/// How far apart the parameters of both sides are, as quotients of Euclidean norms.
#[derive(Serialize)]
struct ParamDifference {
    /// Of what is trained, to its size.
    trained: f64,
    /// Of what is trained, to the way it has come from its start.
    trained_of_way: f64,
    /// Of the running statistics of batch norms, to their size.
    statistics: f64,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let names = match args.specs.as_slice() {
        [] => case::BUILT_IN.iter().map(|case| case.name.to_owned()).collect(),
        given => given.to_vec(),
    };
    let mut done = Vec::new();
    for name in names {
        let comparison = follow(args, &name)?;
        print(&comparison);
        done.push(comparison);
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&done)?)
            .with_context(|| path.display().to_string())?;
    }
    let off: Vec<&str> = done.iter().filter(|c| c.loss > TOLERANCE).map(|c| c.case.as_str()).collect();
    ensure!(off.is_empty(), "losses differ by more than {} %: {}", 100.0 * TOLERANCE, off.join(", "));
    Ok(())
}

fn follow(args: &Args, name: &str) -> Result<Comparison> {
    let dir = tempfile::tempdir()?;
    let spec = case::read(name, dir.path())?;
    let detector = net::build(&NetConfig::from_spec(&spec))?;
    let initial = init_params(&detector, spec.random_seed.into());
    folder::write(dir.path(), &spec, &detector, &initial, args.steps)?;

    let (ours, params) = our_steps(&spec, args.steps, &dir.path().join("results"))?;
    let peer = peer_steps(args, dir.path())?;
    ensure!(ours.len() == peer.len(), "{name}: {} steps here, {} there", ours.len(), peer.len());
    let difference = |(ours, peer): (&Step, &Step)| (ours.loss / peer.loss - 1.0).abs();
    let specs = detector.graph.param_specs();
    let after = folder::read_params(&dir.path().join("after.f32"), &specs)?;
    Ok(Comparison {
        case: name.to_owned(),
        loss: ours.iter().zip(&peer).map(difference).fold(0.0, f64::max),
        params: ParamDifference::between(&params, &after, &initial, &specs)?,
        ours,
        peer,
    })
}

/// The first steps of `oxidet train`, and the parameters after them.
fn our_steps(spec: &Checked, steps: usize, results: &Path) -> Result<(Vec<Step>, Params)> {
    let stop = AtomicBool::new(false);
    let request = TrainRequest {
        spec,
        results_dir: results,
        passphrase: None,
        images: ImageOptions::default(),
        stop: &stop,
    };
    let mut done = Vec::new();
    let summary = train(&request, &mut |event| {
        if let Event::Step(step) = event {
            let terms = step.terms;
            done.push(Step {
                loss: step.loss,
                loc: terms.loc,
                pos: terms.pos,
                neg: terms.neg,
                class: terms.class,
                learning_rate: step.learning_rate,
            });
            stop.store(done.len() == steps, Ordering::Relaxed);
        }
    })?;
    Ok((done, read_checkpoint(&summary.checkpoint, None)?.params))
}

/// The steps of the peer, which leaves its parameters in the folder.
fn peer_steps(args: &Args, folder: &Path) -> Result<Vec<Step>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/train_yolov4.py");
    let mut command = Command::new(&args.peer);
    command.arg(script).arg(folder).args(args.double.then_some("--double")).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting {}", args.peer.display()))?;
    ensure!(output.status.success(), "the peer failed: {}", output.status);
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    lines.map(|line| serde_json::from_str(line).with_context(|| format!("the peer said `{line}`"))).collect()
}

impl ParamDifference {
    fn between(ours: &Params, peer: &Params, initial: &Params, specs: &[ParamSpec]) -> Result<Self> {
        /// Sums of squares.
        #[derive(Default)]
        struct Sums {
            difference: f64,
            size: f64,
            way: f64,
        }
        let (mut trained, mut statistics) = (Sums::default(), Sums::default());
        for spec in specs {
            let values = |params: &Params| params.get(&spec.name).map(|tensor| tensor.data().to_vec());
            let (Some(ours), Some(peer), Some(start)) = (values(ours), values(peer), values(initial)) else {
                anyhow::bail!("{} is missing", spec.name)
            };
            let sums = if spec.kind.is_trained() { &mut trained } else { &mut statistics };
            for ((ours, peer), start) in ours.iter().zip(&peer).zip(&start) {
                let peer = f64::from(*peer);
                sums.difference += (f64::from(*ours) - peer).powi(2);
                sums.size += peer.powi(2);
                sums.way += (peer - f64::from(*start)).powi(2);
            }
        }
        Ok(Self {
            trained: (trained.difference / trained.size).sqrt(),
            trained_of_way: (trained.difference / trained.way).sqrt(),
            statistics: (statistics.difference / statistics.size).sqrt(),
        })
    }
}

fn print(comparison: &Comparison) {
    println!("{}", comparison.case);
    println!("{:>5} {:>12} {:>12} {:>10} {:>11}", "step", "ours", "PyTorch", "ratio", "rate");
    for (number, (ours, peer)) in (1..).zip(comparison.ours.iter().zip(&comparison.peer)) {
        let (loss, other, rate) = (ours.loss, peer.loss, ours.learning_rate);
        println!("{number:>5} {loss:>12.5} {other:>12.5} {:>10.6} {rate:>11.3e}", loss / other);
    }
    let ParamDifference { trained, trained_of_way, statistics } = comparison.params;
    println!("  losses differ by {:.4} % at most", 100.0 * comparison.loss);
    println!(
        "  parameters then by {:.1e} of their size and {:.1e} of the way they have come, running statistics by {:.1e}\n",
        trained, trained_of_way, statistics
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch's losses, by `cargo xtask follow-peer squares --double --steps 12`.
    const PEER: [f64; 12] = [
        377.73338, 381.91532, 402.04860, 402.07434, 394.88697, 383.83829, 376.47683, 365.12324, 382.24529,
        363.80857, 361.69318, 333.00321,
    ];
    /// In so few steps rounding makes a fifteenth of this.
    const TOLERANCE: f64 = 2e-3;

    #[test]
    fn training_follows_the_losses_of_the_peer() {
        let dir = tempfile::tempdir().unwrap();
        let spec = case::read("squares", dir.path()).unwrap();
        let (steps, _) = our_steps(&spec, PEER.len(), &dir.path().join("results")).unwrap();
        assert_eq!(steps.len(), PEER.len());
        for (number, (ours, peer)) in (1..).zip(steps.iter().zip(PEER)) {
            // The first step has the very same parameters, later ones what rounding makes of them.
            let tolerance = if number == 1 { 1e-6 } else { TOLERANCE };
            let loss = ours.loss;
            assert!((loss / peer - 1.0).abs() < tolerance, "step {number}: {loss} here, {peer} in PyTorch");
        }
    }
}
