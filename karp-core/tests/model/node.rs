//! What surrounds the shipping election in a node: what it hears, whom it registers with, what it is given. It follows
//! `announcement.rs`, `group/membership.rs` and `joining.rs`.

use std::sync::LazyLock;

use karp_core::{
    election::{self, Candidate, Effect, Election, Gcks, Initial, Input, Member, Rank, Survey, Who},
    group::rollover,
    identity::Identity,
    io::{Role, Timer},
};

use crate::{
    rules::Rules,
    world::{Broken, Hello, Inst, Key, Letter, NONE, Node, Office, World, bit},
};

pub(crate) const WAIT: u8 = 1;
pub(crate) const TURN: u8 = 2;
pub(crate) const VALIDATE: u8 = 4;

/// What an outsider lets a node without keys believe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Forged {
    Nothing,
    /// Somebody of top rank claims the office, with keys.
    Claim,
    /// The same, but it was tried and is penalised: that it claims keys still counts.
    Barred,
}

/// What a node has heard when it looks around: announcements of these nodes, as far as they are in the air.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Ears {
    pub(crate) heard: u8,
    pub(crate) forged: Forged,
}

static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    ["a", "b", "c", "d", "outsider"]
        .iter()
        .filter_map(|name| Identity::fqdn(name))
        .collect()
});

fn timer_bit(timer: Timer) -> u8 {
    match timer {
        Timer::Wait => WAIT,
        Timer::Turn => TURN,
        Timer::Validate => VALIDATE,
        _ => 0,
    }
}

pub(crate) fn who(node: u8) -> Who {
    Who(u32::from(node))
}

pub(crate) fn named(who: Who) -> u8 {
    u8::try_from(who.0).unwrap_or(NONE)
}

impl<const N: usize> World<N> {
    /// All that can be heard at `at`, and nothing forged.
    pub(crate) fn all_ears(&self, at: u8) -> Ears {
        Ears {
            heard: Self::all()
                .filter(|peer| *peer != at && self.reach(at, *peer))
                .map(bit)
                .sum(),
            forged: Forged::Nothing,
        }
    }

    /// Under which Rekey SA `at` takes the announcement, if under any.
    pub(crate) fn authenticates(&self, at: u8, hello: &Hello) -> Option<u8> {
        let node = self.node(at);
        [hello.sa, hello.second].into_iter().find(|sa| node.knows(*sa))
    }

    /// The survey of the shipping code over what `at` has heard.
    pub(crate) fn survey(&self, at: u8, ears: Ears) -> Survey {
        let node = self.node(at);
        let member = node.election.role() == Role::Member;
        let generation = u32::from(if node.sa == NONE { 0 } else { node.applied });
        let rank = |generation, at: u8, priority| Rank {
            generation,
            priority,
            router_id: u64::from(at) + 1,
            identity: &IDENTITIES[usize::from(at)],
        };
        let heard = Self::all().filter(|peer| *peer != at && ears.heard & bit(*peer) != 0);
        let candidates = heard.filter_map(|peer| {
            let hello = self.air[usize::from(peer)].as_ref()?;
            if member {
                // Of a member's candidates everyone has proved itself, and its silent GCKS is none.
                self.authenticates(at, hello)?;
                if !hello.keyed || node.gcks.is_some_and(|gcks| gcks.node == peer) {
                    return None;
                }
            }
            let common = if node.sa != NONE && hello.sa == node.sa {
                u32::from(hello.generation)
            } else {
                generation
            };
            Some(Candidate {
                rank: rank(common, peer, 100),
                role: hello.role,
                keyed: hello.keyed,
                leaving: false,
            })
        });
        let forged = (!member && ears.forged != Forged::Nothing).then(|| {
            let barred = ears.forged == Forged::Barred;
            Candidate {
                rank: rank(generation, 4, if barred { 0 } else { u16::MAX }),
                role: if barred { Role::Initial } else { Role::Gcks },
                keyed: true,
                leaving: false,
            }
        });
        election::survey(rank(generation, at, 100), candidates.chain(forged))
    }

    /// Hands a fact to the shipping election and does what it says. `proved`: it was authenticated, or is the node's own
    /// clock's; `heard`: whom it hears at that moment.
    pub(crate) fn step(&mut self, rules: Rules, at: u8, input: Input, proved: bool, heard: u8) {
        let before = self.node(at).election;
        let effects = rules.election(&mut self.node_mut(at).election, input);
        let after = self.node(at).election;
        let keyed = matches!(before, Election::Member(_) | Election::Gcks(_));
        if keyed && !proved && after != before {
            self.broken = self.broken.or(Some(Broken::LeftWithoutCause));
        }
        for effect in effects {
            match effect {
                Effect::Set(timer, _) => self.node_mut(at).timers |= timer_bit(timer),
                Effect::Clear(timer) => self.node_mut(at).timers &= !timer_bit(timer),
                Effect::StopSeeking => {
                    let post = &mut self.post[usize::from(at)];
                    *post = post.filter(|letter| !letter.first);
                }
                Effect::TakeOffice => self.take_office(rules, at, heard),
                Effect::Resign => self.resign(at),
                Effect::Unfollow => self.unfollow(at),
                // Whoever seeks or joins may try at any time, and announce at any time.
                Effect::Seek | Effect::Join(_) | Effect::Announce => {}
            }
        }
    }

    fn take_office(&mut self, rules: Rules, at: u8, heard: u8) {
        let former = self.node(at).sa;
        let sa = if rules == Rules::SharesRekeySa && former != NONE {
            former
        } else {
            self.fresh_sa(at)
        };
        let unregistered = Self::all().filter(|peer| {
            let hello = self.air[usize::from(*peer)].filter(|_| heard & bit(*peer) != 0);
            hello.is_some_and(|hello| {
                hello.keyed && hello.role != Role::Gcks && self.authenticates(at, &hello).is_some()
            })
        });
        let unregistered = unregistered.map(bit).sum();
        // Two halves that know nothing of each other are parted, whoever parted them.
        let others = Self::all().any(|peer| peer != at && self.node(peer).is_keyed());
        self.parted |= former == NONE && others;
        // Nor do two offices at once, but for a handoff.
        self.parted |= Self::all().any(|peer| {
            let election = self.node(peer).election;
            peer != at && self.node(peer).serves() && election != Election::Gcks(Gcks::HandingOff(who(at)))
        });
        let node = self.node_mut(at);
        let inherits = node.keys.sending != NONE;
        let heir = former != NONE || inherits;
        node.gcks = None;
        node.handoff = None;
        node.legacy = None;
        node.replace_sa(sa, 0);
        node.applied = 0;
        node.keys.retire_pending();
        node.office = Some(Office::new(sa, inherits, heir, unregistered));
    }

    fn resign(&mut self, at: u8) {
        let successor = match self.node(at).election {
            Election::Member(Member::Joining(to, _) | Member::Following(to)) => Some(self.inst(named(to))),
            _ => None,
        };
        let node = self.node_mut(at);
        node.office = None;
        node.legacy = successor;
    }

    fn unfollow(&mut self, at: u8) {
        let post = &mut self.post[usize::from(at)];
        *post = post.filter(|letter| letter.first);
        let node = self.node_mut(at);
        node.gcks = None;
        node.handoff = None;
        if node.office.is_none() {
            node.retire_sa();
        }
    }

    /// The node comes to hold `key`.
    pub(crate) fn take_key(&mut self, at: u8, key: u8) {
        if self.before[usize::from(at)] & bit(key) != 0 {
            self.broken = self.broken.or(Some(Broken::OldKeyGiven));
        }
    }

    /// `at` hears what `from` announced last.
    pub(crate) fn hear(&mut self, rules: Rules, at: u8, from: u8) {
        let Some(hello) = self.air[usize::from(from)] else {
            return;
        };
        let heard = bit(from);
        let Some(under) = self.authenticates(at, &hello) else {
            if hello.role == Role::Gcks {
                self.hint(
                    rules,
                    at,
                    Some(Inst {
                        node: from,
                        boot: hello.boot,
                    }),
                );
            }
            return;
        };
        let serves = hello.role == Role::Gcks;
        let node = *self.node(at);
        match node.election {
            Election::Left => {}
            Election::Gcks(Gcks::HandingOff(to)) if serves && to == who(from) => {
                self.step(rules, at, Input::SuccessorServes(to), true, heard);
            }
            Election::Gcks(_) => self.office_heard(at, from, &hello, under),
            Election::Initial { .. } if serves => self.step(rules, at, Input::Hint, true, heard),
            Election::Initial { .. } => {}
            Election::Member(_) => {
                let inst = Inst {
                    node: from,
                    boot: hello.boot,
                };
                if node.gcks == Some(inst) {
                    self.heard_gcks(rules, at, &hello, under);
                } else if serves && node.handoff == Some(inst) {
                    self.step(rules, at, Input::Successor(who(from)), true, heard);
                } else if serves {
                    self.step(rules, at, Input::Heir(who(from)), true, heard);
                }
            }
        }
    }

    /// The followed GCKS. That it does not serve any more is left to `Silent`, which asks who is heard besides.
    fn heard_gcks(&mut self, rules: Rules, at: u8, hello: &Hello, under: u8) {
        self.node_mut(at).handoff = hello.handoff;
        match hello.handoff {
            Some(to) if to == self.inst(at) => {
                if under != self.node(at).sa {
                    return;
                }
                let ears = self.all_ears(at);
                let survey = self.survey(at, ears);
                self.step(rules, at, Input::HandoffToMe(survey), true, ears.heard);
            }
            Some(to) => {
                let claims = |hello: Hello| hello.boot == to.boot && hello.role == Role::Gcks;
                let Some(successor) = self.air[usize::from(to.node)].filter(|hello| claims(*hello)) else {
                    return;
                };
                let proved = self.authenticates(at, &successor).is_some();
                let row = if proved {
                    to.node
                } else {
                    self.node(at).gcks.map_or(NONE, |gcks| gcks.node)
                };
                self.step(rules, at, Input::Successor(who(row)), true, bit(to.node));
            }
            None if hello.role == Role::Gcks => self.step(rules, at, Input::Heard, true, 0),
            None => {}
        }
    }

    /// An announcement that nobody can authenticate claims the office: a node's own, or an outsider's.
    pub(crate) fn hint(&mut self, rules: Rules, at: u8, from: Option<Inst>) {
        let node = self.node(at);
        // A successor that the GCKS named may be known by hints alone.
        if let (Some(gcks), Some(to)) = (node.gcks, node.handoff.filter(|_| from.is_some()))
            && Some(to) == from
            && matches!(node.election, Election::Member(_))
        {
            self.step(rules, at, Input::Successor(who(gcks.node)), true, 0);
        }
        self.step(rules, at, Input::Hint, false, 0);
    }

    /// A multicast update, if it is under the present Rekey SA and newer than what `at` has.
    pub(crate) fn update(&mut self, at: u8, from: u8) {
        let Some(update) = self.updates[usize::from(from)] else {
            return;
        };
        let node = self.node(at);
        let member = node.election.role() == Role::Member;
        if !member || node.sa == NONE || node.sa != update.sa || update.generation <= node.applied {
            return;
        }
        self.note_keys(at, update.keys.given());
        let node = self.node_mut(at);
        node.applied = update.generation;
        node.keys.apply(update.keys, update.sa);
        if update.next != NONE {
            node.replace_sa(update.next, 0);
            for listed in node.keys.listed.iter_mut().filter(|listed| **listed == update.sa) {
                *listed = update.next;
            }
        }
        self.given_up &= !bit(at);
    }

    fn note_keys(&mut self, at: u8, given: u8) {
        for key in (0..8).filter(|key| given & bit(*key) != 0) {
            if self.node(at).keys.get(key) == Key::No {
                self.take_key(at, key);
            }
        }
    }

    /// What came by unicast.
    pub(crate) fn read(&mut self, rules: Rules, at: u8) {
        let Some(letter) = self.post[usize::from(at)].take() else {
            return;
        };
        let node = *self.node(at);
        if node.office.is_some() {
            return self.read_at_office(rules, at, &letter);
        }
        if letter.first {
            let gcks = letter.from;
            if letter.sa == NONE {
                self.step(rules, at, Input::Registered(who(gcks.node)), true, 0);
                self.node_mut(at).gcks = Some(gcks);
                self.node_mut(at).handoff = None;
            } else {
                self.node_mut(at).gcks = Some(gcks);
                self.node_mut(at).handoff = None;
                self.apply_whole(at, &letter);
                self.step(rules, at, Input::Keyed(who(gcks.node)), true, 0);
            }
            return;
        }
        if node.gcks == Some(letter.from) && letter.sa != NONE {
            self.apply_whole(at, &letter);
            if node.election.role() == Role::Initial {
                self.step(rules, at, Input::Keyed(who(letter.from.node)), true, 0);
            }
        }
    }

    fn read_at_office(&mut self, rules: Rules, at: u8, letter: &Letter) {
        let from = letter.from;
        if letter.first {
            let theirs = (letter.members, from.node);
            let own = (self.has_members_but(at, from.node), at);
            if theirs <= own || self.node(at).election != Election::Gcks(Gcks::Serving) {
                return;
            }
            self.step(rules, at, Input::GreaterProved(who(from.node)), true, 0);
            self.node_mut(at).gcks = Some(from);
            if let Some(office) = self.node_mut(at).office.as_mut() {
                office.merging = true;
            }
            self.roll(rules, at, rollover::Input::Abandon);
        }
        let merging = self.node(at).office.is_some_and(|office| office.merging);
        let Some(keys) = letter
            .keys
            .filter(|_| merging && self.node(at).gcks == Some(from))
        else {
            return;
        };
        if letter.sa == NONE {
            return self.merge_state(rules, at, from, keys);
        }
        // The office ends, then the Rekey SA changes, so that the former one authenticates this half.
        self.step(rules, at, Input::Keyed(who(from.node)), true, 0);
        if self.node(at).office.is_none() {
            self.apply_whole(at, letter);
        }
    }

    fn apply_whole(&mut self, at: u8, letter: &Letter) {
        let Some(keys) = letter.keys else { return };
        let owner = |sa: u8| self.owners.get(usize::from(sa)).copied().flatten();
        if self.parted && owner(self.node(at).sa) != owner(letter.sa) {
            self.came |= bit(at);
        }
        self.note_keys(at, keys.given());
        let node = self.node_mut(at);
        node.replace_sa(letter.sa, letter.generation);
        node.keys.apply(keys, letter.sa);
        self.given_up &= !bit(at);
    }

    /// Live members of an office, one node not counted.
    pub(crate) fn has_members_but(&self, at: u8, but: u8) -> bool {
        let office = self.node(at).office;
        office.is_some_and(|office| {
            let others = Self::all().filter(|peer| *peer != but);
            others
                .filter_map(|peer| office.row(peer).copied())
                .any(|row| row.live)
        })
    }

    /// Whether `at` may try the initial exchange with `to` now.
    pub(crate) fn may_try(&self, at: u8, to: u8) -> bool {
        let node = self.node(at);
        let office = self.inst(to);
        let claimed = self.air[usize::from(to)]
            .is_some_and(|hello| hello.boot == office.boot && hello.role == Role::Gcks);
        if at == to || !self.reaches_office(at, office) {
            return false;
        }
        match node.election {
            Election::Initial {
                stage: Initial::Looking | Initial::Turn | Initial::Joining,
                ..
            }
            | Election::Member(Member::Orphan(_)) => claimed && self.takes_in(to, at),
            Election::Member(Member::Joining(_, heir)) => {
                (heir == who(to) || node.handoff == Some(office)) && self.takes_in(to, at)
            }
            // Its IKE SA is gone at the other end: it registers anew.
            Election::Member(Member::Following(gcks)) => {
                let row = self.node(to).office.and_then(|office| office.row(at).copied());
                gcks == who(to) && node.gcks == Some(office) && row.is_none_or(|row| row.boot != node.boot)
            }
            Election::Gcks(Gcks::Serving) => {
                let theirs = self.air[usize::from(to)].is_some_and(|hello| hello.members);
                let greater = (theirs, to) > (self.has_members_but(at, to), at);
                claimed && greater && self.takes_in(to, at)
            }
            _ => false,
        }
    }

    /// Whether the office `at` answers `peer` with more than a refusal.
    fn takes_in(&self, at: u8, peer: u8) -> bool {
        let node = self.node(at);
        if !self.node(peer).serves() {
            return true;
        }
        let merging = node.office.is_some_and(|office| office.merging);
        let handing_off = matches!(node.election, Election::Gcks(Gcks::HandingOff(_)));
        let greater = (self.has_members(peer), peer) > (self.has_members_but(at, peer), at);
        !(merging || handing_off || greater)
    }

    /// A node loses all that it had.
    pub(crate) fn crash(&mut self, at: u8) {
        let node = self.node(at);
        let (boot, keys) = (node.boot, node.keys.accepted());
        self.before[usize::from(at)] |= keys;
        self.given_up &= !bit(at);
        self.post[usize::from(at)] = None;
        *self.node_mut(at) = Node::new(boot + 1);
    }

    /// A node slept for longer than its hold.
    pub(crate) fn pause(&mut self, rules: Rules, at: u8) {
        self.step(rules, at, Input::Paused, true, 0);
        self.post[usize::from(at)] = None;
        let node = self.node_mut(at);
        node.office = None;
        node.legacy = None;
        node.gcks = None;
        node.handoff = None;
        node.retire_sa();
    }
}
