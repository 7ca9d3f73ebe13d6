//! Writing a checkpoint as ONNX.

use std::collections::BTreeMap;

use oxidet_graph::onnx::{self, Batch, FloatType, NmsTail, WriteError, WriteOptions};
use oxidet_graph::quantization::RangeError;
use oxidet_graph::{Checkpoint, Detector, ParamsError, pass};
use oxidet_proto::manifest::{
    Calibration, ChannelOrder, Head, LABELS_FILE, Letterbox, MANIFEST_VERSION, Manifest, Model, Network, Nms,
    Precision, Preprocess, sha256_hex,
};
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_vision::NmsConfig;

use crate::Target;

/// How to export.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRequest {
    /// ONNX opset.
    pub opset: i64,
    /// The batch axis.
    pub batch: Batch,
    /// What stands behind boxes and scores; see [`Target::tail`](crate::Target::tail).
    pub tail: NmsTail,
    /// How to suppress.
    pub nms: NmsConfig,
    /// `scoreBits` of `BatchedNMSDynamic_TRT`.
    pub score_bits: u32,
    /// The numbers of the layers; see [`Target::float_type`](crate::Target::float_type).
    pub float: FloatType,
    /// File name of the model, for the manifest.
    pub model_file: String,
    /// Whether that file is encrypted.
    pub encrypted: bool,
    /// What the model is for; for the manifest, as are the next two.
    pub target: Target,
    /// What it is to be run in.
    pub precision: Precision,
    /// Where its ranges come from, if it was calibrated.
    pub calibration: Option<Calibration>,
}

/// An exported model.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// [`LABELS_FILE`]: a class per line, in class-id order.
    pub labels: String,
    /// `manifest.json`, with the digest of the labels; those of other files belong into it, too.
    pub manifest: Manifest,
}

/// Leaves the quantisers of a checkpoint out: what remains is its float network.
pub fn without_quantizers(checkpoint: &Checkpoint) -> Checkpoint {
    let (detector, params) = pass::strip_quantizers(&checkpoint.detector, &checkpoint.params);
    Checkpoint { detector, params, spec: checkpoint.spec.clone(), training: None }
}

/// The ranges of a checkpoint that was trained with quantisation, by the names that its tensors have in the exported model.
///
/// # Errors
/// [`ExportError`], as when a range has never been measured.
pub fn tensor_scales(checkpoint: &Checkpoint) -> Result<TensorScales, ExportError> {
    let (detector, params) = pass::fold_batch_norm(&checkpoint.detector, &checkpoint.params)?;
    Ok(TensorScales { tensor_scales: onnx::tensor_ranges(&detector.graph, &params)? })
}

/// A checkpoint that cannot be exported.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Its parameters are not those of its network.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// It was to be trained with quantisation, and was not.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// ONNX cannot hold it.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Exports a checkpoint, one trained with quantisation as it was trained: with Q/DQ pairs. Equal arguments give equal bytes.
///
/// # Errors
/// [`ExportError`]
pub fn export(checkpoint: &Checkpoint, request: &ExportRequest) -> Result<Exported, ExportError> {
    let (detector, params) = pass::fold_batch_norm(&checkpoint.detector, &checkpoint.params)?;
    let options = WriteOptions {
        opset: request.opset,
        batch: request.batch,
        tail: request.tail,
        nms: request.nms,
        score_bits: request.score_bits,
        float: request.float,
    };
    let onnx = onnx::write(&detector, &params, &options)?.to_bytes();
    let labels = labels(&detector);
    let mut manifest = manifest(&detector, request, &onnx);
    manifest.files.insert(LABELS_FILE.into(), sha256_hex(labels.as_bytes()));
    Ok(Exported { onnx, labels, manifest })
}

/// The text of `labels.txt`: a class per line, in class-id order.
pub fn labels(detector: &Detector) -> String {
    detector.classes.iter().map(|class| format!("{class}\n")).collect()
}

fn manifest(detector: &Detector, request: &ExportRequest, onnx: &[u8]) -> Manifest {
    let preprocess = &detector.preprocess;
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (width, height, channels) =
        (small(preprocess.width), small(preprocess.height), small(preprocess.channels));
    let batch = match request.batch {
        Batch::Dynamic => None,
        Batch::Static(images) => Some(images),
    };
    let heads = detector.heads.iter().map(|head| Head {
        stride: small(head.geometry.stride),
        grid_xy_extend: head.geometry.grid_xy_extend,
        anchors: head.geometry.anchors.iter().map(|(w, h)| [w * width as f32, h * height as f32]).collect(),
    });
    Manifest {
        manifest_version: MANIFEST_VERSION,
        oxidet_version: env!("CARGO_PKG_VERSION").into(),
        target: request.target.facts().name.into(),
        precision: request.precision,
        model: Model {
            file: request.model_file.clone(),
            encrypted: request.encrypted,
            onnx_sha256: sha256_hex(onnx),
            opset: request.opset,
            quantized: detector.graph.is_quantized(),
        },
        network: Network {
            arch: detector.arch.clone(),
            input: onnx::INPUT.into(),
            input_shape: (batch, channels, height, width),
        },
        classes: detector.classes.clone(),
        preprocess: Preprocess {
            width,
            height,
            channels,
            order: if channels == 1 { ChannelOrder::Gray } else { ChannelOrder::Bgr },
            mean: preprocess.mean.clone(),
            depth: preprocess.depth.into(),
            letterbox: Letterbox::CentredImageMean,
        },
        heads: heads.collect(),
        nms: Nms {
            node: request.tail.operator().map(Into::into),
            confidence_threshold: request.nms.score_threshold,
            iou_threshold: request.nms.iou_threshold,
            top_k: small(request.nms.top_k),
            keep_top_k: small(request.nms.keep_top_k),
        },
        calibration: request.calibration.clone(),
        files: BTreeMap::new(),
    }
}
