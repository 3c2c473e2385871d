//! The LAN: routers, links, time. One seed gives one run.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use karp_core::{
    command::Command,
    config::{Config, Settings},
    error::{CommandError, DropReason},
    identity::Identity,
    io::{Event, Handled, Output, Recv, Role},
};

use super::{
    checks::Checks,
    credentials::{Proof, Store},
    dice::Dice,
    hellos::{Hello, Hellos},
    link::Link,
    node::{Host, Node, Tweak},
    peek,
    trace::Trace,
    wire::{Flight, Hand, Injection, Sent, Tap},
};

/// Something that is due.
enum Due {
    Arrive(Flight),
    Wake(usize),
    /// A router's routing protocols send.
    Hello(usize, u32),
    HelloArrives(Hello),
    /// A host confirms an installation.
    Confirm {
        node: usize,
        boot: u32,
        generation: u32,
    },
    Resume(usize),
}

/// What addresses the routers have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Family {
    #[default]
    V4,
    V6,
}

/// The link and all that is on it.
pub struct Lan {
    pub seed: u64,
    /// Milliseconds since the beginning.
    pub now: u64,
    pub nodes: Vec<Node>,
    /// How every link is that `links` does not name.
    pub link: Link,
    /// Single links, from one router to another.
    pub links: BTreeMap<(usize, usize), Link>,
    pub proof: Proof,
    pub family: Family,
    pub group: String,
    pub checks: Checks,
    pub hellos: Hellos,
    pub trace: Trace,
    pub dice: Dice,
    /// Everything sent, while somebody records.
    pub record: Option<Vec<Sent>>,
    /// Applied to every router's settings at every start.
    pub common: Vec<Tweak>,
    /// Around every call of an engine: a test that measures the engine alone.
    pub around: fn(&mut dyn FnMut()),
    taps: Vec<Tap>,
    /// Who hears whom.
    reach: Vec<Vec<bool>>,
    queue: BTreeMap<(u64, u64), Due>,
    serial: u64,
    buffer: Vec<u8>,
    steps: u64,
}

impl Lan {
    /// An empty link. All that is random in the run comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: 0,
            nodes: Vec::new(),
            link: Link::CLEAN,
            links: BTreeMap::new(),
            proof: Proof::default(),
            family: Family::default(),
            group: "lan".into(),
            checks: Checks::default(),
            hellos: Hellos::default(),
            trace: Trace::default(),
            dice: Dice::new(seed, 1),
            record: None,
            common: Vec::new(),
            around: |call| call(),
            taps: Vec::new(),
            reach: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            buffer: vec![0; 2048],
            steps: 0,
        }
    }

    /// A link with `count` routers, r1 and on, that know and trust each other and are still down.
    pub fn of(seed: u64, count: usize) -> Self {
        let mut lan = Self::new(seed);
        lan.add(count);
        lan
    }

    /// Like [`Lan::of`], with everything started and settled.
    pub fn settled(seed: u64, count: usize) -> Self {
        let mut lan = Self::of(seed, count);
        lan.start_all();
        lan.settle(20_000);
        lan
    }

    /// Changes a setting of every router, at every start from now on.
    pub fn set(&mut self, change: impl Fn(&mut Settings) + 'static) -> &mut Self {
        self.common.push(Rc::new(change));
        self
    }

    /// Adds `count` routers that know and trust all that are there, and the other way round.
    pub fn add(&mut self, count: usize) {
        for _ in 0..count {
            let index = self.nodes.len();
            let name = format!("r{}", index + 1);
            let mut store = Store::new(&Identity::fqdn(&name).unwrap(), self.proof);
            for node in &mut self.nodes {
                store.know(&node.identity);
                node.store.know(&Identity::fqdn(&name).unwrap());
            }
            self.nodes.push(Node::new(&name, self.address_of(index), store));
            self.nodes[index].clock.origin = 1_000_000 * (index as u64 + 1);
        }
        let all = self.nodes.len();
        self.reach.resize_with(all, Vec::new);
        self.reach.iter_mut().for_each(|row| row.resize(all, true));
        self.hellos.grow(all);
    }

    /// An address of the LAN: of a router, or of nobody if there are not that many.
    pub fn address_of(&self, index: usize) -> SocketAddr {
        let host = u16::try_from(index + 1).unwrap();
        let ip = match self.family {
            Family::V4 => {
                let [high, low] = host.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(10, 9, high, low))
            }
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host)),
        };
        SocketAddr::new(ip, 848)
    }

    /// Where multicast goes.
    pub fn multicast(&self) -> SocketAddr {
        Settings::new("any", Identity::fqdn("any").unwrap(), self.address_of(0)).multicast
    }

    /// Lays a hand on every datagram that a router sends from now on.
    pub fn tap(&mut self, tap: impl FnMut(&Sent, &mut Hand) + 'static) {
        self.taps.push(Box::new(tap));
    }

    /// Takes all hands off the wire.
    pub fn untap(&mut self) {
        self.taps.clear();
    }

    // Power.

    /// Boots a router and lets it join.
    pub fn start(&mut self, at: usize) {
        self.boot(at);
        self.command(at, Command::Join)
            .expect("joining is always possible");
    }

    /// Boots a router that joins nothing yet.
    pub fn boot(&mut self, at: usize) {
        let node = &self.nodes[at];
        assert!(!node.is_up(), "{} is up", node.name);
        let settings = node.settings(&self.group, at, &self.common);
        let config = Config::new(settings).expect("the scenario's configuration is valid");
        self.nodes[at].boot(self.seed, at, config, self.now, self.around);
        self.hellos.forget(at);
        self.note(&format!(
            "{} starts (boot {})",
            self.nodes[at].name, self.nodes[at].boots
        ));
        if self.hellos.every > 0 {
            let phase = self.dice.below(self.hellos.every);
            let boot = self.nodes[at].boots;
            self.plan(phase, Due::Hello(at, boot));
        }
        self.drive(at);
    }

    /// Starts every router that is down, now.
    pub fn start_all(&mut self) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].is_up() {
                self.start(at);
            }
        }
    }

    /// Starts every router that is down, each up to `spread` ms after the one before.
    pub fn start_staggered(&mut self, spread: u64) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].is_up() {
                self.start(at);
                let gap = self.dice.below(spread + 1);
                self.run(gap);
            }
        }
    }

    /// A router loses power and all its memory.
    pub fn crash(&mut self, at: usize) {
        self.note(&format!("{} crashes", self.nodes[at].name));
        let node = &mut self.nodes[at];
        node.engine = None;
        node.wake = None;
        node.inbox.clear();
        node.paused_until = None;
        self.hellos.forget(at);
    }

    /// Crashes a router and starts it anew at once, with the same identity.
    pub fn reboot(&mut self, at: usize) {
        self.crash(at);
        self.start(at);
    }

    /// A router stops for `ms`: it reads nothing and does nothing, and then its clock has jumped.
    pub fn pause(&mut self, at: usize, ms: u64) {
        self.note(&format!("{} is asleep for {ms} ms", self.nodes[at].name));
        self.nodes[at].paused_until = Some(self.now + ms);
        self.hellos.part_all(at);
        self.plan(ms, Due::Resume(at));
    }

    // Links.

    /// Splits the link: only routers of one part hear each other.
    pub fn partition(&mut self, parts: &[&[usize]]) {
        self.note(&format!("the link is split: {parts:?}"));
        let part = |at: usize| parts.iter().position(|part| part.contains(&at));
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                let together = a == b || part(a) == part(b);
                self.reach[a][b] = together;
                if !together {
                    self.hellos.part(a, b);
                }
            }
        }
    }

    /// Everybody hears everybody.
    pub fn heal(&mut self) {
        self.note("the link is whole");
        self.reach.iter_mut().for_each(|row| row.fill(true));
    }

    /// Whether `to` hears `from`.
    pub fn set_reach(&mut self, from: usize, to: usize, hears: bool) {
        self.reach[from][to] = hears;
        if !hears {
            self.hellos.part(from, to);
        }
    }

    /// Gives a command, and lets the router act on it.
    pub fn command(&mut self, at: usize, command: Command<'_>) -> Result<(), CommandError> {
        self.note(&format!("{} is told {command:?}", self.nodes[at].name));
        if let (Command::Evict(who), Some(gone)) = (&command, self.evicted(&command)) {
            let hold = self.nodes[at].engine().config().hold().as_millis();
            self.note(&format!("{who} is put out"));
            // An eviction deletes keys without overlap: promise 3 excepts it.
            self.hellos.excused_until = self.now + 4 * hold;
            self.hellos.forget(gone);
            let highest = self.nodes.iter().map(|node| node.realm).max().unwrap();
            let result = self.nodes[at].command(self.now, command, self.around);
            if result.is_ok() {
                self.nodes[gone].realm = highest + 1;
                self.nodes[gone].realm_since = self.now;
            }
            self.drive(at);
            return result;
        }
        let result = self.nodes[at].command(self.now, command, self.around);
        if command == Command::Leave {
            self.hellos.forget(at);
        }
        self.drive(at);
        result
    }

    fn evicted(&self, command: &Command<'_>) -> Option<usize> {
        let Command::Evict(who) = command else { return None };
        self.nodes.iter().position(|node| node.identity == **who)
    }

    /// Puts a datagram on the link.
    pub fn inject(&mut self, injection: Injection) {
        let Injection {
            from,
            to,
            hop_limit,
            octets,
            delay,
        } = injection;
        self.trace.octets(&octets);
        let octets: Rc<[u8]> = octets.into();
        for at in 0..self.nodes.len() {
            if to.ip().is_multicast() || self.nodes[at].address == to {
                let recv = Recv { from, to, hop_limit };
                self.plan(
                    delay,
                    Due::Arrive(Flight {
                        to: at,
                        recv,
                        octets: Rc::clone(&octets),
                    }),
                );
            }
        }
    }

    /// Hands a datagram to a router now, and says what became of it.
    pub fn hand(&mut self, at: usize, recv: Recv, octets: &[u8]) -> Handled {
        let handled = self.deliver(at, recv, octets);
        self.drive(at);
        handled
    }

    // Time.

    /// Lets `ms` pass.
    pub fn run(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    /// Lets time pass until `done` or for `limit` ms; says whether it was done.
    pub fn run_until(&mut self, limit: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            let next = self.queue.first_key_value().map(|(key, _)| key.0);
            // A state is judged when all of its millisecond has happened.
            if next != Some(self.now) && done(self) {
                return true;
            }
            match next {
                Some(at) if at <= end => self.step(),
                _ => {
                    self.now = end;
                    return done(self);
                }
            }
        }
    }

    /// Lets time pass until `done`; fails the run if that takes longer than `limit` ms. Returns how long it took.
    #[track_caller]
    pub fn expect(&mut self, limit: u64, what: &str, done: impl FnMut(&Self) -> bool) -> u64 {
        let start = self.now;
        if !self.run_until(limit, done) {
            self.fail(&format!("within {limit} ms did not happen: {what}"));
        }
        self.now - start
    }

    /// Lets time pass until every part of the link has one GCKS and one key (promise 6).
    #[track_caller]
    pub fn settle(&mut self, limit: u64) -> u64 {
        self.expect(limit, "one GCKS and one key everywhere", Self::is_settled)
    }

    /// Whether every part of the link has one GCKS that all follow, and all send with one key that all accept.
    pub fn is_settled(&self) -> bool {
        let mut done = vec![false; self.nodes.len()];
        for first in 0..self.nodes.len() {
            if done[first] || !self.nodes[first].is_present() {
                continue;
            }
            let part: Vec<usize> = (first..self.nodes.len())
                .filter(|at| {
                    let node = &self.nodes[*at];
                    node.is_present()
                        && node.realm == self.nodes[first].realm
                        && self.reach[first][*at]
                        && self.reach[*at][first]
                })
                .collect();
            part.iter().for_each(|at| done[*at] = true);
            if !self.is_one_group(&part) {
                return false;
            }
        }
        true
    }

    /// Whether these routers are one group with one GCKS and one key.
    pub fn is_one_group(&self, part: &[usize]) -> bool {
        let mut serving = part.iter().filter(|at| self.nodes[**at].role() == Role::Gcks);
        let (Some(gcks), None) = (serving.next(), serving.next()) else {
            return false;
        };
        let gcks = &self.nodes[*gcks];
        let protocol = self.hellos.protocols[0];
        let Some(key) = gcks.sending(protocol, self.now) else {
            return false;
        };
        let spi = gcks.engine().rekey_sa_spi();
        part.iter().all(|at| {
            let node = &self.nodes[*at];
            let follows = node.role() == Role::Gcks || node.engine().gcks() == Some(&gcks.identity);
            follows
                && node.is_keyed()
                && node.engine().rekey_sa_spi() == spi
                && node
                    .sending(protocol, self.now)
                    .is_some_and(|row| row.octets == key.octets)
        })
    }

    /// The one router in office; fails the run if there is none or more than one.
    #[track_caller]
    pub fn gcks(&self) -> usize {
        let serving: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].role() == Role::Gcks)
            .collect();
        if serving.len() != 1 {
            self.fail(&format!("there should be one GCKS, there are {serving:?}"));
        }
        serving[0]
    }

    /// Some router that is a member.
    #[track_caller]
    pub fn a_member(&self) -> usize {
        self.nodes
            .iter()
            .position(|node| node.role() == Role::Member)
            .expect("there is a member")
    }

    /// Octets of the key that this router's OSPFv2 sends with.
    pub fn key_of(&self, at: usize) -> Option<Vec<u8>> {
        self.nodes[at]
            .sending(self.hellos.protocols[0], self.now)
            .map(|row| row.octets)
    }

    /// Ends the run.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!("seed {} at {} ms: {why}", self.seed, self.now);
    }

    /// A line in the trace.
    pub fn note(&mut self, text: &str) {
        self.trace.line(self.now, text);
    }

    fn plan(&mut self, delay: u64, due: Due) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), due);
    }

    fn step(&mut self) {
        self.steps += 1;
        let ((at, _), due) = self.queue.pop_first().expect("something is due");
        self.now = at;
        match due {
            Due::Arrive(flight) => self.arrive(flight),
            Due::Wake(node) => {
                if self.nodes[node].wake == Some(self.now) && !self.nodes[node].is_paused() {
                    self.nodes[node].wake = None;
                    self.drive(node);
                }
            }
            Due::Hello(node, boot) => self.hello(node, boot),
            Due::HelloArrives(hello) => {
                if let Err(why) = self.hellos.arrive(&self.nodes, &hello, self.now) {
                    self.fail(&why);
                }
            }
            Due::Confirm {
                node,
                boot,
                generation,
            } => {
                if self.nodes[node].boots == boot && self.nodes[node].is_up() {
                    // A later state may have come, and the node may have left: both are no fault of the host.
                    _ = self.command(node, Command::Installed { generation });
                }
            }
            Due::Resume(node) => self.resume(node),
        }
    }

    fn arrive(&mut self, flight: Flight) {
        let node = &mut self.nodes[flight.to];
        if !node.is_up() {
            return;
        }
        if node.is_paused() {
            // A socket buffer holds so much and no more.
            if node.inbox.len() < 300 {
                node.inbox.push_back(flight);
            }
            return;
        }
        self.deliver(flight.to, flight.recv, &flight.octets);
        self.drive(flight.to);
    }

    fn deliver(&mut self, at: usize, recv: Recv, octets: &[u8]) -> Handled {
        let mut copy = octets.to_vec();
        let node = &mut self.nodes[at];
        let local = node.clock.local(self.now);
        let before = node.rows(self.now);
        let engine = node.engine.as_mut().unwrap();
        let mut handled = None;
        (self.around)(&mut || handled = Some(engine.handle_datagram(local, recv, &mut copy)));
        let handled = handled.unwrap();
        if let Handled::Dropped(reason) = handled {
            let name = node.name.clone();
            if reason != DropReason::Own {
                self.note(&format!(
                    "{name} drops ({}) {}",
                    reason.name(),
                    peek::describe(octets)
                ));
            }
            if before != self.nodes[at].rows(self.now) {
                self.fail("promise 5: a dropped datagram changed the key table");
            }
        }
        handled
    }

    fn resume(&mut self, at: usize) {
        if self.nodes[at].paused_until != Some(self.now) {
            return;
        }
        self.nodes[at].paused_until = None;
        self.note(&format!("{} wakes", self.nodes[at].name));
        // Which of the two a host does first is its own affair.
        if self.dice.chance(50) {
            self.drive(at);
        }
        while let Some(flight) = self.nodes[at].inbox.pop_front() {
            self.deliver(at, flight.recv, &flight.octets);
            if self.dice.chance(50) {
                self.drive(at);
            }
        }
        self.drive(at);
    }

    /// Polls a router until it is idle.
    fn drive(&mut self, at: usize) {
        if !self.nodes[at].is_up() || self.nodes[at].is_paused() {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let local = self.nodes[at].clock.local(self.now);
        for _ in 0..5000 {
            let Some(engine) = self.nodes[at].engine.as_mut() else {
                // A tap crashed it in the middle of its work.
                self.buffer = buffer;
                return;
            };
            let mut output = None;
            (self.around)(&mut || output = Some(engine.poll(local, &mut buffer)));
            match output.unwrap() {
                Output::Transmit { len, to, kind } => {
                    let octets: Rc<[u8]> = buffer[..len].into();
                    let from = self.nodes[at].address;
                    self.transmit(Sent {
                        at: self.now,
                        by: Some(at),
                        from,
                        to,
                        kind: Some(kind),
                        octets,
                    });
                }
                Output::Event(event) => self.event(at, event),
                Output::Idle { next } => {
                    self.buffer = buffer;
                    if let Some((next, timer)) = next {
                        if next <= local {
                            self.fail(&format!(
                                "{} is idle until {next:?} ({}), and it is {local:?}",
                                self.nodes[at].name,
                                timer.name()
                            ));
                        }
                        let wake = self.nodes[at].clock.reaches(next);
                        if self.nodes[at].wake != Some(wake) {
                            self.nodes[at].wake = Some(wake);
                            self.plan(wake - self.now, Due::Wake(at));
                        }
                    } else {
                        self.nodes[at].wake = None;
                    }
                    if let Err(why) = self.checks.idle(&mut self.nodes, at, self.now) {
                        self.fail(&format!("{}: {why}", self.nodes[at].name));
                    }
                    return;
                }
            }
        }
        self.fail(&format!("{} is never idle", self.nodes[at].name));
    }

    fn event(&mut self, at: usize, event: Event) {
        self.note(&format!("{} tells {event:?}", self.nodes[at].name));
        if let Err(why) = self.nodes[at].told.event(&event) {
            self.fail(&format!("{}: {why}", self.nodes[at].name));
        }
        if let Event::StateApplied { generation } = event
            && let Host::Confirms(delay) = self.nodes[at].host
        {
            let boot = self.nodes[at].boots;
            self.plan(
                delay,
                Due::Confirm {
                    node: at,
                    boot,
                    generation,
                },
            );
        }
        let now = self.now;
        self.nodes[at].events.push((now, event));
    }

    fn transmit(&mut self, sent: Sent) {
        if let Err(why) = self.checks.sent(&sent.octets) {
            self.fail(&format!(
                "{}: {why}",
                sent.by.map_or("somebody", |by| &self.nodes[by].name)
            ));
        }
        let by = sent.by.expect("a router sends");
        self.trace.octets(&sent.octets);
        let text = format!(
            "{} -> {}  {}",
            self.nodes[by].name,
            self.name_of(sent.to),
            peek::describe(&sent.octets)
        );
        self.note(&text);
        let mut hand = Hand::default();
        let mut taps = std::mem::take(&mut self.taps);
        taps.iter_mut().for_each(|tap| tap(&sent, &mut hand));
        self.taps = taps;
        if let Some(record) = &mut self.record {
            record.push(sent.clone());
        }
        let octets: Rc<[u8]> = hand.alter.map_or_else(|| Rc::clone(&sent.octets), Into::into);
        for injection in hand.inject {
            self.inject(injection);
        }
        for at in hand.crash {
            self.crash(at);
        }
        if hand.drop {
            self.note("  (lost by the test's hand)");
            return;
        }
        for to in 0..self.nodes.len() {
            let addressed = sent.to.ip().is_multicast() || self.nodes[to].address == sent.to;
            if !addressed || !self.reach[by][to] || hand.hide_from.contains(&to) {
                continue;
            }
            // A socket hears its own multicast, and nothing is lost on that way.
            let link = if by == to {
                Link::CLEAN
            } else {
                self.link_of(by, to)
            };
            for delay in link.fates(&mut self.dice) {
                let recv = Recv {
                    from: sent.from,
                    to: sent.to,
                    hop_limit: Some(255),
                };
                self.plan(
                    delay,
                    Due::Arrive(Flight {
                        to,
                        recv,
                        octets: Rc::clone(&octets),
                    }),
                );
            }
        }
    }

    fn link_of(&self, from: usize, to: usize) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.link)
    }

    /// A router's name, or the address itself.
    pub fn name_of(&self, address: SocketAddr) -> String {
        if address.ip().is_multicast() {
            return "all".into();
        }
        let node = self.nodes.iter().find(|node| node.address == address);
        node.map_or_else(|| address.to_string(), |node| node.name.clone())
    }

    fn hello(&mut self, from: usize, boot: u32) {
        if self.nodes[from].boots != boot || !self.nodes[from].is_up() {
            return;
        }
        let every = self.hellos.every;
        self.plan(every, Due::Hello(from, boot));
        if self.nodes[from].is_paused() {
            return;
        }
        let spi = self.nodes[from]
            .engine()
            .rekey_sa_spi()
            .filter(|_| self.nodes[from].is_keyed());
        for protocol in self.hellos.protocols.clone() {
            let Some(row) = self.nodes[from].sending(protocol, self.now) else {
                continue;
            };
            self.hellos.sent += 1;
            for to in 0..self.nodes.len() {
                if to == from || !self.reach[from][to] {
                    continue;
                }
                let link = self.link_of(from, to);
                if self.dice.chance(link.loss) {
                    continue;
                }
                let delay = link.latency + self.dice.below(link.jitter + 1);
                self.plan(
                    delay,
                    Due::HelloArrives(Hello {
                        from,
                        to,
                        boot,
                        row: row.clone(),
                        spi,
                    }),
                );
            }
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        println!("the last of the run with seed {}, at {} ms:", self.seed, self.now);
        self.trace.lines().for_each(|line| println!("{line}"));
        for node in &self.nodes {
            let rows: Vec<String> = node.rows(self.now).iter().map(super::keys::Held::short).collect();
            match &node.engine {
                Some(engine) => println!(
                    "{}: {:?} follows {:?} generation {} keys {rows:?}",
                    node.name,
                    engine.role(),
                    engine.gcks(),
                    engine.generation()
                ),
                None => println!("{}: down", node.name),
            }
        }
    }
}
