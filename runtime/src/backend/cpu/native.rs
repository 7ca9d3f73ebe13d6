//! Models that oxidet exported, run by the kernels that trained them.

use std::sync::Arc;

use oxidet_compute::Executor;
use oxidet_vision::{Network, NetworkError, RawDetections};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Artifact;
use crate::backend::batches::{Limits, in_batches};
use crate::backend::{Engine, PrepareError, Session, Signature};

/// A model whose network is known.
pub struct NativeEngine(NativeSession);

impl NativeEngine {
    /// None where the artifact is not just what oxidet writes.
    pub fn new(artifact: &Artifact, threads: usize) -> Result<Option<Self>, String> {
        let Some((detector, params)) = artifact.network() else { return Ok(None) };
        let executor = Executor::new(&detector, &params).map_err(|error| error.to_string())?;
        let pool =
            ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| error.to_string())?;
        Ok(Some(Self(NativeSession {
            executor,
            pool: Arc::new(pool),
            signature: artifact.signature().clone(),
        })))
    }
}

impl Engine for NativeEngine {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, PrepareError> {
        Ok(Box::new(self.0.clone()))
    }
}

#[derive(Clone)]
struct NativeSession {
    executor: Executor,
    pool: Arc<ThreadPool>,
    signature: Signature,
}

impl Session for NativeSession {}

impl Network for NativeSession {
    fn run(&mut self, input: &[f32], batch: usize, out: &mut RawDetections) -> Result<(), NetworkError> {
        let Self { executor, pool, signature } = self;
        let limits = Limits::of(signature, None);
        in_batches(signature, limits, input, batch, out, |images, batch, out| {
            pool.install(|| executor.run(images, batch, out)).map_err(|error| error.to_string())
        })
    }
}
