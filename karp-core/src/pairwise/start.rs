//! The initiator's side of the initial exchange: racing replies, cookies, and what comes of it (PROTOCOL.md section 4,
//! RFC 7296 sections 1.2, 2.4, 2.6, RFC 6023).

use super::{
    Core,
    io::{DownReason, Event, Failure},
    sa::{Asked, Channel, Ender, Kept, Origin, Repeat, Sa, Standing, Way, nonce_head},
};
use crate::{
    counters::bump,
    crypto::{DhSecret, IkeKeys, Secret},
    error::DropReason,
    exchange::{
        MAX_FIRST,
        auth::{CertRule, Covered},
        messages::write_init_request,
        wire_fault,
    },
    identity::{AuthMethod, Identity},
    io::MessageKind,
    time::{Duration, Instant},
    wire::{
        ExchangeType, Flags, Header, NotifyType, PayloadType, Payloads, Writer,
        auth::write_raw_public_key_request,
        message::Contents,
        notify::MAX_COOKIE_LEN,
        numbers::{IdType, KE_CURVE25519},
        payload::{Id, write_notify},
        sa::{Purpose, check_answer},
    },
};

/// Replies to one IKE_SA_INIT that are followed at once: whoever is on the way can send one.
pub(super) const MAX_REPLIES: usize = 3;
/// Cookies that one attempt answers to.
const MAX_COOKIES: u8 = 3;
/// After a refusal that nobody proved, or that a racer can have caused, an attempt waits so long for something better.
const REFUSED_LIFE: Duration = Duration::from_secs(2);
/// An attempt ends so long after the first answer: a responder forgets half-open exchanges, and a new attempt is worth
/// more than a further repeat.
const AUTH_LIFE: Duration = Duration::from_secs(15);
/// The pause after an attempt that came to nothing; it doubles up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One answer to IKE_SA_INIT, and IKE_AUTH under its keys.
struct Reply {
    channel: Channel,
    sk_pr: Secret<32>,
    /// The other side's first message, which AUTH covers.
    response: heapless::Vec<u8, MAX_FIRST>,
    request: Kept,
    repeat: Repeat,
    /// It was answered, and not by whom it was meant for.
    refused: bool,
}

/// An initial exchange of this side.
pub(super) struct Attempt {
    spi_i: [u8; 8],
    nonce: [u8; 32],
    secret: DhSecret,
    cookie: heapless::Vec<u8, MAX_COOKIE_LEN>,
    cookies: u8,
    repeat: Repeat,
    replies: heapless::Vec<Reply, MAX_REPLIES>,
    /// How many replies there were: each counts its IVs in a range of its own (section 3).
    count: u32,
    pub(super) started: Instant,
    deadline: Instant,
    failure: Failure,
}

impl Attempt {
    /// The IKE_SA_INIT request. It is not sealed, so the same fields make the same octets whenever it is written.
    fn write_init(&self, buffer: &mut [u8]) -> Option<usize> {
        let header = Header::new(self.spi_i, [0; 8], ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let mut writer = Writer::message(buffer, &header);
        let public = self.secret.public();
        write_init_request(&mut writer, &self.cookie, Purpose::Pairwise, &public, &self.nonce);
        writer.finish().ok().map(|message| message.len())
    }

    /// IKE_AUTH was sent: the peer may have an IKE SA of it already.
    pub(super) fn is_answered(&self) -> bool {
        !self.replies.is_empty()
    }

    /// When something has to be done about it. IKE_SA_INIT goes out only while it has no reply, refused ones counted.
    pub(super) fn next(&self) -> Instant {
        let replies = self.replies.iter().filter(|reply| !reply.refused);
        let sending = replies.map(|reply| reply.repeat.next).min();
        let asking = self.replies.is_empty().then_some(self.repeat.next);
        sending
            .or(asking)
            .map_or(self.deadline, |at| at.min(self.deadline))
    }
}

impl Core<'_> {
    /// Begins an initial exchange, if the settings say so and there is neither one nor an IKE SA.
    pub(super) fn run_attempt(&mut self) {
        let tries = self.settings().tries;
        let now = self.now;
        if let Some(attempt) = &mut self.pair.attempt {
            attempt.replies.retain(|reply| !reply.repeat.is_over(now, tries));
            let unanswered = attempt.replies.is_empty() && attempt.repeat.is_over(now, tries);
            if attempt.deadline <= now || unanswered {
                let failure = attempt.failure;
                self.attempt_failed(failure);
            }
        }
        let wanted = self.pair.started && self.settings().initiate && !self.is_up();
        if !wanted || self.pair.attempt.is_some() || self.pair.retry.is_some_and(|at| at > now) {
            return;
        }
        if self.creds.method(&self.settings().peer).is_none() {
            self.attempt_failed(Failure::NoCredential);
            return;
        }
        let (mut spi_i, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_i);
        self.rng.fill_bytes(&mut nonce);
        self.pair.attempt = Some(Attempt {
            spi_i,
            nonce,
            secret: DhSecret::generate(self.rng),
            cookie: heapless::Vec::new(),
            cookies: 0,
            repeat: Repeat::now(now),
            replies: heapless::Vec::new(),
            count: 0,
            started: now,
            deadline: Instant::END,
            failure: Failure::NoAnswer,
        });
    }

    fn attempt_failed(&mut self, failure: Failure) {
        self.pair.attempt = None;
        bump(&mut self.pair.pair_counters.failures);
        self.tell(Event::Failed { reason: failure });
        let pause = self.pair.pause;
        self.pair.pause = pause.times(2).min(LONGEST_PAUSE);
        let jitter = self.random_below(pause.as_millis().div_euclid(4).max(1));
        self.pair.retry = Some(self.now.after(pause).after(Duration::from_millis(jitter)));
    }

    /// A response to IKE_SA_INIT. Anyone on the way can send one, so each distinct one is followed until one
    /// authenticates, and errors end nothing.
    pub(super) fn handle_init_response(&mut self, octets: &[u8]) -> Result<(), DropReason> {
        let (header, payloads) = Payloads::of_message(octets).map_err(wire_fault)?;
        let now = self.now;
        let Core {
            pair, creds, rng: _, ..
        } = self;
        let settings = pair.config.settings();
        let attempt = pair
            .attempt
            .as_mut()
            .filter(|attempt| attempt.spi_i == header.spi_i)
            .ok_or(DropReason::UnknownSpi)?;
        if header.message_id != 0 {
            return Err(DropReason::OutOfWindow);
        }
        if attempt
            .replies
            .iter()
            .any(|reply| reply.response.as_slice() == octets)
        {
            return Err(DropReason::Replayed);
        }
        let contents = Contents::collect(payloads).map_err(wire_fault)?;
        if let Some(cookie) = contents.cookie {
            // RFC 7296 section 2.6: the same request with the cookie in front.
            if attempt.cookie.as_slice() == cookie {
                return Err(DropReason::Replayed);
            }
            if attempt.cookies >= MAX_COOKIES || !attempt.replies.is_empty() {
                return Err(DropReason::RateLimited);
            }
            attempt.cookie = heapless::Vec::from_slice(cookie).map_err(|_| DropReason::Malformed)?;
            attempt.cookies = attempt.cookies.saturating_add(1);
            attempt.repeat = Repeat::now(now);
            bump(&mut pair.pair_counters.cookies_given);
            return Ok(());
        }
        if let Some(error) = contents.error {
            // Section 4: error notifies outside SK end nothing. What the last one said is told if nothing better comes.
            attempt.failure = match error {
                NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD => Failure::NoProposal,
                _ => Failure::Refused,
            };
            attempt.deadline = attempt.deadline.min(now.after(REFUSED_LIFE));
            return Err(DropReason::UnprotectedError);
        }
        let (sa, ke, nonce_r) = match (contents.sa, contents.ke, contents.nonce) {
            (Some(sa), Some(ke), Some(nonce)) => (sa, ke, nonce),
            _ => return Err(DropReason::Malformed),
        };
        check_answer(sa, Purpose::Pairwise).map_err(|_| DropReason::NoProposal)?;
        if header.spi_r == [0; 8] || ke.method != KE_CURVE25519 {
            return Err(DropReason::BadKeyMaterial);
        }
        // RFC 6023 section 3: only to who supports it.
        if !contents.childless_supported {
            attempt.failure = Failure::NotChildless;
            return Err(DropReason::Unexpected);
        }
        if attempt.replies.is_full() {
            return Err(DropReason::TableFull);
        }
        let method = creds.method(&settings.peer);
        // RFC 7427 section 4: only a hash that the peer lists.
        if method == Some(AuthMethod::Signature) && !contents.identity_hash {
            attempt.failure = Failure::NoCredential;
            return Err(DropReason::Unexpected);
        }
        let response = heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
        let shared = attempt
            .secret
            .agree(ke.data)
            .map_err(|_| DropReason::BadKeyMaterial)?;
        let keys = IkeKeys::derive(&shared, &attempt.nonce, nonce_r, &header.spi_i, &header.spi_r);
        let (sk_pi, sk_pr) = (keys.sk_pi.duplicate(), keys.sk_pr.duplicate());
        let first_iv = u64::from(attempt.count).wrapping_shl(32);
        let mut channel = Channel::new(keys, (header.spi_i, header.spi_r), true, first_iv);
        let mut first = [0; 512];
        let first_len = attempt.write_init(&mut first).ok_or(DropReason::NoRoom)?;
        let covered = Covered {
            message: first.get(..first_len).unwrap_or_default(),
            nonce: nonce_r,
            sk_p: &sk_pi,
        };
        // RFC 7296 section 2.4: the only IKE SA between the two, as far as this side knows.
        let alone = !pair.sas.iter().any(Sa::is_up);
        let auth = channel.header(ExchangeType::IKE_AUTH, false, 1);
        let mut proved = false;
        let request = channel.seal(&auth, |writer| {
            let between = |writer: &mut Writer<'_>| {
                if creds.public_key().is_some() {
                    write_raw_public_key_request(writer);
                }
                Id {
                    ty: IdType(settings.peer.kind()),
                    data: settings.peer.octets(),
                }
                .write(writer, PayloadType::ID_R);
            };
            proved = covered.write(
                writer,
                &settings.identity,
                PayloadType::ID_I,
                between,
                &settings.peer,
                *creds,
            );
            if alone {
                write_notify(writer, NotifyType::INITIAL_CONTACT, &[]);
            }
        });
        let Some(request) = request.filter(|_| proved) else {
            attempt.failure = Failure::NoCredential;
            return Err(DropReason::NoRoom);
        };
        attempt.count = attempt.count.saturating_add(1);
        attempt.deadline = attempt.deadline.min(now.after(AUTH_LIFE));
        let reply = Reply {
            channel,
            sk_pr,
            response,
            request,
            repeat: Repeat::now(now),
            refused: false,
        };
        attempt.replies.push(reply).map_err(|_| DropReason::TableFull)
    }

    /// A response to IKE_AUTH. Every reply that it can belong to is asked; the first that authenticates wins.
    pub(super) fn handle_auth_response(&mut self, way: Way, octets: &[u8]) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        if header.message_id != 1 {
            return Err(DropReason::OutOfWindow);
        }
        let attempt = self.pair.attempt.as_ref().ok_or(DropReason::UnknownSpi)?;
        if attempt.spi_i != header.spi_i {
            return Err(DropReason::UnknownSpi);
        }
        let mut verdict = Err(DropReason::UnknownSpi);
        let mut refusal = None;
        for (at, reply) in attempt.replies.iter().enumerate() {
            if reply.channel.spi_r != header.spi_r || reply.refused {
                continue;
            }
            // Two replies can have the same keys, so each is given octets of its own.
            let mut copy: heapless::Vec<u8, MAX_FIRST> =
                heapless::Vec::from_slice(octets).map_err(|_| DropReason::NoRoom)?;
            match self.judge(attempt, reply, &mut copy) {
                Ok(()) => {
                    self.initiated(at, way);
                    return Ok(());
                }
                Err((reason, failure)) => {
                    verdict = Err(reason);
                    refusal = refusal.or(failure.map(|failure| (at, failure)));
                }
            }
        }
        if let Some((at, failure)) = refusal {
            self.refused(at, failure, way);
        }
        verdict
    }

    /// Whether a response to IKE_AUTH proves the peer: if not, why, and what that means for the reply if its seal is good.
    fn judge(
        &self,
        attempt: &Attempt,
        reply: &Reply,
        octets: &mut [u8],
    ) -> Result<(), (DropReason, Option<Failure>)> {
        let drop = |reason| (reason, None);
        let opened = reply.channel.open(octets).map_err(drop)?;
        let contents = opened
            .payloads()
            .and_then(|payloads| Contents::collect(payloads).map_err(wire_fault))
            .map_err(drop)?;
        let Some(id) = &contents.id_r else {
            let failure = match contents.error {
                Some(NotifyType::AUTHENTICATION_FAILED) => Failure::ProofRefused,
                _ => Failure::Refused,
            };
            return Err((DropReason::BadProof, Some(failure)));
        };
        let peer = &self.settings().peer;
        if Identity::new(id.id.ty.0, id.id.data).as_ref() != Some(peer) {
            return Err((DropReason::BadProof, Some(Failure::WrongIdentity)));
        }
        let covered = Covered {
            message: &reply.response,
            nonce: &attempt.nonce,
            sk_p: &reply.sk_pr,
        };
        if covered.verify(&contents, peer, self.creds, CertRule::Optional) {
            Ok(())
        } else {
            Err((DropReason::BadProof, Some(Failure::BadProof)))
        }
    }

    /// The peer proved itself.
    fn initiated(&mut self, at: usize, way: Way) {
        let Some(mut attempt) = self.pair.attempt.take() else {
            return;
        };
        if at >= attempt.replies.len() {
            return;
        }
        let reply = attempt.replies.swap_remove(at);
        bump(&mut self.pair.pair_counters.initiated);
        let lineage = self.next_lineage();
        let sa = Sa::new(
            reply.channel,
            Origin::InitialExchange,
            lineage,
            Standing::Live,
            nonce_head(&attempt.nonce),
            way,
            self.now,
        );
        self.established(sa, attempt.started, false);
    }

    /// The seal was good and the proof was not, or the peer refuses this side's: who caused it is not known, for whoever
    /// answered first has the keys. The attempt waits a little for something better.
    fn refused(&mut self, at: usize, failure: Failure, way: Way) {
        let now = self.now;
        let Some(attempt) = &mut self.pair.attempt else {
            return;
        };
        attempt.failure = failure;
        attempt.deadline = attempt.deadline.min(now.after(REFUSED_LIFE));
        if !matches!(failure, Failure::BadProof | Failure::WrongIdentity) {
            if let Some(reply) = attempt.replies.get_mut(at) {
                reply.refused = true;
            }
            return;
        }
        // The other side takes the IKE SA for made: it is told (RFC 7296 section 2.21.2).
        let nonce = nonce_head(&attempt.nonce);
        if at >= attempt.replies.len() {
            return;
        }
        let reply = attempt.replies.swap_remove(at);
        let lineage = self.next_lineage();
        let ended = Standing::Ended(now.after(super::LINGER));
        let mut sa = Sa::new(
            reply.channel,
            Origin::InitialExchange,
            lineage,
            ended,
            nonce,
            way,
            now,
        );
        sa.ask(now, ExchangeType::INFORMATIONAL, Asked::Refuse, |writer, _| {
            write_notify(writer, NotifyType::AUTHENTICATION_FAILED, &[]);
        });
        // Without room for it the other side finds out by itself.
        let _ = self.pair.sas.push(sa);
    }

    /// An IKE SA from an initial exchange that began at `began`, whoever initiated it. What becomes of an earlier one
    /// (PROTOCOL.md section 9): after INITIAL_CONTACT it is gone; of two that were begun at once the one with the lower
    /// initiator nonce is ended by its initiator; else the later one is the peer's or this side's new start, and whoever
    /// started ends the other.
    pub(super) fn established(&mut self, mut sa: Sa, began: Instant, initial_contact: bool) {
        let now = self.now;
        self.pair.pause = FIRST_PAUSE;
        self.pair.retry = None;
        // An attempt that the peer has nothing of yet is not needed any more.
        if self.pair.attempt.as_ref().is_some_and(|own| !own.is_answered()) {
            self.pair.attempt = None;
        }
        let elapsed = now.since(began);
        let initiated = sa.initiator;
        let grace = now.after(super::LINGER);
        let mut restarted = false;
        let mut heir = sa.lineage;
        let (fresh, mut former) = (sa.spi_i, None);
        for old in self.pair.sas.iter_mut().filter(|old| old.is_up()) {
            let crossed = old.made >= began;
            if initial_contact && !crossed {
                old.standing = Standing::Ended(now);
                restarted = true;
            } else if crossed && old.nonce > sa.nonce {
                former = Some((fresh, old.spi_i));
                sa.standing = Standing::Replaced(ender(sa.initiator, grace));
                heir = old.lineage;
                self.pair.probe |= !old.used;
            } else {
                let by = if crossed { old.initiator } else { sa.initiator };
                former = Some((old.spi_i, fresh));
                old.standing = Standing::Replaced(ender(by, grace));
                // Something has to come under it before the other can be ended.
                self.pair.probe |= !sa.used;
            }
        }
        if let Some((from, to)) = former {
            self.keys_move(from, to);
        }
        if restarted {
            // What the peer had under the old one it has no more.
            self.remove_keys(|_| true);
            self.tell_down(DownReason::PeerRestarted);
        } else {
            self.pair.keys.iter_mut().for_each(|key| key.lineage = heir);
        }
        let stands = sa.is_up();
        if self.pair.sas.push(sa).is_err() {
            // The table has room for more than two lines; the newest is the one that the peer means.
            return;
        }
        if stands {
            self.pair.grace = now.after(super::YIELD);
            self.tell_up(initiated, elapsed);
        }
    }

    /// Writes the next message that the attempt owes.
    pub(super) fn poll_attempt(&mut self, buffer: &mut [u8]) -> Option<(usize, Way, MessageKind)> {
        let now = self.now;
        let way = self.own_way();
        let (first, tries) = (self.settings().retransmit, self.settings().tries);
        let attempt = self.pair.attempt.as_mut()?;
        let due = |repeat: &Repeat| repeat.next <= now && repeat.sent < tries;
        let mut repeated = false;
        let reply = attempt
            .replies
            .iter_mut()
            .find(|reply| !reply.refused && due(&reply.repeat));
        let sent = if let Some(reply) = reply {
            repeated |= reply.repeat.sent > 0;
            reply.repeat.count(now, first);
            buffer
                .get_mut(..reply.request.len())?
                .copy_from_slice(&reply.request);
            Some((reply.request.len(), way, MessageKind::AuthRequest))
        } else if attempt.replies.is_empty() && due(&attempt.repeat) {
            repeated |= attempt.repeat.sent > 0;
            attempt.repeat.count(now, first);
            attempt
                .write_init(buffer)
                .map(|len| (len, way, MessageKind::InitRequest))
        } else {
            None
        };
        if repeated {
            bump(&mut self.pair.pair_counters.retransmissions);
        }
        sent
    }
}

/// Its initiator ends the IKE SA that is too many.
const fn ender(initiator: bool, grace: Instant) -> Ender {
    if initiator { Ender::Us } else { Ender::Peer(grace) }
}
