//! Tells the tests whether the example data beside the repository is there (`cfg(shared_data)`).

fn main() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    println!("cargo::rustc-check-cfg=cfg(shared_data)");
    println!("cargo::rerun-if-changed={data}");
    if std::path::Path::new(data).is_dir() {
        println!("cargo::rustc-cfg=shared_data");
    }
}
