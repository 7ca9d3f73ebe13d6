//! `manifest.json.sig`: an Ed25519 signature (RFC 8032) of the bytes of a manifest, 64 bytes and nothing else, as `openssl pkeyutl
//! -sign -rawin` makes them. Keys are PEM, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.

use std::fmt;

use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Name of the signature's file, beside the manifest.
pub const SIGNATURE_FILE: &str = "manifest.json.sig";

/// Length of a signature, bytes.
pub const SIGNATURE_LEN: usize = 64;

/// A key that signs. It is wiped from memory when dropped, and never shown.
pub struct PrivateKey(SigningKey);

/// A key that checks signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Text that is not the key it should be. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A private key under a passphrase.
    #[error("the private key is under a passphrase; take that off: openssl pkey -in KEY -out PLAIN")]
    Encrypted,
    /// No private key of Ed25519.
    #[error("not an Ed25519 private key in PEM; make one: openssl genpkey -algorithm ed25519 -out KEY")]
    Private,
    /// A private key where a public one is wanted.
    #[error("a private key; its public half is what is wanted here: openssl pkey -in KEY -pubout -out PUB")]
    PrivateForPublic,
    /// No public key of Ed25519.
    #[error("not an Ed25519 public key in PEM; take it from the private key: openssl pkey -in KEY -pubout")]
    Public,
}

impl PrivateKey {
    /// Reads a private key (PKCS #8 in PEM).
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(KeyError::Encrypted);
        }
        SigningKey::from_pkcs8_pem(pem.trim()).map(Self).map_err(|_| KeyError::Private)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs. Equal messages give equal signatures.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PublicKey {
    /// Reads a public key (SubjectPublicKeyInfo in PEM).
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::PrivateForPublic);
        }
        VerifyingKey::from_public_key_pem(pem.trim()).map(Self).map_err(|_| KeyError::Public)
    }

    /// Whether `signature` is this key's of `message`. Signatures of keys of small order, which fit many messages, are none.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test 2 of RFC 8032, section 7.1, its secret and its public key as the `openssl` program puts them into PEM.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n\
        -----END PUBLIC KEY-----\n";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        let key = PrivateKey::from_pem(PRIVATE).unwrap();
        assert_eq!(key.sign(&[0x72]).to_vec(), hex(SIGNATURE));
        let public = PublicKey::from_pem(PUBLIC).unwrap();
        assert_eq!(key.public(), public);
        assert!(public.verifies(&[0x72], &hex(SIGNATURE)));
    }

    #[test]
    fn a_changed_bit_or_length_is_noticed() {
        let public = PublicKey::from_pem(PUBLIC).unwrap();
        let signature = hex(SIGNATURE);
        for bit in 0..8 * SIGNATURE_LEN {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!public.verifies(&[0x72], &changed), "bit {bit}");
        }
        assert!(!public.verifies(&[0x73], &signature));
        assert!(!public.verifies(&[0x72, 0], &signature));
        assert!(!public.verifies(&[0x72], &signature[..63]));
        assert!(!public.verifies(&[0x72], &[&signature[..], b"\n"].concat()));
        assert!(!public.verifies(&[0x72], &[]));
    }

    /// The public key of order 1: with it, anybody can sign anything.
    #[test]
    fn a_key_that_fits_everything_verifies_nothing() {
        let pem = PUBLIC.replace(
            "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
            "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        );
        let mut forged = [0; SIGNATURE_LEN];
        forged[0] = 1;
        assert!(!PublicKey::from_pem(&pem).unwrap().verifies(b"anything", &forged));
    }

    #[test]
    fn what_is_no_key_is_told_with_what_to_do() {
        let private = |pem: &str| PrivateKey::from_pem(pem).unwrap_err();
        let encrypted = PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(private(&encrypted), KeyError::Encrypted);
        // The start of an elliptic curve's key is another object identifier.
        for pem in ["", PUBLIC, &PRIVATE[..80], &PRIVATE.replace("K2Vw", "K2Vu")] {
            assert_eq!(private(pem), KeyError::Private, "{pem}");
        }
        assert_eq!(PublicKey::from_pem(PRIVATE), Err(KeyError::PrivateForPublic));
        for pem in ["", &PUBLIC[..60], &PUBLIC.replace("K2Vw", "K2Vu")] {
            assert_eq!(PublicKey::from_pem(pem), Err(KeyError::Public), "{pem}");
        }
        assert_eq!(format!("{:?}", PrivateKey::from_pem(PRIVATE).unwrap()), "PrivateKey(..)");
    }
}
