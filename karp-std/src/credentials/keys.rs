//! Long-term keys and their text: `ed25519-private:` and `ed25519-public:` with 64 hexadecimal digits each, so that
//! one cannot be taken for the other, and pre-shared keys.

use std::fmt::{self, Write};

use karp_core::crypto::{Secret, SigningKey, ct_eq, is_acceptable_public_key, shared_key_auth};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::CredentialError;

const PRIVATE: &str = "ed25519-private:";
const PUBLIC: &str = "ed25519-public:";

/// The fewest octets that a pre-shared key can have: whoever answers an initiator first can try guesses offline
/// (PROTOCOL.md section 3).
pub const MIN_PRE_SHARED_KEY: usize = 16;

/// A pre-shared key: wiped on drop, printed as `[redacted]`, not `Clone`.
pub struct PreSharedKey(Zeroizing<Vec<u8>>);

impl PreSharedKey {
    /// Takes `octets` as a key.
    ///
    /// # Errors
    /// [`CredentialError::ShortKey`] for fewer than [`MIN_PRE_SHARED_KEY`].
    pub fn new(octets: &[u8]) -> Result<Self, CredentialError> {
        if octets.len() < MIN_PRE_SHARED_KEY {
            return Err(CredentialError::ShortKey { octets: octets.len() });
        }
        Ok(Self(Zeroizing::new(octets.to_vec())))
    }

    /// AUTH with this key (RFC 7296 section 2.15).
    pub(super) fn auth(&self, parts: &[&[u8]]) -> [u8; 32] {
        shared_key_auth(&self.0, parts)
    }

    /// Whether both are the same key, in constant time.
    pub(super) fn same(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for PreSharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A new signing key as text: the private key for this router's key file, and the public key for its peers'.
///
/// ```
/// use karp_std::credentials::{generate_signing_key, parse_private_key, parse_public_key};
/// use karp_std::entropy::OsEntropy;
///
/// let (private, public) = generate_signing_key(&mut OsEntropy);
/// let key = parse_private_key(&private)?;
/// assert_eq!(key.public(), parse_public_key(&public)?);
/// # Ok::<(), karp_std::credentials::CredentialError>(())
/// ```
#[must_use]
pub fn generate_signing_key(rng: &mut dyn CryptoRng) -> (Zeroizing<String>, String) {
    let seed = Secret::random(rng);
    let public = SigningKey::from_seed(&seed).public();
    (private_key_text(&seed), public_key_text(&public))
}

/// A new pre-shared key of 32 random octets as 64 hexadecimal digits.
#[must_use]
pub fn generate_pre_shared_key(rng: &mut dyn CryptoRng) -> Zeroizing<String> {
    hex_text("", Secret::<32>::random(rng).expose())
}

/// The text of a signing key, given as its seed (the private key of RFC 8032): for the router's own key file.
#[must_use]
pub fn private_key_text(seed: &Secret<32>) -> Zeroizing<String> {
    hex_text(PRIVATE, seed.expose())
}

/// The text of a public key, for the peers of the router that has the private one.
#[must_use]
pub fn public_key_text(key: &[u8; 32]) -> String {
    hex_text(PUBLIC, key).as_str().to_owned()
}

/// The signing key with this text.
///
/// # Errors
/// [`CredentialError::PrivateKey`], or [`CredentialError::PublicForPrivate`] for the text of a public key.
pub fn parse_private_key(text: &str) -> Result<SigningKey, CredentialError> {
    let text = text.trim();
    if text.starts_with(PUBLIC) {
        return Err(CredentialError::PublicForPrivate);
    }
    let mut octets = thirty_two(text, PRIVATE).ok_or(CredentialError::PrivateKey)?;
    let key = SigningKey::from_seed(&Secret::from_bytes(octets));
    octets.zeroize();
    Ok(key)
}

/// The public key with this text.
///
/// # Errors
/// [`CredentialError::PublicKey`], [`CredentialError::PrivateForPublic`] for the text of a private key, or
/// [`CredentialError::WeakPublicKey`].
pub fn parse_public_key(text: &str) -> Result<[u8; 32], CredentialError> {
    let text = text.trim();
    if text.starts_with(PRIVATE) {
        return Err(CredentialError::PrivateForPublic);
    }
    let key = thirty_two(text, PUBLIC).ok_or(CredentialError::PublicKey)?;
    if !is_acceptable_public_key(&key) {
        return Err(CredentialError::WeakPublicKey);
    }
    Ok(key)
}

/// The octets that hexadecimal digits stand for.
///
/// # Errors
/// [`CredentialError::Hex`].
pub fn parse_hex(text: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    if let Some(at) = text.chars().position(|c| !c.is_ascii_hexdigit()) {
        return Err(CredentialError::Hex { at: Some(at + 1) });
    }
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return Err(CredentialError::Hex { at: None });
    }
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
            .unwrap_or_default()
    };
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    octets.extend(
        text.as_bytes()
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |sum, c| (sum << 4) | digit(*c))),
    );
    Ok(octets)
}

fn thirty_two(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let octets = parse_hex(text.strip_prefix(prefix)?).ok()?;
    octets.as_slice().try_into().ok()
}

fn hex_text(prefix: &str, octets: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 2 * octets.len()));
    text.push_str(prefix);
    for octet in octets {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    #[test]
    fn texts_are_read_back() {
        let seed = Secret::from_bytes(core::array::from_fn(|i| i as u8 * 7));
        let key = SigningKey::from_seed(&seed);
        let private = private_key_text(&seed);
        assert_eq!(private.len(), PRIVATE.len() + 64);
        assert_eq!(parse_private_key(&private).unwrap().public(), key.public());
        assert_eq!(
            parse_private_key(&format!("{}\n", *private)).unwrap().public(),
            key.public()
        );
        assert_eq!(
            parse_public_key(&public_key_text(&key.public())).unwrap(),
            key.public()
        );
    }

    #[test]
    fn one_is_not_taken_for_the_other() {
        let (private, public) = generate_signing_key(&mut OsEntropy);
        assert!(matches!(
            parse_private_key(&public),
            Err(CredentialError::PublicForPrivate)
        ));
        assert!(matches!(
            parse_public_key(&private),
            Err(CredentialError::PrivateForPublic)
        ));
    }

    #[test]
    fn damaged_texts_are_refused() {
        let (private, public) = generate_signing_key(&mut OsEntropy);
        for end in 0..private.len() {
            assert!(parse_private_key(&private[..end]).is_err());
        }
        for end in 0..public.len() {
            assert!(parse_public_key(&public[..end]).is_err());
        }
        assert!(parse_private_key(&format!("{}00", *private)).is_err());
        assert!(parse_public_key(&public.replace(':', "=")).is_err());
        // The neutral point: every message has a signature under it.
        let weak = format!("{PUBLIC}01{}", "00".repeat(31));
        assert!(matches!(
            parse_public_key(&weak),
            Err(CredentialError::WeakPublicKey)
        ));
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(parse_hex("00fFa5").unwrap().as_slice(), [0, 255, 0xa5]);
        assert!(matches!(
            parse_hex("0g"),
            Err(CredentialError::Hex { at: Some(2) })
        ));
        assert!(matches!(
            parse_hex("0ä"),
            Err(CredentialError::Hex { at: Some(2) })
        ));
        assert!(matches!(parse_hex("000"), Err(CredentialError::Hex { at: None })));
        assert!(matches!(parse_hex(""), Err(CredentialError::Hex { at: None })));
    }

    #[test]
    fn short_keys_are_refused() {
        assert!(matches!(
            PreSharedKey::new(&[1; 15]),
            Err(CredentialError::ShortKey { octets: 15 })
        ));
        assert!(PreSharedKey::new(&[1; 16]).is_ok());
        assert_eq!(
            parse_hex(&generate_pre_shared_key(&mut OsEntropy)).unwrap().len(),
            32
        );
    }

    #[test]
    fn nothing_is_printed() {
        let key = PreSharedKey::new(b"correct horse battery staple").unwrap();
        assert_eq!(format!("{key:?}"), "[redacted]");
    }
}
