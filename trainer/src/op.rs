//! The network's operations as nodes of candle's autograd, over the kernels of [`crate::kernel`].
//!
//! All maps are f32 `[N, C, H, W]` on the CPU; a tensor elsewhere is refused. Gradients are computed only for inputs that
//! need one: the first convolution has no input gradient, a frozen weight no weight gradient. Candle's own max-pooling and
//! upsampling must not be used instead: their backward passes give wrong gradients (candle 0.11).

mod activation;
mod add;
mod batch_norm;
mod channels;
mod conv;
mod max_pool;
mod optimizer;
mod tensor;
mod upsample;

pub use activation::activation;
pub use add::{add, add_activate};
pub use batch_norm::{BatchStatsSlot, BnMode, batch_norm_act};
pub use channels::{channel_slice, concat};
pub use conv::{ConvGeometry, conv_bn_act, conv2d};
pub use max_pool::max_pool;
pub use optimizer::update;
pub use upsample::upsample;

#[cfg(test)]
mod tests;
