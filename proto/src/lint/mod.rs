//! Whether a spec makes sense: rules over the typed messages, each with a stable code.
//!
//! - [`report()`] is what `oxidet lint` prints: every finding of a text, whatever it is for.
//! - [`check`] is the door to everything else: only a spec without errors for the verb at hand becomes a
//!   [`Checked`].
//! - [`unsupported`] lists the fields that a spec uses and this version does not honour.
//!
//! Bounds mean what the documentation of the original says, with the number the user wrote: 0.3 is 0.3,
//! although its `f32` is a little more. Rules are grouped by section in `rules/`; [`rules()`] lists them all.

mod checked;
mod findings;
mod paths;
mod report;
mod rule;
mod rules;
mod support;

pub use checked::{Checked, check};
pub use paths::{PathKind, PathUse, paths};
pub use report::{Report, Verdict, report};
pub use rule::Verb;
pub use support::unsupported;

/// What can be said of a text whatever its fields mean, as in [`rules()`].
const READING: [(&str, &str); 10] = [
    ("S001", "the text must be that of a protobuf message"),
    ("S002", "strings must be closed, and their escapes sound"),
    ("S003", "fields must be those of their message"),
    ("S004", "values must be of the type of their field, and in its range"),
    ("S005", "names must be those of the enumeration"),
    ("S006", "a field should be given once; the last value counts"),
    ("S007", "of the members of a oneof one should be given; the last one counts"),
    ("S008", "the text must be within the limits of size, depth and number of problems"),
    ("S900", "this version must honour what is asked for"),
    ("S950", "files and folders must be there (`--paths`)"),
];

/// Code and demand of everything that is found: `("S201", "`augmentation_config.hue` must be from 0 to 1")`. First what concerns
/// reading, then the rules in order.
pub fn rules() -> impl Iterator<Item = (&'static str, String)> {
    let reading = READING.iter().map(|&(code, demand)| (code, demand.to_owned()));
    let experiment = rules::EXPERIMENT.iter().copied().flatten().map(|rule| (rule.code, rule.demand()));
    let convert = rules::DATASET_CONVERT.iter().map(|rule| (rule.code, rule.demand()));
    reading.chain(experiment).chain(convert)
}
