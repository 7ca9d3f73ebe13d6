//! Diagnostics as text for people and as JSON for programs.
//!
//! ```text
//! error[S201]: `hue` is 1.5, must be from 0 to 1
//!   --> spec.txt:12:8
//! 12 |   hue: 1.5
//!    |        ^^^
//!    = note: why it matters
//!    = help: what to do
//! ```
//! Plain text without colour. Control characters of the source never reach the terminal, tabs become spaces,
//! and of a long line only the part around the place is shown.

use std::fmt::{self, Write};

use serde::Serialize;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::{Position, Source};

const TAB: usize = 4;
/// Columns of source shown per diagnostic.
const WIDTH: usize = 110;
/// Columns kept before the place when a line is cut on the left.
const CONTEXT: usize = 30;

pub(super) fn text(diagnostic: &Diagnostic, source: &Source, f: &mut dyn Write) -> fmt::Result {
    let Diagnostic { code, severity, message, span, reason, help } = diagnostic;
    writeln!(f, "{}[{code}]: {}", severity.name(), printable(message))?;
    let name = printable(source.name());
    let mut gutter = String::from("  ");
    match span {
        None => writeln!(f, "  --> {name}")?,
        Some(span) => {
            let Position { line, column } = source.position(span.start);
            writeln!(f, "  --> {name}:{line}:{column}")?;
            let number = format!("{line:>2}");
            gutter = " ".repeat(number.len());
            let until = source.position(span.end);
            let text = source.line(line);
            let last = if until.line == line { until.column } else { text.chars().count() + 1 };
            let (shown, indent, width) = excerpt(text, column - 1, last.saturating_sub(1));
            writeln!(f, "{number} | {shown}")?;
            writeln!(f, "{gutter} | {}{}", " ".repeat(indent), "^".repeat(width))?;
        }
    }
    if let Some(reason) = reason {
        writeln!(f, "{gutter} = note: {}", printable(reason))?;
    }
    if let Some(help) = help {
        writeln!(f, "{gutter} = help: {}", printable(help))?;
    }
    Ok(())
}

/// A line as it can be shown, and where `start..end` (characters) of it lies there: text, indent, width (at
/// least 1).
fn excerpt(line: &str, start: usize, end: usize) -> (String, usize, usize) {
    let mut shown: Vec<char> = Vec::new();
    let (mut from, mut to) = (None, None);
    for (i, c) in line.chars().enumerate() {
        if i == start {
            from = Some(shown.len());
        }
        if i == end {
            to = Some(shown.len());
        }
        match c {
            '\t' => shown.extend(std::iter::repeat_n(' ', TAB - shown.len() % TAB)),
            c => shown.push(visible(c)),
        }
    }
    let from = from.unwrap_or(shown.len());
    let to = to.unwrap_or(shown.len()).max(from + 1);
    if shown.len() <= WIDTH {
        return (shown.iter().collect::<String>().trim_end().to_owned(), from, to - from);
    }
    let left = from.saturating_sub(CONTEXT).min(shown.len() - WIDTH);
    let right = left + WIDTH;
    let mut text: String = shown.iter().skip(left).take(WIDTH).collect();
    let mut indent = from - left;
    if left > 0 {
        text.insert(0, '…');
        indent += 1;
    }
    if right < shown.len() {
        text.push('…');
    }
    (text, indent, to.min(right) - from.min(right - 1))
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// Control characters, and the invisible ones that reorder text, shown as `�`.
fn visible(c: char) -> char {
    let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || reorders { '\u{fffd}' } else { c }
}

#[derive(Serialize)]
struct Record<'a> {
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    end: Option<End>,
    code: &'a str,
    severity: &'a str,
    message: &'a str,
    reason: Option<&'a str>,
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct End {
    line: usize,
    column: usize,
}

impl Diagnostics {
    /// A JSON array, one object per finding: `file`, `line`, `column`, `end {line, column}` (one past the
    /// last character), `code`, `severity`, `message`, `reason`, `help`. Lines and columns count from 1;
    /// absent values are `null`.
    pub fn to_json(&self) -> serde_json::Value {
        self.iter()
            .map(|d| {
                let start = d.span.map(|s| self.source().position(s.start));
                let end = d.span.map(|s| self.source().position(s.end));
                let record = Record {
                    file: self.source().name(),
                    line: start.map(|p| p.line),
                    column: start.map(|p| p.column),
                    end: end.map(|p| End { line: p.line, column: p.column }),
                    code: d.code,
                    severity: d.severity.name(),
                    message: &d.message,
                    reason: d.reason.as_deref(),
                    help: d.help.as_deref(),
                };
                serde_json::to_value(record).expect("strings and numbers always serialise")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Span;
    use super::*;

    fn show(text: &str, span: impl Into<Option<Span>>) -> String {
        let diagnostic = Diagnostic::error("S999", span, "it is wrong").reason("because").help("mend it");
        Diagnostics::new(Source::new("dir/spec.txt", text), vec![diagnostic]).to_string()
    }

    #[test]
    fn points_at_the_place() {
        assert_eq!(
            show("a: 1\nhue: 1.5 # c\r\n", Span::new(10, 13)),
            "error[S999]: it is wrong\n  --> dir/spec.txt:2:6\n 2 | hue: 1.5 # c\n   |      ^^^\n   = note: because\n   = help: mend it\n"
        );
    }

    #[test]
    fn whole_file_has_no_excerpt() {
        assert_eq!(
            show("x", None),
            "error[S999]: it is wrong\n  --> dir/spec.txt\n   = note: because\n   = help: mend it\n"
        );
    }

    #[test]
    fn expands_tabs_and_hides_control_characters() {
        let shown = show("\thue:\t\u{1b}[31m9", Span::new(11, 12));
        assert!(shown.contains("\n 1 |     hue:    \u{fffd}[31m9\n   |                  ^\n"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn cuts_long_lines_around_the_place() {
        let line = format!("{}hue{}", "x".repeat(5000), "y".repeat(5000));
        let shown = show(&line, Span::new(5000, 5003));
        let lines: Vec<&str> = shown.lines().collect();
        let (text, caret) = (lines[2], lines[3]);
        assert!(text.chars().count() < 130);
        let at = caret.chars().position(|c| c == '^').unwrap();
        assert_eq!(text.chars().skip(at).take(3).collect::<String>(), "hue");
        assert_eq!(caret.matches('^').count(), 3);
    }

    #[test]
    fn every_place_of_every_line_can_be_shown() {
        let text = format!("{}\n\t{}\r\n\n", "é".repeat(300), "a".repeat(200));
        for start in 0..=text.len() + 2 {
            for length in [0, 1, 150, 400] {
                show(&text, Span::new(start, start + length));
            }
        }
    }

    #[test]
    fn json_names_every_part() {
        let diagnostic = Diagnostic::warning("S001", Span::new(2, 3), "m").help("h");
        let json = Diagnostics::new(Source::new("f", "a\nb\n"), vec![diagnostic]).to_json();
        assert_eq!(
            json,
            serde_json::json!([{
                "file": "f", "line": 2, "column": 1, "end": {"line": 2, "column": 2}, "code": "S001",
                "severity": "warning", "message": "m", "reason": null, "help": "h"
            }])
        );
    }
}
