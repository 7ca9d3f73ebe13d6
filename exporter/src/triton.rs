//! A model in a repository of NVIDIA's Triton server: its folder's `config.pbtxt`, and how its engine is built.
//!
//! Configuration: <https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto>. A model whose batch is
//! open has `max_batch_size`, and its dims leave the batch out. One whose batch is fixed, or one of whose outputs has none, has
//! `max_batch_size: 0` and whole shapes: any other number promises a first axis of −1 in all
//! tensors. No output has a `label_filename`: it would name places in the tensor, and classes are values here.

use std::fmt::Write;
use std::path::Path;

use oxidet_proto::manifest::{ChannelOrder, Precision};
use oxidet_proto::onnx::tensor_shape_proto::Value;
use oxidet_proto::onnx::{DataType, GraphProto, ValueInfoProto};

use crate::{Batches, Deployment, DeploymentError, HalfRoute, Target};

/// Name of the calibration cache in the model's folder.
pub const TRITON_CACHE: &str = "cal.bin";

/// The folder of a model in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TritonModel {
    /// Its name, and that of the folder.
    pub name: String,
    /// `config.pbtxt`.
    pub config: String,
    /// Where in the folder the ONNX file belongs.
    pub onnx_path: &'static str,
    /// Whether its calibration cache belongs there, too, as [`TRITON_CACHE`].
    pub needs_cache: bool,
    /// What has to be run in the folder, on the server, to build the engine it serves.
    pub build: Option<String>,
}

/// The folder of a model whose graph is `graph`.
///
/// # Errors
/// [`DeploymentError`], when Triton cannot serve it.
pub fn triton_model(deployment: &Deployment<'_>, graph: &GraphProto) -> Result<TritonModel, DeploymentError> {
    let manifest = deployment.manifest;
    if manifest.model.encrypted {
        return Err(DeploymentError::Encrypted);
    }
    let is_engine = deployment.target != Target::Ort;
    let cache = if is_engine { deployment.cache_in_use()? } else { None };
    let build = is_engine.then(|| trtexec(deployment, cache.is_some()));
    let name = Path::new(&manifest.model.file).file_stem().unwrap_or_default().to_string_lossy().into_owned();

    let inputs = tensors(&graph.input)?;
    let outputs = tensors(&graph.output)?;
    let batch = inputs.first().and_then(Tensor::first_axis).filter(|axis| matches!(axis, Axis::Open(_)));
    let is_batched =
        batch.is_some() && inputs.iter().chain(&outputs).all(|tensor| tensor.first_axis() == batch);
    let max_batch = if is_batched { deployment.batches.max } else { 0 };
    let listed = |kind: &str, tensors: &[Tensor<'_>]| {
        let entries: Vec<String> = tensors.iter().map(|tensor| tensor.entry(is_batched)).collect();
        format!("{kind} [\n{}\n]\n", entries.join(",\n"))
    };
    let mut config = comments(deployment, build.as_deref());
    let platform = if is_engine { "tensorrt_plan" } else { "onnxruntime_onnx" };
    let _ =
        writeln!(config, "name: {}\nplatform: \"{platform}\"\nmax_batch_size: {max_batch}", quoted(&name));
    config += &listed("input", &inputs);
    config += &listed("output", &outputs);
    let onnx_path = if is_engine { "model.onnx" } else { "1/model.onnx" };
    Ok(TritonModel { name, config, onnx_path, needs_cache: cache.is_some(), build })
}

/// What a client must know that the configuration has no field for.
fn comments(deployment: &Deployment<'_>, build: Option<&str>) -> String {
    let preprocess = &deployment.manifest.preprocess;
    let order = match preprocess.order {
        ChannelOrder::Bgr => "blue, green, red",
        ChannelOrder::Gray => "gray",
    };
    let mean: Vec<String> = preprocess.mean.iter().map(f32::to_string).collect();
    let largest = if preprocess.depth == 16 { "65535" } else { "255" };
    let mut text = format!(
        "# {} of oxidet {}. Clients letterbox to the centre of {}x{} pixels on the image's mean colour, and send {order},\n\
         # 0 to {largest}, minus {}. labels.txt has the classes by id.\n",
        deployment.manifest.network.arch,
        deployment.manifest.oxidet_version,
        preprocess.width,
        preprocess.height,
        mean.join(" "),
    );
    if let Some(build) = build {
        let _ = writeln!(
            text,
            "# The engine is built on the GPU and with the TensorRT of the server ({}), in this folder:\n#   {build}",
            deployment.target.facts().title
        );
    }
    text
}

/// The command that builds the engine.
fn trtexec(deployment: &Deployment<'_>, with_cache: bool) -> String {
    let manifest = deployment.manifest;
    let mut command = "mkdir -p 1 && trtexec --onnx=model.onnx --saveEngine=1/model.plan".to_owned();
    let (batch, channels, height, width) = manifest.network.input_shape;
    if batch.is_none() {
        let Batches { min, opt, max } = deployment.batches;
        for (which, images) in [("min", min), ("opt", opt), ("max", max)] {
            let input = &manifest.network.input;
            let _ = write!(command, " --{which}Shapes={input}:{images}x{channels}x{height}x{width}");
        }
    }
    // From TensorRT 11 on the precision is that of the file.
    if let HalfRoute::BuilderFlag(_) = deployment.target.facts().half {
        match manifest.precision {
            Precision::Fp32 => {}
            Precision::Fp16 => command += " --fp16",
            Precision::Int8 => command += " --int8",
        }
        if with_cache {
            let _ = write!(command, " --calib={TRITON_CACHE}");
        }
    }
    command
}

struct Tensor<'a> {
    name: &'a str,
    data_type: &'static str,
    dims: Vec<Axis<'a>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Axis<'a> {
    Fixed(i64),
    Open(&'a str),
}

impl<'a> Tensor<'a> {
    fn first_axis(&self) -> Option<Axis<'a>> {
        self.dims.first().copied()
    }

    fn entry(&self, is_batched: bool) -> String {
        let dims = self.dims.iter().skip(usize::from(is_batched)).map(|axis| match axis {
            Axis::Fixed(size) => size.to_string(),
            Axis::Open(_) => "-1".to_owned(),
        });
        let dims: Vec<String> = dims.collect();
        format!(
            "  {{ name: {} data_type: {} dims: [ {} ] }}",
            quoted(self.name),
            self.data_type,
            dims.join(", ")
        )
    }
}

fn tensors(values: &[ValueInfoProto]) -> Result<Vec<Tensor<'_>>, DeploymentError> {
    values
        .iter()
        .map(|value| tensor(value).ok_or_else(|| DeploymentError::Tensor(value.name.clone())))
        .collect()
}

fn tensor(value: &ValueInfoProto) -> Option<Tensor<'_>> {
    let (data_type, shape) = value.tensor_shape()?;
    let data_type = match data_type {
        DataType::Float => "TYPE_FP32",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        _ => return None,
    };
    let dims = shape.iter().map(|dim| {
        Some(match dim.value.as_ref()? {
            Value::DimValue(size) => Axis::Fixed(*size),
            Value::DimParam(name) => Axis::Open(name),
        })
    });
    Some(Tensor { name: &value.name, data_type, dims: dims.collect::<Option<_>>()? })
}

/// A string of protobuf's text format.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
