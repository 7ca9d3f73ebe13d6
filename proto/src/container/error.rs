//! What can be wrong with a container.

use super::header::{Kind, VERSION};

/// Why a container cannot be made or opened. No message contains the passphrase or anything derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The passphrase is empty.
    #[error("the key is empty; give the passphrase the file is encrypted with")]
    EmptyKey,
    /// No container: another format, or no format at all.
    #[error(
        "not encrypted by oxidet; if the file is a plain model or checkpoint, open it without a key \
         (a .tlt encrypted by NVIDIA TAO looks like this too: it is a closed format and cannot be read)"
    )]
    NotEncrypted,
    /// A Keras HDF5 file.
    #[error("not encrypted: this is a Keras HDF5 file; use it as .hdf5, without a key")]
    Hdf5,
    /// NVIDIA's own `.etlt`.
    #[error(
        "this is NVIDIA's own .etlt, a closed format that oxidet cannot read; \
         export the model again with TAO 5 or newer, which writes plain .onnx"
    )]
    NvidiaEtlt,
    /// Written by a later format version.
    #[error("the file has container version {0}, this program reads version {VERSION}; update oxidet")]
    Version(u8),
    /// A checkpoint where a model is wanted, or the reverse.
    #[error("the file holds {found}, but {wanted} is wanted here")]
    OtherKind {
        /// What the caller asked for.
        wanted: Kind,
        /// What the header says.
        found: Kind,
    },
    /// The header ends early or its checksum does not fit.
    #[error("the file is damaged: its header is not intact; copy or export it again")]
    Header,
    /// The header is intact but asks for something no writer of this version uses.
    #[error("the header has an unknown or unacceptable {0}; the file was not written by oxidet")]
    HeaderField(&'static str),
    /// Bytes are missing or were added.
    #[error("the file is damaged: {found} bytes instead of {expected}; copy or export it again")]
    Length {
        /// Bytes the container should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A chunk was handed over that is longer or shorter than its place.
    #[error("a chunk of {found} bytes where one of {expected} comes next")]
    ChunkLength {
        /// Bytes the chunk should have; 0 behind the last.
        expected: usize,
        /// Bytes it has.
        found: usize,
    },
    /// The header is intact and the passphrase does not fit.
    #[error("wrong key: the file is intact as far as can be told, but this passphrase does not open it")]
    WrongKey,
    /// A chunk was changed or moved.
    #[error(
        "the file is damaged or was tampered with: chunk {number} of {of} is not authentic; \
         copy or export it again"
    )]
    Chunk {
        /// The chunk, counted from 1.
        number: u32,
        /// Number of chunks.
        of: u32,
    },
    /// Key derivation cost outside the accepted range, or more memory than there is.
    #[error(
        "the key derivation cost is outside the accepted range, \
         or its memory ({memory_kib} KiB) is not available"
    )]
    Cost {
        /// Memory asked for, in KiB.
        memory_kib: u32,
    },
    /// More data than the format can hold.
    #[error("the data is too large for one container")]
    TooLarge,
}
