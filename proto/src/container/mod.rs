//! The encrypted container of `.tlt` checkpoints and `.etlt` models.
//!
//! AES-256-GCM in chunks (the STREAM construction) under a key that Argon2id derives from a passphrase. The
//! header is authenticated with every chunk, and tells a wrong passphrase from damage. Byte layout:
//! `docs/formats/etlt.md`. This is not NVIDIA's format of the same file extensions, which is closed;
//! [`sniff()`] recognises it.

mod chunks;
mod error;
mod header;
mod key;
mod sniff;

use zeroize::Zeroizing;

pub use chunks::{Opener, Sealer};
pub use error::ContainerError;
pub use header::{HEADER_LEN, Kind, VERSION};
pub use key::{KdfParams, Passphrase};
pub use sniff::{Sniffed, sniff};

use header::{Header, NONCE_LEN, SALT_LEN};

/// Random bytes that [`seal`] and [`Sealer`] need: salt and nonce prefix.
pub const RANDOM_LEN: usize = SALT_LEN + NONCE_LEN;

/// Bytes that authentication adds to each chunk.
const TAG_LEN: usize = 16;

/// Encrypts `plaintext` into a container. [`Sealer`] does it a chunk at a time.
///
/// `random` must come from the operating system's generator and be used for one container only: two
/// containers with the same passphrase and the same random bytes reveal each other's contents. The result
/// depends on nothing else.
///
/// # Errors
/// As [`Sealer::new`].
pub fn seal(
    kind: Kind,
    plaintext: &[u8],
    passphrase: &Passphrase,
    random: &[u8; RANDOM_LEN],
    params: KdfParams,
) -> Result<Vec<u8>, ContainerError> {
    seal_with(&Header::new(kind, params, plaintext.len() as u64, random), plaintext, passphrase)
}

fn seal_with(header: &Header, plaintext: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, ContainerError> {
    let total = usize::try_from(header.container_len()?).map_err(|_| ContainerError::TooLarge)?;
    let mut sealer = Sealer::with(header, passphrase)?;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(sealer.header());
    // Room for the tag, so that the buffer never moves and leaves a copy of the plaintext behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(header.chunk_len().min(plaintext.len()) + TAG_LEN));
    let mut rest = plaintext;
    while let Some(len) = sealer.next_len() {
        let (chunk, tail) = rest.split_at(len);
        rest = tail;
        buffer.clear();
        buffer.extend_from_slice(chunk);
        sealer.seal(&mut buffer)?;
        out.extend_from_slice(&buffer);
    }
    Ok(out)
}

/// Decrypts a container of the given kind. Nothing is returned unless every byte is authentic. [`Opener`] does it a chunk at a time.
///
/// Needs memory for the plaintext, which is shorter than `bytes`, and what the key derivation asks for: at
/// most 1 GiB.
///
/// # Errors
/// Tells apart: not a container at all, NVIDIA's own format, another kind, a newer version, damage
/// (with the place), and a wrong passphrase. See [`ContainerError`].
pub fn open(kind: Kind, bytes: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, ContainerError> {
    let header = Header::read(bytes)?;
    if header.kind != kind {
        return Err(ContainerError::OtherKind { wanted: kind, found: header.kind });
    }
    let mut opener = Opener::with(&header, bytes, bytes.len() as u64, passphrase)?;
    let mut rest = &bytes[HEADER_LEN..];
    // Both fit in memory, as `bytes` does and is longer.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(rest.len()));
    let mut buffer = Zeroizing::new(Vec::with_capacity(rest.len().min(header.chunk_len() + TAG_LEN)));
    while let Some(len) = opener.next_len() {
        let (chunk, tail) = rest.split_at(len);
        rest = tail;
        buffer.clear();
        buffer.extend_from_slice(chunk);
        opener.open(&mut buffer)?;
        plaintext.extend_from_slice(&buffer);
    }
    Ok(plaintext)
}

#[cfg(test)]
mod tests;
