//! The HMAC that OSPFv2, OSPFv3 and IS-IS share: the key rule and the padding of RFC 5709 section 3.3.
//!
//! The hash functions, the HMAC and the comparison come from elsewhere; what is here is only how they are put together.

use hmac::digest::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Algorithm, Error, Key};

/// The longest digest in octets.
const MAX: usize = 64;

/// A digest, or the padding that stands in its place while it is computed.
pub(super) struct Tag {
    octets: [u8; MAX],
    len: usize,
}

impl Tag {
    /// The padding for a digest of `algorithm`: RFC 5709's constant over and over, its front replaced by `front` (the
    /// packet's source address, RFC 7474 section 5 and RFC 7166 section 4.5).
    pub(super) fn padding(algorithm: Algorithm, front: &[u8]) -> Self {
        let mut octets = [0; MAX];
        for (octet, constant) in octets.iter_mut().zip([0x87, 0x8f, 0xe1, 0xf3].iter().cycle()) {
            *octet = *constant;
        }
        for (octet, address) in octets.iter_mut().zip(front) {
            *octet = *address;
        }
        Self {
            octets,
            len: algorithm.digest_len(),
        }
    }

    /// The octets, as many as the algorithm's digest has.
    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&[])
    }

    /// Compares with a received digest, in constant time.
    pub(super) fn check(&self, received: &[u8]) -> Result<(), Error> {
        if bool::from(self.octets().ct_eq(received)) {
            Ok(())
        } else {
            Err(Error::BadDigest)
        }
    }
}

/// The digest of `parts`, one after the other, under `key` with `suffix` appended to it (the two octets of the
/// cryptographic protocol id where the protocol has one, else nothing).
pub(super) fn digest(key: &Key<'_>, suffix: &[u8], parts: &[&[u8]]) -> Result<Tag, Error> {
    match key.algorithm {
        Algorithm::HmacSha1 => run::<Sha1, Hmac<Sha1>>(key, suffix, parts),
        Algorithm::HmacSha256 => run::<Sha256, Hmac<Sha256>>(key, suffix, parts),
        Algorithm::HmacSha384 => run::<Sha384, Hmac<Sha384>>(key, suffix, parts),
        Algorithm::HmacSha512 => run::<Sha512, Hmac<Sha512>>(key, suffix, parts),
    }
}

fn run<H: Digest, M: Mac + KeyInit>(key: &Key<'_>, suffix: &[u8], parts: &[&[u8]]) -> Result<Tag, Error> {
    if key.octets.is_empty() {
        return Err(Error::EmptyKey);
    }
    let len = key.algorithm.digest_len();
    let mut ko = Zeroizing::new([0; MAX]);
    // RFC 5709 section 3.3 (1): a key longer than the digest (not: than the block, as HMAC alone would have it) is
    // hashed, a shorter one is filled up with zeros.
    if key.octets.len().saturating_add(suffix.len()) > len {
        let mut hash = H::new();
        hash.update(key.octets);
        hash.update(suffix);
        let mut hashed = hash.finalize();
        copy(ko.as_mut_slice(), hashed.iter());
        hashed.as_mut_slice().zeroize();
    } else {
        copy(ko.as_mut_slice(), key.octets.iter().chain(suffix));
    }
    let ko = ko.get(..len).ok_or(Error::Unsupported)?;
    let mut mac = <M as KeyInit>::new_from_slice(ko).map_err(|_| Error::Unsupported)?;
    for part in parts {
        mac.update(part);
    }
    let mut tag = Tag {
        octets: [0; MAX],
        len,
    };
    copy(&mut tag.octets, mac.finalize().into_bytes().iter());
    Ok(tag)
}

fn copy<'a>(to: &mut [u8], from: impl Iterator<Item = &'a u8>) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
