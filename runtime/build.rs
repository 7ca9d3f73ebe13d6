//! Tells the tests whether they can build a fake TensorRT (`cfg(fake_tensorrt)`): with its headers, and a C++ compiler.

use std::env;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(fake_tensorrt)");
    println!("cargo::rerun-if-env-changed=OXIDET_TRT_HEADERS");
    println!("cargo::rerun-if-env-changed=CXX");
    let headers = env::var_os("OXIDET_TRT_HEADERS").is_some_and(|folders| !folders.is_empty());
    if headers && has_compiler() {
        println!("cargo::rustc-cfg=fake_tensorrt");
    }
}

fn has_compiler() -> bool {
    let named = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut words = named.split_whitespace();
    let Some(program) = words.next() else { return false };
    let mut command = Command::new(program);
    command.args(words).arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
