//! Activation functions.

use serde::{Deserialize, Serialize};

/// A pointwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `x` where positive, [`Activation::LEAKY_SLOPE`]` · x` elsewhere.
    LeakyRelu,
    /// `x · tanh(ln(1 + eˣ))` (Misra 2019).
    Mish,
    /// `x · σ(x)`, also called SiLU.
    Swish,
    /// `σ(x) = 1 / (1 + e⁻ˣ)`
    Sigmoid,
}

impl Activation {
    /// Slope of the negative side of [`Activation::LeakyRelu`], as in Darknet.
    pub const LEAKY_SLOPE: f32 = 0.1;
}
