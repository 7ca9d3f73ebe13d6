//! `nvinfer_config.txt`: how DeepStream's Gst-nvinfer runs a model. The original writes a fragment of it under the same name; this
//! is the whole file.
//!
//! Keys: <https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html>. Values are those of NVIDIA's last
//! YOLOv4 sample (DeepStream 7.1) but for `cluster-mode`, `symmetric-padding` and `scaling-filter`, which follow training here.

use std::fmt::Write;

use oxidet_graph::onnx::NmsTail;
use oxidet_proto::manifest::{ChannelOrder, Precision};

use crate::{Deployment, DeploymentError, deepstream_reads};

/// Detections of an image after which DeepStream's parser stops reading.
pub const DEEPSTREAM_DETECTIONS: u32 = 200;

/// Detections below this are not drawn, unless the model itself asks for more: a spec's threshold is for measuring, and lets nearly
/// everything through.
const SHOWN: f32 = 0.3;

/// Whether DeepStream can run models with this suppression and these many bits per value of an image.
///
/// # Errors
/// [`DeploymentError::Parser`], [`DeploymentError::SixteenBits`]
pub fn check_deepstream(tail: NmsTail, depth: u32) -> Result<(), DeploymentError> {
    if !deepstream_reads(tail) {
        return Err(DeploymentError::Parser(tail));
    }
    if depth != 8 {
        return Err(DeploymentError::SixteenBits);
    }
    Ok(())
}

/// The text of [`NVINFER_FILE`](oxidet_proto::manifest::NVINFER_FILE), to lie beside the model and `labels.txt`.
///
/// # Errors
/// [`DeploymentError`], when DeepStream cannot run the model.
pub fn nvinfer_config(deployment: &Deployment<'_>) -> Result<String, DeploymentError> {
    let manifest = deployment.manifest;
    let preprocess = &manifest.preprocess;
    check_deepstream(deployment.tail, preprocess.depth)?;
    let (mode, suffix) = match manifest.precision {
        Precision::Fp32 => (0, "fp32"),
        Precision::Int8 => (1, "int8"),
        Precision::Fp16 => (2, "fp16"),
    };
    let (color_format, order) = match preprocess.order {
        ChannelOrder::Bgr => (1, "blue, green, red"),
        ChannelOrder::Gray => (2, "gray"),
    };
    let cache = deployment
        .cache_in_use()?
        .map_or(String::new(), |cache| format!("# Ranges of the INT8 engine\nint8-calib-file={cache}\n"));
    let mut notes = String::new();
    if manifest.model.encrypted {
        let file = &manifest.model.file;
        let _ = write!(
            notes,
            "\n# DeepStream cannot open the encrypted {file} (tlt-model-key is for NVIDIA's own files). First: oxidet decrypt {file}"
        );
    }
    let mut limit = String::new();
    if manifest.nms.keep_top_k > DEEPSTREAM_DETECTIONS {
        let _ = write!(
            limit,
            "\n# The parser stops at {DEEPSTREAM_DETECTIONS} detections of the {} that the model may give.",
            manifest.nms.keep_top_k
        );
    }
    let batch_note = match manifest.network.input_shape.0 {
        Some(_) => "Images at once: the model fixes them (export --static_batch_size)",
        None => {
            "Images at once: the number of sources. With another number the engine gets another name (_b4_)"
        }
    };
    let offsets: Vec<String> = preprocess.mean.iter().map(f32::to_string).collect();
    Ok(format!(
        "\
# {arch} of oxidet {version}, for DeepStream's Gst-nvinfer (config-file-path). Paths count from this file's folder.

[property]
gpu-id=0
gie-unique-id=1
# Network: a detector
network-type=0
num-detected-classes={classes}
labelfile-path=labels.txt{notes}
onnx-file={onnx}
# Built from onnx-file at the first start, under this name, and loaded from then on. Remove it when the model changes
model-engine-file={onnx}_b{batch}_gpu0_{suffix}.engine
# {batch_note}
batch-size={batch}
# 0 single precision, 1 INT8, 2 half
network-mode={mode}
{cache}# Frames to leave out between two that are looked at
interval=0

# Input, as in training: {order}, 0 to 255, minus offsets
infer-dims={channels};{height};{width}
net-scale-factor=1.0
offsets={offsets}
model-color-format={color_format}
# Letterboxed to the centre, resized bilinearly. What is left over is black here, in training it was the image's mean
maintain-aspect-ratio=1
symmetric-padding=1
scaling-filter=1

# Output: the model suppresses by itself, nothing is left to be clustered{limit}
cluster-mode=4
output-blob-names=BatchedNMS
parse-bbox-func-name=NvDsInferParseCustomBatchedNMSTLT
custom-lib-path=/opt/nvidia/deepstream/deepstream/lib/libnvds_infercustomparser.so

[class-attrs-all]
# Lowest score to show. The model gives what is above {confidence}; one threshold counts for all classes
pre-cluster-threshold={shown}
# Rows of the frame that nothing is looked for in, and sizes in pixels; 0 is no bound
roi-top-offset=0
roi-bottom-offset=0
detected-min-w=0
detected-min-h=0
detected-max-w=0
detected-max-h=0
",
        arch = manifest.network.arch,
        version = manifest.oxidet_version,
        classes = manifest.classes.len(),
        onnx = deployment.onnx_file(),
        batch = deployment.batch(),
        channels = preprocess.channels,
        height = preprocess.height,
        width = preprocess.width,
        offsets = offsets.join(";"),
        confidence = manifest.nms.confidence_threshold,
        shown = manifest.nms.confidence_threshold.max(SHOWN),
    ))
}
