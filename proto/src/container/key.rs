//! From passphrase to keys: Argon2id (RFC 9106), everything secret wiped after use.

use std::fmt;

use aes_gcm::{Aes256Gcm, Key};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::ContainerError;

/// A passphrase. Wiped when dropped, never shown.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the passphrase as it is: trimming the line end of a key file is the caller's job.
    ///
    /// # Errors
    /// [`ContainerError::EmptyKey`].
    pub fn new(text: String) -> Result<Self, ContainerError> {
        let text = Zeroizing::new(text);
        if text.is_empty() { Err(ContainerError::EmptyKey) } else { Ok(Self(text)) }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Cost of deriving a key with Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB, `8 · lanes` to 1 GiB.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 16.
    pub passes: u32,
    /// Lanes, 1 to 16. They are computed one after the other.
    pub lanes: u32,
}

impl KdfParams {
    /// Most memory a header may ask for, in KiB: 1 GiB.
    const MAX_MEMORY_KIB: u32 = 1 << 20;
    /// Most passes a header may ask for.
    const MAX_PASSES: u32 = 16;
    /// Most lanes a header may ask for.
    const MAX_LANES: u32 = 16;
    /// Most memory × passes, in KiB: 4 GiB written, about 3 s on a desktop core and 15 s on a Jetson Nano.
    const MAX_WORK_KIB: u64 = 4 << 20;

    /// Checks the bounds that keep a hostile header from taking all memory or hours of time.
    pub(super) fn check(self) -> Result<(), ContainerError> {
        let Self { memory_kib, passes, lanes } = self;
        let fits = (1..=Self::MAX_PASSES).contains(&passes)
            && (1..=Self::MAX_LANES).contains(&lanes)
            && (8 * lanes..=Self::MAX_MEMORY_KIB).contains(&memory_kib)
            && u64::from(memory_kib) * u64::from(passes) <= Self::MAX_WORK_KIB;
        if fits { Ok(()) } else { Err(ContainerError::Cost { memory_kib }) }
    }
}

impl Default for KdfParams {
    /// 64 MiB and 3 passes, the second recommendation of RFC 9106 with one lane: 0.13 s on a desktop core and
    /// about 0.6 s on a Jetson Nano, once per file opened. Passphrases in this trade are often weak, so the
    /// cost counts.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }
}

/// Length of the AES-256 key in bytes.
const KEY_LEN: usize = 32;
/// Length of the key check in bytes.
pub(super) const CHECK_LEN: usize = 16;

/// What a passphrase turns into: 48 bytes of Argon2id, of which the last 16 are public.
pub(super) struct Derived {
    key: Zeroizing<[u8; KEY_LEN]>,
    /// Stored in the header. Says nothing about the key: both are disjoint parts of one hash output.
    pub(super) check: [u8; CHECK_LEN],
}

impl Derived {
    pub(super) fn new(
        passphrase: &Passphrase,
        salt: &[u8],
        params: KdfParams,
    ) -> Result<Self, ContainerError> {
        params.check()?;
        let KdfParams { memory_kib, passes, lanes } = params;
        let refused = ContainerError::Cost { memory_kib };
        let mut output = Zeroizing::new([0; KEY_LEN + CHECK_LEN]);
        let costs = Params::new(memory_kib, passes, lanes, Some(output.len())).map_err(|_| refused)?;

        // Allocated here and not by `argon2`, which neither wipes it nor lets a failure be reported.
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(costs.block_count()).map_err(|_| refused)?;
        memory.resize(costs.block_count(), Block::new());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, costs)
            .hash_password_into_with_memory(
                passphrase.0.as_bytes(),
                salt,
                &mut *output,
                memory.as_mut_slice(),
            )
            .map_err(|_| refused)?;

        let mut derived = Self { key: Zeroizing::new([0; KEY_LEN]), check: [0; CHECK_LEN] };
        let (key, check) = output.split_at(KEY_LEN);
        derived.key.copy_from_slice(key);
        derived.check.copy_from_slice(check);
        Ok(derived)
    }

    pub(super) fn key(&self) -> &Key<Aes256Gcm> {
        (&*self.key).into()
    }

    /// Compares with the key check of a header in constant time.
    pub(super) fn matches(&self, check: &[u8]) -> bool {
        self.check.ct_eq(check).into()
    }
}
