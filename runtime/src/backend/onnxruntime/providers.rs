//! What computes: the options of ONNX Runtime's providers.

use std::path::Path;

use ort::ep::{self, ExecutionProviderDispatch};
use ort::session::Session as OrtSession;
use oxidet_proto::manifest::Precision;
use oxidet_proto::onnx::{DataType, GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::{CONTEXT_MODEL, Library, OrtEngine, Purpose};
use crate::Device;
use crate::backend::Signature;

/// Name of the calibration cache in an engine's folder.
pub const CALIBRATION: &str = "cal.bin";

/// The providers of an engine, the one that was asked for first; `folder` is for built engines. On the processor there is nothing to
/// register.
pub fn of(engine: &OrtEngine, folder: Option<&Path>) -> Vec<ExecutionProviderDispatch> {
    let options = &engine.options;
    let cuda = |gpu: u32| ep::CUDA::default().with_device_id(gpu as i32).build().error_on_failure();
    let (gpu, dla) = match options.device {
        Device::Cpu => return Vec::new(),
        Device::Cuda(gpu) => return vec![cuda(gpu)],
        Device::TensorRt(gpu) => (gpu, None),
        Device::Dla(core) => (0, Some(core)),
    };
    let mut tensorrt = ep::TensorRT::default().with_device_id(gpu as i32);
    let Signature { channels, height, width, batch, .. } = engine.signature;
    if batch.is_none() {
        let shape = |images: usize| format!("{}:{images}x{channels}x{height}x{width}", engine.input);
        let profile = options.profile;
        tensorrt = tensorrt
            .with_profile_min_shapes(shape(profile.min))
            .with_profile_opt_shapes(shape(profile.opt))
            .with_profile_max_shapes(shape(profile.max));
    }
    let int8 = options.precision == Precision::Int8 || engine.is_quantized;
    tensorrt = tensorrt.with_fp16(options.precision != Precision::Fp32 && !options.strict).with_int8(int8);
    if options.precision == Precision::Fp16 || engine.is_half {
        tensorrt = tensorrt.with_fp16(true);
    }
    if options.calibration_cache.is_some() {
        tensorrt = tensorrt
            .with_int8_use_native_calibration_table(true)
            .with_int8_calibration_table_name(CALIBRATION);
    }
    if let Some(core) = dla {
        tensorrt = tensorrt.with_dla(true).with_dla_core(core);
    }
    if let Some(bytes) = options.workspace {
        tensorrt = tensorrt.with_max_workspace_size(bytes as usize);
    }
    if !options.plugins.is_empty() {
        let paths: Vec<_> = options.plugins.iter().map(|path| path.to_string_lossy()).collect();
        tensorrt = tensorrt.with_extra_plugin_lib_paths(paths.join(";"));
    }
    if let Some(folder) = folder {
        let path = folder.display();
        tensorrt = tensorrt
            .with_engine_cache(true)
            .with_engine_cache_path(&path)
            .with_engine_cache_prefix("engine")
            .with_timing_cache(true)
            .with_timing_cache_path(&path);
    }
    if let (Some(folder), Purpose::ContextModel) = (folder, engine.purpose) {
        // With the engine in the model, which then is one file.
        tensorrt = tensorrt
            .with_dump_ep_context_model(true)
            .with_ep_context_file_path(folder.join(CONTEXT_MODEL).display())
            .with_ep_context_embed_mode(1);
    }
    let tensorrt = tensorrt.build().error_on_failure();
    match engine.purpose {
        // What TensorRT does not take goes to CUDA, on the same GPU.
        Purpose::Run => vec![tensorrt, cuda(gpu)],
        // An engine of a part is none.
        Purpose::Plan | Purpose::ContextModel => vec![tensorrt],
    }
}

/// Whether a provider computes here: it is asked to copy a number.
///
/// # Errors
/// What it says is missing.
pub fn try_out(library: &Library, device: Device) -> Result<(), String> {
    let (title, provider) = match device {
        Device::Cpu => return Ok(()),
        Device::Cuda(gpu) => ("CUDA", ep::CUDA::default().with_device_id(gpu as i32).build()),
        Device::TensorRt(gpu) => ("TensorRT", ep::TensorRT::default().with_device_id(gpu as i32).build()),
        Device::Dla(_) => ("TensorRT", ep::TensorRT::default().build()),
    };
    let build = || -> Result<OrtSession, ort::Error> {
        OrtSession::builder(library.environment())?
            .with_execution_providers([provider.error_on_failure()])?
            .commit_from_memory(&copy_of_a_number().to_bytes())
    };
    build().map(drop).map_err(|error| {
        let reason = reason(&error);
        format!("{title}: {reason}{}", how_to_get(&reason))
    })
}

/// What helps, where what is missing tells.
fn how_to_get(reason: &str) -> &'static str {
    if reason.contains("not enabled in this build") {
        " `pip install onnxruntime-gpu` has it; on a Jetson, NVIDIA's build"
    } else if reason.contains("cannot open shared object file") {
        "; install NVIDIA's libraries of that version (`pip install onnxruntime-gpu[cuda,cudnn]`, `pip install tensorrt`), and name \
         their folders in LD_LIBRARY_PATH"
    } else {
        ""
    }
}

/// What ONNX Runtime says, without its places in its own sources.
pub fn reason(error: &ort::Error) -> String {
    let text = error.message();
    let text = text.lines().next().unwrap_or_default();
    text.rsplit_once(" with error: ").map_or(text, |(_, why)| why).trim().to_owned()
}

fn copy_of_a_number() -> ModelProto {
    let value = |name: &str| ValueInfoProto::unshaped(name, DataType::Float);
    let graph = GraphProto {
        name: "copy".into(),
        node: vec![NodeProto::new("Identity", "copy", ["x"], ["y"])],
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    ModelProto { graph: Some(graph), ..ModelProto::default() }
}
