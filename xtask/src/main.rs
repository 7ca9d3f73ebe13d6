//! Tasks of the people who work on oxidet: `cargo xtask <task>`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of the terminal")]

mod bench_ops;
mod bench_train;

use clap::Parser;

/// Tasks of the people who work on oxidet.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    BenchTrain(bench_train::Args),
    #[command(hide = true)]
    BenchTrainWorker(bench_train::WorkerArgs),
    BenchOps(bench_ops::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::BenchTrain(args) => bench_train::run(&args),
        Task::BenchTrainWorker(args) => bench_train::work(&args),
        Task::BenchOps(args) => bench_ops::run(&args),
    }
}
