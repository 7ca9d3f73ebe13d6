//! Tells the tests whether there is a Python with the peer tools (`cfg(peers)`).

fn main() {
    println!("cargo::rustc-check-cfg=cfg(peers)");
    println!("cargo::rerun-if-env-changed=OXIDET_PEERS_PYTHON");
    if std::env::var_os("OXIDET_PEERS_PYTHON").is_some() {
        println!("cargo::rustc-cfg=peers");
    }
}
