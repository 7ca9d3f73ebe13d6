//! Where words go: results to standard output, everything else to standard error, or all of it to `--log_file`.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::args::Level;
use crate::exit::Failure;

struct Console {
    level: Level,
    file: Option<Mutex<File>>,
}

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// Why a result did not get out.
static LOST: OnceLock<io::Error> = OnceLock::new();

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

/// Names from data sets and files are shown, not obeyed: a terminal takes control characters for commands.
fn harmless(text: &str) -> Cow<'_, str> {
    let controls = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    if !text.contains(controls) {
        return text.into();
    }
    let escaped = text.chars().map(|c| if controls(c) { c.escape_default().to_string() } else { c.into() });
    escaped.collect::<String>().into()
}

fn write(text: &str, to: &mut dyn Write) -> io::Result<()> {
    let text = harmless(text);
    match CONSOLE.get().and_then(|console| console.file.as_ref()) {
        Some(file) => writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{text}"),
        None => writeln!(to, "{text}").and_then(|()| to.flush()),
    }
}

/// What is told beside results. Nobody listens any more when it fails.
fn tell(text: &str) {
    let _ = write(text, &mut io::stderr());
}

/// A result. That it did not get out is told in the end, by [`check_results`].
pub fn print(text: &str) {
    if let Err(error) = write(text, &mut io::stdout())
        // A reader that has seen enough, such as `head`.
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error);
    }
}

/// Whether all results got out: a full disk behind `> file` must not look like success.
pub fn check_results() -> Result<(), Failure> {
    match LOST.get() {
        Some(error) => Err(Failure::environment(format!("the result could not be printed: {error}"))),
        None => Ok(()),
    }
}

/// What is going on.
pub fn info(text: &str) {
    if level() >= Level::Info {
        tell(text);
    }
}

/// A detail.
pub fn debug(text: &str) {
    if level() >= Level::Debug {
        tell(text);
    }
}

/// Something that may be a mistake.
pub fn warn(text: &str) {
    if level() >= Level::Warn {
        tell(&format!("warning: {text}"));
    }
}

/// What stops the command.
pub fn error(text: &str) {
    tell(&format!("error: {text}"));
}

/// Text with its own heading.
pub fn note(text: &str) {
    tell(text);
}

/// Whether somebody watches, so that progress bars make sense.
pub fn is_watched() -> bool {
    let to_file = CONSOLE.get().is_some_and(|console| console.file.is_some());
    io::stderr().is_terminal() && !to_file && level() >= Level::Info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(harmless("a\u{1b}[31mRED\u{7}"), "a\\u{1b}[31mRED\\u{7}");
        assert!(matches!(harmless("zwei\n\tZeilen: ä…"), Cow::Borrowed(_)));
    }
}
