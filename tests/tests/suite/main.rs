//! What concerns several crates, and peers. One program: linking one costs seconds, and tests that wait do so side by side.

mod coco_peers;
mod dependencies;
mod image_peers;
mod onnx_peers;
mod onnxruntime;
mod pruning;
mod quantization;
mod reports;
mod runtime;
mod tensorfile_peers;
mod tfrecord_peers;
mod training;
mod weights_peers;
