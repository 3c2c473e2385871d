//! The scenarios: each by its name, what it runs on, and what it does.

mod packets;
mod plain;

use super::{
    lab::{End, Lab, Plan},
    record::Watched,
    router::Kind,
};

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// It holds only if an adjacency is lost: the watcher must be able to see that.
    pub wants_loss: bool,
    plan: fn() -> Plan,
    play: fn(&mut Lab) -> Result<(), End>,
}

impl Scenario {
    /// What it runs on.
    #[must_use]
    pub fn plan(&self) -> Plan {
        (self.plan)()
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
        name: "packets",
        about: "BIRD's and FRR's packets verify with karp_core::packet_auth, and both accept hellos that it signs",
        wants_loss: false,
        plan: || {
            plan(
                &[Kind::Bird, Kind::Frr, Kind::Bird],
                &[Watched::Ospf2, Watched::Ospf3],
                true,
            )
        },
        play: packets::play,
    },
    Scenario {
        name: "plain",
        about: "BIRD and FRR with a fixed key and no karpd: the watcher sees adjacencies come, and go when a key is wrong",
        wants_loss: true,
        plan: || {
            plan(
                &[Kind::Bird, Kind::Bird, Kind::Frr, Kind::Frr],
                &[Watched::Ospf2, Watched::Ospf3],
                true,
            )
        },
        play: plain::play,
    },
];

fn plan(routers: &[Kind], protocols: &[Watched], manual: bool) -> Plan {
    Plan {
        routers: routers.to_vec(),
        protocols: protocols.to_vec(),
        manual,
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
