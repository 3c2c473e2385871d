//! What a pair is told before it starts. A [`Config`] can only be made valid.

use core::{net::SocketAddr, ops::RangeInclusive};

use crate::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    error::ConfigError,
    identity::Identity,
    time::Duration,
    wire::{numbers, ts::Selector},
};

/// The UDP port of IKEv2, the default (PROTOCOL.md section 9).
pub const DEFAULT_PORT: u16 = 500;
/// The most sessions that one pair keys.
pub const MAX_SESSIONS: usize = 4;

/// One session of a routing protocol between the two: a connection, or what else one key serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The routing protocol.
    pub protocol: RoutingProtocol,
    /// What its packets are authenticated with.
    pub algorithm: RoutingAlgorithm,
    /// This end of the session. Both ends' configurations name the same two, each its own first.
    pub local: Selector,
    /// The other end.
    pub remote: Selector,
}

/// When a responder asks an initiator for a cookie (RFC 7296 section 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cookies {
    /// From the moment that half of the half-open exchanges are taken.
    #[default]
    UnderLoad,
    /// Always: one round more for each start, and never any state for a forged source address.
    Always,
}

/// What a pair is told. Change fields and hand it to [`Config::new`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// This router's identity.
    pub identity: Identity,
    /// The peer's. Whoever proves another one is refused.
    pub peer: Identity,
    /// Where this router sends from and receives.
    pub address: SocketAddr,
    /// Where the peer does.
    pub remote: SocketAddr,
    /// Begin the initial exchange, at once and again after every loss. One side has to; both may. Without it the pair
    /// answers only.
    pub initiate: bool,
    /// Drop what arrives with a TTL or hop limit other than 255 (RFC 5082). Off where the peer is more than one hop away,
    /// or is software that does not send 255, as common IKE daemons do not.
    pub gtsm: bool,
    /// When the peer is asked for a cookie.
    pub cookies: Cookies,
    /// What is keyed; none makes an IKE SA alone. 4 at most.
    pub sessions: heapless::Vec<Session, MAX_SESSIONS>,
    /// What key ids this router receives with, at least 8 for each session. Default 1 to 255: TCP-AO's have eight bits.
    pub key_ids: RangeInclusive<u16>,
    /// How long a session's key is used before the next. 10 s to 30 days, default 1 h.
    pub lifetime: Duration,
    /// How long an IKE SA is used before the next. 10 s to 30 days, default 24 h.
    pub ike_lifetime: Duration,
    /// How long a key that is sent with no more is still accepted. 1 s to 1 h, default 30 s.
    pub dtd: Duration,
    /// After so much silence the peer is asked whether it lives. 1 s to 1 h, default 10 s.
    pub liveness: Duration,
    /// The wait for the first answer to a request; it doubles each time. 50 ms to 10 s, default 500 ms.
    pub retransmit: Duration,
    /// How often a request is sent until the peer counts as lost. 2 to 16, default 5.
    pub tries: u8,
}

impl Settings {
    /// The defaults for `identity` at `address` with `peer` at `remote`: it initiates, with GTSM, and keys nothing yet.
    #[must_use]
    pub fn new(identity: Identity, address: SocketAddr, peer: Identity, remote: SocketAddr) -> Self {
        Self {
            identity,
            peer,
            address,
            remote,
            initiate: true,
            gtsm: true,
            cookies: Cookies::UnderLoad,
            sessions: heapless::Vec::new(),
            key_ids: 1..=255,
            lifetime: Duration::from_secs(3600),
            ike_lifetime: Duration::from_secs(86_400),
            dtd: Duration::from_secs(30),
            liveness: Duration::from_secs(10),
            retransmit: Duration::from_millis(500),
            tries: 5,
        }
    }
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub struct Config(Settings);

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// What is wrong, by its field.
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let day = 86_400_000;
        for (field, span, min, max) in [
            ("lifetime", settings.lifetime, 10_000, 30 * day),
            ("ike_lifetime", settings.ike_lifetime, 10_000, 30 * day),
            ("dtd", settings.dtd, 1_000, 3_600_000),
            ("liveness", settings.liveness, 1_000, 3_600_000),
            ("retransmit", settings.retransmit, 50, 10_000),
        ] {
            check(field, span.as_millis(), min, max)?;
        }
        check("tries", settings.tries.into(), 2, 16)?;
        for address in [settings.address, settings.remote] {
            let ip = address.ip();
            if ip.is_multicast() || ip.is_unspecified() || address.port() == 0 {
                return Err(ConfigError::UnicastAddress);
            }
        }
        if settings.address.is_ipv4() != settings.remote.is_ipv4() || settings.address == settings.remote {
            return Err(ConfigError::UnicastAddress);
        }
        if settings.identity == settings.peer {
            return Err(ConfigError::PeerIdentity);
        }
        let (first, last) = (*settings.key_ids.start(), *settings.key_ids.end());
        let narrowest = settings
            .sessions
            .iter()
            .map(|session| session.protocol.max_key_id());
        // Eight for each session: those in use, and those that rest before they are given again.
        let wanted = u16::try_from(settings.sessions.len().max(1))
            .unwrap_or(1)
            .saturating_mul(8);
        let given = last.checked_sub(first).map_or(0, |span| span.saturating_add(1));
        if first == 0 || given < wanted || narrowest.min().is_some_and(|max| last > max) {
            return Err(ConfigError::KeyIds);
        }
        for (at, session) in settings.sessions.iter().enumerate() {
            if !session.protocol.takes(session.algorithm) {
                return Err(ConfigError::Algorithm {
                    protocol: session.protocol.code(),
                    algorithm: session.algorithm.code(),
                });
            }
            let mut others = settings.sessions.iter().skip(at.saturating_add(1));
            if others.any(|other| names(other) == names(session)) {
                return Err(ConfigError::Protocols);
            }
        }
        Ok(Self(settings))
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.0
    }
}

/// By what a session is known on the wire.
fn names(session: &Session) -> (RoutingProtocol, Selector, Selector) {
    (session.protocol, session.local, session.remote)
}

impl Session {
    pub(super) const fn wire_protocol(&self) -> numbers::RoutingProtocol {
        numbers::RoutingProtocol(self.protocol.code())
    }

    pub(super) const fn wire_algorithm(&self) -> numbers::Algorithm {
        numbers::Algorithm(self.algorithm.code())
    }
}

const fn check(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if value < min || value > max {
        Err(ConfigError::OutOfRange {
            field,
            min,
            max,
            value,
        })
    } else {
        Ok(())
    }
}
