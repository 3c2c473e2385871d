//! Eviction: one identity out, and every key changed without it (PROTOCOL.md section 7).

use super::{EvictedList, rollover::Input};
use crate::{
    command::RekeyReason,
    election::{self, Election, Gcks},
    error::CommandError,
    identity::Identity,
    io::Timer,
    node::{Core, EvictedUntil, digest},
    storage::Handle,
};

impl Core<'_> {
    /// Evicts `identity`; only the GCKS can.
    pub(crate) fn evict(&mut self, identity: &Identity) -> Result<(), CommandError> {
        if identity == self.own_identity() {
            return Err(CommandError::OwnIdentity);
        }
        if self.node.office.is_none() {
            return Err(CommandError::NotGcks);
        }
        // An identity that can prove itself by somebody else's key cannot be kept out.
        if self.creds.is_shared(identity) {
            return Err(CommandError::SharedKey);
        }
        let known = self.peers.find_identity(identity);
        if known.is_none() && self.creds.grant(identity) == crate::identity::Grant::NONE {
            return Err(CommandError::UnknownIdentity);
        }
        // An office that was on its way to the evicted router stays here.
        if let Election::Gcks(Gcks::HandingOff(to)) = self.node.election
            && known == Some(Handle::from_number(to.0))
        {
            self.step(election::Input::HandoffFailed);
        }
        self.note_evicted(&EvictedList::from_iter([digest(identity)]));
        self.change_everything();
        crate::counters::bump(&mut self.node.counters.evictions);
        if self.node.leaving && self.node.election == Election::Gcks(Gcks::Serving) {
            // The host had left, and the evicted router was to follow: another one, or nobody.
            let succession = self.hold();
            self.set_timer(Timer::Succession, succession);
        }
        Ok(())
    }

    /// Remembers evicted identities for a Rekey SA lifetime, eight at most, and refuses them in any role. Says
    /// whether there were any that were not known.
    fn note_evicted(&mut self, list: &EvictedList) -> bool {
        let mut news = false;
        let until = self.now.after(self.node.config.settings().rekey_sa_lifetime);
        let now = self.now;
        let own = digest(self.own_identity());
        self.node.evicted.retain(|entry| entry.until > now);
        for entry in list.iter().filter(|entry| **entry != own) {
            if let Some(known) = self.node.evicted.iter_mut().find(|known| known.digest == *entry) {
                known.until = known.until.max(until);
                continue;
            }
            if self.node.evicted.is_full() {
                self.node.evicted.remove(0);
            }
            news = true;
            let _ = self.node.evicted.push(EvictedUntil {
                digest: *entry,
                until,
            });
        }
        if news {
            self.expose_keys();
        }
        let out: heapless::Vec<Handle, 8> = self
            .peers
            .iter()
            .filter(|(_, peer)| self.is_evicted(&peer.identity))
            .map(|(row, _)| row)
            .take(8)
            .collect();
        for row in out {
            self.peer_left(row);
        }
        news
    }

    /// EVICTED came with a state, or from a greater office.
    pub(crate) fn hear_of_evictions(&mut self, list: &EvictedList) {
        if !self.note_evicted(list) {
            return;
        }
        if self.node.office.is_some() {
            // This half does the same before it takes a key of the other (section 5.5, merge, step 2), or who was put
            // out would read it under the present Rekey SA.
            self.renew_rekey_sa();
            self.roll(Input::Replaced);
            self.node.sas.forget_formers();
        } else {
            // The next whole state is all that is left to a member.
            self.node.purge = true;
        }
    }

    /// Who registered here says whom it put out. It is believed if it is an office that merges and may serve here
    /// (section 5.5, merge, step 1). Those may be members of this office: a new Rekey SA at once, and a new key that
    /// they are not given.
    pub(crate) fn lesser_told_evictions(&mut self, row: Handle, list: &EvictedList) {
        let believed = self.peers.get(row).is_some_and(|peer| {
            let office = peer
                .registrant
                .is_some_and(|row| row.office && row.merging.is_some());
            office && self.creds.grant(&peer.identity).may_serve
        });
        if believed && self.note_evicted(list) {
            self.renew_rekey_sa();
            self.roll(Input::Replaced);
            self.node.sas.forget_formers();
            self.roll(Input::Want(RekeyReason::Compromise));
        }
    }

    /// A new Rekey SA and a new Pending key, to each remaining member by unicast; GSA_REKEY under the new one follows
    /// when all have acknowledged, or after 2 x hold.
    fn change_everything(&mut self) {
        let now = self.now;
        let hold = self.hold();
        // (1) A running rollover is abandoned.
        self.retire_pending();
        // (2) A new Rekey SA and a new key.
        self.make_key(RekeyReason::Compromise);
        self.renew_rekey_sa();
        if let Some(office) = self.node.office.as_mut() {
            office.evict_due = Some(now.after(hold.times(2)));
        }
        self.roll(Input::Evict);
    }

    /// A new Rekey SA at once, to each remaining member by unicast.
    fn renew_rekey_sa(&mut self) {
        if let Some(office) = self.node.office.as_mut() {
            office.next = None;
        }
        self.node.sas.drop_next();
        self.make_next_sa();
        self.commit_next_sa();
        for peer in self.peers.rows_mut() {
            if let Some(registrant) = peer.registrant.as_mut().filter(|row| row.given) {
                registrant.acked = None;
                peer.push = peer.sa.is_some();
                self.node.pushes_owed = true;
            }
        }
    }
}
