//! The network's operations as nodes of candle's autograd, over the kernels of [`oxidet_compute::kernel`].
//!
//! All maps are `[N, C, H, W]`; the tensors of one call are on one device. On the CPU they are f32 and an operation is one
//! node over our kernel, which computes gradients only for inputs that need one: the first convolution has no input
//! gradient, a frozen weight no weight gradient. On any other device each file's `composed` function builds the same from
//! operations that candle has there, with the same values and gradients and more memory, as candle keeps every map between
//! them. Candle's own max-pooling and upsampling appear in neither: their backward passes are wrong (candle 0.11).

mod activation;
mod add;
mod batch_norm;
mod channels;
mod conv;
mod fake_quantize;
mod max_pool;
mod optimizer;
mod tensor;
mod upsample;
mod windows;

pub use activation::activation;
pub use add::{add, add_activate};
pub use batch_norm::{BatchStatsSlot, BnMode, batch_norm_act};
pub use channels::{channel_slice, concat};
pub use conv::{ConvGeometry, conv_bn_act, conv2d};
pub use fake_quantize::{fake_quantize, fake_quantize_kernel};
pub use max_pool::max_pool;
pub use optimizer::update;
pub(crate) use tensor::{with_values, write_values};
pub use upsample::upsample;

#[cfg(test)]
mod tests;
