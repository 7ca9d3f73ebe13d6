//! Computing networks on the processor.
//!
//! [`kernel`] has the operations, forward and backward, [`plan`] fuses a graph's nodes into the steps that call them, and [`Executor`] runs
//! the steps forward: evaluation of checkpoints, and the runtime's `cpu` backend. The trainer runs the same plan forward and backward, so
//! what trains is what runs.

mod executor;
pub mod kernel;
pub mod plan;

pub use executor::{Executor, ExecutorError};
