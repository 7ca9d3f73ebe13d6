//! Tells the tests whether there is a C compiler (`cfg(c_compiler)`).

use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(c_compiler)");
    println!("cargo::rerun-if-changed=build.rs");
    if Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("cargo::rustc-cfg=c_compiler");
    }
}
