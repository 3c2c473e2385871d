//! The parts of IKE_SA_INIT that groups and pairs have in common (PROTOCOL.md section 4).

use crate::{
    node::RefusalKind,
    wire::{
        NotifyType, PayloadType, Writer,
        auth::write_raw_public_key_request,
        notify::{write_invalid_ke, write_signature_hashes},
        numbers::KE_CURVE25519,
        payload::{KeyExchange, write_notify},
        redirect::Redirect,
        sa::{Choice, Purpose, write_answer, write_offer},
    },
};

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
