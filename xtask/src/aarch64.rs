//! The program for a Jetson: built here, tested under emulation.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Of the same package.
pub const STRIP: &str = "aarch64-linux-gnu-strip";

/// Builds the program that runs models for aarch64 and tests it with qemu. Needs `rustup target add aarch64-unknown-linux-gnu`, and
/// of Debian gcc-aarch64-linux-gnu and qemu-user.
#[derive(clap::Args)]
pub struct Args {
    /// Only build
    #[arg(long)]
    no_tests: bool,
}

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    ensure!(has(LINKER), "{LINKER} is missing: apt-get install gcc-aarch64-linux-gnu");
    cargo(&["build", "--package", "oxidet-cli", "--no-default-features", "--features", "runtime"])?;
    let program = target_dir().join(TARGET).join("release/oxidet");
    let bytes = std::fs::metadata(&program).with_context(|| program.display().to_string())?.len();
    println!("{}: {:.1} MB", program.display(), bytes as f64 / 1e6);
    if args.no_tests {
        return Ok(());
    }
    ensure!(has("qemu-aarch64"), "qemu-aarch64 is missing: apt-get install qemu-user");
    let output = emulated(&program).arg("doctor").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout));
    cargo(&[
        "test",
        "--package",
        "oxidet-vision",
        "--package",
        "oxidet-compute",
        "--package",
        "oxidet-runtime",
        "--lib",
    ])
}

fn emulated(program: &Path) -> Command {
    let mut command = Command::new("qemu-aarch64");
    command.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program);
    command
}

fn cargo(args: &[&str]) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).args(["--release", "--locked", "--target", TARGET]);
    cross(&mut command);
    ensure!(command.status()?.success(), "cargo {} failed", args.join(" "));
    Ok(())
}

/// Tells cargo what links and what runs programs for aarch64.
pub fn cross(command: &mut Command) {
    command
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu")
        .env("CC_aarch64_unknown_linux_gnu", LINKER);
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from)
}
