//! All rules, one file per section of a spec.
//!
//! Codes: `S1xx` sections and data, `S2xx` augmentation, `S3xx` training, `S4xx` network, `S5xx` evaluation
//! and NMS, `S6xx` class weights, `S7xx` `dataset_convert`. A code keeps its meaning; codes of removed rules
//! are not used again.

mod anchors;
mod augmentation;
mod class_weighting;
mod dataset;
mod dataset_convert;
mod eval_nms;
mod sections;
mod training;
mod yolov4;

use super::rule::Rule;
use crate::spec::{DatasetExportConfig, Experiment};

pub(super) const EXPERIMENT: &[&[Rule<Experiment>]] = &[
    sections::RULES,
    dataset::RULES,
    augmentation::RULES,
    training::RULES,
    yolov4::RULES,
    eval_nms::RULES,
    class_weighting::RULES,
];

pub(super) const DATASET_CONVERT: &[Rule<DatasetExportConfig>] = dataset_convert::RULES;

#[cfg(test)]
mod tests;
