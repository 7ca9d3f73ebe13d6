//! Writing a model, once it has been found to compute what the checkpoint computes.

use std::fmt;
use std::path::{Path, PathBuf};

use oxidet_calib::disagreement;
use oxidet_compute::Executor;
use oxidet_exporter::{
    Differences, ExportRequest, Exported, Select, Target, Tolerance, Verification, Written, check_quantizers,
    export, verify, without_quantizers,
};
use oxidet_graph::onnx::{Batch, FloatType, NmsTail};
use oxidet_graph::{Checkpoint, nms_from_spec};
use oxidet_proto::container::{self, KdfParams, Kind, Passphrase};
use oxidet_proto::lint::Checked;
use oxidet_proto::manifest::{Calibration, MANIFEST_FILE, Manifest, Precision};
use oxidet_runtime::{Artifact, Backend, EngineOptions, Selection, Tract};
use oxidet_vision::{Network, Picture, Preprocess, RawDetections};

use super::bundle::{Bundle, is_encrypted};
use crate::console;
use crate::data::DataArgs;
use crate::demo::scene;
use crate::engine;
use crate::exit::Failure;
use crate::files::{self, Staged};
use crate::model;
use crate::stop;

/// Images the written model is compared with its checkpoint on.
const SAMPLES: usize = 4;

/// A larger [`disagreement`] of INT8 and float is told.
const FAR: f64 = 0.5;

/// What is exported, and how.
pub struct ExportJob<'a> {
    pub checkpoint: &'a Checkpoint,
    /// Says how to suppress, and where sample images are.
    pub spec: &'a Checked,
    pub opset: i64,
    pub batch: Batch,
    pub tail: NmsTail,
    pub float: FloatType,
    pub target: Target,
    pub precision: Precision,
    /// Where the ranges of a calibrated model come from.
    pub calibration: Option<Calibration>,
}

impl ExportJob<'_> {
    /// Writes the model beside its place, encrypted when its name ends in `.etlt`; what is returned has been read back, run and
    /// found to agree with the checkpoint.
    pub fn stage(&self, output: &Path, passphrase: Option<&Passphrase>) -> Result<StagedModel, Failure> {
        stop::check()?;
        let encrypted = is_encrypted(output);
        let request = ExportRequest {
            opset: self.opset,
            batch: self.batch,
            tail: self.tail,
            nms: nms_from_spec(self.spec.nms()),
            score_bits: self.spec.nms().infer_nms_score_bits,
            float: self.float,
            model_file: output.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            encrypted,
            target: self.target,
            precision: self.precision,
            calibration: self.calibration.clone(),
        };
        let Exported { onnx, labels, manifest } = export(self.checkpoint, &request)?;
        if self.checkpoint.detector.graph.is_quantized() {
            check_quantizers(self.checkpoint, &onnx).map_err(|error| Failure::bug(error.to_string()))?;
        }
        let bytes = match (encrypted, passphrase) {
            (true, Some(passphrase)) => seal(&onnx, passphrase)?,
            (true, None) => return Err(needs_key()),
            (false, _) => onnx,
        };
        let staged = files::stage(output, &bytes)?;
        let verified = self.verify(staged.path(), passphrase, &request)?;
        if !verified.float.differences.are_within(Tolerance::of(self.float)) || !verified.rounds_alike() {
            return Err(Failure::no(format!(
                "the exported model does not compute what the checkpoint computes, and was not kept: {verified}"
            )));
        }
        if let Some(difference) = verified.as_written().suppression_difference() {
            return Err(Failure::no(format!(
                "the exported model does not suppress as the spec says, and was not kept: {difference}"
            )));
        }
        Ok(StagedModel { output: output.to_owned(), staged, bytes, labels, manifest, verified })
    }

    /// Runs the written model beside the checkpoint.
    fn verify(
        &self,
        path: &Path,
        passphrase: Option<&Passphrase>,
        request: &ExportRequest,
    ) -> Result<Verified, Failure> {
        let bug = |error: &dyn fmt::Display| Failure::bug(error.to_string());
        let inputs = samples(self.spec, &self.checkpoint.detector.preprocess);
        let beside = |artifact: &Artifact, checkpoint: &Checkpoint| -> Result<Verification, Failure> {
            // By its nodes: the kernels that made the checkpoint would find that they agree with themselves.
            let prepared = Tract
                .prepare(artifact, &EngineOptions::default())
                .map_err(|error| engine::failure(path, &error))?;
            let mut exported = model::session(path, &*prepared)?;
            let mut reference =
                Executor::new(&checkpoint.detector, &checkpoint.params).map_err(|e| bug(&e))?;
            let suppression = *artifact
                .suppression()
                .ok_or_else(|| Failure::bug("the model does not say how to suppress"))?;
            let selection =
                Selection::of(artifact).transpose().map_err(|error| Failure::bug(error.to_string()))?;
            let mut select =
                selection.map(|whole| move |images: &[f32], count: usize| whole.run(images, count));
            let select = select.as_mut().map(|select| select as &mut Select<'_>);
            let mut written = Written { network: &mut *exported, suppression, select };
            verify(&mut reference, &mut written, &inputs, &request.nms).map_err(|e| bug(&e))
        };
        let artifact = model::read_artifact(path, passphrase)?;
        if self.float == FloatType::F32 && !artifact.is_own() {
            return Err(Failure::bug("the model is not what it says of its network"));
        }
        let written = beside(&artifact, self.checkpoint)?;
        if !self.checkpoint.detector.graph.is_quantized() {
            return Ok(Verified { float: written, int8: None });
        }
        let plain = without_quantizers(self.checkpoint);
        let onnx = export(&plain, request)?.onnx;
        let artifact = Artifact::load(&onnx, None).map_err(|error| Failure::bug(error.to_string()))?;
        let outputs = |checkpoint: &Checkpoint| -> Result<RawDetections, Failure> {
            let mut network = Executor::new(&checkpoint.detector, &checkpoint.params).map_err(|e| bug(&e))?;
            let mut raw = RawDetections::default();
            network.run(&inputs.concat(), inputs.len(), &mut raw).map_err(|e| bug(&e))?;
            Ok(raw)
        };
        let (float, int8) = (outputs(&plain)?, outputs(self.checkpoint)?);
        if let Some(apart) = disagreement(&float, &int8).filter(|apart| *apart > FAR) {
            console::warn(&format!(
                "in INT8 the network is far from itself in float: boxes and scores of what either sees disagree by {apart:.2} \
                 (1 - IoU + difference of scores); --preview shows what that does to mAP, oxidet calibrate --layer-report which \
                 tensor is to blame"
            ));
        }
        let rounding = Differences::between(&float, &int8);
        Ok(Verified { float: beside(&artifact, &plain)?, int8: Some(Int8 { written, rounding }) })
    }
}

/// A model that is right, and not yet in its place.
pub struct StagedModel {
    output: PathBuf,
    staged: Staged,
    bytes: Vec<u8>,
    labels: String,
    manifest: Manifest,
    verified: Verified,
}

impl StagedModel {
    /// Puts it there, and with it all that belongs to it.
    pub fn commit(self, bundle: &Bundle) -> Result<Verified, Failure> {
        let Self { output, staged, bytes, labels, manifest, verified } = self;
        warn_of_other_model(&output.with_file_name(MANIFEST_FILE), &manifest);
        bundle.write(&output, staged, &bytes, &labels, manifest)?;
        Ok(verified)
    }
}

/// A model beside its checkpoint.
pub struct Verified {
    /// What both compute; of a quantised model, both without their rounding.
    pub float: Verification,
    int8: Option<Int8>,
}

/// A model with Q/DQ.
struct Int8 {
    /// What both compute with their rounding. How far apart they are is how far INT8 is from one program to the next.
    written: Verification,
    /// What rounding changes in the checkpoint.
    rounding: Differences,
}

impl Verified {
    /// The model as it was written.
    fn as_written(&self) -> &Verification {
        self.int8.as_ref().map_or(&self.float, |int8| &int8.written)
    }

    /// Whether a quantised model is as near to its checkpoint as two programs can be.
    fn rounds_alike(&self) -> bool {
        let Some(Int8 { written, rounding }) = &self.int8 else { return true };
        written.differences.are_within_rounding(rounding)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(int8) = &self.int8 else { return self.float.fmt(f) };
        write!(
            f,
            "without rounding, {}; in INT8 here and in the cpu backend, mean difference {:.1e} (boxes), {:.1e} (scores), where \
             INT8 itself changes {:.1e} and {:.1e}",
            self.float,
            int8.written.differences.mean_boxes,
            int8.written.differences.mean_scores,
            int8.rounding.mean_boxes,
            int8.rounding.mean_scores
        )
    }
}

/// What an encrypted model cannot be written without.
pub fn needs_key() -> Failure {
    Failure::usage("an .etlt is encrypted: give its key with -k, --key-file or OXIDET_KEY")
}

fn seal(onnx: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, Failure> {
    let mut random = [0; container::RANDOM_LEN];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::environment(format!("no random numbers: {error}")))?;
    container::seal(Kind::Onnx, onnx, passphrase, &random, KdfParams::default())
        .map_err(|error| Failure::environment(error.to_string()))
}

/// Inputs to compare on: the first validation images of the spec, or drawn scenes where they are not at hand.
fn samples(spec: &Checked, preprocess: &Preprocess) -> Vec<Vec<f32>> {
    let tensor = |picture: &Picture| {
        let mut tensor = vec![0.0; preprocess.tensor_len()];
        preprocess.apply(picture, &mut tensor);
        tensor
    };
    let validation = || {
        let (dataset, store) = DataArgs::default().open_validation(spec).ok()?;
        let images = (0..dataset.samples.len().min(SAMPLES)).map(|sample| store.get(&dataset, sample).ok());
        let tensors: Option<Vec<_>> = images.map(|image| Some(tensor(&*image?))).collect();
        tensors.filter(|tensors| !tensors.is_empty())
    };
    validation().unwrap_or_else(|| {
        console::info("the spec's validation images are not at hand: the check runs on drawn scenes");
        (0..SAMPLES as u64).map(|seed| tensor(&scene::draw(seed).image.into())).collect()
    })
}

/// A folder has one manifest; exporting another model into it takes it away from the first.
fn warn_of_other_model(path: &Path, new: &Manifest) {
    let Ok(text) = std::fs::read_to_string(path) else { return };
    match Manifest::parse(&path.to_string_lossy(), &text) {
        Ok(old) if old.model.onnx_sha256 != new.model.onnx_sha256 && old.model.file != new.model.file => {
            console::warn(&format!(
                "{} was about {}; it now describes {}",
                path.display(),
                old.model.file,
                new.model.file
            ));
        }
        _ => {}
    }
}
