//! The commands, one file each.

pub mod benchmark;
pub mod calibrate;
pub mod dataset;
pub mod dataset_convert;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod encrypt;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod inference;
pub mod inspect;
pub mod kmeans;
pub mod lint;
pub mod prune;
pub mod train;
pub mod verify;
