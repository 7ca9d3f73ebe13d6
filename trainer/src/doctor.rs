//! What is wrong with a data set, found before a night of training is spent on it.
//!
//! [`examine`] reads everything a spec names, goes on where [`Dataset::open`] would stop, and lists [`Finding`]s; [`page`] shows
//! them with pictures. The images are decoded one at a time and not kept: of each, a digest and a [`Fingerprint`] stay.
//!
//! [`Dataset::open`]: crate::data::Dataset::open
//! [`Fingerprint`]: fingerprint::Fingerprint

mod anchors;
mod boxes;
mod classes;
mod duplicates;
mod fingerprint;
mod label_lines;
mod look;
mod page;
mod part;
mod report;
mod text;

#[cfg(test)]
mod tests;

use oxidet_graph::preprocess_from_spec;
use oxidet_proto::lint::Checked;

use crate::data::Split;
pub use anchors::{AnchorFit, AnchorUse};
pub use classes::ClassCounts;
pub use page::page;
pub use part::Part;
pub use report::{Example, Finding, Report, Severity, Shown, split_name};

/// Examines training and validation data of a spec. Tells `listen` how many images of a source are done, of how many.
pub fn examine(spec: &Checked, listen: &mut dyn FnMut(usize, usize)) -> Report {
    let preprocess = preprocess_from_spec(spec.augmentation());
    let input = (preprocess.width, preprocess.height);
    let mut findings = Vec::new();
    let [train, validation] = [Split::Train, Split::Validation].map(|split| {
        let part = part::open(spec, split, input, listen, &mut findings);
        classes::examine(spec, &part, &mut findings);
        boxes::examine(spec, &part, input, &mut findings);
        part
    });
    duplicates::examine(&train, &validation, &mut findings);
    let anchors = anchors::examine(spec, &train, input, &mut findings);
    // A stable sort: findings of one severity stay in the order of the examination.
    findings.sort_by_key(|finding| finding.severity);
    Report {
        classes: spec.classes().names().to_vec(),
        input,
        depth: preprocess.depth,
        train,
        validation,
        anchors,
        findings,
    }
}
