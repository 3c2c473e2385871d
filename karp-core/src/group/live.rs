//! Who counts in an office: live members, those whom an heir waits for, and who knocks (PROTOCOL.md section 7, *who is
//! waited for*).

use super::Office;
use crate::{
    announcement::Heard,
    node::Core,
    peer::Peer,
    storage::{Handle, earlier},
    stranger::Stranger,
    time::Instant,
    wire::NodeState,
};

impl Core<'_> {
    /// An authenticated announcement, heard by the office.
    pub(crate) fn office_heard(&mut self, row: Handle, heard: &Heard) {
        if heard.claim.state == NodeState::Gcks {
            return self.office_claimed(row, heard);
        }
        let Some(office) = self.node.office.as_ref() else {
            return;
        };
        let (own, next) = (office.spi, office.next);
        let now = self.now;
        let pause = self.hello().times(2);
        let leaving = self.peers.get(row).is_some_and(Peer::is_leaving);
        // Under a former Rekey SA others may speak who were put out since: what counts is said under this office's.
        let under_own = heard.under == Some(own) || (next.is_some() && heard.under == next);
        if leaving && under_own {
            return self.peer_left(row);
        }
        let Some(peer) = self.peers.get_mut(row) else {
            return;
        };
        let Some(registrant) = peer.registrant.as_mut().filter(|row| row.given) else {
            return;
        };
        if !under_own {
            // It missed a change of the Rekey SA; it is not asked more often than it can answer.
            if peer.sa.is_some() && now.since(registrant.asked) >= pause {
                registrant.asked = now;
                peer.push = true;
                self.node.pushes_owed = true;
            }
            return;
        }
        // Heard again, it is live again.
        registrant.live = true;
        registrant.silent = false;
        registrant.confirmed = true;
        registrant.heard = now;
        peer.joined = true;
        self.node.joins_untold |= !peer.told_joined;
        if heard.claim.rekey_sa != heard.under {
            return;
        }
        // The announced generation is the acknowledgement, and nothing else is.
        if heard.under == Some(own) {
            registrant.acked = registrant.acked.max(Some(heard.claim.generation));
        } else {
            registrant.has_next_sa = true;
            registrant.acked = Some(u32::MAX);
        }
    }

    /// A member leaves the live set by LEAVING, by eviction, or when silence and a push that timed out agree.
    pub(crate) fn peer_left(&mut self, row: Handle) {
        self.sealed.retain(|sealed| sealed.peer != row);
        let last_made = self.node.office.as_ref().map_or(0, |office| office.last_made);
        if let Some(peer) = self.peers.get_mut(row) {
            if peer.holder.take().is_some() {
                peer.earlier = last_made;
            }
            peer.registrant = None;
            peer.sa = None;
            peer.push = false;
            peer.reply = None;
            peer.joined = false;
            self.node.joins_untold = true;
        }
        self.node.stirred = true;
    }

    /// A push to `row` was not answered in all its time.
    pub(crate) fn push_failed(&mut self, row: Handle) {
        if let Some(peer) = self.peers.get_mut(row)
            && let Some(registrant) = peer.registrant.as_mut().filter(|row| row.silent)
        {
            registrant.live = false;
            peer.joined = false;
            self.node.joins_untold = true;
            self.node.stirred = true;
        }
    }

    /// What time does to registrants: who is silent for hold is sent the state; who waits and does not ask is gone. They
    /// are looked at only when something can have come due: a GCKS may have thousands.
    pub(crate) fn run_registrants(&mut self) {
        let now = self.now;
        let due = self.node.office.as_ref().map(|office| office.registrants_due);
        let Some(None) = due.map(|due| due.filter(|at| now < *at)) else {
            debug_assert!(
                due.is_none() || self.next_registrant_deadline().is_none_or(|at| at > now),
                "what brings a deadline forward says so"
            );
            return;
        };
        let hold = self.hold();
        let mut stirred = false;
        let mut next = Instant::END;
        for peer in self.peers.rows_mut() {
            let falls_silent = peer.silent_at();
            let silent = falls_silent.is_none_or(|at| at <= now);
            let Some(registrant) = peer.registrant.as_mut() else {
                continue;
            };
            if registrant.given {
                if registrant.live && silent && !registrant.silent {
                    stirred = true;
                    if registrant.confirmed && peer.sa.is_some() {
                        registrant.silent = true;
                        peer.push = true;
                        self.node.pushes_owed = true;
                    } else {
                        // Live from its request on, and no longer if it was not heard so within 2 x hold.
                        registrant.live = false;
                        peer.joined = false;
                    }
                } else if registrant.live
                    && registrant.silent
                    && peer.sa.as_ref().is_none_or(|sa| sa.initiator)
                {
                    // It cannot be asked any more: the IKE SA that it registered by is gone.
                    registrant.live = false;
                    peer.joined = false;
                    stirred = true;
                } else if registrant.live && !silent {
                    next = falls_silent.map_or(next, |at| at.min(next));
                }
            } else if now >= registrant.given_up_at(hold) {
                peer.registrant = None;
                peer.sa = None;
                stirred = true;
            } else {
                next = next.min(registrant.given_up_at(hold));
            }
        }
        self.node.stirred |= stirred;
        self.node.joins_untold |= stirred;
        if let Some(office) = self.node.office.as_mut() {
            office.registrants_due = Some(next);
        }
    }

    /// Something was heard or sent that can bring any registrant's deadline forward.
    pub(crate) fn registrants_changed(&mut self) {
        if let Some(office) = self.node.office.as_mut() {
            office.registrants_due = None;
            office.formers_until = Instant::END;
        }
    }

    /// The same of one of them: the others need not be looked at.
    pub(crate) fn registrant_changed(&mut self, row: Handle) {
        let deadline = self
            .peers
            .get(row)
            .and_then(|peer| self.registrant_deadline(peer));
        if let Some(office) = self.node.office.as_mut() {
            office.registrants_due =
                earlier(office.registrants_due, deadline).filter(|_| office.registrants_due.is_some());
        }
    }

    /// No registrant's deadline is earlier; `None` if that is not known.
    pub(crate) fn earliest_registrant(&self) -> Option<Instant> {
        self.node
            .office
            .as_ref()
            .map_or(Some(Instant::END), |office| office.registrants_due)
    }

    /// When the next registrant falls silent.
    pub(crate) fn next_registrant_deadline(&self) -> Option<Instant> {
        let at = |peer: &Peer| self.registrant_deadline(peer);
        self.peers.rows().filter_map(at).min()
    }

    fn registrant_deadline(&self, peer: &Peer) -> Option<Instant> {
        let registrant = peer.registrant?;
        if !registrant.given {
            return Some(registrant.given_up_at(self.hold()));
        }
        if !registrant.live || registrant.silent {
            return None;
        }
        peer.silent_at()
    }

    /// Section 7, *an heir*: whom it hears under a Rekey SA that it inherited and who has not registered yet.
    pub(crate) fn counts_for_heir(&self, office: &Office, peer: &Peer) -> bool {
        self.heir_deadline(office, peer)
            .is_some_and(|until| self.now < until)
    }

    /// Section 7, *an heir*: for hold, and until all that it hears under an inherited Rekey SA have registered.
    pub(crate) fn heir_waits(&self, office: &Office) -> bool {
        let wait = || self.now < office.took.after(self.hold());
        office.heir && (wait() || self.waits_for_unregistered(office))
    }

    /// Whether somebody is heard that an heir waits for. Mostly nobody can be, and then they are not looked through.
    pub(crate) fn waits_for_unregistered(&self, office: &Office) -> bool {
        let mut peers = self.peers.rows();
        let waits = |peer| self.counts_for_heir(office, peer);
        if self.now < office.formers_until {
            return office.heir && peers.any(waits);
        }
        debug_assert!(!office.heir || !peers.any(waits), "whom an heir hears is noted");
        false
    }

    /// Until when an heir may wait for `peer`, whatever else has to be true of it.
    fn former_until(office: &Office, peer: &Peer) -> Option<Instant> {
        peer.under.filter(|spi| *spi != office.spi)?;
        Some(peer.heard?.max(office.took).after(peer.hold()?.times(2)))
    }

    /// `row` was heard.
    pub(crate) fn former_heard(&mut self, row: Handle) {
        if let (Some(office), Some(peer)) = (self.node.office.as_mut(), self.peers.get(row))
            && let Some(until) = Self::former_until(office, peer)
        {
            office.formers_until = office.formers_until.max(until);
        }
    }

    /// Finds out until when an heir may wait for anybody, if that is not known.
    pub(crate) fn find_formers(&mut self) {
        let Some(office) = self
            .node
            .office
            .as_mut()
            .filter(|office| office.heir && office.formers_until == Instant::END)
        else {
            return;
        };
        let untils = self
            .peers
            .rows()
            .filter_map(|peer| Self::former_until(office, peer));
        office.formers_until = untils.max().unwrap_or(office.took);
    }

    /// Whether a hint is heard of somebody that may join and has not registered. That may be a router that restarted and
    /// has keys to show, or comes from another half; it holds up a rollover for a time and nothing else (section 7).
    pub(crate) fn somebody_knocks(&self) -> bool {
        let registered = |stranger: &Stranger| {
            let row = self.peers.find_identity(&stranger.identity);
            let registrant = row
                .and_then(|row| self.peers.get(row))
                .and_then(|peer| peer.registrant);
            registrant.is_some_and(|row| row.live || !row.given)
        };
        self.strangers
            .rows()
            .filter(|stranger| stranger.is_heard(self.now) && !self.is_evicted(&stranger.identity))
            .any(|stranger| self.creds.grant(&stranger.identity).may_join && !registered(stranger))
    }

    fn heir_deadline(&self, office: &Office, peer: &Peer) -> Option<Instant> {
        let under = peer.under.filter(|spi| *spi != office.spi)?;
        let serves_or_goes = peer.serves() || peer.is_leaving() || !peer.is_keyed();
        // Who was given the state and never heard under it since may not have it: an heir hears it under the former one.
        let registered = peer.registrant.is_some_and(|row| row.live || !row.given);
        if !office.heir || registered || serves_or_goes || self.is_evicted(&peer.identity) {
            return None;
        }
        if !self.creds.grant(&peer.identity).may_join {
            return None;
        }
        let patience = peer.hold()?.times(2);
        // Whoever speaks and does not register is not waited for beyond the time at which a successor of the Active key
        // is due: an attacker may play what a dead router said.
        let silent = peer.heard?.max(office.took).after(patience).min(office.patience);
        // Who announces another office's Rekey SA is waited for until 2 x hold after that was first heard.
        let other = self.node.sas.find(&under).and_then(|sa| sa.other_office);
        Some(other.map_or(silent, |at| at.after(self.hold().times(2)).min(silent)))
    }

    pub(crate) fn next_heir_deadline(&self, office: &Office) -> Option<Instant> {
        if !office.heir || self.now >= office.formers_until {
            return None;
        }
        let deadlines = self
            .peers
            .rows()
            .filter_map(|peer| self.heir_deadline(office, peer));
        deadlines.filter(|at| *at > self.now).min()
    }
}
