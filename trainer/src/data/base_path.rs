//! Where relative paths of TFRecord sources and of conversion specs start.

use std::path::{Path, PathBuf};

/// `path` below the folder that the environment variable `DATA_BASE_PATH` names; as it is, and so relative to the working
/// directory, when the variable is not set or the path is absolute.
pub fn from_base_path(path: &str) -> PathBuf {
    match std::env::var_os("DATA_BASE_PATH") {
        Some(base) => Path::new(&base).join(path),
        None => PathBuf::from(path),
    }
}
