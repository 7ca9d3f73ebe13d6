//! Numerical kernels of training on the CPU: plain f32 slices in `[N, C, H, W]` order, no tensors, no autograd.
//!
//! One file an operation, forward and backward side by side; [`crate::op`] wires them into candle. Rules they all keep:
//! - work is split over rayon's threads, but no sum is split by the number of threads, so results are the same to the
//!   last bit for any thread count (they may differ between processors: see [`simd`]);
//! - outputs are slices of the caller, so buffers can be reused; every element is written;
//! - lengths are checked with `assert!`: a wrong one is an error of the caller, not of its data.

pub mod activation;
pub mod add;
pub mod batch_norm;
mod bias;
pub mod channels;
pub mod conv;
pub mod max_pool;
mod memory;
pub mod optimizer;
mod simd;
mod sum;
pub mod upsample;
mod winograd;

#[cfg(test)]
mod testing;
