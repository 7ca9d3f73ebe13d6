//! The guide, walked as its reader walks it: every shell block of its pages runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The page whose folder the others start from.
const FIRST: &str = "first-model.md";

#[test]
fn every_command_of_the_guide_runs() {
    if cfg!(not(unix)) {
        return;
    }
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
    let mut pages: Vec<PathBuf> = fs::read_dir(&guide).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.file_name().is_some_and(|name| name != FIRST));
    pages.sort();
    let temp = tempfile::tempdir().unwrap();
    let first = temp.path().join("first");
    fs::create_dir(&first).unwrap();
    walk(&guide.join(FIRST), &first, FIRST_EPOCHS);
    let mut commands = 0;
    for page in pages {
        let folder = temp.path().join(page.file_stem().unwrap());
        let copied = Command::new("cp").arg("-r").args([&first, &folder]).status().unwrap();
        assert!(copied.success());
        commands += walk(&page, &folder, 1);
    }
    assert!(commands > 20, "only {commands} blocks in the guide");
}

/// Epochs of the first model, enough for it to see something; what else the pages train gets one.
const FIRST_EPOCHS: u32 = 14;
/// Keeps the first 60 pictures to learn from.
const FEWER_PICTURES: &str = "rm shapes/data/train/{images,labels}/{1??,0[6-9]?}.*\n";

/// Runs the blocks of a page in a folder; returns how many there are. What is tried are the commands, not what the networks learn:
/// every spec is cut to `epochs` before a command reads it.
fn walk(page: &Path, folder: &Path, epochs: u32) -> usize {
    let text = fs::read_to_string(page).unwrap();
    let blocks = blocks(&text);
    for block in &blocks {
        let mut script = format!(
            "set -eu -o pipefail\ncut() {{ {{ grep -rlZ --include='*.txt' num_epochs . || true; }} | xargs -0 -r sed -i -E \\\n  \
             's/num_epochs: *[0-9]+/num_epochs: {epochs}/; s/checkpoint_interval: *[0-9]+/checkpoint_interval: {epochs}/'; }}\n"
        );
        for line in block.lines() {
            if line.starts_with("oxidet") || line.starts_with("yolo_v4") {
                script.push_str("cut\n");
            }
            script.push_str(&line.replace("_epoch_026", &format!("_epoch_{FIRST_EPOCHS:03}")));
            script.push('\n');
            if line.starts_with("oxidet demo --data-only") {
                script.push_str(FEWER_PICTURES);
            }
        }
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(folder)
            .env("PATH", path())
            .env_remove("OXIDET_KEY")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}\n{script}\n{}\n{}",
            page.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    blocks.len()
}

/// What stands between "```sh" and "```".
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while lines.any(|line| line == "```sh") {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n"));
    }
    blocks
}

/// The search path, with this program first.
fn path() -> std::ffi::OsString {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_oxidet"));
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::iter::once(program.parent().unwrap().to_owned()).chain(std::env::split_paths(&folders));
    std::env::join_paths(folders).unwrap()
}
