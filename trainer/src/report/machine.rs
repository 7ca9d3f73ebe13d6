//! What a run was computed on.

use std::fs;
use std::thread::available_parallelism;

/// A machine in words: processor, its threads, instruction set, memory, system.
pub(super) fn describe() -> Vec<(&'static str, String)> {
    let processors = available_parallelism().map_or(1, usize::from);
    let threads = rayon::current_num_threads();
    let mut lines = vec![
        ("Processor", field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into())),
        ("Threads", format!("{threads} of {processors}")),
        ("Kernels", oxidet_compute::kernel::simd::level().name().into()),
    ];
    let memory =
        field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    lines.extend(memory.map(|kib| ("Memory", format!("{:.1} GiB", kib as f64 / f64::from(1 << 20)))));
    lines.push(("System", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)));
    lines
}

/// The first line `name : value` of a file of the kernel; other systems than Linux have none.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v.to_owned())
}
