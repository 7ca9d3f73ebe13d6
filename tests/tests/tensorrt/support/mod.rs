//! A fake TensorRT, built against real headers, and what tests need around it.

pub mod cuda;
pub mod memory;
pub mod model;
mod stubs;

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use oxidet_runtime::TensorRt;
use oxidet_runtime::tensorrt::{Compiler, Headers, ShimBuild, Version, build_shim};

const SOURCES: [(&str, &str); 6] = [
    ("fake.h", include_str!("../../../fake_tensorrt/fake.h")),
    ("builder.cpp", include_str!("../../../fake_tensorrt/builder.cpp")),
    ("runtime.cpp", include_str!("../../../fake_tensorrt/runtime.cpp")),
    ("onnxparser.cpp", include_str!("../../../fake_tensorrt/onnxparser.cpp")),
    ("plugin.cpp", include_str!("../../../fake_tensorrt/plugin.cpp")),
    ("version.cpp", include_str!("../../../fake_tensorrt/version.cpp")),
];
const EXTRA: &str = include_str!("../../../fake_tensorrt/extra_plugin.cpp");

/// A fake TensorRT with its shim.
pub struct Fake {
    pub version: Version,
    pub shim: PathBuf,
    /// Where its libraries are.
    pub folder: PathBuf,
    /// A library with plugins of a user.
    pub plugins: PathBuf,
    pub headers: Headers,
}

/// Those for all headers that are named, and the newest one among them as an example.
pub fn fakes() -> &'static [Fake] {
    static FAKES: OnceLock<Vec<Fake>> = OnceLock::new();
    FAKES.get_or_init(|| {
        let folders = env::var_os("OXIDET_TRT_HEADERS").expect("tests that call this are ignored without it");
        let fakes: Vec<Fake> =
            env::split_paths(&folders).map(|folder| Fake::new(&headers(&folder), "own", None)).collect();
        assert!(!fakes.is_empty());
        fakes
    })
}

/// A folder of TensorRT's headers with CUDA's in it, above it or installed.
fn headers(folder: &Path) -> Headers {
    let above = folder.parent().unwrap().to_owned();
    Headers::find(&[folder.to_owned(), above]).unwrap_or_else(|error| panic!("{error}"))
}

impl Fake {
    /// A fake of its own, with a name of its own, whose library says that it is of a version, if one is given.
    pub fn new(headers: &Headers, tag: &str, library_version: Option<u32>) -> Self {
        let stubs = stubs::stubs(&headers.tensorrt);
        let hash = hash(&(SOURCES, EXTRA, &stubs, include_str!("mod.rs")));
        let of = |what: &str| format!("{}-{:08x}-{what}", headers.version, hash as u32);
        let (objects, folder) = (build_folder(&of("objects")), build_folder(&of(tag)));
        once(&objects, || {
            fs::write(objects.join("stubs.h"), &stubs).unwrap();
            for (name, text) in SOURCES.into_iter().chain([("extra_plugin.cpp", EXTRA)]) {
                fs::write(objects.join(name), text).unwrap();
            }
            compile(&objects, headers);
        });
        once(&folder, || {
            let object = |name: &str| objects.join(name).into_os_string();
            let version = folder.join("version.o").into_os_string();
            let mut command = compiler(headers);
            command.arg(object("version.cpp")).arg("-o").arg(&version);
            run(command.args(library_version.map(|number| format!("-DFAKE_VERSION={number}"))));
            let tag = of(tag);
            link(&folder, "nvinfer", &tag, &[object("builder.o"), object("runtime.o"), version]);
            link(&folder, "nvonnxparser", &tag, &[object("onnxparser.o"), "-lnvinfer".into()]);
            link(&folder, "nvinfer_plugin", &tag, &[object("plugin.o")]);
            link(&folder, "extra_plugin", &tag, &[object("extra_plugin.o")]);
        });
        let plugins = folder.join("libextra_plugin.so");
        let built = build_shim(&ShimBuild {
            include_dirs: vec![headers.tensorrt.clone(), headers.cuda.clone()],
            library_dirs: vec![folder.clone()],
            folder: Some(folder.join("shim")),
            ..ShimBuild::default()
        });
        let built = built.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((built.version, built.warnings.as_str()), (headers.version, ""));
        Self { version: headers.version, shim: built.path, folder, plugins, headers: headers.clone() }
    }

    /// The backend on this fake.
    pub fn backend(&self) -> TensorRt {
        TensorRt::new().with_shim(&self.shim).with_gpus(memory::HostGpus)
    }

    /// Objects of TensorRT that are not freed yet.
    pub fn live_objects(&self) -> i32 {
        let library = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("libnvinfer.so.");
        let path = library.into_iter().find(|path| name(path)).unwrap();
        // SAFETY: the fake, which is open already, has this function.
        unsafe {
            let library = libloading::Library::new(path).unwrap();
            library.get::<unsafe extern "C" fn() -> i32>("fake_live_objects").unwrap()()
        }
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hash = DefaultHasher::new();
    of.hash(&mut hash);
    hash.finish()
}

pub fn build_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tensorrt-{name}"))
}

/// Builds what a folder holds, if that is not done.
pub fn once(folder: &Path, build: impl FnOnce()) {
    if !folder.join("done").is_file() {
        fs::create_dir_all(folder).unwrap();
        build();
        fs::write(folder.join("done"), "").unwrap();
    }
}

fn compiler(headers: &Headers) -> Command {
    let mut command = Compiler::find(None).unwrap().command();
    command
        .args(["-std=c++17", "-fPIC", "-c", "-Wall", "-Wno-deprecated-declarations"])
        .args(headers.arguments());
    command
}

fn compile(folder: &Path, headers: &Headers) {
    thread::scope(|scope| {
        for name in ["builder", "runtime", "onnxparser", "plugin", "extra_plugin"] {
            scope.spawn(move || {
                let file = |extension| folder.join(name).with_extension(extension);
                run(compiler(headers).arg(file("cpp")).arg("-o").arg(file("o")));
            });
        }
    });
}

/// Libraries of one name are one library to the loader, so each has its own behind the name that the linker knows.
fn link(folder: &Path, name: &str, tag: &str, parts: &[OsString]) {
    let real = format!("lib{name}.so.{tag}");
    let mut command = Compiler::find(None).unwrap().command();
    command.current_dir(folder).args(["-shared", "-L.", "-Wl,-rpath,$ORIGIN", "-Wl,-Bsymbolic"]);
    command.arg(format!("-Wl,-soname,{real}")).arg("-o").arg(&real).args(parts);
    run(&mut command);
    let link = folder.join(format!("lib{name}.so"));
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&real, &link).unwrap();
}

pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
    assert_eq!(said, "", "{command:?}");
}
