//! Time of clustering boxes and of making training batches, next to Python's.
//!
//! The peers are scripts in `peers/` that do the same work on the same files, as processes of their own; runs alternate.

mod kmeans;
mod loader;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Measures clustering of boxes and loading of training batches.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// A Python with numpy and opencv-python, to do the same with
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Runs of every contestant; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Writes the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Kmeans,
    Loader,
}

#[derive(Default, Serialize)]
struct Results {
    #[serde(skip_serializing_if = "Option::is_none")]
    kmeans: Option<kmeans::Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    loader: Vec<loader::Row>,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let wants = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut results = Results::default();
    if wants(Part::Kmeans) {
        results.kmeans = Some(kmeans::measure(args)?);
    }
    if wants(Part::Loader) {
        results.loader = loader::measure(args)?;
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&results)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Runs a script of the peer and reads the line of JSON it prints.
pub(crate) fn ask_peer<T: DeserializeOwned>(python: &Path, script: &Path, arguments: &[String]) -> Result<T> {
    let mut command = Command::new(python);
    command.arg(script).args(arguments).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting {}", python.display()))?;
    ensure!(output.status.success(), "{}: {}", script.display(), output.status);
    serde_json::from_slice(&output.stdout).with_context(|| script.display().to_string())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}
