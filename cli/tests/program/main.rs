//! The program as its users call it.
#![allow(clippy::unwrap_used)]

mod dataset;
mod support;
mod usage;
mod workflow;
