//! The routing SAs of a pair: one key for both directions of one session, from its making to its end (PROTOCOL.md
//! section 9), and the key table that shows them.

use core::fmt;

use super::{
    io::KeyName,
    sa::NonceHead,
    settings::{MAX_SESSIONS, Session},
};
use crate::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    crypto::{Fingerprint, RoutingKey, Secret},
    keytable::RowState,
    time::Instant,
    wire::{numbers, routing::RoutingSpi},
};

/// The most keys that a pair has at once: for each session one to send with, one that is new, and two that retire.
pub(super) const MAX_KEYS: usize = MAX_SESSIONS.saturating_mul(4);

/// How long a key still has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// It is not ending.
    No,
    /// This side asks the peer to delete it from then on.
    Delete(Instant),
    /// The peer is to; from then on this side does.
    Peer(Instant),
    /// Without anybody to ask: it goes then.
    Alone(Instant),
}

/// A routing SA.
pub(super) struct RoutingSa {
    pub(super) session: u8,
    /// The line of IKE SAs that it goes down with.
    pub(super) lineage: u32,
    /// The IKE SA that it was made under, by its initiator's SPI, or the one that replaced that.
    pub(super) under: [u8; 8],
    pub(super) send_id: u16,
    pub(super) recv_id: u16,
    pub(super) key: Secret<32>,
    /// This side asked for it.
    pub(super) ours: bool,
    pub(super) state: RowState,
    /// When it is replaced by this side.
    pub(super) renew: Instant,
    /// Rises with each activation; 0 is never sent with yet.
    pub(super) activation: u32,
    /// The lower of the two nonces that it came of.
    pub(super) nonce: NonceHead,
    pub(super) ending: Ending,
    /// It is not ended before a key of this activation or a later one is sent with: or the peer could be left without any.
    pub(super) outlived_by: u32,
    /// This side has not told the peer yet that it holds the key.
    pub(super) confirm: bool,
    /// What the host was told last.
    pub(super) told: Option<RowState>,
    /// It is gone but for the event.
    pub(super) gone: bool,
}

impl RoutingSa {
    pub(super) fn name(&self, session: &Session) -> KeyName {
        KeyName {
            session: self.session,
            protocol: session.protocol,
            send_id: self.send_id,
            recv_id: self.recv_id,
        }
    }

    /// What this side receives with.
    pub(super) const fn spi(&self, protocol: numbers::RoutingProtocol) -> RoutingSpi {
        RoutingSpi {
            protocol,
            key_id: self.recv_id,
        }
    }
}

/// One row of a pair's key table: a key of one session, for both directions (RFC 7210 section 2).
pub struct KeyRow {
    /// The place of the session in the settings.
    pub session: usize,
    /// The routing protocol.
    pub protocol: RoutingProtocol,
    /// How the protocol uses it.
    pub algorithm: RoutingAlgorithm,
    /// The id in packets sent (TCP-AO's SendID).
    pub send_id: u16,
    /// The id in packets received (TCP-AO's RecvID).
    pub recv_id: u16,
    /// What it is good for.
    pub state: RowState,
    key: RoutingKey,
}

impl KeyRow {
    /// The key as the protocol's authentication takes it: the octets of a text of 28 characters, 16 for TCP-MD5.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.key.octets()
    }

    /// The same as text, for a configuration file.
    #[must_use]
    pub fn text(&self) -> &str {
        self.key.text()
    }

    /// A short mark by which people compare keys without seeing them.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }
}

impl fmt::Debug for KeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRow")
            .field("session", &self.session)
            .field("send_id", &self.send_id)
            .field("recv_id", &self.recv_id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The key table of a pair. It borrows the pair: look up, use, drop.
#[derive(Clone, Copy)]
pub struct PairTable<'a> {
    keys: &'a [RoutingSa],
    sessions: &'a [Session],
}

impl<'a> PairTable<'a> {
    pub(super) const fn new(keys: &'a [RoutingSa], sessions: &'a [Session]) -> Self {
        Self { keys, sessions }
    }

    fn live(self) -> impl Iterator<Item = &'a RoutingSa> {
        self.keys.iter().filter(|key| !key.gone)
    }

    /// The key to send a packet of the session with; `None`: there is no key, and nothing may be sent.
    #[must_use]
    pub fn sending(self, session: usize) -> Option<KeyRow> {
        let used = self
            .live()
            .filter(|key| usize::from(key.session) == session && key.activation > 0);
        used.max_by_key(|key| key.activation)
            .and_then(|key| self.row(key))
    }

    /// The key under which a packet of the session with this id is accepted, if any.
    #[must_use]
    pub fn receiving(self, session: usize, recv_id: u16) -> Option<KeyRow> {
        self.live()
            .find(|key| usize::from(key.session) == session && key.recv_id == recv_id)
            .and_then(|key| self.row(key))
    }

    /// Every row, in no particular order.
    pub fn rows(self) -> impl Iterator<Item = KeyRow> {
        self.live().filter_map(move |key| self.row(key))
    }

    fn row(self, key: &RoutingSa) -> Option<KeyRow> {
        let session = self.sessions.get(usize::from(key.session))?;
        Some(KeyRow {
            session: key.session.into(),
            protocol: session.protocol,
            algorithm: session.algorithm,
            send_id: key.send_id,
            recv_id: key.recv_id,
            state: key.state,
            // Of one KEYMAT one key is made, and its two ids are each side's own: none stands in the derivation.
            key: RoutingKey::derive(&key.key, session.protocol.code(), 0, session.algorithm.code()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{SharedSecret, child_keymat};

    /// Values computed with Python's hmac and base64, not with this crate (PROTOCOL.md section 9).
    #[test]
    fn keys_of_a_routing_sa_against_another_implementation() {
        let count = |from: u8| core::array::from_fn::<u8, 32, _>(|i| from + u8::try_from(i).unwrap());
        let shared = SharedSecret::from_octets_for_testing_only(count(32));
        let sk_d = Secret::from_bytes(count(0));
        let key: Secret<32> = child_keymat(&sk_d, Some(&shared), &count(64), &count(96));
        let hex: std::string::String = key.expose().iter().map(|o| std::format!("{o:02x}")).collect();
        assert_eq!(
            hex,
            "da04d3d8996babb36702e1f3785ecb5fd2efe4ef8fe60cdd4ead282fe34a4fb6"
        );
        for (protocol, algorithm, text) in [
            (
                RoutingProtocol::Bgp,
                RoutingAlgorithm::HmacSha1Cut96,
                "JlccAGQFb3THURLXEqQ5yD_Gn5Dv",
            ),
            (
                RoutingProtocol::Bgp,
                RoutingAlgorithm::KeyedMd5,
                "gKDa6JG-gSbbjibE",
            ),
            (
                RoutingProtocol::Ldp,
                RoutingAlgorithm::Aes128CmacCut96,
                "XjCYbb4_DHi9KEBW-0w9WyauGixU",
            ),
        ] {
            let end = crate::wire::ts::Selector {
                address: [192, 0, 2, 1].into(),
                ip_protocol: 6,
                port: None,
            };
            let sessions = [Session {
                protocol,
                algorithm,
                local: end,
                remote: end,
            }];
            let keys = [RoutingSa {
                session: 0,
                lineage: 1,
                under: [1; 8],
                send_id: 7,
                recv_id: 9,
                key: key.duplicate(),
                ours: true,
                state: RowState::Active,
                renew: Instant::ZERO,
                activation: 1,
                nonce: NonceHead::new(),
                ending: Ending::No,
                outlived_by: 0,
                confirm: false,
                told: None,
                gone: false,
            }];
            let row = PairTable::new(&keys, &sessions).sending(0).unwrap();
            assert_eq!((row.text(), row.send_id, row.recv_id), (text, 7, 9));
        }
    }
}
