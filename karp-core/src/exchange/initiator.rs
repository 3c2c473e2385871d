//! The initiator's side: attempts at candidates, racing replies, and what comes of them (PROTOCOL.md sections 4, 5.4).

use core::net::SocketAddr;

use super::{
    Handshake, IkeSa,
    attempt::{
        AUTH_LIFE, AUTH_LIFE_UNDER_ATTACK, Attempt, AttemptStage, MAX_ATTEMPTS, MAX_FIRST, MAX_REDIRECTS,
        Purpose,
    },
    auth::{CertRule, Covered},
    sa::wire_fault,
};
use crate::{
    crypto::{DhSecret, IkeKeys, ROW, apart},
    election::Failure,
    error::DropReason,
    group::{self, CheckedState},
    identity::Identity,
    io::Alarm,
    node::{Core, PenaltyKey},
    peer::KnownInstance,
    storage::Handle,
    time::Duration,
    wire::{
        ElectionState, Header, NodeState, NotifyType, Payloads,
        message::Contents,
        notify::Instance,
        numbers::KE_CURVE25519,
        sa::{Purpose as Suite, check_answer},
    },
};

/// A request with a cookie has this long before the one without goes out again.
const COOKIE_LEAD: Duration = Duration::from_millis(250);

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
    Registered {
        instance: Instance,
        evicted: group::EvictedList,
        state: Option<CheckedState>,
    },
}

impl Core<'_> {
    /// A response to IKE_SA_INIT. Whoever is on the link can send one, so each distinct one is an attempt of its own.
    #[inline(never)]
    pub(crate) fn handle_init_response(&mut self, from: SocketAddr, octets: &[u8]) -> Result<(), DropReason> {
        let (header, payloads) = Payloads::of_message(octets).map_err(wire_fault)?;
        let root = self
            .family(header.spi_i, from)
            .next()
            .map(|(row, _)| row)
            .ok_or(DropReason::UnknownSpi)?;
        let repeated = self
            .family(header.spi_i, from)
            .any(|(_, attempt)| match &attempt.stage {
                AttemptStage::Init => false,
                AttemptStage::Auth { .. } => attempt.messages.response() == octets,
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
        if octets.len() > MAX_FIRST {
            return Err(DropReason::NoRoom);
        }
        // A listening attempt takes the reply; if all have one already, a sibling does.
        let listening = self
            .family(header.spi_i, from)
            .filter(|(_, attempt)| matches!(attempt.stage, AttemptStage::Init))
            .max_by_key(|(_, attempt)| attempt.cookie.len())
            .map(|(row, _)| row);
        let mut keys = None;
        apart::<ROW, _>(|| {
            let attempt = self
                .attempt(listening.unwrap_or(root))
                .ok_or(DropReason::UnknownSpi)?;
            let shared = attempt
                .secret
                .agree(ke.data)
                .map_err(|_| DropReason::BadKeyMaterial)?;
            let spis = (&header.spi_i, &header.spi_r);
            keys = Some(IkeKeys::derive(&shared, &attempt.nonce, nonce_r, spis.0, spis.1));
            Ok(())
        })?;
        let keys = keys.ok_or(DropReason::UnknownSpi)?;
        let row = match listening {
            Some(row) => row,
            None => self.insert_sibling(root, None)?,
        };
        let life = if self.under_attack() {
            AUTH_LIFE_UNDER_ATTACK
        } else {
            AUTH_LIFE
        };
        // Two replies can lead to the same keys: an attacker may alter octets of the genuine one that no key depends on.
        // So that no IV occurs twice, each reply counts in a range of its own (section 3).
        let first_iv = u64::from(self.node.replies).wrapping_shl(32);
        let now = self.now;
        self.node.replies = self.node.replies.wrapping_add(1);
        if let Some(attempt) = self.attempt_mut(row) {
            attempt.messages.begin(octets);
            apart::<ROW, _>(|| {
                attempt.stage = AttemptStage::Auth {
                    spi_r: header.spi_r,
                    sa: IkeSa::new(&keys, header.spi_i, header.spi_r, true, first_iv),
                    sk_pi: keys.sk_pi.duplicate(),
                    sk_pr: keys.sk_pr.duplicate(),
                };
            });
            attempt.sent = 0;
            attempt.next = Some(now);
            attempt.deadline = now.after(life);
            attempt.octets = attempt.octets.saturating_add(count(octets));
        }
        Ok(())
    }

    /// A COOKIE is one more reply: anyone can send one, so the attempt without it goes on.
    fn retry_with_cookie(&mut self, root: Handle, cookie: &[u8]) -> Result<(), DropReason> {
        let attempt = self.attempt(root).ok_or(DropReason::UnknownSpi)?;
        let known = self
            .family(attempt.spi_i, attempt.to)
            .any(|(_, other)| other.cookie.as_slice() == cookie);
        if known {
            return Err(DropReason::Replayed);
        }
        let to = attempt.to;
        let mut others = self.handshakes.rows().filter_map(Handshake::attempt);
        let answered = others.any(|other| other.to == to && !other.cookie.is_empty());
        drop(others);
        if attempt.renewed && answered {
            return Err(DropReason::RateLimited);
        }
        self.insert_sibling(root, Some(cookie))?;
        // The attempt without cookie goes on under another SPI and nonce: an honest responder that wanted no cookie
        // answers that, and its answer cannot be taken for one to the request with the cookie.
        let (mut spi_i, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_i);
        self.rng.fill_bytes(&mut nonce);
        let now = self.now;
        let mut secret = None;
        let rng = &mut *self.rng;
        apart::<ROW, _>(|| secret = Some(DhSecret::generate(rng)));
        let Some(secret) = secret else { return Ok(()) };
        if let Some(attempt) = self.attempt_mut(root).filter(|attempt| !attempt.renewed)
            && let AttemptStage::Init = attempt.stage
        {
            attempt.renewed = true;
            (attempt.spi_i, attempt.nonce, attempt.secret) = (spi_i, nonce, secret);
            attempt.sent = 0;
            // The attempt with the cookie goes first.
            attempt.next = Some(now.after(COOKIE_LEAD));
        }
        Ok(())
    }

    /// A REDIRECT is a hint: another address to try (RFC 5685).
    fn follow_redirect(&mut self, root: Handle, to: SocketAddr) -> Result<(), DropReason> {
        let attempt = self.attempt(root).ok_or(DropReason::UnknownSpi)?;
        if attempt.redirects >= MAX_REDIRECTS
            || self.is_attempting(to)
            || to == self.node.config.settings().address
        {
            return Err(DropReason::RateLimited);
        }
        let known = self
            .peers
            .rows()
            .find(|peer| peer.address == to)
            .map(|peer| peer.identity.clone());
        let known = known.or_else(|| {
            self.strangers
                .rows()
                .find(|stranger| stranger.address == to)
                .map(|stranger| stranger.identity.clone())
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
    #[inline(never)]
    pub(crate) fn handle_auth_response(&mut self, from: SocketAddr, octets: &[u8]) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        if header.message_id != 1 {
            return Err(DropReason::OutOfWindow);
        }
        let belongs = |attempt: &Attempt| match &attempt.stage {
            AttemptStage::Init => false,
            AttemptStage::Auth { spi_r, .. } => {
                *spi_r == header.spi_r && !attempt.messages.request().is_empty()
            }
        };
        let family = self
            .family(header.spi_i, from)
            .filter(|(_, attempt)| belongs(attempt));
        let rows: heapless::Vec<Handle, MAX_ATTEMPTS> = family.map(|(row, _)| row).collect();
        let len = count(octets);
        let mut verdict = Err(DropReason::UnknownSpi);
        // Whoever answered IKE_SA_INIT first may have used the SPI, or even the keys, of the genuine answer: every
        // attempt that the message can belong to is asked, and the first that authenticates wins.
        for row in rows {
            let mut copy: heapless::Vec<u8, MAX_FIRST> =
                heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
            let mut judged = Err(DropReason::UnknownSpi);
            apart::<ROW, _>(|| judged = self.verify_auth_response(row, &mut copy));
            verdict = match &judged {
                Ok(answer) => {
                    if let Some(attempt) = self.attempt_mut(row) {
                        attempt.octets = attempt.octets.saturating_add(len);
                    }
                    self.commit_answer(row, answer)
                }
                Err(reason) => Err(*reason),
            };
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    #[inline(never)]
    fn verify_auth_response(&self, row: Handle, octets: &mut [u8]) -> Result<Answer, DropReason> {
        let attempt = self.attempt(row).ok_or(DropReason::UnknownSpi)?;
        let AttemptStage::Auth { sa, sk_pr, .. } = &attempt.stage else {
            return Err(DropReason::UnknownSpi);
        };
        let opened = sa.open(octets)?;
        let contents = Contents::collect(opened.payloads()?).map_err(wire_fault)?;
        let unproved = Answer {
            identity: attempt.expect.clone(),
            verdict: Verdict::Unproved,
            state: contents.election_state,
        };
        let Some(id) = &contents.id_r else {
            return Ok(unproved);
        };
        let identity = Identity::new(id.id.ty.0, id.id.data).ok_or(DropReason::Malformed)?;
        let covered = Covered {
            message: attempt.messages.response(),
            nonce: &attempt.nonce,
            sk_p: sk_pr,
        };
        // A different name than expected may be an impostor's: it is not what this node asked for.
        if identity != attempt.expect || !covered.verify(&contents, &identity, self.creds, CertRule::Required)
        {
            return Ok(unproved);
        }
        let answer = |verdict| Answer {
            identity: identity.clone(),
            verdict,
            state: contents.election_state,
        };
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
        let other = attempt
            .instance
            .is_some_and(|expected| expected != instance.instance);
        if state.state != NodeState::Gcks || other {
            return Ok(refused(Failure::TimedOut, None));
        }
        let checked = match (contents.gsa, contents.kd) {
            (Some(gsa), Some(kd)) => Some(self.check_unicast_state(gsa, kd, sa)?),
            (None, None) => None,
            _ => return Err(DropReason::Malformed),
        };
        let evicted = contents.evicted.map(|evicted| evicted.0).unwrap_or_default();
        Ok(answer(Verdict::Registered {
            instance,
            evicted,
            state: checked,
        }))
    }

    #[inline(never)]
    fn commit_answer(&mut self, row: Handle, answer: &Answer) -> Result<(), DropReason> {
        let (purpose, to) = match self.attempt(row) {
            Some(attempt) => (attempt.purpose, attempt.to),
            None => return Err(DropReason::UnknownSpi),
        };
        let proved = !matches!(answer.verdict, Verdict::Unproved);
        let serves = answer.state.is_some_and(|state| state.state == NodeState::Gcks);
        if proved && serves && purpose == Purpose::Rival {
            self.note_rival();
        }
        match &answer.verdict {
            Verdict::Unproved => {
                if let Some(attempt) = self.attempt_mut(row) {
                    attempt.refused = true;
                    attempt.next = None;
                }
                Err(DropReason::BadProof)
            }
            Verdict::Refused { failure, alarm } => {
                if let Some(alarm) = alarm {
                    self.node.alarms.set(*alarm, true);
                }
                if *alarm == Some(Alarm::GroupFull) {
                    // No failure of the candidate: stay, and come back (section 5.4).
                    self.node.full = Some(self.now.after(self.hold()));
                }
                self.node
                    .penalties
                    .fail(PenaltyKey::new(to, &answer.identity), *failure, self.now);
                self.handshakes.remove(row);
                self.attempt_ended(purpose);
                Ok(())
            }
            Verdict::Registered {
                instance,
                evicted,
                state,
            } => self.commit_registration(row, answer, instance, evicted, state.as_ref()),
        }
    }

    fn commit_registration(
        &mut self,
        row: Handle,
        answer: &Answer,
        instance: &Instance,
        evicted: &group::EvictedList,
        state: Option<&CheckedState>,
    ) -> Result<(), DropReason> {
        let identity = &answer.identity;
        let known = self.peers.find_identity(identity);
        let to = self
            .attempt(row)
            .map(|attempt| attempt.to)
            .ok_or(DropReason::UnknownSpi)?;
        let peer = match known {
            Some(peer) => peer,
            None => self
                .make_room_for_peer(identity, to)
                .ok_or(DropReason::TableFull)?,
        };
        let now = self.now;
        self.strangers.retain(|stranger| stranger.address != to);
        self.sealed.retain(|sealed| sealed.peer != peer);
        let attempt = self
            .handshakes
            .get_mut(row)
            .and_then(Handshake::attempt_mut)
            .ok_or(DropReason::UnknownSpi)?;
        let AttemptStage::Auth { sa, .. } = &mut attempt.stage else {
            return Err(DropReason::UnknownSpi);
        };
        let purpose = attempt.purpose;
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.address = to;
            apart::<ROW, _>(|| peer.sa = Some(sa.take_out()));
            peer.claim = answer.state;
            peer.heard = Some(now);
            peer.under = None;
            peer.reply = None;
            peer.instance = Some(KnownInstance::proved(peer.instance, instance));
            let elapsed = u32::try_from(now.since(attempt.started).as_millis()).unwrap_or(u32::MAX);
            peer.exchange = (attempt.octets, elapsed);
        }
        self.handshakes.remove(row);
        crate::counters::bump(&mut self.node.counters.handshakes_initiated);
        self.node.penalties.forgive(&PenaltyKey::new(to, identity));
        for alarm in [
            Alarm::CandidateRefused,
            Alarm::ProofRefused,
            Alarm::NotAuthorised,
            Alarm::GroupFull,
        ] {
            self.node.alarms.set(alarm, false);
        }
        self.node.full = None;
        // Section 4: the first that authenticates wins and the others end.
        self.end_attempts();
        self.hear_of_evictions(evicted);
        self.registered(peer, instance.instance, purpose, state);
        Ok(())
    }
}

fn count(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}
