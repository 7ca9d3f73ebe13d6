//! Exit codes, and the errors that carry them.

#[cfg(feature = "training")]
mod training;

use std::io;
use std::panic;
use std::sync::{Mutex, PoisonError};

use oxidet_proto::prototxt::Diagnostics;
use oxidet_runtime::{ArtifactError, FrameError, InferenceError, error_chain};

use crate::console;

pub const DONE: u8 = 0;
const NO: u8 = 1;
const USAGE: u8 = 2;
const DATA: u8 = 3;
const ENVIRONMENT: u8 = 4;
const BUG: u8 = 70;
pub const INTERRUPTED: u8 = 130;

/// Every exit code, and what it says.
pub const CODES: [(u8, &str); 7] = [
    (DONE, "everything is done"),
    (NO, "a check said no: a lint, a comparison, a bound"),
    (USAGE, "the command line or the spec is wrong"),
    (DATA, "data or a model file is missing or wrong"),
    (ENVIRONMENT, "the computer: a library, a device, memory or the disk"),
    (BUG, "a mistake of oxidet itself"),
    (INTERRUPTED, "stopped by the user; what was written is whole"),
];

/// Why a command ends early.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    /// Empty when everything has been said.
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn no(message: impl Into<String>) -> Self {
        Self::new(NO, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    pub fn data(message: impl Into<String>) -> Self {
        Self::new(DATA, message)
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(ENVIRONMENT, message)
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(BUG, format!("{}; this is a mistake of oxidet, please report it", message.into()))
    }

    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(INTERRUPTED, message)
    }

    /// A spec that cannot be used; its diagnostics carry their own headings.
    pub fn spec(diagnostics: &Diagnostics) -> Self {
        console::note(&diagnostics.to_string());
        Self::new(USAGE, String::new())
    }

    /// A system error on reading `path`. What is not there is the caller's data, everything else the computer's fault.
    pub fn io(path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(io_code(error), format!("{}: {error}", path.display()))
    }

    /// A system error on writing `path`.
    pub fn output(path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(ENVIRONMENT, format!("{}: {error}", path.display()))
    }

    /// A model file that does not open.
    pub fn artifact(path: &std::path::Path, error: &ArtifactError) -> Self {
        let code = if matches!(error, ArtifactError::NeedsKey) { USAGE } else { DATA };
        Self::new(code, format!("{}: {}", path.display(), error_chain(error)))
    }

    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        self.code == INTERRUPTED
    }

    pub fn code(&self) -> u8 {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn report(&self) {
        if !self.message.is_empty() {
            console::error(&self.message);
        }
    }
}

pub fn io_code(error: &io::Error) -> u8 {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    match error.kind() {
        NotFound | IsADirectory | NotADirectory | InvalidData | UnexpectedEof => DATA,
        _ => ENVIRONMENT,
    }
}

impl From<InferenceError> for Failure {
    fn from(error: InferenceError) -> Self {
        let code = match &error {
            InferenceError::Io { source, .. } | InferenceError::Frame(FrameError::Io(source)) => {
                io_code(source)
            }
            InferenceError::Write { .. } => ENVIRONMENT,
            _ => DATA,
        };
        Self::new(code, error_chain(&error))
    }
}

/// Ends a command line that clap answers itself: help and version are printed and fine, the rest is wrong usage.
pub fn finish_parsing(error: &clap::Error) -> Result<(), Failure> {
    // A closed pipe behind `--help` is nobody's problem.
    let _ = error.print();
    if error.use_stderr() { Err(Failure::new(USAGE, "")) } else { Ok(()) }
}

/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps panics quiet: one that a backend catches is no news, and [`run_guarded`] tells of the others.
pub fn keep_panics_quiet() {
    panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("a panic without words");
        let place =
            panic.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = format!("internal error: {what}{place}");
    }));
}

/// Runs the program. A panic is our mistake, and says so in one sentence instead of a backtrace.
pub fn run_guarded(run: impl FnOnce() -> Result<(), Failure> + panic::UnwindSafe) -> Result<(), Failure> {
    panic::catch_unwind(run).unwrap_or_else(|_| {
        let what = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        Err(Failure::bug(what.as_str()))
    })
}
