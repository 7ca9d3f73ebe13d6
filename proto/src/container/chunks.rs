//! Encryption and decryption a chunk at a time: a file of any size in the memory of one chunk.

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::Aes256Gcm;

use super::error::ContainerError;
use super::header::{HEADER_LEN, Header, KEY_CHECK_AT, Kind};
use super::key::{Derived, KdfParams, Passphrase};
use super::{RANDOM_LEN, TAG_LEN};

/// Makes a container: its header, then one chunk after the other.
///
/// ```
/// # use oxidet_proto::container::*;
/// # let (plaintext, random) = ([7; 100_000], [1; RANDOM_LEN]);
/// # let passphrase = Passphrase::new("secret".into())?;
/// # let params = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
/// let mut sealer = Sealer::new(Kind::Onnx, plaintext.len() as u64, &passphrase, &random, params)?;
/// let mut container = sealer.header().to_vec();
/// let mut rest = &plaintext[..];
/// let mut chunk = Vec::new();
/// while let Some(len) = sealer.next_len() {
///     chunk.clear();
///     chunk.extend(rest.split_off(..len).expect("the parts add up to the whole"));
///     sealer.seal(&mut chunk)?;
///     container.extend(&chunk);
/// }
/// # assert_eq!(open(Kind::Onnx, &container, &passphrase)?[..], plaintext);
/// # Ok::<(), ContainerError>(())
/// ```
pub struct Sealer {
    header: [u8; HEADER_LEN],
    chunks: Chunks,
}

impl Sealer {
    /// Derives the key. `plaintext_len` is in bytes; `random` must come from the operating system's generator and be used for one
    /// container only: two containers with the same passphrase and the same random bytes reveal each other's contents.
    ///
    /// # Errors
    /// [`ContainerError::Cost`] when `params` are outside the accepted range or their memory cannot be had,
    /// [`ContainerError::TooLarge`] beyond 2³² chunks.
    pub fn new(
        kind: Kind,
        plaintext_len: u64,
        passphrase: &Passphrase,
        random: &[u8; RANDOM_LEN],
        params: KdfParams,
    ) -> Result<Self, ContainerError> {
        Self::with(&Header::new(kind, params, plaintext_len, random), passphrase)
    }

    pub(super) fn with(header: &Header, passphrase: &Passphrase) -> Result<Self, ContainerError> {
        header.container_len()?;
        let derived = Derived::new(passphrase, &header.salt, header.params)?;
        Ok(Self { header: header.to_bytes(&derived.check), chunks: Chunks::new(header, &derived)? })
    }

    /// The first bytes of the container.
    pub fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    /// Bytes of plaintext that the next chunk takes; `None` behind the last.
    pub fn next_len(&self) -> Option<usize> {
        self.chunks.next_len()
    }

    /// Encrypts the next chunk in place and appends its tag, of 16 bytes. A buffer with room for them does not move, and leaves no
    /// plaintext behind.
    ///
    /// # Errors
    /// [`ContainerError::ChunkLength`] when the chunk has not [`next_len`](Self::next_len) bytes.
    pub fn seal(&mut self, chunk: &mut Vec<u8>) -> Result<(), ContainerError> {
        let Self { header, chunks } = self;
        let (position, is_last) = chunks.take(chunk.len(), 0)?;
        chunks
            .stream
            .encrypt_in_place(position, is_last, header, chunk)
            .expect("a chunk is far below AES-GCM's limit of 64 GiB");
        Ok(())
    }
}

/// Opens a container: its header, then one chunk after the other. The content is authentic when the last chunk is open and not
/// before: until then whoever reads must be able to take back what was made of it.
pub struct Opener {
    header: [u8; HEADER_LEN],
    kind: Kind,
    plaintext_len: u64,
    chunks: Chunks,
}

impl Opener {
    /// Reads the header and derives the key. `head` is the beginning of the container, [`HEADER_LEN`] bytes or more, and
    /// `container_len` its length in bytes.
    ///
    /// # Errors
    /// Tells apart: not a container at all, NVIDIA's own format, a newer version, damage, and a wrong passphrase. See
    /// [`ContainerError`].
    pub fn new(head: &[u8], container_len: u64, passphrase: &Passphrase) -> Result<Self, ContainerError> {
        Self::with(&Header::read(head)?, head, container_len, passphrase)
    }

    /// `header` is what `head` says.
    pub(super) fn with(
        header: &Header,
        head: &[u8],
        container_len: u64,
        passphrase: &Passphrase,
    ) -> Result<Self, ContainerError> {
        let expected = header.container_len()?;
        if container_len != expected {
            return Err(ContainerError::Length { expected, found: container_len });
        }
        let bytes = *head.first_chunk::<HEADER_LEN>().ok_or(ContainerError::Header)?;
        let derived = Derived::new(passphrase, &header.salt, header.params)?;
        if !derived.matches(&bytes[KEY_CHECK_AT..]) {
            return Err(ContainerError::WrongKey);
        }
        let Header { kind, plaintext_len, .. } = *header;
        Ok(Self { header: bytes, kind, plaintext_len, chunks: Chunks::new(header, &derived)? })
    }

    /// What the container holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of plaintext in all.
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Bytes that the next chunk has in the container; `None` behind the last.
    pub fn next_len(&self) -> Option<usize> {
        Some(self.chunks.next_len()? + TAG_LEN)
    }

    /// Decrypts the next chunk in place, and takes its tag off.
    ///
    /// # Errors
    /// [`ContainerError::Chunk`] when the chunk is not authentic; it stays encrypted. [`ContainerError::ChunkLength`] when it has not
    /// [`next_len`](Self::next_len) bytes.
    pub fn open(&mut self, chunk: &mut Vec<u8>) -> Result<(), ContainerError> {
        let Self { header, chunks, .. } = self;
        let (position, is_last) = chunks.take(chunk.len(), TAG_LEN)?;
        chunks
            .stream
            .decrypt_in_place(position, is_last, header, chunk)
            .map_err(|_| ContainerError::Chunk { number: position + 1, of: chunks.count })
    }
}

/// The chunks of a container, one after the other.
struct Chunks {
    stream: StreamBE32<Aes256Gcm>,
    chunk_len: usize,
    last_len: usize,
    /// At least 1.
    count: u32,
    /// Chunks that are done, at most `count`.
    done: u32,
}

impl Chunks {
    fn new(header: &Header, derived: &Derived) -> Result<Self, ContainerError> {
        let stream = StreamBE32::<Aes256Gcm>::new(derived.key(), (&header.nonce).into());
        let (chunk_len, count) = (header.chunk_len(), header.chunks()?);
        let full = u64::from(count - 1) * chunk_len as u64;
        let last_len = usize::try_from(header.plaintext_len - full).map_err(|_| ContainerError::TooLarge)?;
        Ok(Self { stream, chunk_len, last_len, count, done: 0 })
    }

    /// Bytes of plaintext in the next chunk.
    fn next_len(&self) -> Option<usize> {
        match self.count - self.done {
            0 => None,
            1 => Some(self.last_len),
            _ => Some(self.chunk_len),
        }
    }

    /// Position of a chunk of `len` bytes, of which `tag` are its tag, and whether it is the last.
    fn take(&mut self, len: usize, tag: usize) -> Result<(u32, bool), ContainerError> {
        let expected = self.next_len().map(|plain| plain + tag);
        if expected != Some(len) {
            return Err(ContainerError::ChunkLength { expected: expected.unwrap_or(0), found: len });
        }
        self.done += 1;
        Ok((self.done - 1, self.done == self.count))
    }
}
