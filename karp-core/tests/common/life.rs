//! How time passes: what is due happens, one thing a step, and every router is polled until it is idle.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    rc::Rc,
};

use karp_core::{
    command::Command,
    error::DropReason,
    identity::Identity,
    io::{Event, Handled, Output, Recv, Role},
};

use super::{
    hellos::{Hello, Turn},
    keys::{Held, State},
    lan::{Lan, Sign},
    link::Link,
    node::{Daemon, Host, Node},
    peek,
    wire::{Flight, Hand, Maker, Sent},
};

/// Something that is due.
pub(super) enum Due {
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
        daemon: Daemon,
    },
    Resume(usize),
}

impl Lan {
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

    pub(super) fn plan(&mut self, delay: u64, due: Due) {
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
            // What was sent before a split and would arrive after it says nothing.
            Due::HelloArrives(hello) if !self.reach[hello.from][hello.to] => {}
            Due::HelloArrives(hello) => {
                if let Err(why) = self.hellos.arrive(&self.nodes, &hello, self.now) {
                    self.fail(&why);
                }
            }
            Due::Confirm {
                node,
                boot,
                generation,
                daemon,
            } => {
                if self.nodes[node].boots == boot && self.nodes[node].is_up() {
                    self.nodes[node].daemon = Some(daemon);
                    self.nodes[node].fed_since = self.nodes[node].fed_since.min(self.now);
                    // What it had before it was given anything does not bring it back.
                    let member = self.nodes[node].role() == Role::Member;
                    if member && Some(generation) > self.nodes[node].joined_with {
                        let now = self.now;
                        self.nodes[node].is_back(now);
                    }
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
        self.receive(&flight);
    }

    /// A running router reads a datagram and acts on it.
    fn receive(&mut self, flight: &Flight) {
        let at = flight.to;
        if flight.maker == Maker::Honest {
            self.deliver(at, flight.recv, &flight.octets);
            self.hears(flight);
            self.drive(at);
            return;
        }
        // What is due at this moment happens first: all that changes then is the datagram's doing.
        self.drive(at);
        if !self.nodes[at].is_up() {
            return;
        }
        // What was lost on its first way, or went to another, is as good as late. Who has no keys follows hints.
        let judged = flight.maker == Maker::Forger || self.nodes[at].seen.contains(&digest(&flight.octets));
        let judged = judged && self.nodes[at].is_keyed();
        let (before, sent) = (Standing::of(&self.nodes[at], self.now), self.transmitted);
        self.deliver(at, flight.recv, &flight.octets);
        if judged && let Some(change) = before.change(&Standing::of(&self.nodes[at], self.now)) {
            self.guilty(flight, &format!("changed {change} at"));
        }
        self.drive(at);
        if !judged || !self.nodes[at].is_up() {
            return;
        }
        // An office that is stirred may do what was due: its members acknowledged something before.
        let mut after = Standing::of(&self.nodes[at], self.now);
        if before.role == Role::Gcks {
            after.excuse_office(&before);
        }
        if let Some(change) = before.change(&after) {
            self.guilty(flight, &format!("changed {change} at"));
        }
        let sent = self.transmitted - sent;
        if sent > WORK {
            self.guilty(flight, &format!("made {sent} messages at"));
        }
    }

    #[track_caller]
    fn guilty(&self, flight: &Flight, what: &str) -> ! {
        self.fail(&format!(
            "promise 5: {}, by a {:?}, {what} {}",
            peek::describe(&flight.octets),
            flight.maker,
            self.nodes[flight.to].name
        ));
    }

    /// Who is heard under the Rekey SA that this router follows, as the wire shows it: the last or the last but one MAC
    /// names it (section 5.1).
    fn hears(&mut self, flight: &Flight) {
        let Some(by) = flight.by.filter(|by| *by != flight.to) else {
            return;
        };
        if flight.octets.get(18) != Some(&peek::GCKS_ELECTION) {
            return;
        }
        let now = self.now;
        let node = &mut self.nodes[flight.to];
        node.follow();
        if node.authenticates(&flight.octets) {
            node.heard.insert(by, now);
        }
    }

    pub(super) fn deliver(&mut self, at: usize, recv: Recv, octets: &[u8]) -> Handled {
        let mut copy = octets.to_vec();
        let node = &mut self.nodes[at];
        let local = node.clock.local(self.now);
        let engine = node.engine.as_mut().unwrap();
        let mut handled = None;
        (self.around)(&mut || handled = Some(engine.handle_datagram(local, recv, &mut copy)));
        let handled = handled.unwrap();
        if let Handled::Dropped(reason) = handled {
            let name = node.name.clone();
            if reason != DropReason::Own {
                if !self.untraced {
                    self.note(&format!(
                        "{name} drops ({}) {}",
                        reason.name(),
                        peek::describe(octets)
                    ));
                }
                let told = &self.nodes[at].told.rows;
                let rows = self.nodes[at].rows(self.now);
                let current = self.nodes[at].told.current;
                if current
                    && !rows
                        .iter()
                        .filter(|row| !row.manual)
                        .eq(told.iter().filter(|row| !row.manual))
                {
                    self.fail("promise 5: a dropped datagram changed the key table");
                }
            }
        }
        if handled == Handled::Accepted {
            self.nodes[at].told.current = false;
            // What was a hint then may be authenticated now, and is as good as late (section 5.1).
            let hint = octets.get(18) == Some(&peek::GCKS_ELECTION) && !self.nodes[at].authenticates(octets);
            if self.record.is_some() && !hint {
                self.nodes[at].seen.insert(digest(octets));
            }
        }
        handled
    }

    fn resume(&mut self, at: usize) {
        if self.nodes[at].paused_until != Some(self.now) {
            return;
        }
        self.nodes[at].paused_until = None;
        // Its deadlines passed meanwhile, and it sees to them before it reads anything (section 5.3).
        self.nodes[at].told.current = false;
        let pauses = self.nodes[at].engine().counters().pauses;
        self.note(&format!("{} wakes", self.nodes[at].name));
        // Which of the two a host does first is its own affair.
        if self.dice.chance(50) {
            self.drive(at);
        }
        while let Some(flight) = self.nodes[at].inbox.pop_front() {
            if flight.maker == Maker::Honest {
                self.deliver(at, flight.recv, &flight.octets);
                self.hears(&flight);
            } else {
                self.receive(&flight);
            }
            if self.dice.chance(50) {
                self.drive(at);
            }
        }
        self.drive(at);
        // It had lost its membership (section 2): it is nobody's live member, and its keys may be old.
        if self.nodes[at].is_up() && self.nodes[at].engine().counters().pauses > pauses {
            self.hellos.part_all(at);
        }
    }

    /// Polls a router until it is idle.
    pub(super) fn drive(&mut self, at: usize) {
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
        let was_keyed = matches!(self.nodes[at].told.role, Role::Member | Role::Gcks);
        if let Err(why) = self.nodes[at].told.event(&event) {
            self.fail(&format!("{}: {why}", self.nodes[at].name));
        }
        if event == (Event::RoleChanged { role: Role::Left }) {
            self.nodes[at].left_at = Some(self.now);
            // It forgot whom it had heard: what it took in before is news to it again.
            self.nodes[at].seen.clear();
            self.hellos.forget(at);
        }
        // An office of its own was given nothing: it is back when somebody comes to it.
        if matches!(event, Event::PeerJoined { .. }) && self.nodes[at].told.role == Role::Gcks {
            self.nodes[at].is_back(self.now);
        }
        if let Event::GcksChanged { gcks: Some(_) } = event {
            self.nodes[at].follows_since = self.now;
        }
        if let Event::RoleChanged {
            role: role @ (Role::Member | Role::Gcks),
        } = event
        {
            self.nodes[at].keyed_since = self.now;
            let node = &mut self.nodes[at];
            match node.host {
                Host::Reads => {
                    if role == Role::Member {
                        node.is_back(self.now);
                    }
                    node.fed_since = self.now;
                }
                Host::Confirms(_) | Host::Hangs if was_keyed => {}
                Host::Confirms(_) | Host::Hangs => {
                    node.fed_since = u64::MAX;
                    node.joined_with = node.told.generation;
                }
            }
        }
        match event {
            Event::RoleChanged { role: Role::Gcks } => self.sign(Sign::Office, at),
            Event::RoleChanged { role: Role::Member } => self.sign(Sign::Member, at),
            Event::RekeyStarted { .. } => self.sign(Sign::Started, at),
            Event::RekeyCompleted { .. } => self.sign(Sign::Completed, at),
            Event::KeyActivated { .. } if self.nodes[at].role() == Role::Gcks => {
                self.sign(Sign::Activated, at)
            }
            _ => {}
        }
        match &event {
            Event::PeerJoined { peer, .. } => {
                // Its request says as much as an announcement (section 7).
                let peer = self.nodes.iter().position(|node| node.identity == *peer);
                let now = self.now;
                self.nodes[at].heard.extend(peer.map(|peer| (peer, now)));
            }
            Event::KeyActivated { id } => {
                let office = self.office_of(at);
                self.hellos
                    .turns(&self.nodes, at, office, *id, self.now, Turn::Activated);
            }
            Event::KeyRemoved { id } => {
                let office = self.office_of(at);
                self.hellos
                    .turns(&self.nodes, at, office, *id, self.now, Turn::Removed);
            }
            _ => {}
        }
        if let Event::StateApplied { generation } = event
            && let Host::Confirms(delay) = self.nodes[at].host
        {
            let boot = self.nodes[at].boots;
            let daemon = self.nodes[at].table(self.now);
            self.plan(
                delay,
                Due::Confirm {
                    node: at,
                    boot,
                    generation,
                    daemon,
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
        self.transmitted += 1;
        if !self.untraced {
            self.trace.octets(&sent.octets);
            let text = format!(
                "{} -> {}  {}",
                self.nodes[by].name,
                self.name_of(sent.to),
                peek::describe(&sent.octets)
            );
            self.note(&text);
        }
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
            let bad = self.bursting.entry((by, to)).or_default();
            for delay in link.fates(bad, &mut self.dice) {
                let recv = Recv {
                    from: sent.from,
                    to: sent.to,
                    hop_limit: Some(255),
                };
                self.plan(
                    delay,
                    Due::Arrive(Flight {
                        to,
                        by: Some(by),
                        maker: Maker::Honest,
                        recv,
                        octets: Rc::clone(&octets),
                    }),
                );
            }
        }
    }

    /// The office that a router holds or follows.
    pub fn office_of(&self, at: usize) -> Option<usize> {
        let node = &self.nodes[at];
        match node.role() {
            Role::Gcks => Some(at),
            Role::Member => {
                let gcks = node.engine().gcks()?;
                self.nodes.iter().position(|other| other.identity == *gcks)
            }
            Role::Left | Role::Initial => None,
        }
    }

    /// The same; a router that waits at an office changes its key when that office does (section 7).
    fn turns_to(&self, at: usize) -> Option<usize> {
        let gcks = || {
            let gcks = self.nodes[at].engine.as_ref()?.gcks()?;
            self.nodes.iter().position(|other| other.identity == *gcks)
        };
        self.office_of(at).or_else(gcks)
    }

    pub(super) fn link_of(&self, from: usize, to: usize) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.link)
    }

    fn hello(&mut self, from: usize, life: u32) {
        if self.nodes[from].lives != life || !self.nodes[from].routes() {
            return;
        }
        let every = self.hellos.every;
        self.plan(every, Due::Hello(from, life));
        if self.nodes[from].is_paused() {
            return;
        }
        let node = &self.nodes[from];
        let spi = node.engine.as_ref().and_then(|engine| engine.rekey_sa_spi());
        let spi = spi.filter(|_| node.is_keyed());
        let office = self.office_of(from);
        let rows = node.rows(self.now);
        let is_active = |row: &Held| {
            rows.iter()
                .any(|own| own.octets == row.octets && own.state == State::Active)
        };
        for protocol in self.hellos.protocols.clone() {
            let Some(row) = self.nodes[from].sends_with(protocol, self.now) else {
                continue;
            };
            self.hellos.sent += 1;
            for to in 0..self.nodes.len() {
                if to == from || !self.reach[from][to] {
                    continue;
                }
                if let (Some(one), Some(other)) = (self.turns_to(from), self.turns_to(to))
                    && one != other
                    && !(self.reach[one][other] && self.reach[other][one])
                {
                    // Their offices are parts of the link that do not hear each other, though these two do.
                    self.hellos.part(from, to);
                }
                let link = self.link_of(from, to);
                let bad = self.bursting.entry((from, to)).or_default();
                if link.loses(bad, &mut self.dice) {
                    continue;
                }
                let delay = link.latency + self.dice.below(link.jitter + 1);
                self.plan(
                    delay,
                    Due::HelloArrives(Hello {
                        from,
                        to,
                        life,
                        sent: self.now,
                        row: row.clone(),
                        lags: !row.manual && !is_active(&row),
                        spi,
                        office,
                    }),
                );
            }
        }
    }
}

/// How many messages one datagram of somebody without a key may cause: an answer, an announcement (section 5.3), and a
/// request of each attempt (section 4) if it stirs a router that was about to try what it had heard before.
const WORK: u64 = 2 + 4;

/// All that a datagram of somebody without a key must not change.
#[derive(PartialEq, Eq)]
struct Standing {
    role: Role,
    spi: Option<[u8; 16]>,
    generation: u32,
    gcks: Option<Identity>,
    rows: Vec<Held>,
    /// Who is registered, live, and what it has acknowledged, at a router with keys.
    peers: Vec<(Identity, SocketAddr, bool, bool, Option<u32>)>,
}

impl Standing {
    fn of(node: &Node, now: u64) -> Self {
        let engine = node.engine();
        let keyed = node.is_keyed();
        let peers = engine.peers().filter(|_| keyed);
        Self {
            role: engine.role(),
            spi: engine.rekey_sa_spi(),
            generation: engine.generation(),
            gcks: engine.gcks().filter(|_| keyed).cloned(),
            rows: node.rows(now),
            peers: peers
                .map(|p| {
                    (
                        p.identity.clone(),
                        p.address,
                        p.registered,
                        p.live,
                        p.acknowledged,
                    )
                })
                .collect(),
        }
    }

    /// Takes for unchanged what an office changes when its members are ready.
    fn excuse_office(&mut self, before: &Self) {
        self.generation = before.generation;
        self.rows.clone_from(&before.rows);
        self.peers.clone_from(&before.peers);
    }

    /// The first thing in which the two differ.
    fn change(&self, after: &Self) -> Option<&'static str> {
        let differs = [
            (self.role != after.role, "the role"),
            (self.spi != after.spi, "the Rekey SA"),
            (self.generation != after.generation, "the generation"),
            (self.gcks != after.gcks, "the GCKS"),
            (self.rows != after.rows, "the key table"),
            (self.peers != after.peers, "what it knows of others"),
        ];
        differs
            .into_iter()
            .find_map(|(differs, what)| differs.then_some(what))
    }
}

fn digest(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}
