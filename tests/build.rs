//! Tells the tests what there is: a Python with the peer tools (`cfg(peers)`), and what a fake TensorRT is built with, its headers and
//! a C++ compiler (`cfg(fake_tensorrt)`).

use std::env;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(peers)");
    println!("cargo::rerun-if-env-changed=OXIDET_PEERS_PYTHON");
    if env::var_os("OXIDET_PEERS_PYTHON").is_some() {
        println!("cargo::rustc-cfg=peers");
    }
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
