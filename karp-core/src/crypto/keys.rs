//! The key schedule: SKEYSEED, the keys of an IKE SA, the keys of a Rekey SA (PROTOCOL.md section 3).

use rand_core::CryptoRng;

use super::dh::SharedSecret;
use super::prf::{keymat, prf, prf_split_key};
use super::secret::Secret;

/// SKEYSEED of an initial exchange: prf(Ni | Nr, g^ir) (RFC 7296 section 2.14). Nonces of any length.
#[must_use]
pub fn skeyseed(ni: &[u8], nr: &[u8], shared: &SharedSecret) -> Secret<32> {
    Secret::from_bytes(prf_split_key(&[ni, nr], &[shared.expose()]))
}

/// SKEYSEED of an IKE SA that replaces another: prf(old SK_d, g^ir | Ni | Nr) (RFC 7296 section 2.18).
#[must_use]
pub fn rekey_skeyseed(old_sk_d: &Secret<32>, shared: &SharedSecret, ni: &[u8], nr: &[u8]) -> Secret<32> {
    Secret::from_bytes(prf(old_sk_d.expose(), &[shared.expose(), ni, nr]))
}

/// The key wrap key of an IKE SA, SK_w: prf+(SK_d, "Key Wrap for G-IKEv2") (G-IKEv2 section 3.1.1, which calls it
/// GSK_w). Only the GCKS, who is the responder, wraps under it.
#[must_use]
pub fn key_wrap_key(sk_d: &Secret<32>) -> Secret<32> {
    keymat(sk_d, &[b"Key Wrap for G-IKEv2"])
}

/// KEYMAT of a pairwise session: prf+(SK_d, \[g^ir |\] Ni | Nr), `N` octets, at most 8,160 (PROTOCOL.md section 9,
/// RFC 7296 section 2.17).
#[must_use]
pub fn child_keymat<const N: usize>(
    sk_d: &Secret<32>,
    shared: Option<&SharedSecret>,
    ni: &[u8],
    nr: &[u8],
) -> Secret<N> {
    let none: &[u8] = &[];
    keymat(sk_d, &[shared.map_or(none, |shared| shared.expose()), ni, nr])
}

/// The keys of an IKE SA. There is no SK_a: the cipher authenticates.
#[derive(Debug)]
pub struct IkeKeys {
    /// What further keys are derived from.
    pub sk_d: Secret<32>,
    /// Seals what the original initiator sends: 32 octets of key, 4 of salt.
    pub sk_ei: Secret<36>,
    /// Seals what the original responder sends: 32 octets of key, 4 of salt.
    pub sk_er: Secret<36>,
    /// Goes into the initiator's AUTH.
    pub sk_pi: Secret<32>,
    /// Goes into the responder's AUTH.
    pub sk_pr: Secret<32>,
}

impl IkeKeys {
    /// The keys of an IKE SA that comes from an initial exchange (RFC 7296 section 2.14).
    #[must_use]
    pub fn derive(shared: &SharedSecret, ni: &[u8], nr: &[u8], spi_i: &[u8; 8], spi_r: &[u8; 8]) -> Self {
        Self::from_skeyseed(&skeyseed(ni, nr, shared), ni, nr, spi_i, spi_r)
    }

    /// The keys of an IKE SA that replaces another; nonces and SPIs are those of the exchange that does so (RFC 7296
    /// section 2.18).
    #[must_use]
    pub fn rekey(
        old_sk_d: &Secret<32>,
        shared: &SharedSecret,
        ni: &[u8],
        nr: &[u8],
        spi_i: &[u8; 8],
        spi_r: &[u8; 8],
    ) -> Self {
        Self::from_skeyseed(&rekey_skeyseed(old_sk_d, shared, ni, nr), ni, nr, spi_i, spi_r)
    }

    /// {SK_d | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr).
    fn from_skeyseed(seed: &Secret<32>, ni: &[u8], nr: &[u8], spi_i: &[u8; 8], spi_r: &[u8; 8]) -> Self {
        let all: Secret<{ 32 + 36 + 36 + 32 + 32 }> = keymat(seed, &[ni, nr, spi_i, spi_r]);
        let mut rest = all.expose().iter();
        Self {
            sk_d: Secret::take(&mut rest),
            sk_ei: Secret::take(&mut rest),
            sk_er: Secret::take(&mut rest),
            sk_pi: Secret::take(&mut rest),
            sk_pr: Secret::take(&mut rest),
        }
    }
}

/// The keys of a Rekey SA, the KEK of the group.
///
/// The GCKS that draws them keeps them whole, to hand them out, and makes one [`SealKey`](super::SealKey) and one
/// [`WrapKey`](super::WrapKey) of duplicates at that moment and never again: a second one would repeat nonces. Members
/// make neither.
#[derive(Debug)]
pub struct RekeySaKeys {
    /// Seals key updates: 32 octets of key, 4 of salt.
    pub gsk_e: Secret<36>,
    /// Wraps the keys inside them.
    pub gsk_w: Secret<32>,
    /// Authenticates the announcements of nodes that hold the Rekey SA.
    pub gsk_h: Secret<32>,
}

impl RekeySaKeys {
    /// From the 68 octets of an unwrapped SA_KEY, GSK_e | GSK_w, and the SPI that they belong to.
    /// GSK_h = prf+(the 68 octets, "KARP election MAC" | SPI).
    #[must_use]
    pub fn from_octets(octets: &[u8; 68], spi: &[u8; 16]) -> Self {
        let octets = Secret::from_bytes(*octets);
        let mut rest = octets.expose().iter();
        Self {
            gsk_e: Secret::take(&mut rest),
            gsk_w: Secret::take(&mut rest),
            gsk_h: keymat(&octets, &[b"KARP election MAC", spi]),
        }
    }

    /// Fresh keys, for a GCKS: at the start of its term, at the end of a Rekey SA's lifetime, after an eviction.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng, spi: &[u8; 16]) -> Self {
        Self::from_octets(Secret::random(rng).expose(), spi)
    }

    /// A second copy, for the row that the keys of a state go to.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            gsk_e: self.gsk_e.duplicate(),
            gsk_w: self.gsk_w.duplicate(),
            gsk_h: self.gsk_h.duplicate(),
        }
    }

    /// GSK_e | GSK_w, the 68 octets that go into SA_KEY once they are wrapped.
    #[must_use]
    pub fn octets(&self) -> Secret<68> {
        Secret::take(&mut self.gsk_e.expose().iter().chain(self.gsk_w.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rekey_sa_survives_its_octets() {
        let octets: [u8; 68] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        let keys = RekeySaKeys::from_octets(&octets, &[0xee; 16]);
        assert_eq!(keys.gsk_e.expose(), &octets[..36]);
        assert_eq!(keys.gsk_w.expose(), &octets[36..]);
        assert_eq!(keys.octets().expose(), &octets);
        assert_ne!(keys.gsk_h, RekeySaKeys::from_octets(&octets, &[0xef; 16]).gsk_h);
    }

    #[test]
    fn debug_is_redacted() {
        let keys = RekeySaKeys::from_octets(&[0x5a; 68], &[0; 16]);
        let text = std::format!("{keys:?}");
        assert_eq!(
            text,
            "RekeySaKeys { gsk_e: [redacted], gsk_w: [redacted], gsk_h: [redacted] }"
        );
    }
}
