//! The list of boxes that were left out, in the original's format.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ConvertError;

/// Boxes by name, in the order in which they were met.
#[derive(Default)]
pub(super) struct Dropped(Map<String, Value>);

impl Dropped {
    pub(super) fn add(&mut self, boxes: Vec<(String, [i64; 4])>) {
        self.0.extend(boxes.into_iter().map(|(name, bbox)| (name, Value::from(bbox.to_vec()))));
    }

    /// Writes `<prefix>_warning.json`. When there are no boxes, a list of an earlier conversion is removed.
    pub(super) fn write(self, prefix: &Path) -> Result<Option<PathBuf>, ConvertError> {
        let path = with_suffix(prefix, "_warning.json");
        let failed = |source| ConvertError::Write { path: path.clone(), source };
        if self.0.is_empty() {
            if path.is_file() {
                fs::remove_file(&path).map_err(failed)?;
            }
            return Ok(None);
        }
        let text = serde_json::to_vec_pretty(&Value::Object(self.0)).map_err(|error| failed(error.into()))?;
        oxidet_files::write(&path, &text).map_err(failed)?;
        Ok(Some(path))
    }
}

/// The path with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
