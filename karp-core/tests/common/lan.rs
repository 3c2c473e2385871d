//! The LAN: routers, links, power. One seed gives one run. How time passes is in `life`, what can be asked in `view`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use karp_core::{
    command::Command,
    config::{Config, Settings},
    error::CommandError,
    identity::Identity,
    io::{Handled, Recv},
};

use super::{
    checks::Checks,
    credentials::{Proof, Store},
    dice::Dice,
    hellos::Hellos,
    life::Due,
    link::Link,
    node::{Node, Tweak},
    trace::Trace,
    wire::{Flight, Hand, Injection, Sent, Tap},
};

/// How often something happened on the LAN, for tests that wait for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// A router took office.
    Office,
    /// A router became a member.
    Member,
    /// An office began to distribute a key.
    Started,
    /// An office sends with another key: the Activate is on its way.
    Activated,
    /// All have acknowledged a new key.
    Completed,
    /// The link became whole.
    Healed,
}

impl Sign {
    pub const COUNT: usize = 6;
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
    /// How often each [`Sign`] was seen, and at which router the last time.
    pub signs: [(u64, usize); Sign::COUNT],
    /// Nobody reads the trace: it is neither kept nor part of the digest.
    pub untraced: bool,
    /// Datagrams that routers sent.
    pub transmitted: u64,
    /// The directions that are in a burst of losses.
    pub(super) bursting: BTreeMap<(usize, usize), bool>,
    pub(super) taps: Vec<Tap>,
    /// Who hears whom.
    pub(super) reach: Vec<Vec<bool>>,
    pub(super) queue: BTreeMap<(u64, u64), Due>,
    pub(super) serial: u64,
    pub(super) buffer: Vec<u8>,
    pub(super) steps: u64,
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
            signs: [(0, 0); Sign::COUNT],
            untraced: false,
            transmitted: 0,
            bursting: BTreeMap::new(),
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

    /// Like [`Lan::of`], with everything started and settled, and everybody heard by everybody.
    pub fn settled(seed: u64, count: usize) -> Self {
        let mut lan = Self::of(seed, count);
        lan.start_all();
        lan.settle(20_000);
        lan.run(3_000);
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
        let node = &mut self.nodes[at];
        assert!(!node.is_up(), "{} is up", node.name);
        let routed = node.routes();
        let mut settings = node.settings(&self.group, at, &self.common);
        node.resume(&mut settings, self.now);
        let config = Config::new(settings).expect("the scenario's configuration is valid");
        node.boot(self.seed, at, config, self.now, self.around);
        if !routed {
            self.hellos.forget(at);
        }
        self.note(&format!(
            "{} starts (boot {})",
            self.nodes[at].name, self.nodes[at].boots
        ));
        if self.hellos.every > 0 && !routed {
            let phase = self.dice.below(self.hellos.every);
            let life = self.nodes[at].lives;
            self.plan(phase, Due::Hello(at, life));
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
        node.kept = None;
        node.daemon = None;
        node.wake = None;
        node.inbox.clear();
        node.paused_until = None;
        self.hellos.forget(at);
    }

    /// The key management of a router dies; its routing protocols go on with the keys that they have.
    pub fn stop_keying(&mut self, at: usize) {
        self.note(&format!("the key management of {} dies", self.nodes[at].name));
        let now = self.now;
        self.nodes[at].stop_keying(now);
    }

    /// The key management of a router dies and is back, with the keys that its host kept, after `ms`.
    pub fn restart_keying(&mut self, at: usize, ms: u64) {
        self.stop_keying(at);
        self.run(ms);
        self.start(at);
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
        self.nodes[at].paused_since = self.now;
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
        self.sign(Sign::Healed, 0);
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
            let highest = self.nodes.iter().map(|node| node.realm).max().unwrap();
            let result = self.nodes[at].command(self.now, command, self.around);
            if result.is_ok() {
                // An eviction deletes keys without overlap: promise 3 excepts it.
                self.hellos.excused_until = self.now + 4 * hold;
                self.hellos.forget(gone);
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

    /// Tells the GCKS to hand over; it can as soon as a member has acknowledged all that the office has.
    #[track_caller]
    pub fn hand_off(&mut self, at: usize) {
        for _ in 0..20 {
            match self.command(at, Command::HandOff) {
                Ok(()) => return,
                Err(CommandError::NoSuccessor) => self.run(250),
                Err(why) => self.fail(&format!("a handoff is refused: {why}")),
            }
        }
        self.fail("within 5 s there was no successor");
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
            maker,
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
                        by: None,
                        maker,
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

    /// Ends the run.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!("seed {} at {} ms: {why}", self.seed, self.now);
    }

    /// A line in the trace.
    pub fn note(&mut self, text: &str) {
        if !self.untraced {
            self.trace.line(self.now, text);
        }
    }

    pub(super) fn sign(&mut self, sign: Sign, at: usize) {
        let seen = &mut self.signs[sign as usize];
        *seen = (seen.0 + 1, at);
    }
}
