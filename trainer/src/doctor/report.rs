//! What an examination finds.

use std::path::PathBuf;

use super::{AnchorFit, Part};
use crate::data::{Object, Split};

/// Examples that are given of one finding.
pub(super) const EXAMPLES: usize = 20;

/// An examined data set.
#[derive(Clone, Debug)]
pub struct Report {
    /// Class names by id.
    pub classes: Vec<String>,
    /// Width and height of the network's input in pixels.
    pub input: (usize, usize),
    /// Bits per channel that the network reads.
    pub depth: u8,
    /// The training data.
    pub train: Part,
    /// The validation data.
    pub validation: Part,
    /// How the anchors fit the training data; absent when that has no boxes.
    pub anchors: Option<AnchorFit>,
    /// What is to be said, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are as bad as this.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Both parts, training data first.
    pub fn parts(&self) -> [&Part; 2] {
        [&self.train, &self.validation]
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Training or its measurement goes wrong.
    Error,
    /// It probably goes worse than it could.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// `error`, `warning` or `info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Something to be said about a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Stable code such as `D131`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The split it is about; absent when it is about both.
    pub split: Option<Split>,
    /// What there is, with its number.
    pub message: String,
    /// What to do.
    pub help: &'static str,
    /// Where: some of the places.
    pub examples: Vec<Example>,
    /// Places that are not among the examples.
    pub more: usize,
}

/// A place in a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// File, with line or box where there is one.
    pub text: String,
    /// What to look at.
    pub pictures: Vec<Shown>,
}

/// An image with the boxes that matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its file.
    pub image: PathBuf,
    /// In pixels of the image.
    pub objects: Vec<Object>,
}

impl Finding {
    /// Without a place. `split` is a [`Split`] or `None`.
    pub(super) fn new(
        id: &'static str,
        severity: Severity,
        split: impl Into<Option<Split>>,
        message: String,
        help: &'static str,
    ) -> Self {
        Self { id, severity, split: split.into(), message, help, examples: Vec::new(), more: 0 }
    }

    /// With the first of its places.
    #[must_use]
    pub(super) fn at(mut self, examples: impl IntoIterator<Item = Example>) -> Self {
        let mut examples = examples.into_iter();
        self.examples = examples.by_ref().take(EXAMPLES).collect();
        self.more = examples.count();
        self
    }
}

impl Example {
    /// A place that has nothing to look at.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), pictures: Vec::new() }
    }
}

/// `train` or `val`.
pub fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Validation => "val",
    }
}

/// `1 box`, `2 boxes`
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
