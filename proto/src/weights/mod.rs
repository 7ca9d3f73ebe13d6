//! Weight files of other programs, as arrays with names.
//!
//! | file | reader | names |
//! |---|---|---|
//! | Keras 1–3 `.h5`, `.hdf5`, `.weights.h5`, `.keras` | [`keras`] | `<layer>/<weight>`: `conv1/kernel`, `bn_conv1/moving_mean` |
//! | torch `.pt`, `.pth`, zip and older pickle | [`torch`] | of the state dict: `layer1.0.conv1.weight` |
//! | `.safetensors` | [`safetensors`] | as in the file |
//! | Darknet `.weights` | [`darknet`] | none: numbers in the order of the network |
//!
//! Arrays keep the axes of their program. What a layer of another program means for a network of ours is decided by the trainer.
//! Readers take hostile bytes: they give an error in time and memory that are bounded by the size of the file, and run no code.

pub mod darknet;
mod element;
pub mod keras;
pub mod safetensors;
pub mod torch;
mod zip;

use std::fmt;

/// A named array of numbers, last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name in the file.
    pub name: String,
    /// Extent of each axis; empty for a single number.
    pub shape: Vec<usize>,
    /// As many values as the product of the shape.
    pub values: Vec<f32>,
}

/// A program's way to store weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Darknet's `.weights`.
    Darknet,
    /// HDF5 or zip of Keras.
    Keras,
    /// Safetensors.
    Safetensors,
    /// A pickle of torch.
    Torch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Darknet => "Darknet weights",
            Self::Keras => "Keras weights",
            Self::Safetensors => "safetensors",
            Self::Torch => "torch weights",
        })
    }
}

/// The content of a weight file.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Darknet's numbers.
    Darknet(darknet::Weights),
    /// Keras' arrays, with what else the file says.
    Keras(keras::Weights),
    /// A state dict.
    Safetensors(Vec<Array>),
    /// A state dict.
    Torch(Vec<Array>),
}

/// A weight file that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The content is damaged.
    #[error("damaged {format}: {what}")]
    Damaged {
        /// What the file is.
        format: Format,
        /// What is wrong.
        what: String,
    },
    /// Sound, perhaps, but not to be read here.
    #[error("{format}: {what}")]
    Unsupported {
        /// What the file is.
        format: Format,
        /// What is not read, and what to do.
        what: String,
    },
    /// None of the formats.
    #[error(
        "neither Keras HDF5, nor a torch pickle, nor safetensors, nor Darknet weights; \
         a .tlt of NVIDIA TAO, whose format is closed, looks like this too"
    )]
    Unknown,
}

impl WeightsError {
    fn damaged(format: Format, what: impl fmt::Display) -> Self {
        Self::Damaged { format, what: what.to_string() }
    }

    fn unsupported(format: Format, what: impl fmt::Display) -> Self {
        Self::Unsupported { format, what: what.to_string() }
    }
}

/// Reads a weight file of any kind: the content decides, not the name.
///
/// # Errors
/// [`WeightsError`]
pub fn read(bytes: &[u8]) -> Result<Weights, WeightsError> {
    if keras::is_hdf5(bytes) {
        keras::read_hdf5(bytes).map(Weights::Keras)
    } else if zip::is_zip(bytes) {
        if zip::holds(bytes, keras::WEIGHTS_ENTRY) {
            keras::read_zip(bytes).map(Weights::Keras)
        } else {
            torch::read_zip(bytes).map(Weights::Torch)
        }
    } else if torch::is_legacy(bytes) {
        torch::read_legacy(bytes).map(Weights::Torch)
    } else if safetensors::is_safetensors(bytes) {
        safetensors::read(bytes).map(Weights::Safetensors)
    } else if darknet::is_darknet(bytes) {
        darknet::read(bytes).map(Weights::Darknet)
    } else {
        Err(WeightsError::Unknown)
    }
}

/// Elements of a shape, if that is a number.
fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent))
}

#[cfg(test)]
mod tests;
