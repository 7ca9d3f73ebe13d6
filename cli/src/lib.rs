//! The command line: arguments, terminal, exit codes. Everything a command does is done by the other crates.

mod args;
mod calibration;
mod cmd;
mod columns;
mod console;
mod data;
mod demo;
mod engine;
mod exit;
mod files;
mod key;
mod model;
mod numbers;
mod progress;
mod spec;
mod spec_edit;
mod status;
mod stop;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command, Launcher};
use exit::Failure;

/// Runs the program called `program` with the arguments of this process.
pub fn main(program: &'static str) -> ExitCode {
    exit::keep_panics_quiet();
    match exit::run_guarded(|| run(program)) {
        Ok(()) => exit::DONE.into(),
        Err(failure) => {
            failure.report();
            failure.code().into()
        }
    }
}

fn run(program: &'static str) -> Result<(), Failure> {
    let command = Cli::command().name(program).bin_name(program);
    let matches = match command.try_get_matches_from(args::expand(std::env::args_os())) {
        Ok(matches) => matches,
        Err(error) => return exit::finish_parsing(&error),
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))?;
    start(&cli.launcher)?;
    match cli.command {
        Command::Benchmark(args) => cmd::benchmark::run(&args),
        Command::Calibrate(args) => cmd::calibrate::run(&args),
        Command::Dataset(args) => cmd::dataset::run(&args),
        Command::DatasetConvert(args) => cmd::dataset_convert::run(&args),
        Command::Decrypt(args) => cmd::encrypt::decrypt(&args),
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Diff(args) => cmd::diff::run(&args),
        Command::Doctor(args) => cmd::doctor::run(&args),
        Command::Encrypt(args) => cmd::encrypt::encrypt(&args),
        Command::Evaluate(args) => cmd::evaluate::run(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Import(args) => cmd::import::run(&args),
        Command::Inference(args) => cmd::inference::run(&args),
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Kmeans(args) => cmd::kmeans::run(&args),
        Command::Lint(args) => cmd::lint::run(&args),
        Command::Prune(args) => cmd::prune::run(&args),
        Command::Train(args) => cmd::train::run(&args),
        Command::Verify(args) => cmd::verify::run(&args),
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
