//! `oxidet dataset`

mod check;
mod show;

use clap::{Args, Subcommand};

use crate::exit::Failure;

/// Look at the data of a spec before training on it
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet dataset check spec.txt                      what is wrong with images and labels\n  \
    oxidet dataset check spec.txt --html data.html     the same as a page with pictures\n  \
    oxidet dataset show spec.txt -o samples            training pictures as the network sees them")]
pub struct DatasetArgs {
    #[command(subcommand)]
    command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
enum DatasetCommand {
    Check(check::CheckArgs),
    Show(show::ShowArgs),
}

pub fn run(args: &DatasetArgs) -> Result<(), Failure> {
    match &args.command {
        DatasetCommand::Check(args) => check::run(args),
        DatasetCommand::Show(args) => show::run(args),
    }
}
