//! Weights of Keras 1, 2 and 3.
//!
//! ```text
//! Keras 1, 2 and 3, .h5:  [model_weights/]  attribute layer_names
//!                         <layer>/          attribute weight_names: paths of the data sets from here
//! Keras 3, .weights.h5:   layers/<class>/vars/0, 1, …     attribute name of vars: the layer's name
//! .keras:                 zip of config.json and model.weights.h5
//! ```
//!
//! Attributes longer than HDF5 allows are in pieces, `layer_names0`, `layer_names1`, …. A network inside a network is one layer whose
//! weights are called `<inner layer>/<weight>`. Whatever the version calls a weight, here it is `kernel`, `bias`, `gamma`, `beta`,
//! `moving_mean` or `moving_variance`.

mod hdf5;
mod object_names;
mod role;

use serde_json::Value;

use super::zip::Zip;
use super::{Array, Format, WeightsError};

/// The entry of a `.keras` archive with the weights.
pub(super) const WEIGHTS_ENTRY: &str = "model.weights.h5";

/// What a file of Keras holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `<layer>/<weight>`, in the order of the file; kernels `[k, k, in, out]`, depthwise `[k, k, channels, 1]`, or what Keras 1 wrote
    /// for Theano.
    pub arrays: Vec<Array>,
    /// The order of axes that the network computes in, where the file describes the network.
    pub data_format: Option<DataFormat>,
    /// The library that Keras computed with, where the file says so: `tensorflow`, `theano`.
    pub backend: Option<String>,
}

/// Where a map has its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFormat {
    /// `[N, C, H, W]`; Keras 1 calls it `th`.
    ChannelsFirst,
    /// `[N, H, W, C]`; Keras 1 calls it `tf`.
    ChannelsLast,
}

/// Whether a file begins as HDF5 does.
pub fn is_hdf5(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89HDF\r\n\x1a\n")
}

/// Reads `.h5`, `.hdf5` or `.weights.h5`.
///
/// # Errors
/// [`WeightsError`]
pub fn read_hdf5(bytes: &[u8]) -> Result<Weights, WeightsError> {
    hdf5::read(bytes, None)
}

/// Reads `.keras`.
///
/// # Errors
/// [`WeightsError`]
pub fn read_zip(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let mut zip = Zip::open(Format::Keras, bytes)?;
    let missing = |name| WeightsError::damaged(Format::Keras, format!("{name} is missing"));
    let config = zip.read("config.json")?.ok_or_else(|| missing("config.json"))?;
    let weights = zip.read(WEIGHTS_ENTRY)?.ok_or_else(|| missing(WEIGHTS_ENTRY))?;
    let config: Value = serde_json::from_slice(&config)
        .map_err(|error| WeightsError::damaged(Format::Keras, format!("config.json: {error}")))?;
    hdf5::read(&weights, Some(&config))
}

/// The order of axes in a description of a network: of its first layer that has one.
fn data_format(config: &Value) -> Option<DataFormat> {
    match config {
        Value::Object(fields) => {
            let named = ["data_format", "dim_ordering"].iter().find_map(|key| fields.get(*key)?.as_str());
            match named {
                Some("channels_first" | "th") => Some(DataFormat::ChannelsFirst),
                Some("channels_last" | "tf") => Some(DataFormat::ChannelsLast),
                _ => fields.values().find_map(data_format),
            }
        }
        Value::Array(items) => items.iter().find_map(data_format),
        _ => None,
    }
}
