//! A spec text read into its messages.

use serde_json::Value as Json;

use super::bind::Binder;
use super::message::{Message, to_json};
use super::spans::Spans;
use super::stranger::stranger;
use super::{DatasetExportConfig, Experiment};
use crate::prototxt::{self, Diagnostic, Diagnostics, Field, Problems, Source};

/// A message that was read without errors, with the place of every field.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<M> {
    /// What the text says.
    pub message: M,
    /// Where it says so.
    pub spans: Spans,
    /// The text.
    pub source: Source,
    /// What reading had to remark, such as fields given twice.
    pub warnings: Vec<Diagnostic>,
}

/// The two kinds of spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecKind {
    /// `DatasetExportConfig`, for `dataset_convert`.
    DatasetConvert,
    /// `Experiment`, for everything else.
    Experiment,
}

impl SpecKind {
    /// `dataset_convert` or `experiment`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DatasetConvert => "dataset_convert",
            Self::Experiment => "experiment",
        }
    }

    /// The kind whose top-level fields occur most; an experiment when there is nothing to go by.
    pub fn detect(text: &str) -> Self {
        Self::of(&prototxt::parse(text, &mut Problems::default()))
    }

    fn of(fields: &[Field<'_>]) -> Self {
        let count = |known: &[super::FieldDescriptor]| {
            fields.iter().filter(|written| known.iter().any(|f| f.name == written.name)).count()
        };
        let convert = count(DatasetExportConfig::DESCRIPTOR.fields);
        if convert > count(Experiment::DESCRIPTOR.fields) { Self::DatasetConvert } else { Self::Experiment }
    }
}

/// A spec of either kind.
#[allow(clippy::large_enum_variant, reason = "a program holds one of them")]
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// For `dataset_convert`.
    DatasetConvert(Parsed<DatasetExportConfig>),
    /// For everything else.
    Experiment(Parsed<Experiment>),
}

impl Spec {
    /// Which kind it is.
    pub fn kind(&self) -> SpecKind {
        match self {
            Self::DatasetConvert(_) => SpecKind::DatasetConvert,
            Self::Experiment(_) => SpecKind::Experiment,
        }
    }

    /// The message in protobuf's JSON mapping, see [`to_json`].
    pub fn to_json(&self) -> Json {
        match self {
            Self::DatasetConvert(parsed) => to_json(&parsed.message),
            Self::Experiment(parsed) => to_json(&parsed.message),
        }
    }
}

/// Reads a spec of either kind; its fields tell which. `name` is what diagnostics call it.
///
/// # Errors
/// Everything that is wrong with the text, at once, warnings included.
pub fn parse(name: &str, text: &str) -> Result<Spec, Diagnostics> {
    match SpecKind::detect(text) {
        SpecKind::DatasetConvert => parse_dataset_export(name, text).map(Spec::DatasetConvert),
        SpecKind::Experiment => parse_experiment(name, text).map(Spec::Experiment),
    }
}

/// Reads an experiment spec. `name` is what diagnostics call it.
///
/// # Errors
/// Everything that is wrong with the text, at once, warnings included.
pub fn parse_experiment(name: &str, text: &str) -> Result<Parsed<Experiment>, Diagnostics> {
    parse_message(name, text)
}

/// Reads a `dataset_convert` spec. `name` is what diagnostics call it.
///
/// # Errors
/// Everything that is wrong with the text, at once, warnings included.
pub fn parse_dataset_export(name: &str, text: &str) -> Result<Parsed<DatasetExportConfig>, Diagnostics> {
    parse_message(name, text)
}

pub(super) fn parse_message<M: Message>(name: &str, text: &str) -> Result<Parsed<M>, Diagnostics> {
    let parsed = parse_leniently(name, text);
    if parsed.warnings.iter().any(|d| d.severity == prototxt::Severity::Error) {
        return Err(Diagnostics::new(parsed.source, parsed.warnings));
    }
    Ok(parsed)
}

/// Whatever can be read of a text; here `warnings` may hold errors.
pub(crate) fn parse_leniently<M: Message>(name: &str, text: &str) -> Parsed<M> {
    let source = Source::new(name, text);
    let mut problems = Problems::default();
    let fields = prototxt::parse(source.text(), &mut problems);
    if let Some(stranger) = stranger(&fields, &M::DESCRIPTOR) {
        drop(fields);
        let (message, spans) = (M::default(), Spans::default());
        return Parsed { message, spans, source, warnings: vec![stranger] };
    }
    let (message, spans, problems) = Binder::bind(&source, &fields, const { &M::DESCRIPTOR }, problems);
    drop(fields);
    Parsed { message, spans, source, warnings: problems.into_list() }
}
