//! Key updates: GSA_REKEY (PROTOCOL.md section 7, RFC 9838 section 2.4.1).
//!
//! A signature in an update covers A | P: header and SK header with lengths as if nothing were added by
//! encryption, then the payloads in the clear with zeros for the signature. [`Update::parse`] finds these
//! parts in an opened update and, just the same, in one that its sender is about to sign and seal.

use super::auth::{Auth, Proof, SIGNATURE_AT, SIGNATURE_LEN};
use super::substructure::once;
use super::{Error, ExchangeType, Header, PayloadType, Reader, sk};

/// An update with its payloads in the clear.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Update<'a> {
    /// The header: both SPI fields name the Rekey SA, the Message ID is the generation that the update ends.
    pub header: Header,
    /// Body of the GSA payload.
    pub gsa: &'a [u8],
    /// Body of the KD payload.
    pub kd: &'a [u8],
    /// The signature, if there is one, and what it covers.
    pub signed: Option<Signed<'a>>,
}

/// The signature of an update and what it covers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Signed<'a> {
    /// The signature: zeros in an update that is yet to be signed.
    pub signature: &'a [u8; SIGNATURE_LEN],
    /// Where in the message the signature begins.
    pub offset: usize,
    head: [u8; sk::AAD_LEN],
    payloads: &'a [u8],
}

impl Signed<'_> {
    /// The octets that are signed, in order.
    #[must_use]
    pub const fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.payloads, &[0; SIGNATURE_LEN]]
    }
}

impl<'a> Update<'a> {
    /// A whole message whose SK payload is in the clear, IV and tag in their places.
    ///
    /// # Errors
    /// [`Error::BadValue`] for another exchange type or a response; [`Error::Missing`] without GSA or KD;
    /// [`Error::Duplicate`]; [`Error::Misplaced`] for anything behind AUTH; [`Error::Unsupported`] for an
    /// AUTH that is no Ed25519 signature.
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        let sealed = sk::locate(message)?;
        let header = sealed.header;
        if header.exchange != ExchangeType::GSA_REKEY
            || !header.flags.is_initiator()
            || header.flags.is_response()
        {
            return Err(Error::BadValue);
        }
        let end = message.len().checked_sub(sk::TAG_LEN).ok_or(Error::Truncated)?;
        let text = sk::unpad(message.get(sk::TEXT_AT..end).ok_or(Error::Truncated)?)?;
        let (mut gsa, mut kd, mut signed) = (None, None, None);
        for payload in sk::inner(
            sealed.first,
            message.get(sk::TEXT_AT..end).ok_or(Error::Truncated)?,
        )? {
            let payload = payload?;
            // PROTOCOL.md section 7: AUTH is exactly one and last.
            if signed.is_some() {
                return Err(Error::Misplaced);
            }
            match payload.ty {
                PayloadType::GSA => once(&mut gsa, payload.body)?,
                PayloadType::KD => once(&mut kd, payload.body)?,
                PayloadType::AUTH => {
                    let Proof::Ed25519(signature) = Auth::parse(payload.body)?.proof()? else {
                        return Err(Error::Unsupported);
                    };
                    let offset = payload.body_offset().saturating_add(SIGNATURE_AT);
                    let before = offset.checked_sub(sk::TEXT_AT).ok_or(Error::Truncated)?;
                    let payloads = text.get(..before).ok_or(Error::Truncated)?;
                    signed = Some(Signed {
                        signature,
                        offset,
                        head: adjusted_head(message, text)?,
                        payloads,
                    });
                }
                // D and notifies are ignored in group messages (PROTOCOL.md section 6), unknown payloads
                // skipped.
                _ => {}
            }
        }
        Ok(Self {
            header,
            gsa: gsa.ok_or(Error::Missing)?,
            kd: kd.ok_or(Error::Missing)?,
            signed,
        })
    }
}

/// Header and SK header with lengths that leave out IV, padding and tag (RFC 9838 section 2.4.1.1).
fn adjusted_head(message: &[u8], text: &[u8]) -> Result<[u8; sk::AAD_LEN], Error> {
    let mut reader = Reader::new(message);
    let before_length: &[u8; Header::LENGTH_AT] = reader.array()?;
    reader.u32()?;
    let before_payload_length: &[u8; 2] = reader.array()?;
    let payload_length = text.len().checked_add(4).ok_or(Error::BadLength)?;
    let length = payload_length.checked_add(Header::LEN).ok_or(Error::BadLength)?;
    let length = u32::try_from(length).map_err(|_| Error::BadLength)?.to_be_bytes();
    let payload_length = u16::try_from(payload_length)
        .map_err(|_| Error::BadLength)?
        .to_be_bytes();
    let mut head = [0; sk::AAD_LEN];
    let parts = before_length
        .iter()
        .chain(&length)
        .chain(before_payload_length)
        .chain(&payload_length);
    for (octet, value) in head.iter_mut().zip(parts) {
        *octet = *value;
    }
    Ok(head)
}
