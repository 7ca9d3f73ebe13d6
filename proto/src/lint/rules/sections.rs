//! The sections that must be there.

use crate::lint::findings::Findings;
use crate::lint::rule::{ALL, BATCHED, NETWORK, Rule, TRAIN};
use crate::spec::Experiment;

pub(super) const RULES: &[Rule<Experiment>] = &[
    Rule::test("S101", ALL, "the spec must have a `dataset_config`", |spec, findings| {
        demand(spec.dataset_config.is_some(), "dataset_config", "it names the classes", findings);
    }),
    Rule::test("S102", ALL, "the spec must have an `augmentation_config`", |spec, findings| {
        demand(
            spec.augmentation_config.is_some(),
            "augmentation_config",
            "it holds the input size",
            findings,
        );
    }),
    Rule::test("S103", TRAIN, "the spec must have a `training_config`", |spec, findings| {
        demand(
            spec.training_config.is_some(),
            "training_config",
            "it holds epochs, optimizer and schedule",
            findings,
        );
    }),
    Rule::test("S104", BATCHED, "the spec must have an `eval_config`", |spec, findings| {
        demand(spec.eval_config.is_some(), "eval_config", "it holds the batch size of validation", findings);
    }),
    Rule::test("S105", NETWORK, "the spec must have an `nms_config`", |spec, findings| {
        demand(spec.nms_config.is_some(), "nms_config", "it tells detections from raw boxes", findings);
    }),
    Rule::test("S106", ALL, "the spec must have a `yolov4_config`", |spec, findings| {
        demand(
            spec.yolov4_config.is_some(),
            "yolov4_config",
            "it names the network and its anchors",
            findings,
        );
    }),
];

fn demand(present: bool, section: &str, why: &str, findings: &mut Findings<'_>) {
    if !present {
        let finding = findings.error(section, format!("the spec has no `{section}`"));
        finding.reason(why).help(format!("add `{section} {{ … }}`"));
    }
}
