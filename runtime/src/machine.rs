//! The computer that things were measured on.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::backend::processor;

/// What a figure of speed has to be read beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Name of the processor, where the system tells.
    pub processor: Option<String>,
    /// Cores that this program may use.
    pub cores: usize,
    /// Architecture and system: `x86_64 linux`.
    pub platform: String,
    /// Name of the board, of a Jetson.
    pub board: Option<String>,
    /// Power mode of a Jetson, as `nvpmodel -q` has it.
    pub power_mode: Option<String>,
}

impl Machine {
    /// This computer.
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let cpu_info = read("/proc/cpuinfo").unwrap_or_default();
        let processor = ["model name", "Model"].iter().find_map(|key| value(&cpu_info, key, ':'));
        let board = read("/proc/device-tree/model").map(|name| name.trim_end_matches('\0').to_owned());
        let power_mode = board.as_ref().and_then(|_| {
            let told = Command::new("nvpmodel").arg("-q").output().ok()?;
            value(&String::from_utf8_lossy(&told.stdout), "NV Power Mode", ':')
        });
        Self {
            processor,
            cores: processor::cores(),
            platform: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            board,
            power_mode,
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [
            self.board.clone(),
            self.processor.clone(),
            Some(format!("{} cores", self.cores)),
            Some(self.platform.clone()),
            self.power_mode.as_ref().map(|mode| format!("power mode {mode}")),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What stands behind a key at the beginning of a line.
fn value(text: &str, key: &str, separator: char) -> Option<String> {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(separator));
    found.map(|value| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_at_the_beginning_of_lines() {
        let text = "vendor_id\t: X\nmodel name\t: Cortex A78\n";
        assert_eq!(value(text, "model name", ':').as_deref(), Some("Cortex A78"));
        assert_eq!(value("NV Power Mode: MAXN\n0\n", "NV Power Mode", ':').as_deref(), Some("MAXN"));
        assert_eq!(value(text, "Model", ':'), None);
    }
}
