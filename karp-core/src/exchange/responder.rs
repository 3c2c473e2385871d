//! The responder's side: half-open exchanges, cookies, refusals without state, and who is let in (PROTOCOL.md
//! section 4).

use core::net::SocketAddr;

use super::{Handshake, IkeSa, auth::Covered, initiator::MAX_FIRST, sa::wire_fault};
use crate::{
    crypto::{DhSecret, IkeKeys, Secret},
    error::DropReason,
    group::StateDraft,
    identity::Identity,
    io::{MessageKind, Role},
    node::{Core, Refusal, RefusalKind},
    peer::KnownInstance,
    storage::Handle,
    time::{Duration, Instant},
    wire::{
        self, ElectionState, ExchangeType, Flags, Header, MAX_DATAGRAM, NotifyType, PayloadType, Payloads,
        Writer,
        auth::write_raw_public_key_request,
        message::Contents,
        notify::{Instance, KeysInUse, write_invalid_ke, write_signature_hashes},
        numbers::KE_CURVE25519,
        payload::{KeyExchange, write_notify},
        redirect::Redirect,
        sa::{Choice, Purpose as Suite, choose, write_answer},
    },
};

/// A half-open exchange lives this long (section 4).
const HALF_OPEN_LIFE: Duration = Duration::from_secs(3);
/// An answered one keeps its response this long for repeats, unless its place is needed.
const ANSWERED_LIFE: Duration = Duration::from_secs(20);

/// How far a half-open exchange has come.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
pub(crate) enum HalfOpenStage {
    /// IKE_SA_INIT was answered, or is to be.
    Init { secret: DhSecret },
    /// GSA_AUTH came under these keys: they are derived once, not for every forged copy.
    Keyed {
        sa: IkeSa,
        sk_pi: Secret<32>,
        sk_pr: Secret<32>,
    },
    /// GSA_AUTH was verified; the answer is owed, and under what it goes.
    Judged {
        sa: IkeSa,
        sk_pr: Secret<32>,
        peer: Option<Handle>,
        identity: Identity,
        answer: AuthAnswer,
    },
    /// The answer was sent; it is kept for repeats.
    Answered,
}

/// What the answer to GSA_AUTH says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AuthAnswer {
    /// Registered; with the state, if it may be given.
    Registered,
    /// AUTH was good, and this is why there is nothing more.
    Refused(NotifyType),
    /// AUTH was wrong.
    NotProved,
}

/// Somebody else's exchange with this node.
pub struct HalfOpen {
    pub(crate) from: SocketAddr,
    spi_i: [u8; 8],
    spi_r: [u8; 8],
    nonce: [u8; 32],
    choice: Choice,
    stage: HalfOpenStage,
    /// The initiator's first message.
    request: heapless::Vec<u8, MAX_FIRST>,
    /// This node's first message, from which AUTH is made, then its answer to GSA_AUTH.
    response: heapless::Vec<u8, MAX_DATAGRAM>,
    /// The response is to be sent.
    owed: bool,
    pub(crate) deadline: Instant,
    started: Instant,
    octets: u32,
}

/// A GSA_AUTH request that was opened and judged.
struct Request {
    identity: Option<Identity>,
    proved: bool,
    group_matches: bool,
    instance: Option<Instance>,
    state: Option<ElectionState>,
    keys: KeysInUse,
}

impl HalfOpen {
    const fn is_answered(&self) -> bool {
        matches!(self.stage, HalfOpenStage::Answered) && !self.owed
    }
}

impl Core<'_> {
    fn half_open(&self, row: Handle) -> Option<&HalfOpen> {
        self.handshakes.get(row).and_then(Handshake::half_open)
    }

    fn half_open_mut(&mut self, row: Handle) -> Option<&mut HalfOpen> {
        self.handshakes.get_mut(row).and_then(Handshake::half_open_mut)
    }

    /// Room for one more row: an answered exchange goes first, then a random half-open one (section 4).
    pub(crate) fn make_room_for_handshake(&mut self) -> bool {
        if !self.handshakes.is_full() {
            return true;
        }
        let answered = self
            .handshakes
            .find(|row| row.half_open().is_some_and(HalfOpen::is_answered));
        let half_open = self
            .handshakes
            .rows()
            .filter(|row| row.half_open().is_some())
            .count();
        let nth = self.random_below(half_open);
        let random = || {
            let mut rows = self
                .handshakes
                .iter()
                .filter(|(_, row)| row.half_open().is_some());
            rows.nth(nth).map(|(row, _)| row)
        };
        match answered.or_else(random) {
            Some(victim) => self.handshakes.remove(victim).is_some(),
            None => false,
        }
    }

    /// Keeps what little a refusal without state needs; when too many are owed the newest is dropped.
    fn refuse_statelessly(
        &mut self,
        to: SocketAddr,
        spi_i: [u8; 8],
        answer: RefusalKind,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let refusal = Refusal { to, spi_i, answer };
        if self
            .node
            .refusals
            .iter()
            .any(|owed| owed.spi_i == spi_i && owed.to == to)
        {
            return Err(DropReason::RateLimited);
        }
        self.node
            .refusals
            .push(refusal)
            .map_err(|_| DropReason::RateLimited)?;
        Err(reason)
    }

    /// A request of IKE_SA_INIT. Cookies are checked before anything costly.
    pub(crate) fn handle_init_request(&mut self, from: SocketAddr, octets: &[u8]) -> Result<(), DropReason> {
        let (header, payloads) = Payloads::of_message(octets).map_err(wire_fault)?;
        let contents = match Contents::collect(payloads) {
            Ok(contents) => contents,
            // RFC 7296 section 2.5: an unknown critical payload is named in the refusal.
            Err(wire::Error::UnknownCritical(ty)) => {
                let answer = RefusalKind::UnsupportedCritical(ty);
                return self.refuse_statelessly(from, header.spi_i, answer, DropReason::UnknownCritical);
            }
            Err(other) => return Err(wire_fault(other)),
        };
        let (sa, ke, nonce_i) = match (contents.sa, contents.ke, contents.nonce) {
            (Some(sa), Some(ke), Some(nonce)) => (sa, ke, nonce),
            _ => return Err(DropReason::Malformed),
        };
        if header.spi_i == [0; 8] || header.spi_r != [0; 8] || header.message_id != 0 {
            return Err(DropReason::Malformed);
        }
        let Some(choice) = choose(sa, Some(Suite::Group)).map_err(wire_fault)? else {
            return self.refuse_statelessly(
                from,
                header.spi_i,
                RefusalKind::NoProposal,
                DropReason::NoProposal,
            );
        };
        if self.node.election.role() != Role::Gcks {
            let answer = self.where_to(from, contents.redirect_supported, nonce_i);
            return self.refuse_statelessly(from, header.spi_i, answer, DropReason::Unexpected);
        }
        // A repeat is recognised by its Ni or its whole octets, not by its SPI (RFC 7296 section 2.1).
        let repeated = self.handshakes.find(|row| {
            row.half_open()
                .is_some_and(|half_open| half_open.from == from && half_open.nonce_i() == Some(nonce_i))
        });
        if let Some(row) = repeated {
            return self.repeat_response(row, octets);
        }
        if self.cookies_wanted() {
            match contents.cookie {
                Some(cookie) if self.node.cookies.check(cookie, nonce_i, &header.spi_i, from) => {}
                given => {
                    let cookie = self.node.cookies.make(nonce_i, &header.spi_i, from);
                    let reason = if given.is_some() {
                        DropReason::BadCookie
                    } else {
                        DropReason::RateLimited
                    };
                    return self.refuse_statelessly(from, header.spi_i, RefusalKind::Cookie(cookie), reason);
                }
            }
        }
        if ke.method != KE_CURVE25519 {
            let answer = RefusalKind::InvalidKe(KE_CURVE25519);
            return self.refuse_statelessly(from, header.spi_i, answer, DropReason::BadKeyMaterial);
        }
        let request = heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
        // One half-open exchange per source address (section 4).
        self.handshakes.retain(|row| {
            row.half_open()
                .is_none_or(|half_open| half_open.from != from || half_open.is_answered())
        });
        if !self.make_room_for_handshake() {
            return Err(DropReason::TableFull);
        }
        let (mut spi_r, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_r);
        self.rng.fill_bytes(&mut nonce);
        let half_open = HalfOpen {
            from,
            spi_i: header.spi_i,
            spi_r,
            nonce,
            choice,
            stage: HalfOpenStage::Init {
                secret: DhSecret::generate(self.rng),
            },
            request,
            response: heapless::Vec::new(),
            owed: true,
            deadline: self.now.after(HALF_OPEN_LIFE),
            started: self.now,
            octets: u32::try_from(octets.len()).unwrap_or(u32::MAX),
        };
        self.handshakes
            .insert(Handshake::HalfOpen(half_open))
            .map(|_| ())
            .ok_or(DropReason::TableFull)
    }

    /// The first response again, as the same octets, as long as nothing newer has taken its place.
    fn repeat_response(&mut self, row: Handle, octets: &[u8]) -> Result<(), DropReason> {
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        let first = matches!(
            half_open.stage,
            HalfOpenStage::Init { .. } | HalfOpenStage::Keyed { .. }
        );
        if !first || half_open.request.as_slice() != octets {
            return Err(DropReason::Replayed);
        }
        half_open.owed = true;
        Ok(())
    }

    /// A node that is not GCKS says where the office is, or to come again (section 4).
    fn where_to(&self, from: SocketAddr, supported: bool, nonce_i: &[u8]) -> RefusalKind {
        let gcks = self
            .followed()
            .filter(|_| self.node.election.role() == Role::Member);
        match (gcks, heapless::Vec::from_slice(nonce_i)) {
            (Some(gcks), Ok(nonce)) if supported && gcks.address != from => RefusalKind::Redirect {
                to: gcks.address,
                nonce,
            },
            _ => RefusalKind::TemporaryFailure,
        }
    }

    /// A request of GSA_AUTH.
    pub(crate) fn handle_auth_request(
        &mut self,
        from: SocketAddr,
        octets: &mut [u8],
    ) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        if header.message_id != 1 {
            return Err(DropReason::OutOfWindow);
        }
        let row = self
            .handshakes
            .find(|row| {
                row.half_open().is_some_and(|half_open| {
                    half_open.spi_i == header.spi_i
                        && half_open.spi_r == header.spi_r
                        && half_open.from == from
                })
            })
            .ok_or(DropReason::UnknownSpi)?;
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        self.derive_keys(row)?;
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        match &half_open.stage {
            // A repeat of the request that was answered: the same octets again. Whoever sends it need not be the peer,
            // but gains nothing either.
            HalfOpenStage::Answered => {
                half_open.owed = true;
                return Ok(());
            }
            HalfOpenStage::Judged { .. } => return Err(DropReason::RepeatedTooSoon),
            HalfOpenStage::Init { .. } | HalfOpenStage::Keyed { .. } => {}
        }
        let request = self.verify_auth_request(row, octets)?;
        if let Some(half_open) = self.half_open_mut(row) {
            half_open.octets = half_open.octets.saturating_add(len);
        }
        self.judge_request(row, from, request)
    }

    /// The Diffie-Hellman result is computed when it is first needed, and once: a flood of IKE_SA_INIT costs none.
    fn derive_keys(&mut self, row: Handle) -> Result<(), DropReason> {
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        let HalfOpenStage::Init { secret } = &half_open.stage else {
            return Ok(());
        };
        let (_, payloads) = Payloads::of_message(&half_open.request).map_err(wire_fault)?;
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        let (ke, nonce_i) = contents.ke.zip(contents.nonce).ok_or(DropReason::Malformed)?;
        let shared = secret.agree(ke.data).map_err(|_| DropReason::BadKeyMaterial)?;
        let keys = IkeKeys::derive(
            &shared,
            nonce_i,
            &half_open.nonce,
            &half_open.spi_i,
            &half_open.spi_r,
        );
        let (sk_pi, sk_pr) = (keys.sk_pi.duplicate(), keys.sk_pr.duplicate());
        let sa = IkeSa::new(keys, half_open.spi_i, half_open.spi_r, false);
        half_open.stage = HalfOpenStage::Keyed { sa, sk_pi, sk_pr };
        Ok(())
    }

    fn verify_auth_request(&self, row: Handle, octets: &mut [u8]) -> Result<Request, DropReason> {
        let half_open = self.half_open(row).ok_or(DropReason::UnknownSpi)?;
        let HalfOpenStage::Keyed { sa, sk_pi, .. } = &half_open.stage else {
            return Err(DropReason::UnknownSpi);
        };
        let opened = sa.open(octets)?;
        let contents = Contents::collect(opened.payloads()?).map_err(wire_fault)?;
        let identity = contents
            .id_i
            .as_ref()
            .and_then(|id| Identity::new(id.id.ty.0, id.id.data));
        let covered = Covered {
            message: &half_open.request,
            nonce: &half_open.nonce,
            sk_p: sk_pi,
        };
        let proved = identity
            .as_ref()
            .is_some_and(|identity| covered.verify(&contents, identity, self.creds));
        let group = self.node.config.settings().group.as_bytes();
        Ok(Request {
            identity,
            proved,
            group_matches: contents.group == Some(group),
            instance: contents.instance,
            state: contents.election_state,
            keys: contents.keys_in_use.unwrap_or_default(),
        })
    }

    /// Mutual authorisation, and what follows for the registrant.
    fn judge_request(&mut self, row: Handle, from: SocketAddr, request: Request) -> Result<(), DropReason> {
        let Some(identity) = request.identity else {
            return self.settle_request(row, None, None, AuthAnswer::NotProved, DropReason::BadProof);
        };
        if !request.proved {
            return self.settle_request(
                row,
                None,
                Some(identity),
                AuthAnswer::NotProved,
                DropReason::BadProof,
            );
        }
        let refuse = |error| AuthAnswer::Refused(error);
        let grant = self.creds.grant(&identity);
        let (Some(instance), Some(state)) = (request.instance, request.state) else {
            let answer = refuse(NotifyType::INVALID_SYNTAX);
            return self.settle_request(row, None, Some(identity), answer, DropReason::Malformed);
        };
        let refusal = if !request.group_matches {
            Some((NotifyType::INVALID_GROUP_ID, DropReason::OtherGroup))
        } else if identity == *self.own_identity() {
            Some((NotifyType::AUTHORIZATION_FAILED, DropReason::OwnIdentity))
        } else if self.is_evicted(&identity) {
            Some((NotifyType::AUTHORIZATION_FAILED, DropReason::Evicted))
        } else if !grant.may_join {
            Some((NotifyType::AUTHORIZATION_FAILED, DropReason::NotAuthorised))
        } else if self.node.election.role() != Role::Gcks || self.declines_office(&identity, state) {
            Some((NotifyType::TEMPORARY_FAILURE, DropReason::Unexpected))
        } else {
            None
        };
        if let Some((error, reason)) = refusal {
            if error == NotifyType::TEMPORARY_FAILURE {
                self.lesser_office_asked(from, &identity, state);
            }
            return self.settle_request(row, None, Some(identity), refuse(error), reason);
        }
        let known = self.peers.find(|peer| peer.identity == identity);
        let Some(peer) = known.or_else(|| self.make_room_for_peer(&identity, from)) else {
            self.node.alarms.set(crate::io::Alarm::GroupFull, true);
            let answer = refuse(NotifyType::REGISTRATION_FAILED);
            return self.settle_request(row, None, Some(identity), answer, DropReason::TableFull);
        };
        let now = self.now;
        self.sealed.retain(|sealed| sealed.peer != peer);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.address = from;
            peer.claim = Some(state);
            peer.heard = Some(now);
            peer.reply = None;
            peer.push = false;
            peer.sa = None;
            peer.instance = Some(KnownInstance {
                instance: instance.instance,
                next: instance.next_sequence,
                proved: true,
            });
        }
        self.strangers.retain(|stranger| stranger.address != from);
        crate::counters::bump(&mut self.node.counters.handshakes_answered);
        self.registration(peer, instance.instance, state, &request.keys);
        self.settle_request(
            row,
            Some(peer),
            Some(identity),
            AuthAnswer::Registered,
            DropReason::Unexpected,
        )
    }

    /// Notes the answer that poll is to seal. `reason` is what is counted when it is a refusal.
    fn settle_request(
        &mut self,
        row: Handle,
        peer: Option<Handle>,
        identity: Option<Identity>,
        answer: AuthAnswer,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let now = self.now;
        let own = self.own_identity().clone();
        let half_open = self.half_open_mut(row).ok_or(DropReason::UnknownSpi)?;
        let stage = core::mem::replace(&mut half_open.stage, HalfOpenStage::Answered);
        let HalfOpenStage::Keyed { sa, sk_pr, .. } = stage else {
            return Err(DropReason::UnknownSpi);
        };
        let identity = identity.unwrap_or(own);
        half_open.stage = HalfOpenStage::Judged {
            sa,
            sk_pr,
            peer,
            identity,
            answer,
        };
        half_open.owed = true;
        half_open.deadline = now.after(ANSWERED_LIFE);
        if answer == AuthAnswer::Registered {
            Ok(())
        } else {
            Err(reason)
        }
    }

    /// Ends half-open exchanges that are over.
    pub(crate) fn run_half_open(&mut self) {
        let now = self.now;
        self.handshakes
            .retain(|row| row.half_open().is_none_or(|half_open| half_open.deadline > now));
    }

    /// The IKE SA is used further: its first response will not be asked for again.
    pub(crate) fn release_half_open(&mut self, spi_i: [u8; 8], spi_r: [u8; 8]) {
        self.handshakes.retain(|row| {
            row.half_open()
                .is_none_or(|half_open| half_open.spi_i != spi_i || half_open.spi_r != spi_r)
        });
    }

    /// Writes the next response that a half-open exchange owes.
    pub(crate) fn poll_half_open(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        let row = self
            .handshakes
            .find(|row| row.half_open().is_some_and(|half_open| half_open.owed))?;
        let half_open = self.half_open_mut(row)?;
        half_open.owed = false;
        let to = half_open.from;
        let (written, kind) = match &half_open.stage {
            HalfOpenStage::Init { secret } if half_open.response.is_empty() => {
                let public = secret.public();
                (self.write_init_response(row, &public), MessageKind::InitResponse)
            }
            HalfOpenStage::Init { .. } | HalfOpenStage::Keyed { .. } => (Some(()), MessageKind::InitResponse),
            HalfOpenStage::Judged { .. } => {
                (self.write_auth_response(row, buffer), MessageKind::AuthResponse)
            }
            HalfOpenStage::Answered => (Some(()), MessageKind::AuthResponse),
        };
        if written.is_none() {
            self.handshakes.remove(row);
            return None;
        }
        let half_open = self.half_open_mut(row)?;
        let len = half_open.response.len();
        buffer.get_mut(..len)?.copy_from_slice(&half_open.response);
        half_open.octets = half_open
            .octets
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        let (octets, started, answered) = (half_open.octets, half_open.started, half_open.is_answered());
        let (spi_i, spi_r) = (half_open.spi_i, half_open.spi_r);
        if answered {
            let elapsed = u32::try_from(self.now.since(started).as_millis()).unwrap_or(u32::MAX);
            let same = |sa: &IkeSa| sa.spi_i == spi_i && sa.spi_r == spi_r;
            if let Some(peer) = self
                .peers
                .rows_mut()
                .find(|peer| peer.sa.as_ref().is_some_and(same))
            {
                peer.exchange = (octets, elapsed);
            }
        }
        Some((len, to, kind))
    }

    fn write_init_response(&mut self, row: Handle, public: &[u8; 32]) -> Option<()> {
        let asks = self.creds.public_key().is_some();
        let half_open = self.half_open_mut(row)?;
        let header = Header::new(
            half_open.spi_i,
            half_open.spi_r,
            ExchangeType(ExchangeType::IKE_SA_INIT.0),
            Flags::RESPONSE,
            0,
        );
        let mut octets = [0; 512];
        let mut writer = Writer::message(&mut octets, &header);
        write_answer(&mut writer, &half_open.choice);
        KeyExchange {
            method: KE_CURVE25519,
            data: public,
        }
        .write(&mut writer);
        writer.payload(PayloadType::NONCE, &half_open.nonce);
        if asks {
            write_raw_public_key_request(&mut writer);
        }
        write_signature_hashes(&mut writer);
        write_notify(&mut writer, NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]);
        let message = writer.finish().ok()?;
        half_open.response = heapless::Vec::from_slice(message).ok()?;
        Some(())
    }

    /// The answer to GSA_AUTH: sealed once, kept in the slot. The IKE SA moves to the peer's row.
    fn write_auth_response(&mut self, row: Handle, buffer: &mut [u8]) -> Option<()> {
        let now = self.now;
        let half_open = self.half_open_mut(row)?;
        let stage = core::mem::replace(&mut half_open.stage, HalfOpenStage::Answered);
        let HalfOpenStage::Judged {
            mut sa,
            sk_pr,
            peer,
            identity,
            answer,
        } = stage
        else {
            return None;
        };
        let draft = match (peer, answer) {
            (Some(peer), AuthAnswer::Registered) => self.state_for(peer),
            _ => None,
        };
        let evicted = self.evicted_list();
        let state = self.own_state();
        let Core {
            node,
            handshakes,
            keys,
            creds,
            ..
        } = self;
        let half_open = handshakes.get_mut(row)?.half_open_mut()?;
        let (_, payloads) = Payloads::of_message(&half_open.request).ok()?;
        let nonce_i = Contents::collect(payloads).ok()?.nonce?;
        let covered = Covered {
            message: &half_open.response,
            nonce: nonce_i,
            sk_p: &sk_pr,
        };
        let own = &node.config.settings().identity;
        let instance = Instance {
            instance: node.instance,
            next_sequence: node.sequence,
        };
        let header = sa.header(ExchangeType(ExchangeType::GSA_AUTH.0), true, 1);
        let fill = |writer: &mut Writer<'_>, draft: Option<&StateDraft>| {
            if answer == AuthAnswer::NotProved {
                write_notify(writer, NotifyType::AUTHENTICATION_FAILED, &[]);
                return None;
            }
            let proved = covered.write(
                writer,
                own,
                PayloadType::ID_R,
                |_: &mut Writer<'_>| {},
                &identity,
                *creds,
            );
            if !proved {
                return None;
            }
            match answer {
                AuthAnswer::Registered => {
                    instance.write(writer);
                    state.write(writer);
                    if !evicted.0.is_empty() {
                        evicted.write(writer);
                    }
                }
                AuthAnswer::Refused(error) => {
                    write_notify(writer, error, &[]);
                    state.write(writer);
                }
                AuthAnswer::NotProved => {}
            }
            draft.map(|draft| draft.write(writer))
        };
        let buffer = buffer.get_mut(..MAX_DATAGRAM)?;
        let mut given = draft.is_some();
        let mut len = draft.as_ref().and_then(|draft| {
            sa.seal(
                &header,
                buffer,
                |writer| fill(writer, Some(draft)),
                |wrap, message, slots| draft.wrap(slots?, wrap, keys, node, message),
            )
        });
        if len.is_none() {
            // Section 2: a response that would exceed the limit leaves GSA and KD out, and a push follows at once.
            given = false;
            len = sa.seal_plain(&header, buffer, |writer| {
                let _ = fill(writer, None);
            });
        }
        half_open.response = heapless::Vec::from_slice(buffer.get(..len?)?).ok()?;
        half_open.deadline = now.after(ANSWERED_LIFE);
        if let Some(handle) = peer {
            if let Some(peer) = self.peers.get_mut(handle) {
                peer.sa = Some(sa);
            }
            self.state_sent(handle, draft.is_some());
            if draft.is_some()
                && !given
                && let Some(peer) = self.peers.get_mut(handle)
            {
                peer.push = true;
            }
        }
        Some(())
    }

    /// Writes the next refusal without state.
    pub(crate) fn poll_refusals(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        let refusal = self.node.refusals.pop()?;
        let header = Header::new(
            refusal.spi_i,
            [0; 8],
            ExchangeType(ExchangeType::IKE_SA_INIT.0),
            Flags::RESPONSE,
            0,
        );
        let mut writer = Writer::message(buffer, &header);
        match &refusal.answer {
            RefusalKind::Cookie(cookie) => write_notify(&mut writer, NotifyType::COOKIE, cookie),
            RefusalKind::Redirect { to, nonce } => Redirect { to: *to, nonce }.write(&mut writer),
            RefusalKind::TemporaryFailure => write_notify(&mut writer, NotifyType::TEMPORARY_FAILURE, &[]),
            RefusalKind::NoProposal => write_notify(&mut writer, NotifyType::NO_PROPOSAL_CHOSEN, &[]),
            RefusalKind::InvalidKe(method) => write_invalid_ke(&mut writer, *method),
            RefusalKind::UnsupportedCritical(ty) => {
                write_notify(&mut writer, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[*ty]);
            }
        }
        let len = writer.finish().ok()?.len();
        Some((len, refusal.to, MessageKind::InitResponse))
    }
}

impl HalfOpen {
    /// The initiator's nonce, read from its request.
    fn nonce_i(&self) -> Option<&[u8]> {
        let (_, payloads) = Payloads::of_message(&self.request).ok()?;
        Contents::collect(payloads).ok()?.nonce
    }
}
