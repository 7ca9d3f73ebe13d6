//! The files of a command, looked at before any work is done: none may be lost to another, and none is replaced unasked.

use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::files;

/// What a command reads and writes.
pub struct FilePlan {
    force: bool,
    read: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

impl FilePlan {
    /// Of a command that reads these files; with `force` it may replace others.
    pub fn new<'a>(force: bool, read: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self { force, read: read.into_iter().cloned().collect(), written: Vec::new() }
    }

    /// Adds a file that is read.
    pub fn reads(&mut self, path: &Path) {
        self.read.push(path.to_owned());
    }

    /// Adds a file that is written.
    ///
    /// # Errors
    /// When it is one that the command reads or writes already, a folder, or there, without `--force`.
    pub fn writes(&mut self, path: &Path) -> Result<(), Failure> {
        self.replaces(path, false)
    }

    /// Adds a folder that the command fills.
    pub fn writes_folder(&mut self, path: &Path) -> Result<(), Failure> {
        if path.exists() && !self.force {
            return Err(Failure::usage(format!("{} exists; --force replaces what is in it", path.display())));
        }
        files::check_writable(&path.join("file"))?;
        files::check_writable(path)
    }

    /// The same of a file that may be replaced without `--force`, because an earlier run has written it.
    pub fn replaces(&mut self, path: &Path, is_ours: bool) -> Result<(), Failure> {
        let refused = |what: &str| Err(Failure::usage(format!("{}{what}", path.display())));
        if self.read.iter().any(|read| files::is_same(read, path)) {
            return refused(": the command reads this file; name another to write to");
        }
        if self.written.iter().any(|written| files::is_same(written, path)) {
            return refused(
                ": two files of this command would have this name, and one would be lost; name another",
            );
        }
        if path.is_dir() {
            return refused(" is a folder; name a file");
        }
        if path.exists() && !self.force && !is_ours {
            return refused(" exists; --force replaces it");
        }
        files::check_writable(path)?;
        self.written.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_lost_however_its_path_is_spelt() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("there"), "").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        let reads = at("spec.txt");
        let mut plan = FilePlan::new(false, [&reads]);
        assert!(plan.writes(&at("./spec.txt")).is_err());
        plan.writes(&at("new/model.onnx")).unwrap();
        for again in ["new/model.onnx", "./new/model.onnx", "new/./model.onnx", "folder/../new/model.onnx"] {
            let error = plan.writes(&at(again)).unwrap_err();
            assert!(error.message().contains("two files"), "{again}: {}", error.message());
        }
        plan.writes(&at("new/other")).unwrap();
        assert!(plan.writes(&at("there")).unwrap_err().message().contains("--force"));
        assert!(plan.replaces(&at("there"), true).is_ok());
        assert!(plan.writes(&at("folder")).unwrap_err().message().contains("folder"));
        let mut forced = FilePlan::new(true, [&reads]);
        assert!(forced.writes(&at("there")).is_ok());
        assert!(forced.writes(&reads).is_err());
        assert!(forced.writes(&at("folder")).is_err());
    }
}
