//! Checkpoints on disk: plain, or sealed with a passphrase; written whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use oxidet_graph::{Checkpoint, CheckpointError};
use oxidet_proto::container::{self, ContainerError, KdfParams, Kind, Passphrase, Sniffed};

/// A checkpoint that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct CheckpointFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub kind: CheckpointFileErrorKind,
}

/// What can be wrong with a checkpoint on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFileErrorKind {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is encrypted and there is no key.
    #[error("this checkpoint is encrypted; give its key with -k, --key-file or OXIDET_KEY")]
    NeedsKey,
    /// The container does not open.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The content is not a sound checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Reads a checkpoint, encrypted or plain: the content decides, not the name.
///
/// # Errors
/// [`CheckpointFileError`] names the file.
pub fn read_checkpoint(
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Checkpoint, CheckpointFileError> {
    let read = || Ok(Checkpoint::from_bytes(&read_payload(path, passphrase)?)?);
    read().map_err(|kind| CheckpointFileError { path: path.to_owned(), kind })
}

/// The bytes of a checkpoint or of foreign safetensors weights, decrypted where they are encrypted.
pub(crate) fn read_payload(
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Vec<u8>, CheckpointFileErrorKind> {
    let bytes = oxidet_files::read(path)?;
    match (container::sniff(&bytes), passphrase) {
        (Sniffed::Oxidet { .. }, None) => Err(CheckpointFileErrorKind::NeedsKey),
        (Sniffed::Oxidet { .. }, Some(passphrase)) => {
            Ok(container::open(Kind::Checkpoint, &bytes, passphrase)?.to_vec())
        }
        _ => Ok(bytes),
    }
}

/// Writes a checkpoint, encrypted when there is a passphrase. A crash leaves the old file or the new one.
///
/// # Errors
/// [`CheckpointFileError`] names the file.
pub fn write_checkpoint(
    path: &Path,
    checkpoint: &Checkpoint,
    passphrase: Option<&Passphrase>,
) -> Result<(), CheckpointFileError> {
    let write = || -> Result<(), CheckpointFileErrorKind> {
        let bytes = checkpoint.to_bytes();
        let bytes = match passphrase {
            Some(passphrase) => {
                let mut random = [0; container::RANDOM_LEN];
                getrandom::fill(&mut random).map_err(io::Error::other)?;
                container::seal(Kind::Checkpoint, &bytes, passphrase, &random, KdfParams::default())?
            }
            None => bytes,
        };
        Ok(oxidet_files::write(path, &bytes)?)
    };
    write().map_err(|kind| CheckpointFileError { path: path.to_owned(), kind })
}
