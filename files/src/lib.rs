//! Files: read as what they are, written whole or not at all.
//!
//! A file is written under a temporary name beside its place, and moved there when it is complete. A process that is killed leaves the
//! old file or the new one, and perhaps a temporary one, whose name says whose it is; [`remove_leftovers`] takes these away.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("labels.txt");
//! oxidet_files::write(&path, b"car\nbus\n")?;
//! assert_eq!(oxidet_files::read(&path)?, b"car\nbus\n");
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

use std::fs::{self, DirEntry, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{NamedTempFile, TempPath};

const PREFIX: &str = ".oxidet-";
const SUFFIX: &str = ".part";

/// The bytes of a file.
///
/// # Errors
/// Those of the system; of anything that has no end or no bytes, such as `/dev/zero` or a folder, `InvalidData`.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file for reading: a regular one, or a pipe, which a shell makes of `<(command)`.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> io::Result<File> {
    let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return refuse("this is a folder, not a file");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_char_device() || kind.is_block_device() || kind.is_socket() {
            return refuse("this is a device or a socket, not a file");
        }
    }
    File::open(path)
}

/// Writes a file and waits until the disk has it; makes its folder.
///
/// # Errors
/// Those of the system. The old file, if there is one, is as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Staged::new(path)?;
    file.write_all(bytes)?;
    file.close()?.commit()
}

/// As [`write()`], but does not wait for the disk: for many small files that are easily made again.
///
/// # Errors
/// As [`write()`].
pub fn write_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Staged::new(path)?;
    file.write_all(bytes)?;
    file.file.persist(path)?;
    Ok(())
}

/// A file that is being written under a temporary name. Dropped before it is committed, nothing stays.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Begins the file that will be `path`; makes its folder.
    ///
    /// # Errors
    /// Those of the system. What is no file, such as `/dev/null`, would be replaced by one, and is refused.
    pub fn new(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let what = "this is a device, a pipe or a socket, and would be replaced by a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let folder = folder_of(path);
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        // Temporary files are private by default; a result is as readable as the user's umask allows.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The file itself, for those that seek.
    pub fn as_file_mut(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Ends writing, and waits until the disk has everything.
    ///
    /// # Errors
    /// Those of the system.
    pub fn close(self) -> io::Result<Closed> {
        self.file.as_file().sync_all()?;
        Ok(Closed { file: self.file.into_temp_path(), path: self.path })
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is written but not in its place yet. Dropped before it is committed, nothing stays.
#[derive(Debug)]
pub struct Closed {
    file: TempPath,
    path: PathBuf,
}

impl Closed {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Where it will be.
    pub fn target(&self) -> &Path {
        &self.path
    }

    /// Moves it to its place.
    ///
    /// # Errors
    /// Those of the system.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|error| error.error)
    }
}

/// A temporary folder in `parent`, for several files that are to appear together.
///
/// # Errors
/// Those of the system.
pub fn staging_folder(parent: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempdir_in(parent)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// For so long nobody writes into a file that will be completed.
const ABANDONED: Duration = Duration::from_hours(1);

/// Removes what killed processes left in a folder and in the folders in it: what has our temporary names and has not changed for an hour.
///
/// # Errors
/// Those of the system.
pub fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_leftover(&entry)? {
            remove(&entry)?;
        } else if entry.file_type()?.is_dir() {
            for entry in fs::read_dir(entry.path())? {
                let entry = entry?;
                if is_leftover(&entry)? {
                    remove(&entry)?;
                }
            }
        }
    }
    Ok(())
}

fn is_leftover(entry: &DirEntry) -> io::Result<bool> {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    if !(name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
        return Ok(false);
    }
    // A clock that was set back makes files of the future, which are young.
    Ok(entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > ABANDONED))
}

fn remove(entry: &DirEntry) -> io::Result<()> {
    let path = entry.path();
    if entry.file_type()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_there_before_the_commit_and_nothing_else_after() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b.txt");
        let mut file = Staged::new(&path).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists());
        let closed = file.close().unwrap();
        assert_eq!((closed.target(), fs::read(closed.path()).unwrap()), (&*path, b"whole".to_vec()));
        closed.commit().unwrap();
        assert_eq!(
            (names(path.parent().unwrap()), read(&path).unwrap()),
            (vec!["b.txt".to_owned()], b"whole".to_vec())
        );
        write(&path, b"new").unwrap();
        drop(Staged::new(&path).unwrap());
        write_unsynced(&path, b"newer").unwrap();
        assert_eq!(
            (names(path.parent().unwrap()), read(&path).unwrap()),
            (vec!["b.txt".to_owned()], b"newer".to_vec())
        );
    }

    #[test]
    fn leftovers_are_old_and_known_by_their_names() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        fs::create_dir(folder.join("weights")).unwrap();
        for name in [
            "mine.part",
            ".oxidet-notes",
            ".oxidet-Ab12.part",
            "weights/.oxidet-Ab12.part",
            "weights/model.tlt",
        ] {
            fs::write(folder.join(name), "").unwrap();
            let hours_ago = std::time::SystemTime::now() - 2 * ABANDONED;
            File::options().write(true).open(folder.join(name)).unwrap().set_modified(hours_ago).unwrap();
        }
        let being_written = Staged::new(&folder.join("weights/x")).unwrap();
        remove_leftovers(folder).unwrap();
        assert_eq!(names(folder), [".oxidet-notes", "mine.part", "weights"]);
        let young = being_written.file.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(names(&folder.join("weights")), [young, "model.tlt".into()]);
    }

    #[test]
    #[cfg(unix)]
    fn what_has_no_end_is_not_read() {
        for path in ["/dev/zero", "/"] {
            assert_eq!(read(Path::new(path)).unwrap_err().kind(), io::ErrorKind::InvalidData, "{path}");
        }
        for path in ["/dev/zero", "/dev/null"] {
            assert_eq!(
                write(Path::new(path), b"").unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{path}"
            );
        }
        assert_eq!(read(Path::new("/not/there")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
