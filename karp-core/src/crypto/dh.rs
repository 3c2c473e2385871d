//! X25519 (RFC 7748, RFC 8031): [`DhSecret`] and the [`SharedSecret`] it agrees on.

use core::fmt;

use rand_core::CryptoRng;

use super::primitives;
use super::secret::Secret;

/// Octets of a public value.
pub const DH_LEN: usize = 32;

/// Why there is no shared secret. The peer's doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DhError {
    /// The public value has not 32 octets.
    Length,
    /// The public value has low order: the result would be zero whatever our secret is (RFC 7748 section 6.1).
    LowOrder,
}

/// The secret half of an X25519 key pair, with its public half computed once. Neither `Clone` nor `Copy`.
pub struct DhSecret {
    secret: Secret<32>,
    public: [u8; DH_LEN],
}

/// g^ir: what both sides of an exchange have computed, 32 octets, never all zero. Key it into the prf; it is no key
/// itself.
#[derive(Debug)]
pub struct SharedSecret(Secret<32>);

impl DhSecret {
    /// A fresh key pair. Draws 32 octets and computes the public half.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let secret = Secret::random(rng);
        let public = primitives::x25519_public(secret.expose());
        Self { secret, public }
    }

    /// The public half, for the KE payload.
    #[must_use]
    pub const fn public(&self) -> [u8; DH_LEN] {
        self.public
    }

    /// The secret shared with the owner of `peer`, the data of its KE payload.
    ///
    /// # Errors
    ///
    /// [`DhError`] for a public value of another length, or one that makes the result all zeros (looked at in constant
    /// time). Encodings that are not canonical and points on the twist are computed with as RFC 7748 section 5 says.
    pub fn agree(&self, peer: &[u8]) -> Result<SharedSecret, DhError> {
        let peer = peer.try_into().map_err(|_| DhError::Length)?;
        primitives::x25519(self.secret.expose(), peer)
            .map(SharedSecret)
            .ok_or(DhError::LowOrder)
    }

    /// A second copy, for the attempts of one exchange, which share a KE payload and end one by one.
    ///
    /// Hazard: forward secrecy begins when the last copy is dropped.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            secret: self.secret.duplicate(),
            public: self.public,
        }
    }
}

impl SharedSecret {
    /// One that another implementation computed.
    #[cfg(test)]
    pub(crate) const fn from_octets_for_testing_only(octets: [u8; 32]) -> Self {
        Self(Secret::from_bytes(octets))
    }

    /// The octets, to key further derivations with.
    #[must_use]
    pub const fn expose(&self) -> &[u8; DH_LEN] {
        self.0.expose()
    }
}

impl fmt::Debug for DhSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DhSecret([redacted])")
    }
}
