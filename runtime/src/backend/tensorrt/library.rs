//! The shim: found, opened, and asked whether it is ours and fits the TensorRT it runs with.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Version;
use super::abi::{self, Functions};
use crate::error_chain;

/// How important a message of TensorRT is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is wrong with TensorRT itself.
    InternalError,
    /// Something failed.
    Error,
    /// Something may not be as expected.
    Warning,
    /// What it does.
    Info,
    /// In detail.
    Verbose,
}

/// Hears what TensorRT says, from any of its threads. It must not name another listener itself.
pub type LogListener = Box<dyn Fn(Severity, &str) + Send + Sync>;

/// File name of the shim.
pub fn shim_file_name() -> PathBuf {
    libloading::library_filename("oxidet_trt").into()
}

/// Where the shim is looked for, in this order; a place that is named is the only one.
pub fn shim_places(named: Option<&Path>) -> Vec<PathBuf> {
    let name = shim_file_name();
    if let Some(path) = named {
        return vec![path.to_owned()];
    }
    if let Some(path) = env::var_os("OXIDET_TRT_SHIM").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join(&name)));
    beside.into_iter().chain(data_folder().map(|folder| folder.join(&name))).collect()
}

/// The user's folder of oxidet's data: `$XDG_DATA_HOME/oxidet`, or `~/.local/share/oxidet`.
pub fn data_folder() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = named("XDG_DATA_HOME").or_else(|| Some(named("HOME")?.join(".local/share")))?;
    Some(data.join("oxidet"))
}

/// An open shim. It stays open until the process ends: TensorRT logs until then.
pub(super) struct Library {
    pub functions: Functions,
    /// Of the TensorRT that runs.
    pub version: Version,
    pub path: PathBuf,
    log: Mutex<Option<Box<LogListener>>>,
    /// Plugin libraries that are registered; TensorRT does not like to be told twice.
    plugins: Mutex<BTreeSet<PathBuf>>,
    _library: ManuallyDrop<libloading::Library>,
}

/// By path. A shim has one logger, so there is one of each.
static OPEN: Mutex<BTreeMap<PathBuf, Arc<Library>>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Finds and opens it.
    pub fn find(named: Option<&Path>) -> Result<Arc<Self>, String> {
        let places = shim_places(named);
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
            return Err(format!(
                "there is no shim at {}; on a device with TensorRT's headers (JetPack has them) \
                `oxidet tensorrt build-shim` makes it, and OXIDET_TRT_SHIM names another place",
                places.join(" or ")
            ));
        };
        let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = open.get(&path) {
            return Ok(library.clone());
        }
        let library = Arc::new(Self::open(path.clone())?);
        open.insert(path, library.clone());
        Ok(library)
    }

    fn open(path: PathBuf) -> Result<Self, String> {
        let shown = path.display();
        // SAFETY: running the initialisers of a library that the user named or built is what opening it means.
        let library = unsafe { libloading::Library::new(&path) };
        let library = library.map_err(|error| cannot_open(&path, &error_chain(&error)))?;
        // TensorRT keeps threads and pointers to the logger: it is not closed even if it is refused.
        let library = ManuallyDrop::new(library);
        let foreign = |_| format!("{shown} is not the shim of oxidet: it does not tell its ABI");
        // SAFETY: a shim of any ABI has this function.
        let number =
            unsafe { library.get::<unsafe extern "C" fn() -> u32>("oxidet_trt_abi") }.map_err(foreign)?;
        // SAFETY: as above.
        let number = unsafe { number() };
        if number != abi::ABI {
            return Err(format!(
                "{shown} is the shim of another oxidet (ABI {number} instead of {}); `oxidet tensorrt build-shim` \
                makes it again",
                abi::ABI
            ));
        }
        // SAFETY: the ABI is this one, and the library is never closed.
        let functions = unsafe { Functions::of(&library) };
        let functions = functions.map_err(|error| format!("{shown} is damaged: {}", error_chain(&error)))?;
        let mut versions = abi::Versions::default();
        // SAFETY: the function fills the struct.
        unsafe { (functions.get_versions)(&mut versions) };
        let version =
            fitting(Version::of(versions.compiled), Version::of(versions.loaded)).map_err(|why| {
                format!(
                    "{shown} was {why}; `oxidet tensorrt build-shim` makes it again for what is installed"
                )
            })?;
        Ok(Self {
            functions,
            version,
            path,
            log: Mutex::default(),
            plugins: Mutex::default(),
            _library: library,
        })
    }

    /// Text of the last failure of this thread.
    pub fn last_error(&self) -> String {
        // SAFETY: the shim keeps the text until this thread calls it again.
        unsafe { text((self.functions.last_error)()) }
    }

    pub fn check(&self, status: i32) -> Result<(), String> {
        if status == abi::OK { Ok(()) } else { Err(self.last_error()) }
    }

    /// What TensorRT says from now on goes to the listener.
    pub fn listen(&self, listener: LogListener) {
        let listener = Box::new(listener);
        let mut current = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let user: *const LogListener = &*listener;
        // SAFETY: the listener lives until it is replaced, and the shim does not call it any more when this returns for another.
        unsafe { (self.functions.set_log)(Some(hear), user.cast_mut().cast()) };
        *current = Some(listener);
    }

    /// Registers TensorRT's own plugins, and those of other libraries.
    pub fn load_plugins(&self, libraries: &[PathBuf]) -> Result<(), String> {
        // SAFETY: no arguments.
        self.check(unsafe { (self.functions.init_plugins)() })?;
        let mut loaded = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        for path in libraries.iter().filter(|path| !loaded.contains(*path)).cloned().collect::<Vec<_>>() {
            let name = c_string(&path.to_string_lossy())?;
            // SAFETY: a string that outlives the call. Running a library that the user named is what is asked for.
            self.check(unsafe { (self.functions.load_plugins)(name.as_ptr()) })?;
            loaded.insert(path);
        }
        Ok(())
    }
}

/// The version that runs, if a shim compiled against another can use it.
fn fitting(compiled: Version, loaded: Version) -> Result<Version, String> {
    if compiled.major != loaded.major || (compiled.minor > loaded.minor) {
        return Err(format!("compiled for TensorRT {compiled}, and runs with {loaded}"));
    }
    Ok(loaded)
}

fn cannot_open(path: &Path, why: &str) -> String {
    let missing =
        ["libnvinfer_plugin", "libnvonnxparser", "libnvinfer"].iter().find(|name| why.contains(*name));
    let advice = match missing {
        Some(name) => format!(
            ": {name} is missing or not where the loader looks; install TensorRT (JetPack: apt install tensorrt), or add \
            its folder to LD_LIBRARY_PATH"
        ),
        None => String::new(),
    };
    format!("{} does not open: {why}{advice}", path.display())
}

pub(super) fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} holds a zero byte"))
}

/// # Safety
/// A zero-terminated string, or null.
pub(super) unsafe fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: not null, and zero-terminated as the caller says.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn hear(user: *mut c_void, severity: i32, message: *const c_char) {
    let severity = match severity {
        0 => Severity::InternalError,
        1 => Severity::Error,
        2 => Severity::Warning,
        3 => Severity::Info,
        _ => Severity::Verbose,
    };
    // SAFETY: `user` is the listener that `listen` keeps; the message is a string of TensorRT's.
    let (listener, message) = unsafe { (&*user.cast::<LogListener>(), text(message)) };
    // A panic must not pass through C++; what is lost is a line of the log.
    let _ = catch_unwind(AssertUnwindSafe(|| listener(severity, &message)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_runs_with_its_major_version_from_its_minor_version_on() {
        let version = |major, minor, patch| Version { major, minor, patch };
        assert_eq!(fitting(version(10, 3, 0), version(10, 13, 3)), Ok(version(10, 13, 3)));
        assert_eq!(fitting(version(10, 3, 1), version(10, 3, 0)), Ok(version(10, 3, 0)));
        for (compiled, loaded) in
            [((10, 13, 3), (10, 3, 0)), ((8, 6, 1), (10, 3, 0)), ((11, 1, 0), (10, 16, 0))]
        {
            let compiled = version(compiled.0, compiled.1, compiled.2);
            let loaded = version(loaded.0, loaded.1, loaded.2);
            let why = fitting(compiled, loaded).unwrap_err();
            assert_eq!(why, format!("compiled for TensorRT {compiled}, and runs with {loaded}"));
        }
    }

    #[test]
    fn a_named_shim_that_is_not_there_is_an_error_with_the_way_out() {
        let error = Library::find(Some(Path::new("/no/such/shim.so"))).err().unwrap();
        assert!(
            error.contains("/no/such/shim.so") && error.contains("oxidet tensorrt build-shim"),
            "{error}"
        );
    }

    #[test]
    fn a_library_that_is_no_shim_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("liboxidet_trt.so");
        std::fs::write(&path, "no library").unwrap();
        let error = Library::find(Some(&path)).err().unwrap();
        assert!(error.contains("does not open"), "{error}");
    }
}
