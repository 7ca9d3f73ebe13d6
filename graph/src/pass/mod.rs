//! Rewrites of a graph. A pass reads a graph and its parameters and returns new ones.

mod fold_batch_norm;
mod place_quantizers;
pub mod prune;

pub use fold_batch_norm::fold_batch_norm;
pub use place_quantizers::{place_quantizers, place_quantizers_except, strip_quantizers};
