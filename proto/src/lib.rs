//! Every format oxidet reads or writes, as pure functions between bytes or text and typed values.
//!
//! Readers take slices and strings, writers return them: this crate opens no file, computes nothing about images or
//! networks, and never panics whatever the bytes are. Formats are described in `docs/formats/`.

#![forbid(unsafe_code)]

pub mod calibration_cache;
pub mod calibration_record;
pub mod coco;
pub mod container;
pub mod kitti;
pub mod kitti_calibration;
pub mod label_error;
pub mod lint;
pub mod manifest;
pub mod onnx;
pub mod precision_list;
pub mod prototxt;
pub mod signature;
pub mod spec;
pub mod tensor_scales;
pub mod tensorboard;
pub mod tensorfile;
pub mod tfrecord;
pub mod voc;
pub mod weights;
pub mod y4m;
pub mod yolo_txt;
