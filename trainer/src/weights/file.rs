//! Weights from a file on disk, encrypted or plain.

use std::path::{Path, PathBuf};

use oxidet_graph::{Detector, Params};
use oxidet_proto::container::Passphrase;

use super::{LoadError, LoadReport, load};
use crate::checkpoint_file::{CheckpointFileError, read_payload};

/// A weight file that does not get into a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFileError {
    /// It cannot be read or decrypted.
    #[error(transparent)]
    File(#[from] CheckpointFileError),
    /// Its content does not fit.
    #[error("{}: {source}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: LoadError,
    },
}

/// [`load`] for a file.
///
/// # Errors
/// [`LoadFileError`] names the file.
pub fn load_file(
    path: &Path,
    passphrase: Option<&Passphrase>,
    detector: &Detector,
    start: Params,
) -> Result<(Params, LoadReport), LoadFileError> {
    let bytes =
        read_payload(path, passphrase).map_err(|kind| CheckpointFileError { path: path.to_owned(), kind })?;
    load(&bytes, detector, start).map_err(|source| LoadFileError::Load { path: path.to_owned(), source })
}
