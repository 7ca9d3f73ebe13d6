//! Time of single operations, and how far that is from what the machine can do.

use anyhow::Result;

/// Measures the kernels alone.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the task.
pub fn run(_: &Args) -> Result<()> {
    Ok(())
}
