//! The key table: what the routing protocols of this link use (RFC 7210, PROTOCOL.md sections 6 and 8).
//!
//! One traffic key keys every protocol of the link under one key id; each protocol's own key is derived from it when
//! it is asked for. Manual keys are local rows beside them.

use crate::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::ManualKey,
    crypto::{Fingerprint, RoutingKey, fingerprint},
    group::{TrafficKey, manual_bit},
    node::{ManualStage, Node},
    storage::{KeySlot, iter},
    time::Instant,
    wire::{KeyState, numbers},
};

/// What a row is good for now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RowState {
    /// Accepted, not sent with yet.
    Pending,
    /// Sent with and accepted.
    Active,
    /// Accepted, not sent with any more.
    Retiring,
}

/// The octets of a row's key: 28 characters of text for a derived one, whatever was configured for a manual one.
enum RowKey<'a> {
    Derived(RoutingKey),
    Manual(&'a [u8]),
}

/// One row: a key of one protocol (RFC 7210 section 2: Protocol, LocalKeyName and PeerKeyName, AlgID, Key, Direction
/// both, and the lifetimes).
pub struct Row<'a> {
    /// The protocol that it keys.
    pub protocol: RoutingProtocol,
    /// How the protocol uses it.
    pub algorithm: RoutingAlgorithm,
    /// Its id in the protocol's packets, the same for sending and receiving.
    pub id: u16,
    /// What it is good for.
    pub state: RowState,
    /// It was configured and not agreed upon.
    pub manual: bool,
    /// When it ends, if it does by itself.
    pub expires: Option<Instant>,
    key: RowKey<'a>,
}

impl Row<'_> {
    /// The key as the protocol's authentication takes it.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match &self.key {
            RowKey::Derived(key) => key.octets(),
            RowKey::Manual(octets) => octets,
        }
    }

    /// A short mark by which people compare keys without seeing them. A manual key has none: it may be guessable.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.key {
            RowKey::Derived(key) => Some(fingerprint(key.octets())),
            RowKey::Manual(_) => None,
        }
    }
}

impl core::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Row")
            .field("protocol", &self.protocol)
            .field("id", &self.id)
            .field("state", &self.state)
            .field("manual", &self.manual)
            .finish_non_exhaustive()
    }
}

/// The key table of one link. It borrows the engine: look up, use, drop.
#[derive(Clone, Copy)]
pub struct KeyTable<'a> {
    keys: &'a [KeySlot],
    node: &'a Node,
}

impl<'a> KeyTable<'a> {
    pub(crate) const fn new(keys: &'a [KeySlot], node: &'a Node) -> Self {
        Self { keys, node }
    }

    fn traffic(self) -> impl Iterator<Item = &'a TrafficKey> {
        iter(self.keys).map(|(_, key)| key).filter(|key| key.lives())
    }

    /// Manual keys that are still rows: all but those that a traffic key has replaced for good.
    fn manual(self, now: Instant) -> impl Iterator<Item = &'a ManualKey> {
        let gone = match self.node.manual {
            ManualStage::Sending | ManualStage::Accepting => false,
            ManualStage::Ending(at) => at <= now,
            ManualStage::Dropped => true,
        };
        let keys = self.node.config.settings().manual_keys.iter().enumerate();
        keys.filter(move |(at, _)| !gone || self.node.succeeded & manual_bit(*at) == 0)
            .map(|(_, key)| key)
    }

    /// The key to send a packet of `protocol` with (RFC 7210 section 3): the Active traffic key; without one the last
    /// that was; before the first, the manual key. `None`: there is no key, and nothing may be sent.
    ///
    /// The table is that of one interface, and its keys hold for every peer on it.
    #[must_use]
    pub fn sending(self, protocol: RoutingProtocol, now: Instant) -> Option<Row<'a>> {
        let used = self
            .traffic()
            .filter(|key| key.activation > 0 && algorithm(key, protocol).is_some());
        let sending = used.max_by_key(|key| key.activation);
        if let Some(key) = sending {
            return derived(key, protocol);
        }
        self.manual(now)
            .find(|key| key.protocol == protocol)
            .map(|key| self.manual_row(key))
    }

    /// The key under which a packet of `protocol` with `id` is accepted, if any.
    #[must_use]
    pub fn receiving(self, protocol: RoutingProtocol, id: u16, now: Instant) -> Option<Row<'a>> {
        let traffic = self
            .traffic()
            .find(|key| key.id == id)
            .and_then(|key| derived(key, protocol));
        traffic.or_else(|| {
            let manual = self
                .manual(now)
                .find(|key| key.protocol == protocol && key.id == id);
            manual.map(|key| self.manual_row(key))
        })
    }

    /// Every row: those of each traffic key, then the manual ones.
    pub fn rows(self, now: Instant) -> impl Iterator<Item = Row<'a>> {
        let derived = self.traffic().flat_map(|key| {
            let protocols = key.protocols.as_slice().iter();
            protocols
                .filter_map(|keyed| RoutingProtocol::from_code(keyed.protocol.0))
                .filter_map(|p| derived(key, p))
        });
        derived.chain(self.manual(now).map(move |key| self.manual_row(key)))
    }

    fn manual_row(self, key: &'a ManualKey) -> Row<'a> {
        let keyed =
            |traffic: &TrafficKey| traffic.activation > 0 && algorithm(traffic, key.protocol).is_some();
        let sending = !self.traffic().any(keyed);
        let first = self
            .node
            .config
            .settings()
            .manual_keys
            .iter()
            .find(|other| other.protocol == key.protocol);
        let is_first = first.is_some_and(|first| first.id == key.id);
        Row {
            protocol: key.protocol,
            algorithm: key.algorithm,
            id: key.id,
            state: if sending && is_first {
                RowState::Active
            } else {
                RowState::Retiring
            },
            manual: true,
            expires: match self.node.manual {
                ManualStage::Ending(at) => Some(at),
                ManualStage::Sending | ManualStage::Accepting | ManualStage::Dropped => None,
            },
            key: RowKey::Manual(&key.secret),
        }
    }
}

fn algorithm(key: &TrafficKey, protocol: RoutingProtocol) -> Option<RoutingAlgorithm> {
    let listed = key
        .protocols
        .algorithm_of(numbers::RoutingProtocol(protocol.code()))?;
    RoutingAlgorithm::from_code(listed.0)
}

fn derived(key: &TrafficKey, protocol: RoutingProtocol) -> Option<Row<'static>> {
    let algorithm = algorithm(key, protocol)?;
    Some(Row {
        protocol,
        algorithm,
        id: key.id,
        state: match key.state {
            KeyState::Pending => RowState::Pending,
            KeyState::Active => RowState::Active,
            KeyState::Retiring => RowState::Retiring,
        },
        manual: false,
        expires: Some(key.expires),
        key: RowKey::Derived(RoutingKey::derive(
            &key.tek,
            protocol.code(),
            key.id,
            algorithm.code(),
        )),
    })
}
