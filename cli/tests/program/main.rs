//! The program as its users call it.
#![allow(clippy::unwrap_used)]

mod dataset;
mod dataset_convert;
mod evaluate;
mod import;
mod kmeans;
mod prune;
mod stopping;
mod support;
mod usage;
mod workflow;
