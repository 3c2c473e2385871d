//! A pair on a real socket, for any event loop: one peer, one UDP socket (PROTOCOL.md section 9).
//!
//! It has no thread and blocks nowhere. A loop that hosts it waits until [`fd`](PairHost::fd) is readable or
//! [`timeout`](PairHost::timeout) has passed, then calls [`turn`](PairHost::turn); [`run_for`](PairHost::run_for) is such a loop for
//! programs without one.

use std::{
    io,
    net::SocketAddr,
    os::fd::BorrowedFd,
    time::{Duration as StdDuration, Instant as StdInstant},
};

use karp_core::{
    error::{CommandError, ConfigError},
    identity::Credentials,
    io::{Handled, MessageKind},
    pairwise::{Command, Config, Event, Output, Pair},
};
use rand_core::CryptoRng;

use crate::{
    clock,
    entropy::OsEntropy,
    socket::{Incoming, PeerSocket, SocketError},
};

/// The most datagrams that one [`PairHost::turn`] reads, so that a flood holds up neither deadlines nor the host's other work.
pub const BUDGET: usize = 64;
/// The most outputs of the pair in one go. It has fewer at a time.
const MAX_OUTPUTS: usize = 1000;
/// Longer than any UDP datagram.
const INPUT: usize = 1 << 16;
/// As long as any datagram of a pair (section 2).
const OUTPUT: usize = 1232;

/// Why a pair could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The socket.
    Socket(SocketError),
    /// The configuration and the credentials do not fit.
    Config(ConfigError),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket(error) => Some(error),
            Self::Config(error) => Some(error),
        }
    }
}

/// What happened in a [`PairHost::turn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice<'a> {
    /// Something happened to the pair.
    Event(Event),
    /// A datagram went out.
    Sent {
        /// What it is.
        kind: MessageKind,
        /// Where to.
        to: SocketAddr,
        /// Its octets.
        octets: &'a [u8],
    },
    /// A datagram came in.
    Received {
        /// Where from.
        from: SocketAddr,
        /// Its length in octets.
        len: usize,
        /// What became of it.
        handled: Handled,
    },
}

/// A pair and its socket.
pub struct PairHost<C: Credentials, R: CryptoRng = OsEntropy> {
    pair: Pair<C, R>,
    socket: PeerSocket,
    input: Vec<u8>,
    next: Option<karp_core::Instant>,
}

impl<C: Credentials> PairHost<C> {
    /// Opens the socket at the configured address, with the operating system's randomness. Start the pair by a command.
    ///
    /// # Errors
    /// A port in use or one that needs a privilege, an address that is not there; no credential for the peer.
    pub fn open(config: Config, credentials: C) -> Result<Self, OpenError> {
        Self::with_entropy(config, credentials, OsEntropy)
    }
}

impl<C: Credentials, R: CryptoRng> PairHost<C, R> {
    /// As [`PairHost::open`], with another source of randomness.
    ///
    /// # Errors
    /// As there.
    pub fn with_entropy(config: Config, credentials: C, entropy: R) -> Result<Self, OpenError> {
        let socket = PeerSocket::open(config.settings().address).map_err(OpenError::Socket)?;
        let pair = Pair::new(config, credentials, entropy, clock::now()).map_err(OpenError::Config)?;
        Ok(Self {
            pair,
            socket,
            input: vec![0; INPUT],
            next: None,
        })
    }

    /// The pair, to look at.
    #[must_use]
    pub const fn pair(&self) -> &Pair<C, R> {
        &self.pair
    }

    /// Hands in a call of the host. What it leads to goes out at the next [`turn`](Self::turn).
    ///
    /// # Errors
    /// Why it cannot be done.
    pub fn command(&mut self, command: Command) -> Result<(), CommandError> {
        self.next = Some(clock::now());
        self.pair.handle_command(clock::now(), command)
    }

    /// To wait for input on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    /// How long to wait at most before the next [`turn`](Self::turn).
    #[must_use]
    pub fn timeout(&self) -> StdDuration {
        self.next.map_or(StdDuration::from_secs(3600), clock::until)
    }

    /// Reads what has come, does what is due and sends what is owed. Never blocks. Datagrams that the system does not take
    /// are as good as lost, and are sent again in their time.
    ///
    /// # Errors
    /// If the socket cannot be read, which it can on a healthy system.
    pub fn turn(&mut self, mut notices: impl FnMut(Notice<'_>)) -> io::Result<()> {
        self.drain(&mut notices);
        for _ in 0..BUDGET {
            match self.socket.receive(&mut self.input) {
                Ok(Incoming::Datagram { len, recv }) => {
                    let datagram = self.input.get_mut(..len).unwrap_or_default();
                    let handled = self.pair.handle_datagram(clock::now(), recv, datagram);
                    notices(Notice::Received {
                        from: recv.from,
                        len,
                        handled,
                    });
                    self.drain(&mut notices);
                }
                Ok(Incoming::Skipped(_)) => {}
                Ok(Incoming::Empty) => break,
                // An ICMP error that an earlier datagram met: no evidence of anything (RFC 7296 section 2.4).
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Turns until `done` says so or the time is over, and tells which.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run_for(
        &mut self,
        at_most: StdDuration,
        mut notices: impl FnMut(Notice<'_>),
        mut done: impl FnMut(&Pair<C, R>) -> bool,
    ) -> io::Result<bool> {
        let end = StdInstant::now() + at_most;
        loop {
            self.turn(&mut notices)?;
            if done(&self.pair) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(StdInstant::now());
            if left.is_zero() {
                return Ok(false);
            }
            crate::driver::wait(&[self.fd()], self.timeout().min(left))?;
        }
    }

    fn drain(&mut self, notices: &mut impl FnMut(Notice<'_>)) {
        let mut buffer = [0; OUTPUT];
        for _ in 0..MAX_OUTPUTS {
            match self.pair.poll(clock::now(), &mut buffer) {
                Output::Transmit { len, to, kind } => {
                    let octets = buffer.get(..len).unwrap_or_default();
                    if let Err(error) = self.socket.send(octets, to) {
                        tracing::debug!(%error, %to, "a datagram was not sent");
                    }
                    notices(Notice::Sent { kind, to, octets });
                }
                Output::Event(event) => notices(Notice::Event(event)),
                Output::Idle { next } => {
                    self.next = next.map(|(at, _)| at);
                    return;
                }
            }
        }
    }
}

impl<C: Credentials, R: CryptoRng> std::fmt::Debug for PairHost<C, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairHost")
            .field("pair", &self.pair)
            .finish_non_exhaustive()
    }
}
