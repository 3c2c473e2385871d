//! The pseudorandom function and what is made of it: prf, prf+, AUTH of shared keys, GROUP_MAC, key checks and
//! fingerprints.
//!
//! The functions that derive keys of fixed length are in `keys`.

use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use super::apart::{SHALLOW, apart};
use super::primitives;
use super::secret::{Secret, ct_eq};

/// Octets that [`prf`] returns.
pub const PRF_LEN: usize = 32;

/// Octets of a GROUP_MAC (PROTOCOL.md section 5.1).
pub const GROUP_MAC_LEN: usize = 16;

/// Octets of a key check in KEYS_IN_USE (PROTOCOL.md section 4).
pub const KEY_CHECK_LEN: usize = 8;

/// The block of SHA-256, in octets: the length at which HMAC takes a key as it is.
const BLOCK_LEN: usize = 64;

/// Why [`prf_plus`] gave nothing. The caller's mistake: no peer chooses these lengths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum KeymatError {
    /// The key has less than 32 octets.
    KeyTooShort,
    /// More than 255 blocks (8,160 octets) were asked for.
    OutputTooLong,
}

/// prf(key, parts\[0\] | parts\[1\] | ..): HMAC-SHA-256, 32 octets (RFC 7296 section 2.13, RFC 4868).
///
/// Keys of any length are taken as HMAC takes them.
#[must_use]
pub fn prf(key: &[u8], parts: &[&[u8]]) -> [u8; PRF_LEN] {
    prf_split_key(&[key], parts)
}

/// prf+(key, parts\[0\] | parts\[1\] | ..), written to the whole of `out` (RFC 7296 section 2.13).
///
/// It is HKDF-Expand with the concatenated parts as info. The key has at least 32 octets, `out` at most 8,160.
///
/// # Errors
///
/// [`KeymatError`], with `out` untouched, when one of the lengths is out of range.
pub fn prf_plus(key: &[u8], parts: &[&[u8]], out: &mut [u8]) -> Result<(), KeymatError> {
    apart::<SHALLOW, _>(|| {
        let expand = Hkdf::<Sha256>::from_prk(key).map_err(|_| KeymatError::KeyTooShort)?;
        expand
            .expand_multi_info(parts, out)
            .map_err(|_| KeymatError::OutputTooLong)
    })
}

/// prf with a key that lies in pieces: SKEYSEED is keyed with Ni | Nr, which no buffer need hold together.
pub(super) fn prf_split_key(key: &[&[u8]], parts: &[&[u8]]) -> [u8; PRF_LEN] {
    apart::<SHALLOW, _>(|| {
        let mut block = mac_key(key);
        let mut mac = Hmac::<Sha256>::new((&block).into());
        block.zeroize();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    })
}

/// prf+ of a length fixed at compile time, under a key whose length is fixed as well.
pub(super) fn keymat<const K: usize, const N: usize>(key: &Secret<K>, parts: &[&[u8]]) -> Secret<N> {
    const {
        assert!(K >= PRF_LEN, "prf+ needs a key of at least one hash");
        assert!(N <= PRF_LEN * 255, "prf+ gives at most 255 blocks");
    }
    let mut out = Secret::zeroed();
    #[allow(
        clippy::expect_used,
        reason = "both lengths are constants, checked by the assertions above"
    )]
    prf_plus(key.expose(), parts, out.expose_mut()).expect("lengths checked at compile time");
    out
}

/// The key as the block that HMAC begins with: shorter keys padded with zeros, longer ones hashed (RFC 2104 section
/// 2). Done here for keys in pieces; whole keys go the same way, so that the published vectors test it.
fn mac_key(key: &[&[u8]]) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    let len = key
        .iter()
        .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    if len > BLOCK_LEN {
        let mut hash = Sha256::new();
        for part in key {
            hash.update(part);
        }
        fill(&mut block, hash.finalize().iter());
    } else {
        fill(&mut block, key.iter().copied().flatten());
    }
    block
}

/// AUTH with a pre-shared key: prf(prf(psk, "Key Pad for IKEv2"), parts) (RFC 7296 section 2.15).
///
/// The parts are the signed octets: the sender's first message, the other side's nonce, prf(SK_p, ID payload body).
/// Compare with [`ct_eq`].
#[must_use]
pub fn shared_key_auth(psk: &[u8], parts: &[&[u8]]) -> [u8; PRF_LEN] {
    let pad = Secret::from_bytes(prf(psk, &[b"Key Pad for IKEv2"]));
    prf(pad.expose(), parts)
}

/// GROUP_MAC: HMAC-SHA-256 under GSK_h, cut to 16 octets (PROTOCOL.md section 5.1).
///
/// The parts are the sender's address (16 octets), port (2) and the message up to the MAC's own place.
#[must_use]
pub fn group_mac(gsk_h: &Secret<32>, parts: &[&[u8]]) -> [u8; GROUP_MAC_LEN] {
    primitives::mac(gsk_h.expose(), parts)
}

/// Whether `mac` is the GROUP_MAC of `parts`, in constant time.
#[must_use]
pub fn verify_group_mac(gsk_h: &Secret<32>, parts: &[&[u8]], mac: &[u8; GROUP_MAC_LEN]) -> bool {
    ct_eq(&group_mac(gsk_h, parts), mac)
}

/// The check of a traffic key in KEYS_IN_USE: the first 8 octets of prf(TEK, "KARP key check" | key id) (PROTOCOL.md
/// section 4). It shows which key a node has and tells nobody else the key.
#[must_use]
pub fn key_check(tek: &Secret<32>, key_id: u16) -> [u8; KEY_CHECK_LEN] {
    cut(&prf(tek.expose(), &[b"KARP key check", &key_id.to_be_bytes()]))
}

/// What N(EVICTED) calls an identity: the first 16 octets of SHA-256 over the body of its ID payload, which may lie in
/// parts (PROTOCOL.md section 4).
#[must_use]
pub fn identity_digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    cut(&hash.finalize().into())
}

/// A short name of a key for people: eight hexadecimal digits that say whether two routers hold the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fingerprint(pub [u8; 4]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fingerprint of a traffic key or a routing key: the first 4 octets of prf(key, "KARP fingerprint"). Safe to
/// print for a key that was drawn or derived.
///
/// Not for pre-shared keys and passwords: whoever reads the fingerprint of a guessable secret can try guesses on it.
#[must_use]
pub fn fingerprint(key: &[u8]) -> Fingerprint {
    Fingerprint(cut(&prf(key, &[b"KARP fingerprint"])))
}

/// The first `N` octets of a hash, at most all of them.
pub(super) fn cut<const N: usize>(hash: &[u8; PRF_LEN]) -> [u8; N] {
    const { assert!(N <= PRF_LEN, "a hash has 32 octets") }
    let mut short = [0; N];
    fill(&mut short, hash.iter());
    short
}

fn fill<'a>(to: &mut [u8], from: impl Iterator<Item = &'a u8>) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, vec, vec::Vec};

    #[test]
    fn lengths_of_prf_plus() {
        let mut most = vec![0; 8160];
        assert_eq!(prf_plus(&[1; 32], &[], &mut most), Ok(()));
        assert_eq!(prf_plus(&[1; 31], &[], &mut most), Err(KeymatError::KeyTooShort));
        let mut more = vec![7; 8161];
        assert_eq!(
            prf_plus(&[1; 32], &[], &mut more),
            Err(KeymatError::OutputTooLong)
        );
        assert!(more.iter().all(|octet| *octet == 7));
        assert_eq!(prf_plus(&[1; 32], &[], &mut []), Ok(()));
    }

    #[test]
    fn mac_is_verified_over_every_octet() {
        let key = Secret::from_bytes([4; 32]);
        let parts: [&[u8]; 2] = [b"address and port", b"message"];
        let mac = group_mac(&key, &parts);
        assert!(verify_group_mac(&key, &parts, &mac));
        assert!(verify_group_mac(&key, &[b"address and portmessage"], &mac));
        for i in 0..GROUP_MAC_LEN {
            let mut forged = mac;
            forged[i] ^= 1;
            assert!(!verify_group_mac(&key, &parts, &forged));
        }
        assert!(!verify_group_mac(&Secret::from_bytes([5; 32]), &parts, &mac));
    }

    #[test]
    fn fingerprints_are_hexadecimal() {
        assert_eq!(
            format!("{} {:?}", Fingerprint([0, 0x1f, 0xa0, 0xff]), Fingerprint([1; 4])),
            "001fa0ff 01010101"
        );
        assert_ne!(fingerprint(&[1; 32]), fingerprint(&[2; 32]));
    }

    proptest! {
        /// However the key and the text are cut, the octets decide.
        #[test]
        fn concatenation(key: Vec<u8>, text: Vec<u8>, a: usize, b: usize) {
            let (k1, k2) = key.split_at(a % (key.len() + 1));
            let (t1, t2) = text.split_at(b % (text.len() + 1));
            prop_assert_eq!(prf(&key, &[&text]), prf_split_key(&[k1, k2], &[t1, t2]));
        }
    }
}
