//! What must hold in every world (PROTOCOL.md section 12, promises 3, 5, 6 and 8), and the quiet schedule by which
//! eventual agreement is asked.

use std::hash::{DefaultHasher, Hash, Hasher};

use karp_core::{
    election::{Election, Member},
    group::rollover::Phase,
};
use stateright::Property;

use crate::{
    model::{Act, Run},
    node::{Ears, Forged, named},
    world::{Broken, Budget, NONE, World, bit},
};

/// So many updates under one Rekey SA are room enough.
pub(crate) const MOST: u8 = 14;
pub(crate) const ONE_GCKS: &str = "one Rekey SA, one GCKS";
pub(crate) const CAUSE: &str = "who has keys goes only for cause";
pub(crate) const ACCEPTED: &str = "what one sends with, all of the term accept";
pub(crate) const ACCEPTED_BY_ALL: &str = "what one sends with, all accept, unless the link was parted";
pub(crate) const NEW_KEYS: &str = "no key is given twice over a reboot";
pub(crate) const AGREEMENT: &str = "when it is quiet, all agree";
pub(crate) const ROOM: &str = "the bound on keys and Rekey SAs is never reached";

pub(crate) fn all<const N: usize>() -> Vec<Property<Run<N>>> {
    vec![
        Property::always(ONE_GCKS, |_, world: &World<N>| one_gcks(world)),
        Property::always(CAUSE, |_, world: &World<N>| {
            world.broken != Some(Broken::LeftWithoutCause)
        }),
        Property::always(ACCEPTED, |_, world: &World<N>| accepted(world, false)),
        Property::always(ACCEPTED_BY_ALL, |_, world: &World<N>| {
            world.parted || accepted(world, true)
        }),
        Property::always(NEW_KEYS, |_, world: &World<N>| {
            world.broken != Some(Broken::OldKeyGiven)
        }),
        Property::always(AGREEMENT, |run: &Run<N>, world: &World<N>| run.agrees(world)),
        Property::always(ROOM, |_, world: &World<N>| !world.overflow),
    ]
}

/// Every Rekey SA has one office that serves under it at most, the one that made it, and who has it and follows somebody
/// follows that one.
fn one_gcks<const N: usize>(world: &World<N>) -> bool {
    let owner = |sa: u8| world.owners.get(usize::from(sa)).copied().flatten();
    World::<N>::all().filter(|at| world.node(*at).up).all(|at| {
        let node = world.node(at);
        let serves = node
            .office
            .is_none_or(|office| owner(office.sa) == Some(world.inst(at)));
        let follows = match node.election {
            Election::Member(Member::Following(gcks)) => {
                let followed = owner(node.sa);
                followed == node.gcks && followed.is_some_and(|inst| inst.node == named(gcks))
            }
            _ => true,
        };
        serves && follows
    })
}

/// A node sends with no key that another keyed one does not accept: of its own term, or any. Whom an office gave up is
/// left out, and all is, once the alarm of section 7 was raised.
fn accepted<const N: usize>(world: &World<N>, any: bool) -> bool {
    if world.alarm {
        return true;
    }
    // One Rekey SA, or the present and the next of one office.
    let one_term = |a: u8, b: u8| {
        let (a, b) = (world.node(a).sa, world.node(b).sa);
        let offices = || world.nodes.iter().filter_map(|node| node.office);
        a == b
            || offices().any(|office| {
                [a, b]
                    .iter()
                    .all(|sa| *sa != NONE && [office.sa, office.next].contains(sa))
            })
    };
    let keyed =
        || World::<N>::all().filter(|at| world.node(*at).is_keyed() && world.given_up & bit(*at) == 0);
    keyed().all(|from| {
        let key = world.node(from).keys.sending;
        let others = keyed().filter(|to| *to != from);
        key == NONE
            || others
                .filter(|to| world.came & bit(*to) == 0)
                .filter(|to| any || one_term(*to, from))
                .all(|to| world.node(to).keys.accepted() & bit(key) != 0)
    })
}

impl<const N: usize> Run<N> {
    /// Whether all would agree if nothing more went wrong: the quiet schedule runs to its end, once from the first node on
    /// and once from the last.
    fn agrees(&self, world: &World<N>) -> bool {
        if self.agreement == 0 || world.overflow || world.broken.is_some() || world.alarm {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        let asked = hasher.finish().checked_rem(self.agreement) == Some(0);
        !asked || [false, true].iter().all(|last| self.calm(world, *last).1)
    }

    /// The quiet schedule: no more faults and no more loss; who is down stays down, a partition stays. In turn every node
    /// says what it has to say and hears all that it can. Spans of time pass only when nobody has more to say: first the
    /// pauses of offices, then those after which somebody counts as silent, then *wait*, *turn* (the best first) and
    /// *validate*. An outsider goes on all the while. It ends when nothing moves, or after 400 rounds; the second value
    /// is whether all agree then.
    pub(crate) fn calm(&self, world: &World<N>, from_last: bool) -> (World<N>, bool) {
        let quiet = Self {
            late: false,
            ..self.clone()
        };
        quiet.quiet(world, from_last)
    }

    fn quiet(&self, world: &World<N>, from_last: bool) -> (World<N>, bool) {
        let mut world = World {
            budget: Budget::default(),
            ..*world
        };
        let mut acts = Vec::new();
        for _ in 0..400 {
            let before = world;
            let mut order: Vec<u8> = World::<N>::all().collect();
            if from_last {
                order.reverse();
            }
            for node in order {
                acts.clear();
                self.ordinary(&world, node, &mut acts);
                let said = acts.clone();
                for act in said {
                    acts.clear();
                    self.ordinary(&world, node, &mut acts);
                    if is_talk(&world, act) && acts.contains(&act) {
                        world = self.act(&world, act);
                    }
                }
            }
            if world == before && !self.let_time_pass(&mut world, from_last) {
                return (world, self.agreed(&world));
            }
        }
        (world, false)
    }

    fn let_time_pass(&self, world: &mut World<N>, from_last: bool) -> bool {
        let mut all = Vec::new();
        for node in World::<N>::all() {
            self.ordinary(world, node, &mut all);
        }
        if from_last {
            all.reverse();
        }
        let mut due: Vec<(u8, Act)> = all.iter().filter_map(|act| self.due(world, *act)).collect();
        due.sort_by_key(|(order, _)| *order);
        // Pauses of the same length end together; of what follows on silence, one thing after the other.
        let before = *world;
        for (order, act) in due {
            if *world != before && order > 1 {
                break;
            }
            let mut now = Vec::new();
            if order <= 1 {
                for node in World::<N>::all() {
                    self.ordinary(world, node, &mut now);
                }
            }
            if order > 1 || now.contains(&act) {
                *world = self.act(world, act);
            }
        }
        *world != before
    }

    /// What is due when nobody has more to say, and in which order.
    fn due(&self, world: &World<N>, act: Act) -> Option<(u8, Act)> {
        let ears = |node: u8| Ears {
            forged: if self.outsider {
                Forged::Claim
            } else {
                Forged::Nothing
            },
            ..world.all_ears(node)
        };
        Some(match act {
            Act::Rested { .. } | Act::HeirHeld { .. } => (0, act),
            Act::RivalGone { .. }
            | Act::JoinsOver { .. }
            | Act::QuietOver { .. }
            | Act::SecondOver { .. } => (1, act),
            Act::Forget { .. } | Act::GiveUp { .. } | Act::MergeOver { .. } | Act::LegacyOver { .. } => {
                (1, act)
            }
            Act::Silent { node, .. } => (
                2,
                Act::Silent {
                    node,
                    ears: ears(node),
                },
            ),
            Act::JoinFailed { node, .. } => {
                // What was forged was tried in vain.
                let mut ears = ears(node);
                if ears.forged == Forged::Claim {
                    ears.forged = Forged::Barred;
                }
                (2, Act::JoinFailed { node, ears })
            }
            Act::WaitingLost { node, .. } => (
                2,
                Act::WaitingLost {
                    node,
                    ears: ears(node),
                },
            ),
            Act::MergeLost { .. } | Act::HandoffFailed { .. } => (2, act),
            Act::WaitOver { node, .. } => (
                3,
                Act::WaitOver {
                    node,
                    ears: ears(node),
                },
            ),
            Act::TurnOver { node, .. } => {
                let ears = ears(node);
                let better = world.survey(node, ears).better;
                (4 + better, Act::TurnOver { node, ears })
            }
            Act::ValidateOver { node, .. } => (
                20,
                Act::ValidateOver {
                    node,
                    ears: ears(node),
                },
            ),
            // DTD is longer than all of these.
            Act::Omit { .. } => (21, act),
            _ => return None,
        })
    }

    /// In every connected part there is one GCKS, all follow it under its Rekey SA, and all send with one key.
    pub(crate) fn agreed(&self, world: &World<N>) -> bool {
        let whole = || World::<N>::all().filter(|at| world.node(*at).up);
        whole().all(|at| {
            let part = || World::<N>::all().filter(|peer| world.reach(at, *peer));
            let mut offices = part().filter(|peer| world.node(*peer).serves());
            let (Some(gcks), None) = (offices.next(), offices.next()) else {
                return false;
            };
            let Some(office) = world.node(gcks).office else {
                return false;
            };
            let key = world.node(gcks).keys.sending;
            key != NONE
                && office.rollover.phase() == Phase::Steady
                && part().filter(|peer| *peer != gcks).all(|peer| {
                    let node = world.node(peer);
                    matches!(node.election, Election::Member(Member::Following(_)))
                        && node.gcks == Some(world.inst(gcks))
                        && node.sa == office.sa
                        && node.keys.sending == key
                })
        })
    }
}

/// What somebody says or hears, and nobody is dead or out of reach.
fn is_talk<const N: usize>(world: &World<N>, act: Act) -> bool {
    match act {
        Act::Hear { node, from } | Act::Update { node, from } => world.reach(node, from),
        Act::Announce { .. } | Act::Push { .. } | Act::Read { .. } => true,
        Act::Register { lost, .. } | Act::Pull { lost, .. } => !lost,
        _ => false,
    }
}
