//! A fake of CUDA's driver for this process.

use std::fs;
use std::sync::OnceLock;

use oxidet_runtime::tensorrt::Compiler;

use super::{build_folder, once, run};

const SOURCE: &str = include_str!("../../../fake_cuda/cuda.cpp");

/// Builds it and opens it: whoever asks the loader for `libcuda.so.1` from now on gets it.
pub fn open() -> &'static libloading::Library {
    static OPEN: OnceLock<libloading::Library> = OnceLock::new();
    OPEN.get_or_init(|| {
        let folder = build_folder(&format!("cuda-{:08x}", super::hash(&SOURCE) as u32));
        let library = folder.join("libcuda.so.1");
        once(&folder, || {
            let source = folder.join("cuda.cpp");
            fs::write(&source, SOURCE).unwrap();
            let mut command = Compiler::find(None).unwrap().command();
            command.args([
                "-std=c++17",
                "-fPIC",
                "-shared",
                "-Wall",
                "-Wextra",
                "-Wl,-soname,libcuda.so.1",
                "-o",
            ]);
            run(command.arg(&library).arg(&source));
        });
        // SAFETY: it has no initialisers but those of the C++ library.
        unsafe { libloading::Library::new(&library) }.unwrap()
    })
}

/// How many graphs it has launched.
pub fn graph_launches() -> i32 {
    // SAFETY: the fake has this function.
    unsafe { open().get::<unsafe extern "C" fn() -> i32>("fake_graph_launches").unwrap()() }
}

/// Whether it makes none from now on.
pub fn refuse_graphs(refuse: bool) {
    // SAFETY: as above.
    unsafe { open().get::<unsafe extern "C" fn(i32)>("fake_refuse_graphs").unwrap()(refuse.into()) }
}
