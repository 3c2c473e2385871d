//! What happens to a key after it was made: it is sent with, retires, ends (PROTOCOL.md section 9).

use super::{
    Core,
    keys::{Ending, MAX_KEYS, RoutingSa},
    sa::NonceHead,
};
use crate::{
    counters::bump,
    crypto::Secret,
    keytable::RowState,
    time::{Duration, Instant},
};

impl Core<'_> {
    pub(super) fn keys_full(&self) -> bool {
        self.pair.keys.len() >= MAX_KEYS
    }

    /// A new key: accepted from now on.
    pub(super) fn add_key(
        &mut self,
        session: u8,
        (lineage, under): (u32, [u8; 8]),
        ids: (u16, u16),
        key: Secret<32>,
        ours: bool,
        nonce: NonceHead,
    ) {
        let lifetime = self.settings().lifetime;
        // Who asked for it asks for the next: a tenth of the lifetime early, jittered (RFC 7296 section 2.8.1). The other
        // side does if that never comes.
        let renew = if ours {
            let tenth = lifetime.divided(10);
            let jitter = Duration::from_millis(self.random_below(tenth.as_millis().max(1)));
            lifetime.minus(tenth).minus(jitter)
        } else {
            lifetime
        };
        let row = RoutingSa {
            session,
            lineage,
            under,
            send_id: ids.0,
            recv_id: ids.1,
            key,
            ours,
            state: RowState::Pending,
            renew: self.now.after(renew),
            activation: 0,
            nonce,
            ending: Ending::No,
            outlived_by: 0,
            confirm: ours,
            told: None,
            gone: false,
        };
        bump(&mut self.pair.pair_counters.keys_made);
        // Callers looked whether there is room; without it the session has one key less, and asks again.
        let _ = self.pair.keys.push(row);
    }

    /// This side sends with the key from now on: the peer holds it. Those before it retire.
    pub(super) fn activate_key(&mut self, session: u8, recv_id: u16) {
        let grace = self.now.after(self.settings().dtd);
        self.pair.activations = self.pair.activations.saturating_add(1);
        let activation = self.pair.activations;
        for key in self
            .pair
            .keys
            .iter_mut()
            .filter(|key| key.session == session && !key.gone)
        {
            if key.recv_id == recv_id {
                key.state = RowState::Active;
                key.activation = activation;
            } else if key.state != RowState::Retiring {
                retire(key, grace, activation);
            }
        }
    }

    /// This side stops sending with the key, or never begins; the peer may send with it for a while.
    pub(super) fn retire_key(&mut self, session: u8, recv_id: u16) {
        let grace = self.now.after(self.settings().dtd);
        let next = self.pair.activations.saturating_add(1);
        let mut keys = self.pair.keys.iter_mut();
        if let Some(key) = keys.find(|key| key.session == session && key.recv_id == recv_id) {
            retire(key, grace, next);
        }
    }

    /// A fresh request of the peer under this IKE SA shows that it has had the answers to those before: it holds every key
    /// that it asked for under it.
    pub(super) fn peer_holds_keys(&mut self, spi_i: [u8; 8]) {
        let up = |under: [u8; 8]| self.pair.sas.iter().any(|sa| sa.spi_i == under && sa.is_up());
        let held = self.pair.keys.iter().filter(|key| {
            let pending = !key.gone && !key.ours && key.state == RowState::Pending;
            pending && (key.under == spi_i || !up(key.under))
        });
        let held: heapless::Vec<(u8, u16), MAX_KEYS> = held.map(|key| (key.session, key.recv_id)).collect();
        for (session, recv_id) in held {
            self.activate_key(session, recv_id);
        }
    }

    /// Another IKE SA stands in the place of the one that keys were made under.
    pub(super) fn keys_move(&mut self, from: [u8; 8], to: [u8; 8]) {
        for key in self.pair.keys.iter_mut().filter(|key| key.under == from) {
            key.under = to;
        }
    }

    /// The IKE SA is gone without a word, and the keys with it once the routing protocols had time: the peer may only have
    /// lost its way here, and comes back.
    pub(super) fn orphan_keys(&mut self) {
        let grace = self.now.after(self.settings().dtd);
        for key in &mut self.pair.keys {
            key.state = RowState::Retiring;
            key.confirm = false;
            key.ending = Ending::Alone(match key.ending {
                Ending::No | Ending::Delete(_) | Ending::Peer(_) => grace,
                Ending::Alone(at) => at.min(grace),
            });
        }
    }

    /// Keys that nothing may be sent or accepted under any more.
    pub(super) fn remove_keys(&mut self, which: impl Fn(&RoutingSa) -> bool) {
        for key in self.pair.keys.iter_mut().filter(|key| which(key)) {
            if !key.gone {
                // Not given to another key soon (section 7): old packets may still be under way.
                if self.pair.rested.is_full() {
                    let _ = self.pair.rested.pop_front();
                }
                let _ = self.pair.rested.push_back(key.recv_id);
            }
            key.gone = true;
        }
    }

    /// Ends keys whose time has come.
    pub(super) fn run_keys(&mut self) {
        let now = self.now;
        self.remove_keys(|key| matches!(key.ending, Ending::Alone(at) if at <= now));
        for key in &mut self.pair.keys {
            if let Ending::Peer(at) = key.ending
                && at <= now
            {
                key.ending = Ending::Delete(now);
            }
        }
    }

    /// When a key ends, or is to be ended.
    pub(super) fn next_ending(&self) -> Option<Instant> {
        let keys = self.pair.keys.iter().filter(|key| !key.gone);
        keys.filter_map(|key| match key.ending {
            Ending::No => None,
            Ending::Peer(at) | Ending::Alone(at) => Some(at),
            // Before that this side waits for more than time.
            Ending::Delete(at) => Some(at).filter(|at| *at > self.now),
        })
        .min()
    }
}

/// The one who asked for it ends it after DTD; if that never comes, the other does, much later.
fn retire(key: &mut RoutingSa, grace: Instant, outlived_by: u32) {
    key.outlived_by = outlived_by;
    key.state = RowState::Retiring;
    key.ending = if key.ours {
        Ending::Delete(grace)
    } else {
        Ending::Peer(grace.after(super::LINGER).after(super::LINGER))
    };
}
