//! The responder's side of the initial exchange: half-open exchanges, cookies, and the peer's proof (PROTOCOL.md
//! section 4).

use core::net::SocketAddr;

use super::{
    Core,
    sa::{Channel, Kept, Origin, Sa, Standing, Way, nonce_head},
    settings::Cookies,
};
use crate::{
    counters::bump,
    crypto::{DhSecret, IkeKeys, Secret},
    error::DropReason,
    exchange::{
        MAX_FIRST,
        auth::{CertRule, Covered},
        messages::{InitFault, InitRequest, write_init_response},
        wire_fault,
    },
    identity::Identity,
    io::MessageKind,
    node::{Refusal, RefusalKind},
    time::{Duration, Instant},
    wire::{
        self, ExchangeType, Flags, Header, NotifyType, PayloadType, Payloads, Writer,
        message::Contents,
        numbers::KE_CURVE25519,
        payload::write_notify,
        sa::{Choice, Purpose, choose},
    },
};

/// Half-open exchanges at once (PROTOCOL.md section 11).
pub(super) const MAX_HALF_OPEN: usize = 4;
/// Refusals without state that wait to be sent.
pub(super) const MAX_REFUSALS: usize = 4;
/// A half-open exchange lives so long, unless its place is needed: longer than an initiator goes on with it.
const HALF_OPEN_LIFE: Duration = Duration::from_secs(20);

/// How far a half-open exchange has come.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
enum Stage {
    /// IKE_SA_INIT was answered, or is to be.
    Init { secret: DhSecret },
    /// IKE_AUTH came under these keys: they are derived once, not for every forged copy.
    Keyed {
        channel: Channel,
        sk_pi: Secret<32>,
        sk_pr: Secret<32>,
    },
    /// IKE_AUTH was refused; the answer is kept for repeats.
    Refused,
}

/// The beginning of an exchange by the peer, or in its name.
pub(super) struct HalfOpen {
    way: Way,
    spi_i: [u8; 8],
    spi_r: [u8; 8],
    nonce: [u8; 32],
    stage: Stage,
    request: heapless::Vec<u8, MAX_FIRST>,
    /// IKE_SA_INIT's response, then the refusal of IKE_AUTH.
    response: Kept,
    owes: bool,
    began: Instant,
    pub(super) deadline: Instant,
}

impl HalfOpen {
    fn nonce_i(&self) -> Option<&[u8]> {
        let (_, payloads) = Payloads::of_message(&self.request).ok()?;
        Contents::collect(payloads).ok()?.nonce
    }
}

impl Core<'_> {
    /// Keeps what little a refusal without state needs; when too many are owed the newest is dropped.
    fn refuse(
        &mut self,
        way: Way,
        spi_i: [u8; 8],
        answer: RefusalKind,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let refusal = Refusal {
            to: way.to,
            spi_i,
            answer,
        };
        self.pair
            .refusals
            .push((refusal, way.marked))
            .map_err(|_| DropReason::RateLimited)?;
        Err(reason)
    }

    /// A request of IKE_SA_INIT. Cookies are checked before anything costly.
    pub(super) fn handle_init_request(&mut self, way: Way, octets: &[u8]) -> Result<(), DropReason> {
        let request = match InitRequest::read(octets) {
            Ok(request) => request,
            Err(InitFault::UnknownCritical(spi_i, ty)) => {
                let answer = RefusalKind::UnsupportedCritical(ty);
                return self.refuse(way, spi_i, answer, DropReason::UnknownCritical);
            }
            Err(InitFault::Drop(reason)) => return Err(reason),
        };
        let InitRequest {
            spi_i,
            nonce: nonce_i,
            ..
        } = request;
        // A repeat is recognised by its whole octets or its Ni, not by its SPI (RFC 7296 section 2.1).
        let mut half_open = self.pair.half_open.iter_mut();
        if let Some(known) = half_open.find(|known| known.nonce_i() == Some(nonce_i)) {
            if known.request.as_slice() != octets || matches!(known.stage, Stage::Refused) {
                return Err(DropReason::Replayed);
            }
            known.owes = true;
            bump(&mut self.pair.pair_counters.responses_repeated);
            return Ok(());
        }
        // So is one that led to an IKE SA: a copy that comes late must not make another.
        let head = nonce_head(nonce_i);
        let known = |sa: &Sa| !sa.initiator && sa.spi_i == spi_i && sa.nonce == head;
        if self.pair.sas.iter().any(known) {
            return Err(DropReason::Replayed);
        }
        let Some(choice) = choose(request.sa, Some(Purpose::Pairwise)).map_err(wire_fault)? else {
            let answer = RefusalKind::NoProposal;
            return self.refuse(way, spi_i, answer, DropReason::NoProposal);
        };
        if self.cookies_wanted() {
            match request.cookie {
                Some(cookie) if self.pair.cookies.check(cookie, nonce_i, &spi_i, way.to) => {}
                given => {
                    let cookie = self.pair.cookies.make(nonce_i, &spi_i, way.to);
                    bump(&mut self.pair.pair_counters.cookies_asked);
                    let reason = if given.is_some() {
                        DropReason::BadCookie
                    } else {
                        DropReason::RateLimited
                    };
                    return self.refuse(way, spi_i, RefusalKind::Cookie(cookie), reason);
                }
            }
        }
        if request.ke.method != KE_CURVE25519 {
            let answer = RefusalKind::InvalidKe(KE_CURVE25519);
            return self.refuse(way, spi_i, answer, DropReason::BadKeyMaterial);
        }
        let kept = heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
        if self.pair.half_open.is_full() {
            // Random replacement (section 4): a flood cannot choose whom it displaces.
            let len = u64::try_from(self.pair.half_open.len()).unwrap_or(1);
            let victim = usize::try_from(self.random_below(len)).unwrap_or(0);
            if victim < self.pair.half_open.len() {
                self.pair.half_open.swap_remove(victim);
            }
        }
        let (mut spi_r, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_r);
        self.rng.fill_bytes(&mut nonce);
        let secret = DhSecret::generate(self.rng);
        let public = secret.public();
        let asks = self.creds.public_key().is_some();
        let response = init_response((spi_i, spi_r), &choice, &public, &nonce, asks);
        let half_open = HalfOpen {
            way,
            spi_i,
            spi_r,
            nonce,
            stage: Stage::Init { secret },
            request: kept,
            response: response.ok_or(DropReason::NoRoom)?,
            owes: true,
            began: self.now,
            deadline: self.now.after(HALF_OPEN_LIFE),
        };
        self.pair
            .half_open
            .push(half_open)
            .map_err(|_| DropReason::TableFull)
    }

    fn cookies_wanted(&self) -> bool {
        match self.settings().cookies {
            Cookies::Always => true,
            Cookies::UnderLoad => self.pair.half_open.len().saturating_mul(2) >= MAX_HALF_OPEN,
        }
    }

    /// A request of IKE_AUTH that begins an IKE SA.
    pub(super) fn handle_auth_request(&mut self, way: Way, octets: &mut [u8]) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        let at = self
            .pair
            .half_open
            .iter()
            .position(|known| known.spi_i == header.spi_i && known.spi_r == header.spi_r)
            .ok_or(DropReason::UnknownSpi)?;
        if header.message_id != 1 {
            return Err(DropReason::OutOfWindow);
        }
        let now = self.now;
        let half_open = self.pair.half_open.get_mut(at).ok_or(DropReason::UnknownSpi)?;
        if matches!(half_open.stage, Stage::Refused) {
            half_open.owes = true;
            bump(&mut self.pair.pair_counters.responses_repeated);
            return Ok(());
        }
        half_open.derive()?;
        let nonce_i = half_open.nonce_i().ok_or(DropReason::Malformed)?;
        let nonce_i: heapless::Vec<u8, 256> =
            heapless::Vec::from_slice(nonce_i).map_err(|_| DropReason::Malformed)?;
        let Core { pair, creds, .. } = self;
        let settings = pair.config.settings();
        let half_open = pair.half_open.get_mut(at).ok_or(DropReason::UnknownSpi)?;
        let Stage::Keyed {
            channel,
            sk_pi,
            sk_pr,
        } = &mut half_open.stage
        else {
            return Err(DropReason::UnknownSpi);
        };
        let opened = channel.open(octets)?;
        let answer = channel.header(ExchangeType::IKE_AUTH, true, 1);
        let collected = opened.payloads().map(Contents::collect);
        let fault = match &collected {
            Ok(Ok(contents)) => {
                let identity = contents
                    .id_i
                    .as_ref()
                    .and_then(|id| Identity::new(id.id.ty.0, id.id.data));
                let covered = Covered {
                    message: &half_open.request,
                    nonce: &half_open.nonce,
                    sk_p: sk_pi,
                };
                // The initiator may name whom it wants to talk to.
                let meant = contents.id_r.as_ref().is_none_or(|id| {
                    Identity::new(id.id.ty.0, id.id.data).as_ref() == Some(&settings.identity)
                });
                let expected = identity.as_ref() == Some(&settings.peer);
                let proved = expected && covered.verify(contents, &settings.peer, *creds, CertRule::Optional);
                if proved && meant {
                    None
                } else {
                    Some((NotifyType::AUTHENTICATION_FAILED, DropReason::BadProof))
                }
            }
            Ok(Err(wire::Error::UnknownCritical(ty))) => {
                let kept = channel.seal(&answer, |writer| {
                    write_notify(writer, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[*ty]);
                });
                half_open.settle(kept, now);
                return Err(DropReason::UnknownCritical);
            }
            Ok(Err(_)) | Err(_) => Some((NotifyType::INVALID_SYNTAX, DropReason::Malformed)),
        };
        if let Some((error, reason)) = fault {
            let kept = channel.seal(&answer, |writer| write_notify(writer, error, &[]));
            half_open.settle(kept, now);
            bump(&mut pair.pair_counters.failures);
            return Err(reason);
        }
        let contents = collected
            .map_err(|_| DropReason::Malformed)?
            .map_err(wire_fault)?;
        let covered = Covered {
            message: &half_open.response,
            nonce: &nonce_i,
            sk_p: sk_pr,
        };
        let wants_child = contents.sa.is_some();
        let mut proved = false;
        let kept = channel.seal(&answer, |writer| {
            proved = covered.write(
                writer,
                &settings.identity,
                PayloadType::ID_R,
                |_: &mut Writer<'_>| {},
                &settings.peer,
                *creds,
            );
            // RFC 7296 section 1.2: the IKE SA stands without the Child SA that was asked for.
            if wants_child {
                write_notify(writer, NotifyType::NO_ADDITIONAL_SAS, &[]);
            }
        });
        let kept = kept.filter(|_| proved).ok_or(DropReason::NoRoom)?;
        let (initial_contact, began) = (contents.initial_contact, half_open.began);
        let half_open = pair.half_open.swap_remove(at);
        let Stage::Keyed { channel, .. } = half_open.stage else {
            return Err(DropReason::UnknownSpi);
        };
        bump(&mut pair.pair_counters.answered);
        let lineage = self.next_lineage();
        let mut sa = Sa::new(
            channel,
            Origin::InitialExchange,
            lineage,
            Standing::Live,
            nonce_head(&nonce_i),
            way,
            now,
        );
        sa.response = kept;
        sa.response_kind = MessageKind::AuthResponse;
        sa.owes = true;
        self.established(sa, began, initial_contact);
        Ok(())
    }

    /// Writes the next response that a half-open exchange owes.
    pub(super) fn poll_half_open(&mut self, buffer: &mut [u8]) -> Option<(usize, Way, MessageKind)> {
        let half_open = self.pair.half_open.iter_mut().find(|known| known.owes)?;
        half_open.owes = false;
        let len = half_open.response.len();
        buffer.get_mut(..len)?.copy_from_slice(&half_open.response);
        let kind = match half_open.stage {
            Stage::Init { .. } | Stage::Keyed { .. } => MessageKind::InitResponse,
            Stage::Refused => MessageKind::AuthResponse,
        };
        Some((len, half_open.way, kind))
    }

    /// Writes the next refusal without state.
    pub(super) fn poll_refusals(&mut self, buffer: &mut [u8]) -> Option<(usize, Way, MessageKind)> {
        let (refusal, marked) = self.pair.refusals.pop()?;
        let header = Header::new(
            refusal.spi_i,
            [0; 8],
            ExchangeType::IKE_SA_INIT,
            Flags::RESPONSE,
            0,
        );
        let mut writer = Writer::message(buffer, &header);
        refusal.answer.write(&mut writer);
        let len = writer.finish().ok()?.len();
        let to: SocketAddr = refusal.to;
        Some((len, Way { to, marked }, MessageKind::InitResponse))
    }
}

impl HalfOpen {
    /// The Diffie-Hellman result is computed when it is first needed, and once: a flood of IKE_SA_INIT costs none.
    fn derive(&mut self) -> Result<(), DropReason> {
        let Stage::Init { secret } = &self.stage else {
            return Ok(());
        };
        let (_, payloads) = Payloads::of_message(&self.request).map_err(wire_fault)?;
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        let (ke, nonce_i) = contents.ke.zip(contents.nonce).ok_or(DropReason::Malformed)?;
        let shared = secret.agree(ke.data).map_err(|_| DropReason::BadKeyMaterial)?;
        let keys = IkeKeys::derive(&shared, nonce_i, &self.nonce, &self.spi_i, &self.spi_r);
        let (sk_pi, sk_pr) = (keys.sk_pi.duplicate(), keys.sk_pr.duplicate());
        self.stage = Stage::Keyed {
            channel: Channel::new(keys, (self.spi_i, self.spi_r), false, 0),
            sk_pi,
            sk_pr,
        };
        Ok(())
    }

    /// IKE_AUTH was refused by `answer`.
    fn settle(&mut self, answer: Option<Kept>, now: Instant) {
        self.stage = Stage::Refused;
        self.deadline = now.after(super::LINGER);
        if let Some(answer) = answer {
            self.response = answer;
            self.owes = true;
        }
    }
}

fn init_response(
    spis: ([u8; 8], [u8; 8]),
    choice: &Choice,
    public: &[u8; 32],
    nonce: &[u8; 32],
    asks: bool,
) -> Option<Kept> {
    let header = Header::new(spis.0, spis.1, ExchangeType::IKE_SA_INIT, Flags::RESPONSE, 0);
    let mut octets = [0; super::sa::MAX_SENT];
    let mut writer = Writer::message(&mut octets, &header);
    write_init_response(&mut writer, choice, public, nonce, asks);
    Kept::from_slice(writer.finish().ok()?).ok()
}
