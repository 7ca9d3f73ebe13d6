//! Where engines are built.

use std::io;
use std::path::Path;

use tempfile::{Builder, TempDir};

/// A folder that nobody else reads: the model lies in it in the clear, even if it came encrypted. In `parent`, or where temporary files are.
pub fn build_folder(parent: Option<&Path>) -> io::Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(".building-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    match parent {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_reads_it() {
        let parent = tempfile::tempdir().unwrap();
        for folder in [build_folder(None), build_folder(Some(parent.path()))] {
            assert_eq!(folder.unwrap().path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
