//! What happened, in one list, and the judgement on it: which adjacencies stand, and which were lost.
//!
//! An adjacency is what one router says of one neighbour in one protocol. It is lost when it leaves the state that its
//! role calls for while both routers are live and keyed: Full, or 2-Way between two routers that are neither designated
//! nor backup; Up for BFD; a usable neighbour for Babel; the neighbour's route for RIP. Routers that the scenario has
//! taken down itself are exempt until they are back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Both sides of an adjacency notice an election within so many milliseconds.
const ELECTION_MS: u64 = 5000;

/// A routing protocol as the laboratory watches it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Watched {
    /// OSPF for IPv4.
    Ospf2,
    /// OSPF for IPv6.
    Ospf3,
    /// RIP version 2.
    Rip,
    /// Babel.
    Babel,
    /// BFD.
    Bfd,
}

impl Watched {
    /// Its name in karp's configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ospf2 => "OSPFv2",
            Self::Ospf3 => "OSPFv3",
            Self::Rip => "RIPv2",
            Self::Babel => "Babel",
            Self::Bfd => "BFD",
        }
    }

    /// Its algorithm in the laboratory. BFD has no SHA-256.
    #[must_use]
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::Bfd => "HMAC-SHA-1",
            _ => "HMAC-SHA-256",
        }
    }

    /// Whether it elects a designated router.
    #[must_use]
    pub const fn elects(self) -> bool {
        matches!(self, Self::Ospf2 | Self::Ospf3)
    }
}

/// How far an adjacency is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Nothing that routes.
    Down,
    /// OSPF's 2-Way: all that two routers have that are neither designated nor backup.
    TwoWay,
    /// OSPF on its way from 2-Way to Full.
    Rising,
    /// Full, Up, usable.
    Up,
}

impl Level {
    /// The level of a state by the name that the daemon gives it.
    #[must_use]
    pub fn of(state: &str) -> Self {
        match state.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "full" | "up" => Self::Up,
            "2way" | "twoway" => Self::TwoWay,
            "exstart" | "exchange" | "loading" => Self::Rising,
            _ => Self::Down,
        }
    }
}

/// One router about one neighbour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Adjacency {
    /// Who says it.
    pub router: usize,
    /// In which protocol.
    pub protocol: Watched,
    /// About whom.
    pub neighbour: usize,
}

/// A change that a daemon wrote down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// When, in milliseconds of Unix time, by the daemon's own stamp.
    pub at_ms: u64,
    /// Of what.
    pub adjacency: Adjacency,
    /// The state that it has now, as the daemon names it.
    pub state: String,
}

/// What the laboratory sees.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// An adjacency of a router changed.
    Adjacency(Change),
    /// An adjacency of the idle control LAN changed.
    Control {
        /// When.
        at_ms: u64,
        /// To which level.
        level: Level,
    },
    /// What a router is to OSPF on the link now, as its daemon names it.
    LinkRole {
        /// When.
        at_ms: u64,
        /// Which router.
        router: usize,
        /// In which protocol.
        protocol: Watched,
        /// As the daemon names it.
        role: String,
    },
    /// A daemon refused a packet for its authentication.
    Refused {
        /// When.
        at_ms: u64,
        /// Which router refused.
        router: usize,
        /// From whom, if it is a router of the LAN.
        from: Option<usize>,
        /// The daemon's words.
        text: String,
    },
    /// A line of `karpd watch`.
    Karpd {
        /// Which router's.
        router: usize,
        /// The line.
        event: Value,
    },
    /// The scenario has ended programs of a router.
    Gone {
        /// When.
        at_ms: u64,
        /// Which router's.
        router: usize,
        /// Its karpd.
        karpd: bool,
        /// Its routing daemons.
        daemons: bool,
    },
    /// What the scenario does.
    Act {
        /// When.
        at_ms: u64,
        /// In words.
        text: String,
    },
}

/// A lost adjacency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// When.
    pub at_ms: u64,
    /// Which.
    pub adjacency: Adjacency,
    /// What it was.
    pub from: String,
    /// What it became.
    pub to: String,
}

/// All that happened.
#[derive(Debug, Default)]
pub struct Record {
    events: Vec<Event>,
    standing: BTreeMap<Adjacency, String>,
    roles: BTreeMap<(usize, Watched), String>,
    losses: Vec<Loss>,
    forgiven: Vec<Loss>,
    exempt: BTreeSet<usize>,
    electing: bool,
    refusals: u64,
    control_losses: Vec<u64>,
    control: Option<Level>,
}

impl Record {
    /// Takes an event in and judges it. Returns whether an adjacency was lost.
    pub fn take(&mut self, event: Event) -> bool {
        let mut lost = false;
        match &event {
            Event::Adjacency(change) => lost = self.judge(change),
            Event::Control { at_ms, level } => {
                if self.control == Some(Level::Up) && *level != Level::Up {
                    self.control_losses.push(*at_ms);
                }
                self.control = Some(*level);
            }
            Event::Refused { router, from, .. } => {
                let counts = |index: &usize| !self.exempt.contains(index);
                if counts(router) && from.as_ref().is_some_and(counts) {
                    self.refusals += 1;
                }
            }
            Event::LinkRole {
                router,
                protocol,
                role,
                ..
            } => {
                self.roles.insert((*router, *protocol), role.clone());
            }
            Event::Karpd { .. } | Event::Gone { .. } | Event::Act { .. } => {}
        }
        self.events.push(event);
        lost
    }

    fn judge(&mut self, change: &Change) -> bool {
        let before = self.standing.insert(change.adjacency, change.state.clone());
        let Some(before) = before else { return false };
        let (from, to) = (Level::of(&before), Level::of(&change.state));
        let lost = match from {
            Level::Up => to != Level::Up,
            Level::TwoWay => to == Level::Down,
            Level::Rising | Level::Down => false,
        };
        if !lost {
            return false;
        }
        let loss = Loss {
            at_ms: change.at_ms,
            adjacency: change.adjacency,
            from: before,
            to: change.state.clone(),
        };
        let is_exempt = self.exempt.contains(&change.adjacency.router)
            || self.exempt.contains(&change.adjacency.neighbour)
            || (self.electing && from == Level::Up && self.is_elections(&loss));
        if is_exempt {
            // What the other side lost by this one's stepping down may have been read first.
            let losses = std::mem::take(&mut self.losses);
            let (begun_anew, losses): (Vec<Loss>, Vec<Loss>) = losses
                .into_iter()
                .partition(|other| self.electing && begins_anew(other, &loss));
            self.losses = losses;
            self.forgiven.extend(begun_anew);
            self.forgiven.push(loss);
            return false;
        }
        self.losses.push(loss);
        true
    }

    /// Both have lost their role, and the adjacency steps back to 2-Way; or the other has, and the adjacency begins anew.
    fn is_elections(&self, loss: &Loss) -> bool {
        Level::of(&loss.to) == Level::TwoWay || self.forgiven.iter().any(|other| begins_anew(loss, other))
    }

    /// The scenario takes this router down, or has not yet brought it up: what it loses does not count.
    pub fn exempt(&mut self, router: usize) {
        self.exempt.insert(router);
    }

    /// From now on what this router loses counts.
    pub fn count(&mut self, router: usize) {
        self.exempt.remove(&router);
    }

    /// Whether this router's losses do not count now.
    #[must_use]
    pub fn is_exempt(&self, router: usize) -> bool {
        self.exempt.contains(&router)
    }

    /// While OSPF elects, an adjacency may step back from Full to 2-Way because both have lost their role, and the other
    /// side with it. That is the protocol's own doing.
    pub fn electing(&mut self, electing: bool) {
        self.electing = electing;
    }

    /// All routers are up and keyed: from now on refused packets are counted.
    pub fn begin(&mut self) {
        self.refusals = 0;
    }

    /// A router's daemon is gone: it says nothing any more, and what it said is void.
    pub fn silence(&mut self, router: usize) {
        self.standing.retain(|adjacency, _| adjacency.router != router);
        self.roles.retain(|(whose, _), _| *whose != router);
    }

    /// The state of an adjacency as the daemon names it.
    #[must_use]
    pub fn state(&self, adjacency: Adjacency) -> Option<&str> {
        self.standing.get(&adjacency).map(String::as_str)
    }

    /// What a router is on the link, as its daemon wrote it last.
    #[must_use]
    pub fn role(&self, router: usize, protocol: Watched) -> Option<&str> {
        self.roles.get(&(router, protocol)).map(String::as_str)
    }

    /// Its level.
    #[must_use]
    pub fn level(&self, adjacency: Adjacency) -> Level {
        self.state(adjacency).map_or(Level::Down, Level::of)
    }

    /// Whether all these routers have each other in this protocol as their roles call for: each has two Full neighbours
    /// (the designated router and its backup) or as many as there are, and at least 2-Way with the rest.
    #[must_use]
    pub fn is_meshed(&self, routers: &[usize], protocol: Watched) -> bool {
        routers.iter().all(|router| {
            let levels: Vec<Level> = routers
                .iter()
                .filter(|neighbour| *neighbour != router)
                .map(|neighbour| {
                    self.level(Adjacency {
                        router: *router,
                        protocol,
                        neighbour: *neighbour,
                    })
                })
                .collect();
            let full = levels.iter().filter(|level| **level == Level::Up).count();
            let wanted = if protocol.elects() {
                levels.len().min(2)
            } else {
                levels.len()
            };
            full >= wanted
                && levels
                    .iter()
                    .all(|level| matches!(level, Level::Up | Level::TwoWay))
        })
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The losses that count.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Losses of routers that the scenario had taken down.
    #[must_use]
    pub fn forgiven(&self) -> &[Loss] {
        &self.forgiven
    }

    /// How many packets live, keyed routers refused from one another for their authentication since
    /// [`begin`](Self::begin). More sensitive than a lost adjacency, which takes many of them.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// When the control LAN lost its adjacency.
    #[must_use]
    pub fn control_losses(&self) -> &[u64] {
        &self.control_losses
    }

    /// Whether the control LAN's adjacency stands.
    #[must_use]
    pub fn is_control_up(&self) -> bool {
        self.control == Some(Level::Up)
    }
}

/// Whether `loss` is an adjacency that begins anew because the other side stepped back to 2-Way at about that time.
fn begins_anew(loss: &Loss, other: &Loss) -> bool {
    let (one, two) = (loss.adjacency, other.adjacency);
    Level::of(&loss.to) == Level::Rising
        && Level::of(&other.to) == Level::TwoWay
        && (one.router, one.protocol, one.neighbour) == (two.neighbour, two.protocol, two.router)
        && loss.at_ms.abs_diff(other.at_ms) <= ELECTION_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(router: usize, neighbour: usize, state: &str) -> Event {
        Event::Adjacency(Change {
            at_ms: 1,
            adjacency: Adjacency {
                router,
                protocol: Watched::Ospf2,
                neighbour,
            },
            state: state.to_owned(),
        })
    }

    #[test]
    fn an_adjacency_that_leaves_full_is_lost() {
        for to in ["Init", "Down", "ExStart", "Deleted", "2-Way"] {
            let mut record = Record::default();
            for state in ["Init", "2-Way", "ExStart", "Exchange", "Loading", "Full"] {
                assert!(!record.take(change(0, 1, state)), "on the way up: {state}");
            }
            assert!(record.take(change(0, 1, to)), "Full to {to}");
            assert_eq!(record.losses().len(), 1);
            assert_eq!(record.losses()[0].to, to);
        }
    }

    #[test]
    fn who_was_taken_down_does_not_count_on_either_side() {
        let mut record = Record::default();
        record.take(change(0, 1, "Full"));
        record.take(change(1, 0, "Full"));
        record.take(change(0, 2, "Full"));
        record.exempt(1);
        assert!(!record.take(change(0, 1, "Down")));
        assert!(!record.take(change(1, 0, "Down")));
        assert!(record.take(change(0, 2, "Down")), "the others' still counts");
        record.take(change(0, 1, "Full"));
        record.count(1);
        assert!(
            record.take(change(0, 1, "Init")),
            "once it is back it counts again"
        );
        assert_eq!((record.losses().len(), record.forgiven().len()), (2, 2));
    }

    #[test]
    fn a_step_to_two_way_is_the_elections_only_while_there_is_one() {
        let mut record = Record::default();
        record.electing(true);
        record.take(change(0, 1, "Full"));
        assert!(!record.take(change(0, 1, "2-Way")));
        record.electing(false);
        assert!(
            record.take(change(0, 1, "Init")),
            "2-Way is all that two others have"
        );
    }

    #[test]
    fn who_begins_anew_because_the_other_stepped_down_has_lost_nothing() {
        let mut record = Record::default();
        record.take(change(0, 1, "Full"));
        record.take(change(1, 0, "Full"));
        record.electing(true);
        assert!(
            record.take(change(1, 0, "ExStart")),
            "the other has not stepped down, as far as one knows"
        );
        assert!(!record.take(change(0, 1, "2-Way")));
        assert!(record.losses().is_empty(), "now one knows");
        record.take(change(1, 0, "Full"));
        assert!(!record.take(change(1, 0, "ExStart")));
        record.electing(false);
        record.take(change(1, 0, "Full"));
        assert!(record.take(change(1, 0, "ExStart")));
    }

    #[test]
    fn five_routers_are_meshed_with_two_full_neighbours_each() {
        let mut record = Record::default();
        let routers = [0, 1, 2, 3, 4];
        for router in routers {
            for neighbour in routers.into_iter().filter(|neighbour| *neighbour != router) {
                let state = if router < 2 || neighbour < 2 {
                    "Full"
                } else {
                    "2-Way"
                };
                assert!(!record.is_meshed(&routers, Watched::Ospf2));
                record.take(change(router, neighbour, state));
            }
        }
        assert!(record.is_meshed(&routers, Watched::Ospf2));
        assert!(!record.is_meshed(&routers, Watched::Ospf3));
        record.silence(3);
        assert!(!record.is_meshed(&routers, Watched::Ospf2));
        assert!(record.is_meshed(&[0, 1, 2, 4], Watched::Ospf2));
    }

    #[test]
    fn refusals_between_counted_routers_are_counted() {
        let mut record = Record::default();
        let refused = |router, from| Event::Refused {
            at_ms: 1,
            router,
            from,
            text: String::new(),
        };
        record.exempt(2);
        record.take(refused(0, Some(1)));
        record.take(refused(0, Some(2)));
        record.take(refused(2, Some(0)));
        record.take(refused(0, None));
        assert_eq!(record.refusals(), 1);
    }

    #[test]
    fn the_control_lan_is_judged_apart() {
        let mut record = Record::default();
        record.take(Event::Control {
            at_ms: 1,
            level: Level::Up,
        });
        assert!(record.is_control_up());
        record.take(Event::Control {
            at_ms: 9,
            level: Level::Down,
        });
        assert_eq!(record.control_losses(), [9]);
        assert!(record.losses().is_empty());
    }
}
