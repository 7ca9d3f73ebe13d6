//! How calls fail.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `oxidet_status`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    Usage = 2,
    Data = 3,
    Environment = 4,
    Bug = 70,
}

/// A call that failed.
#[derive(Debug)]
pub struct Failed {
    status: Status,
    text: String,
}

impl Failed {
    pub fn usage(text: impl Into<String>) -> Self {
        Self { status: Status::Usage, text: text.into() }
    }

    pub fn data(text: impl Into<String>) -> Self {
        Self { status: Status::Data, text: text.into() }
    }

    pub fn environment(text: impl Into<String>) -> Self {
        Self { status: Status::Environment, text: text.into() }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The text of the last call of this thread.
pub fn last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// Runs a call and keeps what it says. A panic is our mistake, and goes no further.
pub fn guarded(call: impl FnOnce() -> Result<(), Failed>) -> Status {
    let done = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        Err(Failed { status: Status::Bug, text: format!("internal error: {what}; please report it") })
    });
    let (status, text) = match done {
        Ok(()) => (Status::Ok, String::new()),
        Err(Failed { status, text }) => (status, text),
    };
    LAST.set(CString::new(text.replace('\0', "")).unwrap_or_default());
    status
}
