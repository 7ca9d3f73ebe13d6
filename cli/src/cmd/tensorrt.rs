//! `oxidet tensorrt`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use oxidet_runtime::tensorrt::{BuiltShim, ShimBuild, build_shim};

use crate::console;
use crate::exit::Failure;

/// What TensorRT needs on a device
#[derive(Args, Debug)]
pub struct TensorRtArgs {
    #[command(subcommand)]
    command: TensorRtCommand,
}

#[derive(Debug, Subcommand)]
enum TensorRtCommand {
    #[command(name = "build-shim")]
    BuildShim(BuildShimArgs),
}

/// Compile the library through which oxidet uses the TensorRT that is installed, once on each device
#[derive(Args, Debug)]
#[command(after_help = "Needs a C++17 compiler and TensorRT's headers, which JetPack has.\n\nExamples:\n  \
    oxidet tensorrt build-shim\n  \
    oxidet tensorrt build-shim --include /opt/TensorRT-10.3/include --lib /opt/TensorRT-10.3/lib")]
struct BuildShimArgs {
    /// C++ compiler [default: $CXX, c++, g++ or clang++]
    #[arg(long, value_name = "PROGRAM")]
    compiler: Option<PathBuf>,
    /// Folder with NvInfer.h, NvOnnxParser.h or cuda_runtime_api.h, searched before the usual ones; may be repeated
    #[arg(long = "include", value_name = "DIR")]
    include_dirs: Vec<PathBuf>,
    /// Folder with libnvinfer.so, if it is not where the linker looks; may be repeated
    #[arg(long = "lib", value_name = "DIR")]
    library_dirs: Vec<PathBuf>,
    /// Folder for the library [default: the user's data folder, where it is found again]
    #[arg(short = 'o', long = "output_dir", value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub fn run(args: &TensorRtArgs) -> Result<(), Failure> {
    let TensorRtCommand::BuildShim(args) = &args.command;
    let build = ShimBuild {
        compiler: args.compiler.clone(),
        include_dirs: args.include_dirs.clone(),
        library_dirs: args.library_dirs.clone(),
        folder: args.folder.clone(),
    };
    let BuiltShim { path, version, headers, compiler, warnings } =
        build_shim(&build).map_err(|error| Failure::environment(error.to_string()))?;
    if !warnings.is_empty() {
        console::warn(&format!("the compiler says\n{warnings}"));
    }
    console::print(&format!(
        "{}: for TensorRT {version}, with the headers in {} and {compiler}",
        path.display(),
        headers.display()
    ));
    Ok(())
}
