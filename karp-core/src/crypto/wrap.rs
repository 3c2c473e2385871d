//! Key wrap KW_CHACHA20_POLY1305: how SA_KEY carries keys (PROTOCOL.md section 3).
//!
//! A wrapped key is nonce (12) | ciphertext (as long as the key) | tag (16). The nonce is a counter of the wrapping
//! key. The associated data names what is wrapped: Protocol | SPI Size | Length | SPI of the key bag, then Key ID | KWK
//! ID; the caller puts it together.

use core::fmt;

use super::aead::TAG_LEN;
use super::primitives;
use super::secret::Secret;

/// Octets by which a wrapped key is longer than the key: nonce and tag.
pub const WRAP_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

const NONCE_LEN: usize = 12;

/// Why a key was not wrapped or not unwrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum WrapError {
    /// The wrapping key has no nonce left. It must be replaced.
    NonceExhausted,
    /// The wrapped form is not longer than the key by [`WRAP_OVERHEAD`].
    Length,
    /// The tag is wrong: forged, damaged, of another bag, or wrapped under another key.
    AuthFailed,
}

/// A key that wraps others, with its count of nonces. Neither `Clone` nor `Copy`.
///
/// SK_w on the GCKS's side of an IKE SA, or GSK_w of the Rekey SA that this node made.
pub struct WrapKey {
    key: Secret<32>,
    next: u64,
}

impl WrapKey {
    /// Takes the wrapping key for good: of one key only one `WrapKey` may ever exist, or nonces repeat.
    #[must_use]
    pub fn new(key: Secret<32>) -> Self {
        Self { key, next: 0 }
    }

    /// No key: it never wraps.
    pub(crate) const fn spent() -> Self {
        Self {
            key: Secret::zeroed(),
            next: u64::MAX,
        }
    }

    /// The key with its count, and nothing is left here that could wrap.
    pub(crate) fn take_out(&mut self) -> Self {
        Self {
            key: self.key.take_out(),
            next: core::mem::replace(&mut self.next, u64::MAX),
        }
    }

    /// Wraps `key` into `out`, which is [`WRAP_OVERHEAD`] octets longer (60 octets for a traffic key, 96 for a Rekey
    /// SA). The nonce counts as spent whatever happens.
    ///
    /// # Errors
    ///
    /// [`WrapError::NonceExhausted`] after 2^64 - 1 keys, [`WrapError::Length`] if `out` does not fit. Never send
    /// `out` then.
    pub fn wrap<const N: usize>(
        &mut self,
        aad: &[u8],
        key: &Secret<N>,
        out: &mut [u8],
    ) -> Result<(), WrapError> {
        let [a, b, c, d, e, f, g, h] = self.next.to_be_bytes();
        self.next = self.next.checked_add(1).ok_or(WrapError::NonceExhausted)?;
        let counter = [0, 0, 0, 0, a, b, c, d, e, f, g, h];

        let (nonce, text, tag) = parts_mut::<N>(out).ok_or(WrapError::Length)?;
        *nonce = counter;
        text.copy_from_slice(key.expose());
        match primitives::seal(self.key.expose(), &counter, aad, text) {
            Some(sealed) => *tag = sealed,
            None => {
                text.fill(0);
                return Err(WrapError::Length);
            }
        }
        Ok(())
    }
}

/// Unwraps a key of `N` octets from `blob`, which has [`WRAP_OVERHEAD`] more.
///
/// # Errors
///
/// [`WrapError::Length`] if `blob` has another length, [`WrapError::AuthFailed`] if it is not what the holder of `kwk`
/// wrapped for this `aad`.
pub fn unwrap_key<const N: usize>(kwk: &Secret<32>, aad: &[u8], blob: &[u8]) -> Result<Secret<N>, WrapError> {
    let (nonce, rest) = blob.split_first_chunk::<NONCE_LEN>().ok_or(WrapError::Length)?;
    let (text, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(WrapError::Length)?;
    let text: &[u8; N] = text.try_into().map_err(|_| WrapError::Length)?;
    let mut key = Secret::zeroed();
    // The ciphertext, which becomes the key where it is.
    key.expose_mut().copy_from_slice(text);
    if primitives::open(kwk.expose(), nonce, aad, key.expose_mut(), tag) {
        Ok(key)
    } else {
        Err(WrapError::AuthFailed)
    }
}

/// Where nonce, ciphertext and tag of a wrapped key of `N` octets go.
#[allow(clippy::type_complexity)]
fn parts_mut<const N: usize>(
    out: &mut [u8],
) -> Option<(&mut [u8; NONCE_LEN], &mut [u8; N], &mut [u8; TAG_LEN])> {
    let (nonce, rest) = out.split_first_chunk_mut::<NONCE_LEN>()?;
    let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    Some((nonce, text.try_into().ok()?, tag))
}

impl fmt::Debug for WrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapKey")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(octet: u8) -> Secret<32> {
        Secret::from_bytes([octet; 32])
    }

    #[test]
    fn both_sizes_return() {
        let mut kwk = WrapKey::new(key(1));
        let (mut tek, mut rekey_sa) = ([0; 60], [0; 96]);
        kwk.wrap(b"bag", &key(2), &mut tek).unwrap();
        kwk.wrap(b"other", &Secret::from_bytes([3; 68]), &mut rekey_sa)
            .unwrap();
        assert_eq!(unwrap_key(&key(1), b"bag", &tek), Ok(key(2)));
        assert_eq!(
            unwrap_key(&key(1), b"other", &rekey_sa),
            Ok(Secret::from_bytes([3; 68]))
        );
        assert_eq!(
            unwrap_key::<32>(&key(9), b"bag", &tek),
            Err(WrapError::AuthFailed)
        );
        assert_eq!(unwrap_key::<68>(&key(1), b"bag", &tek), Err(WrapError::Length));
    }

    #[test]
    fn nonces_count() {
        let mut kwk = WrapKey::new(key(1));
        for n in 0..4_u8 {
            let mut out = [0; 60];
            kwk.wrap(b"", &key(2), &mut out).unwrap();
            assert_eq!(out[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]);
        }
    }

    #[test]
    fn a_failure_spends_the_nonce() {
        let mut kwk = WrapKey::new(key(1));
        for len in (0..120).filter(|len| *len != 60) {
            let mut out = std::vec![0; len];
            assert_eq!(kwk.wrap(b"", &key(2), &mut out), Err(WrapError::Length));
        }
        let mut out = [0; 60];
        kwk.wrap(b"", &key(2), &mut out).unwrap();
        assert_eq!(out[11], 119);
    }

    #[test]
    fn nonces_end() {
        let mut kwk = WrapKey {
            key: key(1),
            next: u64::MAX - 1,
        };
        let mut out = [0; 60];
        kwk.wrap(b"", &key(2), &mut out).unwrap();
        assert_eq!(kwk.wrap(b"", &key(2), &mut out), Err(WrapError::NonceExhausted));
        assert_eq!(kwk.wrap(b"", &key(2), &mut out), Err(WrapError::NonceExhausted));
    }

    #[cfg(not(fuzzing))]
    #[test]
    fn every_octet_counts() {
        let mut kwk = WrapKey::new(key(1));
        let mut out = [0; 60];
        kwk.wrap(b"bag", &key(2), &mut out).unwrap();
        assert_eq!(unwrap_key(&key(1), b"bag", &out), Ok(key(2)));
        assert_eq!(
            unwrap_key::<32>(&key(1), b"gab", &out),
            Err(WrapError::AuthFailed)
        );
        for i in 0..60 {
            let mut forged = out;
            forged[i] ^= 4;
            assert_eq!(
                unwrap_key::<32>(&key(1), b"bag", &forged),
                Err(WrapError::AuthFailed)
            );
            assert_eq!(
                unwrap_key::<32>(&key(1), b"bag", &out[..i]),
                Err(WrapError::Length)
            );
        }
    }
}
