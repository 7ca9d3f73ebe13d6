//! Small sound files, for the fuzzer to start from.

use oxidet_graph::onnx::{Batch, FloatType, NmsTail, WriteOptions, write};
use oxidet_graph::{
    Activation, Checkpoint, Conv2d, Detector, DetectorHead, GraphBuilder, MaxPool, Padding, Params, Tensor,
};
use oxidet_proto::container::{self, KdfParams, Kind, Passphrase};
use oxidet_proto::kitti::Object;
use oxidet_proto::tensorfile;
use oxidet_proto::tfrecord::{Frame, write_record};
use oxidet_vision::image::{Image, encode_jpeg, encode_png};
use oxidet_vision::{Head, NmsConfig, Preprocess};

use super::PASSPHRASE;

const NMS: NmsConfig = NmsConfig { score_threshold: 0.001, iou_threshold: 0.5, top_k: 40, keep_top_k: 20 };

const KITTI: &str = "car 0.5 1 -1.57 10 20.5 30 40 1 2 3 4 5 6 0.1 0.9\nDontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n";
const VOC: &str = "<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size><object>\
    <name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>";
const YOLO: &str = "0 0.5 0.5 0.25 0.125\n1 0.1 0.1 0.2 0.1 0.2 0.2\n";
const CALIBRATION: &str = "P0: 1 0 0 0 0 1 0 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n";
const COCO: &str = r#"{"images":[{"id":1,"file_name":"a.jpg","width":64,"height":48}],"categories":[{"id":3,"name":"cat"}],
    "annotations":[{"id":7,"image_id":1,"category_id":3,"bbox":[1,2,30.5,40],"area":1220,"iscrowd":0,"segmentation":[[1,2,3,4,5,6]]}]}"#;
const SPEC: &str = r#"random_seed: 42
yolov4_config { big_anchor_shape: "[(114.94, 60.67), (159.06, 114.59)]" arch: "resnet" nlayers: 18 # a comment
  loss_loc_weight: 1.0 freeze_blocks: [0, 1] }
training_config { batch_size_per_gpu: 8 num_epochs: 80 learning_rate { soft_start_cosine_annealing_schedule { min_learning_rate: 1e-7
  max_learning_rate: 1e-4 soft_start: 0.3 } } regularizer { type: L1 weight: 3e-5 } optimizer { adam { epsilon: 1e-7 } } }
dataset_config { data_sources: { tfrecords_path: "a*" image_directory_path: 'b' } target_class_mapping { key: "Car" value: "car" } }
nms_config { confidence_threshold: 0.001 top_k: 200 } augmentation_config { output_width: 416 output_height: 416 output_channel: 3 }
"#;
const CONVERT: &str = r#"kitti_config { root_directory_path: "x" image_dir_name: "images" partition_mode: "random" num_partitions: 2 val_split: 14 }"#;
const CACHE: &str = "TRT-8503-EntropyCalibration2\nInput: 3c010a14\nconv_1: 3d418306\n";
const SCALES: &str = r#"{"tensor_scales": {"Input": 151.06, "conv_1/Relu:0": 5.93}}"#;
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// Seeds by the name of their target.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let checkpoint = checkpoint();
    let bytes = checkpoint.to_bytes();
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("cache", CACHE.into()),
        ("checkpoint", bytes.clone()),
        ("coco", COCO.into()),
        ("kitti", KITTI.into()),
        ("kitti", VOC.into()),
        ("kitti", YOLO.into()),
        ("kitti", CALIBRATION.into()),
        ("manifest", manifest().into()),
        ("manifest", KEY.into()),
        ("onnx", include_bytes!("../../proto/src/onnx/sample.onnx").to_vec()),
        ("prototxt", SPEC.into()),
        ("prototxt", CONVERT.into()),
        ("scales", SCALES.into()),
        ("tensorfile", tensors()),
        ("tfrecord", records()),
        ("video", b"YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420jpeg\n".to_vec()),
        ("video", b"FRAME Ip\n".to_vec()),
        ("weights", include_bytes!("../../proto/src/weights/fixtures/keras2.h5").to_vec()),
        ("weights", include_bytes!("../../proto/src/weights/fixtures/keras3.keras").to_vec()),
        ("weights", include_bytes!("../../proto/src/weights/fixtures/legacy.pt").to_vec()),
        ("weights", include_bytes!("../../proto/src/weights/fixtures/zip.pt").to_vec()),
        ("weights", include_bytes!("../../proto/src/weights/fixtures/state.safetensors").to_vec()),
        ("weights", darknet()),
    ];
    for tail in NmsTail::ALL {
        all.push(("onnx", model(&checkpoint, tail)));
    }
    all.extend(containers(&bytes).map(|bytes| ("container", bytes)));
    all.extend(pictures().map(|bytes| ("images", bytes)));
    all
}

/// A detector of a few kilobytes with most operators.
fn checkpoint() -> Checkpoint {
    let conv = |filters, stride| Conv2d {
        filters,
        kernel: 3,
        stride,
        padding: Padding::all(1),
        groups: 1,
        bias: true,
    };
    let mut builder = GraphBuilder::new();
    let image = builder.input(3);
    let half = builder.conv("half", image, conv(4, 2));
    let half = builder.activation("half_mish", half, Activation::Mish);
    let pooled =
        builder.max_pool("pool", half, MaxPool { kernel: 2, stride: 2, padding: Padding::default() });
    let slice = builder.channel_slice("slice", pooled, 2, 2);
    let up = builder.upsample("up", slice, 2);
    let joined = builder.concat("joined", &[up, half]);
    let big = builder.conv("conv_big_object", pooled, conv(2 * 7, 1));
    let mid = builder.conv("conv_mid_object", joined, conv(2 * 7, 1));
    let head = |output, stride| DetectorHead {
        output,
        geometry: Head { stride, anchors: vec![(0.5, 0.25), (0.1, 0.2)], grid_xy_extend: 0.05 },
    };
    let detector = Detector {
        arch: "tiny".into(),
        graph: builder.finish(),
        heads: vec![head(big, 4), head(mid, 2)],
        classes: vec!["a".into(), "b".into()],
        preprocess: Preprocess::new(16, 8, 3),
    };
    let params: Params = detector
        .graph
        .param_specs()
        .into_iter()
        .map(|spec| {
            let values = (0..spec.shape.iter().product()).map(|i: usize| (i as f32).sin()).collect();
            (spec.name, Tensor::new(spec.shape, values))
        })
        .collect();
    Checkpoint { detector, params, spec: SPEC.into(), training: None }
}

fn model(checkpoint: &Checkpoint, tail: NmsTail) -> Vec<u8> {
    let options = WriteOptions {
        opset: 12,
        batch: Batch::Dynamic,
        tail,
        nms: NMS,
        score_bits: 0,
        float: FloatType::F32,
    };
    write(&checkpoint.detector, &checkpoint.params, &options).expect("the detector is sound").to_bytes()
}

/// One whose key is derived in no time, and one of another kind without a plaintext.
fn containers(checkpoint: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cheap = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
    let plain = checkpoint.to_vec();
    let passphrase = Passphrase::new(PASSPHRASE.into()).expect("it is not empty");
    [(Kind::Checkpoint, plain), (Kind::Onnx, Vec::new())].into_iter().map(move |(kind, plain)| {
        container::seal(kind, &plain, &passphrase, &[7; container::RANDOM_LEN], cheap)
            .expect("the cost is allowed")
    })
}

fn pictures() -> impl Iterator<Item = Vec<u8>> {
    let colour = Image::filled(20, 13, &[9u8, 99, 200]);
    let gray = Image::filled(7, 9, &[77u8]);
    let deep = Image::filled(5, 6, &[40_000u16]);
    [
        encode_jpeg(&colour, 80),
        encode_jpeg(&gray, 80),
        encode_png(&colour),
        encode_png(&gray),
        encode_png(&deep),
    ]
    .into_iter()
    .map(|encoded| encoded.expect("images of some size"))
}

fn records() -> Vec<u8> {
    let object = Object { class: "car".into(), bbox: [1.0, 2.0, 30.0, 40.0], ..Object::default() };
    let frame = Frame {
        id: "a".into(),
        width: 64,
        height: 48,
        objects: vec![object],
        point_cloud: None,
        calibration: None,
    };
    let mut out = Vec::new();
    for _ in 0..2 {
        write_record(&mut out, &frame.encode()).expect("memory takes it");
    }
    out
}

fn tensors() -> Vec<u8> {
    let (shape, mut out) = ([2, 3, 4, 6], Vec::new());
    let values = vec![0.5_f32; shape.iter().product()];
    tensorfile::write::<tensorfile::TensorfileError>("seed", shape, [Ok(values)], &mut out)
        .expect("values of that shape");
    out
}

/// The example of the format page.
fn manifest() -> &'static str {
    let page = include_str!("../../docs/formats/manifest.md");
    page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has one")
}

/// A header of Darknet and some weights.
fn darknet() -> Vec<u8> {
    let header = [0_u32, 2, 5].into_iter().flat_map(u32::to_le_bytes).chain(1_u64.to_le_bytes());
    header.chain((0..64).flat_map(|i| (i as f32).to_le_bytes())).collect()
}
