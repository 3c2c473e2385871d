//! Keys for routing protocols that talk one to one: IKEv2 between two routers, childless, and under it one routing SA for
//! each session (PROTOCOL.md section 9).
//!
//! [`Pair`] is a state machine for one peer, without sockets, clock or allocator, and its contract is that of
//! [`Engine`](crate::Engine): inputs of any kind are legal at any time; [`Pair::poll`] after each of them and at the
//! deadline that it named; views change nothing; time, randomness and credentials come from outside. What arrives is
//! verified before it changes anything, and what is sent again is sent as the same octets.
//!
//! What is spoken is plain IKEv2 with one suite (section 3), so any conforming peer that supports childless IKE SAs
//! (RFC 6023) can be the other side; the routing SAs are private use, and refused by others without harm.
//!
//! All storage is inside, about 30 kB: build a pair where it stays.

mod answer;
mod create;
mod inform;
mod io;
mod keys;
#[cfg(test)]
mod pinned;
mod rows;
mod sa;
mod settings;
mod start;
#[cfg(test)]
mod tests;

use core::net::SocketAddr;

use rand_core::CryptoRng;

pub use self::{
    io::{Command, DownReason, Event, Failure, KeyName, Output, PairCounters, Timer},
    keys::{KeyRow, PairTable},
    settings::{Config, Cookies, DEFAULT_PORT, MAX_SESSIONS, Session, Settings},
};
use self::{
    keys::{MAX_KEYS, RoutingSa},
    sa::{Sa, Standing, Way},
};
use crate::{
    counters::Counters,
    error::{CommandError, ConfigError, DropReason},
    exchange::wire_fault,
    identity::{Credentials, Identity},
    io::{Handled, MessageKind, Recv},
    keytable::RowState,
    node::{CookieSecrets, Refusal},
    time::{Duration, Instant},
    wire::{ExchangeType, Header, MAX_DATAGRAM},
};

/// What ended is kept so long to answer repeats, and what the peer is to end has so long.
const LINGER: Duration = Duration::from_secs(20);
/// The responder of an IKE SA leaves so much time to the initiator to ask for the sessions' first keys.
const YIELD: Duration = Duration::from_secs(3);
/// The cookie secret changes this often.
const COOKIE_LIFE: Duration = Duration::from_secs(30);
/// IKE SAs at once: the one that stands, those that replace it, and those that end.
const MAX_SAS: usize = 6;
/// With more of them than this, this side asks for no further one.
const ROOMY: usize = MAX_SAS - 2;
/// Events that wait for the host. The oldest of a host that does not poll are lost: all that matters can be read.
const MAX_EVENTS: usize = 8;
/// Key ids that rest before they are given again.
const MAX_RESTED: usize = 4;
/// What stands in front of a message where neither port is that of IKE (RFC 3948 section 2.2).
const MARKER: [u8; 4] = [0; 4];

/// The two ends of one unicast keying relation, seen from one of them.
pub struct Pair<C, R> {
    state: State,
    credentials: C,
    entropy: R,
}

struct State {
    config: Config,
    now: Instant,
    started: bool,
    stopping: bool,
    attempt: Option<start::Attempt>,
    /// The next attempt begins then.
    retry: Option<Instant>,
    pause: Duration,
    half_open: heapless::Vec<answer::HalfOpen, { answer::MAX_HALF_OPEN }>,
    refusals: heapless::Vec<(Refusal, bool), { answer::MAX_REFUSALS }>,
    cookies: CookieSecrets,
    cookie_turn: Instant,
    sas: heapless::Vec<Sa, MAX_SAS>,
    lineages: u32,
    keys: heapless::Vec<RoutingSa, MAX_KEYS>,
    activations: u32,
    rested: heapless::Deque<u16, MAX_RESTED>,
    /// A new key was asked for by the host, by session.
    wanted: [bool; MAX_SESSIONS],
    /// Another IKE SA was.
    rekey: bool,
    /// A probe was.
    probe: bool,
    /// Before that the responder asks for no first key.
    grace: Instant,
    /// Before that nothing that was refused is asked again.
    put_off: Instant,
    /// TEMPORARY_FAILURE in a row.
    temporary: u8,
    events: heapless::Deque<Event, MAX_EVENTS>,
    counters: Counters,
    pair_counters: PairCounters,
}

/// Everything that the parts work on.
struct Core<'a> {
    pair: &'a mut State,
    creds: &'a dyn Credentials,
    rng: &'a mut dyn CryptoRng,
    now: Instant,
}

impl<C: Credentials, R: CryptoRng> Pair<C, R> {
    /// A pair that does nothing yet: give it [`Command::Start`].
    ///
    /// `entropy` must be a cryptographically secure generator, seeded anew for every pair, as for an
    /// [`Engine`](crate::Engine).
    ///
    /// # Errors
    /// [`ConfigError::NoCredential`] if the credentials have none for the peer.
    pub fn new(config: Config, credentials: C, mut entropy: R, now: Instant) -> Result<Self, ConfigError> {
        if credentials.method(&config.settings().peer).is_none() {
            return Err(ConfigError::NoCredential);
        }
        let cookies = CookieSecrets::new(&mut entropy);
        let state = State {
            config,
            now,
            started: false,
            stopping: false,
            attempt: None,
            retry: None,
            pause: start::FIRST_PAUSE,
            half_open: heapless::Vec::new(),
            refusals: heapless::Vec::new(),
            cookies,
            cookie_turn: now.after(COOKIE_LIFE),
            sas: heapless::Vec::new(),
            lineages: 0,
            keys: heapless::Vec::new(),
            activations: 0,
            rested: heapless::Deque::new(),
            wanted: [false; MAX_SESSIONS],
            rekey: false,
            probe: false,
            grace: now,
            put_off: now,
            temporary: 0,
            events: heapless::Deque::new(),
            counters: Counters::default(),
            pair_counters: PairCounters::default(),
        };
        Ok(Self {
            state,
            credentials,
            entropy,
        })
    }

    fn core(&mut self, now: Instant) -> Core<'_> {
        self.state.now = self.state.now.max(now);
        Core {
            now: self.state.now,
            pair: &mut self.state,
            creds: &self.credentials,
            rng: &mut self.entropy,
        }
    }

    /// Hands in a datagram that arrived from the peer's address. It is decrypted in place.
    ///
    /// A `now` that goes back is taken as the last one. Nothing that `datagram` holds can make this panic, and what is
    /// dropped changes nothing but counters; a drop can owe an answer all the same (a cookie, an error).
    pub fn handle_datagram(&mut self, now: Instant, recv: Recv, datagram: &mut [u8]) -> Handled {
        let mut core = self.core(now);
        let len = datagram.len();
        match core.dispatch(recv, datagram) {
            Ok(kind) => {
                core.pair.counters.count_received(kind, len);
                Handled::Accepted
            }
            Err(reason) => {
                core.pair.counters.count_drop(reason);
                Handled::Dropped(reason)
            }
        }
    }

    /// Hands in a call of the host.
    ///
    /// # Errors
    /// [`CommandError::NotJoined`] before the start, [`CommandError::UnknownSession`] for a place without session.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        let core = self.core(now);
        let pair = core.pair;
        if command != Command::Start && !pair.started {
            return Err(CommandError::NotJoined);
        }
        match command {
            Command::Start => {
                pair.started = true;
                pair.stopping = false;
                pair.retry = None;
            }
            Command::Stop => {
                pair.started = false;
                pair.stopping = true;
                pair.attempt = None;
                pair.half_open.clear();
            }
            Command::Rekey { session } => {
                if session >= pair.config.settings().sessions.len() {
                    return Err(CommandError::UnknownSession);
                }
                if let Some(wanted) = pair.wanted.get_mut(session) {
                    *wanted = true;
                }
            }
            Command::RekeyIkeSa => pair.rekey = true,
            Command::Probe => pair.probe = true,
        }
        Ok(())
    }

    /// Runs what is due and says the next thing: something to send, something that happened, or that there is nothing
    /// more before a deadline. Call it after every input and at the deadline, until it says [`Output::Idle`].
    ///
    /// `buffer` should have 1232 octets; what finds no room in it is not sent.
    pub fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Output {
        self.core(now).poll(buffer)
    }

    /// The keys of the sessions.
    #[must_use]
    pub fn key_table(&self) -> PairTable<'_> {
        PairTable::new(&self.state.keys, &self.state.config.settings().sessions)
    }

    /// Whether there is an IKE SA with the peer.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.sas.iter().any(Sa::is_up)
    }

    /// The SPIs of the IKE SA under which this side asks now, the initiator's first.
    #[must_use]
    pub fn ike_sa(&self) -> Option<([u8; 8], [u8; 8])> {
        let at = current(&self.state.sas)?;
        self.state.sas.get(at).map(|sa| (sa.spi_i, sa.spi_r))
    }

    /// How many IKE SAs there are, those counted that are about to end.
    #[must_use]
    pub fn ike_sas(&self) -> usize {
        self.state.sas.len()
    }

    /// The peer's identity.
    #[must_use]
    pub const fn peer(&self) -> &Identity {
        &self.state.config.settings().peer
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.state.config
    }

    /// Messages and drops.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// What else was counted.
    #[must_use]
    pub const fn pair_counters(&self) -> &PairCounters {
        &self.state.pair_counters
    }
}

/// The IKE SA that requests of this side go under: the newest that the peer is known to have.
fn current(sas: &[Sa]) -> Option<usize> {
    let live = sas.iter().enumerate();
    let live = live.filter(|(_, sa)| sa.standing == Standing::Live);
    live.max_by_key(|(_, sa)| sa.made).map(|(at, _)| at)
}

impl Core<'_> {
    const fn settings(&self) -> &Settings {
        self.pair.config.settings()
    }

    fn current(&self) -> Option<usize> {
        current(&self.pair.sas)
    }

    fn is_up(&self) -> bool {
        self.pair.sas.iter().any(Sa::is_up)
    }

    /// Keeps room for two more IKE SAs: one that ended, and is kept for repeats only, gives its place.
    fn trim_sas(&mut self) {
        while self.pair.sas.len() > ROOMY {
            let ended = self
                .pair
                .sas
                .iter()
                .enumerate()
                .filter_map(|(at, sa)| match sa.standing {
                    Standing::Ended(until) => Some((until, at)),
                    Standing::Live | Standing::Awaited | Standing::Replaced(_) => None,
                });
            let Some((_, at)) = ended.min() else {
                break;
            };
            self.pair.sas.remove(at);
        }
    }

    fn next_lineage(&mut self) -> u32 {
        self.pair.lineages = self.pair.lineages.wrapping_add(1);
        self.pair.lineages
    }

    /// A number below `bound`, evenly enough for jitter and ids; 0 if `bound` is 0.
    fn random_below(&mut self, bound: u64) -> u64 {
        let mut octets = [0; 8];
        self.rng.fill_bytes(&mut octets);
        u64::from_be_bytes(octets).checked_rem(bound).unwrap_or(0)
    }

    /// Where the peer is if nothing of it was heard yet.
    fn own_way(&self) -> Way {
        let settings = self.settings();
        let ports = [settings.address.port(), settings.remote.port()];
        Way {
            to: settings.remote,
            marked: !ports.contains(&DEFAULT_PORT),
        }
    }

    fn tell(&mut self, event: Event) {
        if self.pair.events.is_full() {
            let _ = self.pair.events.pop_front();
        }
        let _ = self.pair.events.push_back(event);
    }

    fn tell_up(&mut self, initiated: bool, elapsed: Duration) {
        self.tell(Event::Up { initiated, elapsed });
    }

    fn tell_down(&mut self, reason: DownReason) {
        // What was asked of that peer is asked of the next: it makes fresh keys anyway.
        self.pair.wanted = [false; MAX_SESSIONS];
        self.pair.rekey = false;
        self.pair.probe = false;
        self.pair.temporary = 0;
        self.pair.put_off = self.now;
        self.tell(Event::Down { reason });
    }

    fn dispatch(&mut self, recv: Recv, datagram: &mut [u8]) -> Result<MessageKind, DropReason> {
        let settings = self.settings();
        // Section 2: dropped before it is parsed.
        if settings.gtsm && recv.hop_limit != Some(255) {
            return Err(DropReason::HopLimit);
        }
        if recv.from.ip() != settings.remote.ip() {
            return Err(DropReason::WrongDestination);
        }
        self.trim_sas();
        let (marked, message) = unmark(datagram);
        let header = Header::parse(message).map_err(wire_fault)?;
        let way = Way {
            to: recv.from,
            marked,
        };
        let response = header.flags.is_response();
        let at = self
            .pair
            .sas
            .iter()
            .position(|sa| sa.spi_i == header.spi_i && sa.spi_r == header.spi_r);
        if !self.pair.started && at.is_none() {
            return Err(DropReason::NotJoined);
        }
        match (header.exchange, response, at) {
            (ExchangeType::IKE_SA_INIT, true, _) => {
                self.handle_init_response(message)?;
                Ok(MessageKind::InitResponse)
            }
            (ExchangeType::IKE_SA_INIT, false, _) => {
                self.handle_init_request(way, message)?;
                Ok(MessageKind::InitRequest)
            }
            (ExchangeType::IKE_AUTH, true, None) => {
                self.handle_auth_response(way, message)?;
                Ok(MessageKind::AuthResponse)
            }
            (ExchangeType::IKE_AUTH, false, None) => {
                self.handle_auth_request(way, message)?;
                Ok(MessageKind::AuthRequest)
            }
            (_, true, Some(at)) => {
                self.handle_response(at, &header, message)?;
                Ok(MessageKind::Response)
            }
            (exchange, false, Some(at)) => {
                self.handle_request(at, &header, message)?;
                Ok(match exchange {
                    ExchangeType::IKE_AUTH => MessageKind::AuthRequest,
                    ExchangeType::CREATE_CHILD_SA => MessageKind::CreateChild,
                    _ => MessageKind::Informational,
                })
            }
            (ExchangeType::CREATE_CHILD_SA | ExchangeType::INFORMATIONAL, _, None) => {
                Err(DropReason::UnknownSpi)
            }
            (_, _, None) => Err(DropReason::UnknownExchange),
        }
    }

    fn poll(&mut self, buffer: &mut [u8]) -> Output {
        self.run_due();
        let limit = buffer.len().min(MAX_DATAGRAM);
        if let Some(buffer) = buffer.get_mut(..limit)
            && let Some((len, to, kind)) = self.next_message(buffer)
        {
            self.pair.counters.count_sent(kind, len);
            return Output::Transmit { len, to, kind };
        }
        if let Some(event) = self.next_event() {
            #[cfg(feature = "defmt")]
            defmt::info!("event: {}", event);
            return Output::Event(event);
        }
        Output::Idle {
            next: self.next_deadline(),
        }
    }

    fn run_due(&mut self) {
        let now = self.now;
        if self.pair.cookie_turn <= now {
            self.pair.cookies.turn(self.rng);
            self.pair.cookie_turn = now.after(COOKIE_LIFE);
        }
        self.pair.half_open.retain(|half_open| half_open.deadline > now);
        self.run_keys();
        self.trim_sas();
        self.run_sas();
        self.run_attempt();
        if self.pair.stopping && self.pair.sas.is_empty() {
            self.pair.stopping = false;
            self.remove_keys(|_| true);
        }
    }

    fn next_message(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, MessageKind)> {
        // Written behind the place of a marker, which is cut off again where there is none.
        let body = buffer.get_mut(MARKER.len()..)?;
        let (len, way, kind) = self
            .poll_sas(body)
            .or_else(|| self.poll_half_open(body))
            .or_else(|| self.poll_attempt(body))
            .or_else(|| self.poll_refusals(body))?;
        let end = len.checked_add(MARKER.len())?;
        if way.marked {
            buffer.get_mut(..MARKER.len())?.copy_from_slice(&MARKER);
            return Some((end, way.to, kind));
        }
        buffer.copy_within(MARKER.len()..end, 0);
        Some((len, way.to, kind))
    }

    /// What happened to the pair, then what happened to its keys since the host was told last.
    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.pair.events.pop_front() {
            return Some(event);
        }
        for at in 0..self.pair.keys.len() {
            let key = self.pair.keys.get_mut(at)?;
            let sessions = &self.pair.config.settings().sessions;
            let name = key.name(sessions.get(usize::from(key.session))?);
            if key.gone {
                let told = key.told.is_some();
                // In order: the newest is the last.
                self.pair.keys.remove(at);
                if told {
                    return Some(Event::KeyRemoved(name));
                }
                return self.next_event();
            }
            if key.told != Some(key.state) {
                // A key that was never told of is installed first, whatever it is by now.
                let next = key.told.map_or(RowState::Pending, |_| key.state);
                key.told = Some(next);
                return Some(match next {
                    RowState::Pending => Event::KeyInstalled(name),
                    RowState::Active => Event::KeyActivated(name),
                    RowState::Retiring => Event::KeyRetired(name),
                });
            }
        }
        None
    }

    /// When to come back, and what for: strictly later than now.
    fn next_deadline(&self) -> Option<(Instant, Timer)> {
        let mut next: Option<(Instant, Timer)> = None;
        let mut at = |time: Option<Instant>, timer: Timer| {
            if let Some(time) = time
                && next.is_none_or(|(sooner, _)| time < sooner)
            {
                next = Some((time, timer));
            }
        };
        let pair = &self.pair;
        if pair.started {
            at(Some(pair.cookie_turn), Timer::Cookie);
            if pair.config.settings().initiate && !self.is_up() {
                at(pair.retry, Timer::Start);
            }
        }
        at(pair.attempt.as_ref().map(start::Attempt::next), Timer::Start);
        at(
            pair.half_open.iter().map(|known| known.deadline).min(),
            Timer::HalfOpen,
        );
        let requests = pair.sas.iter().filter_map(|sa| sa.request.as_ref());
        at(
            requests.map(|request| request.repeat.next).min(),
            Timer::Retransmit,
        );
        for sa in &pair.sas {
            match sa.standing {
                Standing::Replaced(sa::Ender::Peer(time)) | Standing::Ended(time) => {
                    at(Some(time), Timer::IkeSa);
                }
                Standing::Awaited if self.current().is_none() && sa.request.is_none() => {
                    at(Some(sa.made.after(LINGER)), Timer::IkeSa);
                }
                Standing::Live | Standing::Awaited | Standing::Replaced(sa::Ender::Us) => {}
            }
        }
        if let Some(current) = self.current().filter(|_| !pair.stopping) {
            // While a request is under way nothing else can be asked: its answer, or its end, brings the next poll.
            let free = pair.sas.get(current).is_some_and(|sa| sa.request.is_none());
            if free {
                at(self.probe_due(current), Timer::Liveness);
                let asks = |time: Option<Instant>| time.map(|time| time.max(pair.put_off));
                // What waits for room is woken by what makes it: the end of an IKE SA or of a key.
                if self.is_roomy() {
                    at(asks(self.rekey_due(current)), Timer::IkeSa);
                }
                let sessions = pair.config.settings().sessions.len();
                for session in (0..sessions).filter(|_| !self.keys_full()) {
                    let due = u8::try_from(session)
                        .ok()
                        .and_then(|session| self.key_due(session));
                    at(asks(due), Timer::Key);
                }
            }
        }
        at(self.next_ending(), Timer::Key);
        let soonest = self.now.after(Duration::from_millis(1));
        next.map(|(time, timer)| (time.max(soonest), timer))
    }
}

/// Takes the marker away. No IKE message begins like that and has its own length in its Length field as well.
fn unmark(datagram: &mut [u8]) -> (bool, &mut [u8]) {
    let marked = datagram
        .split_at_checked(MARKER.len())
        .is_some_and(|(marker, rest)| marker == MARKER && Header::parse(rest).is_ok());
    if marked {
        (true, datagram.get_mut(MARKER.len()..).unwrap_or_default())
    } else {
        (false, datagram)
    }
}

impl<C, R> core::fmt::Debug for Pair<C, R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pair")
            .field("peer", &self.state.config.settings().peer)
            .finish_non_exhaustive()
    }
}
