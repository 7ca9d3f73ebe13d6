//! Compiles TensorRT's shim against headers, with warnings as errors.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use oxidet_runtime::tensorrt::{Compiler, Headers, SHIM_SOURCES};

/// The crate that has headers of TensorRT in its sources, its version, and where.
const CRATE: (&str, &str, &str) = ("trtx-sys", "0.9.1", "TensorRT-Headers");

/// Compile the shim of the tensorrt backend against headers, one line a version.
#[derive(clap::Args)]
pub struct Args {
    /// Folders with NvInfer.h and NvOnnxParser.h; cuda_runtime_api.h in them, above them or installed
    #[arg(long, value_name = "DIR", num_args = 1..)]
    headers: Vec<PathBuf>,
    /// Also against the headers of TensorRT 11.4 in the sources of the crate trtx-sys, which cargo fetches
    #[arg(long)]
    from_crate: bool,
    /// Print the folders, as OXIDET_TRT_HEADERS takes them, and compile nothing
    #[arg(long)]
    print: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut folders = args.headers.clone();
    if args.from_crate {
        folders.push(of_crate()?);
    }
    ensure!(!folders.is_empty(), "--headers DIR or --from-crate says what to compile against");
    if args.print {
        println!("{}", std::env::join_paths(folders)?.display());
        return Ok(());
    }
    let compiler = Compiler::find(None)?;
    println!("{}", compiler.version);
    let mut failed = 0;
    for folder in &folders {
        match check(&compiler, folder) {
            Ok(version) => println!("TensorRT {version}: compiles without warnings ({})", folder.display()),
            Err(error) => {
                failed += 1;
                println!("{}: {error:#}", folder.display());
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} headers refuse the shim", folders.len());
    Ok(())
}

fn check(compiler: &Compiler, folder: &Path) -> anyhow::Result<String> {
    let above = folder.parent().map(Path::to_owned);
    let headers = Headers::find(&std::iter::once(folder.to_owned()).chain(above).collect::<Vec<_>>())?;
    let work = tempfile::tempdir()?;
    for (name, text) in SHIM_SOURCES {
        fs::write(work.path().join(name), text)?;
    }
    for (name, _) in SHIM_SOURCES.iter().filter(|(name, _)| name.ends_with(".cpp")) {
        let mut command = compiler.command();
        command.args(["-std=c++17", "-O2", "-fPIC", "-c", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        command
            .args(headers.arguments())
            .arg(work.path().join(name))
            .arg("-o")
            .arg(work.path().join("part.o"));
        let output = command.output()?;
        if !output.status.success() {
            bail!("TensorRT {}\n{}", headers.version, String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(headers.version.to_string())
}

/// Fetches the crate with a manifest that is thrown away, so that it is no dependency of ours, and finds its newest headers.
fn of_crate() -> anyhow::Result<PathBuf> {
    let (name, version, headers) = CRATE;
    let work = tempfile::tempdir()?;
    let manifest = work.path().join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"headers\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
        [dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    fs::write(&manifest, text)?;
    fs::write(work.path().join("lib.rs"), "")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    // `metadata` fetches as well, and tells where to.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .context("cargo does not run")?;
    ensure!(output.status.success(), "cargo: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let folder =
        Path::new(manifest.with_context(|| format!("cargo knows no {name}"))?).with_file_name(headers);
    let folders = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut found = Vec::new();
    for entry in folders {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("TRT-Enterprise-")) {
            found.push(path);
        }
    }
    found.into_iter().max().with_context(|| format!("{}: no headers of TensorRT", folder.display()))
}
