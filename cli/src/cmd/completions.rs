//! `oxidet completions`

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use clap_complete::{Shell, generate};

use crate::args;
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

pub fn run(given: &CompletionsArgs, program: &'static str) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(given.shell, &mut args::command(program), program, &mut script);
    match io::stdout().write_all(&script) {
        // Whoever reads has had enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::output(Path::new("standard output"), &error))
        }
        _ => Ok(()),
    }
}
