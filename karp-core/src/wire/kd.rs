//! The KD payload: bags of wrapped keys (RFC 9838 section 4.5, PROTOCOL.md section 3 for the wrapping).
//!
//! A wrapped key is a 12-octet nonce, the encrypted key and a 16-octet tag. Its additional data are two
//! stretches of the bag that surround the header of the attribute, so they are handed out put together.

use heapless::Vec;

use super::auth::{SPKI_LEN, parse_public_key_info, public_key_info};
use super::gsa::key_id;
use super::numbers::{self, SecurityProtocol};
use super::substructure::{Attributes, body_of, once, write_long};
use super::{Error, Full, Reader, Writer};

/// Octets of the nonce of a wrapped key.
pub const NONCE_LEN: usize = 12;
/// Octets of the tag of a wrapped key.
pub const TAG_LEN: usize = 16;
/// Octets of a traffic key.
pub const TEK_LEN: usize = 32;
/// Octets of the keys of a Rekey SA: GSK_e (36) | GSK_w (32).
pub const REKEY_SA_KEYS_LEN: usize = 68;
/// Most octets of additional data: bag header, SPI of a Rekey SA, Key ID and KWK ID. For a traffic key there
/// are 16.
pub const MAX_AAD_LEN: usize = 28;

/// Octets of a bag of a traffic key.
pub const TEK_BAG_LEN: usize = 80;
/// Octets of a bag of a Rekey SA.
pub const REKEY_SA_BAG_LEN: usize = 128;
/// Octets of a member key bag with an AUTH_KEY.
pub const AUTH_KEY_BAG_LEN: usize = 52;

/// A key under a wrapping key, as it stands in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Wrapped<'a> {
    bag: &'a [u8],
    ids: &'a [u8],
    /// The explicit nonce.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The encrypted key: [`TEK_LEN`] or [`REKEY_SA_KEYS_LEN`] octets.
    pub text: &'a [u8],
    /// The tag.
    pub tag: &'a [u8; TAG_LEN],
}

impl Wrapped<'_> {
    /// The additional data: Protocol | SPI Size | Length | SPI of the bag, then Key ID | KWK ID.
    #[must_use]
    pub fn aad(&self) -> Vec<u8, MAX_AAD_LEN> {
        join(self.bag, self.ids)
    }
}

/// A bag of a KD payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Bag<'a> {
    /// The keys of a Rekey SA.
    RekeySa {
        /// Its SPI.
        spi: [u8; 16],
        /// The keys.
        keys: Wrapped<'a>,
    },
    /// A traffic key.
    Tek {
        /// Its id.
        id: u16,
        /// The key.
        key: Wrapped<'a>,
    },
    /// What is for the member alone (protocol 0).
    Member {
        /// The Ed25519 key that verifies updates.
        auth_key: Option<&'a [u8; 32]>,
    },
    /// Of a protocol that is not known here.
    Unknown(SecurityProtocol),
}

/// The bags in the body of a KD payload. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Bags<'a> {
    reader: Reader<'a>,
}

impl<'a> Bags<'a> {
    /// The bags in `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(body),
        }
    }

    fn step(&mut self) -> Result<Bag<'a>, Error> {
        let octets = self.reader.rest();
        let protocol = SecurityProtocol(self.reader.u8()?);
        let spi_size = self.reader.u8()?;
        let mut body = body_of(self.reader.u16()?, &mut self.reader)?;
        match protocol {
            // RFC 9838 section 4.5.3: what is the SPI Size elsewhere is reserved here.
            SecurityProtocol::NONE => parse_member(body.rest()),
            SecurityProtocol::GIKE_UPDATE if spi_size == 16 => {
                let spi = *body.array()?;
                let bag = octets.get(..20).ok_or(Error::Truncated)?;
                Ok(Bag::RekeySa {
                    spi,
                    keys: parse_sa_key(bag, body.rest(), REKEY_SA_KEYS_LEN)?,
                })
            }
            SecurityProtocol::ROUTING if spi_size == 4 => {
                let id = key_id(body.u32()?)?;
                let bag = octets.get(..8).ok_or(Error::Truncated)?;
                Ok(Bag::Tek {
                    id,
                    key: parse_sa_key(bag, body.rest(), TEK_LEN)?,
                })
            }
            SecurityProtocol::GIKE_UPDATE | SecurityProtocol::ROUTING => Err(Error::BadLength),
            _ => Ok(Bag::Unknown(protocol)),
        }
    }
}

impl<'a> Iterator for Bags<'a> {
    type Item = Result<Bag<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(step)
    }
}

/// The one SA_KEY of a group key bag.
fn parse_sa_key<'a>(bag: &'a [u8], attributes: &'a [u8], key_len: usize) -> Result<Wrapped<'a>, Error> {
    let mut wrapped = None;
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        if attribute.ty == numbers::SA_KEY {
            once(&mut wrapped, attribute.value.long()?)?;
        }
    }
    let mut reader = Reader::new(wrapped.ok_or(Error::Missing)?);
    let ids = reader.take(8)?;
    let nonce = reader.array()?;
    let text = reader.take(key_len)?;
    let tag = reader.array()?;
    reader.finish()?;
    // RFC 9838 section 4.5.4: Key ID 0 is an SA's own keys, KWK ID 0 the default wrapping key. There is no
    // hierarchy here.
    if ids != [0; 8] {
        return Err(Error::Unsupported);
    }
    Ok(Wrapped {
        bag,
        ids,
        nonce,
        text,
        tag,
    })
}

/// A member key bag. WRAP_KEY and GM_SENDER_ID are ignored, however many there are: no key here needs one.
fn parse_member(attributes: &[u8]) -> Result<Bag<'_>, Error> {
    let mut auth_key = None;
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        if attribute.ty == numbers::AUTH_KEY {
            once(&mut auth_key, parse_public_key_info(attribute.value.long()?)?)?;
        }
    }
    Ok(Bag::Member { auth_key })
}

/// Where a wrapped key goes in a message that is being written. Zeros stand there until it is wrapped in
/// place.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct WrapSlot {
    /// Where in the message the nonce begins; key and tag follow.
    pub at: usize,
    /// Octets of the key.
    pub key_len: usize,
    /// The additional data, as [`Wrapped::aad`] will have it.
    pub aad: Vec<u8, MAX_AAD_LEN>,
}

/// The places of a wrapped key's parts in a message.
#[derive(Debug)]
pub struct WrapParts<'a> {
    /// The explicit nonce, each value once for a wrapping key (PROTOCOL.md section 3).
    pub nonce: &'a mut [u8; NONCE_LEN],
    /// Put the key here and encrypt it in place.
    pub text: &'a mut [u8],
    /// The tag.
    pub tag: &'a mut [u8; TAG_LEN],
}

impl WrapSlot {
    /// The places to fill in, in the octets of the message: those of
    /// [`Writer::written_mut`](super::Writer::written_mut) or of the finished message.
    ///
    /// # Errors
    /// [`Full`] if the bag found no room.
    pub fn parts<'m>(&self, message: &'m mut [u8]) -> Result<WrapParts<'m>, Full> {
        let (_, rest) = message.split_at_mut_checked(self.at).ok_or(Full)?;
        let (nonce, rest) = rest.split_first_chunk_mut::<NONCE_LEN>().ok_or(Full)?;
        let (text, rest) = rest.split_at_mut_checked(self.key_len).ok_or(Full)?;
        let (tag, _) = rest.split_first_chunk_mut::<TAG_LEN>().ok_or(Full)?;
        Ok(WrapParts { nonce, text, tag })
    }
}

/// Writes a bag with room for a wrapped traffic key into an open KD payload.
pub fn write_tek(writer: &mut Writer<'_>, id: u16) -> WrapSlot {
    write_bag(
        writer,
        SecurityProtocol::ROUTING,
        &u32::from(id).to_be_bytes(),
        TEK_LEN,
    )
}

/// Writes a bag with room for the wrapped keys of a Rekey SA into an open KD payload.
pub fn write_rekey_sa(writer: &mut Writer<'_>, spi: &[u8; 16]) -> WrapSlot {
    write_bag(writer, SecurityProtocol::GIKE_UPDATE, spi, REKEY_SA_KEYS_LEN)
}

/// Writes a member key bag with an AUTH_KEY into an open KD payload.
pub fn write_auth_key(writer: &mut Writer<'_>, key: &[u8; 32]) {
    let open = writer.begin_sub(SecurityProtocol::NONE.0, 0);
    let info: [u8; SPKI_LEN] = public_key_info(key);
    write_long(writer, numbers::AUTH_KEY, &info);
    writer.end(open);
}

fn write_bag(writer: &mut Writer<'_>, protocol: SecurityProtocol, spi: &[u8], key_len: usize) -> WrapSlot {
    let wrapped_len = key_len
        .saturating_add(8)
        .saturating_add(NONCE_LEN)
        .saturating_add(TAG_LEN);
    let spi_size = u8::try_from(spi.len()).unwrap_or_default();
    let open = writer.begin_sub(protocol.0, spi_size);
    let start = open.position();
    writer.bytes(spi);
    let head_end = writer.position();
    writer.u16(numbers::SA_KEY);
    match u16::try_from(wrapped_len) {
        Ok(length) => writer.u16(length),
        Err(_) => writer.fail(),
    }
    writer.zeros(8); // Key ID 0, KWK ID 0
    let at = writer.position();
    writer.zeros(wrapped_len.saturating_sub(8));
    writer.end(open);
    let head = writer.written().get(start..head_end).unwrap_or_default();
    WrapSlot {
        at,
        key_len,
        aad: join(head, &[0; 8]),
    }
}

fn join(first: &[u8], second: &[u8]) -> Vec<u8, MAX_AAD_LEN> {
    // 20 + 8 octets at most, by construction.
    let mut aad = Vec::new();
    for octet in first.iter().chain(second) {
        if aad.push(*octet).is_err() {
            break;
        }
    }
    aad
}
