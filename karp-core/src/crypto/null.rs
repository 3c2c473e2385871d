//! The null suite, for fuzzing only: the functions of `primitives.rs` without any protection.
//!
//! A fuzzer that changes sealed octets would be stopped by every tag; here it gets through to what lies behind. Texts
//! are sealed in the clear, a tag or MAC says only which key made it, and a signature says only who signed, so a wrong
//! key is still refused. Compiled under `cfg(fuzzing)` and, so that it cannot slip into anything that is shipped, never
//! without debug assertions.

#[cfg(not(debug_assertions))]
compile_error!("cfg(fuzzing) takes all protection away: it is for fuzzing builds with debug assertions");

use super::secret::Secret;

pub(super) fn seal(key: &[u8; 32], _nonce: &[u8; 12], _aad: &[u8], _text: &mut [u8]) -> Option<[u8; 16]> {
    Some(mark(key))
}

pub(super) fn open(key: &[u8; 32], _nonce: &[u8; 12], _aad: &[u8], _text: &mut [u8], tag: &[u8; 16]) -> bool {
    *tag == mark(key)
}

/// The MAC of an announcement, whatever it says.
pub(super) fn mac(key: &[u8; 32], _parts: &[&[u8]]) -> [u8; 16] {
    mark(key)
}

/// The public half is the secret one.
pub(super) fn x25519_public(secret: &[u8; 32]) -> [u8; 32] {
    *secret
}

/// What both sides get alike: the sum of the halves. The zero point is refused, as in the real one.
pub(super) fn x25519(secret: &[u8; 32], peer: &[u8; 32]) -> Option<Secret<32>> {
    let mut shared = *secret;
    for (octet, other) in shared.iter_mut().zip(peer) {
        *octet = octet.wrapping_add(*other);
    }
    (*peer != [0; 32]).then(|| Secret::from_bytes(shared))
}

pub(super) struct SigningKey([u8; 32]);

impl SigningKey {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(*seed)
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.0
    }

    pub(super) fn sign(&self, _parts: &[&[u8]]) -> [u8; 64] {
        signed(&self.0)
    }
}

pub(super) fn ed25519_verify(public: &[u8; 32], _parts: &[&[u8]], signature: &[u8; 64]) -> bool {
    *signature == signed(public) && ed25519_acceptable(public)
}

pub(super) fn ed25519_acceptable(public: &[u8; 32]) -> bool {
    *public != [0; 32]
}

fn mark(key: &[u8; 32]) -> [u8; 16] {
    key.first_chunk().copied().unwrap_or_default()
}

fn signed(public: &[u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    for (to, from) in signature.iter_mut().zip(public.iter().cycle()) {
        *to = *from;
    }
    signature
}
