//! Attempts at candidates: starting them, sending their messages, ending them (PROTOCOL.md sections 4 and 5.4).

use core::net::SocketAddr;

use super::{Handshake, IkeSa, auth::Covered, messages::write_init_request};
use crate::{
    config::{MAX_GROUP_NAME, MAX_PROTOCOLS},
    crypto::{DhSecret, ROW, Secret, apart},
    election::{Failure, Input},
    error::DropReason,
    identity::{Identity, MAX_IDENTITY},
    io::{Alarm, MessageKind},
    node::{Core, PenaltyKey},
    storage::Handle,
    time::{Duration, Instant},
    wire::{
        ExchangeType, Flags, Header, MAX_DATAGRAM, NotifyType, PayloadType, Payloads, Writer,
        auth::write_raw_public_key_request,
        message::Contents,
        notify::{Instance, MAX_COOKIE_LEN, MAX_EVICTED},
        numbers::IdType,
        payload::{Id, write_group, write_notify},
        redirect::write_redirected_from,
        sa::Purpose as Suite,
        size::{IKE_SA_INIT_REQUEST, Shape},
    },
};

/// Attempts at once (section 11).
pub(crate) const MAX_ATTEMPTS: usize = 4;
/// The longest first message of the other side that is kept, for AUTH covers it.
pub(crate) const MAX_FIRST: usize = 1280;
/// IKE_SA_INIT to a candidate is sent at 0, 250 and 750 ms and given up at 1.5 s (section 5.4).
pub(super) const INIT_WAITS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];
pub(super) const INIT_LIFE: Duration = Duration::from_millis(1500);
/// While the table of strangers is full, an unanswered one gives its place up after this (section 4).
pub(super) const INIT_LIFE_UNDER_ATTACK: Duration = Duration::from_millis(300);
/// An attempt ends this long after its IKE_SA_INIT response, or this long under attack.
pub(super) const AUTH_LIFE: Duration = Duration::from_secs(3);
pub(super) const AUTH_LIFE_UNDER_ATTACK: Duration = Duration::from_secs(1);
/// Redirections that one attempt follows (section 4).
pub(super) const MAX_REDIRECTS: u8 = 3;

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
    },
}

/// The longest GSA_AUTH request: whatever the configuration is, no part of it can be longer.
const MAX_AUTH_REQUEST: usize = Shape {
    own_id: MAX_IDENTITY,
    peer_id: MAX_IDENTITY,
    group: MAX_GROUP_NAME,
    ipv6: true,
    protocols: MAX_PROTOCOLS,
    signatures: true,
    controller_signatures: true,
    evicted: MAX_EVICTED,
}
.auth_request();

/// What an attempt keeps octet by octet, in one room: the other side's first message, which AUTH covers, and this node's
/// GSA_AUTH, which goes out again as it is.
#[derive(Default)]
pub(super) struct Messages {
    octets: heapless::Vec<u8, { MAX_FIRST + MAX_AUTH_REQUEST }, u16>,
    first: u16,
}

impl Messages {
    /// The other side's first message came, of at most [`MAX_FIRST`] octets. There is no request yet.
    pub(super) fn begin(&mut self, response: &[u8]) {
        self.octets.clear();
        let _ = self.octets.extend_from_slice(response);
        self.first = u16::try_from(response.len()).unwrap_or(u16::MAX);
    }

    pub(super) fn response(&self) -> &[u8] {
        self.octets.get(..usize::from(self.first)).unwrap_or(&[])
    }

    /// GSA_AUTH as it was sent; empty before.
    pub(super) fn request(&self) -> &[u8] {
        self.octets.get(usize::from(self.first)..).unwrap_or(&[])
    }

    fn keep_request(&mut self, request: &[u8]) -> Option<()> {
        self.octets.extend_from_slice(request).ok()
    }
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
    pub(super) spi_i: [u8; 8],
    pub(super) nonce: [u8; 32],
    pub(super) secret: DhSecret,
    pub(super) cookie: heapless::Vec<u8, MAX_COOKIE_LEN>,
    pub(super) redirected_from: Option<SocketAddr>,
    pub(super) redirects: u8,
    /// It was begun anew under another SPI after a cookie came for it.
    pub(super) renewed: bool,
    pub(crate) stage: AttemptStage,
    pub(super) messages: Messages,
    pub(super) sent: u8,
    /// When the present message is sent next; `None` if not again.
    pub(crate) next: Option<Instant>,
    pub(crate) deadline: Instant,
    pub(super) started: Instant,
    pub(super) octets: u32,
    /// The other side said no without proving who it is, or its proof was wrong: the attempt goes on waiting for a
    /// better answer.
    pub(super) refused: bool,
}

impl Attempt {
    /// Another attempt of the same exchange: same first message but for cookie and redirection.
    pub(super) fn sibling(&self, now: Instant) -> Self {
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
            renewed: true,
            stage: AttemptStage::Init,
            messages: Messages::default(),
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
    pub(super) fn write_init(&self, buffer: &mut [u8]) -> Option<usize> {
        let header = Header::new(self.spi_i, [0; 8], ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let mut writer = Writer::message(buffer, &header);
        let public = self.secret.public();
        write_init_request(&mut writer, &self.cookie, Suite::Group, &public, &self.nonce);
        write_notify(&mut writer, NotifyType::REDIRECT_SUPPORTED, &[]);
        if let Some(from) = self.redirected_from {
            write_redirected_from(&mut writer, from);
        }
        writer.finish().ok().map(|message| message.len())
    }
}

impl Core<'_> {
    pub(crate) fn attempts(&self) -> usize {
        self.handshakes
            .rows()
            .filter(|row| row.attempt().is_some())
            .count()
    }

    pub(crate) fn is_attempting(&self, to: SocketAddr) -> bool {
        self.handshakes
            .rows()
            .filter_map(Handshake::attempt)
            .any(|attempt| attempt.to == to)
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
        let proved = self
            .peers
            .rows()
            .any(|peer| peer.identity == expect && peer.address == to);
        if self.creds.method(&expect).is_none() || !self.make_room_for_attempt(proved) {
            return false;
        }
        let (mut spi_i, mut nonce) = ([0; 8], [0; 32]);
        self.rng.fill_bytes(&mut spi_i);
        self.rng.fill_bytes(&mut nonce);
        let life = self.init_life();
        let (rng, handshakes, now) = (&mut *self.rng, &mut self.handshakes, self.now);
        let attempt = |rng| Attempt {
            purpose,
            to,
            expect,
            instance,
            proved,
            spi_i,
            nonce,
            secret: DhSecret::generate(rng),
            cookie: heapless::Vec::new(),
            redirected_from: None,
            redirects: 0,
            renewed: false,
            stage: AttemptStage::Init,
            messages: Messages::default(),
            sent: 0,
            next: Some(now),
            deadline: now.after(life),
            started: now,
            octets: 0,
            refused: false,
        };
        apart::<ROW, _>(|| handshakes.insert(Handshake::Attempt(attempt(rng))).is_some())
    }

    pub(super) fn under_attack(&self) -> bool {
        self.strangers.is_full()
    }

    fn init_life(&self) -> Duration {
        if self.under_attack() {
            INIT_LIFE_UNDER_ATTACK
        } else {
            INIT_LIFE
        }
    }

    /// Room for one more attempt: four at once, of which one at a proved peer displaces one at a hint; in the table
    /// that they share with half-open exchanges an answered one goes first, then a random one.
    fn make_room_for_attempt(&mut self, proved: bool) -> bool {
        // Half of the table stays free for others: forged rivals must not keep a GCKS from answering.
        let most = MAX_ATTEMPTS.min(self.handshakes.capacity().div_ceil(2));
        if self.attempts() >= most {
            let hint = self
                .handshakes
                .find(|row| row.attempt().is_some_and(|attempt| !attempt.proved));
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
    pub(super) fn family(
        &self,
        spi_i: [u8; 8],
        from: SocketAddr,
    ) -> impl Iterator<Item = (Handle, &Attempt)> {
        self.handshakes
            .iter()
            .filter_map(|(row, handshake)| handshake.attempt().map(|attempt| (row, attempt)))
            .filter(move |(_, attempt)| attempt.spi_i == spi_i && attempt.to == from)
    }

    pub(super) fn attempt(&self, row: Handle) -> Option<&Attempt> {
        self.handshakes.get(row).and_then(Handshake::attempt)
    }

    pub(super) fn attempt_mut(&mut self, row: Handle) -> Option<&mut Attempt> {
        self.handshakes.get_mut(row).and_then(Handshake::attempt_mut)
    }

    /// Another attempt of the exchange of `root`, with this cookie if there is one.
    pub(super) fn insert_sibling(
        &mut self,
        root: Handle,
        cookie: Option<&[u8]>,
    ) -> Result<Handle, DropReason> {
        let now = self.now;
        apart::<ROW, _>(|| {
            let mut sibling = self.attempt(root).ok_or(DropReason::UnknownSpi)?.sibling(now);
            if let Some(cookie) = cookie {
                sibling.cookie = heapless::Vec::from_slice(cookie).map_err(|_| DropReason::Malformed)?;
            }
            if !self.make_room_for_attempt(sibling.proved) {
                return Err(DropReason::TableFull);
            }
            self.handshakes
                .insert(Handshake::Attempt(sibling))
                .ok_or(DropReason::TableFull)
        })
    }

    /// Ends what is overdue and sends what is due. Returns a message for the buffer, if one is to go out.
    #[inline(never)]
    pub(crate) fn run_attempts(&mut self) {
        loop {
            let now = self.now;
            let mut attempts = self
                .handshakes
                .iter()
                .filter_map(|(row, handshake)| handshake.attempt().map(|attempt| (row, attempt)));
            let Some((over, attempt)) = attempts.find(|(_, attempt)| attempt.deadline <= now) else {
                break;
            };
            let (to, refused) = (attempt.to, attempt.refused);
            let key = PenaltyKey::new(to, &attempt.expect);
            let purpose = attempt.purpose;
            drop(attempts);
            self.handshakes.remove(over);
            // As long as another attempt at it runs, nothing is said about the candidate.
            if self.is_attempting(to) {
                continue;
            }
            let failure = if refused {
                Failure::Refused
            } else {
                Failure::TimedOut
            };
            if refused {
                self.node.alarms.set(Alarm::ProofRefused, true);
            }
            self.node.penalties.fail(key, failure, now);
            self.attempt_ended(purpose);
        }
    }

    /// An attempt came to nothing: the next candidate, or none is left.
    pub(super) fn attempt_ended(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Seek | Purpose::Rival => self.seek(),
            Purpose::Heir => {
                if self.attempts() == 0 && !self.join_again() {
                    let survey = self.survey();
                    self.step(Input::JoinFailed(survey));
                }
            }
        }
    }

    /// Writes the next message that an attempt owes.
    #[inline(never)]
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
        attempt.octets = attempt
            .octets
            .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
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
        let expected = self.attempt(row)?.expect.clone();
        let state = self.state_shown_to(Some(&expected));
        let evicted = self.evicted_to_tell();
        let Core {
            node,
            handshakes,
            creds,
            ..
        } = self;
        let settings = node.config.settings();
        let attempt = handshakes.get_mut(row)?.attempt_mut()?;
        let mut first = [0; IKE_SA_INIT_REQUEST];
        let first_len = attempt.write_init(&mut first)?;
        let AttemptStage::Auth { sa, sk_pi, .. } = &mut attempt.stage else {
            return None;
        };
        if attempt.messages.request().is_empty() {
            let (_, payloads) = Payloads::of_message(attempt.messages.response()).ok()?;
            let nonce = Contents::collect(payloads).ok()?.nonce?;
            let covered = Covered {
                message: first.get(..first_len)?,
                nonce,
                sk_p: sk_pi,
            };
            let header = sa.header(ExchangeType(ExchangeType::GSA_AUTH.0), false, 1);
            let expect = &attempt.expect;
            let mut proved = false;
            let len = sa.seal_plain(&header, buffer.get_mut(..MAX_DATAGRAM)?, |writer| {
                let between = |writer: &mut Writer<'_>| {
                    if creds.public_key().is_some() {
                        write_raw_public_key_request(writer);
                    }
                    Id {
                        ty: IdType(expect.kind()),
                        data: expect.octets(),
                    }
                    .write(writer, PayloadType::ID_R);
                };
                proved = covered.write(
                    writer,
                    &settings.identity,
                    PayloadType::ID_I,
                    between,
                    expect,
                    *creds,
                );
                write_group(writer, settings.group.as_bytes());
                Instance {
                    instance: node.instance,
                    next_sequence: node.sequence,
                }
                .write(writer);
                state.write(writer);
                if !keys_in_use.0.is_empty() {
                    keys_in_use.write(writer);
                }
                if !evicted.0.is_empty() {
                    evicted.write(writer);
                }
            })?;
            if !proved {
                return None;
            }
            attempt.messages.keep_request(buffer.get(..len)?)?;
        }
        let request = attempt.messages.request();
        buffer.get_mut(..request.len())?.copy_from_slice(request);
        Some(request.len())
    }
}
