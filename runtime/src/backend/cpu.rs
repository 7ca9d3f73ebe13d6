//! The backend that is always there.
//!
//! Models that oxidet exported run on its own kernels ([`native`]), which are those that trained them. Others, and those that somebody has
//! changed, run node by node with [tract](https://github.com/sonos/tract), in pure Rust as well ([`tract`]).

use super::{Backend, Capabilities, Engine, PrepareError, Unavailable, processor};
use crate::{Artifact, Device, EngineOptions};

mod half;
mod native;
mod selection;
pub(crate) mod tract;

use native::NativeEngine;
use tract::TractEngine;

pub use selection::Selection;

const NAME: &str = "cpu";
const TRACT: &str = "tract 0.23";

/// The `cpu` backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let devices = vec![format!("{} processor cores", processor::cores())];
        let kernels = oxidet_compute::kernel::simd::level().name();
        let version = format!("own kernels ({kernels}), {TRACT} for models of other programs");
        Ok(Capabilities { version, devices, ..Capabilities::default() })
    }

    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError> {
        let threads = threads(artifact, options).map_err(failed)?;
        match NativeEngine::new(artifact, threads).map_err(failed)? {
            Some(engine) => Ok(Box::new(engine)),
            None => Tract.prepare(artifact, options),
        }
    }
}

/// tract by itself, for whatever model: what the `cpu` backend falls back to, and what a model can be checked with by its nodes alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Backend for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn probe(&self) -> Result<Capabilities, Unavailable> {
        let devices = vec![format!("{} processor cores", processor::cores())];
        Ok(Capabilities { version: TRACT.into(), devices, ..Capabilities::default() })
    }

    fn prepare(&self, artifact: &Artifact, options: &EngineOptions) -> Result<Box<dyn Engine>, PrepareError> {
        let engine = threads(artifact, options).and_then(|threads| TractEngine::new(artifact, threads));
        let engine = engine.map_err(|reason| PrepareError { backend: self.name(), reason })?;
        Ok(Box::new(engine))
    }
}

/// Threads to compute on, if this can be computed here.
fn threads(artifact: &Artifact, options: &EngineOptions) -> Result<usize, String> {
    if options.device != Device::Cpu {
        return Err("it computes on the processor; --backend onnxruntime and tensorrt use GPUs".into());
    }
    processor::computes_what_the_model_says(artifact, options.precision)?;
    Ok(options.threads.unwrap_or_else(processor::cores))
}

pub(crate) fn failed(reason: String) -> PrepareError {
    PrepareError { backend: NAME, reason }
}
