//! Rewrites of a graph. A pass reads a graph and its parameters and returns new ones.

mod fold_batch_norm;

pub use fold_batch_norm::fold_batch_norm;
