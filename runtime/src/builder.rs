//! Building engines of TensorRT that are files: with TensorRT itself, with the program that comes with it, or through ONNX Runtime.

use oxidet_graph::onnx::NmsTail;
use oxidet_proto::manifest::Precision;

use crate::tensorrt::{BuildError, ProgressListener, TensorRt, TrtExec, Version};
use crate::{
    Artifact, Backend, BuiltWith, DetectorFacts, EngineOptions, EngineRecord, OnnxRuntime, PrepareError,
    Profile, Unavailable,
};

/// What builds an engine.
#[derive(Clone)]
pub enum Builder {
    /// TensorRT, through the shim.
    TensorRt(TensorRt),
    /// The program that comes with TensorRT.
    TrtExec(TrtExec),
    /// The TensorRT provider of ONNX Runtime. Its engines have raw outputs, boxes and scores.
    OnnxRuntime(OnnxRuntime),
    /// The same, as an ONNX model that holds the engine (`EPContext`) and describes itself, for ONNX Runtime to run.
    OnnxRuntimeContext(OnnxRuntime),
}

/// A built engine, and how it was built.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltEngine {
    /// The file.
    pub engine: Vec<u8>,
    /// What built it.
    pub built: BuiltWith,
    /// What it computes in.
    pub precision: Precision,
    /// Batches that it takes.
    pub profile: Profile,
    /// What suppresses.
    pub tail: NmsTail,
}

impl Builder {
    /// Its name: `tensorrt`, `trtexec`, `onnxruntime`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TensorRt(_) => "tensorrt",
            Self::TrtExec(_) => "trtexec",
            Self::OnnxRuntime(_) | Self::OnnxRuntimeContext(_) => "onnxruntime",
        }
    }

    /// What builds here, in words.
    ///
    /// # Errors
    /// What is missing.
    pub fn probe(&self, options: &EngineOptions) -> Result<String, Unavailable> {
        match self {
            Self::TensorRt(backend) => {
                let found = backend.probe()?;
                Ok(format!("{} on {}", found.version, found.devices.join(", ")))
            }
            Self::TrtExec(program) => Ok(format!("trtexec of TensorRT {}", program.version())),
            Self::OnnxRuntime(backend) | Self::OnnxRuntimeContext(backend) => {
                backend.probe_device(options.device)?;
                Ok(format!("{} with TensorRT", backend.probe()?.version))
            }
        }
    }

    /// The TensorRT that builds, where that is known beforehand.
    ///
    /// # Errors
    /// What is missing.
    pub fn version(&self) -> Result<Option<Version>, Unavailable> {
        match self {
            Self::TensorRt(backend) => backend.version().map(Some),
            Self::TrtExec(program) => Ok(Some(program.version())),
            Self::OnnxRuntime(_) | Self::OnnxRuntimeContext(_) => Ok(None),
        }
    }

    /// Builds an engine of an ONNX file.
    ///
    /// # Errors
    /// [`BuildError`]
    pub fn build(
        &self,
        onnx: &[u8],
        options: &EngineOptions,
        progress: &mut ProgressListener<'_>,
    ) -> Result<BuiltEngine, BuildError> {
        let artifact = Artifact::load(onnx, None)
            .map_err(|error| PrepareError { backend: self.name(), reason: error.to_string() })?;
        if artifact.holds_engine() {
            let reason = "the model holds an engine already".into();
            return Err(PrepareError { backend: self.name(), reason }.into());
        }
        let (engine, tensorrt, gpu) = match self {
            Self::TensorRt(backend) => {
                let built = backend.build(onnx, options, progress)?;
                (built.plan, Some(built.version), built.gpu)
            }
            Self::TrtExec(program) => {
                let built = program.build(onnx, options, progress)?;
                (built.plan, Some(built.version), built.gpu)
            }
            Self::OnnxRuntime(backend) => (backend.build_plan(&artifact, options)?, None, None),
            Self::OnnxRuntimeContext(backend) => {
                (backend.build_context_model(&artifact, options)?, None, None)
            }
        };
        let own_tail = artifact.suppression().map_or(NmsTail::Raw, |suppression| suppression.tail);
        let batch = artifact.signature().batch;
        Ok(BuiltEngine {
            engine,
            built: BuiltWith {
                builder: self.name().into(),
                tensorrt: tensorrt.map(|version| version.to_string()),
                gpu,
            },
            precision: match artifact.precision() {
                Precision::Fp32 => options.precision,
                own => own,
            },
            profile: batch.map_or(options.profile, Profile::fixed),
            tail: match self {
                Self::TensorRt(_) | Self::TrtExec(_) => own_tail,
                Self::OnnxRuntime(_) | Self::OnnxRuntimeContext(_) => NmsTail::Raw,
            },
        })
    }
}

impl BuiltEngine {
    /// What is to lie beside the engine, which was built of this model.
    pub fn record(&self, onnx: &[u8], facts: DetectorFacts) -> EngineRecord {
        let Self { engine, built, precision, profile, tail } = self;
        EngineRecord::new(engine, onnx, built.clone(), *precision, *profile, *tail, facts)
    }
}
