//! `oxidet completions`

use std::io::{self, Write};
use std::path::Path;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::exit::Failure;

/// Print what makes a shell complete the commands and options of this program
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet completions bash > ~/.local/share/bash-completion/completions/oxidet\n  \
    oxidet completions zsh > ~/.zfunc/_oxidet\n  \
    oxidet completions fish > ~/.config/fish/completions/oxidet.fish")]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, program: &'static str) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command().name(program), program, &mut script);
    match io::stdout().write_all(&script) {
        // Whoever reads has had enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::output(Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}
