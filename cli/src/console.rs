//! Where words go: results to standard output, everything else to standard error, or all of it to `--log_file`.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use crate::args::Level;
use crate::exit::Failure;

struct Console {
    level: Level,
    file: Option<Mutex<File>>,
}

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// Sets what is told, and where to.
pub fn start(level: Level, log_file: Option<&Path>) -> Result<(), Failure> {
    let file = match log_file {
        Some(path) => {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).map_err(|error| Failure::output(dir, &error))?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(Mutex::new(file.map_err(|error| Failure::output(path, &error))?))
        }
        None => None,
    };
    // Only set twice in tests that run several commands in one process.
    let _ = CONSOLE.set(Console { level, file });
    Ok(())
}

fn level() -> Level {
    CONSOLE.get().map_or(Level::Info, |console| console.level)
}

fn write(text: &str, to: &mut dyn Write) {
    // Nobody listens any more when this fails.
    let _ = match CONSOLE.get().and_then(|console| console.file.as_ref()) {
        Some(file) => match file.lock() {
            Ok(mut file) => writeln!(file, "{text}"),
            Err(_) => Ok(()),
        },
        None => writeln!(to, "{text}"),
    };
}

/// A result.
pub fn print(text: &str) {
    write(text, &mut io::stdout());
}

/// What is going on.
pub fn info(text: &str) {
    if level() >= Level::Info {
        write(text, &mut io::stderr());
    }
}

/// A detail.
pub fn debug(text: &str) {
    if level() >= Level::Debug {
        write(text, &mut io::stderr());
    }
}

/// Something that may be a mistake.
pub fn warn(text: &str) {
    if level() >= Level::Warn {
        write(&format!("warning: {text}"), &mut io::stderr());
    }
}

/// What stops the command.
pub fn error(text: &str) {
    write(&format!("error: {text}"), &mut io::stderr());
}

/// Text with its own heading.
pub fn note(text: &str) {
    write(text, &mut io::stderr());
}

/// Whether somebody watches, so that progress bars make sense.
pub fn is_watched() -> bool {
    let to_file = CONSOLE.get().is_some_and(|console| console.file.is_some());
    io::stderr().is_terminal() && !to_file && level() >= Level::Info
}
