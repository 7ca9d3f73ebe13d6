//! Finding and opening the shared library of ONNX Runtime.

use std::env;
use std::ffi::CStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

/// The oldest version that is understood, of API 17.
pub const OLDEST: &str = "1.17";

/// An opened ONNX Runtime. A process can open one.
#[derive(Clone, Debug)]
pub struct Library {
    path: PathBuf,
    version: String,
    environment: Environment,
}

static OPENED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// Opens the library at `path`; without one, the first that is found: `ORT_DYLIB_PATH`, beside the program, where the
    /// dynamic loader looks, in Python environments.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let path = match path {
            Some(path) if path.is_file() => path.to_owned(),
            Some(path) => return Err(format!("{}: no such file", path.display())),
            None => find()?,
        };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(library) if library.path == path => return Ok(library.clone()),
            Some(library) => {
                return Err(format!(
                    "{} is open already, and a process can hold one",
                    library.path.display()
                ));
            }
            None => {}
        }
        let version = version(&path)?;
        let builder =
            ort::init_from(&path).map_err(|error| format!("{error} ({OLDEST} or later is needed)"))?;
        // What goes wrong comes back as an error; on the side it writes of devices that nobody asked for.
        let quiet = Arc::new(|_: LogLevel, _: &str, _: &str, _: &str, _: &str| {});
        let environment = builder.with_name("oxidet").with_telemetry(false).with_logger(quiet).build();
        let environment = environment.map_err(|error| error.to_string())?;
        let library = Self { path, version, environment };
        Ok(opened.insert(library).clone())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What it says about how it was built: branch, commit, flags.
    pub fn build_info(&self) -> &'static str {
        ort::info()
    }

    /// Its version: `1.27.0`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Asks a library for its version. `ort` does, too, but keeps it for itself.
fn version(path: &Path) -> Result<String, String> {
    // SAFETY: opening a library runs its initialisers; the user has named this one, or put it where it is looked for. `OrtGetApiBase` is the
    // entry point of the C API, whose first two members have been these functions in all versions, and the text is static in the library.
    unsafe {
        let library = libloading::Library::new(path).map_err(|error| error.to_string())?;
        let base = library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase");
        let base = base.map_err(|_| format!("{}: this library is not ONNX Runtime", path.display()))?;
        let text = ((*base()).GetVersionString)();
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

/// The library to open when none is named.
fn find() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").map(PathBuf::from) {
        let is_there = path.is_file();
        return if is_there {
            Ok(path)
        } else {
            Err(format!("ORT_DYLIB_PATH is {}, which is no file", path.display()))
        };
    }
    let dirs = folders();
    if let Some(path) = dirs.iter().find_map(|dir| library_in(dir)) {
        return Ok(path);
    }
    let mut text = String::from("libonnxruntime.so was not found");
    let there: Vec<_> = dirs.iter().filter(|dir| dir.is_dir()).collect();
    if !there.is_empty() {
        text += " in";
        for dir in there {
            let _ = write!(text, " {}", dir.display());
        }
    }
    text += "; `pip install onnxruntime` (onnxruntime-gpu for NVIDIA GPUs), or name it with --ort-lib or ORT_DYLIB_PATH";
    Err(text)
}

/// Folders in which the library may be, most telling first: beside the program, those of the dynamic loader, Python's.
fn folders() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    dirs.extend(env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned())));
    let listed = |name: &str| env::var_os(name).map(|value| env::split_paths(&value).collect::<Vec<_>>());
    dirs.extend(listed("LD_LIBRARY_PATH").unwrap_or_default());
    let mut prefixes: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from).collect();
    // `bin/python3` lies in its prefix.
    let pythons = listed("PATH").unwrap_or_default().into_iter().filter(|dir| dir.join("python3").exists());
    prefixes.extend(pythons.filter_map(|dir| Some(dir.parent()?.to_owned())));
    prefixes.extend(env::home_dir().map(|home| home.join(".local")));
    for prefix in prefixes {
        dirs.extend(packages(&prefix.join("lib")));
    }
    dirs.extend(["/usr/local/lib", "/usr/lib", "/lib"].map(PathBuf::from));
    dirs.push(PathBuf::from(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH)));
    let mut seen = Vec::new();
    dirs.retain(|dir| {
        let is_new = !seen.contains(dir);
        seen.push(dir.clone());
        is_new
    });
    dirs
}

/// `<lib>/python3*/{site,dist}-packages/onnxruntime/capi`, newest Python first.
fn packages(lib: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(lib).into_iter().flatten().flatten();
    let is_python =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"));
    let mut pythons: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_python).collect();
    pythons.sort_by(|a, b| b.as_os_str().len().cmp(&a.as_os_str().len()).then_with(|| b.cmp(a)));
    let packages = pythons.iter().flat_map(|python| {
        ["site-packages", "dist-packages"].map(|dir| python.join(dir).join("onnxruntime/capi"))
    });
    packages.filter(|dir| dir.is_dir()).collect()
}

/// `libonnxruntime.so`, or with a version behind it.
fn library_in(dir: &Path) -> Option<PathBuf> {
    let plain = dir.join("libonnxruntime.so");
    if plain.is_file() {
        return Some(plain);
    }
    let entries = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let is_library = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so."))
    };
    entries.filter(is_library).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_are_found_below_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["3.9", "3.12"] {
            let capi = dir.path().join(format!("python{version}/site-packages/onnxruntime/capi"));
            fs::create_dir_all(&capi).unwrap();
            fs::write(capi.join("libonnxruntime.so.1.27.0"), "").unwrap();
            fs::write(capi.join("libonnxruntime_providers_shared.so"), "").unwrap();
        }
        let found = packages(dir.path());
        assert_eq!(found.len(), 2);
        assert!(found[0].to_string_lossy().contains("python3.12"), "{found:?}");
        let library = library_in(&found[0]).unwrap();
        assert_eq!(library.file_name().unwrap(), "libonnxruntime.so.1.27.0");
        assert_eq!(library_in(dir.path()), None);
    }

    #[test]
    fn a_missing_library_is_told() {
        let error = Library::open(Some(Path::new("/no/libonnxruntime.so"))).unwrap_err();
        assert_eq!(error, "/no/libonnxruntime.so: no such file");
    }
}
