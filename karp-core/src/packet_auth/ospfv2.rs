//! OSPFv2 packets: cryptographic authentication with HMAC-SHA (RFC 5709), and with 64-bit sequence numbers and
//! protected source address (RFC 7474).
//!
//! A packet here is what IPv4 carries: it begins with the OSPF header of 24 octets. The digest follows the packet, and
//! is not counted by the header's length field.
//!
//! All octets of a signed packet are covered by the digest. Not covered are the IP header, except for the source
//! address under RFC 7474, and a link-local signalling block (RFC 5613), which follows the digest: a host that sends
//! one appends it after [`sign`], and a host that reads one finds it at [`Verified::signed_len`], unauthenticated.

use core::net::Ipv4Addr;

use super::mac::{Tag, digest};
use super::{Error, Key, array, find, octet, put, slice, sum, u16_at, u32_at};

/// Octets of the OSPFv2 header.
pub const HEADER_LEN: usize = 24;

const VERSION: u8 = 2;
/// The cryptographic protocol id of OSPFv2 (RFC 7474 section 9).
const PROTOCOL_ID: [u8; 2] = 3_u16.to_be_bytes();
/// Octets of the sequence number that follows the packet under RFC 7474.
const SEQUENCE_LEN: usize = 8;
/// The bit of the options that announces a link-local signalling block (RFC 5613 section 2.1).
const OPTION_L: u8 = 0x10;

/// Which of the two ways a link uses. All its routers must use the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Mode {
    /// Authentication type 2: 8-bit key id, 32-bit sequence number, the source address unprotected (RFC 5709).
    Rfc5709,
    /// Authentication type 3: 64-bit sequence number, the source address protected, and the key bound to OSPFv2
    /// (RFC 7474).
    Rfc7474,
}

impl Mode {
    const fn code(self) -> u8 {
        match self {
            Self::Rfc5709 => 2,
            Self::Rfc7474 => 3,
        }
    }

    const fn sequence_len(self) -> usize {
        match self {
            Self::Rfc5709 => 0,
            Self::Rfc7474 => SEQUENCE_LEN,
        }
    }

    const fn key_suffix(self) -> &'static [u8] {
        match self {
            Self::Rfc5709 => &[],
            Self::Rfc7474 => &PROTOCOL_ID,
        }
    }
}

/// What [`sign`] needs besides packet and key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignParams {
    /// Which authentication type to write.
    pub mode: Mode,
    /// The cryptographic sequence number. Under [`Mode::Rfc5709`] it must not fall, and must fit 32 bits. Under
    /// [`Mode::Rfc7474`] it must rise with every packet for the router's whole life: the upper 32 bits count boots.
    pub sequence: u64,
    /// The IPv4 source address that the packet will be sent from; used under [`Mode::Rfc7474`] only.
    pub source: Ipv4Addr,
}

/// What an accepted packet says; all of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The id of the key it was signed with.
    pub key_id: u16,
    /// Its sequence number. The host must compare it with the last one it accepted from this neighbour: not lower under
    /// [`Mode::Rfc5709`] (RFC 2328 section D.4.3); higher, for each packet type on its own, under [`Mode::Rfc7474`].
    pub sequence: u64,
    /// Its type: 1 Hello, 2 Database Description, 3 Link State Request, 4 Update, 5 Acknowledgment.
    pub packet_type: u8,
    /// The sender's router id.
    pub router_id: u32,
    /// The area.
    pub area_id: u32,
    /// Octets of the OSPF packet with its header, without what follows it.
    pub packet_len: usize,
    /// Octets that the digest vouches for, and itself. What follows is a link-local signalling block.
    pub signed_len: usize,
}

/// How many octets [`sign`] appends to a packet.
#[must_use]
pub const fn overhead(mode: Mode, algorithm: super::Algorithm) -> usize {
    mode.sequence_len().saturating_add(algorithm.digest_len())
}

/// Signs the OSPF packet in the first `len` octets of `buf`: writes the authentication fields of the header, sets the
/// checksum to zero, and appends sequence number (under [`Mode::Rfc7474`]) and digest. Returns the new length in octets,
/// [`overhead`] more than before.
///
/// The instance id of RFC 6549 is left as it is, and is covered.
///
/// # Errors
///
/// [`Error::Truncated`] or [`Error::Malformed`] if these octets are no OSPFv2 packet of exactly `len` octets;
/// [`Error::NoRoom`], [`Error::EmptyKey`], [`Error::KeyIdTooWide`] and [`Error::SequenceExhausted`] as they say. The
/// buffer is then unchanged.
pub fn sign(buf: &mut [u8], len: usize, key: &Key<'_>, params: &SignParams) -> Result<usize, Error> {
    let packet = buf.get(..len).ok_or(Error::Truncated)?;
    if header(packet)?.packet_len != len {
        return Err(Error::Malformed);
    }
    let appended = overhead(params.mode, key.algorithm);
    let digest_at = sum(len, params.mode.sequence_len())?;
    let total = sum(len, appended)?;
    if key.octets.is_empty() {
        return Err(Error::EmptyKey);
    }
    if total > buf.len() {
        return Err(Error::NoRoom);
    }
    let appended = u8::try_from(appended).map_err(|_| Error::Unsupported)?;
    let field = match params.mode {
        // RFC 2328 section D.3: zero (16), key id (8), digest length (8), sequence number (32).
        Mode::Rfc5709 => {
            let id = u8::try_from(key.id).map_err(|_| Error::KeyIdTooWide)?;
            let sequence = u32::try_from(params.sequence).map_err(|_| Error::SequenceExhausted)?;
            let [a, b, c, d] = sequence.to_be_bytes();
            [0, 0, id, appended, a, b, c, d]
        }
        // RFC 7474 section 3: zero (24), length (8) of sequence number and digest, key id (32).
        Mode::Rfc7474 => {
            let [a, b, c, d] = u32::from(key.id).to_be_bytes();
            [0, 0, 0, appended, a, b, c, d]
        }
    };
    put(buf, 12, &[0, 0])?;
    put(buf, 15, &[params.mode.code()])?;
    put(buf, 16, &field)?;
    if params.mode == Mode::Rfc7474 {
        put(buf, len, &params.sequence.to_be_bytes())?;
    }
    let tag = compute(slice(buf, 0..digest_at)?, key, params.mode, params.source)?;
    put(buf, digest_at, tag.octets())?;
    Ok(total)
}

/// Verifies the OSPF packet that came from `source`: `packet` is all that IPv4 carried. Refuses every packet that
/// does not use `mode` (RFC 7474 section 7).
///
/// `lookup` is asked at most once, for the key that accepts packets with this key id now.
///
/// # Errors
///
/// [`Error::Truncated`] and [`Error::Malformed`] (also for octets after the digest that no option announces),
/// [`Error::NotAuthenticated`] for another authentication type, [`Error::UnknownKey`], [`Error::WrongLength`],
/// [`Error::BadDigest`]; [`Error::EmptyKey`] if `lookup` gives such a key.
pub fn verify<'k>(
    packet: &[u8],
    mode: Mode,
    source: Ipv4Addr,
    lookup: impl FnOnce(u16) -> Option<Key<'k>>,
) -> Result<Verified, Error> {
    let header = header(packet)?;
    let len = header.packet_len;
    if octet(packet, 15)? != mode.code() {
        return Err(Error::NotAuthenticated);
    }
    let appended = usize::from(octet(packet, 19)?);
    let digest_at = sum(len, mode.sequence_len())?;
    let end = sum(len, appended)?;
    // The sequence number is there before it is read, and nothing follows that the packet does not announce.
    if packet.len() < end.max(digest_at) {
        return Err(Error::Truncated);
    }
    if packet.len() > end && !has_lls(packet, header.packet_type, len) {
        return Err(Error::Malformed);
    }
    let (id, sequence) = match mode {
        Mode::Rfc5709 => (u32::from(octet(packet, 18)?), u64::from(u32_at(packet, 20)?)),
        Mode::Rfc7474 => (u32_at(packet, 20)?, u64::from_be_bytes(array(packet, len)?)),
    };
    let key = find(id, lookup)?;
    if appended != overhead(mode, key.algorithm) {
        return Err(Error::WrongLength);
    }
    compute(slice(packet, 0..digest_at)?, &key, mode, source)?.check(slice(packet, digest_at..end)?)?;
    Ok(Verified {
        key_id: key.id,
        sequence,
        packet_type: header.packet_type,
        router_id: header.router_id,
        area_id: header.area_id,
        packet_len: len,
        signed_len: end,
    })
}

struct Header {
    packet_type: u8,
    packet_len: usize,
    router_id: u32,
    area_id: u32,
}

/// RFC 2328 section A.3.1.
fn header(packet: &[u8]) -> Result<Header, Error> {
    if packet.len() < HEADER_LEN {
        return Err(Error::Truncated);
    }
    let header = Header {
        packet_type: octet(packet, 1)?,
        packet_len: usize::from(u16_at(packet, 2)?),
        router_id: u32_at(packet, 4)?,
        area_id: u32_at(packet, 8)?,
    };
    if octet(packet, 0)? != VERSION
        || !(1..=5).contains(&header.packet_type)
        || header.packet_len < HEADER_LEN
    {
        return Err(Error::Malformed);
    }
    if packet.len() < header.packet_len {
        return Err(Error::Truncated);
    }
    Ok(header)
}

/// Whether the options of a Hello or Database Description packet announce a link-local signalling block.
fn has_lls(packet: &[u8], packet_type: u8, len: usize) -> bool {
    let at = match packet_type {
        1 => 30,
        2 => 26,
        _ => return false,
    };
    packet
        .get(..len)
        .and_then(|packet| packet.get(at))
        .is_some_and(|options| options & OPTION_L != 0)
}

/// The digest of all that stands before it, and of the padding in its place.
fn compute(before: &[u8], key: &Key<'_>, mode: Mode, source: Ipv4Addr) -> Result<Tag, Error> {
    let address = source.octets();
    let front: &[u8] = match mode {
        Mode::Rfc5709 => &[],
        Mode::Rfc7474 => &address,
    };
    digest(
        key,
        mode.key_suffix(),
        &[before, Tag::padding(key.algorithm, front).octets()],
    )
}
