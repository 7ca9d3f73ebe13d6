//! The encrypted container of `.tlt` checkpoints and `.etlt` models.
//!
//! AES-256-GCM in chunks (the STREAM construction) under a key that Argon2id derives from a passphrase. The
//! header is authenticated with every chunk, and tells a wrong passphrase from damage. Byte layout:
//! `docs/formats/etlt.md`. This is not NVIDIA's format of the same file extensions, which is closed;
//! [`sniff()`] recognises it.

mod error;
mod header;
mod key;
mod sniff;

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::Aes256Gcm;
use zeroize::Zeroizing;

pub use error::ContainerError;
pub use header::{HEADER_LEN, Kind, VERSION};
pub use key::{KdfParams, Passphrase};
pub use sniff::{Sniffed, sniff};

use header::{Header, KEY_CHECK_AT, NONCE_LEN, SALT_LEN};
use key::Derived;

/// Random bytes that [`seal`] needs: salt and nonce prefix.
pub const RANDOM_LEN: usize = SALT_LEN + NONCE_LEN;

/// Bytes that authentication adds to each chunk.
const TAG_LEN: usize = 16;

/// Encrypts `plaintext` into a container.
///
/// `random` must come from the operating system's generator and be used for one container only: two
/// containers with the same passphrase and the same random bytes reveal each other's contents. The result
/// depends on nothing else.
///
/// # Errors
/// [`ContainerError::Cost`] when `params` are outside the accepted range or their memory cannot be had,
/// [`ContainerError::TooLarge`] beyond 2³² chunks.
pub fn seal(
    kind: Kind,
    plaintext: &[u8],
    passphrase: &Passphrase,
    random: &[u8; RANDOM_LEN],
    params: KdfParams,
) -> Result<Vec<u8>, ContainerError> {
    seal_with(&Header::new(kind, params, plaintext.len(), random), plaintext, passphrase)
}

fn seal_with(header: &Header, plaintext: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, ContainerError> {
    let total = header.container_len()?;
    let derived = Derived::new(passphrase, &header.salt, header.params)?;
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&header.to_bytes(&derived.check));
    let associated = out.clone();

    let stream = StreamBE32::<Aes256Gcm>::new(derived.key(), (&header.nonce).into());
    let chunk_len = header.chunk_len();
    let last = header.chunks()? - 1;
    // Room for the tag, so that the buffer never moves and leaves a copy of the plaintext behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(chunk_len.min(plaintext.len()) + TAG_LEN));
    for position in 0..=last {
        let start = position as usize * chunk_len;
        let end = plaintext.len().min(start + chunk_len);
        buffer.clear();
        buffer.extend_from_slice(&plaintext[start..end]);
        stream
            .encrypt_in_place(position, position == last, &associated, &mut *buffer)
            .expect("a chunk is far below AES-GCM's limit of 64 GiB");
        out.extend_from_slice(&buffer);
    }
    Ok(out)
}

/// Decrypts a container of the given kind. Nothing is returned unless every byte is authentic.
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
    let expected = header.container_len()?;
    if bytes.len() != expected {
        return Err(ContainerError::Length { expected, found: bytes.len() });
    }
    let (associated, mut rest) = bytes.split_at(HEADER_LEN);
    let derived = Derived::new(passphrase, &header.salt, header.params)?;
    if !derived.matches(&associated[KEY_CHECK_AT..]) {
        return Err(ContainerError::WrongKey);
    }

    let stream = StreamBE32::<Aes256Gcm>::new(derived.key(), (&header.nonce).into());
    let sealed_len = header.chunk_len() + TAG_LEN;
    let last = header.chunks()? - 1;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(header.plaintext_len));
    let mut buffer = Zeroizing::new(Vec::with_capacity(sealed_len.min(rest.len())));
    for position in 0..=last {
        let (chunk, tail) = rest.split_at(sealed_len.min(rest.len()));
        rest = tail;
        buffer.clear();
        buffer.extend_from_slice(chunk);
        stream
            .decrypt_in_place(position, position == last, associated, &mut *buffer)
            .map_err(|_| ContainerError::Chunk { number: position + 1, of: last + 1 })?;
        plaintext.extend_from_slice(&buffer);
    }
    Ok(plaintext)
}

#[cfg(test)]
mod tests;
