//! What is fuzzed: every reader of bytes from strangers. A reader may refuse, and may not panic, hang or take more memory than
//! `docs/security.md` says.
//!
//! The fuzzer runs one target of [`TARGETS`] a program (`fuzz_targets/`); `tests/tests/hostile.rs` runs all of them on [`seeds`], on these cut
//! and flipped, and on what the fuzzer once found (`regressions/`).

pub mod seeds;

use std::io::Cursor;
use std::str;

use oxidet_graph::Checkpoint;
use oxidet_graph::onnx::{Batch, FloatType, Metadata, WriteOptions, cut, read};
use oxidet_proto::calibration_cache::CalibrationCache;
use oxidet_proto::calibration_record::CalibrationRecord;
use oxidet_proto::container::{self, Kind, Passphrase};
use oxidet_proto::lint::{self, Verb};
use oxidet_proto::manifest::Manifest;
use oxidet_proto::signature::PublicKey;
use oxidet_proto::spec::{parse_dataset_export, parse_experiment};
use oxidet_proto::tensor_scales::TensorScales;
use oxidet_proto::tensorfile::Tensorfile;
use oxidet_proto::tfrecord::{Frame, Records};
use oxidet_proto::{coco, kitti, kitti_calibration, onnx, precision_list, voc, weights, y4m, yolo_txt};
use oxidet_vision::{Picture, Preprocess, image};

/// A reader, and what is done with what it reads.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 14] = [
    ("cache", cache),
    ("checkpoint", checkpoint),
    ("coco", read_coco),
    ("container", read_container),
    ("images", images),
    ("kitti", labels),
    ("manifest", manifest),
    ("onnx", model),
    ("prototxt", prototxt),
    ("scales", scales),
    ("tensorfile", tensorfile),
    ("tfrecord", tfrecord),
    ("video", video),
    ("weights", read_weights),
];

/// Runs a target.
///
/// # Panics
/// When there is none of that name, or it has found something.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of the table");
    target(bytes);
}

/// The passphrase of seeds that are encrypted.
pub const PASSPHRASE: &str = "seed";

/// Calibration caches and their records.
pub fn cache(bytes: &[u8]) {
    if let Ok(cache) = CalibrationCache::parse("cal.bin", bytes) {
        let again = CalibrationCache::parse("cal.bin", cache.to_text().as_bytes());
        assert!(again.is_ok_and(|again| again.entries().len() == cache.entries().len()));
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = CalibrationRecord::parse("cal.bin.json", text);
    }
}

/// Checkpoints.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_bytes(bytes) {
        // What is read is sound: it can be written and read again.
        assert!(Checkpoint::from_bytes(&checkpoint.to_bytes()).is_ok());
    }
}

/// COCO's JSON.
pub fn read_coco(bytes: &[u8]) {
    let _ = coco::parse("instances.json", bytes);
}

/// Encrypted containers.
pub fn read_container(bytes: &[u8]) {
    let _ = container::sniff(bytes);
    let Ok(passphrase) = Passphrase::new(PASSPHRASE.into()) else { return };
    for kind in [Kind::Checkpoint, Kind::Onnx] {
        let _ = container::open(kind, bytes, &passphrase);
    }
}

/// Images, as the loader and as `inference` read them.
pub fn images(bytes: &[u8]) {
    // Large ones are allowed, and slow.
    let small = image::header(bytes).is_ok_and(|header| header.width * header.height <= 1 << 20);
    if !small {
        return;
    }
    for (depth, channels) in [(8, 3), (16, 1)] {
        if let Ok(picture) = Picture::decode(bytes, depth) {
            let preprocess = Preprocess { depth, ..Preprocess::new(32, 24, channels) };
            preprocess.apply(&picture, &mut vec![0.0; preprocess.tensor_len()]);
        }
    }
}

/// Label files of KITTI, Pascal VOC and YOLO, and KITTI's calibration.
pub fn labels(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(objects) = kitti::parse("000000.txt", text)
        && let Ok(written) = kitti::write(&objects)
    {
        assert!(kitti::parse("000000.txt", &written).is_ok_and(|again| again.len() == objects.len()));
    }
    let _ = voc::parse("a.xml", text);
    let _ = yolo_txt::parse("a.txt", text, &["cat".into(), "dog".into()], 640, 480);
    let _ = kitti_calibration::parse("calib.txt", text);
}

/// Manifests, and keys they are signed with.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(manifest) = Manifest::parse("manifest.json", text) {
        assert!(Manifest::parse("manifest.json", &manifest.to_json()).is_ok());
    }
    let _ = PublicKey::from_pem(text);
}

/// ONNX models, as far as they are read before a backend gets them.
pub fn model(bytes: &[u8]) {
    let Ok(mut model) = onnx::decode(bytes) else { return };
    let _ = Metadata::read(&model);
    let suppression = model.graph.as_mut().and_then(|graph| cut(graph).ok()?.suppression);
    if let Some(suppression) = suppression {
        let options = WriteOptions {
            opset: 12,
            batch: Batch::Dynamic,
            tail: suppression.tail,
            nms: suppression.nms,
            score_bits: 0,
            float: FloatType::F32,
        };
        let _ = read(&model, &options);
    }
    for tensor in model.graph.iter().flat_map(|graph| &graph.initializer) {
        let _ = (tensor.to_f32s(), tensor.to_i64s());
    }
}

/// Specs, and lists of layers.
pub fn prototxt(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(parsed) = parse_experiment("spec.txt", text) {
        for verb in [Verb::Train, Verb::Evaluate, Verb::Export] {
            let _ = lint::unsupported(&parsed, verb);
        }
        let _ = lint::check(parsed, Verb::Train);
    }
    let _ = parse_dataset_export("convert.txt", text);
    let _ = precision_list::parse("layers.txt", text);
}

/// Scale files.
pub fn scales(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = TensorScales::parse("cal.json", text);
    }
}

/// Tensorfiles.
pub fn tensorfile(bytes: &[u8]) {
    if let Ok(file) = Tensorfile::open("cal.tensorfile", Cursor::new(bytes.to_vec())) {
        for image in 0..file.images().min(8) {
            let _ = file.image(image);
        }
    }
}

/// TFRecords, framed and bare.
pub fn tfrecord(bytes: &[u8]) {
    for payload in Records::new(bytes).map_while(Result::ok) {
        let _ = Frame::decode(&payload);
    }
    if let Ok(frame) = Frame::decode(bytes) {
        assert!(Frame::decode(&frame.encode()).is_ok());
    }
}

/// Headers of YUV4MPEG2 streams.
pub fn video(bytes: &[u8]) {
    if let Ok(header) = y4m::Header::parse(bytes) {
        let _ = (header.frame_len(), header.chroma_size());
    }
    let _ = y4m::check_frame_line(bytes);
}

/// Weights of Keras (HDF5 and its archive), torch, safetensors and Darknet.
pub fn read_weights(bytes: &[u8]) {
    let _ = weights::read(bytes);
    let _ = weights::darknet::read(bytes);
}
