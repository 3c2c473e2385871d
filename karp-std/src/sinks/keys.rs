//! The rows of a key table as a sink takes them: owned, and wiped when they are dropped.

use std::fmt;

use karp_core::{
    KeyTable,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    keytable::RowState,
    time::Instant,
};
use zeroize::Zeroizing;

/// One key of one protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkKey {
    /// The protocol that it keys.
    pub protocol: RoutingProtocol,
    /// Its id in the protocol's packets.
    pub id: u16,
    /// How the protocol uses it.
    pub algorithm: RoutingAlgorithm,
    /// What it is good for. [`RowState::Active`] exactly if it is the one that the protocol sends with.
    pub state: RowState,
    /// It was configured and not agreed upon.
    pub manual: bool,
    secret: Zeroizing<Vec<u8>>,
}

impl SinkKey {
    /// A key of these parts.
    #[must_use]
    pub fn new(
        protocol: RoutingProtocol,
        id: u16,
        algorithm: RoutingAlgorithm,
        state: RowState,
        secret: &[u8],
    ) -> Self {
        Self {
            protocol,
            id,
            algorithm,
            state,
            manual: false,
            secret: Zeroizing::new(secret.to_vec()),
        }
    }

    /// The key as the protocol's authentication takes it: the 28 characters of a derived key's text, or whatever an
    /// operator configured for a manual one.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The same key in another state.
    pub(super) fn with_state(&self, state: RowState) -> Self {
        Self {
            state,
            ..self.clone()
        }
    }

    /// The same key apart from what it is good for.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.has_same_id(other)
            && (self.algorithm, self.manual) == (other.algorithm, other.manual)
            && self.secret == other.secret
    }

    /// A key that a daemon cannot hold beside the other.
    pub(super) fn has_same_id(&self, other: &Self) -> bool {
        (self.protocol, self.id) == (other.protocol, other.id)
    }
}

/// No octets.
impl fmt::Debug for SinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkKey")
            .field("protocol", &self.protocol)
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .field("state", &self.state)
            .field("manual", &self.manual)
            .finish_non_exhaustive()
    }
}

/// All keys of one link, sorted by protocol and key id. Whatever it is made of, each pair of these is there once and at
/// most one key of a protocol is Active.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeySet {
    keys: Vec<SinkKey>,
}

impl KeySet {
    /// What the key table says at `now`.
    #[must_use]
    pub fn from_table(table: KeyTable<'_>, now: Instant) -> Self {
        let rows = table.rows(now).map(|row| {
            let sends = table
                .sending(row.protocol, now)
                .is_some_and(|sending| sending.id == row.id && sending.manual == row.manual);
            let state = match (sends, row.state) {
                (true, _) => RowState::Active,
                // Not sent with any more, whatever its name: another protocol's rows do not matter to this one.
                (false, RowState::Active | RowState::Retiring) => RowState::Retiring,
                (false, RowState::Pending) => RowState::Pending,
            };
            SinkKey {
                manual: row.manual,
                ..SinkKey::new(row.protocol, row.id, row.algorithm, state, row.octets())
            }
        });
        rows.collect()
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &SinkKey> {
        self.keys.iter()
    }

    /// The keys of `protocol`.
    pub fn of(&self, protocol: RoutingProtocol) -> impl Iterator<Item = &SinkKey> {
        self.keys.iter().filter(move |key| key.protocol == protocol)
    }

    /// The key that `protocol` sends with.
    #[must_use]
    pub fn sending(&self, protocol: RoutingProtocol) -> Option<&SinkKey> {
        self.of(protocol).find(|key| key.state == RowState::Active)
    }

    /// The lowest id that no key of `protocol` has.
    pub(super) fn free_id(&self, protocol: RoutingProtocol) -> Option<u16> {
        (0..=u16::MAX).find(|id| self.of(protocol).all(|key| key.id != *id))
    }

    /// The protocols that have keys.
    #[must_use]
    pub fn protocols(&self) -> Vec<RoutingProtocol> {
        let mut protocols: Vec<_> = self.keys.iter().map(|key| key.protocol).collect();
        protocols.dedup();
        protocols
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The same without the keys of other protocols than these: a sink takes what its daemon speaks.
    #[must_use]
    pub fn only(&self, protocols: &[RoutingProtocol]) -> Self {
        let mine = self.keys.iter().filter(|key| protocols.contains(&key.protocol));
        mine.cloned().collect()
    }
}

/// Of several keys with one protocol and id the one that is sent with counts, else the first, as in the key table's
/// look-up. Of several keys of a protocol that claim to be sent with, the first is; the others are Retiring.
impl FromIterator<SinkKey> for KeySet {
    fn from_iter<T: IntoIterator<Item = SinkKey>>(keys: T) -> Self {
        let mut sending = Vec::new();
        let one_sender = |mut key: SinkKey| {
            if key.state == RowState::Active {
                if sending.contains(&key.protocol) {
                    key.state = RowState::Retiring;
                } else {
                    sending.push(key.protocol);
                }
            }
            key
        };
        let mut keys: Vec<SinkKey> = keys.into_iter().map(one_sender).collect();
        keys.sort_by_key(|key| (key.protocol, key.id, key.state != RowState::Active));
        keys.dedup_by_key(|key| (key.protocol, key.id));
        Self { keys }
    }
}

#[cfg(test)]
mod tests {
    use karp_core::algorithm::{RoutingAlgorithm::HmacSha256, RoutingProtocol::*};

    use super::*;

    fn key(protocol: RoutingProtocol, id: u16, state: RowState) -> SinkKey {
        SinkKey::new(protocol, id, HmacSha256, state, b"secret")
    }

    #[test]
    fn a_set_has_one_sender_and_each_id_once() {
        let set: KeySet = [
            key(Ospfv3, 2, RowState::Active),
            key(Ospfv2, 2, RowState::Pending),
            key(Ospfv2, 2, RowState::Active),
            key(Ospfv2, 1, RowState::Active),
            key(Ospfv2, 1, RowState::Pending),
        ]
        .into_iter()
        .collect();
        let rows: Vec<_> = set.iter().map(|key| (key.protocol, key.id, key.state)).collect();
        assert_eq!(
            rows,
            [
                (Ospfv2, 1, RowState::Retiring),
                (Ospfv2, 2, RowState::Active),
                (Ospfv3, 2, RowState::Active)
            ]
        );
        assert_eq!(set.protocols(), [Ospfv2, Ospfv3]);
        assert_eq!(set.sending(Ospfv2).map(|key| key.id), Some(2));
        let ids =
            |ids: &[u16]| -> KeySet { ids.iter().map(|id| key(Ospfv2, *id, RowState::Pending)).collect() };
        assert_eq!(
            (set.free_id(Ospfv2), ids(&[0, 1, 3]).free_id(Ospfv2)),
            (Some(0), Some(2))
        );
        assert_eq!(set.only(&[Ospfv3]).protocols(), [Ospfv3]);
        assert!(set.only(&[Babel]).is_empty());
    }

    #[test]
    fn a_key_is_never_printed() {
        let text = format!("{:?}", key(Ospfv2, 1, RowState::Active));
        assert!(!text.contains("secret") && !text.contains("115"), "{text}");
    }
}
