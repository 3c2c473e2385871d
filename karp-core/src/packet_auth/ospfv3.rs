//! OSPFv3 packets: the authentication trailer (RFC 7166).
//!
//! A packet here is what IPv6 carries: it begins with the OSPFv3 header of 16 octets. The order is packet, link-local
//! signalling block (RFC 5613) if the options announce one, trailer; the header's length field counts the first only.
//!
//! All octets of a signed packet, the block and the trailer are covered by the digest, and so is the IPv6 source
//! address.

use core::net::Ipv6Addr;

use super::mac::{Tag, digest};
use super::{Error, Key, array, find, octet, put, slice, sum, u16_at, u32_at};

/// Octets of the OSPFv3 header.
pub const HEADER_LEN: usize = 16;
/// Octets of the trailer before the digest.
pub const TRAILER_LEN: usize = 16;

const VERSION: u8 = 3;
const HELLO: u8 = 1;
const DATABASE_DESCRIPTION: u8 = 2;
/// HMAC cryptographic authentication, the one type of RFC 7166 section 4.1.
const AUTH_TYPE: u16 = 1;
/// The cryptographic protocol id of OSPFv3 (RFC 7166 section 7).
const PROTOCOL_ID: [u8; 2] = 1_u16.to_be_bytes();
/// In the middle octet of the options: an authentication trailer follows (RFC 7166 section 2.1).
const OPTION_AT: u8 = 0x04;
/// In the middle octet of the options: a link-local signalling block follows (RFC 5613 section 2.1).
const OPTION_L: u8 = 0x02;

/// What [`sign`] needs besides packet and key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignParams {
    /// The cryptographic sequence number. It must rise with every packet for the router's whole life.
    pub sequence: u64,
    /// The IPv6 source address that the packet will be sent from.
    pub source: Ipv6Addr,
}

/// What an accepted packet says; all of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The id of the key it was signed with (the trailer's security association id).
    pub key_id: u16,
    /// Its sequence number. The host must see that it is higher than the last one it accepted from this neighbour in a
    /// packet of the same type (RFC 7166 section 4.1).
    pub sequence: u64,
    /// Its type: 1 Hello, 2 Database Description, 3 Link State Request, 4 Update, 5 Acknowledgment.
    pub packet_type: u8,
    /// The sender's router id.
    pub router_id: u32,
    /// The area.
    pub area_id: u32,
    /// Octets of the OSPFv3 packet with its header, without what follows it.
    pub packet_len: usize,
    /// Octets of the link-local signalling block after the packet, or 0.
    pub lls_len: usize,
}

/// How many octets [`sign`] appends to a packet.
#[must_use]
pub const fn overhead(algorithm: super::Algorithm) -> usize {
    TRAILER_LEN.saturating_add(algorithm.digest_len())
}

/// Signs the OSPFv3 packet in the first `len` octets of `buf`, which count its link-local signalling block if its
/// options announce one: sets the AT bit in the options of Hello and Database Description packets, sets the checksums of
/// packet and block to zero (RFC 7166 section 4.2), and appends the trailer. Returns the new length in octets,
/// [`overhead`] more than before.
///
/// # Errors
///
/// [`Error::Truncated`] or [`Error::Malformed`] if these octets are no OSPFv3 packet of exactly `len` octets;
/// [`Error::NoRoom`] and [`Error::EmptyKey`] as they say. The buffer is then unchanged.
pub fn sign(buf: &mut [u8], len: usize, key: &Key<'_>, params: &SignParams) -> Result<usize, Error> {
    let header = header(buf.get(..len).ok_or(Error::Truncated)?)?;
    if sum(header.packet_len, header.lls_len)? != len {
        return Err(Error::Malformed);
    }
    let appended = overhead(key.algorithm);
    let digest_at = sum(len, TRAILER_LEN)?;
    let total = sum(len, appended)?;
    if key.octets.is_empty() {
        return Err(Error::EmptyKey);
    }
    if total > buf.len() {
        return Err(Error::NoRoom);
    }
    let appended = u16::try_from(appended).map_err(|_| Error::Unsupported)?;

    put(buf, 12, &[0, 0])?;
    if let Some((at, options)) = header.options {
        put(buf, at, &[options | OPTION_AT])?;
    }
    if header.lls_len != 0 {
        put(buf, header.packet_len, &[0, 0])?;
    }
    let [type_0, type_1] = AUTH_TYPE.to_be_bytes();
    let [len_0, len_1] = appended.to_be_bytes();
    let [id_0, id_1] = key.id.to_be_bytes();
    put(buf, len, &[type_0, type_1, len_0, len_1, 0, 0, id_0, id_1])?;
    put(buf, sum(len, 8)?, &params.sequence.to_be_bytes())?;
    let tag = compute(slice(buf, 0..digest_at)?, key, params.source)?;
    put(buf, digest_at, tag.octets())?;
    Ok(total)
}

/// Verifies the OSPFv3 packet that came from `source`: `packet` is all that IPv6 carried.
///
/// `lookup` is asked at most once, for the key that accepts packets with this key id now. Checksums are not looked at
/// (RFC 7166 section 4.2).
///
/// # Errors
///
/// [`Error::Truncated`] and [`Error::Malformed`] (also for octets after the trailer); [`Error::NotAuthenticated`] if
/// there is no trailer, if it is of another type, or if a Hello or Database Description packet does not announce it;
/// [`Error::UnknownKey`], [`Error::WrongLength`], [`Error::BadDigest`]; [`Error::EmptyKey`] if `lookup` gives such a key.
pub fn verify<'k>(
    packet: &[u8],
    source: Ipv6Addr,
    lookup: impl FnOnce(u16) -> Option<Key<'k>>,
) -> Result<Verified, Error> {
    let header = header(packet)?;
    let trailer_at = sum(header.packet_len, header.lls_len)?;
    let trailer = packet.get(trailer_at..).ok_or(Error::Truncated)?;
    if trailer.is_empty()
        || header
            .options
            .is_some_and(|(_, options)| options & OPTION_AT == 0)
    {
        return Err(Error::NotAuthenticated);
    }
    if trailer.len() < TRAILER_LEN {
        return Err(Error::Truncated);
    }
    if u16_at(trailer, 0)? != AUTH_TYPE {
        return Err(Error::NotAuthenticated);
    }
    let promised = usize::from(u16_at(trailer, 2)?);
    if promised > trailer.len() {
        return Err(Error::Truncated);
    }
    if promised != trailer.len() {
        return Err(Error::Malformed);
    }
    let key = find(u32::from(u16_at(trailer, 6)?), lookup)?;
    if promised != overhead(key.algorithm) {
        return Err(Error::WrongLength);
    }
    let digest_at = sum(trailer_at, TRAILER_LEN)?;
    let received = slice(packet, digest_at..packet.len())?;
    compute(slice(packet, 0..digest_at)?, &key, source)?.check(received)?;
    Ok(Verified {
        key_id: key.id,
        sequence: u64::from_be_bytes(array(trailer, 8)?),
        packet_type: header.packet_type,
        router_id: header.router_id,
        area_id: header.area_id,
        packet_len: header.packet_len,
        lls_len: header.lls_len,
    })
}

struct Header {
    packet_type: u8,
    packet_len: usize,
    router_id: u32,
    area_id: u32,
    /// Where the middle octet of the options is, and its value; Hello and Database Description packets have one.
    options: Option<(usize, u8)>,
    lls_len: usize,
}

/// RFC 5340 section A.3.1, and what tells where the trailer is.
fn header(packet: &[u8]) -> Result<Header, Error> {
    if packet.len() < HEADER_LEN {
        return Err(Error::Truncated);
    }
    let packet_type = octet(packet, 1)?;
    let packet_len = usize::from(u16_at(packet, 2)?);
    if octet(packet, 0)? != VERSION || !(1..=5).contains(&packet_type) || packet_len < HEADER_LEN {
        return Err(Error::Malformed);
    }
    let body = packet.get(..packet_len).ok_or(Error::Truncated)?;
    let options = match packet_type {
        HELLO => Some(22),
        DATABASE_DESCRIPTION => Some(18),
        _ => None,
    };
    let options = match options {
        Some(at) => Some((at, octet(body, at).map_err(|_| Error::Malformed)?)),
        None => None,
    };
    let lls_len = match options {
        Some((_, options)) if options & OPTION_L != 0 => lls_len(packet, packet_len)?,
        _ => 0,
    };
    let (router_id, area_id) = (u32_at(packet, 4)?, u32_at(packet, 8)?);
    Ok(Header {
        packet_type,
        packet_len,
        router_id,
        area_id,
        options,
        lls_len,
    })
}

/// RFC 5613 section 2.2: checksum (16), length of the whole block in words of 4 octets (16).
fn lls_len(packet: &[u8], at: usize) -> Result<usize, Error> {
    let words = usize::from(u16_at(packet, sum(at, 2)?)?);
    let len = words
        .checked_mul(4)
        .filter(|len| *len != 0)
        .ok_or(Error::Malformed)?;
    if packet.len() < sum(at, len)? {
        return Err(Error::Truncated);
    }
    Ok(len)
}

/// The digest of all that stands before it, and of the padding in its place.
fn compute(before: &[u8], key: &Key<'_>, source: Ipv6Addr) -> Result<Tag, Error> {
    digest(
        key,
        &PROTOCOL_ID,
        &[before, Tag::padding(key.algorithm, &source.octets()).octets()],
    )
}
