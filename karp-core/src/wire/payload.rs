//! The chain of payloads, and the payloads whose body is a few fields (RFC 7296 section 3).

use super::numbers::{CertEncoding, IdType, NotifyType, SecurityProtocol};
use super::substructure::body_of;
use super::{Error, Header, PayloadType, Reader, Writer};

/// Octets of the generic payload header.
pub const GENERIC_LEN: usize = 4;
/// Longest identity in octets, its type not counted (PROTOCOL.md leaves room for it in every message).
pub const MAX_ID_LEN: usize = 64;
/// Longest group name in octets of UTF-8.
pub const MAX_GROUP_LEN: usize = 64;
/// Shortest and longest nonce in octets (RFC 7296 section 3.9).
pub const NONCE_LEN: core::ops::RangeInclusive<usize> = 16..=256;

/// A payload as it stands in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Payload<'a> {
    /// Its type, from the Next Payload field before it.
    pub ty: PayloadType,
    /// The type of the payload behind it; of an SK payload, that of the first one inside.
    pub next: PayloadType,
    /// Whether a receiver that does not know the type must refuse the message.
    pub critical: bool,
    /// Where its generic header begins, counted in the octets that the chain was made over (plus their base).
    pub offset: usize,
    /// Its generic header.
    pub generic: &'a [u8; GENERIC_LEN],
    /// What stands behind its generic header.
    pub body: &'a [u8],
}

impl Payload<'_> {
    /// Where the body begins, counted like [`offset`](Self::offset).
    #[must_use]
    pub const fn body_offset(&self) -> usize {
        self.offset.saturating_add(GENERIC_LEN)
    }

    /// Where the payload ends, counted like [`offset`](Self::offset).
    #[must_use]
    pub const fn end(&self) -> usize {
        self.body_offset().saturating_add(self.body.len())
    }
}

/// The payloads of a message, or of the inside of an SK payload.
///
/// Ends after the first error. Payloads of unknown types are handed out unless they are critical: the
/// consumer skips them.
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    next: PayloadType,
    reader: Reader<'a>,
    offset: usize,
}

impl<'a> Payloads<'a> {
    /// The chain in `octets` that begins with a payload of type `first`. Offsets are counted from `base`.
    #[must_use]
    pub const fn new(first: PayloadType, octets: &'a [u8], base: usize) -> Self {
        Self {
            next: first,
            reader: Reader::new(octets),
            offset: base,
        }
    }

    /// The header of a datagram and its chain, with offsets counted from the first octet of the datagram.
    ///
    /// # Errors
    /// Those of [`Header::parse`].
    pub fn of_message(datagram: &'a [u8]) -> Result<(Header, Self), Error> {
        let header = Header::parse(datagram)?;
        let octets = datagram.get(Header::LEN..).ok_or(Error::Truncated)?;
        Ok((header, Self::new(header.next_payload, octets, Header::LEN)))
    }

    fn step(&mut self) -> Result<Option<Payload<'a>>, Error> {
        if self.next == PayloadType::NONE {
            self.reader.finish()?;
            return Ok(None);
        }
        let ty = self.next;
        let offset = self.offset;
        let generic = self.reader.array::<GENERIC_LEN>()?;
        let [next, flags, high, low] = *generic;
        let body = body_of(u16::from_be_bytes([high, low]), &mut self.reader)?.rest();
        let payload = Payload {
            ty,
            next: PayloadType(next),
            critical: flags & 0x80 != 0,
            offset,
            generic,
            body,
        };
        if payload.critical && !ty.is_known() {
            return Err(Error::UnknownCritical(ty.0));
        }
        self.offset = payload.end();
        // RFC 7296 section 3.14: an encrypted payload is the last one; its Next Payload tells of what is
        // inside.
        self.next = match ty {
            PayloadType::SK | PayloadType::SKF => PayloadType::NONE,
            _ => payload.next,
        };
        Ok(Some(payload))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<Payload<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            *self = Self::new(PayloadType::NONE, &[], self.offset);
        }
        step.transpose()
    }
}

/// A KE payload (RFC 7296 section 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyExchange<'a> {
    /// The key exchange method.
    pub method: u16,
    /// The public value. Its length is checked by whoever knows the method.
    pub data: &'a [u8],
}

impl<'a> KeyExchange<'a> {
    /// The body of a KE payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let method = reader.u16()?;
        reader.u16()?; // reserved
        Ok(Self {
            method,
            data: reader.rest(),
        })
    }

    /// Writes the payload.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let open = writer.begin(PayloadType::KE);
        writer.u16(self.method);
        writer.u16(0);
        writer.bytes(self.data);
        writer.end(open);
    }
}

/// Checks the body of a Nonce payload.
///
/// # Errors
/// [`Error::BadLength`] unless it has 16 to 256 octets (RFC 7296 section 3.9).
pub fn parse_nonce(body: &[u8]) -> Result<&[u8], Error> {
    if NONCE_LEN.contains(&body.len()) {
        Ok(body)
    } else {
        Err(Error::BadLength)
    }
}

/// An identity: the body of IDi, IDr or IDg (RFC 7296 section 3.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Id<'a> {
    /// The kind of identity.
    pub ty: IdType,
    /// Its octets, 1 to [`MAX_ID_LEN`].
    pub data: &'a [u8],
}

impl<'a> Id<'a> {
    /// The body of an identification payload.
    ///
    /// # Errors
    /// [`Error::Truncated`], and [`Error::BadLength`] for an identity that is empty or too long.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let ty = IdType(reader.u8()?);
        reader.take(3)?; // reserved
        let data = reader.rest();
        if data.is_empty() || data.len() > MAX_ID_LEN {
            return Err(Error::BadLength);
        }
        Ok(Self { ty, data })
    }

    /// The body of an IDg payload: the group's name.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and [`Error::Unsupported`] if the type is not ID_KEY_ID (PROTOCOL.md
    /// section 4).
    pub fn parse_group(body: &'a [u8]) -> Result<&'a [u8], Error> {
        let id = Self::parse(body)?;
        if id.ty == IdType::KEY_ID {
            Ok(id.data)
        } else {
            Err(Error::Unsupported)
        }
    }

    /// The four octets that stand before the identity's own in a payload body: hashed together they are what
    /// EVICTED names a node by (PROTOCOL.md section 4), and what AUTH covers when the reserved octets are
    /// zero.
    #[must_use]
    pub const fn head(&self) -> [u8; 4] {
        [self.ty.0, 0, 0, 0]
    }

    /// Writes a payload of type `ty`: IDi, IDr or IDg.
    pub fn write(&self, writer: &mut Writer<'_>, ty: PayloadType) {
        let open = writer.begin(ty);
        writer.bytes(&self.head());
        writer.bytes(self.data);
        writer.end(open);
    }
}

/// Writes an IDg payload with the group's name.
pub fn write_group(writer: &mut Writer<'_>, name: &[u8]) {
    Id {
        ty: IdType::KEY_ID,
        data: name,
    }
    .write(writer, PayloadType::ID_G);
}

/// A CERT payload (RFC 7296 section 3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cert<'a> {
    /// What the data is.
    pub encoding: CertEncoding,
    /// The certificate or key.
    pub data: &'a [u8],
}

impl<'a> Cert<'a> {
    /// The body of a CERT payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Self {
            encoding: CertEncoding(reader.u8()?),
            data: reader.rest(),
        })
    }
}

/// A CERTREQ payload (RFC 7296 section 3.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CertReq<'a> {
    /// What is asked for.
    pub encoding: CertEncoding,
    /// Whose certificates are accepted; empty for raw public keys (RFC 7670).
    pub authority: &'a [u8],
}

impl<'a> CertReq<'a> {
    /// The body of a CERTREQ payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        Ok(Self {
            encoding: CertEncoding(reader.u8()?),
            authority: reader.rest(),
        })
    }
}

/// A notify payload (RFC 7296 section 3.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Notify<'a> {
    /// What the SPI is one of; without meaning if there is none.
    pub protocol: SecurityProtocol,
    /// The SA that the notify is about, or empty.
    pub spi: &'a [u8],
    /// What is told.
    pub ty: NotifyType,
    /// More about it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// Octets of a notify's body before its data, without an SPI.
    pub const HEAD_LEN: usize = 4;

    /// The body of a notify payload.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let protocol = SecurityProtocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let ty = NotifyType(reader.u16()?);
        Ok(Self {
            protocol,
            spi: reader.take(usize::from(spi_size))?,
            ty,
            data: reader.rest(),
        })
    }

    /// The data of a private notify, which has protocol 0 and no SPI (PROTOCOL.md section 2).
    ///
    /// # Errors
    /// [`Error::BadValue`] for another protocol or an SPI.
    pub const fn private_data(&self) -> Result<&'a [u8], Error> {
        if self.protocol.0 == 0 && self.spi.is_empty() {
            Ok(self.data)
        } else {
            Err(Error::BadValue)
        }
    }
}

/// Writes a notify with protocol 0 and no SPI.
pub fn write_notify(writer: &mut Writer<'_>, ty: NotifyType, data: &[u8]) {
    let open = begin_notify(writer, ty);
    writer.bytes(data);
    writer.end(open);
}

/// Begins a notify with protocol 0 and no SPI; its data follows.
pub(super) fn begin_notify(writer: &mut Writer<'_>, ty: NotifyType) -> super::writer::Open {
    let open = writer.begin(PayloadType::NOTIFY);
    writer.u16(0);
    writer.u16(ty.0);
    open
}

/// A delete payload (RFC 7296 section 3.11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Delete<'a> {
    /// What is deleted.
    pub protocol: SecurityProtocol,
    /// Octets of each SPI.
    pub spi_size: u8,
    spis: &'a [u8],
}

impl<'a> Delete<'a> {
    /// Octets of the body of [`write_delete_ike`].
    pub const IKE_LEN: usize = 4;

    /// The body of a delete payload.
    ///
    /// # Errors
    /// [`Error::Truncated`], and [`Error::BadLength`] if the SPIs do not fill it.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let protocol = SecurityProtocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u16()?;
        let spis = reader.rest();
        // 255 x 65535 does not overflow, even where a usize has 32 bits.
        if usize::from(spi_size).saturating_mul(usize::from(count)) != spis.len() {
            return Err(Error::BadLength);
        }
        Ok(Self {
            protocol,
            spi_size,
            spis,
        })
    }

    /// The SPIs; none for an IKE SA, which the message itself names.
    pub fn spis(&self) -> impl Iterator<Item = &'a [u8]> {
        self.spis.chunks_exact(usize::from(self.spi_size).max(1))
    }

    /// Whether the sender ends the IKE SA that the message belongs to.
    #[must_use]
    pub fn is_ike_sa(&self) -> bool {
        self.protocol == SecurityProtocol::IKE
    }
}

/// Writes a delete payload that ends the IKE SA: protocol 1, no SPI (PROTOCOL.md section 4).
pub fn write_delete_ike(writer: &mut Writer<'_>) {
    writer.payload(PayloadType::DELETE, &[SecurityProtocol::IKE.0, 0, 0, 0]);
}
