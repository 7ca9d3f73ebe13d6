//! Zip archives as torch and Keras write them: entries stored, not compressed.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use ::zip::{CompressionMethod, ZipArchive};

use super::{Format, WeightsError};

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Whether there is an entry of this name.
pub(super) fn holds(bytes: &[u8], name: &str) -> bool {
    ZipArchive::new(Cursor::new(bytes)).is_ok_and(|zip| zip.index_for_name(name).is_some())
}

/// An open archive of `format`.
pub(super) struct Zip<'a> {
    format: Format,
    archive: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Zip<'a> {
    pub(super) fn open(format: Format, bytes: &'a [u8]) -> Result<Self, WeightsError> {
        let archive =
            ZipArchive::new(Cursor::new(bytes)).map_err(|error| WeightsError::damaged(format, error))?;
        Ok(Self { format, archive })
    }

    /// The first name that ends so.
    pub(super) fn find(&self, suffix: &str) -> Option<String> {
        self.archive.file_names().flatten().find(|name| name.ends_with(suffix)).map(Cow::into_owned)
    }

    /// The content of an entry; `None` when there is none of this name.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, WeightsError> {
        let damaged =
            |error: &dyn std::fmt::Display| WeightsError::damaged(self.format, format!("{name}: {error}"));
        let Some(index) = self.archive.index_for_name(name) else { return Ok(None) };
        let file = self.archive.by_index_raw(index).map_err(|error| damaged(&error))?;
        let is_stored = file.compression() == CompressionMethod::Stored;
        drop(file);
        if !is_stored {
            let what =
                format!("{name} is compressed, which neither torch nor Keras do; pack it again without");
            return Err(WeightsError::unsupported(self.format, what));
        }
        // Entries may overlap in a hostile archive, but each is no longer than the file.
        let mut file = self.archive.by_index(index).map_err(|error| damaged(&error))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|error| damaged(&error))?;
        Ok(Some(content))
    }
}
