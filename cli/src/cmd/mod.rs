//! The commands, one file each. Those below the line belong to the build that trains.

pub mod benchmark;
pub mod completions;
pub mod doctor;
pub mod encrypt;
pub mod gen_trt_engine;
pub mod inference;
pub mod man;
pub mod tensorrt;
pub mod verify;

#[cfg(feature = "training")]
pub mod calibrate;
#[cfg(feature = "training")]
pub mod dataset;
#[cfg(feature = "training")]
pub mod dataset_convert;
#[cfg(feature = "training")]
pub mod demo;
#[cfg(feature = "training")]
pub mod diff;
#[cfg(feature = "training")]
pub mod evaluate;
#[cfg(feature = "training")]
pub mod export;
#[cfg(feature = "training")]
pub mod import;
#[cfg(feature = "training")]
pub mod inspect;
#[cfg(feature = "training")]
pub mod kmeans;
#[cfg(feature = "training")]
pub mod lint;
#[cfg(feature = "training")]
pub mod prune;
#[cfg(feature = "training")]
pub mod train;
