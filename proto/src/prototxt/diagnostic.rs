//! What is wrong, where, why, and what to do: the one shape of every complaint about a spec.

use std::fmt;

use super::limits::MAX_PROBLEMS;
use super::source::{Source, Span};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The spec cannot be used like this.
    Error,
    /// The spec can be used, but probably does not do what its author thinks.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code such as `S201`; the same complaint keeps its code for ever.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where. `None` means the file as a whole, for example a section that is not there.
    pub span: Option<Span>,
    /// Why it matters.
    pub reason: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without reason and help yet.
    pub fn error(code: &'static str, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: span.into(),
            reason: None,
            help: None,
        }
    }

    /// A warning without reason and help yet.
    pub fn warning(code: &'static str, span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Says why it matters.
    #[must_use]
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Says what to do, if something is known.
    #[must_use]
    pub(crate) fn maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }
}

/// All findings of one source, in the order of their places; those about the whole file come first. Of more
/// than [`MAX_PROBLEMS`], errors are kept before warnings, and one more says how many are left out.
///
/// `Display` prints them for people, [`Diagnostics::to_json`] writes them for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts `list` by place.
    pub fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        if list.len() > MAX_PROBLEMS {
            list.sort_by_key(|d| d.severity);
            let message = format!("{} more findings are not shown", list.len() - MAX_PROBLEMS);
            list.truncate(MAX_PROBLEMS);
            list.push(Diagnostic::warning("S008", None, message));
        }
        list.sort_by_key(|d| (d.span, d.severity, d.code));
        Self { source, list }
    }

    /// The text the findings point into.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Every finding, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|d| d.severity == severity).count()
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// The findings without their source.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            super::render::text(diagnostic, &self.source, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Where parsing and binding put what they find; holds at most [`MAX_PROBLEMS`].
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Diagnostic>,
}

impl Problems {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() + 1 == MAX_PROBLEMS {
            let message = format!("more than {} problems; the rest is not shown", MAX_PROBLEMS - 1);
            self.list.push(Diagnostic::error("S008", diagnostic.span, message));
        } else if !self.is_full() {
            self.list.push(diagnostic);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}
