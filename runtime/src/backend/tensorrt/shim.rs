//! Building the shim: its source is in this program, TensorRT's headers and a C++ compiler are on the device.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Version;
use super::library::{data_folder, shim_file_name};

/// The source of the shim: file names and their content.
pub const SHIM_SOURCES: [(&str, &str); 4] = [
    ("oxidet_trt.h", include_str!("../../../shim/oxidet_trt.h")),
    ("oxidet_trt_internal.h", include_str!("../../../shim/oxidet_trt_internal.h")),
    ("oxidet_trt.cpp", include_str!("../../../shim/oxidet_trt.cpp")),
    ("oxidet_trt_build.cpp", include_str!("../../../shim/oxidet_trt_build.cpp")),
];

/// Where packages and archives of NVIDIA's put TensorRT's headers.
const USUAL_HEADERS: [&str; 6] = [
    "/usr/include/aarch64-linux-gnu",
    "/usr/include/x86_64-linux-gnu",
    "/usr/include",
    "/usr/local/tensorrt/include",
    "/usr/local/TensorRT/include",
    "/opt/tensorrt/include",
];

/// Where CUDA's are.
const USUAL_CUDA: [&str; 4] = [
    "/usr/local/cuda/include",
    "/usr/local/cuda/targets/aarch64-linux/include",
    "/usr/local/cuda/targets/x86_64-linux/include",
    "/usr/include",
];

/// How the shim is to be built. The default looks in the usual places.
#[derive(Clone, Debug, Default)]
pub struct ShimBuild {
    /// The C++ compiler; `$CXX`, `c++`, `g++` or `clang++` where none is named.
    pub compiler: Option<PathBuf>,
    /// Folders with `NvInfer.h`, `NvOnnxParser.h` and `cuda_runtime_api.h`, searched before the usual ones.
    pub include_dirs: Vec<PathBuf>,
    /// Folders with `libnvinfer.so`, `libnvinfer_plugin.so` and `libnvonnxparser.so`, if they are not where the linker looks. The
    /// shim remembers them.
    pub library_dirs: Vec<PathBuf>,
    /// Where the shim goes; the user's data folder, where it is found again, if none is named.
    pub folder: Option<PathBuf>,
}

/// A shim that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltShim {
    /// The library.
    pub path: PathBuf,
    /// Version of the headers.
    pub version: Version,
    /// Where they are.
    pub headers: PathBuf,
    /// What the compiler calls itself.
    pub compiler: String,
    /// Its warnings; there should be none.
    pub warnings: String,
}

/// A shim that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// No compiler.
    #[error("no C++ compiler: tried {tried}; install one (apt install g++), or name it with CXX")]
    NoCompiler {
        /// What was tried.
        tried: String,
    },
    /// No headers.
    #[error("there is no {file} in {looked}; install {package}, or name its folder")]
    NoHeaders {
        /// The header.
        file: &'static str,
        /// Folders it was looked for in.
        looked: String,
        /// What has it.
        package: &'static str,
    },
    /// A version that the shim does not know.
    #[error("{}: TensorRT {version}; the shim needs 8.5 or later", folder.display())]
    TooOld {
        /// Folder of the headers.
        folder: PathBuf,
        /// Their version.
        version: Version,
    },
    /// The compiler refuses.
    #[error("the shim does not compile{advice}\n{command}\n{output}")]
    Compile {
        /// What to do, if it is known.
        advice: &'static str,
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nowhere to put it.
    #[error("neither XDG_DATA_HOME nor HOME names a folder for the shim; name one")]
    NoFolder,
}

/// A C++ compiler: a program, and arguments that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    program: OsString,
    arguments: Vec<OsString>,
    /// What it calls itself.
    pub version: String,
}

impl Compiler {
    /// The one that is named, or the first of `$CXX`, `c++`, `g++` and `clang++` that runs.
    ///
    /// # Errors
    /// [`ShimError::NoCompiler`]
    pub fn find(named: Option<&Path>) -> Result<Self, ShimError> {
        let of_environment = env::var("CXX").ok().filter(|text| !text.trim().is_empty());
        let candidates: Vec<Vec<OsString>> = match (named, of_environment) {
            (Some(path), _) => vec![vec![path.into()]],
            // As make does: `ccache g++` is two words.
            (None, Some(text)) => vec![text.split_whitespace().map(OsString::from).collect()],
            (None, None) => ["c++", "g++", "clang++"].map(|name| vec![name.into()]).into(),
        };
        for words in &candidates {
            if let Some((program, arguments)) = words.split_first()
                && let Ok(output) = Command::new(program).args(arguments).arg("--version").output()
                && output.status.success()
            {
                let text = String::from_utf8_lossy(&output.stdout);
                let version = text.lines().next().unwrap_or_default().to_owned();
                return Ok(Self { program: program.clone(), arguments: arguments.to_vec(), version });
            }
        }
        let tried: Vec<String> =
            candidates.iter().map(|words| words.join(" ".as_ref()).to_string_lossy().into_owned()).collect();
        Err(ShimError::NoCompiler { tried: tried.join(", ") })
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// Folders of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// TensorRT's.
    pub tensorrt: PathBuf,
    /// CUDA's.
    pub cuda: PathBuf,
    /// Version of TensorRT.
    pub version: Version,
}

impl Headers {
    /// Those in the folders named, or in the usual ones.
    ///
    /// # Errors
    /// [`ShimError::NoHeaders`], [`ShimError::TooOld`]
    pub fn find(named: &[PathBuf]) -> Result<Self, ShimError> {
        let search = |file, usual: &[&str], package| {
            let folders: Vec<PathBuf> =
                named.iter().cloned().chain(usual.iter().map(PathBuf::from)).collect();
            let found = folders.iter().find(|folder| folder.join(file).is_file()).cloned();
            found.ok_or_else(|| {
                let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
                ShimError::NoHeaders { file, looked: looked.join(", "), package }
            })
        };
        // Named headers are not mixed with others that are installed.
        let usual = if named.iter().any(|folder| folder.join("NvInfer.h").is_file()) {
            &[][..]
        } else {
            &USUAL_HEADERS
        };
        let tensorrt = search("NvInfer.h", usual, "TensorRT's headers (JetPack, Debian: libnvinfer-dev)")?;
        search("NvInferPlugin.h", usual, "TensorRT's plugin headers (libnvinfer-plugin-dev)")?;
        search("NvOnnxParser.h", usual, "TensorRT's ONNX parser (libnvonnxparsers-dev)")?;
        let cuda =
            search("cuda_runtime_api.h", &USUAL_CUDA, "CUDA's headers (JetPack, Debian: cuda-cudart-dev-*)")?;
        let version = Version::of_headers(&tensorrt).ok_or_else(|| ShimError::NoHeaders {
            file: "NvInferVersion.h with a version",
            looked: tensorrt.display().to_string(),
            package: "TensorRT's headers again",
        })?;
        if (version.major, version.minor) < (8, 5) {
            return Err(ShimError::TooOld { folder: tensorrt, version });
        }
        Ok(Self { tensorrt, cuda, version })
    }

    /// Arguments of the compiler that make them the headers of the system, whose warnings are not ours.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for folder in [&self.tensorrt, &self.cuda] {
            // Naming a folder that is searched anyway would change the order, and break the standard library.
            if !folder.starts_with("/usr/include") {
                arguments.extend(["-isystem".into(), folder.clone().into_os_string()]);
            }
        }
        arguments
    }
}

/// Compiles the shim against the headers that are installed here, and puts it where it is found. The file appears whole or not at all.
///
/// # Errors
/// [`ShimError`] says what is missing, and how to get it.
pub fn build_shim(options: &ShimBuild) -> Result<BuiltShim, ShimError> {
    let compiler = Compiler::find(options.compiler.as_deref())?;
    let headers = Headers::find(&options.include_dirs)?;
    let folder = options.folder.clone().or_else(data_folder).ok_or(ShimError::NoFolder)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ShimError::Io { path, source }
    };
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let work = tempfile::Builder::new().prefix(".oxidet-shim").tempdir_in(&folder).map_err(io(&folder))?;
    for (name, text) in SHIM_SOURCES {
        let path = work.path().join(name);
        fs::write(&path, text).map_err(io(&path))?;
    }
    let made = work.path().join(shim_file_name());
    let mut command = compiler.command();
    command.args(["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wl,--no-undefined"]);
    command.args(headers.arguments()).arg("-o").arg(&made);
    let parts = SHIM_SOURCES.iter().filter(|(name, _)| name.ends_with(".cpp"));
    command.args(parts.map(|(name, _)| work.path().join(name)));
    for folder in library_dirs(options, &headers) {
        let mut run_path = OsString::from("-Wl,-rpath,");
        run_path.push(&folder);
        command.arg("-L").arg(&folder).arg(run_path);
    }
    command.args(["-lnvinfer", "-lnvinfer_plugin", "-lnvonnxparser", "-ldl", "-lpthread"]);
    let output = command.output().map_err(io(Path::new(&compiler.program)))?;
    let said = said(&output);
    if !output.status.success() {
        return Err(ShimError::Compile { advice: advice(&said), command: shown(&command), output: said });
    }
    let path = folder.join(shim_file_name());
    fs::rename(&made, &path).map_err(io(&path))?;
    Ok(BuiltShim {
        path,
        version: headers.version,
        headers: headers.tensorrt,
        compiler: compiler.version,
        warnings: said,
    })
}

/// Those named, and the one beside the headers of an archive.
fn library_dirs(options: &ShimBuild, headers: &Headers) -> Vec<PathBuf> {
    let beside = headers.tensorrt.parent().map(|folder| folder.join("lib"));
    let beside =
        beside.filter(|folder| folder != Path::new("/usr/lib") && folder.join("libnvinfer.so").is_file());
    options.library_dirs.iter().cloned().chain(beside).collect()
}

fn said(output: &Output) -> String {
    let text =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    text.trim().to_owned()
}

fn advice(said: &str) -> &'static str {
    if said.contains("-lnvinfer") || said.contains("-lnvonnxparser") {
        ": the linker does not find TensorRT's libraries; install libnvinfer-dev, libnvinfer-plugin-dev and \
        libnvonnxparsers-dev, or name their folder"
    } else if said.contains("std=c++17") {
        ": the compiler is too old for C++17"
    } else {
        ""
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let dir = tempfile::tempdir().unwrap();
        let error = Compiler::find(Some(Path::new("/no/such/c++"))).unwrap_err().to_string();
        assert!(error.contains("/no/such/c++") && error.contains("apt install g++"), "{error}");
        fs::write(dir.path().join("NvInfer.h"), "").unwrap();
        fs::write(dir.path().join("NvInferPlugin.h"), "").unwrap();
        let error = Headers::find(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no NvOnnxParser.h") && error.contains("libnvonnxparsers-dev"), "{error}");
        for file in ["NvOnnxParser.h", "cuda_runtime_api.h"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let version =
            "#define NV_TENSORRT_MAJOR 8\n#define NV_TENSORRT_MINOR 4\n#define NV_TENSORRT_PATCH 1\n";
        fs::write(dir.path().join("NvInferVersion.h"), version).unwrap();
        let error = Headers::find(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("TensorRT 8.4.1; the shim needs 8.5"), "{error}");
    }
}
