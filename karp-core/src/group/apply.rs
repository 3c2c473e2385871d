//! Applying a state to the node's traffic keys: the key table of a member (PROTOCOL.md sections 6 and 7).

use super::{CheckedState, CheckedTek, TrafficKey};
use crate::{
    config::{Expiry, KeyUse, ResumedKey},
    crypto::{ROW, apart, ct_eq},
    io::Alarm,
    node::{Core, ManualStage},
    storage::Handle,
    time::{Duration, Instant},
    wire::{KeyState, ProtocolList, gsa::Keyed, numbers},
};

/// How far a key has come in its life; it only moves forward.
const fn age(state: KeyState) -> u8 {
    match state {
        KeyState::Pending => 0,
        KeyState::Active => 1,
        KeyState::Retiring => 2,
    }
}

/// The bit of the manual key at this position of the configuration.
pub(crate) fn manual_bit(at: usize) -> u8 {
    u32::try_from(at)
        .ok()
        .and_then(|at| 1_u8.checked_shl(at))
        .unwrap_or(0)
}

impl Core<'_> {
    /// Takes the keys of a state of the Rekey SA `spi`. `complete`: what it does not list is gone, if a state of the
    /// same Rekey SA had listed it.
    pub(crate) fn apply_keys(&mut self, state: &CheckedState, spi: Option<[u8; 16]>, complete: bool) {
        if let Some(dtd_s) = state.dtd_s {
            self.node.dtd = Duration::from_secs(u64::from(dtd_s));
        }
        for tek in &state.teks {
            self.apply_key(tek, spi);
        }
        if !complete || spi.is_none() {
            return;
        }
        let listed = |id: u16| state.teks.iter().any(|tek| tek.policy.id == id);
        self.end_keys(|key| key.listed_by == spi && !listed(key.id));
    }

    fn apply_key(&mut self, tek: &CheckedTek, spi: Option<[u8; 16]>) {
        let expires = self
            .now
            .after(Duration::from_secs(u64::from(tek.policy.lifetime_s)));
        let known = self.keys.find(|key| key.lives() && key.id == tek.policy.id);
        let row = known.and_then(|row| self.keys.get(row).map(|key| (row, key)));
        match (row, &tek.key) {
            (Some((row, key)), Some(secret)) if !ct_eq(key.tek.expose(), secret.expose()) => {
                // A state's key displaces another of its id.
                self.end_key(row);
                self.take_key(tek, expires, spi);
            }
            (Some((row, _)), _) => {
                let soon = self.exposed_end();
                if let Some(key) = self.keys.get_mut(row) {
                    let capped = key.exposed && key.state == KeyState::Retiring;
                    key.listed_by = spi.or(key.listed_by);
                    key.expires = if capped {
                        expires.min(soon).min(key.expires)
                    } else {
                        expires
                    };
                }
                self.advance_key(row, tek.policy.state);
            }
            (None, Some(_)) => self.take_key(tek, expires, spi),
            // A Retiring key that this node never had.
            (None, None) => {}
        }
    }

    fn take_key(&mut self, tek: &CheckedTek, expires: Instant, spi: Option<[u8; 16]>) {
        if let Some(row) = self.insert_from(tek, expires, spi) {
            self.advance_key(row, tek.policy.state);
        }
    }

    /// Puts a state's key into the table, Pending.
    pub(super) fn insert_from(
        &mut self,
        tek: &CheckedTek,
        expires: Instant,
        spi: Option<[u8; 16]>,
    ) -> Option<Handle> {
        let secret = tek.key.as_ref()?;
        apart::<ROW, _>(|| {
            let protocols = tek.policy.protocols.clone().unwrap_or_default();
            self.insert_key(TrafficKey {
                listed_by: spi,
                ..TrafficKey::pending(tek.policy.id, secret.duplicate(), expires, protocols)
            })
        })
    }

    /// Takes over what the host kept over a restart of itself (section 8). Who was sent with comes later in the order of
    /// activations (section 7).
    pub(crate) fn resume(&mut self, keys: &[ResumedKey]) {
        for usage in [KeyUse::Unsent, KeyUse::Stopped, KeyUse::Sending] {
            for key in keys.iter().filter(|key| key.usage == usage) {
                apart::<ROW, _>(|| self.resume_key(key));
            }
        }
    }

    pub(super) fn resume_key(&mut self, key: &ResumedKey) {
        let mut protocols = ProtocolList::new();
        for (protocol, algorithm) in &key.protocols {
            // Repeated ones count once.
            let _ = protocols.push(Keyed {
                protocol: numbers::RoutingProtocol(protocol.code()),
                algorithm: numbers::Algorithm(algorithm.code()),
            });
        }
        let (tek, expires) = (key.key.duplicate(), self.now.after(key.lifetime));
        let row = self.insert_key(TrafficKey::pending(key.id, tek, expires, protocols));
        let Some(row) = row else { return };
        if key.usage != KeyUse::Unsent {
            self.advance_key(row, KeyState::Active);
        }
        if key.usage != KeyUse::Sending {
            self.advance_key(row, KeyState::Retiring);
        }
    }

    /// Puts a key into the table; if it is full, the oldest key that is not sent with makes room.
    pub(crate) fn insert_key(&mut self, key: TrafficKey) -> Option<Handle> {
        self.table_changed();
        if self.keys.is_full() {
            let gone = self.keys.find(|key| key.gone);
            let oldest = || {
                let retiring = self
                    .keys
                    .iter()
                    .filter(|(_, key)| key.state == KeyState::Retiring);
                retiring
                    .min_by_key(|(_, key)| (key.activation, key.expires))
                    .map(|(row, _)| row)
            };
            let victim = gone.or_else(oldest)?;
            self.keys.remove(victim);
        }
        self.keys.insert(key)
    }

    /// The one function that changes a key's state. It only moves forward, so that a node never goes back to a key that
    /// it stopped sending with. A Retiring key that was never sent with here (an abandoned one) may still become Active.
    pub(crate) fn advance_key(&mut self, row: Handle, to: KeyState) {
        let Some(key) = self.keys.get(row).filter(|key| key.lives()) else {
            return;
        };
        let revived = to == KeyState::Active && key.state == KeyState::Retiring && !key.was_active;
        if age(to) <= age(key.state) && !revived {
            return;
        }
        let was_pending = key.state == KeyState::Pending;
        if to == KeyState::Active {
            // A node has one Active key; the one before it is still accepted. So it is for DTD if it had outlived its time
            // for want of a successor: not all have heard yet of the one that has come.
            let keep = self.node.config.settings().expiry == Expiry::KeepLast;
            let accepted = self.now.after(self.node.dtd);
            let soon = self.exposed_end();
            for other in self
                .keys
                .rows_mut()
                .filter(|key| key.lives() && key.state == KeyState::Active)
            {
                other.state = KeyState::Retiring;
                if keep {
                    other.expires = other.expires.max(accepted);
                }
                if other.exposed {
                    other.expires = other.expires.min(soon);
                }
            }
            self.node.activations = self.node.activations.saturating_add(1);
            let protocols = self
                .keys
                .get(row)
                .map(|key| key.protocols.clone())
                .unwrap_or_default();
            self.manual_after_activation(&protocols);
            self.node.alarms.set(Alarm::KeyExpired, false);
        }
        let activations = self.node.activations;
        if let Some(key) = self.keys.get_mut(row) {
            key.state = to;
            if to == KeyState::Active {
                key.activation = activations;
                key.was_active = true;
            } else if was_pending {
                // Never sent with here: it stays below every key that was.
                key.activation = 0;
            }
        }
        self.table_changed();
    }

    /// Section 7: a manual key retires with the first traffic key that becomes Active and is dropped DTD after the
    /// second activation that the node sees.
    fn manual_after_activation(&mut self, protocols: &ProtocolList) {
        let manual = &self.node.config.settings().manual_keys;
        if manual.is_empty() {
            return;
        }
        // A manual key of a protocol that no traffic key keys has no successor: it is never touched.
        for (at, key) in manual.iter().enumerate() {
            if protocols
                .algorithm_of(numbers::RoutingProtocol(key.protocol.code()))
                .is_some()
            {
                self.node.succeeded |= manual_bit(at);
            }
        }
        self.node.manual = match self.node.manual {
            ManualStage::Sending => ManualStage::Accepting,
            ManualStage::Accepting => ManualStage::Ending(self.now.after(self.node.dtd)),
            other @ (ManualStage::Ending(_) | ManualStage::Dropped) => other,
        };
    }

    /// The key is gone: its secret now, its row when the host was told; its id rests.
    pub(crate) fn end_key(&mut self, row: Handle) {
        let lifetime = self.node.config.settings().key_lifetime;
        let Some(key) = self.keys.get_mut(row).filter(|key| key.lives()) else {
            return;
        };
        let (id, told) = (key.id, key.told);
        key.end();
        if told.is_none() {
            self.keys.remove(row);
        }
        self.rest_id(id, lifetime.max(self.node.dtd));
        self.table_changed();
    }

    /// When a key ends that somebody has who was put out, and that is sent with no more: laggards have DTD and the time
    /// that a lesser office's half has to come over (sections 5.5 and 7).
    fn exposed_end(&self) -> Instant {
        self.now.after(self.node.dtd).after(self.hold().times(2))
    }

    /// Somebody was put out: the keys that are here now may be known outside.
    pub(super) fn expose_keys(&mut self) {
        let soon = self.exposed_end();
        for key in self.keys.rows_mut().filter(|key| key.lives()) {
            key.exposed = true;
            if key.state == KeyState::Retiring {
                key.expires = key.expires.min(soon);
            }
        }
        self.table_changed();
    }

    /// What is not Active goes at once (eviction).
    pub(crate) fn end_all_but_active(&mut self) {
        self.end_keys(|key| key.state != KeyState::Active);
    }

    /// Ends every key that `ends` picks, however many there are; says whether there were any.
    pub(crate) fn end_keys(&mut self, ends: impl Fn(&TrafficKey) -> bool) -> bool {
        let mut any = false;
        while let Some(row) = self.keys.find(|key| key.lives() && ends(key)) {
            self.end_key(row);
            any = true;
        }
        any
    }

    /// Pending keys become Retiring: they will not be activated, and somebody may send with them already.
    pub(crate) fn retire_pending(&mut self) {
        while let Some(row) = self
            .keys
            .find(|key| key.lives() && key.state == KeyState::Pending)
        {
            self.advance_key(row, KeyState::Retiring);
        }
    }

    /// A key id is not given to another key until every peer can have forgotten the old one (section 7).
    pub(crate) fn rest_id(&mut self, id: u16, span: Duration) {
        let until = self.now.after(span);
        self.node.resting_ids.push(id, until);
    }

    pub(crate) fn table_changed(&mut self) {
        let installs = &mut self.node.installs;
        installs.revision = installs.revision.saturating_add(1);
        if !self.node.config.settings().confirm_installs {
            installs.confirmed = installs.revision;
        }
        self.node.stirred = true;
    }

    /// The key that is sent with: the Active one; without one, the last that was (section 7).
    pub(crate) fn sending_key(&self) -> Option<Handle> {
        let used = self
            .keys
            .iter()
            .filter(|(_, key)| key.lives() && key.activation > 0);
        used.max_by_key(|(_, key)| key.activation).map(|(row, _)| row)
    }

    /// Ends keys whose life is over, and manual ones.
    #[inline(never)]
    pub(crate) fn run_keys(&mut self) {
        let now = self.now;
        if let ManualStage::Ending(at) = self.node.manual
            && at <= now
        {
            self.node.manual = ManualStage::Dropped;
            self.table_changed();
        }
        let keep = self.node.config.settings().expiry == Expiry::KeepLast;
        let last = self.sending_key();
        let current = self.node.sas.current_spi();
        let over = |row: Handle, key: &TrafficKey| {
            // A Pending key is the business of the rollover that made it: it is ended by the state that omits it.
            let listed = key.listed_by.is_some() && key.listed_by == current;
            let kept = (keep && Some(row) == last) || (key.state == KeyState::Pending && listed);
            key.lives() && key.expires <= now && !kept
        };
        if last
            .and_then(|row| self.keys.get(row))
            .is_some_and(|key| key.expires <= now)
        {
            self.node.alarms.set(Alarm::KeyExpired, true);
        }
        loop {
            let next = self
                .keys
                .iter()
                .find(|(row, key)| over(*row, key))
                .map(|(row, _)| row);
            let Some(row) = next else { break };
            self.end_key(row);
        }
    }

    /// When the next key or manual key ends.
    pub(crate) fn next_key_deadline(&self) -> Option<Instant> {
        let keys = self
            .keys
            .rows()
            .filter(|key| key.lives())
            .flat_map(|key| [Some(key.expires), key.omit_at]);
        let manual = match self.node.manual {
            ManualStage::Ending(at) => Some(at),
            ManualStage::Sending | ManualStage::Accepting | ManualStage::Dropped => None,
        };
        // What is overdue and kept (the last key) does not call again.
        keys.flatten().chain(manual).filter(|at| *at > self.now).min()
    }
}
