//! What runs an exported model: the options, and the engine that follows from them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use oxidet_proto::manifest::Precision;
use oxidet_proto::precision_list;
use oxidet_runtime::{
    Artifact, Backend, Cpu, Device, Engine, EngineOptions, EngineRecord, Model, OnnxRuntime, PrepareError,
    Profile, TensorRt, Tract,
};

use oxidet_runtime::processor_cores;
use oxidet_runtime::tensorrt::PlanFacts;

use crate::exit::Failure;
use crate::files;

/// How a model is run.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What runs an exported model (docs/runtime.md)")]
pub struct EngineArgs {
    /// Program that computes: cpu and tract are built in (cpu is faster, with models that oxidet exported); onnxruntime and tensorrt are
    /// libraries that are looked for [default: cpu, and tensorrt for .engine files]
    #[arg(long, value_name = "BACKEND")]
    backend: Option<BackendName>,
    /// Where: cpu, cuda, tensorrt (an NVIDIA GPU through a TensorRT engine) or dla; cuda:1 is the second GPU [default: cpu, and tensorrt
    /// of the tensorrt backend]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<Device>,
    /// Precision of the engine that is built; on the processor, the model's own [default: the model's own]
    #[arg(long, value_name = "TYPE")]
    precision: Option<DataType>,
    /// Threads [default: one for each processor core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Library of ONNX Runtime [default: ORT_DYLIB_PATH, or one that is installed]
    #[arg(long = "ort-lib", value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Folder that keeps built engines for the next time
    #[arg(long = "engine-cache", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Batches that the engine is built for: the smallest, the one it is fastest for, and the largest
    #[arg(long, value_name = "MIN,OPT,MAX", value_parser = profile)]
    profile: Option<Profile>,
    /// Calibration cache: the ranges of a float model that is to run in INT8
    #[arg(long = "calibration", value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Library of plugins that the model needs; may be repeated
    #[arg(long = "plugin", value_name = "FILE")]
    plugins: Vec<PathBuf>,
    /// Open the engine that an ONNX model holds (gen_trt_engine --builder onnxruntime): opening one runs code, so only of whom you trust
    #[arg(long = "trust-engine")]
    trusts_engine: bool,
}

/// The backends by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    #[default]
    Cpu,
    Tract,
    Onnxruntime,
    Tensorrt,
}

/// Precisions by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataType {
    Fp32,
    Fp16,
    Int8,
}

impl From<DataType> for Precision {
    fn from(data_type: DataType) -> Self {
        match data_type {
            DataType::Fp32 => Self::Fp32,
            DataType::Fp16 => Self::Fp16,
            DataType::Int8 => Self::Int8,
        }
    }
}

/// The layers that a file of `--fp16_layers` lists.
pub fn read_float_layers(path: &Path) -> Result<BTreeSet<String>, Failure> {
    precision_list::parse(&path.to_string_lossy(), &files::read_text(path)?)
        .map_err(|error| Failure::usage(error.to_string()))
}

fn device(text: &str) -> Result<Device, String> {
    let (name, number) =
        text.split_once(':').map_or((text, Ok(0)), |(name, number)| (name, u32::from_str(number)));
    match (name, number) {
        ("cpu", _) if name == text => Ok(Device::Cpu),
        ("cuda", Ok(gpu)) => Ok(Device::Cuda(gpu)),
        ("tensorrt", Ok(gpu)) => Ok(Device::TensorRt(gpu)),
        ("dla", Ok(core)) => Ok(Device::Dla(core)),
        _ => Err("cpu, cuda, tensorrt or dla is needed, or with a number: cuda:1".into()),
    }
}

fn profile(text: &str) -> Result<Profile, String> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[min, opt, max]) => Profile::new(min, opt, max).map_err(|error| error.to_string()),
        _ => Err("three numbers are needed: 1,4,16".into()),
    }
}

/// A way to run a model: `BACKEND[/DEVICE[/PRECISION]]`, as in `onnxruntime/cuda:1/fp16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    backend: BackendName,
    device: Option<Device>,
    precision: Option<DataType>,
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split('/');
        let backend = BackendName::from_str(words.next().unwrap_or_default(), true)?;
        let device = words.next().map(device).transpose()?;
        let precision = words.next().map(|word| DataType::from_str(word, true)).transpose()?;
        match words.next() {
            None => Ok(Self { backend, device, precision }),
            Some(_) => Err("BACKEND/DEVICE/PRECISION is all there is: onnxruntime/cuda:1/fp16".into()),
        }
    }
}

impl EngineArgs {
    /// The same with another backend, device and precision.
    pub fn with(&self, way: Way) -> Self {
        Self { backend: Some(way.backend), device: way.device, precision: way.precision, ..self.clone() }
    }

    /// In words: `onnxruntime tensorrt:0 fp16`.
    pub fn describe(&self) -> String {
        let name = |name: String| name.to_lowercase();
        let mut words = vec![name(format!("{:?}", self.backend_name()))];
        words.extend(match self.device {
            None | Some(Device::Cpu) => None,
            Some(Device::Cuda(gpu)) => Some(format!("cuda:{gpu}")),
            Some(Device::TensorRt(gpu)) => Some(format!("tensorrt:{gpu}")),
            Some(Device::Dla(core)) => Some(format!("dla:{core}")),
        });
        words.extend(self.precision.map(|precision| name(format!("{precision:?}"))));
        words.join(" ")
    }

    /// The backend that is asked for.
    pub fn backend(&self) -> Box<dyn Backend> {
        match self.backend_name() {
            BackendName::Cpu => Box::new(Cpu),
            BackendName::Tract => Box::new(Tract),
            BackendName::Onnxruntime => Box::new(OnnxRuntime::new(self.ort_lib.clone())),
            BackendName::Tensorrt => Box::new(TensorRt::new()),
        }
    }

    /// Where it computes.
    fn device(&self) -> Device {
        let default = match self.backend_name() {
            BackendName::Tensorrt => Device::TensorRt(0),
            BackendName::Cpu | BackendName::Tract | BackendName::Onnxruntime => Device::Cpu,
        };
        self.device.unwrap_or(default)
    }

    /// As many images as are computed fastest together, within reason.
    pub fn images_at_once(&self) -> usize {
        match self.device() {
            Device::Cpu if self.backend_name() == BackendName::Onnxruntime => 1,
            Device::Cpu => self.threads.map_or_else(processor_cores, usize::from).min(8),
            Device::Cuda(_) | Device::TensorRt(_) | Device::Dla(_) => self.profile.unwrap_or_default().opt,
        }
    }

    /// Its name. A device that only one has is enough to name it.
    pub fn backend_name(&self) -> BackendName {
        match (self.backend, self.device) {
            (Some(backend), _) => backend,
            (None, None | Some(Device::Cpu)) => BackendName::Cpu,
            (None, Some(_)) => BackendName::Onnxruntime,
        }
    }

    /// The options as the runtime knows them, for a model that is `quantized` or not.
    pub fn options(&self, artifact: &Artifact) -> Result<EngineOptions, Failure> {
        let calibration = self.calibration.as_deref().map(files::read).transpose()?;
        Ok(EngineOptions {
            device: self.device(),
            precision: self.precision.map_or(artifact.precision(), Into::into),
            profile: self.profile.unwrap_or_default(),
            threads: self.threads.map(usize::from),
            calibration_cache: calibration,
            cache_dir: self.cache_dir.clone(),
            plugins: self.plugins.clone(),
            trusts_engine: self.trusts_engine,
            ..EngineOptions::default()
        })
    }

    /// Makes a model ready to run. `path` is for messages.
    pub fn prepare(&self, path: &Path, artifact: &Artifact) -> Result<Box<dyn Engine>, Failure> {
        let options = self.options(artifact)?;
        let backend = self.backend();
        // What is missing here is the computer's fault, not the model's.
        backend.probe_device(options.device).map_err(|error| Failure::environment(error.to_string()))?;
        backend.prepare(artifact, &options).map_err(|error| failure(path, &error))
    }

    /// Opens an engine that is built already. `path` is for messages.
    pub fn open_plan(&self, path: &Path, plan: &[u8], classes: usize) -> Result<Box<dyn Engine>, Failure> {
        let (backend, options) = self.tensorrt(path)?;
        let facts = PlanFacts { classes, suppression: None, built: None };
        backend.load(plan, &facts, &options).map_err(|error| failure(path, &error))
    }

    /// The same of an engine with a record.
    pub fn open_recorded(&self, path: &Path, plan: &[u8], record: &EngineRecord) -> Result<Model, Failure> {
        let (backend, options) = self.tensorrt(path)?;
        Model::load_engine(plan, record, &backend, &options)
            .map_err(|error| Failure::data(format!("{}: {error}", path.display())))
    }

    /// What runs an engine.
    fn tensorrt(&self, path: &Path) -> Result<(TensorRt, EngineOptions), Failure> {
        if self.backend.is_some_and(|backend| backend != BackendName::Tensorrt) {
            return Err(Failure::usage(format!(
                "{}: a TensorRT engine, which --backend tensorrt runs and no other",
                path.display()
            )));
        }
        let tensorrt = Self { backend: Some(BackendName::Tensorrt), ..self.clone() };
        let backend = TensorRt::new();
        let device = tensorrt.device();
        backend.probe_device(device).map_err(|error| Failure::environment(error.to_string()))?;
        let options = EngineOptions { device, plugins: self.plugins.clone(), ..EngineOptions::default() };
        Ok((backend, options))
    }

    /// Refuses options about engines where there is none: a checkpoint runs in this program.
    pub fn refuse_for_checkpoint(&self, path: &Path) -> Result<(), Failure> {
        let given = [
            ("--backend", self.backend.is_some_and(|backend| backend != BackendName::Cpu)),
            ("--device", self.device.is_some_and(|device| device != Device::Cpu)),
            ("--precision", self.precision.is_some()),
            ("--calibration", self.calibration.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::usage(format!(
                "{option}: {} is a checkpoint, which oxidet itself computes; export it first",
                path.display()
            ))),
            None => Ok(()),
        }
    }
}

/// A model that does not run as asked.
pub fn failure(path: &Path, error: &PrepareError) -> Failure {
    Failure::data(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_profiles_by_name() {
        assert_eq!(device("cpu"), Ok(Device::Cpu));
        assert_eq!(device("cuda"), Ok(Device::Cuda(0)));
        assert_eq!(device("tensorrt:2"), Ok(Device::TensorRt(2)));
        assert_eq!(device("dla:1"), Ok(Device::Dla(1)));
        for wrong in ["gpu", "cpu:0", "cuda:", "cuda:x", ""] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
        let way = Way {
            backend: BackendName::Onnxruntime,
            device: Some(Device::Cuda(1)),
            precision: Some(DataType::Fp16),
        };
        assert_eq!("onnxruntime/cuda:1/fp16".parse(), Ok(way));
        assert_eq!(EngineArgs::default().with(way).describe(), "onnxruntime cuda:1 fp16");
        assert!("onnxruntime/cuda/fp16/x".parse::<Way>().is_err() && "torch".parse::<Way>().is_err());
        assert_eq!(profile("1, 4,16"), Ok(Profile { min: 1, opt: 4, max: 16 }));
        for wrong in ["1,4", "4,1,16", "0,1,1", "a,b,c"] {
            assert!(profile(wrong).is_err(), "{wrong}");
        }
    }
}
