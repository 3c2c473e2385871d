//! The model that stateright visits: what can happen in a world, and what must hold in each.

use karp_core::{
    election::{Election, Gcks, Initial, Member, Survey},
    group::rollover::Phase,
};
use stateright::{Model, Property};

use crate::{
    node::{Ears, Forged, TURN, VALIDATE, WAIT, named, who},
    rules::Rules,
    world::{Budget, NONE, World, bit},
};

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Announce {
        node: u8,
    },
    Hear {
        node: u8,
        from: u8,
    },
    Update {
        node: u8,
        from: u8,
    },
    /// The initial exchange; `lost`: the responder had it, and its answer did not arrive.
    Register {
        node: u8,
        with: u8,
        lost: bool,
    },
    /// GSA_REGISTRATION.
    Pull {
        node: u8,
        from: u8,
        lost: bool,
    },
    /// GSA_INBAND_REKEY to who lags.
    Push {
        office: u8,
        to: u8,
    },
    Read {
        node: u8,
    },
    WaitOver {
        node: u8,
        ears: Ears,
    },
    TurnOver {
        node: u8,
        ears: Ears,
    },
    ValidateOver {
        node: u8,
        ears: Ears,
    },
    Silent {
        node: u8,
        ears: Ears,
    },
    JoinFailed {
        node: u8,
        ears: Ears,
    },
    WaitingLost {
        node: u8,
        ears: Ears,
    },
    MergeLost {
        node: u8,
    },
    /// A forged announcement that claims the office.
    Forge {
        node: u8,
    },
    HandOff {
        office: u8,
        to: u8,
    },
    HandoffFailed {
        office: u8,
    },
    /// Hold has passed since an heir took office.
    HeirHeld {
        office: u8,
    },
    /// An heir gives up to wait for one that is silent for 2 x hold, or has gone to another office.
    Forget {
        office: u8,
        peer: u8,
    },
    /// A registrant is silent for hold, and a push to it timed out.
    GiveUp {
        office: u8,
        peer: u8,
    },
    /// The spans of 2 x hold that section 5.5 names.
    RivalGone {
        office: u8,
    },
    JoinsOver {
        office: u8,
    },
    QuietOver {
        office: u8,
    },
    MergeOver {
        office: u8,
        peer: u8,
    },
    LegacyOver {
        node: u8,
    },
    /// 2 x hold have passed since a node's Rekey SA changed: one MAC is enough.
    SecondOver {
        node: u8,
    },
    /// The minimum rekey interval.
    Rested {
        office: u8,
    },
    /// DTD has passed.
    Omit {
        office: u8,
    },
    Want {
        office: u8,
    },
    RekeySaDue {
        office: u8,
    },
    ForceDue {
        office: u8,
    },
    Crash {
        node: u8,
    },
    Start {
        node: u8,
    },
    Pause {
        node: u8,
    },
    Split {
        side: u8,
    },
    Heal,
}

/// What happens at a node when a span of time is over, as it hears the others.
type OnTime = fn(u8, Ears) -> Act;

/// A run: who breaks which rule, what may go wrong, and how much of the network's freedom is explored.
#[derive(Clone, Debug)]
pub(crate) struct Run<const N: usize> {
    pub(crate) rules: Rules,
    pub(crate) budget: Budget,
    /// Announcements may be old when they are heard; otherwise the newest is heard or nothing.
    pub(crate) lag: bool,
    /// Unicast answers may be late; otherwise an exchange happens at once or not at all.
    pub(crate) late: bool,
    pub(crate) outsider: bool,
    /// Who crashed may start again, as another instance of the same router.
    pub(crate) restarts: bool,
    /// How many steps are taken at most; 0 for as many as there are.
    pub(crate) depth: usize,
    /// The group has settled before the first thing goes wrong: node N-1 serves, all follow.
    pub(crate) settled: bool,
    /// Eventual agreement is asked in one state of so many, by its fingerprint; 0 asks in none.
    pub(crate) agreement: u64,
}

impl<const N: usize> Run<N> {
    /// The nodes whose announcements may have been heard, in every combination.
    fn ears(&self, world: &World<N>, node: u8, forged: bool) -> Vec<Ears> {
        let audible =
            World::<N>::all().filter(|peer| *peer != node && world.air[usize::from(*peer)].is_some());
        let audible: u8 = audible.map(bit).sum();
        let forged = if forged && self.outsider {
            &[Forged::Nothing, Forged::Claim, Forged::Barred][..]
        } else {
            &[Forged::Nothing][..]
        };
        let mut all: Vec<(Survey, Ears)> = Vec::new();
        for heard in (0..=audible).filter(|heard| heard & !audible == 0) {
            for forged in forged {
                let ears = Ears {
                    heard,
                    forged: *forged,
                };
                let survey = world.survey(node, ears);
                // What an heir has heard matters beyond the survey.
                let same = |known: &(Survey, Ears)| {
                    known.0 == survey && (known.1.heard == heard || world.node(node).sa == NONE)
                };
                if !all.iter().any(same) {
                    all.push((survey, ears));
                }
            }
        }
        all.into_iter().map(|(_, ears)| ears).collect()
    }

    /// What happens when a span of time ends that is long enough for everybody to be heard in: it is taken to end only
    /// when everybody has been.
    fn spans(&self, world: &World<N>, node: u8, acts: &mut Vec<Act>) {
        let reached = || World::<N>::all().filter(move |peer| *peer != node && world.reach(node, *peer));
        let hello =
            |peer: u8| world.air[usize::from(peer)].filter(|hello| hello.boot == world.node(peer).boot);
        let this = world.inst(node);
        if let Some(office) = world.node(node).office {
            let unheard = |peer: u8| {
                let other = world.node(peer);
                let row = office
                    .row(peer)
                    .is_some_and(|row| row.boot == other.boot && (row.live || !row.given));
                let audible = hello(peer).is_none_or(|hello| world.authenticates(node, &hello).is_some());
                let known = row || office.unregistered & bit(peer) != 0;
                if other.serves() {
                    audible && !office.rival
                } else {
                    other.is_keyed() && audible && !known
                }
            };
            if !office.held && !reached().any(unheard) {
                acts.push(Act::HeirHeld { office: node });
            }
            for peer in World::<N>::all().filter(|peer| office.held && office.unregistered & bit(*peer) != 0)
            {
                let elsewhere = hello(peer).is_some_and(|hello| {
                    let under = world.authenticates(node, &hello).unwrap_or(NONE);
                    let other = office.others & bit(under) != 0;
                    !hello.keyed || other || (!world.node(node).knows(hello.sa) && hello.sa != NONE)
                });
                if !world.reach(node, peer) || elsewhere {
                    acts.push(Act::Forget { office: node, peer });
                }
            }
            for peer in World::<N>::all() {
                let Some(row) = office.row(peer) else { continue };
                let gone = !world.reach(node, peer) || row.boot != world.node(peer).boot;
                // An answer under way is younger than 2 x hold.
                let answered = world.post[usize::from(peer)].is_some_and(|letter| letter.from == this);
                let elsewhere = !answered && world.node(peer).gcks.is_none_or(|gcks| gcks != this);
                let heard = hello(peer).and_then(|hello| world.authenticates(node, &hello));
                let silent = heard.is_none_or(|sa| sa != office.sa && sa != office.next);
                if row.live && (gone || (elsewhere && silent)) {
                    acts.push(Act::GiveUp { office: node, peer });
                }
                if row.merging.is_some() && (gone || elsewhere) {
                    acts.push(Act::MergeOver { office: node, peer });
                }
            }
            let rivals = || {
                reached().any(|peer| {
                    let audible = hello(peer).is_none_or(|hello| world.authenticates(node, &hello).is_some());
                    world.node(peer).serves() && (audible || world.node(peer).gcks == Some(this))
                })
            };
            if office.rival && !rivals() {
                acts.push(Act::RivalGone { office: node });
            }
            let joining = || {
                reached().any(|peer| {
                    let other = world.node(peer);
                    let followed = other.election.gcks().map(named).filter(|gcks| *gcks != node);
                    other.is_keyed()
                        && !other.serves()
                        && followed.is_some_and(|gcks| world.node(gcks).legacy == Some(this))
                })
            };
            if office.joins && !joining() {
                acts.push(Act::JoinsOver { office: node });
            }
            if office.quiet {
                acts.push(Act::QuietOver { office: node });
            }
        }
        let former = world.node(node).formers[0];
        let misses = |peer: u8| {
            let other = world.node(peer);
            let strange = other.knows(former) && !other.knows(world.node(node).sa);
            let lost = other.gcks.is_none_or(|gcks| !world.reaches_office(peer, gcks));
            strange
                && other.is_keyed()
                && other
                    .office
                    .map_or(lost, |office| !(office.rival || office.merging))
        };
        if world.node(node).second && !reached().any(misses) {
            acts.push(Act::SecondOver { node });
        }
        if world.node(node).legacy.is_some()
            && !reached().any(|peer| world.node(peer).election.gcks() == Some(who(node)))
        {
            acts.push(Act::LegacyOver { node });
        }
    }

    fn timers(&self, world: &World<N>, node: u8, acts: &mut Vec<Act>) {
        let timers = world.node(node).timers;
        let acts_of: [(u8, OnTime); 3] = [
            (WAIT, |node, ears| Act::WaitOver { node, ears }),
            (TURN, |node, ears| Act::TurnOver { node, ears }),
            (VALIDATE, |node, ears| Act::ValidateOver { node, ears }),
        ];
        for (timer, act) in acts_of {
            if timers & timer != 0 {
                acts.extend(
                    self.ears(world, node, true)
                        .into_iter()
                        .map(|ears| act(node, ears)),
                );
            }
        }
    }

    /// A followed, joined or awaited office that does not answer; for a price also one that could.
    fn losses(&self, world: &World<N>, node: u8, acts: &mut Vec<Act>) {
        let this = world.node(node);
        let gone = this.gcks.is_none_or(|gcks| !world.reaches_office(node, gcks));
        let price = world.budget.silence > 0;
        let unregistered = this.gcks.is_none_or(|gcks| {
            let row = world
                .node(gcks.node)
                .office
                .and_then(|office| office.row(node).copied());
            row.is_none_or(|row| row.boot != this.boot)
        });
        match this.election {
            Election::Member(Member::Following(_)) if gone || price => {
                acts.extend(
                    self.ears(world, node, false)
                        .into_iter()
                        .map(|ears| Act::Silent { node, ears }),
                );
            }
            Election::Member(Member::Joining(_, heir)) => {
                let heir = named(heir);
                let to = this.handoff.map_or(heir, |to| to.node);
                let hopeless = ![heir, to].iter().any(|to| world.may_try(node, *to));
                if hopeless || price {
                    acts.extend(
                        self.ears(world, node, false)
                            .into_iter()
                            .map(|ears| Act::JoinFailed { node, ears }),
                    );
                }
            }
            Election::Initial {
                stage: Initial::Joining,
                ..
            } => {
                let hopeless = !World::<N>::all().any(|to| world.may_try(node, to));
                if hopeless || price {
                    acts.extend(
                        self.ears(world, node, true)
                            .into_iter()
                            .map(|ears| Act::JoinFailed { node, ears }),
                    );
                }
            }
            Election::Initial {
                stage: Initial::Waiting(_),
                ..
            } if gone || unregistered => {
                acts.extend(
                    self.ears(world, node, true)
                        .into_iter()
                        .map(|ears| Act::WaitingLost { node, ears }),
                );
            }
            Election::Gcks(Gcks::Merging(_)) if gone || unregistered => acts.push(Act::MergeLost { node }),
            Election::Gcks(Gcks::HandingOff(to)) if !world.reach(node, named(to)) || price => {
                acts.push(Act::HandoffFailed { office: node });
            }
            _ => {}
        }
    }

    fn talk(&self, world: &World<N>, node: u8, acts: &mut Vec<Act>) {
        if self.lag && world.hello(node) != world.air[usize::from(node)] && world.hello(node).is_some() {
            acts.push(Act::Announce { node });
        }
        for from in World::<N>::all().filter(|from| *from != node) {
            // What a node sent before it crashed or was cut off may still be under way.
            if world.air[usize::from(from)].is_some() && (self.lag || world.reach(node, from)) {
                acts.push(Act::Hear { node, from });
            }
            if world.updates[usize::from(from)].is_some() && (self.lag || world.reach(node, from)) {
                acts.push(Act::Update { node, from });
            }
        }
        let lost = if world.budget.lost > 0 {
            &[false, true][..]
        } else {
            &[false][..]
        };
        // One attempt at a time, and one request.
        let pending = world.post[usize::from(node)].map(|letter| letter.first);
        for with in World::<N>::all().filter(|with| pending != Some(true) && world.may_try(node, *with)) {
            acts.extend(lost.iter().map(|lost| Act::Register {
                node,
                with,
                lost: *lost,
            }));
        }
        let this = world.node(node);
        if let Some(gcks) = this.gcks.filter(|gcks| world.reaches_office(node, *gcks)) {
            let from = gcks.node;
            let row = world
                .node(from)
                .office
                .and_then(|office| office.row(node).copied());
            let behind = this.sa != NONE && !world.node(from).knows(this.sa);
            let asks = match this.election {
                Election::Initial {
                    stage: Initial::Waiting(_),
                    ..
                }
                | Election::Gcks(Gcks::Merging(_)) => true,
                Election::Member(_) => behind,
                _ => false,
            };
            if asks && pending.is_none() && row.is_some_and(|row| row.boot == this.boot) {
                acts.extend(lost.iter().map(|lost| Act::Pull {
                    node,
                    from,
                    lost: *lost,
                }));
            }
        }
        if world.post[usize::from(node)].is_some() {
            acts.push(Act::Read { node });
        }
        if self.outsider {
            acts.push(Act::Forge { node });
        }
        if let Some(office) = this.office {
            for to in World::<N>::all().filter(|to| world.reach(node, *to)) {
                let row = office
                    .row(to)
                    .filter(|row| row.given && row.boot == world.node(to).boot);
                if row.is_some() && !office.is_current(to) && world.node(to).gcks == Some(world.inst(node)) {
                    acts.push(Act::Push { office: node, to });
                }
            }
        }
    }

    fn calls(&self, world: &World<N>, node: u8, acts: &mut Vec<Act>) {
        let Some(office) = world.node(node).office else {
            return;
        };
        if office.rollover.is_wanted() && office.rollover.phase() == Phase::Steady {
            acts.push(Act::Rested { office: node });
        }
        if world.may_omit(node) {
            acts.push(Act::Omit { office: node });
        }
        if world.budget.want > 0 {
            acts.push(Act::Want { office: node });
        }
        if world.budget.rekey_sa > 0 {
            acts.push(Act::RekeySaDue { office: node });
        }
        if world.budget.force > 0 {
            acts.push(Act::ForceDue { office: node });
        }
        if world.budget.handoff > 0 && world.node(node).election == Election::Gcks(Gcks::Serving) {
            for to in World::<N>::all() {
                let fit = office
                    .row(to)
                    .is_some_and(|row| row.given && row.live && row.acked >= Some(office.content));
                if fit {
                    acts.push(Act::HandOff { office: node, to });
                }
            }
        }
    }

    fn faults(&self, world: &World<N>, acts: &mut Vec<Act>) {
        for node in World::<N>::all() {
            if !world.node(node).up && (self.restarts || world.node(node).boot == 0) {
                acts.push(Act::Start { node });
            } else if world.node(node).up && world.budget.crash > 0 {
                acts.push(Act::Crash { node });
            }
            if world.node(node).up && world.budget.pause > 0 {
                acts.push(Act::Pause { node });
            }
        }
        let all: u8 = World::<N>::all().map(bit).sum();
        if world.side == u8::MAX && world.budget.split > 0 {
            // Node 0 is on the side that is not marked: each partition once.
            acts.extend(
                (1..=all)
                    .filter(|side| side & 1 == 0 && side & !all == 0)
                    .map(|side| Act::Split { side }),
            );
        }
        if world.side != u8::MAX {
            acts.push(Act::Heal);
        }
    }
}

impl<const N: usize> Run<N> {
    /// All that can happen but faults and what the host calls for.
    pub(crate) fn ordinary(&self, world: &World<N>, node: u8, acts: &mut Vec<Act>) {
        if !world.node(node).up {
            return;
        }
        self.talk(world, node, acts);
        self.losses(world, node, acts);
        self.timers(world, node, acts);
        self.spans(world, node, acts);
        self.calls(world, node, acts);
    }
}

impl<const N: usize> Model for Run<N> {
    type State = World<N>;
    type Action = Act;

    fn init_states(&self) -> Vec<World<N>> {
        vec![self.start()]
    }

    fn actions(&self, world: &World<N>, acts: &mut Vec<Act>) {
        if world.overflow || world.broken.is_some() {
            return;
        }
        for node in World::<N>::all() {
            self.ordinary(world, node, acts);
        }
        self.faults(world, acts);
    }

    fn next_state(&self, last: &World<N>, act: Act) -> Option<World<N>> {
        Some(self.act(last, act)).filter(|next| next != last)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::promises::all()
    }
}
