//! `manifest.json`, written beside an exported model: what a program must know to feed it and to read its
//! output, and what the files beside it must be.
//!
//! A function of the model alone: no clock, no absolute path. Format page: `docs/formats/manifest.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::signature::SIGNATURE_FILE;

/// Version of the manifest format this program writes and reads.
pub const MANIFEST_VERSION: u32 = 2;

/// Name of the manifest's file.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the labels' file.
pub const LABELS_FILE: &str = "labels.txt";
/// Name of DeepStream's configuration.
pub const NVINFER_FILE: &str = "nvinfer_config.txt";

/// Everything about an exported model that is not in its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// Version of the oxidet that exported the model.
    pub oxidet_version: String,
    /// What the model is for, as on the command line: `trt8`, `ort`, `deepstream`.
    pub target: String,
    /// What it is to be run in.
    pub precision: Precision,
    /// The model's file.
    pub model: Model,
    /// The network.
    pub network: Network,
    /// Class names; the index is the class id.
    pub classes: Vec<String>,
    /// How an image becomes the network's input.
    pub preprocess: Preprocess,
    /// Detection heads in the order of their boxes in the output.
    pub heads: Vec<Head>,
    /// Non-maximum suppression.
    pub nms: Nms,
    /// Where the ranges of a model that was calibrated for INT8 come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// [`sha256_hex`] of every other file that belongs to the model, by its bare name.
    pub files: BTreeMap<String, String>,
}

/// What a model is to be run in. Of `fp32` and `fp16` and `int8` models alike, input and outputs are single precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    Fp32,
    /// Half precision: in the model, or asked for when the engine is built; the target decides.
    Fp16,
    /// INT8: with Q/DQ pairs in the model ([`Model::quantized`]), or with ranges beside it.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        })
    }
}

/// Where ranges come from; the fields are those of a cache's record (`docs/formats/calibration-cache.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How the ranges were chosen: `entropy`, `percentile:99.99`.
    pub method: String,
    /// Number of images.
    pub images: u64,
    /// Digest of the input tensors, in their order.
    pub inputs_sha256: String,
    /// Digest of the network's structure.
    pub graph_sha256: String,
    /// Digest of how images become input tensors.
    pub preprocess_sha256: String,
}

/// The model's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// File name, in the same directory as the manifest.
    pub file: String,
    /// Whether the file is an encrypted container (`.etlt`).
    pub encrypted: bool,
    /// [`sha256_hex`] of the ONNX bytes, before encryption.
    pub onnx_sha256: String,
    /// Version of the standard ONNX operators.
    pub opset: i64,
    /// Whether the model holds Q/DQ pairs: it runs in INT8, and needs no calibration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quantized: bool,
}

/// The network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Backbone as the spec names it, with its depth: `resnet18`, `cspdarknet_tiny`.
    pub arch: String,
    /// Name of the input tensor.
    pub input: String,
    /// Shape `[N, C, H, W]` of the input; N is `None` (`null`) when it is chosen at run time.
    pub input_shape: (Option<u32>, u32, u32, u32),
}

/// The preprocess contract: decode, letterbox, order channels, subtract means. There is no scaling of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Input width in pixels.
    pub width: u32,
    /// Input height in pixels.
    pub height: u32,
    /// Channels, 1 or 3.
    pub channels: u32,
    /// What the channels are.
    pub order: ChannelOrder,
    /// Subtracted from each channel, in `order`, in units of the image's values.
    pub mean: Vec<f32>,
    /// Bits per channel value: 8 or 16.
    pub depth: u32,
    /// How the image is fitted into the input.
    pub letterbox: Letterbox,
}

/// What the input channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Blue, green, red.
    Bgr,
    /// Luma: 0.299 R + 0.587 G + 0.114 B.
    Gray,
}

impl ChannelOrder {
    /// Number of channels.
    pub fn channels(self) -> u32 {
        match self {
            Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// How an image is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Letterbox {
    /// Aspect ratio kept, image centred, borders filled with the image's own mean colour.
    CentredImageMean,
}

/// One detection head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Input pixels per cell: 32, 16 or 8.
    pub stride: u32,
    /// How far a centre may leave its cell: the sigmoid is stretched to `1 + grid_xy_extend`.
    pub grid_xy_extend: f32,
    /// Anchors `[width, height]` in input pixels.
    pub anchors: Vec<[f32; 2]>,
}

/// Non-maximum suppression: per class, both tests strict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nms {
    /// Operator at the end of the graph; `None` (`null`) when the model's outputs are boxes and scores before
    /// NMS.
    pub node: Option<String>,
    /// Candidates need a score above this.
    pub confidence_threshold: f32,
    /// A box is dropped when its IoU with a better one of its class is above this.
    pub iou_threshold: f32,
    /// Candidates per class that enter NMS.
    pub top_k: u32,
    /// Boxes per image that leave it.
    pub keep_top_k: u32,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, a missing or an unknown field.
    #[error("{name}:{}:{}: {source}; export the model again", source.line(), source.column())]
    Json {
        /// File name.
        name: String,
        /// What and where.
        source: serde_json::Error,
    },
    /// Another version of the format.
    #[error(
        "{name}: manifest version {found}, this program reads version {MANIFEST_VERSION}; \
         export the model again"
    )]
    Version {
        /// File name.
        name: String,
        /// Version found.
        found: u32,
    },
    /// A value that cannot be.
    #[error("{name}: `{field}` {what}; export the model again")]
    Field {
        /// File name.
        name: String,
        /// Dotted name of the field.
        field: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

impl Manifest {
    /// The manifest as the text of `manifest.json`: indented, fields in a fixed order, a line end at the end.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("plain structs with string keys always serialise");
        text.push('\n');
        text
    }

    /// Reads `manifest.json`. `name` is used in messages only.
    ///
    /// A manifest that is read is consistent: channels, sizes and means agree, files have bare names, which lead nowhere else,
    /// anchors are positive, thresholds are fractions.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ManifestError> {
        /// The version alone, so that a later format is named as such and not by its unknown fields.
        #[derive(Deserialize)]
        struct Version {
            manifest_version: u32,
        }
        let json = |source| ManifestError::Json { name: name.to_owned(), source };
        let Version { manifest_version: found } = serde_json::from_str(text).map_err(json)?;
        if found != MANIFEST_VERSION {
            return Err(ManifestError::Version { name: name.to_owned(), found });
        }
        let manifest: Self = serde_json::from_str(text).map_err(json)?;
        manifest.check().map_err(|(field, what)| ManifestError::Field {
            name: name.to_owned(),
            field,
            what,
        })?;
        Ok(manifest)
    }

    /// The first field that contradicts another or itself, with the reason.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let Self { model, network, classes, preprocess, heads, nms, calibration, files, .. } = self;
        let (batch, channels, height, width) = network.input_shape;
        let mut anchors = heads.iter().flat_map(|head| head.anchors.iter().flatten());
        let finite = 0.0..f32::INFINITY;
        let fraction = 0.0..=1.0;
        let taken = [&model.file, MANIFEST_FILE, SIGNATURE_FILE];
        let mut calibrated = calibration.iter().flat_map(Calibration::digests);
        let rules = [
            (is_file_name(&model.file), "model.file", NO_FILE_NAME),
            (is_sha256(&model.onnx_sha256), "model.onnx_sha256", NO_SHA256),
            (calibrated.all(is_sha256), "calibration", "has a digest that is none"),
            (files.keys().all(|name| is_file_name(name)), "files", "has a name that is not a bare file name"),
            (
                files.keys().all(|name| !taken.contains(&&**name)),
                "files",
                "names the model, the manifest or its signature",
            ),
            (files.values().all(|digest| is_sha256(digest)), "files", "has a digest that is none"),
            (batch != Some(0), "network.input_shape", "has a batch of 0"),
            (height > 0 && width > 0, "network.input_shape", "has an axis of size 0"),
            (!classes.is_empty(), "classes", "is empty"),
            (channels == preprocess.channels, "preprocess.channels", "differs from network.input_shape"),
            (width == preprocess.width, "preprocess.width", "differs from network.input_shape"),
            (height == preprocess.height, "preprocess.height", "differs from network.input_shape"),
            (
                preprocess.order.channels() == channels,
                "preprocess.order",
                "does not fit the number of channels",
            ),
            (preprocess.mean.len() == channels as usize, "preprocess.mean", "needs one value per channel"),
            (preprocess.mean.iter().all(|mean| mean.is_finite()), "preprocess.mean", "is not finite"),
            (matches!(preprocess.depth, 8 | 16), "preprocess.depth", "is neither 8 nor 16"),
            (!heads.is_empty(), "heads", "is empty"),
            (heads.iter().all(|head| head.stride > 0), "heads.stride", "is 0"),
            (
                heads.iter().all(|head| finite.contains(&head.grid_xy_extend)),
                "heads.grid_xy_extend",
                "is negative or not finite",
            ),
            (heads.iter().all(|head| !head.anchors.is_empty()), "heads.anchors", "is empty"),
            (
                anchors.all(|size| *size > 0.0 && finite.contains(size)),
                "heads.anchors",
                "has a size that is not positive",
            ),
            (
                fraction.contains(&nms.confidence_threshold),
                "nms.confidence_threshold",
                "is not between 0 and 1",
            ),
            (fraction.contains(&nms.iou_threshold), "nms.iou_threshold", "is not between 0 and 1"),
            (nms.top_k > 0, "nms.top_k", "is 0"),
            (nms.keep_top_k > 0, "nms.keep_top_k", "is 0"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, field, what)) => Err((field, what)),
            None => Ok(()),
        }
    }
}

impl Calibration {
    fn digests(&self) -> [&str; 3] {
        [&self.inputs_sha256, &self.graph_sha256, &self.preprocess_sha256]
    }
}

const NO_FILE_NAME: &str = "is not a bare file name";
const NO_SHA256: &str = "is not 64 lower-case hexadecimal digits";

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The same of all that a reader gives.
///
/// # Errors
/// Those of the reader.
pub fn sha256_hex_of(mut reader: impl Read) -> io::Result<String> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A manifest must not lead out of its directory, on any system, nor paint on the terminals that show its names.
fn is_file_name(text: &str) -> bool {
    let mut components = Path::new(text).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !text.contains(['/', '\\', ':'])
        && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            manifest_version: MANIFEST_VERSION,
            oxidet_version: "0.1.0".into(),
            target: "deepstream".into(),
            precision: Precision::Int8,
            model: Model {
                file: "model.etlt".into(),
                encrypted: true,
                onnx_sha256: sha256_hex(b"abc"),
                opset: 12,
                quantized: false,
            },
            network: Network {
                arch: "cspdarknet_tiny".into(),
                input: "Input".into(),
                input_shape: (None, 3, 320, 416),
            },
            classes: vec!["platelets".into(), "rbc".into()],
            preprocess: Preprocess {
                width: 416,
                height: 320,
                channels: 3,
                order: ChannelOrder::Bgr,
                mean: vec![103.939, 116.779, 123.68],
                depth: 8,
                letterbox: Letterbox::CentredImageMean,
            },
            heads: vec![Head {
                stride: 32,
                grid_xy_extend: 0.05,
                anchors: vec![[114.94, 60.67], [159.06, 114.59]],
            }],
            nms: Nms {
                node: Some("BatchedNMSDynamic_TRT".into()),
                confidence_threshold: 0.001,
                iou_threshold: 0.5,
                top_k: 400,
                keep_top_k: 200,
            },
            calibration: Some(Calibration {
                method: "entropy".into(),
                images: 160,
                inputs_sha256: sha256_hex(b"inputs"),
                graph_sha256: sha256_hex(b"graph"),
                preprocess_sha256: sha256_hex(b"preprocess"),
            }),
            files: [("cal.bin", "cache"), ("labels.txt", "platelets\nrbc\n")]
                .map(|(name, content)| (name.to_owned(), sha256_hex(content.as_bytes())))
                .into(),
        }
    }

    /// Test vectors of FIPS 180-4.
    #[test]
    fn digests_are_sha256() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let million = io::repeat(b'a').take(1_000_000);
        let want = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(sha256_hex_of(million).unwrap(), want);
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    /// The example of the format page is what the program writes.
    #[test]
    fn the_documented_example_is_written_and_read() {
        let page = include_str!("../../docs/formats/manifest.md");
        let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(sample().to_json(), example);
        assert_eq!(Manifest::parse("manifest.json", example).unwrap(), sample());
    }

    fn add(manifest: &mut Manifest, name: &str) {
        manifest.files.insert(name.into(), sha256_hex(b""));
    }

    #[test]
    fn contradictions_are_named() {
        type Change = fn(&mut Manifest);
        let cases: [(Change, &str); 22] = [
            (|m| m.manifest_version = 3, "m.json: manifest version 3"),
            (|m| m.manifest_version = 1, "m.json: manifest version 1, this program reads version 2"),
            (|m| add(m, "../labels.txt"), "m.json: `files` has a name that is not a bare"),
            (|m| add(m, "/etc/passwd"), "m.json: `files` has a name"),
            (|m| add(m, "a\u{1b}[2Jb"), "m.json: `files` has a name"),
            (|m| add(m, "model.etlt"), "m.json: `files` names the model"),
            (
                |m| add(m, "manifest.json.sig"),
                "m.json: `files` names the model, the manifest or its signature",
            ),
            (|m| m.files.values_mut().for_each(|d| d.truncate(63)), "m.json: `files` has a digest"),
            (|m| m.calibration.as_mut().unwrap().graph_sha256.clear(), "m.json: `calibration` has a digest"),
            (|m| m.model.file = "../model.onnx".into(), "m.json: `model.file` is not a bare"),
            (|m| m.model.file = "/etc/passwd".into(), "m.json: `model.file`"),
            (|m| m.model.file = "..".into(), "m.json: `model.file`"),
            (|m| m.model.file = "C:\\model.onnx".into(), "m.json: `model.file`"),
            (|m| m.model.onnx_sha256.make_ascii_uppercase(), "m.json: `model.onnx_sha256`"),
            (|m| m.network.input_shape.0 = Some(0), "m.json: `network.input_shape` has a batch of 0"),
            (|m| m.preprocess.width = 320, "m.json: `preprocess.width` differs"),
            (|m| m.preprocess.order = ChannelOrder::Gray, "m.json: `preprocess.order`"),
            (|m| m.preprocess.mean.truncate(1), "m.json: `preprocess.mean` needs one value per channel"),
            (|m| m.preprocess.depth = 10, "m.json: `preprocess.depth`"),
            (|m| m.heads[0].anchors[0][1] = 0.0, "m.json: `heads.anchors` has a size that is not positive"),
            (|m| m.nms.iou_threshold = 1.5, "m.json: `nms.iou_threshold` is not between 0 and 1"),
            (|m| m.classes.clear(), "m.json: `classes` is empty"),
        ];
        for (change, want) in cases {
            let mut manifest = sample();
            change(&mut manifest);
            let error = Manifest::parse("m.json", &manifest.to_json()).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn bad_json_is_reported_with_its_place() {
        let text = sample().to_json().replace("\"top_k\"", "\"topk\"");
        let error = Manifest::parse("m.json", &text).unwrap_err().to_string();
        assert!(error.starts_with("m.json:") && error.contains("unknown field `topk`"), "{error}");
        for text in ["", "[]", "{\"manifest_version\": 2}", &"[".repeat(100_000)] {
            assert!(matches!(Manifest::parse("m.json", text), Err(ManifestError::Json { .. })));
        }
    }
}
