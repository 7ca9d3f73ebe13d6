//! Tasks of the people who work on oxidet: `cargo xtask <task>`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of the terminal")]

mod aarch64;
mod bench_calibrate;
mod bench_data;
mod bench_eval;
mod bench_ops;
mod bench_runtime;
mod bench_train;
mod check_shim;
mod dist;
mod follow_peer;
mod fuzz;
mod onnx_peer;

use clap::Parser;

/// Tasks of the people who work on oxidet.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    Aarch64(aarch64::Args),
    #[command(name = "bench-calibrate")]
    Calibrate(bench_calibrate::Args),
    #[command(name = "bench-data")]
    Data(bench_data::Args),
    #[command(name = "bench-eval")]
    Eval(bench_eval::Args),
    #[command(name = "bench-runtime")]
    Runtime(bench_runtime::Args),
    #[command(name = "bench-train")]
    Train(bench_train::Args),
    #[command(name = "bench-train-worker", hide = true)]
    TrainWorker(bench_train::WorkerArgs),
    #[command(name = "bench-ops")]
    Ops(bench_ops::Args),
    #[command(name = "check-shim")]
    Shim(check_shim::Args),
    Dist(dist::Args),
    #[command(name = "follow-peer")]
    Follow(follow_peer::Args),
    Fuzz(fuzz::Args),
    #[command(name = "onnx-peer")]
    Onnx(onnx_peer::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Aarch64(args) => aarch64::run(&args),
        Task::Calibrate(args) => bench_calibrate::run(&args),
        Task::Data(args) => bench_data::run(&args),
        Task::Eval(args) => bench_eval::run(&args),
        Task::Runtime(args) => bench_runtime::run(&args),
        Task::Train(args) => bench_train::run(&args),
        Task::TrainWorker(args) => bench_train::work(&args),
        Task::Ops(args) => bench_ops::run(&args),
        Task::Shim(args) => check_shim::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Follow(args) => follow_peer::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Onnx(args) => onnx_peer::run(&args),
    }
}
