//! Models that oxidet exported, run by the kernels that trained them.

use std::sync::Arc;

use oxidet_compute::Executor;
use oxidet_vision::{Network, NetworkError, RawDetections};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Artifact;
use crate::backend::{Engine, PrepareError, Session, Signature};

/// A model whose network is known.
pub struct NativeEngine(NativeSession);

impl NativeEngine {
    /// None where the artifact is not just what oxidet writes, or of layers that the kernels do not compute.
    pub fn new(artifact: &Artifact, threads: usize) -> Result<Option<Self>, String> {
        let Some((detector, params)) = artifact.network() else { return Ok(None) };
        let Ok(executor) = Executor::new(&detector, &params) else { return Ok(None) };
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
        // Whatever batch the model fixes: the executor takes any.
        self.pool.install(|| self.executor.run(input, batch, out))
    }
}
