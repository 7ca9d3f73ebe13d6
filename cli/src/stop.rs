//! Ctrl-C and SIGTERM.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::console;
use crate::exit::{Failure, INTERRUPTED};

static STOP: AtomicBool = AtomicBool::new(false);
static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();

/// Ends a command that has been asked to stop and has nothing to save.
pub fn check() -> Result<(), Failure> {
    if on_signal()?.load(Ordering::Relaxed) { Err(Failure::interrupted("stopped")) } else { Ok(()) }
}

/// A flag that the first signal sets; the second ends the program at once.
pub fn on_signal() -> Result<&'static AtomicBool, Failure> {
    let handler = HANDLER.get_or_init(|| {
        ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED.into());
            }
            console::info("stopping after this step; press Ctrl-C again to stop at once and lose it");
        })
        .map_err(|error| error.to_string())
    });
    match handler {
        Ok(()) => Ok(&STOP),
        Err(error) => Err(Failure::bug(format!("no handler for Ctrl-C: {error}"))),
    }
}
