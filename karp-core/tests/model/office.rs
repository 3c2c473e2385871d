//! What surrounds the shipping rollover in an office: its view of the members, its effects, and whom it gives the state.
//! It follows `group/office.rs`, `registrants.rs`, `live.rs` and `merge.rs`, with keys and Rekey SAs reduced to numbers.

use karp_core::{
    command::RekeyReason,
    election::{Election, Gcks},
    group::rollover::{Effect, Input, Phase, Rollover, SaPhase, View},
    io::Role,
};

use crate::{
    rules::Rules,
    world::{Hello, Inst, KEYS, Key, KeyList, Letter, NONE, Office, Registrant, Update, World, bit},
};

/// What a registrant may be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gift {
    Nothing,
    Whole,
    /// To a lesser office: keys made after that many.
    Merge(u8),
}

/// What a registrant shows in KEYS_IN_USE.
struct Shows {
    active: bool,
    current: bool,
    pending: u8,
    /// It had the key that is Active here, went on to one that nobody here has, and never goes back.
    left: bool,
}

impl<const N: usize> Office<N> {
    pub(crate) fn new(sa: u8, inherits: bool, heir: bool, unregistered: u8) -> Self {
        Self {
            rollover: if inherits {
                Rollover::inheriting(0)
            } else {
                Rollover::default()
            },
            sa,
            next: NONE,
            generation: 0,
            content: 0,
            owed: false,
            heir,
            held: !heir,
            unregistered,
            forgotten: 0,
            others: 0,
            last_made: 0,
            floor: 0,
            made: [0; KEYS],
            omit: 0,
            rows: [None; N],
            holder: [NONE; N],
            earlier: [0; N],
            rival: false,
            quiet: false,
            joins: false,
            merging: false,
        }
    }

    pub(crate) fn row(&self, at: u8) -> Option<&Registrant> {
        self.rows[usize::from(at)].as_ref()
    }

    pub(crate) fn row_mut(&mut self, at: u8) -> Option<&mut Registrant> {
        self.rows[usize::from(at)].as_mut()
    }

    fn has_merging(&self) -> bool {
        self.rows.iter().flatten().any(|row| row.merging.is_some())
    }

    pub(crate) fn rival_gates(&self) -> bool {
        self.rival && !self.has_merging()
    }

    /// Whether `peer` has what it was sent, as far as it said.
    pub(crate) fn is_current(&self, peer: u8) -> bool {
        self.row(peer).is_none_or(|row| {
            !row.live
                || if self.next == NONE {
                    row.acked >= Some(self.content)
                } else {
                    row.has_next
                }
        })
    }
}

impl<const N: usize> World<N> {
    fn view(&self, at: u8) -> Option<View> {
        let node = self.node(at);
        let office = node.office.as_ref()?;
        let mut acknowledged = Some(u32::MAX);
        let mut sa_acknowledged = true;
        let pending = node.keys.pending();
        let distributing = matches!(office.rollover.phase(), Phase::Distributing { .. });
        for row in office.rows.iter().flatten() {
            if let Some(after) = row.merging {
                let made = pending.map_or(0, |key| office.made[usize::from(key)]);
                let waits = distributing && (made > after || row.shows_current);
                if waits && (pending.is_none() || pending != Some(row.shows_pending)) {
                    acknowledged = None;
                }
            } else if row.live {
                acknowledged = acknowledged.min(row.acked.map(u32::from));
                sa_acknowledged &= if office.next == NONE {
                    row.acked.is_some()
                } else {
                    row.has_next
                };
            }
        }
        let unregistered = office.heir && office.unregistered != 0;
        if unregistered {
            acknowledged = None;
        }
        let heir_waits = office.heir && (!office.held || unregistered);
        let rival = office.rival_gates() || office.joins;
        let handing_off = matches!(node.election, Election::Gcks(Gcks::HandingOff(_)));
        Some(View {
            next: u32::from(office.generation) + 1,
            acknowledged,
            sa_acknowledged: sa_acknowledged && !unregistered,
            may_start: !(office.quiet || heir_waits || rival || handing_off || office.merging),
            may_activate: !(rival || handing_off || office.merging),
            has_active: node.keys.active().is_some(),
        })
    }

    /// Hands a fact to the shipping rollover and does what it says.
    pub(crate) fn roll(&mut self, rules: Rules, at: u8, input: Input) {
        let Some(view) = self.view(at) else { return };
        let Some(office) = self.node_mut(at).office.as_mut() else {
            return;
        };
        for effect in rules.rollover(&mut office.rollover, input, &view) {
            self.roll_effect(at, effect);
        }
    }

    fn roll_effect(&mut self, at: u8, effect: Effect) {
        match effect {
            Effect::MakeKey(_) => self.make_key(at),
            Effect::Activate => self.activate(at),
            Effect::ActivateForced => {
                self.alarm = true;
                self.activate(at);
            }
            Effect::Overdue => self.alarm = true,
            Effect::ActivateAlone => {
                self.activate(at);
                for key in 0..8 {
                    if self.node(at).keys.get(key) != Key::Active {
                        self.node_mut(at).keys.end(key);
                    }
                }
            }
            Effect::Abandon => self.node_mut(at).keys.retire_pending(),
            Effect::ScheduleOmission => self.schedule_omission(at),
            Effect::Send => {
                if let Some(office) = self.node_mut(at).office.as_mut() {
                    office.owed = true;
                    office.content = office.generation.saturating_add(1);
                }
            }
            // The minimum rekey interval is over when the checker says so.
            Effect::Rest | Effect::Completed => {}
            Effect::MakeSa => {
                let sa = self.fresh_sa(at);
                if let Some(office) = self.node_mut(at).office.as_mut() {
                    office.next = sa;
                    for row in office.rows.iter_mut().flatten() {
                        row.has_next = false;
                    }
                }
            }
            Effect::CommitSa => self.commit_sa(at),
        }
    }

    fn make_key(&mut self, at: u8) {
        let key = self.fresh_key();
        let Some(office) = self.node_mut(at).office.as_mut() else {
            return;
        };
        if key == NONE {
            return;
        }
        office.last_made = office.last_made.saturating_add(1);
        office.made[usize::from(key)] = office.last_made;
        if office.has_merging() {
            office.floor = office.last_made;
        }
        self.node_mut(at).keys.insert(key, NONE);
    }

    fn activate(&mut self, at: u8) {
        if let Some(key) = self.node(at).keys.pending() {
            self.node_mut(at).keys.advance(key, Key::Active);
        }
    }

    fn schedule_omission(&mut self, at: u8) {
        let node = self.node_mut(at);
        let (Some(office), Some(active)) = (node.office.as_mut(), node.keys.active()) else {
            return;
        };
        let newest = office.made[usize::from(active)];
        for key in 0..8_u8 {
            let made = office.made[usize::from(key)];
            let older = made < newest && (made != 0 || node.keys.was & bit(key) != 0);
            if node.keys.get(key) == Key::Retiring && older {
                office.omit |= bit(key);
            }
        }
    }

    fn commit_sa(&mut self, at: u8) {
        let node = self.node_mut(at);
        let Some(office) = node.office.as_mut() else {
            return;
        };
        let next = std::mem::replace(&mut office.next, NONE);
        if next == NONE {
            return;
        }
        office.sa = next;
        office.generation = 0;
        office.content = u8::from(office.owed);
        for row in office.rows.iter_mut().flatten() {
            row.acked = row.has_next.then_some(0);
            row.has_next = false;
        }
        node.replace_sa(next, 0);
        node.applied = 0;
    }

    /// DTD has passed since everyone had the Active key.
    pub(crate) fn omit(&mut self, at: u8) {
        let node = self.node_mut(at);
        let Some(office) = node.office.as_mut() else {
            return;
        };
        let keys = std::mem::take(&mut office.omit);
        for key in (0..8).filter(|key| keys & bit(*key) != 0) {
            node.keys.end(key);
            office.made[usize::from(key)] = 0;
        }
        office.owed = true;
        office.content = office.generation.saturating_add(1);
    }

    pub(crate) fn may_omit(&self, at: u8) -> bool {
        self.node(at).office.is_some_and(|office| {
            let merges = office.has_merging() || office.merging || office.rival_gates();
            office.omit != 0 && !merges && office.rollover.sa() != SaPhase::Changing
        })
    }

    /// What an office does at the end of each step: what a merge wants, what the rollover allows, and the update that is
    /// owed.
    pub(crate) fn settle(&mut self, rules: Rules, at: u8) {
        for _ in 0..4 {
            let Some(office) = self.node(at).office else {
                return;
            };
            let waits = |row: &Registrant| {
                row.merging.is_some_and(|after| office.last_made <= after) && !row.shows_current
            };
            if office.rollover.phase() == Phase::Steady
                && !office.rollover.is_wanted()
                && office.rows.iter().flatten().any(waits)
            {
                self.roll(rules, at, Input::Want(RekeyReason::PeerRestarted));
            }
            self.roll(rules, at, Input::Check);
            self.write_update(at);
            if self.node(at).office == Some(office) {
                if office.rollover.is_settled() {
                    let rows = Self::all().filter(|peer| office.row(*peer).is_some());
                    self.came &= !rows.map(bit).sum::<u8>();
                }
                return;
            }
        }
    }

    fn write_update(&mut self, at: u8) {
        let node = self.node_mut(at);
        let Some(office) = node.office.as_mut().filter(|office| office.owed) else {
            return;
        };
        office.owed = false;
        office.generation = office.generation.saturating_add(1);
        node.applied = office.generation;
        for key in 0..8_u8 {
            if node.keys.get(key) != Key::No {
                node.keys.listed[usize::from(key)] = office.sa;
            }
        }
        let update = Update {
            sa: office.sa,
            generation: office.generation,
            keys: node.keys.list(),
            next: office.next,
        };
        self.updates[usize::from(at)] = Some(update);
        self.overflow |= update.generation > crate::promises::MOST;
    }

    /// `peer` has proved itself to the office `at`, or asks again; `first`: by a new exchange.
    pub(crate) fn ask(&mut self, rules: Rules, at: u8, peer: u8, first: bool, lost: bool) {
        let shows = self.judge(at, peer);
        let merges = self.node(peer).office.is_some();
        let (boot, index) = (self.node(peer).boot, usize::from(peer));
        let has_active = self.node(at).keys.active().is_some();
        let Some(office) = self.node_mut(at).office.as_mut() else {
            return;
        };
        if first {
            if office.holder[index] != NONE && office.holder[index] != boot {
                office.earlier[index] = office.last_made;
                office.holder[index] = NONE;
            }
            office.unregistered &= !bit(peer);
            office.rows[index] = Some(Registrant {
                boot,
                given: false,
                live: false,
                acked: None,
                has_next: false,
                merging: merges.then_some(office.last_made),
                shows_current: shows.current,
                shows_pending: shows.pending,
            });
            office.rival |= merges;
            if merges && !has_active {
                self.roll(rules, at, Input::Abandon);
            }
        } else if let Some(row) = office.row_mut(peer) {
            row.shows_current = shows.current;
            row.shows_pending = shows.pending;
        }
        self.want_for(rules, at, peer, &shows);
        self.settle(rules, at);
        let gift = self.gift(rules, at, peer, &shows);
        self.give(at, peer, first, gift, lost);
        self.settle(rules, at);
    }

    fn judge(&self, at: u8, peer: u8) -> Shows {
        let (here, there) = (&self.node(at).keys, &self.node(peer).keys);
        let hidden = if self.hides_pending(peer) {
            there.pending().unwrap_or(NONE)
        } else {
            NONE
        };
        let shown = |key: u8| there.get(key) != Key::No && key != hidden;
        let first = there.sending;
        let known = first != NONE && here.get(first) != Key::No;
        Shows {
            active: known && (0..8).any(|key| shown(key) && here.was & bit(key) != 0),
            current: known && here.active() == Some(first),
            pending: here.pending().filter(|key| shown(*key)).unwrap_or(NONE),
            left: first != NONE && !known && here.active().is_some_and(shown),
        }
    }

    /// A lesser office shows the key of the greater when its whole half has acknowledged it.
    fn hides_pending(&self, at: u8) -> bool {
        let Some(office) = self.node(at).office.filter(|office| office.merging) else {
            return false;
        };
        match office.rollover.phase() {
            Phase::Distributing { since } => self.view(at).and_then(|view| view.acknowledged) < Some(since),
            Phase::Steady | Phase::Activated { .. } | Phase::Evicting => true,
        }
    }

    fn want_for(&mut self, rules: Rules, at: u8, peer: u8, shows: &Shows) {
        let waits = self.gift(rules, at, peer, shows) != Gift::Whole;
        let Some(office) = self.node(at).office else {
            return;
        };
        let pending = self.node(at).keys.pending().is_some();
        let settled = office.rollover.is_settled();
        let active = self.node(at).keys.active().is_some();
        if waits && settled && !office.has_merging() && !office.merging && !active && pending {
            return self.roll(rules, at, Input::Abandon);
        }
        if waits && settled && !office.has_merging() && !pending {
            self.roll(rules, at, Input::Want(RekeyReason::NewSession));
        }
    }

    fn gift(&self, rules: Rules, at: u8, peer: u8, shows: &Shows) -> Gift {
        let node = self.node(at);
        let Some(office) = node.office.as_ref() else {
            return Gift::Nothing;
        };
        let Some(row) = office.row(peer) else {
            return Gift::Nothing;
        };
        let pending = node.keys.pending();
        let only = node.keys.active().is_none() && pending.is_some() && pending == Some(shows.pending);
        if let Some(after) = row.merging {
            return if shows.current || only {
                Gift::Whole
            } else {
                Gift::Merge(after)
            };
        }
        if shows.active || (!office.merging && only) {
            return Gift::Whole;
        }
        let left = shows.left && rules != Rules::GivesWhatWasLeft;
        if office.merging || !office.rollover.is_settled() || left {
            return Gift::Nothing;
        }
        if office.holder[usize::from(peer)] == self.node(peer).boot {
            return Gift::Whole;
        }
        let floor = office.earlier[usize::from(peer)].max(office.floor);
        let given = node.keys.list().given();
        let mut keys = (0..8_u8).filter(|key| given & bit(*key) != 0);
        let new = keys.all(|key| office.made[usize::from(key)] > floor);
        if given != 0 && (new || rules == Rules::GivesOldKeys) {
            Gift::Whole
        } else {
            Gift::Nothing
        }
    }

    /// Sends what `peer` may have; `lost`: it does not arrive, and counts as given all the same.
    fn give(&mut self, at: u8, peer: u8, first: bool, gift: Gift, lost: bool) {
        let keys = match gift {
            Gift::Nothing => None,
            Gift::Whole => Some(self.node(at).keys.list()),
            Gift::Merge(after) => self.keys_since(at, after),
        };
        let from = self.inst(at);
        let Some(office) = self.node_mut(at).office.as_mut() else {
            return;
        };
        let others = office.rows.iter().enumerate();
        let members = others
            .filter(|(row, _)| *row != usize::from(peer))
            .any(|(_, row)| row.is_some_and(|row| row.live));
        let whole = gift == Gift::Whole;
        let (mut sa, mut generation) = (NONE, 0);
        if whole {
            (sa, generation) = if office.next == NONE {
                (office.sa, office.generation)
            } else {
                (office.next, 0)
            };
            if let Some(row) = office.row_mut(peer) {
                if !row.given {
                    row.given = true;
                    row.live = true;
                    row.acked = None;
                    row.has_next = false;
                }
                let joins = row.merging.take().is_some();
                let boot = row.boot;
                office.joins |= joins;
                office.holder[usize::from(peer)] = boot;
            }
        }
        if !lost {
            self.post[usize::from(peer)] = Some(Letter {
                from,
                first,
                members,
                sa,
                generation,
                keys,
            });
        }
    }

    /// The keys that a lesser office may have.
    fn keys_since(&self, at: u8, after: u8) -> Option<KeyList> {
        let node = self.node(at);
        let office = node.office?;
        let newer = |key: &u8| office.made[usize::from(*key)] > after;
        let list = KeyList {
            pending: node.keys.pending().filter(newer).unwrap_or(NONE),
            active: node.keys.active().filter(newer).unwrap_or(NONE),
            retiring: 0,
        };
        (list.given() != 0).then_some(list)
    }

    /// The state goes to a registrant that lags (GSA_INBAND_REKEY).
    pub(crate) fn push(&mut self, at: u8, peer: u8) {
        self.give(at, peer, false, Gift::Whole, false);
    }

    /// An authenticated announcement, heard by an office.
    pub(crate) fn office_heard(&mut self, at: u8, from: u8, hello: &Hello, under: u8) {
        let own = self.inst(at);
        let Some(office) = self.node_mut(at).office.as_mut() else {
            return;
        };
        if hello.role == Role::Gcks {
            office.unregistered &= !bit(from);
            office.others |= bit(under);
            // One that hands over to this node is no rival.
            office.rival |= hello.handoff != Some(own);
            return;
        }
        let registered = office.row(from).is_some_and(|row| row.live || !row.given);
        // One that has gone to another office is waited for once.
        let gone =
            office.forgotten & bit(from) != 0 && (hello.sa != under || office.others & bit(under) != 0);
        if office.heir && under != office.sa && hello.keyed && !registered && !gone {
            office.unregistered |= bit(from);
        }
        let (sa, next) = (office.sa, office.next);
        let Some(row) = office.row_mut(from).filter(|row| row.given) else {
            return;
        };
        if under != sa && (next == NONE || under != next) {
            return;
        }
        row.live = true;
        if row.boot != hello.boot || hello.sa != under {
            return;
        }
        if under == sa {
            row.acked = row.acked.max(Some(hello.generation));
        } else {
            row.has_next = true;
            row.acked = Some(u8::MAX);
        }
    }

    /// What a greater office gave a lesser one.
    pub(crate) fn merge_state(&mut self, rules: Rules, at: u8, from: Inst, keys: KeyList) {
        for (key, to) in [(keys.active, Key::Active), (keys.pending, Key::Pending)] {
            let Some(office) = self.node(at).office else {
                return;
            };
            if key == NONE || !office.rollover.can_adopt() || self.node(at).gcks != Some(from) {
                continue;
            }
            let node = self.node_mut(at);
            let usable = match node.keys.get(key) {
                Key::No => false,
                Key::Retiring => node.keys.was & bit(key) != 0,
                Key::Pending | Key::Active => true,
            };
            if !usable {
                node.keys.end(key);
                node.keys.retire_pending();
                self.take_key(at, key);
                self.node_mut(at).keys.insert(key, NONE);
                self.roll(rules, at, Input::Adopt);
            }
            if to == Key::Active {
                self.roll(rules, at, Input::AdoptActive);
            }
        }
    }
}
