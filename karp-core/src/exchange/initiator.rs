//! The initiator's side: attempts at candidates, racing replies, and what comes of them (PROTOCOL.md sections 4, 5.4).

use core::net::SocketAddr;

use super::{Handshake, IkeSa, auth::Covered, sa::wire_fault};
use crate::{
    crypto::{DhSecret, IkeKeys, Secret},
    election::{Failure, Input},
    error::DropReason,
    group::{self, CheckedState},
    identity::Identity,
    io::{Alarm, MessageKind},
    node::{Core, digest},
    peer::KnownInstance,
    storage::Handle,
    time::{Duration, Instant},
    wire::{
        ElectionState, ExchangeType, Flags, Header, MAX_DATAGRAM, NodeState, NotifyType, PayloadType, Payloads,
        Writer,
        auth::write_raw_public_key_request,
        message::Contents,
        notify::{Instance, MAX_COOKIE_LEN, write_signature_hashes},
        numbers::{IdType, KE_CURVE25519},
        payload::{Id, KeyExchange, write_group, write_notify},
        redirect::write_redirected_from,
        sa::{Purpose as Suite, check_answer, write_offer},
    },
};

/// Attempts at once (section 11).
pub(crate) const MAX_ATTEMPTS: usize = 4;
/// The longest first message of the other side that is kept, for AUTH covers it.
pub(crate) const MAX_FIRST: usize = 1280;
/// IKE_SA_INIT to a candidate is sent at 0, 250 and 750 ms and given up at 1.5 s (section 5.4).
const INIT_WAITS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];
const INIT_LIFE: Duration = Duration::from_millis(1500);
/// While the table of strangers is full, an unanswered one gives its place up after this (section 4).
const INIT_LIFE_UNDER_ATTACK: Duration = Duration::from_millis(300);
/// An attempt ends this long after its IKE_SA_INIT response, or this long under attack.
const AUTH_LIFE: Duration = Duration::from_secs(3);
const AUTH_LIFE_UNDER_ATTACK: Duration = Duration::from_secs(1);
/// Redirections that one attempt follows (section 4).
const MAX_REDIRECTS: u8 = 3;

/// What an attempt is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A hint claims the office, and this node looks for one.
    Seek,
    /// An heir or successor that proved itself by a Rekey SA in common, or that the GCKS named.
    Heir,
    /// This node is GCKS, and somebody claims a greater office (section 5.5).
    Rival,
}

/// How far an attempt has come.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
pub(crate) enum AttemptStage {
    /// IKE_SA_INIT was sent, or is to be.
    Init,
    /// A reply came, and GSA_AUTH was sent under its keys, or is to be.
    Auth {
        spi_r: [u8; 8],
        sa: IkeSa,
        sk_pi: Secret<32>,
        sk_pr: Secret<32>,
        /// The other side's first message.
        response: heapless::Vec<u8, MAX_FIRST>,
        /// GSA_AUTH as it was sent; empty before.
        request: heapless::Vec<u8, MAX_DATAGRAM>,
    },
}

/// One attempt at a candidate.
pub struct Attempt {
    pub(crate) purpose: Purpose,
    pub(crate) to: SocketAddr,
    /// Whom this node takes the candidate for, and proves itself to.
    pub(crate) expect: Identity,
    /// The instance that GSA_AUTH has to show (section 5.5, handoff).
    pub(crate) instance: Option<[u8; 8]>,
    /// The candidate has proved itself before.
    pub(crate) proved: bool,
    spi_i: [u8; 8],
    nonce: [u8; 32],
    secret: DhSecret,
    cookie: heapless::Vec<u8, MAX_COOKIE_LEN>,
    redirected_from: Option<SocketAddr>,
    redirects: u8,
    pub(crate) stage: AttemptStage,
    sent: u8,
    /// When the present message is sent next; `None` if not again.
    pub(crate) next: Option<Instant>,
    pub(crate) deadline: Instant,
    started: Instant,
    octets: u32,
    /// The other side said no without proving who it is, or its proof was wrong: the attempt goes on waiting for a
    /// better answer, and its end counts as a proved failure.
    refused: bool,
}

impl Attempt {
    /// Another attempt of the same exchange: same first message but for cookie and redirection.
    fn sibling(&self, now: Instant) -> Self {
        Self {
            purpose: self.purpose,
            to: self.to,
            expect: self.expect.clone(),
            instance: self.instance,
            proved: self.proved,
            spi_i: self.spi_i,
            nonce: self.nonce,
            secret: self.secret.duplicate(),
            cookie: self.cookie.clone(),
            redirected_from: self.redirected_from,
            redirects: self.redirects,
            stage: AttemptStage::Init,
            sent: 0,
            next: Some(now),
            deadline: now.after(INIT_LIFE),
            started: self.started,
            octets: self.octets,
            refused: false,
        }
    }

    /// The IKE_SA_INIT request. It is not sealed, so the same fields make the same octets whenever it is written:
    /// nothing of it has to be kept for AUTH.
    fn write_init(&self, buffer: &mut [u8]) -> Option<usize> {
        let header = Header::new(self.spi_i, [0; 8], ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let mut writer = Writer::message(buffer, &header);
        // RFC 7296 section 2.6: the cookie comes first, all else stays as it was.
        if !self.cookie.is_empty() {
            write_notify(&mut writer, NotifyType::COOKIE, &self.cookie);
        }
        write_offer(&mut writer, Suite::Group);
        KeyExchange { method: KE_CURVE25519, data: &self.secret.public() }.write(&mut writer);
        writer.payload(PayloadType::NONCE, &self.nonce);
        write_signature_hashes(&mut writer);
        write_notify(&mut writer, NotifyType::REDIRECT_SUPPORTED, &[]);
        if let Some(from) = self.redirected_from {
            write_redirected_from(&mut writer, from);
        }
        writer.finish().ok().map(|message| message.len())
    }
}

/// What a response to GSA_AUTH proved.
struct Answer {
    identity: Identity,
    verdict: Verdict,
    state: Option<ElectionState>,
}

#[allow(clippy::large_enum_variant, reason = "there is no allocator to box with")]
enum Verdict {
    /// Not proved to be anybody: the attempt waits for something better.
    Unproved,
    /// Proved, and it refuses, or cannot serve us.
    Refused { failure: Failure, alarm: Option<Alarm> },
    /// Proved, and this node is registered.
    Registered { instance: Instance, evicted: group::EvictedList, state: Option<CheckedState> },
}

impl Core<'_> {
    pub(crate) fn attempts(&self) -> usize {
        self.handshakes.rows().filter(|row| row.attempt().is_some()).count()
    }

    pub(crate) fn is_attempting(&self, to: SocketAddr) -> bool {
        self.handshakes.rows().filter_map(Handshake::attempt).any(|attempt| attempt.to == to)
    }

    pub(crate) fn end_attempts(&mut self) {
        self.handshakes.retain(|row| row.attempt().is_none());
    }

    /// Begins an attempt; `false` if there is no room for it.
    pub(crate) fn start_attempt(
        &mut self,
        purpose: Purpose,
        to: SocketAddr,
        expect: Identity,
        instance: Option<[u8; 8]>,
    ) -> bool {
        let proved = self.peers.rows().any(|peer| peer.identity == expect && peer.address == to);
        if self.creds.method(&expect).is_none() || !self.make_room_for_attempt(proved) {
            return false;
        }
        let (mut spi_i, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_i);
        self.rng.fill_bytes(&mut nonce);
        let attempt = Attempt {
            purpose,
            to,
            expect,
            instance,
            proved,
            spi_i,
            nonce,
            secret: DhSecret::generate(self.rng),
            cookie: heapless::Vec::new(),
            redirected_from: None,
            redirects: 0,
            stage: AttemptStage::Init,
            sent: 0,
            next: Some(self.now),
            deadline: self.now.after(self.init_life()),
            started: self.now,
            octets: 0,
            refused: false,
        };
        self.handshakes.insert(Handshake::Attempt(attempt)).is_some()
    }

    fn under_attack(&self) -> bool {
        self.strangers.is_full()
    }

    fn init_life(&self) -> Duration {
        if self.under_attack() { INIT_LIFE_UNDER_ATTACK } else { INIT_LIFE }
    }

    /// Room for one more attempt: four at once, of which one at a proved peer displaces one at a hint; in the table
    /// that they share with half-open exchanges an answered one goes first, then a random one.
    fn make_room_for_attempt(&mut self, proved: bool) -> bool {
        if self.attempts() >= MAX_ATTEMPTS.min(self.handshakes.capacity()) {
            let hint = self.handshakes.find(|row| row.attempt().is_some_and(|attempt| !attempt.proved));
            match hint.filter(|_| proved) {
                Some(hint) => {
                    self.handshakes.remove(hint);
                }
                None => return false,
            }
        }
        self.make_room_for_handshake()
    }

    /// Finds the attempts of the exchange that a message with this SPIi from `from` belongs to.
    fn family(&self, spi_i: [u8; 8], from: SocketAddr) -> impl Iterator<Item = (Handle, &Attempt)> {
        self.handshakes
            .iter()
            .filter_map(|(row, handshake)| handshake.attempt().map(|attempt| (row, attempt)))
            .filter(move |(_, attempt)| attempt.spi_i == spi_i && attempt.to == from)
    }

    /// A response to IKE_SA_INIT. Whoever is on the link can send one, so each distinct one is an attempt of its own.
    pub(crate) fn handle_init_response(&mut self, from: SocketAddr, octets: &[u8]) -> Result<(), DropReason> {
        let (header, payloads) = Payloads::of_message(octets).map_err(wire_fault)?;
        let root = self.family(header.spi_i, from).next().map(|(row, _)| row).ok_or(DropReason::UnknownSpi)?;
        let repeated = self.family(header.spi_i, from).any(|(_, attempt)| match &attempt.stage {
            AttemptStage::Init => false,
            AttemptStage::Auth { response, .. } => response.as_slice() == octets,
        });
        if repeated {
            return Err(DropReason::Replayed);
        }
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        if let Some(cookie) = contents.cookie {
            return self.retry_with_cookie(root, cookie);
        }
        if let Some(redirect) = contents.redirect {
            let nonce = self.attempt(root).map(|attempt| attempt.nonce);
            if nonce.is_none_or(|nonce| nonce != *redirect.nonce) {
                return Err(DropReason::BadKeyMaterial);
            }
            return self.follow_redirect(root, redirect.to);
        }
        // Section 4: error notifies outside SK end nothing.
        if contents.error.is_some() {
            return Err(DropReason::UnprotectedError);
        }
        let (sa, ke, nonce_r) = match (contents.sa, contents.ke, contents.nonce) {
            (Some(sa), Some(ke), Some(nonce)) => (sa, ke, nonce),
            _ => return Err(DropReason::Malformed),
        };
        check_answer(sa, Suite::Group).map_err(|_| DropReason::NoProposal)?;
        if header.spi_r == [0; 8] || ke.method != KE_CURVE25519 {
            return Err(DropReason::BadKeyMaterial);
        }
        let response = heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
        // A listening attempt takes the reply; if all have one already, a sibling does.
        let listening = self
            .family(header.spi_i, from)
            .filter(|(_, attempt)| matches!(attempt.stage, AttemptStage::Init))
            .max_by_key(|(_, attempt)| attempt.cookie.len())
            .map(|(row, _)| row);
        let attempt = self.attempt(listening.unwrap_or(root)).ok_or(DropReason::UnknownSpi)?;
        let shared = attempt.secret.agree(ke.data).map_err(|_| DropReason::BadKeyMaterial)?;
        let keys = IkeKeys::derive(&shared, &attempt.nonce, nonce_r, &header.spi_i, &header.spi_r);
        let (sk_pi, sk_pr) = (keys.sk_pi.duplicate(), keys.sk_pr.duplicate());
        let stage = AttemptStage::Auth {
            spi_r: header.spi_r,
            sa: IkeSa::new(keys, header.spi_i, header.spi_r, true),
            sk_pi,
            sk_pr,
            response,
            request: heapless::Vec::new(),
        };
        let row = match listening {
            Some(row) => row,
            None => {
                let sibling = attempt.sibling(self.now);
                self.insert_sibling(sibling)?
            }
        };
        let life = if self.under_attack() { AUTH_LIFE_UNDER_ATTACK } else { AUTH_LIFE };
        let now = self.now;
        if let Some(attempt) = self.attempt_mut(row) {
            attempt.stage = stage;
            attempt.sent = 0;
            attempt.next = Some(now);
            attempt.deadline = now.after(life);
            attempt.octets = attempt.octets.saturating_add(count(octets));
        }
        Ok(())
    }

    fn insert_sibling(&mut self, sibling: Attempt) -> Result<Handle, DropReason> {
        if !self.make_room_for_attempt(sibling.proved) {
            return Err(DropReason::TableFull);
        }
        self.handshakes.insert(Handshake::Attempt(sibling)).ok_or(DropReason::TableFull)
    }

    fn attempt(&self, row: Handle) -> Option<&Attempt> {
        self.handshakes.get(row).and_then(Handshake::attempt)
    }

    fn attempt_mut(&mut self, row: Handle) -> Option<&mut Attempt> {
        self.handshakes.get_mut(row).and_then(Handshake::attempt_mut)
    }

    /// A COOKIE is one more reply: anyone can send one, so the attempt without it goes on.
    fn retry_with_cookie(&mut self, root: Handle, cookie: &[u8]) -> Result<(), DropReason> {
        let attempt = self.attempt(root).ok_or(DropReason::UnknownSpi)?;
        let known = self.family(attempt.spi_i, attempt.to).any(|(_, other)| other.cookie.as_slice() == cookie);
        if known {
            return Err(DropReason::Replayed);
        }
        let mut sibling = attempt.sibling(self.now);
        sibling.cookie = heapless::Vec::from_slice(cookie).map_err(|_| DropReason::Malformed)?;
        self.insert_sibling(sibling).map(|_| ())
    }

    /// A REDIRECT is a hint: another address to try (RFC 5685).
    fn follow_redirect(&mut self, root: Handle, to: SocketAddr) -> Result<(), DropReason> {
        let attempt = self.attempt(root).ok_or(DropReason::UnknownSpi)?;
        if attempt.redirects >= MAX_REDIRECTS || self.is_attempting(to) || to == self.node.config.settings().address {
            return Err(DropReason::RateLimited);
        }
        let known = self.peers.rows().find(|peer| peer.address == to).map(|peer| peer.identity.clone());
        let known = known.or_else(|| {
            self.strangers.rows().find(|stranger| stranger.address == to).map(|stranger| stranger.identity.clone())
        });
        let expect = known.ok_or(DropReason::Unexpected)?;
        let (from, redirects) = (attempt.to, attempt.redirects);
        let (purpose, instance) = (attempt.purpose, attempt.instance);
        if !self.start_attempt(purpose, to, expect, instance) {
            return Err(DropReason::TableFull);
        }
        for attempt in self.handshakes.rows_mut().filter_map(Handshake::attempt_mut) {
            if attempt.to == to {
                attempt.redirected_from = Some(from);
                attempt.redirects = redirects.saturating_add(1);
            }
        }
        Ok(())
    }

    /// A response to GSA_AUTH.
    pub(crate) fn handle_auth_response(&mut self, from: SocketAddr, octets: &mut [u8]) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        if header.message_id != 1 {
            return Err(DropReason::OutOfWindow);
        }
        let row = self
            .family(header.spi_i, from)
            .find(|(_, attempt)| match &attempt.stage {
                AttemptStage::Init => false,
                AttemptStage::Auth { spi_r, request, .. } => *spi_r == header.spi_r && !request.is_empty(),
            })
            .map(|(row, _)| row)
            .ok_or(DropReason::UnknownSpi)?;
        let len = count(octets);
        let answer = self.verify_auth_response(row, octets)?;
        if let Some(attempt) = self.attempt_mut(row) {
            attempt.octets = attempt.octets.saturating_add(len);
        }
        self.commit_answer(row, answer)
    }

    fn verify_auth_response(&self, row: Handle, octets: &mut [u8]) -> Result<Answer, DropReason> {
        let attempt = self.attempt(row).ok_or(DropReason::UnknownSpi)?;
        let AttemptStage::Auth { sa, sk_pr, response, .. } = &attempt.stage else {
            return Err(DropReason::UnknownSpi);
        };
        let opened = sa.open(octets)?;
        let contents = Contents::collect(opened.payloads()?).map_err(wire_fault)?;
        let unproved =
            Answer { identity: attempt.expect.clone(), verdict: Verdict::Unproved, state: contents.election_state };
        let Some(id) = &contents.id_r else { return Ok(unproved) };
        let identity = Identity::new(id.id.ty.0, id.id.data).ok_or(DropReason::Malformed)?;
        let covered = Covered { message: response, nonce: &attempt.nonce, sk_p: sk_pr };
        // A different name than expected may be an impostor's: it is not what this node asked for.
        if identity != attempt.expect || !covered.verify(&contents, &identity, self.creds) {
            return Ok(unproved);
        }
        let answer = |verdict| Answer { identity: identity.clone(), verdict, state: contents.election_state };
        let refused = |failure, alarm| answer(Verdict::Refused { failure, alarm });
        // Section 4: mutual authorisation. A peer that proves its identity but may not serve is penalised.
        if !self.creds.grant(&identity).may_serve || self.is_evicted(&identity) {
            return Ok(refused(Failure::Proved, Some(Alarm::CandidateRefused)));
        }
        if let Some(error) = contents.error {
            return Ok(match error {
                NotifyType::TEMPORARY_FAILURE => refused(Failure::TimedOut, None),
                NotifyType::REGISTRATION_FAILED => refused(Failure::TimedOut, Some(Alarm::GroupFull)),
                NotifyType::AUTHENTICATION_FAILED => refused(Failure::Proved, Some(Alarm::ProofRefused)),
                _ => refused(Failure::Proved, Some(Alarm::NotAuthorised)),
            });
        }
        let (Some(instance), Some(state)) = (contents.instance, contents.election_state) else {
            return Err(DropReason::Malformed);
        };
        let other = attempt.instance.is_some_and(|expected| expected != instance.instance);
        if state.state != NodeState::Gcks || other {
            return Ok(refused(Failure::TimedOut, None));
        }
        let checked = match (contents.gsa, contents.kd) {
            (Some(gsa), Some(kd)) => Some(self.check_unicast_state(gsa, kd, sa)?),
            (None, None) => None,
            _ => return Err(DropReason::Malformed),
        };
        let evicted = contents.evicted.map(|evicted| evicted.0).unwrap_or_default();
        Ok(answer(Verdict::Registered { instance, evicted, state: checked }))
    }

    fn commit_answer(&mut self, row: Handle, answer: Answer) -> Result<(), DropReason> {
        let (purpose, to) = match self.attempt(row) {
            Some(attempt) => (attempt.purpose, attempt.to),
            None => return Err(DropReason::UnknownSpi),
        };
        match answer.verdict {
            Verdict::Unproved => {
                if let Some(attempt) = self.attempt_mut(row) {
                    attempt.refused = true;
                    attempt.next = None;
                }
                Err(DropReason::BadProof)
            }
            Verdict::Refused { failure, alarm } => {
                if let Some(alarm) = alarm {
                    self.node.alarms.set(alarm, true);
                }
                self.node.penalties.fail((to, digest(&answer.identity)), failure, self.now);
                self.handshakes.remove(row);
                if let (Purpose::Rival, Some(state)) = (purpose, answer.state) {
                    self.rival_declined(&answer.identity, state);
                }
                self.attempt_ended(purpose);
                Ok(())
            }
            Verdict::Registered { instance, evicted, state } => {
                self.commit_registration(row, answer.identity, answer.state, instance, evicted, state)
            }
        }
    }

    fn commit_registration(
        &mut self,
        row: Handle,
        identity: Identity,
        claim: Option<ElectionState>,
        instance: Instance,
        evicted: group::EvictedList,
        state: Option<CheckedState>,
    ) -> Result<(), DropReason> {
        let known = self.peers.find(|peer| peer.identity == identity);
        let to = self.attempt(row).map(|attempt| attempt.to).ok_or(DropReason::UnknownSpi)?;
        let peer = match known {
            Some(peer) => peer,
            None => self.make_room_for_peer(&identity, to).ok_or(DropReason::TableFull)?,
        };
        let Some(Handshake::Attempt(attempt)) = self.handshakes.remove(row) else {
            return Err(DropReason::UnknownSpi);
        };
        let AttemptStage::Auth { sa, .. } = attempt.stage else { return Err(DropReason::UnknownSpi) };
        let now = self.now;
        self.strangers.retain(|stranger| stranger.address != to);
        self.sealed.retain(|sealed| sealed.peer != peer);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.address = to;
            peer.sa = Some(sa);
            peer.claim = claim;
            peer.heard = Some(now);
            peer.under = None;
            peer.reply = None;
            peer.instance =
                Some(KnownInstance { instance: instance.instance, next: instance.next_sequence, proved: true });
            let elapsed = u32::try_from(now.since(attempt.started).as_millis()).unwrap_or(u32::MAX);
            peer.exchange = (attempt.octets, elapsed);
        }
        crate::counters::bump(&mut self.node.counters.handshakes_initiated);
        self.node.penalties.forgive(&(to, digest(&identity)));
        for alarm in [Alarm::CandidateRefused, Alarm::ProofRefused, Alarm::NotAuthorised, Alarm::GroupFull] {
            self.node.alarms.set(alarm, false);
        }
        // Section 4: the first that authenticates wins and the others end.
        self.end_attempts();
        self.note_evicted(&evicted);
        self.registered(peer, instance.instance, attempt.purpose, state);
        Ok(())
    }

    /// Ends what is overdue and sends what is due. Returns a message for the buffer, if one is to go out.
    pub(crate) fn run_attempts(&mut self) {
        loop {
            let now = self.now;
            let over = self
                .handshakes
                .iter()
                .find(|(_, row)| row.attempt().is_some_and(|attempt| attempt.deadline <= now))
                .map(|(row, _)| row);
            let Some(over) = over else { break };
            let Some(Handshake::Attempt(attempt)) = self.handshakes.remove(over) else { break };
            // As long as another attempt of the same exchange runs, nothing is said about the candidate.
            if self.family(attempt.spi_i, attempt.to).next().is_some() {
                continue;
            }
            let failure = if attempt.refused { Failure::Proved } else { Failure::TimedOut };
            if attempt.refused {
                self.node.alarms.set(Alarm::ProofRefused, true);
            }
            self.node.penalties.fail((attempt.to, digest(&attempt.expect)), failure, now);
            self.attempt_ended(attempt.purpose);
        }
    }

    /// An attempt came to nothing: the next candidate, or none is left.
    fn attempt_ended(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Seek | Purpose::Rival => self.seek(),
            Purpose::Heir => {
                if self.attempts() == 0 {
                    let survey = self.survey();
                    self.step(Input::JoinFailed(survey));
                }
            }
        }
    }

    /// Writes the next message that an attempt owes.
    pub(crate) fn poll_attempts(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        let now = self.now;
        let due = |attempt: &Attempt| attempt.next.is_some_and(|next| next <= now);
        let row = self.handshakes.find(|row| row.attempt().is_some_and(due))?;
        let retransmit = self.node.config.settings().retransmit;
        let init = matches!(self.attempt(row)?.stage, AttemptStage::Init);
        let (len, kind) = if init {
            (self.attempt(row)?.write_init(buffer), MessageKind::InitRequest)
        } else {
            (self.write_auth_request(row, buffer), MessageKind::AuthRequest)
        };
        let attempt = self.attempt_mut(row)?;
        let Some(len) = len else {
            // It can never be written: no credential, or no room. It ends at its time.
            attempt.next = None;
            return None;
        };
        let sent = usize::from(attempt.sent);
        attempt.sent = attempt.sent.saturating_add(1);
        attempt.octets = attempt.octets.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        attempt.next = if init {
            INIT_WAITS.get(sent).map(|wait| now.after(*wait))
        } else {
            let wait = retransmit.times(1_u64.checked_shl(u32::try_from(sent).unwrap_or(8)).unwrap_or(1));
            Some(now.after(wait))
        };
        let to = attempt.to;
        if sent > 0 {
            crate::counters::bump(&mut self.node.counters.retransmissions);
        }
        Some((len, to, kind))
    }

    /// GSA_AUTH, sealed once: what goes out again is the same octets.
    fn write_auth_request(&mut self, row: Handle, buffer: &mut [u8]) -> Option<usize> {
        let keys_in_use = self.keys_in_use();
        let state = self.own_state();
        let Core { node, handshakes, creds, .. } = self;
        let settings = node.config.settings();
        let attempt = handshakes.get_mut(row)?.attempt_mut()?;
        let mut first = [0; MAX_DATAGRAM];
        let first_len = attempt.write_init(&mut first)?;
        let AttemptStage::Auth { sa, sk_pi, response, request, .. } = &mut attempt.stage else { return None };
        if request.is_empty() {
            let (_, payloads) = Payloads::of_message(response).ok()?;
            let nonce = Contents::collect(payloads).ok()?.nonce?;
            let covered = Covered { message: first.get(..first_len)?, nonce, sk_p: sk_pi };
            let header = sa.header(ExchangeType(ExchangeType::GSA_AUTH.0), false, 1);
            let expect = &attempt.expect;
            let mut proved = false;
            let len = sa.seal_plain(&header, buffer.get_mut(..MAX_DATAGRAM)?, |writer| {
                let between = |writer: &mut Writer<'_>| {
                    if creds.public_key().is_some() {
                        write_raw_public_key_request(writer);
                    }
                    Id { ty: IdType(expect.kind()), data: expect.octets() }.write(writer, PayloadType::ID_R);
                };
                proved =
                    covered.write(writer, &settings.identity, PayloadType::ID_I, between, expect, *creds);
                write_group(writer, settings.group.as_bytes());
                Instance { instance: node.instance, next_sequence: node.sequence }.write(writer);
                state.write(writer);
                if !keys_in_use.0.is_empty() {
                    keys_in_use.write(writer);
                }
            })?;
            if !proved {
                return None;
            }
            *request = heapless::Vec::from_slice(buffer.get(..len)?).ok()?;
        }
        buffer.get_mut(..request.len())?.copy_from_slice(request);
        Some(request.len())
    }
}

fn count(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}
