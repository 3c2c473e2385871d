//! Ed25519 (RFC 8032) for AUTH method 14 with the Identity hash (RFC 8420) and for the signatures of a term.
//!
//! What is signed may lie in parts; nothing is concatenated.

use core::fmt;

use rand_core::CryptoRng;

use super::primitives;
use super::secret::Secret;

/// Octets of a public key.
pub const PUBLIC_KEY_LEN: usize = 32;

/// Octets of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// An Ed25519 key pair: a router's long-term credential, or what a GCKS makes for its term. Neither `Clone` nor `Copy`.
pub struct SigningKey(primitives::SigningKey);

impl SigningKey {
    /// A fresh key pair from 32 octets of the host's generator.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self::from_seed(&Secret::random(rng))
    }

    /// The key pair of a stored seed, the 32 octets that RFC 8032 section 5.1.5 calls the private key.
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(primitives::SigningKey::from_seed(seed.expose()))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; PUBLIC_KEY_LEN] {
        self.0.public()
    }

    /// The signature over the concatenation of `parts`. Deterministic: no randomness is drawn.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(parts)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

/// Whether `signature` over the concatenation of `parts` is `public`'s.
///
/// False as well for a public key that is no point of the curve, and for one of low order, under which one signature
/// would fit many messages.
#[must_use]
pub fn verify(public: &[u8; PUBLIC_KEY_LEN], parts: &[&[u8]], signature: &[u8; SIGNATURE_LEN]) -> bool {
    primitives::ed25519_verify(public, parts, signature)
}

/// Whether [`verify`] could ever accept under `public`: for keys that come from a configuration or a peer, so that a
/// broken one is refused when it is loaded.
#[must_use]
pub fn is_acceptable_public_key(public: &[u8; PUBLIC_KEY_LEN]) -> bool {
    primitives::ed25519_acceptable(public)
}
