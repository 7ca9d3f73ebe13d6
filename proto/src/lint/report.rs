//! Everything there is to say about a text: what `oxidet lint` prints.

use super::findings::Findings;
use super::{rules, support};
use crate::prototxt::{Diagnostic, Diagnostics, Severity};
use crate::spec::{DatasetExportConfig, Experiment, Message, Parsed, Spec, SpecKind, parse_leniently};

/// What came of a text.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the text was taken for.
    pub kind: SpecKind,
    /// Whether it can be used.
    pub verdict: Verdict,
    /// The spec, when it could be read.
    pub spec: Option<Spec>,
    /// Every finding.
    pub diagnostics: Diagnostics,
}

/// Whether a spec can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can be run; there may be warnings.
    Runs,
    /// It can be read, but not run.
    Invalid,
    /// It cannot be read.
    Unreadable,
}

/// Reads a text of either kind and applies every rule. `name` is what diagnostics call it.
///
/// When a part cannot be read, rules still judge what is written elsewhere, but not what is missing. Fields
/// that this version does not honour are warnings.
pub fn report(name: &str, text: &str) -> Report {
    match SpecKind::detect(text) {
        SpecKind::DatasetConvert => {
            let parsed: Parsed<DatasetExportConfig> = parse_leniently(name, text);
            let findings = Findings::new(&parsed).apply(&parsed.message, rules::DATASET_CONVERT, None);
            let list = all_that_holds(&parsed, findings);
            conclude(SpecKind::DatasetConvert, parsed, list, Spec::DatasetConvert)
        }
        SpecKind::Experiment => {
            let parsed: Parsed<Experiment> = parse_leniently(name, text);
            let rules = rules::EXPERIMENT.iter().copied().flatten();
            let findings = Findings::new(&parsed).apply(&parsed.message, rules, None);
            let mut list = all_that_holds(&parsed, findings);
            list.extend(support::warnings(&parsed));
            conclude(SpecKind::Experiment, parsed, list, Spec::Experiment)
        }
    }
}

/// The problems of reading, and those findings that do not merely follow from them.
fn all_that_holds<M>(parsed: &Parsed<M>, findings: Findings<'_>) -> Vec<Diagnostic> {
    let found = if is_readable(parsed) { findings.into_list() } else { findings.into_written() };
    parsed.warnings.iter().cloned().chain(found).collect()
}

fn conclude<M: Message>(
    kind: SpecKind,
    parsed: Parsed<M>,
    list: Vec<Diagnostic>,
    spec: impl FnOnce(Parsed<M>) -> Spec,
) -> Report {
    let readable = is_readable(&parsed);
    let diagnostics = Diagnostics::new(parsed.source.clone(), list);
    let verdict = match (readable, diagnostics.has_errors()) {
        (false, _) => Verdict::Unreadable,
        (true, true) => Verdict::Invalid,
        (true, false) => Verdict::Runs,
    };
    Report { kind, verdict, spec: readable.then(|| spec(parsed)), diagnostics }
}

fn is_readable<M>(parsed: &Parsed<M>) -> bool {
    parsed.warnings.iter().all(|d| d.severity == Severity::Warning)
}
