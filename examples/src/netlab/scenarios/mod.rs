//! The scenarios: each by its name, what it runs on, and what it does.

mod broken;
mod hostile;
mod life;
mod migrate;
mod packets;
mod plain;

use super::{
    lab::{End, Lab, Plan},
    record::Watched,
    router::Kind,
};

/// What the capture of a scenario must show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Authenticated packets only, each under a key with which its sender was told to send.
    Clean,
    /// Packets that should not be.
    Strange,
    /// Somebody who is no router sends on purpose, or there is no karpd.
    NotJudged,
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// It holds only if an adjacency is lost: the watcher must be able to see that.
    pub wants_loss: bool,
    /// What the capture must show.
    pub wire: Wire,
    plan: fn() -> Plan,
    play: fn(&mut Lab) -> Result<(), End>,
}

impl Scenario {
    /// What it runs on.
    #[must_use]
    pub fn plan(&self) -> Plan {
        (self.plan)()
    }

    /// What of the complaints about the capture speaks against the run: all of them; or, where something is broken on
    /// purpose behind karpd's back, that there is none.
    #[must_use]
    pub fn wire(&self, complaints: Vec<String>) -> Vec<String> {
        match self.wire {
            Wire::Clean => complaints,
            Wire::Strange if complaints.is_empty() => {
                vec![
                    "the capture was held to be in order, with a key in it that karpd never told of"
                        .to_owned(),
                ]
            }
            Wire::Strange | Wire::NotJudged => Vec::new(),
        }
    }

    /// Plays it.
    ///
    /// # Errors
    /// Why it ended early.
    pub fn play(&self, lab: &mut Lab) -> Result<(), End> {
        (self.play)(lab)
    }
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "bird-ospf",
        about: "three BIRD routers, OSPFv2: cold start, rollovers, crashes, return, change of the DR",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || plan(&[Kind::Bird; 3], &[Watched::Ospf2], false),
        play: life::whole,
    },
    Scenario {
        name: "frr-ospf",
        about: "three FRR routers, OSPFv2: the same",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || plan(&[Kind::Frr; 3], &[Watched::Ospf2], false),
        play: life::whole,
    },
    Scenario {
        name: "mixed",
        about: "three BIRD and two FRR routers on one LAN, OSPFv2 and OSPFv3 at once: the same",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || {
            let routers = [Kind::Bird, Kind::Frr, Kind::Bird, Kind::Frr, Kind::Bird];
            plan(&routers, &[Watched::Ospf2, Watched::Ospf3], false)
        },
        play: life::whole,
    },
    Scenario {
        name: "frr-ospf3",
        about: "three FRR routers, OSPFv3: the same",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || plan(&[Kind::Frr; 3], &[Watched::Ospf3], false),
        play: life::whole,
    },
    Scenario {
        name: "bird-babel-rip-bfd",
        about: "three BIRD routers with Babel, RIP and BFD: the same, without a DR",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || {
            plan(
                &[Kind::Bird; 3],
                &[Watched::Babel, Watched::Rip, Watched::Bfd],
                false,
            )
        },
        play: life::whole,
    },
    Scenario {
        name: "migrate",
        about: "BIRD and FRR under a manual key get karpd one after the other, in random order",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || {
            let routers = [Kind::Bird, Kind::Frr, Kind::Bird, Kind::Frr];
            plan(&routers, &[Watched::Ospf2, Watched::Ospf3], true)
        },
        play: migrate::play,
    },
    Scenario {
        name: "hostile",
        about: "a router with a wrong credential stays out, and replays, forgeries and a flood cost no adjacency",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || Plan {
            outsiders: 1,
            ..plan(
                &[Kind::Bird, Kind::Frr, Kind::Bird, Kind::Bird],
                &[Watched::Ospf2],
                false,
            )
        },
        play: hostile::play,
    },
    Scenario {
        name: "packets",
        about: "packets of BIRD and FRR verify with karp_core::packet_auth, and both accept hellos that it signs",
        wants_loss: false,
        wire: Wire::Clean,
        plan: || {
            let routers = [Kind::Bird, Kind::Frr, Kind::Bird];
            plan(&routers, &[Watched::Ospf2, Watched::Ospf3], true)
        },
        play: packets::play,
    },
    Scenario {
        name: "broken",
        about: "a rollover broken on purpose: holds only if the watcher sees the adjacencies go",
        wants_loss: true,
        wire: Wire::Strange,
        plan: || plan(&[Kind::Bird; 3], &[Watched::Ospf2], false),
        play: broken::play,
    },
    Scenario {
        name: "plain",
        about: "a fixed key and no karpd: the watcher sees adjacencies of BIRD and FRR come, and go under a wrong key",
        wants_loss: true,
        wire: Wire::NotJudged,
        plan: || {
            let routers = [Kind::Bird, Kind::Bird, Kind::Frr, Kind::Frr];
            plan(&routers, &[Watched::Ospf2, Watched::Ospf3], true)
        },
        play: plain::play,
    },
];

fn plan(routers: &[Kind], protocols: &[Watched], manual: bool) -> Plan {
    Plan {
        routers: routers.to_vec(),
        protocols: protocols.to_vec(),
        manual,
        outsiders: 0,
    }
}

/// The scenario of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for scenario in ALL {
            let same = ALL.iter().filter(|other| other.name == scenario.name).count();
            assert_eq!(same, 1, "{}", scenario.name);
            assert_eq!(find(scenario.name).map(|found| found.about), Some(scenario.about));
            assert!(scenario.plan().routers.len() >= 3);
        }
        assert!(find("nothing").is_none());
    }
}
