//! What backends that compute on the processor have in common.

use std::thread;

use oxidet_proto::manifest::Precision;

use crate::Artifact;

/// Cores to compute on.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// On the processor a model is computed in the numbers that it is written in, and others cannot be had.
pub fn computes_what_the_model_says(artifact: &Artifact, asked: Precision) -> Result<(), String> {
    let how = |what: &str, kind: &str| {
        Err(format!(
            "on the processor {what} needs a model that is; oxidet export --target ort --data_type {kind} writes one"
        ))
    };
    if artifact.holds_engine() {
        return Err(
            "the model holds an engine of TensorRT, which --backend onnxruntime --device tensorrt runs and no other".into(),
        );
    }
    match asked {
        Precision::Int8 if !artifact.is_quantized() => how("INT8", "int8"),
        Precision::Fp16 if !artifact.is_half() => how("half precision", "fp16"),
        _ => Ok(()),
    }
}
