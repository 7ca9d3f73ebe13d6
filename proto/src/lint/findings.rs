//! Where rules put what they find.

use super::rule::{Rule, Verb};
use crate::prototxt::{Diagnostic, Severity, Source, Span, source_offset};
use crate::spec::{Parsed, Spans};

/// Collects findings and knows the places of fields.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) code: &'static str,
    spans: &'a Spans,
    source: &'a Source,
    list: Vec<Diagnostic>,
    /// Findings about fields that are not written.
    absent: Vec<Diagnostic>,
}

/// A finding that can still be given a reason and a help.
pub(super) struct Draft<'f>(&'f mut Diagnostic);

impl Draft<'_> {
    pub(super) fn reason(self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }
}

impl<'a> Findings<'a> {
    pub(super) fn new<M>(parsed: &'a Parsed<M>) -> Self {
        Self { code: "", spans: &parsed.spans, source: &parsed.source, list: Vec::new(), absent: Vec::new() }
    }

    /// Applies the rules that concern `verb`; without a verb, all of them.
    pub(super) fn apply<'r, M: 'static>(
        mut self,
        message: &M,
        rules: impl IntoIterator<Item = &'r Rule<M>>,
        verb: Option<Verb>,
    ) -> Self {
        for rule in rules {
            if verb.is_none_or(|verb| rule.verbs.contains(&verb)) {
                rule.apply(message, &mut self);
            }
        }
        self
    }

    /// Something is wrong with the value at `path`, or with its absence.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) -> Draft<'_> {
        self.add(Severity::Error, path, self.spans.nearest(path), message.into())
    }

    /// The value at `path`, or its absence, hardly does what is meant.
    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>) -> Draft<'_> {
        self.add(Severity::Warning, path, self.spans.nearest(path), message.into())
    }

    /// Something is wrong with the name of the field at `path`; of a map entry, with its key.
    pub(super) fn name_error(&mut self, path: &str, message: impl Into<String>) -> Draft<'_> {
        self.add(Severity::Error, path, self.name_span(path), message.into())
    }

    /// The name of the field at `path`, or the key of the map entry, hardly does what is meant.
    pub(super) fn name_warning(&mut self, path: &str, message: impl Into<String>) -> Draft<'_> {
        self.add(Severity::Warning, path, self.name_span(path), message.into())
    }

    /// Something is wrong inside the string at `path`: with the `length` bytes of its value from `offset`.
    pub(super) fn error_inside(
        &mut self,
        path: &str,
        offset: usize,
        length: usize,
        message: String,
    ) -> Draft<'_> {
        let span = self.spans.get(path).map(|place| {
            let at = |offset| source_offset(self.source.text(), place.value, offset);
            Span::new(at(offset), at(offset + length))
        });
        self.add(Severity::Error, path, span, message)
    }

    /// The value at `path` as it is written, if it is.
    pub(super) fn written(&self, path: &str) -> Option<String> {
        let place = self.spans.get(path)?;
        Some(self.source.slice(place.value).chars().take(40).collect())
    }

    pub(super) fn is_written(&self, path: &str) -> bool {
        self.spans.contains(path)
    }

    /// Everything that was found.
    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        self.list.into_iter().chain(self.absent).collect()
    }

    /// What was found about things that are written; for texts of which a part could not be read.
    pub(super) fn into_written(self) -> Vec<Diagnostic> {
        self.list
    }

    fn name_span(&self, path: &str) -> Option<Span> {
        self.spans.get(path).map(|place| place.name).or_else(|| self.spans.nearest(path))
    }

    fn add(&mut self, severity: Severity, path: &str, span: Option<Span>, message: String) -> Draft<'_> {
        let list = if self.spans.contains(path) { &mut self.list } else { &mut self.absent };
        list.push(Diagnostic { severity, ..Diagnostic::error(self.code, span, message) });
        Draft(list.last_mut().expect("a diagnostic was pushed on the line before"))
    }
}
