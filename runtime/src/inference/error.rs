//! What stops a run.

use std::io;
use std::path::PathBuf;

use oxidet_proto::kitti::WriteError;
use oxidet_vision::{ImageError, NetworkError};

use super::FrameError;

/// What stops a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image cannot be read or written.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// A device or a pipe in place of an image.
    #[error("{}: neither an image file nor a folder of them", path.display())]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// No images.
    #[error("{}: no images (jpg, jpeg, png) in this folder", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Two images would share a label file.
    #[error("{} and {} have the same name but for the extension and would share one label file", first.display(), second.display())]
    SameStem {
        /// An image.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A stream of frames breaks off.
    #[error("standard input: {0}")]
    Frame(#[from] FrameError),
    /// A class name that KITTI cannot hold.
    #[error(transparent)]
    Label(#[from] WriteError),
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
}
