//! IS-IS PDUs: generic cryptographic authentication (RFC 5310) and extended sequence numbers (RFC 7602).
//!
//! A PDU here begins with its discriminator, octet 0x83, after whatever the link layer puts before it. Hellos, link
//! state PDUs (LSPs) and sequence number PDUs are known. System ids have 6 octets.
//!
//! The digest stands in TLV 10 inside the PDU and covers all of it, with these exceptions:
//!
//! - the checksum and the remaining lifetime of an LSP, which count as zero: systems on the way change the lifetime;
//! - what follows the PDU's own length: link layers pad short frames.
//!
//! Whoever cannot sign can therefore change the lifetime of a recorded LSP. Making a purge of it that way is refused where
//! the LSP has contents ([`verify`]); in the rest, the sequence number decides, as for any purge.

use super::mac::{Tag, digest};
use super::{Error, Key, array, find, octet, put, slice, sum, u16_at, u32_at};

/// Octets of the TLV that [`add_esn`] adds: type, length, session number (64), packet number (32).
pub const ESN_LEN: usize = 14;

const DISCRIMINATOR: u8 = 0x83;
const TLV_AUTHENTICATION: u8 = 10;
const TLV_ESN: u8 = 11;
/// The authentication type of RFC 5310 section 3.1.
const AUTH_TYPE: u8 = 3;
/// Octets of authentication type and key id, before the digest.
const AUTH_PREFIX: usize = 3;
/// TLVs that a purge may hold: instance id, authentication, purge originator, fingerprint, host name (the column
/// "Purge" of the IANA registry that RFC 6233 set up).
const TLVS_OF_PURGE: [u8; 5] = [7, TLV_AUTHENTICATION, 13, 15, 137];
const LIFETIME_AT: usize = 10;
const LSP_ID_AT: usize = 12;
const CHECKSUM_AT: usize = 24;

/// The kinds of PDU that carry authentication (ISO/IEC 10589's PDU types).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// Hello on a LAN, level 1.
    LanHello1,
    /// Hello on a LAN, level 2.
    LanHello2,
    /// Hello on a point-to-point link.
    PointToPointHello,
    /// Link state PDU, level 1.
    Lsp1,
    /// Link state PDU, level 2.
    Lsp2,
    /// Complete sequence numbers PDU, level 1.
    Csnp1,
    /// Complete sequence numbers PDU, level 2.
    Csnp2,
    /// Partial sequence numbers PDU, level 1.
    Psnp1,
    /// Partial sequence numbers PDU, level 2.
    Psnp2,
}

impl Kind {
    /// The kind with this PDU type, or `None`.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            15 => Self::LanHello1,
            16 => Self::LanHello2,
            17 => Self::PointToPointHello,
            18 => Self::Lsp1,
            20 => Self::Lsp2,
            24 => Self::Csnp1,
            25 => Self::Csnp2,
            26 => Self::Psnp1,
            27 => Self::Psnp2,
            _ => return None,
        })
    }

    /// The PDU type on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::LanHello1 => 15,
            Self::LanHello2 => 16,
            Self::PointToPointHello => 17,
            Self::Lsp1 => 18,
            Self::Lsp2 => 20,
            Self::Csnp1 => 24,
            Self::Csnp2 => 25,
            Self::Psnp1 => 26,
            Self::Psnp2 => 27,
        }
    }

    /// Whether this is a link state PDU.
    #[must_use]
    pub const fn is_lsp(self) -> bool {
        match self {
            Self::Lsp1 | Self::Lsp2 => true,
            Self::LanHello1
            | Self::LanHello2
            | Self::PointToPointHello
            | Self::Csnp1
            | Self::Csnp2
            | Self::Psnp1
            | Self::Psnp2 => false,
        }
    }

    /// Octets before the first TLV.
    #[must_use]
    pub const fn header_len(self) -> u8 {
        match self {
            Self::LanHello1 | Self::LanHello2 | Self::Lsp1 | Self::Lsp2 => 27,
            Self::PointToPointHello => 20,
            Self::Csnp1 | Self::Csnp2 => 33,
            Self::Psnp1 | Self::Psnp2 => 17,
        }
    }

    /// Where the PDU length (16 bits) stands.
    pub(super) const fn length_at(self) -> usize {
        match self {
            Self::LanHello1 | Self::LanHello2 | Self::PointToPointHello => 17,
            Self::Lsp1 | Self::Lsp2 | Self::Csnp1 | Self::Csnp2 | Self::Psnp1 | Self::Psnp2 => 8,
        }
    }

    /// Where the system id (6 octets) stands: of the sender, or of an LSP's originator.
    const fn system_id_at(self) -> usize {
        match self {
            Self::LanHello1 | Self::LanHello2 | Self::PointToPointHello => 9,
            Self::Lsp1 | Self::Lsp2 => LSP_ID_AT,
            Self::Csnp1 | Self::Csnp2 | Self::Psnp1 | Self::Psnp2 => 10,
        }
    }
}

/// An extended sequence number (RFC 7602 section 3). It orders as the 96-bit number that the section compares: of two
/// PDUs of the same kind from the same system, the later one has the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Esn {
    /// The session: never 0, and higher after each cold start or wrap of `packet`.
    pub session: u64,
    /// The number of the packet within the session.
    pub packet: u32,
}

/// What an accepted PDU says; all of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The id of the key it was signed with.
    pub key_id: u16,
    /// Its kind, which includes the level.
    pub kind: Kind,
    /// The sender's system id; for an LSP, that of the system that originated it.
    pub system_id: [u8; 6],
    /// Its extended sequence number, if it has one; LSPs have none. Without one, nothing here tells a replayed PDU
    /// from a fresh one. With one, the host must see that it is greater than the last one it accepted from this system in
    /// a PDU of this kind.
    pub esn: Option<Esn>,
    /// Octets of the PDU.
    pub pdu_len: usize,
}

/// How many octets [`sign`] appends to a PDU that has no authentication TLV yet.
#[must_use]
pub const fn overhead(algorithm: super::Algorithm) -> usize {
    AUTH_PREFIX
        .saturating_add(2)
        .saturating_add(algorithm.digest_len())
}

/// Signs the PDU in the first `len` octets of `buf`: fills in its TLV 10, or appends one and corrects the PDU length;
/// then computes the checksum of an LSP, which covers the digest. Returns the length in octets, [`overhead`] more
/// than before if a TLV was appended.
///
/// Pad a Hello before (RFC 5310 section 3.4), leaving room for [`overhead`].
///
/// # Errors
///
/// [`Error::Truncated`] or [`Error::Malformed`] if these octets are no IS-IS PDU of exactly `len` octets;
/// [`Error::Unsupported`] for PDU types and system id lengths not known here; [`Error::NotAuthenticated`] and
/// [`Error::WrongLength`] if there is a TLV 10 of another type or for another algorithm; [`Error::NoRoom`] and
/// [`Error::EmptyKey`] as they say. The buffer is then unchanged.
pub fn sign(buf: &mut [u8], len: usize, key: &Key<'_>) -> Result<usize, Error> {
    let pdu = Pdu::parse(buf.get(..len).ok_or(Error::Truncated)?)?;
    if pdu.len != len {
        return Err(Error::Malformed);
    }
    if key.octets.is_empty() {
        return Err(Error::EmptyKey);
    }
    let digest_len = key.algorithm.digest_len();
    let value_len = sum(AUTH_PREFIX, digest_len)?;
    let (value_at, total) = match pdu.authentication {
        Some(tlv) if tlv.auth_type != AUTH_TYPE => return Err(Error::NotAuthenticated),
        Some(tlv) if tlv.len != value_len => return Err(Error::WrongLength),
        Some(tlv) => (tlv.at, len),
        None => (sum(len, 2)?, sum(len, overhead(key.algorithm))?),
    };
    if total > buf.len() {
        return Err(Error::NoRoom);
    }
    let total_field = u16::try_from(total).map_err(|_| Error::NoRoom)?;
    let value_field = u8::try_from(value_len).map_err(|_| Error::Unsupported)?;
    if total != len {
        put(buf, len, &[TLV_AUTHENTICATION, value_field])?;
        put(buf, pdu.kind.length_at(), &total_field.to_be_bytes())?;
    }
    let [id_0, id_1] = key.id.to_be_bytes();
    put(buf, value_at, &[AUTH_TYPE, id_0, id_1])?;
    let digest_at = sum(value_at, AUTH_PREFIX)?;
    let tag = compute(slice(buf, 0..total)?, pdu.kind, digest_at, key)?;
    put(buf, digest_at, tag.octets())?;
    if pdu.kind.is_lsp() {
        put(buf, CHECKSUM_AT, &[0, 0])?;
        let checksum = checksum(slice(buf, LSP_ID_AT..total)?);
        put(buf, CHECKSUM_AT, &checksum)?;
    }
    Ok(total)
}

/// Verifies the PDU at the start of `octets`.
///
/// `lookup` is asked at most once, for the key that accepts PDUs with this key id now. The checksum of an LSP is not
/// looked at.
///
/// The remaining lifetime of an LSP is not covered by the digest. An LSP whose lifetime is zero, a purge, is therefore
/// accepted only without contents (RFC 5304 section 2, RFC 6233 section 2): otherwise anyone could turn a
/// recorded LSP into a purge of itself.
///
/// # Errors
///
/// [`Error::Truncated`] and [`Error::Malformed`] (also for two TLVs 10, and in Hellos and sequence number PDUs for two
/// TLVs 11 or a bad one); [`Error::Unsupported`] for PDU types and system id lengths not known here;
/// [`Error::NotAuthenticated`] without TLV 10 or with another authentication type; [`Error::UnknownKey`],
/// [`Error::WrongLength`], [`Error::BadDigest`], [`Error::ForgedPurge`]; [`Error::EmptyKey`] if `lookup` gives such a key.
pub fn verify<'k>(octets: &[u8], lookup: impl FnOnce(u16) -> Option<Key<'k>>) -> Result<Verified, Error> {
    let pdu = Pdu::parse(octets)?;
    let octets = slice(octets, 0..pdu.len)?;
    let tlv = pdu
        .authentication
        .filter(|tlv| tlv.auth_type == AUTH_TYPE)
        .ok_or(Error::NotAuthenticated)?;
    if tlv.len < AUTH_PREFIX {
        return Err(Error::Malformed);
    }
    let key = find(u32::from(u16_at(octets, sum(tlv.at, 1)?)?), lookup)?;
    if tlv.len != sum(AUTH_PREFIX, key.algorithm.digest_len())? {
        return Err(Error::WrongLength);
    }
    let digest_at = sum(tlv.at, AUTH_PREFIX)?;
    let received = slice(octets, digest_at..sum(tlv.at, tlv.len)?)?;
    compute(octets, pdu.kind, digest_at, &key)?.check(received)?;
    if pdu.kind.is_lsp() && u16_at(octets, LIFETIME_AT)? == 0 && !pdu.may_be_purge {
        return Err(Error::ForgedPurge);
    }
    let system_id = array(octets, pdu.kind.system_id_at())?;
    Ok(Verified {
        key_id: key.id,
        kind: pdu.kind,
        system_id,
        esn: pdu.esn,
        pdu_len: pdu.len,
    })
}

/// Puts the extended sequence number into the Hello or sequence number PDU in the first `len` octets of `buf`: into
/// its TLV 11, or into one that it appends. Call it before [`sign`]. Returns the length in octets, [`ESN_LEN`] more than
/// before if a TLV was appended.
///
/// # Errors
///
/// [`Error::Unsupported`] for an LSP (RFC 7602 section 2.2); [`Error::Malformed`] for session 0;
/// [`Error::NoRoom`]; and those of [`sign`] about the PDU. The buffer is then unchanged.
pub fn add_esn(buf: &mut [u8], len: usize, esn: Esn) -> Result<usize, Error> {
    let pdu = Pdu::parse(buf.get(..len).ok_or(Error::Truncated)?)?;
    if pdu.kind.is_lsp() {
        return Err(Error::Unsupported);
    }
    if pdu.len != len || esn.session == 0 {
        return Err(Error::Malformed);
    }
    let (value_at, total) = match pdu.esn_at {
        Some(at) => (at, len),
        None => (sum(len, 2)?, sum(len, ESN_LEN)?),
    };
    if total > buf.len() {
        return Err(Error::NoRoom);
    }
    let total_field = u16::try_from(total).map_err(|_| Error::NoRoom)?;
    if total != len {
        put(buf, len, &[TLV_ESN, 12])?;
        put(buf, pdu.kind.length_at(), &total_field.to_be_bytes())?;
    }
    put(buf, value_at, &esn.session.to_be_bytes())?;
    put(buf, sum(value_at, 8)?, &esn.packet.to_be_bytes())?;
    Ok(total)
}

#[derive(Clone, Copy)]
struct Authentication {
    /// Where the TLV's value begins.
    at: usize,
    /// Octets of the value.
    len: usize,
    auth_type: u8,
}

/// A PDU whose header is right and whose TLVs fill it exactly.
struct Pdu {
    kind: Kind,
    len: usize,
    authentication: Option<Authentication>,
    esn: Option<Esn>,
    esn_at: Option<usize>,
    may_be_purge: bool,
}

impl Pdu {
    fn parse(octets: &[u8]) -> Result<Self, Error> {
        // ISO/IEC 10589 section 9: discriminator, header length, version, system id length, type, version, reserved,
        // areas.
        let [
            discriminator,
            header_len,
            version,
            id_len,
            code,
            version_again,
            ..,
        ] = array::<8>(octets, 0)?;
        if discriminator != DISCRIMINATOR || version != 1 || version_again != 1 {
            return Err(Error::Malformed);
        }
        let kind = Kind::from_code(code & 0x1f).ok_or(Error::Unsupported)?;
        if !matches!(id_len, 0 | 6) {
            return Err(Error::Unsupported);
        }
        let len = usize::from(u16_at(octets, kind.length_at())?);
        if header_len != kind.header_len() || len < usize::from(header_len) {
            return Err(Error::Malformed);
        }
        let octets = octets.get(..len).ok_or(Error::Truncated)?;
        let mut pdu = Self {
            kind,
            len,
            authentication: None,
            esn: None,
            esn_at: None,
            may_be_purge: true,
        };
        let mut at = usize::from(header_len);
        while at < len {
            at = pdu.tlv(octets, at)?;
        }
        Ok(pdu)
    }

    /// Takes in the TLV at `at` and tells where the next one begins.
    fn tlv(&mut self, octets: &[u8], at: usize) -> Result<usize, Error> {
        let [tlv_type, len] = array(octets, at).map_err(|_| Error::Malformed)?;
        let len = usize::from(len);
        let at = sum(at, 2)?;
        let end = sum(at, len)?;
        let value = octets.get(at..end).ok_or(Error::Malformed)?;
        self.may_be_purge &= TLVS_OF_PURGE.contains(&tlv_type);
        match tlv_type {
            TLV_AUTHENTICATION => {
                let auth_type = octet(value, 0).map_err(|_| Error::Malformed)?;
                if self
                    .authentication
                    .replace(Authentication { at, len, auth_type })
                    .is_some()
                {
                    return Err(Error::Malformed);
                }
            }
            // RFC 7602 section 3: one at most, session not zero, and none in LSPs (which are protected otherwise).
            TLV_ESN if !self.kind.is_lsp() => {
                let esn = Esn {
                    session: u64::from_be_bytes(array(value, 0)?),
                    packet: u32_at(value, 8)?,
                };
                if len != 12 || esn.session == 0 || self.esn.replace(esn).is_some() {
                    return Err(Error::Malformed);
                }
                self.esn_at = Some(at);
            }
            _ => {}
        }
        Ok(end)
    }
}

/// The digest of the PDU with the padding in the digest's place, and without what systems on the way change.
fn compute(pdu: &[u8], kind: Kind, digest_at: usize, key: &Key<'_>) -> Result<Tag, Error> {
    let padding = Tag::padding(key.algorithm, &[]);
    let after = slice(pdu, sum(digest_at, padding.octets().len())?..pdu.len())?;
    if kind.is_lsp() {
        // RFC 5310 section 3.4: remaining lifetime and checksum are zero.
        let parts = [
            slice(pdu, 0..LIFETIME_AT)?,
            &[0; 2],
            slice(pdu, LSP_ID_AT..CHECKSUM_AT)?,
            &[0; 2],
            slice(pdu, 26..digest_at)?,
            padding.octets(),
            after,
        ];
        digest(key, &[], &parts)
    } else {
        digest(key, &[], &[slice(pdu, 0..digest_at)?, padding.octets(), after])
    }
}

/// The checksum of an LSP (ISO/IEC 10589 section 7.3.11, arithmetic of RFC 1008): over all from the LSP id on, its own
/// two octets being zero, so that both running sums of the whole vanish modulo 255.
fn checksum(octets: &[u8]) -> [u8; 2] {
    let (mut c0, mut c1) = (0_u32, 0_u32);
    for octet in octets {
        c0 = c0.wrapping_add(u32::from(*octet)) % 255;
        c1 = c1.wrapping_add(c0) % 255;
    }
    // How many octets follow the first of the checksum.
    let following = u32::try_from(octets.len().saturating_sub(13)).unwrap_or(0) % 255;
    let x = following.wrapping_mul(c0).wrapping_add(255).wrapping_sub(c1) % 255;
    let y = 510_u32.wrapping_sub(c0).wrapping_sub(x) % 255;
    // Zero and 255 are the same here, and zero would mean that there is no checksum.
    [x, y].map(|sum| u8::try_from(sum).ok().filter(|sum| *sum != 0).unwrap_or(255))
}
