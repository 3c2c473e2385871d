//! Sealed messages: where the parts of an SK payload are (RFC 7296 section 3.14, RFC 7634, PROTOCOL.md
//! section 3).
//!
//! A sealed message is the header, one SK payload and nothing else, so its parts stand at fixed places from
//! both ends. The same [`split`] serves both directions: the sender seals in place what [`finish`] left, the
//! receiver opens in place what arrived, then takes the payloads from [`inner`].

use super::writer::Open;
use super::{Error, Full, Header, PayloadType, Payloads, Writer};

/// Octets of the explicit IV.
pub const IV_LEN: usize = 8;
/// Octets of the tag.
pub const TAG_LEN: usize = 16;
/// Where the additional data ends and the IV begins: behind the header and the generic header of the SK
/// payload.
pub const AAD_LEN: usize = 32;
/// Where the encrypted octets begin.
pub const TEXT_AT: usize = 40;
/// What sealing adds to the payloads inside: header, generic header, IV, Pad Length and tag.
pub const OVERHEAD: usize = 57;

/// The parts of a sealed message, in place.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The additional data: the message from its first octet through the generic header of the SK payload.
    pub aad: &'a [u8],
    /// The explicit IV. The sender fills it in, each value once (PROTOCOL.md section 3).
    pub iv: &'a mut [u8; IV_LEN],
    /// The payloads and their padding: plain before sealing and after opening. Never empty.
    pub text: &'a mut [u8],
    /// The tag.
    pub tag: &'a mut [u8; TAG_LEN],
}

/// What is known of a sealed message before it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sealed {
    /// The header.
    pub header: Header,
    /// The type of the first payload inside; [`PayloadType::NONE`] for SK{}.
    pub first: PayloadType,
}

/// Checks that a datagram is a sealed message, and reads what stands in the clear.
///
/// # Errors
/// Those of [`Header::parse`] and [`Payloads`]; [`Error::NotSealed`] if the first payload is another than SK:
/// nothing is taken that stands unprotected beside an SK payload. [`Error::Truncated`] if there is no room
/// for IV, Pad Length and tag.
pub fn locate(datagram: &[u8]) -> Result<Sealed, Error> {
    let (header, mut payloads) = Payloads::of_message(datagram)?;
    if header.next_payload != PayloadType::SK {
        return Err(Error::NotSealed);
    }
    let sk = payloads.next().ok_or(Error::Missing)??;
    if let Some(behind) = payloads.next() {
        behind?;
    }
    if datagram.len() < OVERHEAD {
        return Err(Error::Truncated);
    }
    Ok(Sealed {
        header,
        first: sk.next,
    })
}

/// The parts of a sealed message. Call [`locate`] first on what was received: this looks at nothing but the
/// length.
///
/// # Errors
/// [`Error::Truncated`].
pub fn split(message: &mut [u8]) -> Result<Parts<'_>, Error> {
    let (aad, rest) = message.split_at_mut_checked(AAD_LEN).ok_or(Error::Truncated)?;
    let (iv, rest) = rest.split_first_chunk_mut::<IV_LEN>().ok_or(Error::Truncated)?;
    let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Truncated)?;
    if text.is_empty() {
        return Err(Error::Truncated);
    }
    Ok(Parts { aad, iv, text, tag })
}

/// The opened text without its padding.
///
/// # Errors
/// [`Error::BadLength`] if the Pad Length, which is the last octet, exceeds the text. Any padding is taken
/// (RFC 7296 section 3.14), none is sent.
pub fn unpad(text: &[u8]) -> Result<&[u8], Error> {
    let (pad_length, rest) = text.split_last().ok_or(Error::BadLength)?;
    let length = rest
        .len()
        .checked_sub(usize::from(*pad_length))
        .ok_or(Error::BadLength)?;
    rest.get(..length).ok_or(Error::BadLength)
}

/// The payloads inside an opened text. Offsets are counted from the first octet of the message.
///
/// # Errors
/// [`Error::BadLength`] for a bad Pad Length.
pub fn inner(first: PayloadType, text: &[u8]) -> Result<Payloads<'_>, Error> {
    Ok(Payloads::new(first, unpad(text)?, TEXT_AT))
}

/// Begins a sealed message: header, generic header of SK and room for the IV. The payloads inside follow;
/// [`finish`] ends it.
pub fn begin<'b>(octets: &'b mut [u8], header: &Header) -> (Writer<'b>, Open) {
    let mut writer = Writer::message(octets, header);
    let open = writer.begin(PayloadType::SK);
    writer.zeros(IV_LEN);
    (writer, open)
}

/// Ends a sealed message: Pad Length 0, room for the tag, final lengths. Hand the result to [`split`] and
/// seal it.
///
/// # Errors
/// [`Full`].
pub fn finish<'b>(mut writer: Writer<'b>, open: Open) -> Result<&'b mut [u8], Full> {
    writer.u8(0);
    writer.zeros(TAG_LEN);
    writer.end(open);
    writer.finish()
}
