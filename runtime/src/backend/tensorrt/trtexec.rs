//! Building with `trtexec`, the program that comes with TensorRT: for devices that have no compiler for the shim.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use oxidet_proto::calibration_cache::TensorRtVersion;

use super::build::Layer;
use super::request::Request;
use super::{BuildError, Built, Progress, ProgressListener, Version, abi, model_of_file};
use crate::backend::build_folder::build_folder;
use crate::backend::{PrepareError, Unavailable};
use crate::{Device, EngineOptions};

const NAME: &str = "trtexec";

/// Where JetPack and NVIDIA's packages put it.
const USUAL_PLACE: &str = "/usr/src/tensorrt/bin/trtexec";

/// What begins the line in which it tells its version.
const BANNER: &str = "[TensorRT v";

/// Between two looks whether it is done.
const PAUSE: Duration = Duration::from_millis(50);

/// `trtexec`, and the TensorRT it is of.
#[derive(Clone, Debug)]
pub struct TrtExec {
    program: PathBuf,
    version: Version,
}

impl TrtExec {
    /// The one that is named, else that in the `PATH`, else that of JetPack.
    ///
    /// # Errors
    /// When there is none, or it does not run.
    pub fn find(named: Option<&Path>) -> Result<Self, Unavailable> {
        let places: &[&Path] = match named {
            Some(path) => &[path],
            None => &[Path::new("trtexec"), Path::new(USUAL_PLACE)],
        };
        for program in places {
            match Command::new(program).arg("--help").stdin(Stdio::null()).output() {
                Ok(said) => {
                    let version = version_in(&String::from_utf8_lossy(&said.stdout)).ok_or_else(|| {
                        let why = String::from_utf8_lossy(&said.stderr);
                        let why = why.lines().next().unwrap_or_default();
                        missing(format!(
                            "{} does not tell a version of TensorRT ({}) {why}",
                            program.display(),
                            said.status
                        ))
                    })?;
                    return Ok(Self { program: (*program).to_owned(), version });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(missing(format!("{}: {error}", program.display()))),
            }
        }
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Err(missing(format!(
            "there is no program {}; JetPack has it in {USUAL_PLACE}, packages in libnvinfer-bin",
            places.join(" or ")
        )))
    }

    /// The TensorRT it is of.
    pub fn version(&self) -> Version {
        self.version
    }

    /// As [`TensorRt::build`](super::TensorRt::build). What it says is heard when it has failed; `progress` is asked several times a
    /// second whether to go on.
    ///
    /// # Errors
    /// [`BuildError`]
    pub fn build(
        &self,
        onnx: &[u8],
        options: &EngineOptions,
        progress: &mut ProgressListener<'_>,
    ) -> Result<Built, BuildError> {
        let (artifact, model, layers) = model_of_file(onnx)?;
        let request = Request::new(model, options, self.version).map_err(failed)?;
        let folder =
            build_folder(None).map_err(|error| missing(format!("no folder to build in: {error}")))?;
        let files = Files::new(folder.path());
        let write = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).map_err(|error| missing(format!("{}: {error}", path.display())))
        };
        write(&files.onnx, onnx)?;
        if let Some(cache) = &request.calibration {
            write(&files.calibration, cache)?;
        }
        let signature = artifact.signature();
        let size = [signature.channels, signature.height, signature.width];
        let input = model.batch.is_none().then(|| (artifact.input(), size));
        let arguments = arguments(&request, options, self.version, input, &layers, &files).map_err(failed)?;
        let said = self.run(&arguments, progress)?;
        if let Some(what) = not_as_asked(&said, request.calibration.is_some()) {
            return Err(failed(what.into()).into());
        }
        let plan = fs::read(&files.engine).map_err(|error| failed(format!("it wrote no engine: {error}")))?;
        Ok(Built { plan, version: self.version, gpu: gpu_in(&said) })
    }

    /// Runs it to its end, or until the listener stops it; what it said.
    fn run(&self, arguments: &[String], progress: &mut ProgressListener<'_>) -> Result<String, BuildError> {
        let io = |error: io::Error| missing(format!("{}: {error}", self.program.display()));
        let mut log = tempfile::tempfile().map_err(io)?;
        let child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io)?)
            .stderr(log.try_clone().map_err(io)?)
            .spawn();
        let mut child = Running(child.map_err(io)?);
        let status = loop {
            if let Some(status) = child.0.try_wait().map_err(io)? {
                break status;
            }
            if progress(Progress::Alive).is_break() {
                return Err(BuildError::Cancelled);
            }
            thread::sleep(PAUSE);
        };
        let said = read_log(&mut log).map_err(io)?;
        if status.success() {
            return Ok(said);
        }
        // Ctrl-C in a terminal reaches it as well, and maybe before us.
        if was_interrupted(status) || matches!(progress(Progress::Alive), ControlFlow::Break(())) {
            return Err(BuildError::Cancelled);
        }
        Err(failed(format!("trtexec of TensorRT {} failed: {}", self.version, complaint(&said, status)))
            .into())
    }
}

/// A process that does not outlive what waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended, which is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it reads and writes.
struct Files {
    onnx: PathBuf,
    calibration: PathBuf,
    engine: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Self {
        let at = |name| folder.join(name);
        Self { onnx: at("model.onnx"), calibration: at("cal.bin"), engine: at("model.engine") }
    }
}

/// The command line. `input` is the name and the image size of an input whose batch is open.
fn arguments(
    request: &Request,
    options: &EngineOptions,
    version: Version,
    input: Option<(&str, [usize; 3])>,
    layers: &[Layer],
    files: &Files,
) -> Result<Vec<String>, String> {
    let since = |major, minor| (version.major, version.minor) >= (major, minor);
    let mut all =
        vec![format!("--onnx={}", files.onnx.display()), format!("--saveEngine={}", files.engine.display())];
    if let Some((name, [channels, height, width])) = input {
        let batches =
            [("min", request.profile.min), ("opt", request.profile.opt), ("max", request.profile.max)];
        all.extend(
            batches.map(|(which, images)| {
                format!("--{which}Shapes={name}:{images}x{channels}x{height}x{width}")
            }),
        );
    }
    // From 11 on all networks are strongly typed.
    let typed = if since(11, 0) { 0 } else { abi::STRONGLY_TYPED };
    let flags = [
        (abi::FP16, "--fp16"),
        (abi::INT8, "--int8"),
        (abi::NO_TF32, "--noTF32"),
        (typed, "--stronglyTyped"),
    ];
    all.extend(
        flags.iter().filter(|(flag, _)| request.flags & flag != 0).map(|(_, word)| (*word).to_owned()),
    );
    if request.calibration.is_some() {
        all.push(format!("--calib={}", files.calibration.display()));
    }
    let fixed = layer_precisions(request, options, layers)?;
    if !fixed.is_empty() {
        let how = if request.flags & abi::OBEY != 0 { "obey" } else { "prefer" };
        let list = |fixed: &[&Fixed]| {
            let words: Vec<String> =
                fixed.iter().map(|of| format!("{}:{}", of.layer, of.precision)).collect();
            words.join(",")
        };
        all.push(format!("--precisionConstraints={how}"));
        all.push(format!("--layerPrecisions={}", list(&fixed.iter().collect::<Vec<_>>())));
        let outputs: Vec<&Fixed> = fixed.iter().filter(|of| of.output).collect();
        if !outputs.is_empty() {
            all.push(format!("--layerOutputTypes={}", list(&outputs)));
        }
    }
    if let Some(mib) = options.workspace.map(|bytes| bytes >> 20).filter(|mib| *mib > 0) {
        all.push(if since(8, 4) {
            format!("--memPoolSize=workspace:{mib}")
        } else {
            format!("--workspace={mib}")
        });
    }
    match options.device {
        Device::Dla(core) => all.extend([format!("--useDLACore={core}"), "--allowGPUFallback".into()]),
        Device::TensorRt(gpu) => all.push(format!("--device={gpu}")),
        Device::Cpu | Device::Cuda(_) => {
            return Err("trtexec builds for an NVIDIA GPU or DLA; choose such a device".into());
        }
    }
    let plugin = if since(8, 6) { "--staticPlugins" } else { "--plugins" };
    all.extend(options.plugins.iter().map(|path| format!("{plugin}={}", path.display())));
    if let Some(folder) = &options.cache_dir {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        all.push(format!("--timingCacheFile={}", folder.join(format!("trtexec_{version}.cache")).display()));
    }
    all.push(if since(8, 6) { "--skipInference" } else { "--buildOnly" }.into());
    Ok(all)
}

/// A layer whose precision is fixed.
struct Fixed<'a> {
    layer: &'a str,
    precision: &'static str,
    /// And that of what it gives.
    output: bool,
}

/// The layers whose precision is fixed, as the shim fixes them.
fn layer_precisions<'a>(
    request: &Request,
    options: &EngineOptions,
    layers: &'a [Layer],
) -> Result<Vec<Fixed<'a>>, String> {
    let float = |layer: &&Layer| options.float_layers.iter().any(|name| layer.belongs_to(name));
    let unknown = options.float_layers.iter().find(|name| !layers.iter().any(|layer| layer.belongs_to(name)));
    if let Some(name) = unknown {
        return Err(format!("there is no layer `{name}` to keep in float"));
    }
    let word = |precision: i32| match precision {
        abi::HALF => "fp16",
        abi::INT8_TENSOR => "int8",
        _ => "fp32",
    };
    let mut fixed = Vec::new();
    for layer in layers {
        let (precision, output) = if float(&layer) && !layer.is_constant() {
            (request.float_type, true)
        } else if layer.is_convolution() && request.convolution_type != abi::OTHER && !float(&layer) {
            (request.convolution_type, false)
        } else {
            continue;
        };
        if layer.name.contains([',', ':', '*']) {
            return Err(format!(
                "trtexec cannot be told of a layer `{}`; --builder tensorrt can",
                layer.name
            ));
        }
        fixed.push(Fixed { layer: &layer.name, precision: word(precision), output });
    }
    Ok(fixed)
}

/// What it did otherwise than it was asked, though it does not call that a failure.
fn not_as_asked(said: &str, has_ranges: bool) -> Option<&'static str> {
    // Of a cache with another header it makes its own, of random numbers.
    let calibrated = ["Starting Calibration", "Calibrated batch"].iter().any(|words| said.contains(words));
    if has_ranges && calibrated {
        return Some(
            "trtexec passed over the calibration cache and made up ranges: it and its library are of different versions",
        );
    }
    let slow = said.contains("without native FP16 support") || said.contains("without native Int8 support");
    slow.then_some("this device does not compute fast in the precision that was asked for")
}

fn was_interrupted(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(2);
    #[cfg(not(unix))]
    false
}

fn failed(reason: String) -> PrepareError {
    PrepareError { backend: NAME, reason }
}

fn missing(missing: String) -> Unavailable {
    Unavailable { backend: NAME, missing }
}

fn version_in(said: &str) -> Option<Version> {
    let (_, number) = said.split_once(BANNER)?;
    let (number, _) = number.split_once(']')?;
    let version = TensorRtVersion::from_number(number.parse().ok()?)?;
    let [major, minor, patch] = version.numbers();
    Some(Version { major, minor, patch })
}

/// `NAME (sm_87)` of its device information.
fn gpu_in(said: &str) -> Option<String> {
    let value = |label: &str| said.lines().find_map(|line| Some(line.split_once(label)?.1.trim()));
    let (name, capability) = (value("Selected Device: ")?, value("Compute Capability: ")?);
    Some(format!("{name} (sm_{})", capability.replace('.', "")))
}

/// The first errors it told; of one that told none, its last line.
fn complaint(said: &str, status: ExitStatus) -> String {
    let errors: Vec<&str> =
        said.lines().filter_map(|line| Some(line.split_once("[E] ")?.1)).take(3).collect();
    if !errors.is_empty() {
        return errors.join("; ");
    }
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(|| status.to_string(), |line| format!("{status}: {line}"))
}

fn read_log(log: &mut File) -> io::Result<String> {
    log.rewind()?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_of_itself_is_read() {
        let help = "&&&& RUNNING TensorRT.trtexec [TensorRT v8503] # trtexec --help\n=== Model Options ===\n";
        assert_eq!(version_in(help).unwrap().to_string(), "8.5.3");
        let help = "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b26] # trtexec --help\n";
        assert_eq!(version_in(help).unwrap().to_string(), "10.3.0");
        assert_eq!(version_in("usage: trtexec"), None);
        let log = "[01/02/2026-03:04:05] [I] Selected Device: Orin\n[01/02/2026-03:04:05] [I] Compute Capability: 8.7\n";
        assert_eq!(gpu_in(log).as_deref(), Some("Orin (sm_87)"));
        assert_eq!(gpu_in("[I] Selected Device: Orin\n"), None);
        let failed = ExitStatus::default();
        assert_eq!(
            complaint("[x] [I] hello\n[x] [E] no such op\n[x] [E] failed\n", failed),
            "no such op; failed"
        );
        let log = "[I] [TRT] Starting Calibration.\n[I] [TRT]   Calibrated batch 0 in 0.1 seconds.\n";
        assert!(not_as_asked(log, true).is_some_and(|what| what.contains("made up ranges")));
        assert_eq!(
            not_as_asked("[I] [TRT] Reading Calibration Cache for calibrator: EntropyCalibration2\n", true),
            None
        );
        let log = "[W] [TRT] Half2 support requested on hardware without native FP16 support, performance will be negatively affected.\n";
        assert!(not_as_asked(log, false).is_some_and(|what| what.contains("does not compute fast")));
        assert!(complaint("hello\n\n", failed).ends_with(": hello"));
    }
}
