//! Plays a schedule on a LAN of real engines, mends everything, and waits for the group.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use karp_core::{algorithm::RoutingProtocol, command::Command, identity::Grant, io::Role};

use crate::common::{
    Lan, Link, Sign,
    node::{Host, Node},
    wire::{Hand, Sent},
};

use super::{
    attacker::Attacker,
    bounds,
    fault::{Fault, Schedule, Who},
};

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub profile: &'static str,
    pub nodes: usize,
    pub failure: Option<Failure>,
    /// How long after everything was mended the group was one again, in ms.
    pub settled: u64,
    /// Virtual time in ms.
    pub lasted: u64,
    /// Routing packets that were accepted.
    pub accepted: u64,
    /// Routing packets that were refused, by the exception that covers it (`Hellos::excused`).
    pub excused: Vec<u64>,
}

/// What did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// When, in the LAN's time.
    pub at: u64,
    pub why: String,
}

impl Failure {
    /// The promise of section 12 that was broken, by its number; 0 for what else the laboratory checks.
    pub fn promise(&self) -> usize {
        let number = self.why.split_once("promise ").map(|(_, rest)| rest);
        number
            .and_then(|rest| rest.get(..1))
            .and_then(|digit| digit.parse().ok())
            .unwrap_or(0)
    }
}

/// Plays `schedule`, and gives the LAN back as it was at the end.
pub fn play(schedule: &Schedule, trace: bool) -> (Outcome, Lan) {
    play_with(schedule, trace, |_| {})
}

/// The same, with something changed on the LAN before it begins: for doubles that a check has to find.
pub fn play_with(schedule: &Schedule, trace: bool, change: impl FnOnce(&mut Lan)) -> (Outcome, Lan) {
    let mut lan = lan(schedule);
    lan.untraced = !trace;
    lan.trace.keep = None;
    change(&mut lan);
    let run = catch_unwind(AssertUnwindSafe(|| run(schedule, &mut lan)));
    let (settled, failure) = match run {
        Ok(settled) => (settled, None),
        Err(cause) => {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
            let why = text.unwrap_or("a panic without a word").to_string();
            (0, Some(Failure { at: lan.now, why }))
        }
    };
    let outcome = Outcome {
        seed: schedule.seed,
        profile: schedule.profile,
        nodes: schedule.nodes,
        failure,
        settled,
        lasted: lan.now,
        accepted: lan.hellos.accepted,
        excused: lan.hellos.excuses.to_vec(),
    };
    (outcome, lan)
}

/// The group that a schedule describes, still down.
pub fn lan(schedule: &Schedule) -> Lan {
    let setup = &schedule.setup;
    let mut lan = Lan::new(schedule.seed);
    lan.family = setup.family;
    lan.proof = setup.proof;
    lan.add(schedule.nodes);
    lan.set(setup.tweak());
    lan.link = setup.link;
    let inside = |((from, to), _): &&((usize, usize), Link)| *from < schedule.nodes && *to < schedule.nodes;
    lan.links = setup.links.iter().filter(inside).copied().collect();
    let names: Vec<_> = lan.nodes.iter().map(|node| node.identity.clone()).collect();
    for (at, node) in lan.nodes.iter_mut().enumerate() {
        node.clock.ppm = setup.clocks.get(at).copied().unwrap_or(0);
        node.host = setup.hosts.get(at).copied().unwrap_or(Host::Reads);
        let priority = setup.priorities.get(at).copied().unwrap_or(100);
        node.set(move |settings| settings.priority = priority);
        node.priority = priority;
        for stranger in setup.strangers.iter().filter(|stranger| **stranger < names.len()) {
            if *stranger == at {
                node.realm = 1 + at as u32;
            } else {
                node.store.spoil(&names[*stranger]);
            }
        }
    }
    if schedule.faults.iter().any(|(_, fault)| fault.is_attack()) {
        lan.record = Some(Vec::new());
    }
    lan
}

/// A fault that waits for a sign.
struct Armed {
    sign: Sign,
    seen: u64,
    until: u64,
    after: u64,
    then: Fault,
}

/// Datagrams that are lost for a while.
struct Losing {
    exchange: u8,
    from: Vec<usize>,
    to: Vec<usize>,
    until: u64,
}

/// The faults of a run, as far as they are not over.
struct Run<'a> {
    schedule: &'a Schedule,
    /// When, whom the sign that it waited for was seen at, and what.
    pending: Vec<(u64, usize, Fault)>,
    armed: Vec<Armed>,
    attackers: Vec<Attacker>,
    losing: Rc<RefCell<Vec<Losing>>>,
}

/// Returns the time from the mending to one group.
fn run(schedule: &Schedule, lan: &mut Lan) -> u64 {
    let losing = Rc::<RefCell<Vec<Losing>>>::default();
    let mut run = Run {
        schedule,
        pending: schedule
            .faults
            .iter()
            .map(|(at, fault)| (*at, 0, fault.clone()))
            .collect(),
        armed: Vec::new(),
        attackers: Vec::new(),
        losing: Rc::clone(&losing),
    };
    lan.tap(move |sent, hand| lose(&losing.borrow(), sent, hand));
    lan.start_all();
    run.faults(lan);
    run.losing.borrow_mut().clear();
    mend(lan, schedule);
    let settled = lan.expect(
        bounds::quiet(schedule),
        "promise 6: one GCKS and one key everywhere",
        is_one,
    );
    stays(lan);
    settled
}

impl Run<'_> {
    fn faults(&mut self, lan: &mut Lan) {
        loop {
            let due = self.pending.iter().map(|(at, ..)| *at);
            let attacks = self.attackers.iter().map(|attacker| attacker.next);
            let next = due
                .chain(attacks)
                .min()
                .unwrap_or(u64::MAX)
                .min(self.schedule.span);
            let armed = &self.armed;
            lan.run_until(next.saturating_sub(lan.now), |lan| {
                armed
                    .iter()
                    .any(|armed| lan.signs[armed.sign as usize].0 > armed.seen)
            });
            if lan.now >= self.schedule.span {
                return;
            }
            self.signs(lan);
            // In the order of the schedule: the shrinker must not change that of what is left.
            while let Some(at) = self.pending.iter().position(|(at, ..)| *at <= lan.now) {
                let (_, latest, fault) = self.pending.remove(at);
                self.strike(lan, latest, fault);
            }
            for attacker in &mut self.attackers {
                if attacker.next <= lan.now && !attacker.is_over() {
                    attacker.act(lan);
                }
            }
            self.attackers.retain(|attacker| !attacker.is_over());
        }
    }

    /// Plans what waited for a sign that was seen, and forgets what waited too long.
    fn signs(&mut self, lan: &Lan) {
        for armed in std::mem::take(&mut self.armed) {
            let (count, latest) = lan.signs[armed.sign as usize];
            if count > armed.seen {
                self.pending.push((lan.now + armed.after, latest, armed.then));
            } else if armed.until > lan.now {
                self.armed.push(armed);
            }
        }
    }

    fn strike(&mut self, lan: &mut Lan, latest: usize, fault: Fault) {
        if !lan.untraced {
            lan.note(&format!("fault: {fault:?}"));
        }
        let who = |who: Who| match who {
            Who::Node(at) => Some(at).filter(|at| *at < lan.nodes.len()),
            Who::Latest => Some(latest),
            Who::Gcks => {
                let mut all = 0..lan.nodes.len();
                all.find(|at| lan.nodes[*at].role() == Role::Gcks && lan.nodes[*at].is_present())
            }
        };
        match fault {
            Fault::Crash(target) => {
                if let Some(at) = who(target).filter(|at| lan.nodes[*at].routes()) {
                    lan.crash(at);
                }
            }
            Fault::Start(target) => {
                if let Some(at) = who(target) {
                    start(lan, at);
                }
            }
            Fault::Reboot(target) => {
                if let Some(at) = who(target) {
                    lan.crash(at);
                    lan.start(at);
                }
            }
            Fault::Pause(target, ms) => {
                if let Some(at) = who(target).filter(|at| lan.nodes[*at].is_present()) {
                    lan.pause(at, ms);
                }
            }
            Fault::StopKeying(target) => {
                if let Some(at) = who(target).filter(|at| lan.nodes[*at].is_present()) {
                    lan.stop_keying(at);
                }
            }
            Fault::Split(parts) => {
                let parts: Vec<&[usize]> = parts.iter().map(Vec::as_slice).collect();
                lan.partition(&parts);
            }
            Fault::Heal => lan.heal(),
            Fault::Reach { from, to, hears } => lan.set_reach(from, to, hears),
            Fault::Link(link) => lan.link = link,
            Fault::Lose {
                exchange,
                from,
                to,
                ms,
            } => self.losing.borrow_mut().push(Losing {
                exchange,
                from,
                to,
                until: lan.now + ms,
            }),
            Fault::Rekey(target, reason) => {
                let protocol = RoutingProtocol::Ospfv2;
                tell(lan, who(target), Command::Rekey { protocol, reason });
            }
            Fault::HandOff => tell(lan, who(Who::Gcks), Command::HandOff),
            Fault::Priority(target, priority) => tell(lan, who(target), Command::SetPriority(priority)),
            Fault::Leave(target) => tell(lan, who(target), Command::Leave),
            Fault::Evict(target) => {
                let gone = who(target).filter(|at| lan.nodes[*at].realm == 0);
                if let (Some(gone), Some(gcks)) = (gone, who(Who::Gcks)) {
                    evict(lan, gcks, gone);
                }
            }
            Fault::Attack {
                attack,
                ms,
                every,
                salt,
            } => {
                let attacker = Attacker::new(attack, self.schedule.seed, salt, lan.now, every, ms);
                self.attackers.push(attacker);
            }
            Fault::When {
                sign,
                within,
                after,
                then,
            } => self.armed.push(Armed {
                sign,
                seen: lan.signs[sign as usize].0,
                until: lan.now + within,
                after,
                then: *then,
            }),
        }
    }
}

/// Gives a command to a router that runs; what it says to it is its own affair.
fn tell(lan: &mut Lan, at: Option<usize>, command: Command<'_>) {
    if let Some(at) = at.filter(|at| lan.nodes[*at].is_present()) {
        _ = lan.command(at, command);
    }
}

/// Puts a router out, where the whole group can know of it: another half would go on with it until the link heals.
fn evict(lan: &mut Lan, gcks: usize, gone: usize) {
    let rest: Vec<usize> = (0..lan.nodes.len())
        .filter(|at| lan.nodes[*at].realm == 0)
        .collect();
    let whole = rest
        .iter()
        .all(|at| lan.nodes[*at].is_present() && lan.nodes[*at].is_keyed());
    // Who was put out itself puts nobody out of the group that it is no part of.
    if !whole || !lan.is_settled() || gcks == gone || lan.nodes[gcks].realm != 0 {
        return;
    }
    let who = lan.nodes[gone].identity.clone();
    if lan.command(gcks, Command::Evict(&who)).is_ok() {
        // A router that boots later has not been told: its credentials have to say so.
        for at in rest.into_iter().filter(|at| *at != gone) {
            lan.nodes[at].store.grant(&who, Grant::NONE);
        }
    }
}

/// Boots a router, or its key management, or lets it join again.
fn start(lan: &mut Lan, at: usize) {
    if !lan.nodes[at].is_up() {
        lan.start(at);
    } else if lan.nodes[at].role() == Role::Left && !lan.nodes[at].is_paused() {
        _ = lan.command(at, Command::Join);
    }
}

fn lose(losing: &[Losing], sent: &Sent, hand: &mut Hand) {
    let Some(by) = sent.by else { return };
    let exchange = sent.header().exchange;
    for losing in losing {
        let concerns = losing.until > sent.at
            && losing.exchange == exchange
            && (losing.from.is_empty() || losing.from.contains(&by));
        if concerns && losing.to.is_empty() {
            hand.drop = true;
        } else if concerns {
            hand.hide_from.extend(&losing.to);
        }
    }
}

/// Nothing goes wrong any more: everybody runs, and hears everybody.
fn mend(lan: &mut Lan, schedule: &Schedule) {
    lan.note("everything is mended");
    lan.heal();
    lan.link = Link::CLEAN;
    lan.links.clear();
    lan.run_until(120_000, |lan| !lan.nodes.iter().any(Node::is_paused));
    for at in 0..lan.nodes.len() {
        start(lan, at);
        // Somebody has to be willing: the text promises no GCKS where all have priority 0 (section 5.2).
        let priority = schedule.setup.priorities.get(at).copied().unwrap_or(100);
        _ = lan.command(at, Command::SetPriority(priority));
    }
}

/// The routers that were not put out, and whom the others trust.
fn group(lan: &Lan) -> Vec<usize> {
    (0..lan.nodes.len())
        .filter(|at| lan.nodes[*at].realm == 0)
        .collect()
}

/// One GCKS and one key for all of the group.
fn is_one(lan: &Lan) -> bool {
    let group = group(lan);
    let willing = group.iter().any(|at| lan.nodes[*at].priority > 0);
    !willing || lan.is_one_group(&group)
}

/// The group that was found stays: nothing is refused, and everybody is everybody's neighbour.
fn stays(lan: &mut Lan) {
    lan.run(bounds::STAYS);
    if !is_one(lan) {
        // A rollover may be on its way just now.
        lan.expect(5_000, "promise 6: the group stays one", is_one);
    }
    let group = group(lan);
    for (a, b) in group.iter().flat_map(|a| group.iter().map(move |b| (*a, *b))) {
        if a != b && !lan.hellos.are_neighbours(a, b) {
            lan.fail(&format!(
                "promise 6: {} and {} accept no routing packets of each other",
                lan.nodes[a].name, lan.nodes[b].name
            ));
        }
    }
}
