//! What the readers of label files share: problems with their lines.

use std::fmt;

/// One bad line: the first thing wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct LineError<P> {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: P,
}

/// Shows the bad lines of the file of this name one per line, as `file:line: what`.
pub(crate) struct Listing<'a, P>(pub(crate) &'a str, pub(crate) &'a [LineError<P>]);

impl<P: fmt::Display> fmt::Display for Listing<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, LineError { line, problem }) in self.1.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}: {problem}", self.0)?;
        }
        Ok(())
    }
}

/// The start of a text, short enough for a message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
