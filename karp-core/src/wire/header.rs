//! The 28 octets at the front of every message (RFC 7296 section 3.1).

use super::{Error, ExchangeType, PayloadType, Reader, Writer};

/// Version octet: major 2, minor 0.
const VERSION: u8 = 0x20;

/// The header of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// SPI of the initiator; an announcement has its instance here, an update the first half of the Rekey
    /// SA's SPI.
    pub spi_i: [u8; 8],
    /// SPI of the responder; zero as long as there is none.
    pub spi_r: [u8; 8],
    /// Type of the first payload. [`Writer::message`](super::Writer::message) fills it in.
    pub next_payload: PayloadType,
    /// What the message is about.
    pub exchange: ExchangeType,
    /// Who sent it and whether it answers.
    pub flags: Flags,
    /// Message ID; in an announcement the sequence number.
    pub message_id: u32,
    /// Octets of the whole message, this header included. [`Writer::finish`](super::Writer::finish) fills it
    /// in.
    pub length: u32,
}

/// The header's flags. Only I and R are read (PROTOCOL.md section 4); what is written is written as given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flags(pub u8);

impl Flags {
    /// A request of the original responder: none set.
    pub const NONE: Self = Self(0);
    /// Set in messages of the original initiator of the IKE SA.
    pub const INITIATOR: Self = Self(0x08);
    /// Set in answers.
    pub const RESPONSE: Self = Self(0x20);
    /// An answer of the original initiator.
    pub const INITIATOR_RESPONSE: Self = Self(0x28);

    /// Whether the original initiator sent the message.
    #[must_use]
    pub const fn is_initiator(self) -> bool {
        self.0 & Self::INITIATOR.0 != 0
    }

    /// Whether the message answers another.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & Self::RESPONSE.0 != 0
    }
}

impl Header {
    /// Octets of a header.
    pub const LEN: usize = 28;
    /// Where the type of the first payload stands.
    pub const NEXT_PAYLOAD_AT: usize = 16;
    /// Where the four octets of the length stand.
    pub const LENGTH_AT: usize = 24;

    /// A header for a message that is about to be written: no payload yet, and the length of the header
    /// alone.
    #[must_use]
    pub const fn new(
        spi_i: [u8; 8],
        spi_r: [u8; 8],
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            spi_i,
            spi_r,
            next_payload: PayloadType::NONE,
            exchange,
            flags,
            message_id,
            length: 28,
        }
    }

    /// The header of a datagram.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::BadVersion`] unless the major version is 2 (a higher minor version is
    /// taken, RFC 7296 section 2.5), and [`Error::BadLength`] unless the Length field is the datagram's
    /// length.
    pub fn parse(datagram: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(datagram);
        let spi_i = *reader.array()?;
        let spi_r = *reader.array()?;
        let next_payload = PayloadType(reader.u8()?);
        let version = reader.u8()?;
        let exchange = ExchangeType(reader.u8()?);
        let flags = Flags(reader.u8()?);
        let message_id = reader.u32()?;
        let length = reader.u32()?;
        if version >> 4 != VERSION >> 4 {
            return Err(Error::BadVersion(version >> 4));
        }
        if usize::try_from(length) != Ok(datagram.len()) {
            return Err(Error::BadLength);
        }
        Ok(Self {
            spi_i,
            spi_r,
            next_payload,
            exchange,
            flags,
            message_id,
            length,
        })
    }

    /// The octets, every field as it stands.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut octets = [0; Self::LEN];
        let mut writer = Writer::new(&mut octets);
        writer.bytes(&self.spi_i);
        writer.bytes(&self.spi_r);
        writer.bytes(&[self.next_payload.0, VERSION, self.exchange.0, self.flags.0]);
        writer.u32(self.message_id);
        writer.u32(self.length);
        octets
    }

    /// Both SPI fields as the 16 octets of a Rekey SA's SPI (RFC 9838 section 4.4.2).
    #[must_use]
    pub fn rekey_sa_spi(&self) -> [u8; 16] {
        let mut spi = [0; 16];
        let (first, second) = spi.split_at_mut(8);
        first.copy_from_slice(&self.spi_i);
        second.copy_from_slice(&self.spi_r);
        spi
    }
}
