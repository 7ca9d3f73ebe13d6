//! Training a graph.
//!
//! [`TrainNet`] runs it forward and backward: on the CPU as a program over planned memory, elsewhere through candle's
//! autograd. It follows the plan of fused steps that [`oxidet_compute::Executor`] follows, so what trains is what runs.

mod memory;
mod network;
mod planned;
mod program;
mod tape;
mod train;

pub use network::TrainedParam;
pub use train::{TrainNet, TrainNetError};

#[cfg(test)]
mod quantized_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
