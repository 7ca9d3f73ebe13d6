//! A network with all that is needed to detect objects with it.

use oxidet_proto::container::Passphrase;
use oxidet_vision::{
    Detection, Letterbox, Network, NetworkError, NmsConfig, Picture, Preprocess, PxBox, RawDetections,
};

use crate::tensorrt::{PlanFacts, TensorRt};
use crate::{Artifact, ArtifactError, Backend, EngineOptions, EngineRecord, PrepareError, Signature};

/// A network, what goes into it, and what comes out.
///
/// ```no_run
/// use oxidet_runtime::{Cpu, EngineOptions, Model};
/// use oxidet_vision::Picture;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut model = Model::load(&std::fs::read("model.onnx")?, None, &Cpu, &EngineOptions::default())?;
/// let image = Picture::decode(&std::fs::read("photo.jpg")?, model.preprocess.depth)?;
/// for found in model.detect(&image, 0.3)? {
///     println!("{} {:.2} {:?}", model.classes[found.class], found.score, found.bbox);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Model {
    /// Computes.
    pub network: Box<dyn Network>,
    /// Class names by id.
    pub classes: Vec<String>,
    /// How images become its input.
    pub preprocess: Preprocess,
    /// How its candidates become detections.
    pub nms: NmsConfig,
}

/// A model that does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// It says nothing about itself.
    #[error(
        "the model was not exported by oxidet and does not say what its classes are, how images are fed to it and how to suppress"
    )]
    Silent,
    /// The record beside it is not its own.
    #[error(
        "the record beside the engine is that of another one: build the engine again, or remove the record and give the spec"
    )]
    OtherEngine,
    /// The backend.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
}

impl Model {
    /// Opens a model that oxidet exported, plain or encrypted. Models of other programs say less about themselves: for them, make an
    /// [`Artifact`] and put the model together.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn load(
        bytes: &[u8],
        passphrase: Option<&Passphrase>,
        backend: &dyn Backend,
        options: &EngineOptions,
    ) -> Result<Self, LoadError> {
        let artifact = Artifact::load(bytes, passphrase)?;
        let metadata = artifact.metadata().ok_or(LoadError::Silent)?;
        let nms = artifact.suppression().ok_or(LoadError::Silent)?.nms;
        let (classes, preprocess) = (metadata.labels.clone(), metadata.preprocess.clone());
        let network = backend.prepare(&artifact, options)?.session()?;
        Ok(Self { network, classes, preprocess, nms })
    }

    /// Opens an engine of TensorRT with the record that lies beside it.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn load_engine(
        engine: &[u8],
        record: &EngineRecord,
        backend: &TensorRt,
        options: &EngineOptions,
    ) -> Result<Self, LoadError> {
        if !record.is_of(engine) {
            return Err(LoadError::OtherEngine);
        }
        let EngineRecord { classes, preprocess, nms, .. } = record.clone();
        let facts = PlanFacts {
            classes: classes.len(),
            suppression: Some(record.suppression()),
            built: Some(record.built.clone()),
        };
        let engine = backend.load(engine, &facts, options)?;
        let Signature { channels, height, width, .. } = *engine.signature();
        let expected = (preprocess.channels, preprocess.height, preprocess.width);
        if (channels, height, width) != expected {
            return Err(LoadError::OtherEngine);
        }
        Ok(Self { network: engine.session()?, classes, preprocess, nms })
    }

    /// Detects in one image: best first, in pixels of the image, without scores below `threshold`.
    ///
    /// # Errors
    /// When the network fails.
    pub fn detect(&mut self, image: &Picture, threshold: f32) -> Result<Vec<Detection<PxBox>>, NetworkError> {
        let mut input = vec![0.0; self.preprocess.tensor_len()];
        let letterbox = self.preprocess.apply(image, &mut input);
        let mut raw = RawDetections::default();
        self.network.run(&input, 1, &mut raw)?;
        Ok(detections(&raw, 0, &self.nms, threshold, &letterbox))
    }
}

/// What is detected in one image of a batch, in its pixels.
pub(crate) fn detections(
    raw: &RawDetections,
    image: usize,
    nms: &NmsConfig,
    threshold: f32,
    letterbox: &Letterbox,
) -> Vec<Detection<PxBox>> {
    let found = raw.suppress(image, nms).into_iter().filter(|d| d.score >= threshold);
    found.map(|d| Detection { class: d.class, score: d.score, bbox: letterbox.to_image(&d.bbox) }).collect()
}
