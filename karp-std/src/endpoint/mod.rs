//! One router's part in one group on real sockets, for any event loop.
//!
//! An [`Endpoint`] is an engine with its two sockets. It has no thread and blocks nowhere. A loop that hosts it waits
//! until one of [`fds`](Endpoint::fds) is readable or [`next_deadline`](Endpoint::next_deadline) has come, then calls
//! [`on_readable`](Endpoint::on_readable) or [`on_deadline`](Endpoint::on_deadline). Each call hands what happened to
//! the closure that came with it.
//!
//! ```no_run
//! use karp_core::command::Command;
//! use karp_std::{config::Configuration, driver, endpoint::{Endpoint, Notice}};
//!
//! let configuration = Configuration::load("karp.toml".as_ref())?;
//! let mut endpoint = Endpoint::open(configuration)?;
//! endpoint.command(Command::Join)?;
//! let mut notices = |notice: Notice<'_>| println!("{notice:?}");
//! loop {
//!     driver::wait(&endpoint.fds(), endpoint.timeout())?;
//!     endpoint.on_deadline(&mut notices);
//!     let _ = endpoint.on_readable(&mut notices);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`driver`](crate::driver) has such a loop with a thread, `karp_std::tokio` one for tokio.

mod log;
mod notice;

use std::{fmt, io, net::SocketAddr, os::fd::BorrowedFd, time::Duration as StdDuration};

use karp_core::{
    Engine,
    command::Command,
    config::{Config, Settings},
    error::{CommandError, ConfigError},
    identity::{Credentials, Identity},
    io::{Handled, MessageKind, Output},
    storage::Storage,
    time::{Duration, Instant},
};
use nix::libc;
use rand_core::CryptoRng;

pub use self::notice::{Notice, SocketCounters};
use crate::{
    clock,
    config::Configuration,
    credentials::Store,
    entropy::OsEntropy,
    heap::Heap,
    loss::Loss,
    socket::{Incoming, Interface, Skip, SocketError, Sockets, Which},
};

/// The most datagrams that one call of [`Endpoint::on_readable`] reads, so that a flood holds up neither deadlines nor
/// the host's other work.
pub const BUDGET: usize = 64;

/// The most outputs of the engine in one go. It has fewer at a time; this keeps a mistake there from holding the host.
const MAX_OUTPUTS: usize = 10_000;
/// Longer than any UDP datagram.
const INPUT: usize = 1 << 16;
/// Longer than any datagram of the engine (PROTOCOL.md section 2: 1232 octets).
const OUTPUT: usize = 2048;
/// Between two attempts to get back on a lost link.
const RETRY: Duration = Duration::from_secs(1);
/// A node hears what it sends to the group. If it did not for so long, and so often, the membership is gone.
const DEAF: (Duration, u32) = (Duration::from_secs(3), 4);

/// Whether there may be more to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "an edge-triggered event loop must call again at More"]
pub enum Progress {
    /// Both sockets were read empty.
    Idle,
    /// The budget is spent: call again once everything else had its turn.
    More,
}

/// Why an endpoint could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// A socket could not be had.
    Socket(SocketError),
    /// The engine refuses its settings.
    Config(ConfigError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket(error) => error.source.as_ref().map(|error| error as _),
            Self::Config(_) => None,
        }
    }
}

impl From<SocketError> for OpenError {
    fn from(error: SocketError) -> Self {
        Self::Socket(error)
    }
}

impl From<ConfigError> for OpenError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Whether the group can be reached.
enum Link {
    Up,
    Lost { retry: Instant },
}

/// What was sent to the group and not heard yet.
#[derive(Default)]
struct Unheard {
    since: Option<Instant>,
    sent: u32,
}

/// An engine with its sockets, see the [module](self).
pub struct Endpoint<C: Credentials = Store, R: CryptoRng = OsEntropy, S: Storage = Heap> {
    engine: Engine<C, R, S>,
    sockets: Sockets,
    next: Option<Instant>,
    link: Link,
    unheard: Unheard,
    loss: Option<Loss>,
    counters: SocketCounters,
    drops: log::DropLog,
    input: Box<[u8]>,
    output: Box<[u8]>,
}

impl Endpoint {
    /// Opens the sockets and makes the engine that a configuration describes. It is not part of the group before
    /// [`Command::Join`].
    ///
    /// # Errors
    /// A socket that cannot be had, by the field that it comes from.
    pub fn open(configuration: Configuration) -> Result<Self, OpenError> {
        let Configuration {
            settings,
            interface,
            credentials,
            storage,
        } = configuration;
        Self::with_parts(
            settings,
            interface.as_deref(),
            credentials,
            OsEntropy,
            Heap::new(&storage),
        )
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> Endpoint<C, R, S> {
    /// Opens the sockets and makes an engine of the parts given. A port 0 in `settings.address` lets the system choose
    /// one. `interface` names the interface where several have the address.
    ///
    /// # Errors
    /// A socket that cannot be had, by the field that it comes from, or settings that the engine refuses.
    pub fn with_parts(
        mut settings: Settings,
        interface: Option<&str>,
        credentials: C,
        entropy: R,
        storage: S,
    ) -> Result<Self, OpenError> {
        let sockets = Sockets::open(settings.address, settings.multicast, interface)?;
        settings.address = sockets.local();
        let now = clock::now();
        let engine = Engine::new(Config::new(settings)?, credentials, entropy, storage, now)?;
        Ok(Self {
            engine,
            sockets,
            next: Some(now),
            link: Link::Up,
            unheard: Unheard::default(),
            loss: None,
            counters: SocketCounters::default(),
            drops: log::DropLog::default(),
            input: vec![0; INPUT].into_boxed_slice(),
            output: vec![0; OUTPUT].into_boxed_slice(),
        })
    }

    /// The descriptors of the unicast and the multicast socket, to wait on for input. They stay the same for as long
    /// as [`socket_epoch`](Self::socket_epoch) does.
    #[must_use]
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.sockets.fd(Which::Unicast), self.sockets.fd(Which::Multicast)]
    }

    /// Rises when a socket was replaced: a loop that registers descriptors registers them anew. Happens only with IPv6,
    /// when the interface went away and was made anew.
    #[must_use]
    pub const fn socket_epoch(&self) -> u32 {
        self.sockets.epoch()
    }

    /// When to call [`on_deadline`](Self::on_deadline) at the latest; `None` while nothing runs. Ask again after every
    /// call of the endpoint.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.link {
            Link::Up => self.next,
            Link::Lost { retry } => Some(self.next.map_or(retry, |next| next.min(retry))),
        }
    }

    /// How long to wait for input at the most: until the next deadline, and no longer than a second, because a wait
    /// does not count the time that the machine sleeps and a woken node must learn soon how late it is.
    #[must_use]
    pub fn timeout(&self) -> StdDuration {
        let longest = StdDuration::from_secs(1);
        self.next_deadline()
            .map_or(longest, |at| clock::until(at).min(longest))
    }

    /// Gives the engine a command. What it leads to happens in the next call of [`on_deadline`](Self::on_deadline),
    /// which is due at once.
    ///
    /// # Errors
    /// The engine's refusal; nothing changed then.
    pub fn command(&mut self, command: Command<'_>) -> Result<(), CommandError> {
        let now = clock::now();
        self.engine.handle_command(now, command)?;
        self.next = Some(now);
        Ok(())
    }

    /// Does what is due. Harmless if nothing is.
    pub fn on_deadline(&mut self, notices: &mut dyn FnMut(Notice<'_>)) {
        let now = clock::now();
        if let Link::Lost { retry } = &mut self.link
            && *retry <= now
        {
            *retry = now.after(RETRY);
            self.rejoin();
        }
        self.drain_if_due(now, notices);
    }

    /// Reads what came in, at most [`BUDGET`] datagrams, one to the engine at a time, and sends what the engine
    /// answers. Deadlines that come in between are kept. Harmless if nothing came.
    pub fn on_readable(&mut self, notices: &mut dyn FnMut(Notice<'_>)) -> Progress {
        // A node that slept must know it before it reads what queued up meanwhile (PROTOCOL.md section 5.3).
        self.on_deadline(notices);
        let mut sockets = [(Which::Unicast, true), (Which::Multicast, true)];
        let mut reads = 0;
        while sockets.iter().any(|(_, more)| *more) {
            // In turns: neither may starve the other.
            for (which, more) in sockets.iter_mut().filter(|(_, more)| *more) {
                if reads == BUDGET {
                    return Progress::More;
                }
                reads += 1;
                *more = self.read(*which, notices);
            }
        }
        Progress::Idle
    }

    /// The engine: role, key table, peers, counters.
    #[must_use]
    pub const fn engine(&self) -> &Engine<C, R, S> {
        &self.engine
    }

    /// What happened to the sockets.
    #[must_use]
    pub const fn counters(&self) -> &SocketCounters {
        &self.counters
    }

    /// The address and port that this node sends from and takes requests at.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.sockets.local()
    }

    /// The interface in use.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        self.sockets.interface()
    }

    /// From now on loses `percent` of a hundred incoming datagrams at random, to show and test what loss does; 0 ends
    /// it. The same seed loses the same datagrams of the same sequence.
    pub fn set_loss(&mut self, percent: u8, seed: u64) {
        self.loss = (percent > 0).then(|| Loss::new(percent, seed));
    }

    /// One read of one socket; whether another may give something.
    fn read(&mut self, which: Which, notices: &mut dyn FnMut(Notice<'_>)) -> bool {
        let (len, recv) = match self.sockets.receive(which, &mut self.input) {
            Ok(Incoming::Datagram { len, recv }) => (len, recv),
            Ok(Incoming::Skipped(Skip::TooLong)) => {
                self.counters.too_long += 1;
                return true;
            }
            Ok(Incoming::Skipped(Skip::OtherInterface)) => {
                self.counters.other_interface += 1;
                return true;
            }
            Ok(Incoming::Empty) => return false,
            Err(error) => {
                // An error of an earlier datagram that the system reports here; reading it clears it.
                self.counters.receive_failed += 1;
                tracing::debug!(node = %self.identity(), %error, "reading failed");
                return true;
            }
        };
        self.counters.received += 1;
        self.counters.received_octets += octets(len);
        if which == Which::Multicast && recv.from == self.sockets.local() {
            self.unheard = Unheard::default();
        }
        if self.loss.as_mut().is_some_and(Loss::drops) {
            self.counters.lost_on_purpose += 1;
            return true;
        }
        let now = clock::now();
        let datagram = self.input.get_mut(..len).unwrap_or_default();
        match self.engine.handle_datagram(now, recv, datagram) {
            Handled::Accepted => {
                notices(Notice::Received {
                    from: recv.from,
                    octets: len,
                });
                self.drain(now, notices);
            }
            Handled::Dropped(reason) => {
                let total = self.engine.counters().dropped(reason);
                self.drops.note(
                    now,
                    &self.engine.config().settings().identity,
                    reason,
                    recv.from,
                    total,
                );
                notices(Notice::Dropped {
                    reason,
                    from: recv.from,
                    octets: len,
                });
                self.drain_if_due(now, notices);
            }
        }
        true
    }

    fn drain_if_due(&mut self, now: Instant, notices: &mut dyn FnMut(Notice<'_>)) {
        if self.next.is_some_and(|next| next <= now) {
            self.drain(now, notices);
        }
    }

    /// Polls the engine until it has nothing more to say.
    fn drain(&mut self, now: Instant, notices: &mut dyn FnMut(Notice<'_>)) {
        for _ in 0..MAX_OUTPUTS {
            match self.engine.poll(now, &mut self.output) {
                Output::Transmit { len, to, kind } => self.transmit(now, len, to, kind, notices),
                Output::Event(event) => {
                    log::event(self.identity(), &event);
                    notices(Notice::Event(&event));
                }
                Output::Idle { next } => {
                    self.next = next.map(|(at, _)| at);
                    return;
                }
            }
        }
        tracing::error!(node = %self.identity(), "the engine does not come to rest");
        self.next = Some(now.after(Duration::from_millis(1)));
    }

    fn transmit(
        &mut self,
        now: Instant,
        len: usize,
        to: SocketAddr,
        kind: MessageKind,
        notices: &mut dyn FnMut(Notice<'_>),
    ) {
        let datagram = self.output.get(..len).unwrap_or_default();
        let to_group = to.ip().is_multicast();
        match self.sockets.send(datagram, to) {
            Ok(()) => {
                self.counters.sent += 1;
                self.counters.sent_octets += octets(len);
                notices(Notice::Sent {
                    kind,
                    to,
                    octets: len,
                });
                if to_group {
                    self.sent_to_group(now, notices);
                }
            }
            Err(error) => {
                self.counters.send_failed += 1;
                tracing::debug!(node = %self.identity(), kind = kind.name(), %to, %error, "sending failed");
                notices(Notice::SendFailed {
                    kind,
                    to,
                    error: &error,
                });
                // To a single address a hint may have led us, and it may lead nowhere.
                if to_group && is_link_error(&error) {
                    self.lost_link(now, error, notices);
                }
            }
        }
    }

    fn sent_to_group(&mut self, now: Instant, notices: &mut dyn FnMut(Notice<'_>)) {
        if matches!(self.link, Link::Lost { .. }) {
            self.link = Link::Up;
            tracing::info!(node = %self.identity(), "back on the link");
            notices(Notice::LinkRestored);
        }
        let (span, times) = DEAF;
        let since = *self.unheard.since.get_or_insert(now);
        self.unheard.sent = self.unheard.sent.saturating_add(1);
        if self.unheard.sent > times && now.since(since) > span {
            tracing::warn!(node = %self.identity(), "does not hear what it sends to the group; joining anew");
            self.rejoin();
        }
    }

    fn lost_link(&mut self, now: Instant, error: io::Error, notices: &mut dyn FnMut(Notice<'_>)) {
        if matches!(self.link, Link::Lost { .. }) {
            return;
        }
        self.link = Link::Lost {
            retry: now.after(RETRY),
        };
        self.counters.link_losses += 1;
        let error = self.sockets.diagnose(error);
        tracing::warn!(node = %self.identity(), %error, "lost the link");
        notices(Notice::LinkLost { error: &error });
    }

    fn rejoin(&mut self) {
        self.unheard = Unheard::default();
        match self.sockets.rejoin() {
            Ok(()) => self.counters.rejoins += 1,
            Err(error) => tracing::debug!(node = %self.identity(), %error, "cannot join the group anew"),
        }
    }

    fn identity(&self) -> &Identity {
        &self.engine.config().settings().identity
    }
}

/// Where it is, and what it is.
impl<C: Credentials, R: CryptoRng, S: Storage> fmt::Debug for Endpoint<C, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("identity", self.identity())
            .field("role", &self.engine.role())
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

fn octets(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Whether it is the interface, and not a full buffer or a packet filter, that keeps a datagram from the group.
fn is_link_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::ENODEV
                | libc::ENXIO
                | libc::EADDRNOTAVAIL
                | libc::EHOSTUNREACH
                | libc::EINVAL
        )
    )
}
