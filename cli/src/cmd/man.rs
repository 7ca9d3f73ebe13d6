//! `oxidet man`

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::args;
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

pub fn run(given: &ManArgs, program: &'static str) -> Result<(), Failure> {
    let mut command = args::command(program);
    command.build();
    let pages = write(&command, program, &given.folder)?;
    console::print(&format!("{}: {pages} pages", given.folder.display()));
    Ok(())
}

/// The page of a command and those of its own commands, and how many they are.
fn write(command: &Command, name: &str, folder: &Path) -> Result<usize, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::bug(format!("no manual page of {name}: {error}")))?;
    files::write(&folder.join(format!("{name}.1")), &page)?;
    let mut pages = 1;
    for command in
        command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        pages += write(command, &format!("{name}-{}", command.get_name()), folder)?;
    }
    Ok(pages)
}
