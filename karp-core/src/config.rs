//! What a node is told before it starts. A [`Config`] can only be made valid: [`Config::new`] checks every field and
//! every message's size, so that the engine never meets a bad one.

use core::net::SocketAddr;

use zeroize::Zeroize as _;

use crate::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    crypto::Secret,
    error::ConfigError,
    identity::{Identity, MAX_IDENTITY},
    time::Duration,
    wire::{self, notify::MAX_EVICTED, size},
};

/// The most protocols that one group can key (PROTOCOL.md section 6).
pub const MAX_PROTOCOLS: usize = 8;
/// The most manual keys that a node can have beside automatic ones.
pub const MAX_MANUAL: usize = 8;
/// The most keys that a host can hand in to resume with.
pub const MAX_RESUMED: usize = 8;
/// The longest group name in octets.
pub const MAX_GROUP_NAME: usize = 64;

/// The UDP port of G-IKEv2, the default for unicast and multicast (PROTOCOL.md section 2).
pub const DEFAULT_PORT: u16 = 848;

/// One routing protocol that the group keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtocolPolicy {
    /// The protocol.
    pub protocol: RoutingProtocol,
    /// The algorithm its packets are authenticated with.
    pub algorithm: RoutingAlgorithm,
    /// The protocol keeps its replay state over sessions and reboots by itself (RFC 7474, RFC 7602, RFC 8967): it
    /// needs no rekey for a new session.
    pub self_protecting: bool,
}

/// What happens to the last key when its lifetime ends and no GCKS is to be had (PROTOCOL.md section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expiry {
    /// The last key lives on and an alarm is raised (RFC 2328 appendix D.3).
    #[default]
    KeepLast,
    /// The last key goes at its time, and with it the adjacencies.
    FailClosed,
}

/// A key that operators typed in: a local row of the key table that never goes on the wire (PROTOCOL.md section 7).
pub struct ManualKey {
    /// The protocol that it keys.
    pub protocol: RoutingProtocol,
    /// The algorithm that it is used with.
    pub algorithm: RoutingAlgorithm,
    /// Its id in the protocol's packets.
    pub id: u16,
    /// Its octets, 1 to 64.
    pub secret: heapless::Vec<u8, 64>,
}

/// Wiped: it is a secret like others.
impl Drop for ManualKey {
    fn drop(&mut self) {
        self.secret.as_mut_slice().zeroize();
    }
}

/// How far a traffic key has come at a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum KeyUse {
    /// Accepted, and never sent with.
    Unsent,
    /// Sent with no more, and still accepted. The node never goes back to it.
    Stopped,
    /// The one to send with.
    Sending,
}

/// A traffic key that a host kept over a restart of its key management, while its routing protocols went on running
/// with it and kept their replay state. [`Engine::resumable_keys`](crate::Engine::resumable_keys) gives them.
///
/// Hand in only what the routing protocols have had without a break since it was installed: a key that they forgot
/// counts as new to them, and must not be shown to the group (PROTOCOL.md sections 4 and 7).
pub struct ResumedKey {
    /// The key id.
    pub id: u16,
    /// The traffic key.
    pub key: Secret<32>,
    /// How far it has come. At most one is [`KeyUse::Sending`]; of several the last in the list counts.
    pub usage: KeyUse,
    /// How long it may still live.
    pub lifetime: Duration,
    /// What it keys.
    pub protocols: heapless::Vec<(RoutingProtocol, RoutingAlgorithm), MAX_PROTOCOLS>,
}

/// An identity that was put out of the group, for a host that keeps it over a restart of its key management
/// (PROTOCOL.md section 7). [`Engine::evictions`](crate::Engine::evictions) gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Eviction {
    /// The first 16 octets of SHA-256 over the identity's ID payload body, as EVICTED has them (section 4).
    pub digest: [u8; 16],
    /// How long it is still refused.
    pub remaining: Duration,
}

/// Every field that a node can be told. Start from [`Settings::new`], which fills in the defaults of PROTOCOL.md
/// section 11, and hand it to [`Config::new`].
pub struct Settings {
    /// The group's name, 1 to 64 octets, the same on every router of the link.
    pub group: heapless::String<MAX_GROUP_NAME>,
    /// Who this node is.
    pub identity: Identity,
    /// The election's tie breaker after priority; a 32-bit router id fills the low half.
    pub router_id: u64,
    /// The election priority; 0 never serves.
    pub priority: u16,
    /// A better-ranked node takes over a serving GCKS by a handoff.
    pub preempt: bool,
    /// The unicast address and port that this node sends from and takes requests at, as others see it.
    pub address: SocketAddr,
    /// The group's multicast address and port.
    pub multicast: SocketAddr,
    /// Drop what does not come with TTL or hop limit 255 (RFC 5082).
    pub gtsm: bool,
    /// Hello interval, 50 ms to 10 s.
    pub hello: Duration,
    /// Hold multiplier, 2 to 255.
    pub hold_multiplier: u8,
    /// First retransmission of a request, 50 ms to 10 s; it doubles.
    pub retransmit: Duration,
    /// How often a request is sent in all, 1 to 10.
    pub tries: u8,
    /// Minimum time between rollovers, 0 s to 1 h.
    pub min_rekey: Duration,
    /// Lifetime of a traffic key, 10 s to 30 days; short ones are for tests and demonstrations.
    pub key_lifetime: Duration,
    /// Lifetime of a Rekey SA, 10 s to 1 year.
    pub rekey_sa_lifetime: Duration,
    /// How long a replaced key is still accepted (GWP_DTD), 1 s to 65535 s.
    pub dtd: Duration,
    /// The first and the last key id that may be given.
    pub key_ids: (u16, u16),
    /// What the group keys. Used at the node in office; each key carries its list to the others.
    pub protocols: heapless::Vec<ProtocolPolicy, MAX_PROTOCOLS>,
    /// What happens to the last key at the end of its life.
    pub expiry: Expiry,
    /// The GCKS signs its announcements and updates with a key of its term.
    pub controller_signatures: bool,
    /// All protocols of the group keep replay state over a reboot, so a router that rebooted is given the keys in
    /// force (PROTOCOL.md section 7). Gives up promise 8.
    pub reboot_exempt: bool,
    /// The host confirms installations with [`Command::Installed`](crate::command::Command::Installed). Without it
    /// the host is taken to read the key table directly.
    pub confirm_installs: bool,
    /// Manual keys that the routers use already.
    pub manual_keys: heapless::Vec<ManualKey, MAX_MANUAL>,
    /// Keys to resume with.
    pub resumed_keys: heapless::Vec<ResumedKey, MAX_RESUMED>,
    /// Who was evicted before a restart of this host's key management.
    pub evictions: heapless::Vec<Eviction, MAX_EVICTED>,
}

impl Settings {
    /// The defaults of PROTOCOL.md section 11 for `identity` at `address`, keying OSPFv2 with HMAC-SHA-256.
    ///
    /// `group` is cut to 64 octets by the caller; a longer one makes it empty, which [`Config::new`] refuses.
    #[must_use]
    pub fn new(group: &str, identity: Identity, address: SocketAddr) -> Self {
        use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
        let multicast = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 254)),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114)),
        };
        let mut protocols = heapless::Vec::new();
        // Eight places and one entry: the push cannot fail.
        let _ = protocols.push(ProtocolPolicy {
            protocol: RoutingProtocol::Ospfv2,
            algorithm: RoutingAlgorithm::HmacSha256,
            self_protecting: false,
        });
        Self {
            group: heapless::String::try_from(group).unwrap_or_default(),
            identity,
            router_id: 0,
            priority: 100,
            preempt: false,
            address,
            multicast: SocketAddr::new(multicast, DEFAULT_PORT),
            gtsm: true,
            hello: Duration::from_secs(1),
            hold_multiplier: 4,
            retransmit: Duration::from_millis(500),
            tries: 5,
            min_rekey: Duration::from_secs(5),
            key_lifetime: Duration::from_secs(3600),
            rekey_sa_lifetime: Duration::from_secs(24 * 3600),
            dtd: Duration::from_secs(30),
            key_ids: (1, 255),
            protocols,
            expiry: Expiry::KeepLast,
            controller_signatures: true,
            reboot_exempt: false,
            confirm_installs: false,
            manual_keys: heapless::Vec::new(),
            resumed_keys: heapless::Vec::new(),
            evictions: heapless::Vec::new(),
        }
    }
}

/// A checked configuration.
pub struct Config {
    settings: Settings,
}

impl core::fmt::Debug for Config {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Config")
            .field("group", &self.settings.group)
            .field("identity", &self.settings.identity)
            .field("address", &self.settings.address)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Checks `settings`.
    ///
    /// # Errors
    /// The first field found wrong, see [`ConfigError`].
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        if settings.group.is_empty() {
            return Err(ConfigError::GroupName);
        }
        check_addresses(&settings)?;
        check_ranges(&settings)?;
        check_protocols(&settings)?;
        check_manual(&settings)?;
        check_resumed(&settings)?;
        let config = Self { settings };
        config.check_sizes()?;
        Ok(config)
    }

    /// The fields. They cannot be changed any more: make a new configuration instead.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A copy of all but the manual keys and the keys to resume with. A node begins with it: the parts of it that are not
    /// set yet hold what lay where it was made, and that must be no key.
    pub(crate) fn without_keys(&self) -> Self {
        let s = &self.settings;
        Self {
            settings: Settings {
                group: s.group.clone(),
                identity: s.identity.clone(),
                router_id: s.router_id,
                priority: s.priority,
                preempt: s.preempt,
                address: s.address,
                multicast: s.multicast,
                gtsm: s.gtsm,
                hello: s.hello,
                hold_multiplier: s.hold_multiplier,
                retransmit: s.retransmit,
                tries: s.tries,
                min_rekey: s.min_rekey,
                key_lifetime: s.key_lifetime,
                rekey_sa_lifetime: s.rekey_sa_lifetime,
                dtd: s.dtd,
                key_ids: s.key_ids,
                protocols: s.protocols.clone(),
                expiry: s.expiry,
                controller_signatures: s.controller_signatures,
                reboot_exempt: s.reboot_exempt,
                confirm_installs: s.confirm_installs,
                manual_keys: heapless::Vec::new(),
                resumed_keys: heapless::Vec::new(),
                evictions: s.evictions.clone(),
            },
        }
    }

    /// A copy of a manual key of the configuration that this one was made of. It passes over the stack: call it apart.
    pub(crate) fn take_manual(&mut self, key: &ManualKey) {
        let copy = ManualKey {
            protocol: key.protocol,
            algorithm: key.algorithm,
            id: key.id,
            secret: key.secret.clone(),
        };
        // As many as there: the push cannot fail.
        let _ = self.settings.manual_keys.push(copy);
    }

    /// This node's hold: the time after which others take it for silent (PROTOCOL.md section 5.1).
    #[must_use]
    pub fn hold(&self) -> Duration {
        hold(self.settings.hello, self.settings.hold_multiplier)
    }

    /// What the sizes of this node's messages depend on, with everything that may vary at its largest: a peer's
    /// identity, a full EVICTED, signatures.
    #[must_use]
    pub fn largest_shape(&self) -> size::Shape {
        size::Shape {
            own_id: self.settings.identity.octets().len(),
            peer_id: MAX_IDENTITY,
            group: self.settings.group.len(),
            ipv6: self.settings.address.is_ipv6(),
            protocols: self.settings.protocols.len(),
            signatures: true,
            controller_signatures: self.settings.controller_signatures,
            evicted: MAX_EVICTED,
        }
    }

    /// Every kind of message with the most octets that it can have here. A state is counted without Retiring keys,
    /// which are left out where there is no room, and GSA_AUTH without a state, which a push can bring.
    pub fn message_sizes(&self) -> impl Iterator<Item = (&'static str, usize)> + use<> {
        let shape = self.largest_shape();
        [
            ("IKE_SA_INIT request", size::IKE_SA_INIT_REQUEST),
            ("IKE_SA_INIT response", size::IKE_SA_INIT_RESPONSE),
            ("IKE_SA_INIT redirection", size::IKE_SA_INIT_REDIRECT),
            ("announcement", shape.announcement()),
            ("GSA_AUTH request", shape.auth_request()),
            ("GSA_AUTH response", shape.auth_response(None)),
            ("GSA_AUTH refusal", shape.auth_refusal()),
            ("GSA_REGISTRATION request", shape.registration_request()),
            (
                "GSA_REGISTRATION response",
                shape.unicast_state(Some(size::StateShape::NEEDED)),
            ),
            (
                "GSA_INBAND_REKEY request",
                shape.unicast_state(Some(size::StateShape::NEEDED)),
            ),
            ("GSA_REKEY", shape.update(size::StateShape::NEEDED)),
            ("INFORMATIONAL", size::INFORMATIONAL),
        ]
        .into_iter()
    }

    /// Every message must fit the IPv6 minimum MTU less headers (PROTOCOL.md section 2).
    fn check_sizes(&self) -> Result<(), ConfigError> {
        match self
            .message_sizes()
            .find(|(_, octets)| *octets > wire::MAX_DATAGRAM)
        {
            Some((message, octets)) => Err(ConfigError::MessageTooLong {
                message,
                octets,
                limit: wire::MAX_DATAGRAM,
            }),
            None => Ok(()),
        }
    }
}

/// Interval times multiplier, at most 300 s (PROTOCOL.md section 5.1).
pub(crate) fn hold(interval: Duration, multiplier: u8) -> Duration {
    interval
        .times(u64::from(multiplier))
        .min(Duration::from_secs(300))
}

fn check_addresses(settings: &Settings) -> Result<(), ConfigError> {
    let ip = settings.address.ip();
    if settings.address.port() == 0 || ip.is_multicast() || ip.is_unspecified() {
        return Err(ConfigError::UnicastAddress);
    }
    let group = settings.multicast;
    if group.port() == 0 || !group.ip().is_multicast() || group.is_ipv4() != settings.address.is_ipv4() {
        return Err(ConfigError::MulticastAddress);
    }
    Ok(())
}

fn range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if value < min || value > max {
        return Err(ConfigError::OutOfRange {
            field,
            min,
            max,
            value,
        });
    }
    Ok(())
}

fn check_ranges(s: &Settings) -> Result<(), ConfigError> {
    const DAY: u64 = 24 * 3600 * 1000;
    range("hello_ms", s.hello.as_millis(), 50, 10_000)?;
    range("hold_multiplier", u64::from(s.hold_multiplier), 2, 255)?;
    range("retransmit_ms", s.retransmit.as_millis(), 50, 10_000)?;
    range("tries", u64::from(s.tries), 1, 10)?;
    range("min_rekey_ms", s.min_rekey.as_millis(), 0, 3_600_000)?;
    range(
        "key_lifetime_ms",
        s.key_lifetime.as_millis(),
        10_000,
        DAY.saturating_mul(30),
    )?;
    range(
        "rekey_sa_lifetime_ms",
        s.rekey_sa_lifetime.as_millis(),
        10_000,
        DAY.saturating_mul(365),
    )?;
    range("dtd_ms", s.dtd.as_millis(), 1000, 65_535_000)?;
    // A key must outlive the overlap in which it replaces its predecessor.
    range(
        "key_lifetime_ms",
        s.key_lifetime.as_millis(),
        s.dtd.as_millis().saturating_mul(2),
        u64::MAX,
    )
}

fn check_protocols(s: &Settings) -> Result<(), ConfigError> {
    if s.protocols.is_empty() {
        return Err(ConfigError::Protocols);
    }
    let mut widest = u16::MAX;
    for (at, policy) in s.protocols.iter().enumerate() {
        if s.protocols
            .iter()
            .take(at)
            .any(|other| other.protocol == policy.protocol)
        {
            return Err(ConfigError::Protocols);
        }
        if !policy.protocol.takes(policy.algorithm) {
            return Err(ConfigError::Algorithm {
                protocol: policy.protocol.code(),
                algorithm: policy.algorithm.code(),
            });
        }
        widest = widest.min(policy.protocol.max_key_id());
    }
    let (first, last) = s.key_ids;
    // Eight keys can be listed at once, so a smaller range could never be drawn from.
    let manual = s
        .manual_keys
        .iter()
        .filter(|key| (first..=last).contains(&key.id))
        .count();
    let ids = usize::from(last.saturating_sub(first))
        .saturating_add(1)
        .saturating_sub(manual);
    if first == 0 || last < first || last > widest || ids < 8 {
        return Err(ConfigError::KeyIds);
    }
    Ok(())
}

fn check_manual(s: &Settings) -> Result<(), ConfigError> {
    for (at, key) in s.manual_keys.iter().enumerate() {
        let repeated = s
            .manual_keys
            .iter()
            .take(at)
            .any(|other| other.protocol == key.protocol && other.id == key.id);
        if key.secret.is_empty() || repeated {
            return Err(ConfigError::ManualKey { id: key.id });
        }
    }
    Ok(())
}

fn check_resumed(s: &Settings) -> Result<(), ConfigError> {
    for (at, key) in s.resumed_keys.iter().enumerate() {
        let repeated = s.resumed_keys.iter().take(at).any(|other| other.id == key.id);
        if key.id == 0 || repeated {
            return Err(ConfigError::ResumedKey { id: key.id });
        }
    }
    Ok(())
}
