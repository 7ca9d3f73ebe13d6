//! What the program is made of may be given to anybody: licences and sources of all dependencies, by the list in `deny.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All packages that are compiled here. (Those for other systems need not be on this computer.)
fn packages() -> Vec<Value> {
    let rustc = Command::new("rustc").arg("-vV").current_dir(root()).output().expect("rustc runs");
    let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

/// The strings of a list in `deny.toml`.
fn allowed() -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let list =
        text.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).expect("a list of licences");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn licences_and_sources_are_those_we_allow() {
    let allowed = allowed();
    assert!(allowed.contains(&"MIT".to_owned()), "{allowed:?}");
    let mut refused = BTreeMap::new();
    let packages = packages();
    for package in &packages {
        let name = format!("{} {}", package["name"], package["version"]);
        // Ours have no source.
        if let Some(source) = package["source"].as_str()
            && source != REGISTRY
        {
            refused.insert(name.clone(), format!("comes from {source}"));
        }
        let licence = package["license"].as_str().unwrap_or_default();
        let is_allowed = Expression::parse_mode(licence, ParseMode::LAX)
            .is_ok_and(|licence| licence.evaluate(|wanted| allowed.contains(&wanted.to_string())));
        if !is_allowed {
            refused.insert(name, format!("licence {licence:?}"));
        }
    }
    assert!(packages.len() > 100, "only {} packages", packages.len());
    assert!(refused.is_empty(), "{refused:#?}");
}
