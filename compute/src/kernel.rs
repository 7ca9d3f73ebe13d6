//! Numerical kernels for the CPU: plain f32 slices in `[N, C, H, W]` order, no tensors, no autograd.
//!
//! One file an operation, forward and backward side by side. Rules they all keep:
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
pub mod fake_quantize;
pub mod global_average;
pub mod max_pool;
pub mod memory;
pub mod optimizer;
pub mod scale;
pub mod simd;
mod sum;
pub mod upsample;
mod winograd;

#[cfg(test)]
mod testing;

/// What a kernel does with the values it computes for a gradient buffer: a map that several operations read has the sum
/// of what they send back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Overwrites what the buffer holds.
    Replace,
    /// Adds to what the buffer holds.
    Add,
}

impl Store {
    /// Stores one value.
    #[inline(always)]
    fn put(self, target: &mut f32, value: f32) {
        match self {
            Self::Replace => *target = value,
            Self::Add => *target += value,
        }
    }

    /// Stores as many values as `target` has.
    #[inline(always)]
    fn put_all(self, target: &mut [f32], values: &[f32]) {
        match self {
            Self::Replace => target.copy_from_slice(&values[..target.len()]),
            Self::Add => target.iter_mut().zip(values).for_each(|(target, value)| *target += value),
        }
    }
}
