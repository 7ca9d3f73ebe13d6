//! How a model is to be computed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use oxidet_proto::manifest::Precision;
use serde::{Deserialize, Serialize};

/// What is asked of an engine. The default is what every computer can do: single precision on the processor.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// Where to compute.
    pub device: Device,
    /// What to compute in. A model with Q/DQ pairs is INT8 whatever is said here.
    pub precision: Precision,
    /// Batches that an engine is made for, where it is made for some.
    pub profile: Profile,
    /// Processor threads; `None` takes one for each core.
    pub threads: Option<usize>,
    /// Text of a calibration cache: the ranges of a float model that is to run in INT8.
    pub calibration_cache: Option<Vec<u8>>,
    /// Layers that stay in floating point in INT8 (`--fp16_layers`).
    pub float_layers: BTreeSet<String>,
    /// Whether layers must be computed in the precision that was asked for, even where another would be faster.
    pub strict: bool,
    /// Bytes of memory that building may use on the device; `None` leaves it to the builder.
    pub workspace: Option<u64>,
    /// Folder in which built engines and their timings are kept; `None` keeps nothing.
    pub cache_dir: Option<PathBuf>,
    /// Libraries with plugins that the model needs.
    pub plugins: Vec<PathBuf>,
    /// Whether an engine inside of an ONNX model (`EPContext`) may be opened, which runs code.
    pub trusts_engine: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            precision: Precision::Fp32,
            profile: Profile::default(),
            threads: None,
            calibration_cache: None,
            float_layers: BTreeSet::new(),
            strict: false,
            workspace: None,
            cache_dir: None,
            plugins: Vec::new(),
            trusts_engine: false,
        }
    }
}

/// Where an engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, through CUDA's own kernels.
    Cuda(u32),
    /// An NVIDIA GPU, through a TensorRT engine.
    TensorRt(u32),
    /// A deep learning accelerator of a Jetson, through a TensorRT engine; what it cannot compute falls to the GPU.
    Dla(u32),
}

/// Batches that an engine is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The smallest.
    pub min: usize,
    /// The one it is fastest for.
    pub opt: usize,
    /// The largest.
    pub max: usize,
}

impl Default for Profile {
    fn default() -> Self {
        Self { min: 1, opt: 1, max: 1 }
    }
}

/// A profile that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batches of {} to {}, best {}: 1 <= min <= opt <= max is needed", .0.min, .0.max, .0.opt)]
pub struct BadProfile(pub Profile);

impl Profile {
    /// Batches of `min` to `max` images, fastest for `opt`.
    ///
    /// # Errors
    /// Unless 1 ≤ min ≤ opt ≤ max.
    pub fn new(min: usize, opt: usize, max: usize) -> Result<Self, BadProfile> {
        let profile = Self { min, opt, max };
        if 1 <= min && min <= opt && opt <= max { Ok(profile) } else { Err(BadProfile(profile)) }
    }

    /// Batches of so many images and no other number.
    pub fn fixed(images: usize) -> Self {
        Self { min: images, opt: images, max: images }
    }

    /// Whether a batch is one of those.
    pub fn holds(&self, batch: usize) -> bool {
        (self.min..=self.max).contains(&batch)
    }
}
