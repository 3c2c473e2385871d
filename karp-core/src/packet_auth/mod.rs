//! Authentication of whole routing packets, for hosts with a routing stack of their own.
//!
//! [`ospfv2`], [`ospfv3`] and [`isis`] each have a `sign`, which works in place in the caller's buffer, and a
//! `verify`, which neither changes nor copies the packet. Keys are looked up by the id that the packet carries; the
//! octets of a [`Key`] are the characters of the routing key's text (PROTOCOL.md section 6). [`build`] makes small
//! well-formed packets for examples and tests.
//!
//! What stays with the host: sequence numbers. A `verify` hands back the number that the digest vouches for; the host
//! compares it with the last one it accepted from that sender, and remembers it only after `verify` succeeded.
//!
//! Digests are compared in constant time, nothing is allocated, and no input makes these functions panic. A `sign` that
//! fails has left the buffer as it was.
//!
//! ```
//! use core::net::Ipv4Addr;
//! use karp_core::packet_auth::{Algorithm, Key, build::Ospfv2Hello, ospfv2};
//!
//! let key = Key::new(19, Algorithm::HmacSha256, b"dGhlIGtleSBvZiB0aGlzIGxpbmss");
//! let source = Ipv4Addr::new(192, 0, 2, 1);
//! let mut buf = [0; 128];
//! let len = Ospfv2Hello { router_id: 0xc000_0201, ..Ospfv2Hello::DEFAULT }.write(&mut buf)?;
//!
//! let params = ospfv2::SignParams { mode: ospfv2::Mode::Rfc7474, sequence: 7, source };
//! let len = ospfv2::sign(&mut buf, len, &key, &params)?;
//!
//! let lookup = |id| (id == 19).then_some(key);
//! let verified = ospfv2::verify(&buf[..len], ospfv2::Mode::Rfc7474, source, lookup)?;
//! assert_eq!((verified.key_id, verified.sequence, verified.router_id), (19, 7, 0xc000_0201));
//! # Ok::<(), karp_core::packet_auth::Error>(())
//! ```

pub mod build;
pub mod isis;
mod mac;
pub mod ospfv2;
pub mod ospfv3;

use core::fmt;

use crate::algorithm::RoutingAlgorithm;

/// The algorithms that OSPFv2, OSPFv3 and IS-IS packets use: those of [`RoutingAlgorithm`] that are whole HMACs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Algorithm {
    /// HMAC-SHA-1, number 1024.
    ///
    /// Its digest of 20 octets is shorter than a routing key's 28 characters, and the key rule of RFC 5709 hashes such
    /// keys. BIRD hashes only what is longer than the hash's block of 64 octets, so it computes other digests here; with
    /// the other three algorithms a routing key means the same to both.
    HmacSha1,
    /// HMAC-SHA-256, number 1025.
    HmacSha256,
    /// HMAC-SHA-384, number 1026.
    HmacSha384,
    /// HMAC-SHA-512, number 1027.
    HmacSha512,
}

impl Algorithm {
    /// All four, in the order of their numbers.
    pub const ALL: [Self; 4] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The length in octets of the digest in a packet.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        self.routing().digest_len()
    }

    /// The same algorithm among all that routing protocols use.
    #[must_use]
    pub const fn routing(self) -> RoutingAlgorithm {
        match self {
            Self::HmacSha1 => RoutingAlgorithm::HmacSha1,
            Self::HmacSha256 => RoutingAlgorithm::HmacSha256,
            Self::HmacSha384 => RoutingAlgorithm::HmacSha384,
            Self::HmacSha512 => RoutingAlgorithm::HmacSha512,
        }
    }
}

impl From<Algorithm> for RoutingAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.routing()
    }
}

impl TryFrom<RoutingAlgorithm> for Algorithm {
    type Error = Error;

    /// Fails with [`Error::Unsupported`] for the algorithms of TCP and Babel.
    fn try_from(algorithm: RoutingAlgorithm) -> Result<Self, Error> {
        match algorithm {
            RoutingAlgorithm::HmacSha1 => Ok(Self::HmacSha1),
            RoutingAlgorithm::HmacSha256 => Ok(Self::HmacSha256),
            RoutingAlgorithm::HmacSha384 => Ok(Self::HmacSha384),
            RoutingAlgorithm::HmacSha512 => Ok(Self::HmacSha512),
            RoutingAlgorithm::HmacSha1Cut96
            | RoutingAlgorithm::Aes128CmacCut96
            | RoutingAlgorithm::KeyedMd5
            | RoutingAlgorithm::Blake2s128 => Err(Error::Unsupported),
        }
    }
}

impl TryFrom<u16> for Algorithm {
    type Error = Error;

    /// The algorithm with this number (PROTOCOL.md section 10); [`Error::Unsupported`] for every other number.
    fn try_from(code: u16) -> Result<Self, Error> {
        RoutingAlgorithm::from_code(code)
            .ok_or(Error::Unsupported)?
            .try_into()
    }
}

/// A key for packets: what a row of the key table gives to one protocol.
///
/// `Debug` does not show the octets.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// The id that packets carry. OSPFv2 without RFC 7474 has room for 8 bits of it.
    pub id: u16,
    /// The algorithm, which packets do not name: it belongs to the key.
    pub algorithm: Algorithm,
    /// The key's octets: the 28 characters of a routing key's text (PROTOCOL.md section 6), or a configured key of any
    /// length but zero.
    pub octets: &'a [u8],
}

impl<'a> Key<'a> {
    /// A key of these parts.
    #[must_use]
    pub const fn new(id: u16, algorithm: Algorithm, octets: &'a [u8]) -> Self {
        Self {
            id,
            algorithm,
            octets,
        }
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why a packet was not signed or not accepted.
///
/// From a `verify`, the variants up to [`Error::ForgedPurge`] are about what came from the network; from a `sign` they
/// mean that the caller handed in something that is no packet of the protocol. The others are about our own keys, buffers
/// and arguments.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The packet ends before a field or a length that it promises.
    Truncated,
    /// The packet contradicts itself or its protocol.
    Malformed,
    /// The packet is not authenticated, or not in the way that was asked for.
    NotAuthenticated,
    /// No key has this id.
    UnknownKey(u32),
    /// The digest's length is not that of the key's algorithm: most likely both sides differ about the algorithm.
    WrongLength,
    /// The digest is not that of the packet under the key: forged or damaged, or another key under the same id.
    BadDigest,
    /// An LSP whose remaining lifetime was set to zero by someone without the key ([`isis::verify`]).
    ForgedPurge,
    /// The buffer is too small for the packet with its authentication, or the packet too long for its length field.
    NoRoom,
    /// An algorithm, packet type or option that this module does not implement.
    Unsupported,
    /// The key has no octets.
    EmptyKey,
    /// The key's id does not fit the packet's field.
    KeyIdTooWide,
    /// The sequence number does not fit the packet's field: it is time for another key.
    SequenceExhausted,
}

impl Error {
    /// Whether our own keys, buffers or arguments are at fault, rather than the packet.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        match self {
            Self::Truncated
            | Self::Malformed
            | Self::NotAuthenticated
            | Self::UnknownKey(_)
            | Self::WrongLength
            | Self::BadDigest
            | Self::ForgedPurge => false,
            Self::NoRoom
            | Self::Unsupported
            | Self::EmptyKey
            | Self::KeyIdTooWide
            | Self::SequenceExhausted => true,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "packet truncated",
            Self::Malformed => "packet malformed",
            Self::NotAuthenticated => "packet not authenticated as required",
            Self::UnknownKey(id) => return write!(f, "no key has the packet's key id {id}"),
            Self::WrongLength => "digest length differs from the key's algorithm",
            Self::BadDigest => "digest does not match",
            Self::ForgedPurge => "purge made from a signed LSP",
            Self::NoRoom => "no room for the authenticated packet",
            Self::Unsupported => "not supported",
            Self::EmptyKey => "key has no octets",
            Self::KeyIdTooWide => "key id does not fit its field",
            Self::SequenceExhausted => "sequence number does not fit its field",
        })
    }
}

impl core::error::Error for Error {}

/// Asks the host for the key with the id that a packet carries.
fn find<'k>(id: u32, lookup: impl FnOnce(u16) -> Option<Key<'k>>) -> Result<Key<'k>, Error> {
    let narrow = u16::try_from(id).map_err(|_| Error::UnknownKey(id))?;
    lookup(narrow)
        .filter(|key| key.id == narrow)
        .ok_or(Error::UnknownKey(id))
}

/// The octets of `buf` in `range`.
fn slice(buf: &[u8], range: core::ops::Range<usize>) -> Result<&[u8], Error> {
    buf.get(range).ok_or(Error::Truncated)
}

/// The `N` octets of `buf` at `at`.
fn array<const N: usize>(buf: &[u8], at: usize) -> Result<[u8; N], Error> {
    buf.get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .ok_or(Error::Truncated)
}

/// The octet of `buf` at `at`.
fn octet(buf: &[u8], at: usize) -> Result<u8, Error> {
    buf.get(at).copied().ok_or(Error::Truncated)
}

/// The 16-bit number of `buf` at `at`.
fn u16_at(buf: &[u8], at: usize) -> Result<u16, Error> {
    array(buf, at).map(u16::from_be_bytes)
}

/// The 32-bit number of `buf` at `at`.
fn u32_at(buf: &[u8], at: usize) -> Result<u32, Error> {
    array(buf, at).map(u32::from_be_bytes)
}

/// Writes `octets` into `buf` at `at`.
fn put(buf: &mut [u8], at: usize, octets: &[u8]) -> Result<(), Error> {
    let room = buf
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..octets.len()))
        .ok_or(Error::NoRoom)?;
    room.copy_from_slice(octets);
    Ok(())
}

/// The sum of two lengths.
fn sum(a: usize, b: usize) -> Result<usize, Error> {
    a.checked_add(b).ok_or(Error::NoRoom)
}
