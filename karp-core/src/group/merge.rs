//! Two offices of one group become one: the lesser is a registrant of the greater, and one ordinary rollover joins the
//! halves (PROTOCOL.md section 5.5, *merge*).

use core::net::SocketAddr;

use super::{
    CheckedState, CheckedTek, Membership, Office, TrafficKey,
    membership::who,
    rollover::{Input, Phase},
};
use crate::{
    announcement::Heard,
    command::RekeyReason,
    crypto::ct_eq,
    election::{self, Election, Gcks},
    exchange::Purpose,
    identity::Identity,
    io::Timer,
    node::Core,
    peer::{Peer, Registrant},
    storage::Handle,
    time::{Duration, Instant},
    wire::{ElectionState, KeyState, NodeState, notify::KeysInUse},
};

/// W's part: it lasts 2 x hold after the last request of a lesser office.
pub(crate) struct MergeAsGreater {
    pub(crate) until: Instant,
}

/// L's part.
pub(crate) struct MergeAsLesser {
    /// The greater office.
    pub(crate) greater: Handle,
}

impl Core<'_> {
    /// Order between two offices: one that has members first, then rank (section 5.5). The other office itself is no
    /// member, though it may have registered here before.
    pub(crate) fn is_greater(&self, identity: &Identity, claim: &ElectionState) -> bool {
        let settings = self.node.config.settings();
        let members = self
            .peers
            .rows()
            .any(|peer| peer.is_live() && peer.identity != *identity);
        let theirs = (claim.members > 0, claim.priority, claim.router_id, identity);
        theirs
            > (
                members,
                self.node.priority,
                settings.router_id,
                &settings.identity,
            )
    }

    /// A GCKS probes others while it is not merging into one already, and not on its way out.
    pub(crate) fn may_probe_rivals(&self) -> bool {
        self.node.election == Election::Gcks(Gcks::Serving)
    }

    /// A hint claims the office.
    pub(crate) fn claimed_by_stranger(&mut self, from: SocketAddr) {
        if let Some(membership) = self.node.membership.as_ref() {
            // The successor that the followed GCKS named may be known by hints alone.
            let named = membership.handoff;
            let stranger = self.strangers.rows().find(|stranger| stranger.address == from);
            if named.is_some() && stranger.is_some_and(|stranger| Some(stranger.instance) == named) {
                let gcks = membership.gcks;
                self.step(election::Input::Successor(who(gcks)));
            }
        }
        if self.node.election.is_seeking() {
            self.step(election::Input::Hint);
        }
        self.seek();
    }

    /// An office that announces itself under a Rekey SA in common.
    pub(crate) fn office_claimed(&mut self, row: Handle, heard: &Heard) {
        let now = self.now;
        if let Election::Gcks(Gcks::HandingOff(to)) = self.node.election
            && to == who(row)
        {
            return self.step(election::Input::SuccessorServes(to));
        }
        if heard.handoff == Some(self.node.instance) {
            // It hands over to this node and has not heard it serve yet: that is no rival.
            self.node.announce = true;
            return;
        }
        if let Some(office) = self.node.office.as_mut() {
            office.rival_heard = Some(now);
        }
        if self.may_probe_rivals() && self.is_greater(&heard.identity, &heard.claim) {
            self.seek();
        }
    }

    /// Another office proved itself in an exchange: that is hearing it authentically.
    pub(crate) fn note_rival(&mut self) {
        let now = self.now;
        if let Some(office) = self.node.office.as_mut() {
            office.rival_heard = Some(now);
        }
    }

    /// Whether this office declines to be the greater one for a proved peer. A peer that is no office is never
    /// declined for its rank.
    pub(crate) fn declines_office(&self, identity: &Identity, state: ElectionState) -> bool {
        let merging = self
            .node
            .office
            .as_ref()
            .is_some_and(|office| office.merging.is_some());
        // Nor does one that is on its way to a successor take another in.
        let handing_off = matches!(self.node.election, Election::Gcks(Gcks::HandingOff(_)));
        state.state == NodeState::Gcks && (merging || handing_off || self.is_greater(identity, &state))
    }

    /// Whether a registrant merges: mostly none does, and then they are not looked through.
    pub(crate) fn somebody_merges(&self) -> bool {
        let merges = |row: Registrant| row.merging.is_some();
        let mut registrants = self.peers.rows().filter_map(|peer| peer.registrant);
        if self.node.office.as_ref().is_some_and(|office| office.merges) {
            return registrants.any(merges);
        }
        debug_assert!(!registrants.any(merges), "who begins to merge says so");
        false
    }

    /// Whether a lesser office has registered here and was not given the state yet.
    pub(crate) fn office_merges_here(&self) -> bool {
        let merges = |row: Registrant| row.office && row.merging.is_some();
        self.peers.rows().filter_map(|peer| peer.registrant).any(merges)
    }

    /// An office that merges has nothing to give to a router of another half: that does better to ask the greater one.
    pub(crate) fn declines_other_half(&mut self, keys: &KeysInUse) -> bool {
        let merging = self
            .node
            .office
            .as_ref()
            .is_some_and(|office| office.merging.is_some());
        merging && self.judge_keys(keys).foreign
    }

    /// A greater office asked this one: it ranks lower, declines, and itself initiates.
    pub(crate) fn lesser_office_asked(
        &mut self,
        from: SocketAddr,
        identity: &Identity,
        state: ElectionState,
    ) {
        if state.state == NodeState::Gcks {
            self.note_rival();
        }
        if state.state == NodeState::Gcks && self.may_probe_rivals() && !self.is_attempting(from) {
            let _ = self.start_attempt(Purpose::Rival, from, identity.clone(), None);
        }
    }

    /// An office that hears another authentically, by announcement or exchange, starts and activates nothing except for
    /// the merge: what a lesser office waits for. One that was given the state and is not heard yet waits for nothing.
    pub(crate) fn rival_gates(&self, office: &Office) -> bool {
        let heard = office
            .rival_heard
            .is_some_and(|at| self.now < at.after(self.hold().times(2)));
        let merging = |peer: &Peer| {
            peer.registrant
                .is_some_and(|row| row.office && row.merging.is_some())
        };
        // Nor for one of several that has not registered yet.
        let recent = |peer: &Peer| {
            peer.heard
                .is_some_and(|at| self.now < at.after(self.hold().times(2)))
        };
        let other = |peer: &Peer| peer.serves() && recent(peer) && !merging(peer);
        let mut peers = self.peers.rows();
        heard && (!self.peers.rows().any(merging) || peers.any(other))
    }

    /// W waits for L to show the key that is being distributed, if it was made for L.
    pub(crate) fn distributes_to(&self, office: &Office, after: u32) -> bool {
        let pending = self
            .keys
            .rows()
            .find(|key| key.lives() && key.state == KeyState::Pending);
        matches!(office.rollover.phase(), Phase::Distributing { .. })
            && pending.is_some_and(|key| key.made > after)
    }

    /// This office has registered with another one.
    pub(crate) fn rival_registered(&mut self, row: Handle, instance: [u8; 8], state: Option<&CheckedState>) {
        let greater = self
            .peers
            .get(row)
            .and_then(|peer| peer.claim.map(|claim| self.is_greater(&peer.identity, &claim)))
            .unwrap_or(false);
        if !greater || !self.may_probe_rivals() {
            if let Some(peer) = self.peers.get_mut(row) {
                peer.sa = None;
            }
            return;
        }
        self.step(election::Input::GreaterProved(who(row)));
        self.node.membership = Some(Membership::new(row, instance, self.now));
        // From now on this office makes no key.
        if let Some(office) = self.node.office.as_mut() {
            office.merging = Some(MergeAsLesser { greater: row });
        }
        self.roll(Input::Abandon);
        // Who merges into this one gets nothing here any more, and looks for the greater one.
        for peer in self.peers.rows_mut() {
            if peer.registrant.is_some_and(|row| row.merging.is_some()) {
                peer.registrant = None;
                peer.sa = None;
            }
        }
        let hello = self.hello();
        self.set_timer(Timer::Pull, hello);
        if state.is_some() {
            self.merge_state(row, state);
        }
    }

    /// What the greater office gave: keys for both halves, or at the end the whole state.
    pub(crate) fn merge_state(&mut self, from: Handle, state: Option<&CheckedState>) {
        let merging = self
            .node
            .office
            .as_ref()
            .and_then(|office| office.merging.as_ref());
        if merging.is_none_or(|merging| merging.greater != from) {
            return;
        }
        let Some(state) = state else { return };
        if state.rekey_sa.is_some() {
            // Step 4: this node is a member of the greater office. The order matters: the office ends, then the
            // Rekey SA changes, so that the former one authenticates this half.
            self.step(election::Input::Keyed(who(from)));
            self.apply_whole(from, state);
            return;
        }
        // Not while the Rekey SA changes or an eviction runs: this office asks again each hello.
        if !self
            .node
            .office
            .as_ref()
            .is_some_and(|office| office.rollover.can_adopt())
        {
            return;
        }
        // One that is Active already comes first: what is Pending beside it is newer.
        let active = |tek: &&CheckedTek| tek.policy.state == KeyState::Active;
        let others = state.teks.iter().filter(|tek| !active(tek));
        for tek in state.teks.iter().filter(active).chain(others) {
            let Some(secret) = &tek.key else { continue };
            let known = self.keys.find(|key| key.lives() && key.id == tek.policy.id);
            let known = known.and_then(|row| self.keys.get(row));
            // One that was abandoned with an earlier merge is distributed anew.
            let usable = |key: &TrafficKey| key.state != KeyState::Retiring || key.was_active;
            if !known.is_some_and(|key| usable(key) && ct_eq(key.tek.expose(), secret.expose())) {
                self.adopt(tek);
            }
            if tek.policy.state == KeyState::Active {
                self.roll(Input::AdoptActive);
            }
        }
    }

    fn adopt(&mut self, tek: &CheckedTek) {
        if let Some(row) = self.keys.find(|key| key.lives() && key.id == tek.policy.id) {
            self.end_key(row);
        }
        self.retire_pending();
        let expires = self
            .now
            .after(Duration::from_secs(u64::from(tek.policy.lifetime_s)));
        self.insert_from(tek, expires, None);
        self.roll(Input::Adopt);
    }

    /// While this office merges, the other's key is shown only when this whole half has acknowledged it: that is the
    /// acknowledgement that the other waits for.
    pub(crate) fn hides_pending(&self) -> bool {
        let Some(office) = self
            .node
            .office
            .as_ref()
            .filter(|office| office.merging.is_some())
        else {
            return false;
        };
        match office.rollover.phase() {
            Phase::Distributing { since } => self.acknowledged() < Some(since),
            Phase::Steady | Phase::Activated { .. } | Phase::Evicting => true,
        }
    }

    /// The greater office is silent for hold: each stays GCKS with the keys as they stand, and this one starts no
    /// rollover for 2 x hold.
    pub(crate) fn merge_lost(&mut self) {
        let quiet = self.now.after(self.hold().times(2));
        let Some(membership) = self.node.membership.take() else {
            return;
        };
        self.sealed.retain(|sealed| sealed.peer != membership.gcks);
        if let Some(peer) = self.peers.get_mut(membership.gcks) {
            peer.sa = None;
        }
        if let Some(office) = self.node.office.as_mut() {
            office.merging = None;
            office.quiet_until = Some(quiet);
        }
        self.step(election::Input::MergeLost);
        self.roll(Input::Abandon);
    }

    /// What time does to W's part.
    pub(crate) fn run_merge(&mut self) {
        let now = self.now;
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        if office.merge.as_ref().is_some_and(|merge| merge.until <= now) {
            office.merge = None;
            for peer in self.peers.rows_mut().filter(|peer| {
                peer.registrant
                    .is_some_and(|row| row.merging.is_some() && row.office)
            }) {
                peer.registrant = None;
                peer.sa = None;
            }
            self.node.stirred = true;
        }
        let merges = self.somebody_merges();
        if let Some(office) = self.node.office.as_mut() {
            office.merges = merges;
        }
        if self
            .node
            .office
            .as_ref()
            .is_some_and(|office| self.wants_merge_rollover(office))
        {
            self.roll(Input::Want(RekeyReason::PeerRestarted));
        }
    }

    /// A merge needs a key made since it began, unless the lesser office is continuing.
    fn wants_merge_rollover(&self, office: &Office) -> bool {
        let waiting = |row: Registrant| {
            row.merging.is_some_and(|after| office.last_made <= after) && !row.shows.current
        };
        office.rollover.phase() == Phase::Steady
            && !office.rollover.is_wanted()
            && office.merges
            && self.peers.rows().filter_map(|peer| peer.registrant).any(waiting)
    }
}
