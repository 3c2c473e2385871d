//! Making traffic keys and ending them, as the GCKS does (PROTOCOL.md sections 6 and 7).

use super::TrafficKey;
use crate::{
    command::RekeyReason,
    crypto::{ROW, Secret, apart},
    node::Core,
    storage::Handle,
    time::Duration,
    wire::{KeyState, ProtocolList, gsa::Keyed, numbers},
};

impl Core<'_> {
    pub(crate) fn pending_keys(&self) -> impl Iterator<Item = Handle> {
        self.keys
            .iter()
            .filter(|(_, key)| key.lives() && key.state == KeyState::Pending)
            .map(|(row, _)| row)
    }

    /// When the Active key's successor is due: with a quarter of its life and DTD to spare; and when it is activated
    /// without the laggards: DTD before the old key's end (section 7).
    pub(super) fn plan_key_life(&mut self) {
        let dtd = self.node.config.settings().dtd;
        let lifetime = self.node.config.settings().key_lifetime;
        let active = self
            .keys
            .rows()
            .find(|key| key.lives() && key.state == KeyState::Active);
        let expires = active.map(|key| key.expires);
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        office.key_due = expires.map(|at| at.before(lifetime.divided(4)).before(dtd));
        office.force_due = expires.map(|at| at.before(dtd));
        office.patience = office.patience.max(office.key_due.unwrap_or(office.took));
    }

    /// A new traffic key, Pending, under an id drawn at random from those not in use (section 6).
    pub(crate) fn make_key(&mut self, _reason: RekeyReason) {
        let Some(id) = self.draw_key_id() else { return };
        let settings = self.node.config.settings();
        let mut protocols = ProtocolList::new();
        for policy in &settings.protocols {
            // Eight at most, each once: the configuration was checked.
            let _ = protocols.push(Keyed {
                protocol: numbers::RoutingProtocol(policy.protocol.code()),
                algorithm: numbers::Algorithm(policy.algorithm.code()),
            });
        }
        let expires = self.now.after(settings.key_lifetime);
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        office.last_made = office.last_made.saturating_add(1);
        let made = office.last_made;
        // A key made during a merge counts as given to every identity (section 5.5).
        let merging = |peer: &crate::peer::Peer| peer.registrant.is_some_and(|row| row.merging.is_some());
        if office.merge.is_some() && self.peers.rows().any(merging) {
            office.floor = office.floor.max(made);
        }
        office.started = Some(id);
        apart::<ROW, _>(|| {
            let tek = Secret::random(self.rng);
            self.insert_key(TrafficKey {
                made,
                ..TrafficKey::pending(id, tek, expires, protocols)
            });
        });
    }

    /// Not Pending, Active, Retiring, manually configured or reported; if all ids rest, the one that rests longest.
    fn draw_key_id(&mut self) -> Option<u16> {
        let settings = self.node.config.settings();
        let (first, last) = settings.key_ids;
        let now = self.now;
        let taken = |id: u16| {
            self.keys.rows().any(|key| key.id == id) || settings.manual_keys.iter().any(|key| key.id == id)
        };
        // A block of 64 ids at a time, for there can be 65,535 of them.
        let free_from = |from: u16| {
            let keys = self.keys.rows().map(|key| key.id);
            let manual = settings.manual_keys.iter().map(|key| key.id);
            let resting = self.node.resting_ids.iter().filter(|(_, until)| *until > now);
            free(from, last, keys.chain(manual).chain(resting.map(|(id, _)| id)))
        };
        let blocks = || (first..=last).step_by(64).map(|from| (from, free_from(from)));
        let count: u32 = blocks().map(|(_, free)| free.count_ones()).sum();
        if count == 0 {
            let mut oldest = self.node.resting_ids.iter().map(|(id, _)| id);
            let rested = oldest.find(|id| (first..=last).contains(id) && !taken(*id));
            drop(oldest);
            return rested.or_else(|| self.reclaim_key_id());
        }
        let nth = self.rng.next_u64().checked_rem(u64::from(count)).unwrap_or(0);
        let mut skip = u32::try_from(nth).unwrap_or(0);
        for (from, mut free) in blocks() {
            match skip.checked_sub(free.count_ones()) {
                Some(rest) => skip = rest,
                None => {
                    for _ in 0..skip {
                        // Without its lowest bit.
                        free &= free.wrapping_sub(1);
                    }
                    let at = u16::try_from(free.trailing_zeros()).ok()?;
                    return from.checked_add(at);
                }
            }
        }
        None
    }

    /// Every id is a key's: the oldest that is only accepted gives up its own.
    fn reclaim_key_id(&mut self) -> Option<u16> {
        let retiring = self
            .keys
            .iter()
            .filter(|(_, key)| key.lives() && key.state == KeyState::Retiring);
        let (row, id) = retiring
            .min_by_key(|(_, key)| (key.activation, key.expires))
            .map(|(row, key)| (row, key.id))?;
        self.end_key(row);
        Some(id)
    }

    pub(super) fn activate(&mut self) {
        let Some(row) = self.pending_keys().next() else {
            return;
        };
        // Its life begins with its use, however long it had to wait.
        let expires = self.now.after(self.node.config.settings().key_lifetime);
        if let Some(key) = self.keys.get_mut(row) {
            key.expires = expires;
        }
        self.advance_key(row, KeyState::Active);
        self.plan_key_life();
    }

    /// A Pending key that has to wait does not age: the others would end it, and their acknowledgements would mean
    /// nothing.
    pub(super) fn renew_pending(&mut self) {
        let lifetime = self.node.config.settings().key_lifetime;
        let (now, least) = (self.now, self.now.after(lifetime.divided(2)));
        let mut renewed = false;
        let pending =
            |key: &&mut TrafficKey| key.lives() && key.state == KeyState::Pending && key.expires < least;
        for key in self.keys.rows_mut().filter(pending) {
            key.expires = now.after(lifetime);
            renewed = true;
        }
        if renewed {
            self.owe_refresh();
        }
    }

    /// What is older than the Active key may be left out in DTD; an abandoned key, which is younger, after the next
    /// activation (section 7).
    pub(super) fn schedule_omission(&mut self) {
        let now = self.now;
        let dtd = self.node.config.settings().dtd;
        let made = self
            .keys
            .rows()
            .find(|key| key.lives() && key.state == KeyState::Active)
            .map(|key| key.made);
        let Some(made) = made else { return };
        for key in self
            .keys
            .rows_mut()
            .filter(|key| key.lives() && key.state == KeyState::Retiring)
        {
            if key.made < made && (key.made != 0 || key.was_active) {
                key.omit_at = key.omit_at.or(Some(now.after(dtd)));
            }
        }
    }

    /// Leaves out what everyone has stopped needing; not while a merge lasts (section 5.5).
    pub(super) fn omit_keys(&mut self) {
        let now = self.now;
        let Some(office) = self.node.office.as_ref() else {
            return;
        };
        let merges = office.merge.is_some() || office.merging.is_some() || self.rival_gates(office);
        // Members that have the next Rekey SA already take no update under this one.
        if merges || self.is_changing_sa() {
            return;
        }
        let due = |key: &TrafficKey| key.lives() && key.omit_at.is_some_and(|at| at <= now);
        if !self.keys.rows().any(due) {
            return;
        }
        // Who knocks may send with it.
        let more = if self.somebody_knocks() {
            self.hold().times(2)
        } else {
            Duration::default()
        };
        if self.end_keys(|key| key.omit_at.is_some_and(|at| at.after(more) <= now)) {
            self.owe_update();
        }
    }
}

/// Which of the 64 ids from `from` on, and not beyond `last`, are not among `used`: the lowest bit is `from`'s.
fn free(from: u16, last: u16, used: impl Iterator<Item = u16>) -> u64 {
    let bit = |id: u16| {
        let at = id.checked_sub(from)?;
        1_u64.checked_shl(u32::from(at))
    };
    let behind = 63_u32.saturating_sub(u32::from(last.saturating_sub(from)));
    let all = u64::MAX.checked_shr(behind).unwrap_or(0);
    used.filter_map(bit).fold(all, |free, used| free & !used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ids_are_those_not_used() {
        for (first, last) in [(1, 255), (1, 8), (1, 64), (1, 65), (60, 200), (65_400, 65_535)] {
            for used in [
                &[][..],
                &[1, 2, 3],
                &[64, 65, 128],
                &[65_535, 65_500],
                &[first, last],
            ] {
                let blocks = (first..=last).step_by(64);
                let found = blocks.flat_map(|from| {
                    let bits = free(from, last, used.iter().copied());
                    (0..64_u16)
                        .filter(move |at| bits & (1 << at) != 0)
                        .map(move |at| from + at)
                });
                let expected = (first..=last).filter(|id| !used.contains(id));
                assert!(found.eq(expected), "{first} to {last} without {used:?}");
            }
        }
    }
}
