//! What the checker visits: nodes, what is in the air between them, and what may still go wrong.

use karp_core::{
    election::{Election, Gcks},
    group::rollover::Rollover,
    io::Role,
};

/// At most so many traffic keys and Rekey SAs are known to anybody at one time; a run that needs more is outside the
/// bound, and `World::within` says so.
pub(crate) const KEYS: usize = 8;
/// No number.
pub(crate) const NONE: u8 = u8::MAX;

/// A node in one of its boots: what the wire calls an instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Inst {
    pub(crate) node: u8,
    pub(crate) boot: u8,
}

/// Where a key is in its life at one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Key {
    No,
    Pending,
    Active,
    Retiring,
}

/// The traffic keys of a node, as `group/apply.rs` keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Keys {
    pub(crate) state: [Key; KEYS],
    /// Which were Active here once.
    pub(crate) was: u8,
    pub(crate) sending: u8,
    /// The Rekey SA whose state listed each one last.
    pub(crate) listed: [u8; KEYS],
}

/// A state as it is sent: the keys of the GCKS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct KeyList {
    pub(crate) pending: u8,
    pub(crate) active: u8,
    pub(crate) retiring: u8,
}

pub(crate) const fn bit(at: u8) -> u8 {
    if at < 8 { 1 << at } else { 0 }
}

impl Keys {
    pub(crate) const EMPTY: Self = Self {
        state: [Key::No; KEYS],
        was: 0,
        sending: NONE,
        listed: [NONE; KEYS],
    };

    pub(crate) fn get(&self, key: u8) -> Key {
        self.state.get(usize::from(key)).copied().unwrap_or(Key::No)
    }

    fn first(&self, state: Key) -> Option<u8> {
        (0..8).find(|key| self.get(*key) == state)
    }

    pub(crate) fn pending(&self) -> Option<u8> {
        self.first(Key::Pending)
    }

    pub(crate) fn active(&self) -> Option<u8> {
        self.first(Key::Active)
    }

    /// Those that a packet may come under.
    pub(crate) fn accepted(&self) -> u8 {
        (0..8).filter(|key| self.get(*key) != Key::No).map(bit).sum()
    }

    pub(crate) fn insert(&mut self, key: u8, listed: u8) {
        self.state[usize::from(key)] = Key::Pending;
        self.listed[usize::from(key)] = listed;
    }

    /// A key's state only moves forward, but an abandoned key that was never sent with may become Active.
    pub(crate) fn advance(&mut self, key: u8, to: Key) {
        let from = self.get(key);
        let revived = to == Key::Active && from == Key::Retiring && self.was & bit(key) == 0;
        if from == Key::No || (to <= from && !revived) {
            return;
        }
        if to == Key::Active {
            if let Some(other) = self.active() {
                self.state[usize::from(other)] = Key::Retiring;
            }
            self.was |= bit(key);
            self.sending = key;
        }
        self.state[usize::from(key)] = to;
    }

    pub(crate) fn end(&mut self, key: u8) {
        self.state[usize::from(key)] = Key::No;
        self.listed[usize::from(key)] = NONE;
        self.was &= !bit(key);
        if self.sending == key {
            self.sending = NONE;
        }
    }

    pub(crate) fn retire_pending(&mut self) {
        while let Some(key) = self.pending() {
            self.advance(key, Key::Retiring);
        }
    }

    pub(crate) fn list(&self) -> KeyList {
        KeyList {
            pending: self.pending().unwrap_or(NONE),
            active: self.active().unwrap_or(NONE),
            retiring: (0..8)
                .filter(|key| self.get(*key) == Key::Retiring)
                .map(bit)
                .sum(),
        }
    }

    /// Applies a state of the Rekey SA `sa`: what it omits is gone, if that SA had listed it.
    pub(crate) fn apply(&mut self, list: KeyList, sa: u8) {
        for (key, to) in [(list.active, Key::Active), (list.pending, Key::Pending)] {
            if key == NONE {
                continue;
            }
            if self.get(key) == Key::No {
                self.insert(key, sa);
            }
            self.listed[usize::from(key)] = sa;
            self.advance(key, to);
        }
        for key in 0..8 {
            if list.retiring & bit(key) != 0 && self.get(key) != Key::No {
                self.listed[usize::from(key)] = sa;
                self.advance(key, Key::Retiring);
            } else if self.get(key) != Key::No && self.listed[usize::from(key)] == sa && !list.has(key) {
                self.end(key);
            }
        }
    }
}

impl KeyList {
    pub(crate) const fn has(&self, key: u8) -> bool {
        self.pending == key || self.active == key || self.retiring & bit(key) != 0
    }

    /// What comes with key material: a Retiring key is named and not given.
    pub(crate) const fn given(&self) -> u8 {
        bit(self.pending) | bit(self.active)
    }

    pub(crate) const fn named(&self) -> u8 {
        self.given() | self.retiring
    }
}

/// A registrant's row at an office (`peer.rs`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Registrant {
    pub(crate) boot: u8,
    pub(crate) given: bool,
    pub(crate) live: bool,
    pub(crate) acked: Option<u8>,
    pub(crate) has_next: bool,
    /// It is a lesser office, and how many keys had been made when it came.
    pub(crate) merging: Option<u8>,
    pub(crate) shows_current: bool,
    pub(crate) shows_pending: u8,
}

/// A term of office: the shipping rollover, and around it what `group/office.rs` keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Office<const N: usize> {
    pub(crate) rollover: Rollover,
    pub(crate) sa: u8,
    pub(crate) next: u8,
    pub(crate) generation: u8,
    pub(crate) content: u8,
    pub(crate) owed: bool,
    pub(crate) heir: bool,
    /// Hold has passed since it took office.
    pub(crate) held: bool,
    /// Whom an heir heard under a Rekey SA that it inherited, and who has not registered yet.
    pub(crate) unregistered: u8,
    /// Whom it waited for in vain.
    pub(crate) forgotten: u8,
    /// The Rekey SAs under which it heard another office.
    pub(crate) others: u8,
    pub(crate) last_made: u8,
    pub(crate) floor: u8,
    pub(crate) made: [u8; KEYS],
    /// What may be left out when DTD has passed.
    pub(crate) omit: u8,
    pub(crate) rows: [Option<Registrant>; N],
    pub(crate) holder: [u8; N],
    pub(crate) earlier: [u8; N],
    /// Another office was heard, authentically, in the last 2 x hold.
    pub(crate) rival: bool,
    pub(crate) quiet: bool,
    /// A lesser office was given the state less than 2 x hold ago.
    pub(crate) joins: bool,
    /// It is the lesser office of a merge.
    pub(crate) merging: bool,
}

/// A node: the shipping election, and around it what the engine keeps for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node<const N: usize> {
    pub(crate) up: bool,
    pub(crate) boot: u8,
    pub(crate) election: Election,
    /// Which of *wait*, *turn* and *validate* run.
    pub(crate) timers: u8,
    pub(crate) sa: u8,
    pub(crate) formers: [u8; 2],
    /// It announces under the former one as well.
    pub(crate) second: bool,
    pub(crate) applied: u8,
    pub(crate) keys: Keys,
    /// The office that it is registered with.
    pub(crate) gcks: Option<Inst>,
    /// The successor that its GCKS named.
    pub(crate) handoff: Option<Inst>,
    /// Whom it names itself after it gave its office up.
    pub(crate) legacy: Option<Inst>,
    pub(crate) office: Option<Office<N>>,
}

/// The newest announcement of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Hello {
    pub(crate) boot: u8,
    pub(crate) role: Role,
    pub(crate) keyed: bool,
    pub(crate) members: bool,
    pub(crate) generation: u8,
    pub(crate) sa: u8,
    /// The Rekey SA of the second MAC.
    pub(crate) second: u8,
    pub(crate) handoff: Option<Inst>,
}

/// The newest multicast update of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Update {
    pub(crate) sa: u8,
    pub(crate) generation: u8,
    pub(crate) keys: KeyList,
    pub(crate) next: u8,
}

/// A unicast answer or push that has not arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Letter {
    pub(crate) from: Inst,
    /// The answer to a first exchange, not one over an IKE SA that stands.
    pub(crate) first: bool,
    /// The sender has members besides; that is what a lesser office goes by.
    pub(crate) members: bool,
    /// The Rekey SA with its generation: the whole state, or keys for a lesser office alone.
    pub(crate) sa: u8,
    pub(crate) generation: u8,
    pub(crate) keys: Option<KeyList>,
}

/// How often each thing may still happen. What costs nothing may happen at any time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Budget {
    /// A node loses all its memory; it may start again.
    pub(crate) crash: u8,
    /// A node sleeps for longer than its hold.
    pub(crate) pause: u8,
    /// The link splits; it may heal.
    pub(crate) split: u8,
    /// Somebody who lives and can be reached counts as silent, or an exchange with it fails: loss for a whole hold.
    pub(crate) silence: u8,
    /// An answer is lost that the one who gave it counts as given.
    pub(crate) lost: u8,
    /// New keys are wanted.
    pub(crate) want: u8,
    /// A Rekey SA's lifetime ends.
    pub(crate) rekey_sa: u8,
    /// An office is to go to somebody else.
    pub(crate) handoff: u8,
    /// An Active key's life ends in DTD.
    pub(crate) force: u8,
}

/// A promise broken in the step that led here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Broken {
    /// A keyed node changed its part for something that nobody had authenticated.
    LeftWithoutCause,
    /// A router was given a key that it had held before it rebooted.
    OldKeyGiven,
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World<const N: usize> {
    pub(crate) nodes: [Node<N>; N],
    pub(crate) air: [Option<Hello>; N],
    pub(crate) updates: [Option<Update>; N],
    pub(crate) post: [Option<Letter>; N],
    /// Who is on the one side of a partition; all, if there is none.
    pub(crate) side: u8,
    pub(crate) budget: Budget,
    /// Not part of any node: who made each Rekey SA,
    pub(crate) owners: [Option<Inst>; KEYS],
    /// which keys each router held in an earlier boot,
    pub(crate) before: [u8; N],
    /// whom an office gave up although it lives (it fell silent, and a push timed out),
    pub(crate) given_up: u8,
    /// who came over from another half and was not there when the present Active key was activated,
    pub(crate) came: u8,
    /// whether there ever was a partition or a silence without cause, or the alarm of section 7,
    pub(crate) parted: bool,
    pub(crate) alarm: bool,
    /// and what was broken on the way.
    pub(crate) broken: Option<Broken>,
    /// More keys or Rekey SAs at a time than there is room for.
    pub(crate) overflow: bool,
}

impl<const N: usize> Node<N> {
    pub(crate) const fn new(boot: u8) -> Self {
        Self {
            up: false,
            boot,
            election: Election::Left,
            timers: 0,
            sa: NONE,
            formers: [NONE; 2],
            second: false,
            applied: 0,
            keys: Keys::EMPTY,
            gcks: None,
            handoff: None,
            legacy: None,
            office: None,
        }
    }

    /// Whether it can authenticate what is said under `sa`.
    pub(crate) fn knows(&self, sa: u8) -> bool {
        sa != NONE
            && (self.sa == sa
                || self.formers.contains(&sa)
                || self.office.is_some_and(|office| office.next == sa))
    }

    /// It has the group's keys from an office, or serves: the only ones that count as members.
    pub(crate) fn is_keyed(&self) -> bool {
        self.up && self.sa != NONE && matches!(self.election, Election::Member(_) | Election::Gcks(_))
    }

    pub(crate) const fn serves(&self) -> bool {
        self.up && matches!(self.election, Election::Gcks(_))
    }

    /// The present Rekey SA becomes a former one.
    pub(crate) fn retire_sa(&mut self) {
        if self.sa != NONE {
            self.formers = [self.sa, self.formers[0]];
            self.second = true;
            self.sa = NONE;
        }
    }

    pub(crate) fn replace_sa(&mut self, sa: u8, applied: u8) {
        if self.sa == sa {
            self.applied = self.applied.max(applied);
            return;
        }
        self.retire_sa();
        if self.formers[1] == sa {
            self.formers[1] = NONE;
        } else if self.formers[0] == sa {
            self.formers = [self.formers[1], NONE];
        }
        self.sa = sa;
        self.applied = applied;
    }
}

impl<const N: usize> World<N> {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            nodes: [Node::new(0); N],
            air: [None; N],
            updates: [None; N],
            post: [None; N],
            side: u8::MAX,
            budget,
            owners: [None; KEYS],
            before: [0; N],
            given_up: 0,
            came: 0,
            parted: false,
            alarm: false,
            broken: None,
            overflow: false,
        }
    }

    pub(crate) fn node(&self, at: u8) -> &Node<N> {
        &self.nodes[usize::from(at)]
    }

    pub(crate) fn node_mut(&mut self, at: u8) -> &mut Node<N> {
        &mut self.nodes[usize::from(at)]
    }

    pub(crate) fn all() -> impl Iterator<Item = u8> + Clone {
        (0..N).map(|at| u8::try_from(at).unwrap_or(NONE))
    }

    pub(crate) fn inst(&self, at: u8) -> Inst {
        Inst {
            node: at,
            boot: self.node(at).boot,
        }
    }

    /// What one sends, the other can hear.
    pub(crate) fn reach(&self, a: u8, b: u8) -> bool {
        (self.side & bit(a) == 0) == (self.side & bit(b) == 0) && self.node(a).up && self.node(b).up
    }

    /// That boot of that node serves, and `at` can reach it.
    pub(crate) fn reaches_office(&self, at: u8, office: Inst) -> bool {
        self.reach(at, office.node) && self.inst(office.node) == office && self.node(office.node).serves()
    }

    /// The Rekey SAs that anybody or any message knows.
    fn known_sas(&self) -> u8 {
        let mut known = 0;
        for node in &self.nodes {
            known |= bit(node.sa) | bit(node.formers[0]) | bit(node.formers[1]);
            known |= node.keys.listed.iter().fold(0, |all, sa| all | bit(*sa));
            if let Some(office) = &node.office {
                known |= bit(office.sa) | bit(office.next);
            }
        }
        for hello in self.air.iter().flatten() {
            known |= bit(hello.sa) | bit(hello.second);
        }
        for update in self.updates.iter().flatten() {
            known |= bit(update.sa) | bit(update.next);
        }
        self.post
            .iter()
            .flatten()
            .fold(known, |all, letter| all | bit(letter.sa))
    }

    /// A number for a new Rekey SA: the least that nobody knows, so that numbers never run away.
    pub(crate) fn fresh_sa(&mut self, owner: u8) -> u8 {
        let known = self.known_sas();
        let Some(sa) = (0..8).find(|sa| known & bit(*sa) == 0) else {
            self.overflow = true;
            return NONE;
        };
        self.owners[usize::from(sa)] = Some(self.inst(owner));
        sa
    }

    /// A number for a new key, likewise.
    pub(crate) fn fresh_key(&mut self) -> u8 {
        let mut known = self.before.iter().fold(0, |all, keys| all | keys);
        for node in &self.nodes {
            known |= node.keys.accepted();
        }
        let lists = self.updates.iter().flatten().map(|update| update.keys);
        let letters = self.post.iter().flatten().filter_map(|letter| letter.keys);
        known = lists.chain(letters).fold(known, |all, list| all | list.named());
        let fresh = (0..8).find(|key| known & bit(*key) == 0);
        self.overflow |= fresh.is_none();
        fresh.unwrap_or(NONE)
    }

    /// Forgets who made Rekey SAs that nobody knows any more.
    pub(crate) fn tidy(&mut self) {
        let known = self.known_sas();
        for sa in 0..8 {
            if known & bit(sa) == 0 {
                self.owners[usize::from(sa)] = None;
            }
        }
    }

    /// What node `at` announces now.
    pub(crate) fn hello(&self, at: u8) -> Option<Hello> {
        let node = self.node(at);
        if !node.up || node.election == Election::Left {
            return None;
        }
        let next = node.office.map_or(NONE, |office| office.next);
        let second = match (next, node.second) {
            (NONE, true) => node.formers[0],
            (next, _) => next,
        };
        let handoff = match node.election {
            Election::Gcks(Gcks::HandingOff(to)) => {
                let node_to = crate::node::named(to);
                let row = node.office.and_then(|office| office.row(node_to).copied());
                row.map(|row| Inst {
                    node: node_to,
                    boot: row.boot,
                })
            }
            Election::Member(_) => node.legacy,
            Election::Left | Election::Initial { .. } | Election::Gcks(_) => None,
        };
        Some(Hello {
            boot: node.boot,
            role: node.election.role(),
            keyed: node.is_keyed(),
            members: self.has_members(at),
            generation: if node.sa == NONE { 0 } else { node.applied },
            sa: node.sa,
            second: if node.sa == NONE { NONE } else { second },
            handoff,
        })
    }

    /// Whether an office has live members.
    pub(crate) fn has_members(&self, at: u8) -> bool {
        let office = self.node(at).office;
        office.is_some_and(|office| office.rows.iter().flatten().any(|row| row.live))
    }
}
