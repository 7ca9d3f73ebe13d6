//! What is given to others: a tarball for each processor, and their checksums.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use oxidet_proto::manifest::sha256_hex_of;

use crate::aarch64;

/// Builds the program for x86_64 (all of it) and aarch64 (what runs models), and packs each with licences, manual pages and completions. Needs
/// for aarch64 what `cargo xtask aarch64` needs.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for the tarballs
    #[arg(long, default_value = "target/dist-tarballs")]
    output: PathBuf,
    /// Only for the processor of this computer
    #[arg(long)]
    x86_64_only: bool,
}

/// Files of the repository that go along.
const BESIDE: [&str; 5] = ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let host = std::env::consts::ARCH;
    ensure!(host == "x86_64", "made on x86_64, not on {host}");
    fs::create_dir_all(&args.output)?;
    // The pages are those of the whole program, on either processor.
    let whole = build("x86_64-unknown-linux-gnu", &[], |_| {})?;
    let mut sums = String::new();
    for arch in ["x86_64", "aarch64"] {
        if args.x86_64_only && arch != "x86_64" {
            continue;
        }
        let program = if arch == "aarch64" {
            build(aarch64::TARGET, &["--no-default-features", "--features", "runtime"], aarch64::cross)?
        } else {
            whole.clone()
        };
        let tarball = pack(arch, &program, &whole, &args.output)?;
        let digest = sha256_hex_of(File::open(&tarball)?)?;
        let name = tarball.file_name().context("a name")?.to_string_lossy().into_owned();
        println!("{}: {:.1} MB", tarball.display(), fs::metadata(&tarball)?.len() as f64 / 1e6);
        sums.push_str(&format!("{digest}  {name}\n"));
    }
    // As sha256sum -c reads it.
    fs::write(args.output.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// Builds the program for a target, and tells where it is.
fn build(target: &str, features: &[&str], prepare: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--profile", "dist", "--locked", "--package", "oxidet-cli", "--target", target]);
    prepare(command.args(features));
    ensure!(command.status()?.success(), "no program for {target}");
    let program = aarch64::target_dir().join(target).join("dist/oxidet");
    if target == aarch64::TARGET {
        // The profile's `strip` does nothing for another processor.
        let status = Command::new(aarch64::STRIP).arg(&program).status()?;
        ensure!(status.success(), "{} failed", aarch64::STRIP);
    }
    Ok(program)
}

fn pack(arch: &str, program: &Path, whole: &Path, output: &Path) -> Result<PathBuf> {
    let name = format!("oxidet-{}-{arch}-linux", env!("CARGO_PKG_VERSION"));
    let staging = tempfile::tempdir()?;
    let folder = staging.path().join(&name);
    for part in ["man", "completions"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    for file in BESIDE {
        fs::copy(root.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    fs::copy(program, folder.join("oxidet"))?;
    std::os::unix::fs::symlink("oxidet", folder.join("yolo_v4"))?;
    let pages = Command::new(whole).arg("man").arg(folder.join("man")).output()?;
    ensure!(pages.status.success(), "no manual pages");
    for (shell, file) in [("bash", "oxidet.bash"), ("zsh", "_oxidet"), ("fish", "oxidet.fish")] {
        let script = Command::new(whole).args(["completions", shell]).output()?;
        ensure!(script.status.success(), "no completions for {shell}");
        fs::write(folder.join("completions").join(file), script.stdout)?;
    }
    let tarball = output.join(format!("{name}.tar.gz"));
    // The same files give the same bytes, whoever packs them.
    let status = Command::new("tar")
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mtime=@0",
            "--mode=u=rwX,go=rX",
        ])
        .args(["--use-compress-program=gzip -n", "-cf"])
        .arg(&tarball)
        .arg("-C")
        .arg(staging.path())
        .arg(&name)
        .status()?;
    ensure!(status.success(), "tar failed");
    Ok(tarball)
}
