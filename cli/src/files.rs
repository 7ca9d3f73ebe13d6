//! Reading and writing files, with the path in every error.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use crate::exit::Failure;

pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    oxidet_files::read(path).map_err(|error| Failure::io(path, &error))
}

pub fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = read(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("{}: not a text file in UTF-8 (byte {at}); save it as UTF-8", path.display()))
    })
}

pub fn create_dir(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| Failure::output(path, &error))
}

/// Opens a file to read it piece by piece, and its length in bytes.
pub fn open(path: &Path) -> Result<(File, u64), Failure> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    let (file, metadata) = open().map_err(|error| Failure::io(path, &error))?;
    if !metadata.is_file() {
        return Err(Failure::data(format!("{}: not a regular file", path.display())));
    }
    Ok((file, metadata.len()))
}

/// The first bytes of a file, at most `len`.
pub fn read_head(path: &Path, len: u64) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    let mut read = || oxidet_files::open(path)?.take(len).read_to_end(&mut head);
    read().map_err(|error| Failure::io(path, &error))?;
    Ok(head)
}

/// Writes a file whole or not at all; makes its folder.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    stage(path, bytes)?.commit()
}

/// Whether two paths are one file, or will be once they are written.
pub fn is_same(a: &Path, b: &Path) -> bool {
    identity(a) == identity(b)
}

/// The one path of a file that need not be there: links are followed as far as there is something to follow, and what is not there yet
/// is made of names alone.
fn identity(path: &Path) -> PathBuf {
    let Ok(path) = std::path::absolute(path) else { return path.to_owned() };
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
        whole = whole.canonicalize().unwrap_or(whole);
    }
    whole
}

/// Whether files can be made in a file's folder; one that is not there yet will be made.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    let dir = oxidet_files::folder_of(path);
    if !dir.exists() {
        return Ok(());
    }
    tempfile::tempfile_in(dir).map(drop).map_err(|error| Failure::output(dir, &error))
}

/// Writes a file under a temporary name beside its place; makes the folder. Dropped without a commit, nothing stays.
pub fn stage(path: &Path, bytes: &[u8]) -> Result<Staged, Failure> {
    stage_with(path, |file| file.write_all(bytes).map_err(|error| Failure::output(path, &error)))
}

/// The same for a file that `write` makes piece by piece. When it fails, nothing stays.
pub fn stage_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), Failure>,
) -> Result<Staged, Failure> {
    let failed = |error| Failure::output(path, &error);
    let mut file = oxidet_files::Staged::new(path).map_err(failed)?;
    write(file.as_file_mut())?;
    Ok(Staged(file.close().map_err(failed)?))
}

/// A file that is written but not yet in its place.
pub struct Staged(oxidet_files::Closed);

impl Staged {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Moves it to its place.
    pub fn commit(self) -> Result<(), Failure> {
        let path = self.0.target().to_owned();
        self.0.commit().map_err(|error| Failure::output(&path, &error))
    }
}

/// A file to write: where, and what.
pub type NewFile = (PathBuf, Vec<u8>);

/// Files that are put in their places together, once all of them are written.
#[derive(Default)]
pub struct StagedFiles(Vec<Staged>);

impl StagedFiles {
    /// Writes one more.
    pub fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        self.0.push(stage(path, bytes)?);
        Ok(())
    }

    /// Moves all to their places, in the order in which they came.
    pub fn commit(self) -> Result<(), Failure> {
        self.0.into_iter().try_for_each(Staged::commit)
    }
}
