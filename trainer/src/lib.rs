//! From a spec and data to a trained, validated network.
//!
//! [`train`](train::train) runs the loop; [`net`] builds the networks as graphs, [`interp`] trains them on the kernels of
//! [`oxidet_compute`] ([`op`] has them in candle's autograd), [`data`] and [`augment`] make batches, [`loss`], [`optimizer`] and [`schedule`] move the weights,
//! [`evaluate`] measures, and [`report`] tells. [`pruning_check`] compares a pruned network with the whole one. [`convert`], [`doctor`], [`gallery`] and [`anchors`] are for data before training, [`weights`]
//! for networks that were trained before. This crate alone links candle.

#![forbid(unsafe_code)]

pub mod anchors;
pub mod augment;
pub mod average;
pub mod checkpoint_file;
pub mod class_weighting;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod evaluate;
pub mod gallery;
pub mod interp;
pub mod loss;
pub mod net;
pub mod op;
pub mod optimizer;
mod page;
pub mod pruning_check;
mod report;
pub mod schedule;
pub mod train;
pub mod weights;
