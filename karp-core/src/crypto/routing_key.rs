//! Routing keys: what a routing protocol is given, derived from a traffic key (PROTOCOL.md section 6).

use core::{fmt, str};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::prf::{Fingerprint, fingerprint, keymat};
use super::secret::{Secret, ct_eq};

/// Keyed MD5 of TCP-MD5, which gets a shorter key (PROTOCOL.md sections 6 and 10).
const KEYED_MD5: u16 = 1030;

/// Characters of the longest routing key: 21 octets in base64url.
const TEXT_LEN: usize = 28;

/// The key of one routing protocol: base64url text without padding, 28 characters (16 for keyed MD5), whose octets
/// *are* the key.
///
/// Neither `Clone` nor `Copy`, wiped on drop, compared in constant time, printed as `[redacted]`.
pub struct RoutingKey {
    /// ASCII; zeros after `len`.
    text: [u8; TEXT_LEN],
    len: usize,
}

impl RoutingKey {
    /// The key that `protocol` uses under `key_id` with `algorithm` (numbers of PROTOCOL.md section 10): the text of
    /// prf+(TEK, "KARP routing key" | protocol | key id | algorithm), 21 octets of it, or 12 for keyed MD5.
    #[must_use]
    pub fn derive(tek: &Secret<32>, protocol: u16, key_id: u16, algorithm: u16) -> Self {
        let (protocol, key_id, wire) = (
            protocol.to_be_bytes(),
            key_id.to_be_bytes(),
            algorithm.to_be_bytes(),
        );
        let parts: [&[u8]; 4] = [b"KARP routing key", &protocol, &key_id, &wire];
        if algorithm == KEYED_MD5 {
            Self::encode::<12>(&keymat(tek, &parts))
        } else {
            Self::encode::<21>(&keymat(tek, &parts))
        }
    }

    /// The key as text, for a configuration file.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(self.octets()).unwrap_or_default()
    }

    /// The same as octets, for a host with a stack of its own.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// A name of the key that is safe to print.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.octets())
    }

    /// A second copy, for a host that hands keys on.
    ///
    /// Hazard: it is wiped when it is dropped itself, and not with the original.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            text: self.text,
            len: self.len,
        }
    }

    fn encode<const N: usize>(octets: &Secret<N>) -> Self {
        const { assert!(N.div_ceil(3) * 4 <= TEXT_LEN, "the text fits") }
        let mut text = [0; TEXT_LEN];
        #[allow(
            clippy::expect_used,
            reason = "the length is a constant, checked by the assertion above"
        )]
        let len = Base64UrlUnpadded::encode(octets.expose(), &mut text)
            .expect("length checked at compile time")
            .len();
        Self { text, len }
    }
}

impl PartialEq for RoutingKey {
    /// Takes the same time wherever keys of one length differ.
    fn eq(&self, other: &Self) -> bool {
        ct_eq(self.octets(), other.octets())
    }
}

impl Eq for RoutingKey {}

impl Drop for RoutingKey {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl ZeroizeOnDrop for RoutingKey {}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for RoutingKey {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "[redacted]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, format, string::ToString as _};

    /// 0, 1, .. 31.
    fn tek() -> Secret<32> {
        Secret::from_bytes(core::array::from_fn(|i| u8::try_from(i).unwrap()))
    }

    /// Values computed with Python's hmac and base64, not with this crate.
    #[test]
    fn against_another_implementation() {
        for (protocol, key_id, algorithm, text) in [
            (1, 7, 1025, "ZlVfn9AXzNN-1HiUzVOVh5ztiwoS"),
            (2, 7, 1025, "lHCaAee-MIlw1MY2XTfurZORm8Pp"),
            (1, 255, 1027, "XEf8bIfoIjRMaE2P1S4TpabdwcAf"),
            (3, 1, 1024, "Az-RL4vHlUlFBe5eO7zzmZCK5hOP"),
            (10, 65535, 1031, "XTCQUwU_zJexRAeL96D7U7QCLdA9"),
            (9, 7, 1030, "rpi0c_gWz3hKVUEJ"),
        ] {
            let key = RoutingKey::derive(&tek(), protocol, key_id, algorithm);
            assert_eq!(key.text(), text);
            assert_eq!(key.octets(), text.as_bytes());
            assert_eq!(key, key.duplicate());
        }
        let key = RoutingKey::derive(&tek(), 1, 7, 1025);
        assert_eq!(key.fingerprint().to_string(), "53ef060a");
    }

    #[test]
    fn every_input_makes_another_key() {
        let mut seen = BTreeSet::new();
        for protocol in 1..12 {
            for key_id in [1, 2, 255, 256] {
                for algorithm in 1024..1032 {
                    let key = RoutingKey::derive(&tek(), protocol, key_id, algorithm);
                    assert_eq!(key.text().len(), if algorithm == 1030 { 16 } else { 28 });
                    assert!(
                        key.text()
                            .bytes()
                            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
                    );
                    assert!(seen.insert(key.text().to_string()));
                }
            }
        }
    }

    #[test]
    fn never_printed() {
        assert_eq!(
            format!("{:?}", RoutingKey::derive(&tek(), 1, 7, 1025)),
            "[redacted]"
        );
    }
}
