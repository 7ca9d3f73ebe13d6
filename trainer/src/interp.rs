//! Interpreters of a graph.
//!
//! [`TrainNet`] runs it on candle tensors and differentiates; [`Executor`] runs it on plain slices, batch norms folded and
//! buffers reused, for evaluation and inference. Both follow one plan of fused steps, so what trains is what runs.

mod infer;
mod plan;
mod train;

pub use infer::{Executor, ExecutorError};
pub use train::{TrainNet, TrainNetError, TrainedParam};

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
