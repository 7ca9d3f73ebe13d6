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

/// As [`from_base_path`], for a glob pattern: what the variable holds is a name, not a pattern.
pub(super) fn pattern_from_base_path(pattern: &str) -> String {
    match std::env::var("DATA_BASE_PATH") {
        Ok(base) if !Path::new(pattern).is_absolute() => {
            Path::new(&glob::Pattern::escape(&base)).join(pattern).to_string_lossy().into_owned()
        }
        _ => pattern.to_owned(),
    }
}
