//! The program as its users call it.
#![allow(clippy::unwrap_used)]

mod bundle;
mod calibration;
mod dataset;
mod dataset_convert;
mod determinism;
mod diff;
mod encrypt;
mod engines;
mod evaluate;
mod faults;
mod files;
mod guide;
mod import;
mod inspect;
mod inspect_ranges;
mod kmeans;
mod prune;
mod quantization;
mod running;
mod stopping;
mod support;
mod usage;
mod workflow;
