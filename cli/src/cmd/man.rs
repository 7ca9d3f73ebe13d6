//! `oxidet man`

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;
use crate::console;
use crate::exit::Failure;
use crate::files;

/// Write the manual pages of all commands into a folder
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet man ~/.local/share/man/man1\n  \
    man oxidet-train")]
pub struct ManArgs {
    /// Folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(args: &ManArgs, program: &'static str) -> Result<(), Failure> {
    let mut command = Cli::command().name(program).bin_name(program);
    command.build();
    let pages = write(&command, program, args)?;
    console::print(&format!("{}: {pages} pages", args.folder.display()));
    Ok(())
}

/// The page of a command and those of its own commands, and how many they are.
fn write(command: &Command, name: &str, args: &ManArgs) -> Result<usize, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::bug(format!("no manual page of {name}: {error}")))?;
    files::write(&args.folder.join(format!("{name}.1")), &page)?;
    let mut pages = 1;
    for command in
        command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        pages += write(command, &format!("{name}-{}", command.get_name()), args)?;
    }
    Ok(pages)
}
