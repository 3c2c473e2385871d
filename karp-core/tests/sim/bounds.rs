//! The times within which a group is there again, as formulas of the settings (PROTOCOL.md sections 5.3 to 5.5 and 7).
//!
//! They hold on a clean link, counted from the moment after which nothing goes wrong any more.

use karp_core::{command::Command, io::Role};

use crate::common::Lan;

use super::fault::Schedule;

/// How long a group that was found is watched, in ms.
pub const STAYS: u64 = 20_000;

/// The defaults of section 11 that the bounds are made of, in ms.
pub const HELLO: u64 = 1_000;
pub const HOLD: u64 = 4 * HELLO;
/// Announcements and waits carry a jitter of 10 %.
const JITTER: u64 = HELLO / 10;
/// An attempt at a candidate: three requests and their time-out (section 5.4).
const ATTEMPT: u64 = 1_500;
/// A request that is never answered: five tries that double (section 11).
const PUSH: u64 = 500 * (1 + 2 + 4 + 8 + 16);
/// Members register with an heir after up to `members` x 20 ms, at most 10 s (section 5.5).
const SPREAD: u64 = 20;
const MOST_SPREAD: u64 = 10_000;
/// What one exchange takes on the link, with its answer.
const EXCHANGE: u64 = 20;
/// A full table of handshakes lets this many in at once (section 11); the others come again after an attempt.
const SLOTS: u64 = 64;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Case {
    /// All boot at once: until one serves.
    ColdOffice,
    /// All boot at once: until all have keys.
    ColdKeys,
    /// The key server loses power: until another serves.
    CrashOffice,
    /// The key server loses power: until all follow another, and have keys all the time.
    CrashKeys,
    /// Two halves that were apart for a minute: until there is one group.
    Healed,
    /// A router that keeps nothing reboots: until it has fresh keys.
    Reboot,
}

impl Case {
    pub const ALL: [Self; 6] = [
        Self::ColdOffice,
        Self::ColdKeys,
        Self::CrashOffice,
        Self::CrashKeys,
        Self::Healed,
        Self::Reboot,
    ];

    pub const fn what(self) -> &'static str {
        match self {
            Self::ColdOffice => "cold start: one GCKS",
            Self::ColdKeys => "cold start: keys for all",
            Self::CrashOffice => "GCKS crashed: another serves",
            Self::CrashKeys => "GCKS crashed: all follow it",
            Self::Healed => "two halves healed: one group",
            Self::Reboot => "clockless reboot: fresh keys",
        }
    }

    /// The bound in ms for a group of `nodes` routers.
    pub fn bound(self, nodes: usize) -> u64 {
        let nodes = nodes as u64;
        // All of a group register at once with one server; who finds its table full tries again.
        let register = (nodes * SPREAD).min(MOST_SPREAD) + nodes.div_ceil(SLOTS) * 2 * ATTEMPT + EXCHANGE;
        // Who is not among the eight best announces every `members` / 64 hellos (section 5.1).
        let pace = (nodes.div_ceil(64)).max(1) * (HELLO + JITTER);
        // A rollover: distribute, be acknowledged by all, activate, be acknowledged by all.
        let rollover = 2 * (pace + HELLO + JITTER) + EXCHANGE;
        match self {
            // The wait, and a turn for each that ranks better and was heard; the best is heard by all.
            Self::ColdOffice => HOLD + JITTER + HELLO,
            Self::ColdKeys => Self::ColdOffice.bound(2) + HELLO + register + rollover,
            Self::CrashOffice => HOLD + JITTER + HELLO,
            Self::CrashKeys => Self::CrashOffice.bound(2) + 2 * HELLO + register,
            // The offices hear each other, one registers, waits for a new key, and its members follow. The heir's own
            // rollover may be on its way, and end only when who is missing is given up.
            Self::Healed => 2 * HOLD + PUSH + 3 * rollover + 2 * register + 4 * HELLO,
            // Its own wait, then a rollover, which waits for the one before and 2 x hold for who knocks.
            Self::Reboot => HOLD + 2 * ATTEMPT + 2 * HOLD + 5_000 + 2 * rollover + HELLO,
        }
    }
}

/// Within what time of quiet there is one group after any faults (promise 6), in ms. What was asked of silent routers has
/// to time out, keys may be at their end, two merges may follow each other, and penalties of failed candidates end.
pub fn quiet(schedule: &Schedule) -> u64 {
    let penalties = 60_000;
    3 * Case::Healed.bound(schedule.nodes) + penalties
}

/// A number of hello intervals, for people.
pub const fn hellos(ms: u64) -> u64 {
    ms.div_ceil(HELLO)
}

/// Plays one case and gives the time it took, in ms. Fails the run if it takes longer than ten times the bound.
pub fn measure(case: Case, seed: u64, nodes: usize) -> u64 {
    let most = 10 * case.bound(nodes);
    let mut lan = Lan::new(seed);
    lan.untraced = true;
    lan.add(nodes);
    for node in &mut lan.nodes {
        node.sizes.peers = node.sizes.peers.max(nodes + 1);
    }
    if nodes > 50 {
        // Every routing packet is heard by every router: what they say of promise 3 small groups say as well.
        lan.hellos.every = 0;
    }
    lan.start_all();
    let served = |lan: &Lan| lan.nodes.iter().any(|node| node.role() == Role::Gcks);
    match case {
        Case::ColdOffice => return lan.expect(most, case.what(), served),
        Case::ColdKeys => return lan.expect(most, case.what(), Lan::is_settled),
        Case::CrashOffice | Case::CrashKeys | Case::Healed | Case::Reboot => {}
    }
    lan.settle(10 * Case::ColdKeys.bound(nodes));
    let rest = 12_000 + lan.dice.below(8_000);
    lan.run(rest);
    let gcks = lan.gcks();
    match case {
        Case::ColdOffice | Case::ColdKeys => 0,
        Case::CrashOffice => {
            lan.crash(gcks);
            lan.expect(most, case.what(), served)
        }
        Case::CrashKeys => {
            lan.crash(gcks);
            lan.expect(most, case.what(), |lan| served(lan) && lan.is_settled())
        }
        Case::Healed => {
            let (left, right): (Vec<usize>, Vec<usize>) = (0..nodes).partition(|at| at % 2 == 0);
            lan.partition(&[&left, &right]);
            lan.run(60_000);
            lan.heal();
            lan.expect(most, case.what(), Lan::is_settled)
        }
        Case::Reboot => {
            let one = lan.a_member();
            lan.reboot(one);
            lan.expect(most, case.what(), |lan| {
                lan.nodes[one].is_keyed() && lan.is_settled()
            })
        }
    }
}

/// A router that slept for an hour, in office when it fell asleep: whether it is in office when it wakes.
pub fn wakes_in_office(seed: u64) -> bool {
    let mut lan = Lan::settled(seed, 4);
    lan.untraced = true;
    let gcks = lan.gcks();
    _ = lan.command(gcks, Command::SetPriority(300));
    lan.pause(gcks, 3_600_000);
    lan.run(3_600_001);
    let woke = lan.nodes[gcks].role() == Role::Gcks;
    lan.settle(Case::Healed.bound(4));
    woke || lan.nodes[gcks].role() == Role::Gcks
}
