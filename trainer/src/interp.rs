//! Interpreters of a graph.
//!
//! [`TrainNet`] runs it forward and backward: on the CPU as a program over planned memory, elsewhere through candle's
//! autograd. [`Executor`] runs it forward only, batch norms folded, for evaluation and inference. All follow one plan of
//! fused steps, so what trains is what runs.

mod infer;
mod memory;
mod network;
mod plan;
mod planned;
mod program;
mod tape;
mod train;

pub use infer::{Executor, ExecutorError};
pub use network::TrainedParam;
pub use train::{TrainNet, TrainNetError};

#[cfg(test)]
mod quantized_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
