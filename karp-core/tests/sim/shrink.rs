//! Makes a schedule that fails as short as it can be while it still fails in the same way.

use crate::common::{Link, node::Host};

use super::{
    fault::{Fault, Schedule},
    play::{Failure, Outcome},
};

/// Plays a schedule.
pub type Player<'a> = &'a dyn Fn(&Schedule) -> Outcome;

/// What was found.
pub struct Shrunk {
    pub schedule: Schedule,
    pub failure: Failure,
    /// How many runs that took.
    pub runs: u32,
}

/// Leaves out faults, then routers, then what is odd about the group, as long as the same promise is broken. Plays no
/// more than `limit` runs.
pub fn shrink(schedule: &Schedule, failure: &Failure, player: Player<'_>, limit: u32) -> Shrunk {
    let mut best = Shrunk {
        schedule: schedule.clone(),
        failure: failure.clone(),
        runs: 0,
    };
    // Nothing that was to happen after the failure matters.
    let mut early = best.schedule.clone();
    early.faults.retain(|(at, _)| *at <= failure.at);
    best.try_out(early, player, limit);
    loop {
        let before = best.schedule.clone();
        faults(&mut best, player, limit);
        routers(&mut best, player, limit);
        oddities(&mut best, player, limit);
        sooner(&mut best, player, limit);
        if best.schedule == before || best.runs >= limit {
            return best;
        }
    }
}

impl Shrunk {
    /// Takes `schedule` if it fails as well.
    fn try_out(&mut self, schedule: Schedule, player: Player<'_>, limit: u32) -> bool {
        if self.runs >= limit || schedule == self.schedule {
            return false;
        }
        self.runs += 1;
        let outcome = player(&schedule);
        match outcome.failure {
            Some(failure) if failure.promise() == self.failure.promise() => {
                self.schedule = schedule;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }
}

/// Leaves out runs of faults, long ones first.
fn faults(best: &mut Shrunk, player: Player<'_>, limit: u32) {
    let mut length = best.schedule.faults.len().div_ceil(2);
    while length > 0 {
        let mut at = 0;
        while at < best.schedule.faults.len() {
            let mut less = best.schedule.clone();
            let end = (at + length).min(less.faults.len());
            less.faults.drain(at..end);
            if !best.try_out(less, player, limit) {
                at += length;
            }
        }
        length = if length == 1 { 0 } else { length.div_ceil(2) };
    }
}

/// Leaves out routers from the last on, and with them what strikes them.
fn routers(best: &mut Shrunk, player: Player<'_>, limit: u32) {
    while best.schedule.nodes > 2 {
        let mut less = best.schedule.clone();
        less.nodes -= 1;
        less.faults.retain(|(_, fault)| !fault.names_beyond(less.nodes));
        if !best.try_out(less, player, limit) {
            return;
        }
    }
}

/// Makes the group an ordinary one: no attacker, clean links, equal clocks and so on, each by itself.
fn oddities(best: &mut Shrunk, player: Player<'_>, limit: u32) {
    let changes: [fn(&mut Schedule); 10] = [
        |s| s.faults.retain(|(_, fault)| !fault.is_attack()),
        |s| s.faults.retain(|(_, fault)| !matches!(fault, Fault::Link(_))),
        |s| s.setup.link = Link::CLEAN,
        |s| s.setup.links.clear(),
        |s| s.setup.clocks.fill(0),
        |s| s.setup.hosts.fill(Host::Reads),
        |s| s.setup.priorities.fill(100),
        |s| s.setup.strangers.clear(),
        |s| s.setup.preempt = false,
        |s| s.setup.proof = crate::common::credentials::Proof::PairKeys,
    ];
    for change in changes {
        let mut plainer = best.schedule.clone();
        change(&mut plainer);
        best.try_out(plainer, player, limit);
    }
}

/// Mends everything sooner, so that the run is short.
fn sooner(best: &mut Shrunk, player: Player<'_>, limit: u32) {
    let last = best.schedule.faults.last().map_or(0, |(at, _)| *at);
    for span in [last + 1, last + 5_000, last + 20_000] {
        if span < best.schedule.span {
            let mut short = best.schedule.clone();
            short.span = span;
            if best.try_out(short, player, limit) {
                return;
            }
        }
    }
}
