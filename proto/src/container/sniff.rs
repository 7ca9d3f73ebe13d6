//! Telling by its first bytes what a `.tlt` or `.etlt` file is.

use super::header::{KIND_AT, Kind, MAGIC, VERSION_AT};

/// First bytes of an HDF5 file.
const HDF5_MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Longest input name believed in NVIDIA's framing; real ones are `Input` or empty.
const MAX_INPUT_NAME: u32 = 1024;

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// Our container. It may still be damaged.
    Oxidet {
        /// What it holds; `None` when the byte is missing or unknown.
        kind: Option<Kind>,
        /// Format version; 0 when the byte is missing.
        version: u8,
    },
    /// NVIDIA's own `.etlt`: a length-prefixed input name, then an encrypted model.
    NvidiaEtlt,
    /// A Keras HDF5 file (`.hdf5`).
    Hdf5,
    /// Anything else: a plain checkpoint or model, or NVIDIA's `.tlt`, which has no mark to know it by.
    Other,
}

/// Looks at the first bytes of a file.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.starts_with(&MAGIC) {
        let kind = bytes.get(KIND_AT).copied().and_then(Kind::from_byte);
        return Sniffed::Oxidet { kind, version: bytes.get(VERSION_AT).copied().unwrap_or(0) };
    }
    if bytes.starts_with(HDF5_MAGIC) {
        return Sniffed::Hdf5;
    }
    if is_nvidia_etlt(bytes) { Sniffed::NvidiaEtlt } else { Sniffed::Other }
}

/// `L` as a 4-byte little-endian integer, an input name of `L` printable characters, and something after it.
fn is_nvidia_etlt(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else { return false };
    let len = u32::from_le_bytes(*len);
    len <= MAX_INPUT_NAME
        && rest.len() > len as usize
        && rest.iter().take(len as usize).all(u8::is_ascii_graphic)
}
