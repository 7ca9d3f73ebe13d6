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

/// Code and demand of every rule, in order: `("S201", "`hue` must be from 0 to 1")`.
pub fn rules() -> impl Iterator<Item = (&'static str, String)> {
    let experiment = rules::EXPERIMENT.iter().copied().flatten().map(|rule| (rule.code, rule.demand()));
    let convert = rules::DATASET_CONVERT.iter().map(|rule| (rule.code, rule.demand()));
    experiment.chain(convert)
}
