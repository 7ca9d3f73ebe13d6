//! The 80 bytes in front of the chunks. Offsets as in `docs/formats/etlt.md`; integers are little-endian.

use std::fmt;

use sha2::{Digest, Sha256};

use super::error::ContainerError;
use super::key::{CHECK_LEN, KdfParams};
use super::sniff::{Sniffed, sniff};
use super::{RANDOM_LEN, TAG_LEN};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = KEY_CHECK_AT + CHECK_LEN;

/// The format version this program writes and reads.
pub const VERSION: u8 = 1;

/// First bytes of a container: no ASCII, no small integer; the line ends betray a text-mode copy.
pub(super) const MAGIC: [u8; 8] = *b"\x8fOXD\r\n\x1a\n";

pub(super) const VERSION_AT: usize = 8;
pub(super) const KIND_AT: usize = 9;
pub(super) const CHECKSUM_AT: usize = 56;
pub(super) const KEY_CHECK_AT: usize = 64;
pub(super) const SALT_LEN: usize = 16;
/// AES-GCM's 12 bytes less STREAM's counter (4) and last-chunk flag (1).
pub(super) const NONCE_LEN: usize = 7;

const ARGON2ID: u8 = 1;
const AES_256_GCM_STREAM_BE32: u8 = 1;
/// 64 KiB chunks.
const CHUNK_LOG2: u8 = 16;
/// Readers accept 64 KiB to 1 MiB.
const CHUNK_LOG2_RANGE: std::ops::RangeInclusive<u8> = 16..=20;

/// What a container holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A training checkpoint (`.tlt`).
    Checkpoint,
    /// An exported ONNX model (`.etlt`).
    Onnx,
}

impl Kind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Checkpoint, Self::Onnx].into_iter().find(|kind| kind.to_byte() == byte)
    }

    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Checkpoint => 1,
            Self::Onnx => 2,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "a checkpoint (.tlt)",
            Self::Onnx => "an exported model (.etlt)",
        })
    }
}

/// A header without checksum and key check, which follow from the rest and the passphrase.
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) params: KdfParams,
    pub(super) plaintext_len: u64,
    pub(super) salt: [u8; SALT_LEN],
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) chunk_log2: u8,
}

impl Header {
    pub(super) fn new(kind: Kind, params: KdfParams, plaintext_len: u64, random: &[u8; RANDOM_LEN]) -> Self {
        let [salt @ .., n0, n1, n2, n3, n4, n5, n6] = *random;
        let nonce = [n0, n1, n2, n3, n4, n5, n6];
        Self { kind, params, plaintext_len, salt, nonce, chunk_log2: CHUNK_LOG2 }
    }

    pub(super) fn to_bytes(&self, key_check: &[u8; CHECK_LEN]) -> [u8; HEADER_LEN] {
        let KdfParams { memory_kib, passes, lanes } = self.params;
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, self.kind.to_byte(), ARGON2ID, AES_256_GCM_STREAM_BE32]);
        bytes.extend(memory_kib.to_le_bytes());
        bytes.extend(passes.to_le_bytes());
        bytes.extend(lanes.to_le_bytes());
        bytes.extend(self.plaintext_len.to_le_bytes());
        bytes.extend(self.salt);
        bytes.extend(self.nonce);
        bytes.push(self.chunk_log2);
        bytes.extend(checksum(&bytes));
        bytes.extend(key_check);
        bytes.try_into().expect("the fields add up to the length of the header")
    }

    /// Reads the header of a container. Checks everything that can be checked without the passphrase, and the
    /// cost of the key derivation before anything is spent on it.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ContainerError> {
        match sniff(bytes) {
            Sniffed::Oxidet { version: VERSION, .. } => {}
            Sniffed::Oxidet { version, .. } => return Err(ContainerError::Version(version)),
            Sniffed::NvidiaEtlt => return Err(ContainerError::NvidiaEtlt),
            Sniffed::Hdf5 => return Err(ContainerError::Hdf5),
            Sniffed::Other => return Err(ContainerError::NotEncrypted),
        }
        let Some((bytes, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(ContainerError::Header);
        };
        if checksum(&bytes[..CHECKSUM_AT]) != bytes[CHECKSUM_AT..KEY_CHECK_AT] {
            return Err(ContainerError::Header);
        }
        let mut fields = Fields(&bytes[KIND_AT..]);
        let [kind, kdf, cipher] = fields.take();
        let kind = Kind::from_byte(kind).ok_or(ContainerError::HeaderField("kind"))?;
        if kdf != ARGON2ID {
            return Err(ContainerError::HeaderField("key derivation"));
        }
        if cipher != AES_256_GCM_STREAM_BE32 {
            return Err(ContainerError::HeaderField("cipher"));
        }
        let [memory_kib, passes, lanes] = [(); 3].map(|()| u32::from_le_bytes(fields.take()));
        let params = KdfParams { memory_kib, passes, lanes };
        params.check().map_err(|_| ContainerError::HeaderField("key derivation cost"))?;
        let plaintext_len = u64::from_le_bytes(fields.take());
        let (salt, nonce, [chunk_log2]) = (fields.take(), fields.take(), fields.take());
        if !CHUNK_LOG2_RANGE.contains(&chunk_log2) {
            return Err(ContainerError::HeaderField("chunk size"));
        }
        let header = Self { kind, params, plaintext_len, salt, nonce, chunk_log2 };
        header.container_len().map_err(|_| ContainerError::HeaderField("length"))?;
        Ok(header)
    }

    /// Plaintext bytes in every chunk but the last, which has 0 (only if all is empty) to this many.
    pub(super) fn chunk_len(&self) -> usize {
        1 << self.chunk_log2
    }

    /// Number of chunks, at least 1.
    pub(super) fn chunks(&self) -> Result<u32, ContainerError> {
        u32::try_from(self.plaintext_len.div_ceil(self.chunk_len() as u64).max(1))
            .map_err(|_| ContainerError::TooLarge)
    }

    /// Bytes of the whole container.
    pub(super) fn container_len(&self) -> Result<u64, ContainerError> {
        // No overflow: 2³² chunks of at most 2²⁰ bytes and their tags.
        Ok(HEADER_LEN as u64 + self.plaintext_len + u64::from(self.chunks()?) * TAG_LEN as u64)
    }
}

/// Takes fixed-size fields off the front of a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) =
            self.0.split_first_chunk().expect("the header is complete and its fields fit in it");
        self.0 = rest;
        *field
    }
}

/// Tells accidental damage of the header from a wrong passphrase. It protects against nobody: GCM does that.
fn checksum(front: &[u8]) -> [u8; KEY_CHECK_AT - CHECKSUM_AT] {
    let digest: [u8; 32] = Sha256::digest(front).into();
    *digest.first_chunk().expect("a SHA-256 digest has 32 bytes")
}
