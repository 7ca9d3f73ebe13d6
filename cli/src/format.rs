//! `--format`: a result for people or for programs.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::console;
use crate::exit::Failure;

/// How a command prints what it found.
#[derive(Args, Clone, Copy, Debug)]
pub struct FormatArgs {
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

impl FormatArgs {
    pub fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

/// Prints a result for programs.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::bug(error.to_string()))?;
    console::print(&text);
    Ok(())
}
