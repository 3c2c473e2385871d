//! What a GCKS does: take office, make keys, run rollovers, give the office up (PROTOCOL.md sections 5.5 and 7).

use super::{
    Legacy,
    merge::{MergeAsGreater, MergeAsLesser},
    rollover::{Effect, Input, Phase, Rollover, SaPhase, View},
};
use crate::{
    command::RekeyReason,
    crypto::{ROW, RekeySaKeys, SigningKey, apart},
    election::{self, Election, Gcks},
    io::{Alarm, Timer},
    node::{Core, ManualStage, RekeySa},
    peer::Peer,
    storage::Handle,
    time::{Duration, Instant},
    wire::{KeyState, MAX_DATAGRAM},
};

/// A term of office.
pub(crate) struct Office {
    /// The Rekey SA that it serves under, the node's current one.
    pub(crate) spi: [u8; 16],
    /// The next one, while it is being distributed.
    pub(crate) next: Option<[u8; 16]>,
    /// The Message ID of the next update.
    pub(crate) next_message_id: u32,
    pub(crate) rollover: Rollover,
    pub(crate) took: Instant,
    /// It took over from somebody: members that it only hears have to register before a rollover (section 7).
    pub(crate) heir: bool,
    pub(crate) sa_expires: Instant,
    /// The number of the newest key made in this term.
    pub(crate) last_made: u32,
    /// Keys up to this number count as given to everybody (rows that were reused, merges).
    pub(crate) floor: u32,
    /// An update is owed, and the generation that first carried what the members have to have.
    pub(crate) update_owed: bool,
    pub(crate) content: u32,
    pub(crate) content_at: Instant,
    /// The last update, for copies within 3 s, and when it was first sent.
    pub(crate) kept: heapless::Vec<u8, MAX_DATAGRAM>,
    pub(crate) kept_at: Instant,
    pub(crate) copy_owed: bool,
    /// The minimum rekey interval in force, and until when it runs.
    interval: Duration,
    rests_until: Option<Instant>,
    /// When the Active key's successor is due, and when it is activated without the laggards.
    pub(super) key_due: Option<Instant>,
    pub(super) force_due: Option<Instant>,
    /// How long an heir waits for those that it hears and that do not register.
    pub(super) patience: Instant,
    pub(crate) evict_due: Option<Instant>,
    /// Until then no registrant falls silent and none that waits is given up; `None` if that has to be found out.
    pub(crate) registrants_due: Option<Instant>,
    /// After this nobody counts whom an heir hears under another Rekey SA than its own; `END` if that has to be found out.
    pub(crate) formers_until: Instant,
    /// A registrant may be merging. While none is, nobody asks them one by one.
    pub(crate) merges: bool,
    /// Where in the table of peers somebody was found last who is waited for: the next look begins there.
    laggard: usize,
    /// Before this nothing new begins (an heir's wait, the pause after a merge).
    pub(crate) quiet_until: Option<Instant>,
    /// A lesser office was given the state: until then its half has time to register.
    pub(crate) joins_until: Option<Instant>,
    /// When what forbids a rollover for a time (an heir's wait, another office) may end.
    gate_due: Option<Instant>,
    /// When another office was last heard, authenticated.
    pub(crate) rival_heard: Option<Instant>,
    pub(crate) merge: Option<MergeAsGreater>,
    pub(crate) merging: Option<MergeAsLesser>,
    /// The host or an operator wants the office handed over.
    pub(crate) hand_off: bool,
    /// A successor that did not come, until when it is not tried again, and for how long the next time.
    pub(super) blocked: Option<([u8; 8], Instant, Duration)>,
    migrate: bool,
    /// Rollovers begun and completed, by key id, and what the host was told.
    pub(super) started: Option<u16>,
    told_started: Option<u16>,
    completed: Option<u16>,
    told_completed: Option<u16>,
}

impl Office {
    /// The generation of the present state: as many updates were sent under this Rekey SA.
    pub(crate) const fn generation(&self) -> u32 {
        self.next_message_id
    }

    /// The key of the last rollover begun, if the host was not told of it; it is told now.
    pub(crate) fn untold_start(&mut self) -> Option<u16> {
        let id = self.started.filter(|_| self.started != self.told_started);
        self.told_started = self.started;
        id
    }

    /// The key of the last rollover completed, if the host was not told of it; it is told now.
    pub(crate) fn untold_completion(&mut self) -> Option<u16> {
        let id = self.completed.filter(|_| self.completed != self.told_completed);
        self.told_completed = self.completed;
        id
    }
}

impl Core<'_> {
    /// A fresh random Rekey SA: for every term, at the end of its lifetime, for every eviction (section 3). It is the
    /// current one at once, or the `next` one.
    fn make_rekey_sa(&mut self, auth_key: Option<[u8; 32]>, next: bool) -> [u8; 16] {
        let mut spi = [0; 16];
        self.rng.fill_bytes(&mut spi);
        let now = self.now;
        let (sas, rng) = (&mut self.node.sas, &mut *self.rng);
        apart::<ROW, _>(|| {
            let keys = RekeySaKeys::random(rng, &spi);
            let sa = RekeySa::own(spi, &keys, auth_key);
            if next {
                sas.set_next(sa);
            } else {
                sas.replace(sa, now);
            }
        });
        spi
    }

    /// Takes office with the traffic keys that this node has, unchanged, under a Rekey SA of its own (section 5.5).
    #[inline(never)]
    pub(crate) fn take_office(&mut self) {
        // Who has keys but no Rekey SA any more (it woke, or it was resumed) has others to wait for just the same.
        let follows = self.node.sas.current().is_some();
        let settings = self.node.config.settings();
        let (sa_life, interval) = (settings.rekey_sa_lifetime, settings.min_rekey);
        let signs = settings.controller_signatures;
        let spi = self.begin_term(signs);
        let now = self.now;
        let heir = follows || self.sending_key().is_some();
        let own_instance = self.node.instance;
        let handed_over = self
            .node
            .membership
            .as_ref()
            .is_some_and(|membership| membership.handoff == Some(own_instance));
        if follows && !handed_over {
            crate::counters::bump(&mut self.node.counters.failovers);
        }
        self.node.membership = None;
        self.node.legacy = None;
        self.node.purge = false;
        self.sealed.retain(|_| false);
        self.node.joins_untold = true;
        for peer in self.peers.rows_mut() {
            peer.sa = None;
            peer.registrant = None;
            peer.holder = None;
            peer.earlier = 0;
            peer.reply = None;
            peer.push = false;
            peer.joined = false;
            if let Some(known) = peer.instance.as_mut() {
                known.proved = false;
            }
        }
        let inherited = self.sending_key().is_some();
        self.node.office = Some(Office {
            spi,
            next: None,
            next_message_id: 0,
            rollover: if inherited {
                Rollover::inheriting(0)
            } else {
                Rollover::default()
            },
            took: now,
            heir,
            sa_expires: now.after(sa_life),
            last_made: 0,
            floor: 0,
            update_owed: false,
            content: 0,
            content_at: now,
            kept: heapless::Vec::new(),
            kept_at: now,
            copy_owed: false,
            interval,
            rests_until: None,
            key_due: None,
            force_due: None,
            patience: now.after(self.hold().times(4)),
            evict_due: None,
            registrants_due: None,
            formers_until: Instant::END,
            merges: false,
            laggard: 0,
            quiet_until: None,
            joins_until: None,
            gate_due: None,
            rival_heard: None,
            merge: None,
            merging: None,
            hand_off: false,
            blocked: None,
            migrate: false,
            started: None,
            told_started: None,
            completed: None,
            told_completed: None,
        });
        // An inherited Pending key may be in use somewhere already, for its Activate went out before the old GCKS
        // died: it becomes Retiring (section 7). A new office always makes its own key.
        self.retire_pending();
        for key in self.keys.rows_mut() {
            key.made = 0;
            key.omit_at = None;
        }
        self.plan_key_life();
        self.node.sas.forget_other_offices();
        self.node.installs.forget();
        self.node.installs.applied(spi, 0);
        self.set_timer(Timer::RekeySa, sa_life);
        self.node.alarms.set(Alarm::NotAuthorised, false);
        self.node.stirred = true;
        // What this node's own protocols asked for is served by its own rollover.
        if !self.node.wanted.is_empty() {
            self.node.wanted.clear();
            self.roll(Input::Want(RekeyReason::NewSession));
        }
    }

    /// The Rekey SA of a new term, and the key that signs it.
    fn begin_term(&mut self, signs: bool) -> [u8; 16] {
        let spi = self.make_rekey_sa(None, false);
        let (node, rng) = (&mut *self.node, &mut *self.rng);
        node.term_key = None;
        if signs {
            apart::<ROW, _>(|| node.term_key = Some(SigningKey::generate(rng)));
        }
        let auth_key = node.term_key.as_ref().map(SigningKey::public);
        if let Some(sa) = node.sas.current_mut() {
            sa.auth_key = auth_key;
        }
        spi
    }

    /// Gives the office up. The traffic keys stay, and so does the Rekey SA until another replaces it, but nothing is
    /// sealed under it any more.
    pub(crate) fn resign(&mut self) {
        let Some(office) = self.node.office.as_ref() else {
            return;
        };
        let merged = office.merging.is_some();
        self.node.office = None;
        let successor = match self.node.election {
            // The state is the one after the step: the successor is whom this node joins or follows.
            Election::Member(election::Member::Joining(to, _) | election::Member::Following(to)) => self
                .peers
                .get(Handle::from_number(to.0))
                .and_then(|peer| peer.instance),
            Election::Left | Election::Initial { .. } | Election::Member(_) | Election::Gcks(_) => None,
        };
        if let Some(successor) = successor {
            let until = self.now.after(self.hold().times(2));
            self.node.legacy = Some(Legacy {
                successor: successor.instance,
                until,
            });
            if merged {
                crate::counters::bump(&mut self.node.counters.merges);
            } else {
                crate::counters::bump(&mut self.node.counters.handoffs);
            }
        } else {
            self.node.term_key = None;
        }
        self.node.sas.seal_no_more();
        let gcks = self.node.membership.as_ref().map(|membership| membership.gcks);
        self.sealed.retain(|sealed| Some(sealed.peer) == gcks);
        self.node.joins_untold = true;
        for (row, peer) in self.peers.iter_mut() {
            peer.registrant = None;
            peer.holder = None;
            peer.earlier = 0;
            peer.push = false;
            if Some(row) != gcks {
                peer.sa = None;
                peer.reply = None;
                peer.joined = false;
            }
        }
        self.node.timers.clear(Timer::RekeySa);
        self.node.timers.clear(Timer::Update);
        for alarm in [
            Alarm::ActivatedWithoutAll,
            Alarm::ServingUnwillingly,
            Alarm::MigrationWaits,
        ] {
            self.node.alarms.set(alarm, false);
        }
    }

    /// What the rollover has to know for a step with `input`. The members are asked one after the other until the
    /// answer is clear: an office with a thousand of them looks at one when it has just made an update, and later begins
    /// with the one that kept it waiting the last time. Returns that place as well.
    pub(super) fn view(&self, input: Input) -> Option<(View, usize)> {
        let office = self.node.office.as_ref()?;
        let now = self.now;
        let confirmed = self.node.installs.is_confirmed();
        let waits_for_unregistered = self.waits_for_unregistered(office);
        let next = office.generation().saturating_add(1);
        let compared = office.rollover.compares(input, next);
        let mut acknowledged = Some(u32::MAX);
        let mut sa_acknowledged = confirmed;
        let mut laggard = 0;
        for (at, peer) in self.peers.rows_from(office.laggard) {
            let Some(registrant) = peer.registrant else {
                continue;
            };
            if let Some(after) = registrant.merging {
                // Section 5.5: that the lesser office shows the key is its half's acknowledgement.
                // One that is continuing is given the state first, the Pending key with it.
                let distributing = matches!(office.rollover.phase(), Phase::Distributing { .. });
                let waits = self.distributes_to(office, after) || (distributing && registrant.shows.current);
                if waits && !self.shows_pending(registrant.shows) {
                    acknowledged = None;
                }
            } else if registrant.live {
                acknowledged = acknowledged.min(registrant.acked);
                let has = if office.next.is_some() {
                    registrant.has_next_sa
                } else {
                    registrant.acked.is_some()
                };
                sa_acknowledged &= has;
            }
            if compared.is_some() && acknowledged < compared {
                laggard = at;
                break;
            }
        }
        if waits_for_unregistered || !confirmed {
            acknowledged = None;
        }
        let has_active = self.has_active();
        let mut view = View {
            next,
            acknowledged,
            sa_acknowledged: sa_acknowledged && !waits_for_unregistered,
            may_start: false,
            may_activate: false,
            has_active,
        };
        if !office.rollover.asks_what_may_be(input, &view) {
            return Some((view, laggard));
        }
        let hold = self.hold();
        let quiet = office.quiet_until.is_some_and(|until| now < until);
        // Alone it needs no new key before the old one's time, and whoever it could not hear would not know of it.
        let alone = office.key_due.is_some_and(|at| now < at)
            && !self.peers.rows().any(|peer| peer.registrant.is_some());
        let heir_waits = office.heir
            && (now < office.took.after(hold)
                || waits_for_unregistered
                || alone
                || (now < office.took.after(hold.times(2)) && self.somebody_knocks()));
        // Who knocks while a key is distributed has time to have a part in it.
        let knocks = has_active && now < office.content_at.after(hold.times(2)) && self.somebody_knocks();
        // The half of a lesser office follows it here: what is activated before would leave it out.
        let joining = office.joins_until.is_some_and(|until| now < until);
        let rival = self.rival_gates(office) || joining;
        let handing_off = matches!(self.node.election, Election::Gcks(Gcks::HandingOff(_)));
        let merging = office.merging.is_some();
        view.may_start = !(quiet || heir_waits || rival || handing_off || merging);
        view.may_activate = !(rival || handing_off || merging || knocks) && self.may_migrate(office);
        Some((view, laggard))
    }

    /// What the live members of this office have acknowledged, see [`View::acknowledged`]; exact enough to be compared
    /// with the generation that the present phase waits for.
    pub(crate) fn acknowledged(&self) -> Option<u32> {
        self.view(Input::Check).and_then(|(view, _)| view.acknowledged)
    }

    /// In a group with manual keys the first Activate waits until every expected identity is live and has acknowledged,
    /// or the operator says so (section 7).
    fn may_migrate(&self, office: &Office) -> bool {
        if self.node.config.settings().manual_keys.is_empty()
            || self.node.manual != ManualStage::Sending
            || office.migrate
        {
            return true;
        }
        let expected = |peer: &&Peer| peer.is_live() && self.creds.grant(&peer.identity).expected;
        self.peers.rows().filter(expected).count() >= self.creds.expected()
    }

    pub(crate) fn migrate(&mut self) {
        if let Some(office) = self.node.office.as_mut() {
            office.migrate = true;
        }
        self.node.stirred = true;
    }

    /// Hands a fact to the rollover and does what follows.
    pub(crate) fn roll(&mut self, input: Input) {
        let Some((view, laggard)) = self.view(input) else {
            return;
        };
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        office.laggard = laggard;
        let effects = office.rollover.step(input, &view);
        #[cfg(feature = "defmt")]
        if !effects.is_empty() {
            defmt::info!("rollover: {}", office.rollover.phase());
        }
        for effect in effects {
            self.roll_effect(effect);
        }
        let waits = self.node.manual == ManualStage::Sending
            && self.pending_keys().next().is_some()
            && self
                .node
                .office
                .as_ref()
                .is_some_and(|office| !self.may_migrate(office));
        self.node.alarms.set(Alarm::MigrationWaits, waits);
    }

    fn roll_effect(&mut self, effect: Effect) {
        match effect {
            Effect::MakeKey(reason) => self.make_key(reason),
            Effect::Activate => self.activate(),
            Effect::ActivateForced => {
                self.node.alarms.set(Alarm::ActivatedWithoutAll, true);
                self.activate();
            }
            Effect::Overdue => self.node.alarms.set(Alarm::ActivatedWithoutAll, true),
            Effect::ActivateAlone => {
                self.activate();
                self.end_all_but_active();
                // Who was evicted has the former Rekey SA: nothing under it is believed any more.
                self.node.sas.forget_formers();
                if let Some(office) = self.node.office.as_mut() {
                    office.evict_due = None;
                }
            }
            Effect::Abandon => {
                // A key that this office made and never activated is sent with by nobody.
                self.end_keys(|key| key.state == KeyState::Pending && key.made > 0);
                self.retire_pending();
            }
            Effect::ScheduleOmission => self.schedule_omission(),
            Effect::Send => self.owe_update(),
            Effect::Rest => {
                let now = self.now;
                if let Some(office) = self.node.office.as_mut() {
                    office.rests_until = Some(now.after(office.interval));
                }
            }
            Effect::MakeSa => self.make_next_sa(),
            Effect::CommitSa => self.commit_next_sa(),
            Effect::Completed => {
                let active = self
                    .keys
                    .rows()
                    .find(|key| key.lives() && key.state == KeyState::Active);
                let id = active.map(|key| key.id);
                self.node.alarms.set(Alarm::ActivatedWithoutAll, false);
                if let Some(office) = self.node.office.as_mut()
                    && office.started.is_some()
                    && office.started == id
                {
                    office.completed = id;
                    crate::counters::bump(&mut self.node.counters.rollovers);
                }
            }
        }
    }

    pub(crate) fn make_next_sa(&mut self) {
        let auth_key = self.node.sas.current().and_then(|sa| sa.auth_key);
        let spi = self.make_rekey_sa(auth_key, true);
        for registrant in self.peers.rows_mut().filter_map(|peer| peer.registrant.as_mut()) {
            registrant.has_next_sa = false;
        }
        if let Some(office) = self.node.office.as_mut() {
            office.next = Some(spi);
        }
    }

    /// The next Rekey SA becomes the current one, at generation 0.
    pub(crate) fn commit_next_sa(&mut self) {
        let now = self.now;
        let life = self.node.config.settings().rekey_sa_lifetime;
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        let Some(spi) = office.next.take() else { return };
        if !self.node.sas.commit_next(now) {
            return;
        }
        office.spi = spi;
        office.formers_until = Instant::END;
        office.next_message_id = 0;
        office.content = if office.update_owed { 1 } else { 0 };
        office.content_at = now;
        office.copy_owed = false;
        office.kept.clear();
        office.sa_expires = now.after(life);
        for registrant in self.peers.rows_mut().filter_map(|peer| peer.registrant.as_mut()) {
            registrant.acked = if registrant.has_next_sa { Some(0) } else { None };
            registrant.has_next_sa = false;
        }
        self.node.installs.applied(spi, 0);
        self.set_timer(Timer::RekeySa, life);
        self.node.announce = true;
        self.node.stirred = true;
    }

    /// What time does to an office.
    #[inline(never)]
    pub(crate) fn run_office(&mut self) {
        let now = self.now;
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        let mut due: heapless::Vec<Input, 4> = heapless::Vec::new();
        if office.rests_until.is_some_and(|at| at <= now) {
            office.rests_until = None;
            let least = self.node.config.settings().min_rekey;
            let most = self.node.config.settings().key_lifetime.divided(16).max(least);
            // The interval doubles while rollovers follow each other at once.
            office.interval = if office.rollover.is_wanted() {
                office.interval.times(2).max(least).min(most)
            } else {
                least
            };
            let _ = due.push(Input::Rested);
        }
        if office.key_due.is_some_and(|at| at <= now) {
            office.key_due = None;
            let _ = due.push(Input::Want(RekeyReason::Operator));
        }
        if office.evict_due.is_some_and(|at| at <= now) {
            office.evict_due = None;
            let _ = due.push(Input::EvictDue);
        }
        if office.quiet_until.is_some_and(|at| at <= now) {
            office.quiet_until = None;
            self.node.stirred = true;
        }
        if office.gate_due.is_some_and(|at| at <= now) {
            self.node.stirred = true;
        }
        for input in due {
            self.roll(input);
        }
        let forced = self.node.office.as_ref().and_then(|office| self.force_at(office));
        if forced.is_some_and(|at| at <= now) {
            self.roll(Input::ForceDue);
        }
        self.run_merge();
        self.find_formers();
        self.renew_pending();
        self.omit_keys();
        self.run_registrants();
        let gate = self
            .node
            .office
            .as_ref()
            .and_then(|office| self.next_gate(office));
        if let Some(office) = self.node.office.as_mut() {
            office.gate_due = gate;
        }
    }

    /// When the change that runs goes on without the laggards: DTD before the Active key's end (section 7), but a new
    /// key has hold to reach them if it was made late.
    fn force_at(&self, office: &Office) -> Option<Instant> {
        let running = office.rollover.phase() != Phase::Steady || office.rollover.sa() == SaPhase::Changing;
        let late = office.content_at.after(self.hold());
        office.force_due.filter(|_| running).map(|at| at.max(late))
    }

    /// When the next of those conditions ends that forbid a rollover for a time.
    fn next_gate(&self, office: &Office) -> Option<Instant> {
        let heir = office.heir.then(|| office.took.after(self.hold()));
        let knocks = [office.took, office.content_at].map(|at| Some(at.after(self.hold().times(2))));
        let rival = office.rival_heard.map(|at| at.after(self.hold().times(2)));
        // Only an heir has anybody to look for.
        let unregistered = if office.heir {
            self.next_heir_deadline(office)
        } else {
            None
        };
        let gates = [heir, rival, office.joins_until, unregistered];
        gates
            .into_iter()
            .chain(knocks)
            .flatten()
            .filter(|at| *at > self.now)
            .min()
    }

    /// When the next thing about the office is due. Deadlines that passed and wait for something else do not call.
    pub(crate) fn next_office_deadline(&self) -> Option<Instant> {
        let office = self.node.office.as_ref()?;
        [
            office.rests_until,
            office.key_due,
            self.force_at(office),
            office.evict_due,
            office.quiet_until,
            office.gate_due,
            office.merge.as_ref().map(|merge| merge.until),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > self.now)
        .min()
    }

    pub(crate) fn is_changing_sa(&self) -> bool {
        self.node
            .office
            .as_ref()
            .is_some_and(|office| office.rollover.sa() == SaPhase::Changing)
    }
}
