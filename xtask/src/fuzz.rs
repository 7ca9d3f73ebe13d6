//! Fuzzing of all readers, one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::aarch64::target_dir;

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "only names and seeds are needed; the fuzzer runs the targets")]
mod targets;

/// Fuzzes the readers, from seeds and, where ../shared is, from real files. Needs a nightly toolchain and `cargo install cargo-fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Targets; all of them if none is named
    targets: Vec<String>,
    /// For how long, each
    #[arg(long, default_value_t = 1800)]
    seconds: u32,
}

/// Where real files for a target are, below ../shared.
const REAL: [(&str, &str); 6] = [
    ("cache", "calib"),
    ("images", "data"),
    ("kitti", "data"),
    ("prototxt", "specs"),
    ("scales", "calib"),
    ("coco", "data"),
];

/// Larger files only slow the fuzzer down.
const LARGEST: u64 = 64 << 10;
/// As many of each folder.
const MOST: usize = 60;

/// Runs the task.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let all = targets::TARGETS.map(|(name, _)| name);
    if let Some(name) = args.targets.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("there is no target {name}: {}", all.join(", "));
    }
    let chosen =
        all.into_iter().filter(|name| args.targets.is_empty() || args.targets.iter().any(|of| of == name));
    for name in chosen {
        let corpus = target_dir().join("fuzz-corpus").join(name);
        fs::create_dir_all(&corpus)?;
        let seeds = targets::seeds::seeds().into_iter().filter(|(target, _)| *target == name);
        for (number, (_, bytes)) in seeds.enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), bytes)?;
        }
        for (_, folder) in REAL.iter().filter(|(target, _)| *target == name) {
            for (number, path) in
                real(&root.join("../shared").join(folder)).into_iter().take(MOST).enumerate()
            {
                fs::copy(path, corpus.join(format!("real-{number}")))?;
            }
        }
        println!("{name}: {} seconds", args.seconds);
        let status = Command::new("cargo")
            .current_dir(root)
            .args(["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz", "--target-dir"])
            .arg(target_dir().join("fuzz"))
            .arg(name)
            .arg(&corpus)
            .args(["--", "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"])
            .arg(format!("-max_total_time={}", args.seconds))
            // cargo runs this with its own toolchain.
            .env_remove("RUSTUP_TOOLCHAIN")
            .status()?;
        ensure!(
            status.success(),
            "{name} found something: fuzz/artifacts/{name}; mend it, and keep the file in fuzz/regressions/{name}"
        );
    }
    Ok(())
}

/// Files in a folder and its folders that are small enough.
fn real(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let small = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LARGEST);
    let within = |path: PathBuf| {
        if path.is_dir() {
            real(&path)
        } else if small(&path) {
            vec![path]
        } else {
            Vec::new()
        }
    };
    paths.into_iter().flat_map(within).collect()
}
