//! The parts of IKE_SA_INIT that groups and pairs have in common (PROTOCOL.md section 4).

use super::wire_fault;
use crate::{
    error::DropReason,
    node::RefusalKind,
    wire::{
        self, Header, NotifyType, PayloadType, Payloads, Writer,
        auth::write_raw_public_key_request,
        message::Contents,
        notify::{write_invalid_ke, write_signature_hashes},
        numbers::KE_CURVE25519,
        payload::{KeyExchange, write_notify},
        redirect::Redirect,
        sa::{Choice, Purpose, write_answer, write_offer},
    },
};

/// A request that has what it needs; nothing of it is verified.
pub(crate) struct InitRequest<'a> {
    pub(crate) spi_i: [u8; 8],
    pub(crate) sa: &'a [u8],
    pub(crate) ke: KeyExchange<'a>,
    pub(crate) nonce: &'a [u8],
    pub(crate) cookie: Option<&'a [u8]>,
    pub(crate) redirect_supported: bool,
}

/// Why it is none.
pub(crate) enum InitFault {
    /// RFC 7296 section 2.5: an unknown critical payload, which the refusal names to the sender with this SPI.
    UnknownCritical([u8; 8], u8),
    /// It is dropped.
    Drop(DropReason),
}

impl<'a> InitRequest<'a> {
    pub(crate) fn read(octets: &'a [u8]) -> Result<Self, InitFault> {
        let drop = |error| InitFault::Drop(wire_fault(error));
        let (header, payloads) = Payloads::of_message(octets).map_err(drop)?;
        let Header {
            spi_i,
            spi_r,
            message_id,
            ..
        } = header;
        let contents = match Contents::collect(payloads) {
            Ok(contents) => contents,
            Err(wire::Error::UnknownCritical(ty)) => return Err(InitFault::UnknownCritical(spi_i, ty)),
            Err(other) => return Err(drop(other)),
        };
        let (Some(sa), Some(ke), Some(nonce)) = (contents.sa, contents.ke, contents.nonce) else {
            return Err(InitFault::Drop(DropReason::Malformed));
        };
        if spi_i == [0; 8] || spi_r != [0; 8] || message_id != 0 {
            return Err(InitFault::Drop(DropReason::Malformed));
        }
        Ok(Self {
            spi_i,
            sa,
            ke,
            nonce,
            cookie: contents.cookie,
            redirect_supported: contents.redirect_supported,
        })
    }
}

/// The payloads of a request, up to the notifies that only one of the two has.
pub(crate) fn write_init_request(
    writer: &mut Writer<'_>,
    cookie: &[u8],
    purpose: Purpose,
    public: &[u8; 32],
    nonce: &[u8],
) {
    // RFC 7296 section 2.6: the cookie comes first, all else stays as it was.
    if !cookie.is_empty() {
        write_notify(writer, NotifyType::COOKIE, cookie);
    }
    write_offer(writer, purpose);
    write_key_exchange(writer, public);
    writer.payload(PayloadType::NONCE, nonce);
    write_signature_hashes(writer);
}

/// The payloads of a response.
pub(crate) fn write_init_response(
    writer: &mut Writer<'_>,
    choice: &Choice,
    public: &[u8; 32],
    nonce: &[u8],
    asks_for_key: bool,
) {
    write_answer(writer, choice);
    write_key_exchange(writer, public);
    writer.payload(PayloadType::NONCE, nonce);
    if asks_for_key {
        write_raw_public_key_request(writer);
    }
    write_signature_hashes(writer);
    write_notify(writer, NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]);
}

/// A KE payload of Curve25519.
pub(crate) fn write_key_exchange(writer: &mut Writer<'_>, public: &[u8; 32]) {
    KeyExchange {
        method: KE_CURVE25519,
        data: public,
    }
    .write(writer);
}

impl RefusalKind {
    /// The one payload of a response that keeps no state.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Cookie(cookie) => write_notify(writer, NotifyType::COOKIE, cookie),
            Self::Redirect { to, nonce } => Redirect { to: *to, nonce }.write(writer),
            Self::TemporaryFailure => write_notify(writer, NotifyType::TEMPORARY_FAILURE, &[]),
            Self::NoProposal => write_notify(writer, NotifyType::NO_PROPOSAL_CHOSEN, &[]),
            Self::InvalidKe(method) => write_invalid_ke(writer, *method),
            Self::UnsupportedCritical(ty) => {
                write_notify(writer, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[*ty]);
            }
        }
    }
}
