//! The command line: arguments, terminal, exit codes. Everything a command does is done by the other crates.

#![forbid(unsafe_code)]
// What only commands that make models use stays with what it belongs to.
#![cfg_attr(not(feature = "training"), allow(dead_code))]

mod args;
#[cfg(feature = "training")]
mod calibration;
#[cfg(feature = "training")]
mod checkpoint;
mod cmd;
mod columns;
mod console;
#[cfg(feature = "training")]
mod data;
mod demo;
#[cfg(all(test, feature = "training"))]
mod documentation;
mod engine;
mod engine_file;
mod exit;
mod file_plan;
mod files;
mod format;
mod key;
mod model;
#[cfg(feature = "training")]
mod numbers;
mod progress;
mod spec;
#[cfg(feature = "training")]
mod spec_edit;
mod status;
mod stop;
#[cfg(feature = "training")]
mod table;

use std::process::ExitCode;

use clap::FromArgMatches;

#[cfg(feature = "training")]
use args::Training;
use args::{Cli, Command, Launcher};
use exit::Failure;

/// Runs the program called `program` with the arguments of this process.
pub fn main(program: &'static str) -> ExitCode {
    exit::keep_panics_quiet();
    match exit::run_guarded(|| run(program).and_then(|()| console::check_results())) {
        Ok(()) => exit::DONE.into(),
        Err(failure) => {
            failure.report();
            failure.code().into()
        }
    }
}

fn run(program: &'static str) -> Result<(), Failure> {
    let matches = match args::command(program).try_get_matches_from(args::expand(std::env::args_os())) {
        Ok(matches) => matches,
        Err(error) => return exit::finish_parsing(&error),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))?;
    start(&cli.launcher)?;
    match cli.command {
        #[cfg(feature = "training")]
        Command::Training(command) => run_training(&command),
        Command::Benchmark(args) => cmd::benchmark::run(&args),
        Command::Completions(args) => cmd::completions::run(&args, program),
        Command::Decrypt(args) => cmd::encrypt::decrypt(&args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Encrypt(args) => cmd::encrypt::encrypt(&args),
        Command::GenTrtEngine(args) => cmd::gen_trt_engine::run(&args),
        Command::Inference(args) => cmd::inference::run(&args),
        Command::Man(args) => cmd::man::run(&args, program),
        Command::Tensorrt(args) => cmd::tensorrt::run(&args),
        Command::Verify(args) => cmd::verify::run(&args),
    }
}

#[cfg(feature = "training")]
fn run_training(command: &Training) -> Result<(), Failure> {
    match command {
        Training::Calibrate(args) => cmd::calibrate::run(args),
        Training::Dataset(args) => cmd::dataset::run(args),
        Training::DatasetConvert(args) => cmd::dataset_convert::run(args),
        Training::Demo(args) => cmd::demo::run(args),
        Training::Diff(args) => cmd::diff::run(args),
        Training::Evaluate(args) => cmd::evaluate::run(args),
        Training::Export(args) => cmd::export::run(args),
        Training::Import(args) => cmd::import::run(args),
        Training::Inspect(args) => cmd::inspect::run(args),
        Training::Kmeans(args) => cmd::kmeans::run(args),
        Training::Lint(args) => cmd::lint::run(args),
        Training::Prune(args) => cmd::prune::run(args),
        Training::Train(args) => cmd::train::run(args),
    }
}

/// Applies what concerns every command.
fn start(launcher: &Launcher) -> Result<(), Failure> {
    console::start(launcher.level(), launcher.log_file.as_deref())?;
    if launcher.gpus > 1 || launcher.num_processes > 1 {
        return Err(Failure::usage(
            "this version trains in one process on the CPU; leave --gpus and --num_processes at 1",
        ));
    }
    if launcher.use_amp {
        console::warn("--use_amp has no effect: the CPU trains in full precision");
    }
    Ok(())
}
