//! The ONNX form of a detector.
