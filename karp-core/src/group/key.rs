//! A traffic key as a node has it. Keys belong to the node, not to its election state (PROTOCOL.md section 1).

use crate::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{KeyUse, MAX_PROTOCOLS, ResumedKey},
    crypto::{Secret, key_check},
    time::Instant,
    wire::{KeyState, ProtocolList},
};

/// One traffic key.
pub struct TrafficKey {
    pub(crate) id: u16,
    pub(crate) tek: Secret<32>,
    pub(crate) state: KeyState,
    pub(crate) expires: Instant,
    pub(crate) protocols: ProtocolList,
    /// The Rekey SA whose state listed it last: only absence from newer state of that one deletes it (section 7).
    pub(crate) listed_by: Option<[u8; 16]>,
    /// Its number among the keys that this office made in its term, from 1; 0 if it made it not.
    pub(crate) made: u32,
    /// It is or was Active here: a registrant that shows it has not rebooted since it was made.
    pub(crate) was_active: bool,
    /// Its place in the order of activations at this node; the node never goes back to a lesser one.
    pub(crate) activation: u32,
    /// When the GCKS may leave it out of the state.
    pub(crate) omit_at: Option<Instant>,
    /// Somebody was put out since it came here, and may have it: once it is not sent with any more it ends soon.
    pub(crate) exposed: bool,
    /// The host was told of this state; `None` if it was not told of the key at all.
    pub(crate) told: Option<KeyState>,
    /// It is no key any more; the row waits until the host was told.
    pub(crate) gone: bool,
}

impl TrafficKey {
    /// A Pending key that no state has listed, not made by this office and not told to the host.
    pub(crate) fn pending(id: u16, tek: Secret<32>, expires: Instant, protocols: ProtocolList) -> Self {
        Self {
            id,
            tek,
            state: KeyState::Pending,
            expires,
            protocols,
            listed_by: None,
            made: 0,
            was_active: false,
            activation: 0,
            omit_at: None,
            exposed: false,
            told: None,
            gone: false,
        }
    }

    /// What KEYS_IN_USE shows of it.
    pub(crate) fn check(&self) -> [u8; 8] {
        key_check(&self.tek, self.id)
    }

    /// It can be used now.
    pub(crate) const fn lives(&self) -> bool {
        !self.gone
    }

    /// How far it has come at this node, which sends with it or not.
    pub(crate) const fn usage(&self, sending: bool) -> KeyUse {
        match (sending, self.activation) {
            (true, _) => KeyUse::Sending,
            (false, 0) => KeyUse::Unsent,
            (false, _) => KeyUse::Stopped,
        }
    }

    /// A copy for a host that keeps it over a restart of itself.
    pub(crate) fn resumable(&self, now: Instant, sending: bool) -> ResumedKey {
        let keyed = self.protocols.as_slice().iter();
        let known = keyed.filter_map(|keyed| {
            let protocol = RoutingProtocol::from_code(keyed.protocol.0)?;
            Some((protocol, RoutingAlgorithm::from_code(keyed.algorithm.0)?))
        });
        ResumedKey {
            id: self.id,
            key: self.tek.duplicate(),
            usage: self.usage(sending),
            lifetime: self.expires.since(now),
            protocols: known.take(MAX_PROTOCOLS).collect(),
        }
    }

    /// It ends here: the secret goes at once, the row when the host knows.
    pub(crate) fn end(&mut self) {
        self.tek = Secret::from_bytes([0; 32]);
        self.gone = true;
        self.omit_at = None;
    }
}

impl core::fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TrafficKey")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}
