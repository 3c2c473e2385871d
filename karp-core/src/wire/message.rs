//! What a message of the unicast exchanges contains, in one pass (RFC 7296 sections 1 and 2, PROTOCOL.md
//! section 4).
//!
//! Order does not matter in these messages, and what a message has no use for is skipped; so one collector
//! serves them all, and each exchange takes the parts that it needs and says what is missing. Announcements
//! and updates, which are strict about order, have their own views: [`election`](super::election),
//! [`rekey`](super::rekey).

use core::net::SocketAddr;

use super::auth::Auth;
use super::notify::{
    ElectionState, Evicted, Handoff, Instance, KeysInUse, RekeyRequest, lists_identity_hash, parse_cookie,
    parse_invalid_ke,
};
use super::numbers::{CertEncoding, SecurityProtocol};
use super::payload::{Cert, CertReq, Delete, Id, KeyExchange, Notify, parse_nonce};
use super::redirect::{Redirect, parse_redirected_from};
use super::substructure::once;
use super::{Error, NotifyType, PayloadType, Payloads};

/// The payloads of a message, each checked, none interpreted.
///
/// Bodies of SA, GSA and KD are handed on as they stand: see [`sa`](super::sa) and [`state`](super::state).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents<'a> {
    /// Body of SA.
    pub sa: Option<&'a [u8]>,
    /// KE.
    pub ke: Option<KeyExchange<'a>>,
    /// Ni or Nr.
    pub nonce: Option<&'a [u8]>,
    /// IDi.
    pub id_i: Option<Identity<'a>>,
    /// IDr.
    pub id_r: Option<Identity<'a>>,
    /// The first CERT: that of the sender itself (RFC 7296 section 3.6). Others are skipped.
    pub cert: Option<Cert<'a>>,
    /// Whether a CERTREQ asks for raw public keys.
    pub wants_raw_public_key: bool,
    /// Whether a CERTREQ asks for X.509 certificates.
    pub wants_x509: bool,
    /// AUTH.
    pub auth: Option<Auth<'a>>,
    /// The group's name.
    pub group: Option<&'a [u8]>,
    /// Body of GSA.
    pub gsa: Option<&'a [u8]>,
    /// Body of KD.
    pub kd: Option<&'a [u8]>,
    /// Body of TSi.
    pub ts_i: Option<&'a [u8]>,
    /// Body of TSr.
    pub ts_r: Option<&'a [u8]>,
    /// D for the IKE SA: the sender ends it.
    pub deletes_ike_sa: bool,
    /// D for routing SAs: the sender ends them (PROTOCOL.md section 9).
    pub deletes_routing: Option<Delete<'a>>,
    /// The SPI in REKEY_SA for a routing SA, as it stands: the initiator's.
    pub rekeys_routing: Option<&'a [u8]>,
    /// The first error notify, if there is any.
    pub error: Option<NotifyType>,
    /// The method that INVALID_KE_PAYLOAD asks for.
    pub invalid_ke: Option<u16>,
    /// COOKIE.
    pub cookie: Option<&'a [u8]>,
    /// REDIRECT.
    pub redirect: Option<Redirect<'a>>,
    /// REDIRECT_SUPPORTED.
    pub redirect_supported: bool,
    /// REDIRECTED_FROM.
    pub redirected_from: Option<SocketAddr>,
    /// CHILDLESS_IKEV2_SUPPORTED.
    pub childless_supported: bool,
    /// Whether SIGNATURE_HASH_ALGORITHMS lists the Identity hash.
    pub identity_hash: bool,
    /// INITIAL_CONTACT.
    pub initial_contact: bool,
    /// ELECTION_STATE.
    pub election_state: Option<ElectionState>,
    /// INSTANCE.
    pub instance: Option<Instance>,
    /// KEYS_IN_USE.
    pub keys_in_use: Option<KeysInUse>,
    /// EVICTED.
    pub evicted: Option<Evicted>,
    /// HANDOFF.
    pub handoff: Option<Handoff>,
    /// REKEY_REQUEST.
    pub rekey_request: Option<RekeyRequest>,
}

/// An identity with the whole body of its payload, which AUTH covers (RFC 7296 section 2.15).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Identity<'a> {
    /// The identity.
    pub id: Id<'a>,
    /// The payload body as it stood, reserved octets included.
    pub body: &'a [u8],
}

impl<'a> Contents<'a> {
    /// Collects a chain of payloads.
    ///
    /// # Errors
    /// That of the first malformed payload; [`Error::Duplicate`] for anything repeated that may occur once
    /// (CERT and CERTREQ may repeat, RFC 7296 sections 3.6 and 3.7). Unknown notifies and non-critical
    /// unknown payloads are skipped.
    pub fn collect(payloads: Payloads<'a>) -> Result<Self, Error> {
        let mut contents = Self::default();
        for payload in payloads {
            let payload = payload?;
            let body = payload.body;
            match payload.ty {
                PayloadType::SA => once(&mut contents.sa, body)?,
                PayloadType::KE => once(&mut contents.ke, KeyExchange::parse(body)?)?,
                PayloadType::NONCE => once(&mut contents.nonce, parse_nonce(body)?)?,
                PayloadType::ID_I => once(
                    &mut contents.id_i,
                    Identity {
                        id: Id::parse(body)?,
                        body,
                    },
                )?,
                PayloadType::ID_R => once(
                    &mut contents.id_r,
                    Identity {
                        id: Id::parse(body)?,
                        body,
                    },
                )?,
                PayloadType::CERT => {
                    let cert = Cert::parse(body)?;
                    contents.cert = contents.cert.or(Some(cert));
                }
                PayloadType::CERTREQ => match CertReq::parse(body)?.encoding {
                    CertEncoding::RAW_PUBLIC_KEY => contents.wants_raw_public_key = true,
                    CertEncoding::X509_SIGNATURE => contents.wants_x509 = true,
                    _ => {}
                },
                PayloadType::AUTH => once(&mut contents.auth, Auth::parse(body)?)?,
                PayloadType::ID_G => once(&mut contents.group, Id::parse_group(body)?)?,
                PayloadType::GSA => once(&mut contents.gsa, body)?,
                PayloadType::KD => once(&mut contents.kd, body)?,
                PayloadType::TS_I => once(&mut contents.ts_i, body)?,
                PayloadType::TS_R => once(&mut contents.ts_r, body)?,
                PayloadType::DELETE => {
                    let delete = Delete::parse(body)?;
                    contents.deletes_ike_sa |= delete.is_ike_sa();
                    if delete.protocol == SecurityProtocol::ROUTING {
                        once(&mut contents.deletes_routing, delete)?;
                    }
                }
                PayloadType::NOTIFY => contents.notify(&Notify::parse(body)?)?,
                _ => {}
            }
        }
        Ok(contents)
    }

    fn notify(&mut self, notify: &Notify<'a>) -> Result<(), Error> {
        // RFC 7296 section 3.10: without an SPI the protocol means nothing, and other implementations do set
        // it to 1. The private notifies are ours alone, hence strict.
        match notify.ty {
            NotifyType::COOKIE => once(&mut self.cookie, parse_cookie(notify.data)?),
            NotifyType::REDIRECT => once_if_supported(&mut self.redirect, Redirect::parse(notify.data)),
            NotifyType::REDIRECTED_FROM => {
                once_if_supported(&mut self.redirected_from, parse_redirected_from(notify.data))
            }
            NotifyType::REDIRECT_SUPPORTED => flag(&mut self.redirect_supported),
            NotifyType::CHILDLESS_IKEV2_SUPPORTED => flag(&mut self.childless_supported),
            NotifyType::INITIAL_CONTACT => flag(&mut self.initial_contact),
            NotifyType::REKEY_SA if notify.protocol == SecurityProtocol::ROUTING => {
                once(&mut self.rekeys_routing, notify.spi)
            }
            NotifyType::SIGNATURE_HASH_ALGORITHMS => {
                self.identity_hash |= lists_identity_hash(notify.data)?;
                Ok(())
            }
            NotifyType::ELECTION_STATE => once(
                &mut self.election_state,
                ElectionState::parse(notify.private_data()?)?,
            ),
            NotifyType::INSTANCE => once(&mut self.instance, Instance::parse(notify.private_data()?)?),
            NotifyType::KEYS_IN_USE => once(&mut self.keys_in_use, KeysInUse::parse(notify.private_data()?)?),
            NotifyType::EVICTED => once(&mut self.evicted, Evicted::parse(notify.private_data()?)?),
            NotifyType::HANDOFF => once(&mut self.handoff, Handoff::parse(notify.private_data()?)?),
            NotifyType::REKEY_REQUEST => once(
                &mut self.rekey_request,
                RekeyRequest::parse(notify.private_data()?)?,
            ),
            ty if ty.is_error() => {
                if ty == NotifyType::INVALID_KE_PAYLOAD {
                    once(&mut self.invalid_ke, parse_invalid_ke(notify.data)?)?;
                }
                self.error = self.error.or(Some(ty));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Sets a flag that a notify without data stands for. A second one says the same, and does no harm.
const fn flag(slot: &mut bool) -> Result<(), Error> {
    *slot = true;
    Ok(())
}

/// Fills `slot`, unless the value names a gateway in a way that is not supported: to whoever speaks plain RFC
/// 5685 that is no fault, so the notify is skipped as an unknown one is.
fn once_if_supported<T>(slot: &mut Option<T>, value: Result<T, Error>) -> Result<(), Error> {
    match value {
        Ok(value) => once(slot, value),
        Err(Error::Unsupported) => Ok(()),
        Err(error) => Err(error),
    }
}
