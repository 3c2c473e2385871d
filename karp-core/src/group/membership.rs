//! What a member does: follow its GCKS, apply what it is given, look for an heir (PROTOCOL.md sections 5.3 to 7).

use super::{CheckedState, NewRekeySa};
use crate::{
    announcement::Heard,
    crypto::{ROW, apart},
    election::{Effect, Input, Member, Span, Who},
    exchange::Purpose,
    io::{Role, Timer},
    node::{Core, PenaltyKey, RekeySa},
    peer::{self, Peer},
    sealed::Request,
    storage::Handle,
    time::Instant,
    wire::{ElectionFlags, NodeState},
};

/// The relation to the GCKS that this node follows, waits for, or merges into.
pub(crate) struct Membership {
    pub(crate) gcks: Handle,
    pub(crate) instance: [u8; 8],
    /// When it last proved that it serves, by announcement or answer.
    pub(crate) heard: Instant,
    /// When it last answered a request.
    pub(crate) answered: Instant,
    /// The successor that it named.
    pub(crate) handoff: Option<[u8; 8]>,
    /// How many members it had when it last served.
    pub(crate) members: u32,
    /// GSA_REGISTRATION is to be sent.
    pub(crate) pull: bool,
    /// Since when it announces more than this node has.
    behind: Option<Instant>,
}

/// What remains of an office that was handed over or merged: its holder goes on naming the successor (section 5.5).
pub(crate) struct Legacy {
    pub(crate) successor: [u8; 8],
    pub(crate) until: Instant,
}

impl Membership {
    pub(crate) const fn new(gcks: Handle, instance: [u8; 8], now: Instant) -> Self {
        Self {
            gcks,
            instance,
            heard: now,
            answered: now,
            handoff: None,
            members: 0,
            pull: false,
            behind: None,
        }
    }
}

/// The number by which the election knows a peer.
pub(crate) fn who(row: Handle) -> Who {
    Who(row.number())
}

impl Core<'_> {
    /// Hands a fact to the election and does what follows. The one place where the election's state changes.
    pub(crate) fn step(&mut self, input: Input) {
        let before = self.node.election;
        let effects = self.node.election.step(input);
        let after = self.node.election;
        if before.role() != after.role() {
            crate::counters::bump(&mut self.node.counters.role_changes);
        }
        #[cfg(feature = "defmt")]
        if before != after {
            defmt::info!("election {} -> {}", before, after);
        }
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Set(timer, span) => {
                let span = match span {
                    Span::Hello(count) => self.hello().times(u64::from(count)),
                    Span::Hold(count) => self.hold().times(u64::from(count)),
                    // Section 5.4: validate = 3 x hold + random(0 to 2 x hold).
                    Span::Validate => {
                        let hold = self.hold();
                        hold.times(3).plus(self.random_up_to(hold.times(2)))
                    }
                };
                self.set_timer(timer, span);
            }
            Effect::Clear(timer) => self.node.timers.clear(timer),
            Effect::Seek => self.seek(),
            Effect::StopSeeking => {
                self.node.timers.clear(Timer::Join);
                self.end_attempts();
            }
            Effect::Join(_) => self.plan_join(),
            Effect::TakeOffice => self.take_office(),
            Effect::Resign => self.resign(),
            Effect::Unfollow => self.unfollow(),
            Effect::Announce => self.node.announce = true,
        }
    }

    /// The membership is over; the Rekey SA only authenticates others from now on, the traffic keys stay.
    fn unfollow(&mut self) {
        if let Some(membership) = self.node.membership.take() {
            self.sealed.retain(|sealed| sealed.peer != membership.gcks);
            if let Some(peer) = self.peers.get_mut(membership.gcks) {
                peer.sa = None;
                peer.joined = false;
                self.node.joins_untold = true;
            }
        }
        if self.node.office.is_none() {
            self.node.sas.retire(self.now);
            self.node.installs.forget();
        }
    }

    /// An announcement that proved itself by a Rekey SA in common.
    pub(crate) fn heard_peer(&mut self, row: Handle, heard: &Heard) {
        match self.node.election.role() {
            Role::Left => {}
            Role::Gcks => self.office_heard(row, heard),
            Role::Initial | Role::Member => self.member_heard(row, heard),
        }
    }

    fn member_heard(&mut self, row: Handle, heard: &Heard) {
        let leaving = heard.claim.flags.has(ElectionFlags::LEAVING);
        let serves = heard.claim.state == NodeState::Gcks && !leaving;
        let followed = self
            .node
            .membership
            .as_ref()
            .is_some_and(|membership| membership.gcks == row && membership.instance == heard.instance);
        if followed && !heard.claims_anew {
            return self.heard_gcks(heard, serves);
        }
        // One that could not be joined a moment ago must not keep this node from its turn.
        let may_serve = self.peers.get(row).is_some_and(|peer| {
            let key = PenaltyKey::new(peer.address, &peer.identity);
            self.may_be_candidate(&peer.identity) && !self.node.penalties.bars(&key, self.now)
        });
        if !serves || !may_serve {
            return;
        }
        if self.node.election.role() == Role::Initial {
            self.step(Input::Hint);
        } else if self
            .node
            .membership
            .as_ref()
            .is_some_and(|own| own.handoff == Some(heard.instance))
        {
            self.step(Input::Successor(who(row)));
        } else {
            self.step(Input::Heir(who(row)));
        }
    }

    /// The followed GCKS, in its instance.
    fn heard_gcks(&mut self, heard: &Heard, serves: bool) {
        let now = self.now;
        let hello = self.hello();
        let applied = self.node.sas.current().map(|sa| (sa.spi, sa.applied));
        let own_instance = self.node.instance;
        let current = self.node.sas.current_spi();
        let known = heard
            .claim
            .rekey_sa
            .is_some_and(|spi| self.node.sas.find(&spi).is_some());
        let Some(membership) = self.node.membership.as_mut() else {
            return;
        };
        if serves {
            membership.heard = now;
            membership.members = heard.claim.members;
        }
        membership.handoff = heard.handoff;
        // Missed updates are asked for; the GCKS also sends them again to who lags (section 7).
        let behind = match (applied, heard.claim.rekey_sa) {
            (Some((spi, applied)), Some(theirs)) if spi == theirs => heard.claim.generation > applied,
            // Its Rekey SA changed without this node.
            (Some(_), Some(_)) => !known,
            _ => false,
        };
        membership.behind = if behind {
            membership.behind.or(Some(now))
        } else {
            None
        };
        if membership
            .behind
            .is_some_and(|since| now.since(since) >= hello.times(2))
        {
            membership.pull = true;
            membership.behind = Some(now);
        }
        match heard.handoff {
            // Section 5.5: of the followed GCKS's identity, instance and SPI.
            Some(instance) if instance == own_instance => {
                if heard.under == current {
                    let survey = self.survey();
                    self.step(Input::HandoffToMe(survey));
                }
            }
            Some(instance) => self.look_for_successor(instance),
            None if serves => self.step(Input::Heard),
            None => {
                let survey = self.survey();
                self.step(Input::Silent(survey));
            }
        }
    }

    fn look_for_successor(&mut self, instance: [u8; 8]) {
        let serves =
            |peer: &Peer| peer.serves() && peer.instance.is_some_and(|known| known.instance == instance);
        let proved = self
            .peers
            .iter()
            .find(|(_, peer)| serves(peer) && peer.is_heard(self.now));
        let proved = proved.map(|(row, _)| row);
        let hinted = self
            .strangers
            .rows()
            .any(|stranger| stranger.instance == instance && stranger.claim.state == NodeState::Gcks);
        // A successor known by hints alone has no row yet: the row of the old GCKS stands for "whom it named".
        let stand_in = self
            .node
            .membership
            .as_ref()
            .map(|membership| membership.gcks)
            .filter(|_| hinted);
        if let Some(row) = proved.or(stand_in) {
            self.step(Input::Successor(who(row)));
        }
    }

    /// This node is registered with `gcks`; with the state, or waiting for it.
    pub(crate) fn registered(
        &mut self,
        gcks: Handle,
        instance: [u8; 8],
        purpose: Purpose,
        state: Option<&CheckedState>,
    ) {
        if purpose == Purpose::Rival || self.node.office.is_some() {
            return self.rival_registered(gcks, instance, state);
        }
        if let Some(old) = self.node.membership.take().filter(|old| old.gcks != gcks) {
            self.sealed.retain(|sealed| sealed.peer != old.gcks);
            if let Some(old) = self.peers.get_mut(old.gcks) {
                old.sa = None;
                old.joined = false;
                self.node.joins_untold = true;
            }
        }
        match state.filter(|state| state.rekey_sa.is_some()) {
            Some(state) => {
                self.node.membership = Some(Membership::new(gcks, instance, self.now));
                self.apply_whole(gcks, state);
                self.step(Input::Keyed(who(gcks)));
            }
            None => {
                self.step(Input::Registered(who(gcks)));
                self.node.membership = Some(Membership::new(gcks, instance, self.now));
                let hello = self.hello();
                self.set_timer(Timer::Pull, hello);
            }
        }
    }

    /// Applies a whole state from the GCKS that this node is registered with.
    pub(crate) fn apply_whole(&mut self, gcks: Handle, state: &CheckedState) {
        let Some(new) = &state.rekey_sa else { return };
        let (spi, generation) = (new.spi, new.generation);
        self.take_rekey_sa(new, new.auth_key, generation);
        if let Some(peer) = self.peers.get_mut(gcks) {
            peer.joined = true;
            self.node.joins_untold = true;
        }
        // Section 7, eviction: all older keys go, those of former offices too, which the one that evicts may not know
        // and so cannot omit. What it lists goes with the update that ends the eviction.
        if core::mem::take(&mut self.node.purge) {
            // Who was put out has the former Rekey SAs: nothing under them is believed any more.
            self.node.sas.forget_formers();
            for key in self.keys.rows_mut().filter(|key| key.lives()) {
                key.listed_by = Some(spi);
            }
        }
        self.apply_keys(state, Some(spi), true);
        let applied = self.node.sas.current().map_or(generation, |sa| sa.applied);
        self.node.installs.applied(spi, applied);
        self.schedule_acknowledgement();
    }

    /// Makes `new` the current Rekey SA at this generation, if it is not already.
    pub(crate) fn take_rekey_sa(&mut self, new: &NewRekeySa, auth_key: Option<[u8; 32]>, generation: u32) {
        let now = self.now;
        if let Some(current) = self.node.sas.current_mut().filter(|sa| sa.spi == new.spi) {
            current.applied = current.applied.max(generation);
            return;
        }
        let Some(keys) = &new.keys else { return };
        // A delayed state may bring one that this node had already: what was applied under it stays applied.
        let applied = self
            .node
            .sas
            .find(&new.spi)
            .map_or(generation, |sa| sa.applied.max(generation));
        let sas = &mut self.node.sas;
        apart::<ROW, _>(|| sas.replace(RekeySa::new(new.spi, keys, auth_key, applied), now));
        // What N(INSTANCE) said holds until this node's own Rekey SA changes (section 4), but for the GCKS, which has
        // just proved itself.
        let gcks = self.node.membership.as_ref().map(|membership| membership.gcks);
        for (row, peer) in self.peers.iter_mut() {
            if let Some(known) = peer.instance.as_mut().filter(|_| Some(row) != gcks) {
                known.proved = false;
            }
        }
    }

    /// A state that the GCKS pushed or that was pulled.
    pub(crate) fn take_state(
        &mut self,
        from: Handle,
        evicted: &super::EvictedList,
        state: Option<&CheckedState>,
    ) {
        let now = self.now;
        self.hear_of_evictions(evicted);
        if let Some(membership) = self
            .node
            .membership
            .as_mut()
            .filter(|membership| membership.gcks == from)
        {
            membership.heard = now;
            membership.answered = now;
        }
        if self.node.office.is_some() {
            return self.merge_state(from, state);
        }
        let Some(state) = state else { return };
        let waits = self.node.election.role() == Role::Initial;
        if state.rekey_sa.is_some() {
            self.apply_whole(from, state);
            if waits {
                self.step(Input::Keyed(who(from)));
            }
        } else if waits {
            // It comes from another half, and is given the keys that are made for both (section 7).
            self.apply_keys(state, None, false);
        }
    }

    /// What time does to a membership.
    #[inline(never)]
    pub(crate) fn run_membership(&mut self) {
        let (now, hold) = (self.now, self.hold());
        if self
            .node
            .legacy
            .as_ref()
            .is_some_and(|legacy| legacy.until <= now)
        {
            self.node.legacy = None;
            self.node.term_key = None;
        }
        let Some(membership) = self.node.membership.as_ref() else {
            return;
        };
        match self.node.election.role() {
            Role::Left => {}
            Role::Gcks => {
                if now >= membership.answered.after(hold) {
                    self.merge_lost();
                }
            }
            // Section 7: who waits is Initial again if its requests are unanswered for hold.
            Role::Initial => {
                if now >= membership.answered.after(hold) {
                    let survey = self.survey();
                    self.step(Input::WaitingLost(survey));
                }
            }
            Role::Member => {
                if self.silence().is_some_and(|at| at <= now) {
                    let survey = self.survey();
                    self.step(Input::Silent(survey));
                }
            }
        }
    }

    /// When the followed GCKS counts as silent, while this node still follows it.
    fn silence(&self) -> Option<Instant> {
        let following = matches!(
            self.node.election,
            crate::election::Election::Member(Member::Following(_))
        );
        let membership = self.node.membership.as_ref().filter(|_| following)?;
        let hold = self
            .followed()
            .and_then(|peer| peer.claim)
            .map_or(self.hold(), |claim| peer::hold(&claim));
        Some(membership.heard.after(hold))
    }

    /// When the next thing about the membership is due.
    pub(crate) fn next_membership_deadline(&self) -> Option<Instant> {
        let legacy = self.node.legacy.as_ref().map(|legacy| legacy.until);
        let Some(membership) = self.node.membership.as_ref() else {
            return legacy;
        };
        let own = match self.node.election.role() {
            Role::Left => None,
            Role::Gcks | Role::Initial => Some(membership.answered.after(self.hold())),
            Role::Member => {
                let probe = self.probe_from().filter(|at| *at > self.now);
                probe.or(self.silence())
            }
        };
        own.into_iter().chain(legacy).min()
    }

    /// From when on the eight best members ask a silent GCKS whether it lives: the last hello interval of hold
    /// (section 5.3).
    fn probe_from(&self) -> Option<Instant> {
        let silence = self.silence()?;
        Some(silence.before(self.hello()))
    }

    /// What this node wants to ask its GCKS now.
    pub(crate) fn owed_to_gcks(&self) -> Option<(Handle, Request)> {
        let membership = self.node.membership.as_ref()?;
        let probing = self.probe_from().is_some_and(|at| at <= self.now)
            && self.survey().better < crate::election::MAX_BETTER;
        let request = if probing {
            Request::Probe
        } else if membership.pull {
            Request::Pull
        } else if self.node.election.role() == Role::Member && !self.node.wanted.is_empty() {
            Request::Rekey
        } else {
            return None;
        };
        Some((membership.gcks, request))
    }

    /// A request to the GCKS was not answered although it is heard: its end of the IKE SA is gone. Registers anew.
    pub(crate) fn renew_registration(&mut self) {
        let Some(gcks) = self.followed() else { return };
        let (to, identity) = (gcks.address, gcks.identity.clone());
        if self.node.election.role() == Role::Member && !self.is_attempting(to) {
            let _ = self.start_attempt(Purpose::Heir, to, identity, None);
        }
    }
}
