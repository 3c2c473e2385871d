//! The primitives as the rest of this module calls them: crates behind a few functions over octets.
//!
//! `null.rs` has the same functions for fuzzing. Nothing else in the crate names these crates.

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::AeadInOut as _};
use ed25519_dalek::ed25519::signature::{MultipartSigner as _, MultipartVerifier as _};
use ed25519_dalek::{Signature, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::apart::{CURVE, SHALLOW, apart};
use super::prf::{cut, prf};
use super::secret::Secret;

/// Encrypts `text` in place and returns the tag; nothing if the text is too long for the cipher.
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
    apart::<SHALLOW, _>(|| {
        let cipher = ChaCha20Poly1305::new(key.into());
        let tag = cipher.encrypt_inout_detached(nonce.into(), aad, text.into());
        tag.ok().map(Into::into)
    })
}

/// Verifies the tag, then decrypts `text` in place. False leaves `text` as it was.
pub(super) fn open(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
    apart::<SHALLOW, _>(|| {
        let cipher = ChaCha20Poly1305::new(key.into());
        let opened = cipher.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into());
        opened.is_ok()
    })
}

/// The MAC of an announcement: the prf, cut.
pub(super) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    cut(&prf(key, parts))
}

/// The public half of an X25519 secret.
pub(super) fn x25519_public(secret: &[u8; 32]) -> [u8; 32] {
    apart::<CURVE, _>(|| PublicKey::from(&StaticSecret::from(*secret)).to_bytes())
}

/// X25519; nothing if the result is all zeros, which is found in constant time.
pub(super) fn x25519(secret: &[u8; 32], peer: &[u8; 32]) -> Option<Secret<32>> {
    let mut result = Secret::zeroed();
    let contributory = apart::<CURVE, _>(|| {
        let shared = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(*peer));
        *result.expose_mut() = *shared.as_bytes();
        shared.was_contributory()
    });
    contributory.then_some(result)
}

/// An Ed25519 key pair, expanded.
pub(super) struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        apart::<CURVE, _>(|| Self(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; 64] {
        apart::<CURVE, _>(|| self.0.multipart_sign(parts).to_bytes())
    }
}

/// Ed25519 verification, refusing public keys of low order.
pub(super) fn ed25519_verify(public: &[u8; 32], parts: &[&[u8]], signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    verifying_key(public).is_some_and(|key| key.multipart_verify(parts, &signature).is_ok())
}

/// Whether a public key is a point of the curve and not of low order.
pub(super) fn ed25519_acceptable(public: &[u8; 32]) -> bool {
    verifying_key(public).is_some()
}

/// Verification in parts is not the strict one of the crate: a key of low order has to be refused here.
fn verifying_key(public: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak())
}
