//! The link and the three routers on it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    rc::Rc,
};

use karp_core::{
    Command, Duration, Handled, Instant, Output, Recv, algorithm::RoutingProtocol, command::RekeyReason,
    config::ResumedKey, counters::Counters, wire::sk,
};

use crate::{
    check::{self, Group, Position, Row, Sight, Told},
    op::{Change, Op},
    record::Record,
    router::{COUNT, FuzzEngine, LIMIT, Options, address, engine, multicast},
    store::identity,
};

/// A datagram close to a router.
#[derive(Clone)]
struct Flight {
    to: usize,
    recv: Recv,
    octets: Rc<[u8]>,
    /// An engine sent it, and nobody has touched it.
    genuine: bool,
}

/// One of the three.
struct Router {
    engine: Option<Box<FuzzEngine>>,
    boots: u32,
    told: Told,
    position: Position,
    /// How it was, when it was last idle.
    sight: Option<(Sight, Vec<Row>)>,
    /// When it asked to be polled again.
    wake: Option<u64>,
    asleep_until: u64,
    /// What its host kept, and when.
    kept: Option<(Vec<ResumedKey>, u64)>,
}

/// Three routers on a link.
pub struct World {
    options: Options,
    /// Milliseconds.
    now: u64,
    routers: Vec<Router>,
    flying: VecDeque<Flight>,
    history: Vec<(SocketAddr, SocketAddr, Rc<[u8]>)>,
    /// What is in it, by hashes.
    known: HashSet<u64>,
    /// Who does not hear whom.
    deaf: [[bool; COUNT]; COUNT],
    /// What was sealed under which key, as the null suite's tag tells it, and IV.
    sealed: HashMap<([u8; 16], [u8; 8]), u64>,
    group: Group,
    /// Somebody's message was altered or made up, and taken.
    tainted: bool,
    /// What remains of the work that one input may cause, in datagrams.
    budget: u32,
    /// What router 0 is given, while somebody asks for it.
    pub record: Option<Vec<Record>>,
    recorded_at: u64,
}

/// Datagrams on their way.
const FLYING: usize = 96;
/// Datagrams that are remembered.
const HISTORY: usize = 1024;

impl World {
    /// All three are up and have joined.
    pub fn new(options: Options) -> Self {
        let router = || Router {
            engine: None,
            boots: 0,
            told: Told::default(),
            position: None,
            sight: None,
            wake: None,
            asleep_until: 0,
            kept: None,
        };
        let mut world = Self {
            options,
            now: 0,
            routers: (0..COUNT).map(|_| router()).collect(),
            flying: VecDeque::new(),
            history: Vec::new(),
            known: HashSet::new(),
            deaf: [[false; COUNT]; COUNT],
            sealed: HashMap::new(),
            group: Group::default(),
            tainted: false,
            budget: 1500,
            record: None,
            recorded_at: 0,
        };
        for at in 0..COUNT {
            world.start(at);
        }
        world
    }

    /// Does one thing, and whatever follows from it at once.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Run(quarters) => self.run(u64::from(*quarters) * 250),
            Op::Deliver(which) => {
                if let Some(flight) = self.pick(*which).and_then(|at| self.flying.remove(at)) {
                    self.arrive(&flight);
                }
            }
            Op::Drop(which) => {
                if let Some(at) = self.pick(*which) {
                    self.flying.remove(at);
                }
            }
            Op::Duplicate(which) => {
                if let Some(flight) = self.pick(*which).and_then(|at| self.flying.get(at)).cloned() {
                    self.fly(flight);
                }
            }
            Op::Alter {
                which,
                offset,
                mend,
                change,
            } => {
                if let Some(flight) = self.pick(*which).and_then(|at| self.flying.get_mut(at)) {
                    flight.octets = altered(&flight.octets, *offset, *mend, change).into();
                    flight.genuine = false;
                }
            }
            Op::Inject { from, to, octets } => {
                let to_all = to & 0x80 != 0;
                let to = usize::from(*to & 0x7f) % COUNT;
                self.fly(Flight {
                    to,
                    recv: Recv {
                        from: address(usize::from(*from) % (COUNT + 1)),
                        to: if to_all { multicast() } else { address(to) },
                        hop_limit: Some(if *from == 255 { 254 } else { 255 }),
                    },
                    octets: octets.as_slice().into(),
                    genuine: false,
                });
            }
            Op::Replay { which, from, to } => {
                self.replay(usize::from(*which), *from, usize::from(*to) % COUNT)
            }
            Op::Command { at, what, argument } => self.command(usize::from(*at) % COUNT, *what, *argument),
            Op::Advance(n) => {
                let end = self.now + u64::from(*n) * 64;
                while self.step(end) {}
            }
            Op::Crash(at) => self.crash(usize::from(*at) % COUNT),
            Op::Start(at) => self.start(usize::from(*at) % COUNT),
            Op::Stop(at) => {
                let at = usize::from(*at) % COUNT;
                let now = self.time();
                if let Some(engine) = &self.routers[at].engine {
                    self.routers[at].kept = Some((engine.resumable_keys(now).take(8).collect(), self.now));
                    self.routers[at].engine = None;
                }
            }
            Op::Reach(mask) => {
                let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
                for (bit, (a, b)) in pairs.into_iter().enumerate() {
                    self.deaf[a][b] = mask >> bit & 1 != 0;
                }
            }
            Op::Sleep { at, seconds } => {
                let router = &mut self.routers[usize::from(*at) % COUNT];
                router.asleep_until = self.now + u64::from(*seconds) * 1000;
            }
            Op::DeliverAll => self.deliver_all(),
            Op::Confirm(at) => {
                let at = usize::from(*at) % COUNT;
                if let Some(generation) = self.routers[at].told.generation {
                    self.tell(at, Command::Installed { generation });
                }
            }
        }
    }

    /// What the engines counted, those that are up.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.routers
            .iter()
            .filter_map(|router| router.engine.as_deref())
            .map(|engine| engine.counters())
    }

    /// Every distinct datagram that was sent.
    pub fn sent(&self) -> impl Iterator<Item = &[u8]> {
        self.history.iter().map(|(_, _, octets)| &octets[..])
    }

    /// Whether there is one GCKS, and the others follow it with its key.
    pub fn is_settled(&self) -> bool {
        let up = || self.routers.iter().filter(|router| router.engine.is_some());
        let tables: Vec<&[Row]> = up()
            .filter_map(|router| router.sight.as_ref())
            .map(|sight| &sight.1[..])
            .collect();
        let engines = || self.routers.iter().filter_map(|router| router.engine.as_deref());
        let serving = engines()
            .filter(|engine| engine.role() == karp_core::Role::Gcks)
            .count();
        let members = engines()
            .filter(|engine| engine.role() == karp_core::Role::Member)
            .count();
        let key = |at: usize| {
            let rows = tables[at].iter();
            rows.filter(|row| !row.3 && row.2 == karp_core::keytable::RowState::Active)
                .map(|row| row.4.clone())
                .collect::<Vec<_>>()
        };
        serving == 1
            && serving + members == tables.len()
            && (0..tables.len()).all(|at| !key(at).is_empty() && key(at) == key(0))
    }

    fn time(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn pick(&self, which: u8) -> Option<usize> {
        usize::from(which).checked_rem(self.flying.len())
    }

    fn fly(&mut self, flight: Flight) {
        if self.flying.len() == FLYING {
            self.flying.pop_front();
        }
        self.flying.push_back(flight);
    }

    /// The link as it should be: what is sent arrives a millisecond later.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end && self.budget > 0 {
            if self.flying.is_empty() {
                if !self.step(end) {
                    return;
                }
            } else {
                let next = self.now + 1;
                while self.step(next) {}
                self.deliver_all();
            }
        }
        while self.step(end) {}
    }

    fn deliver_all(&mut self) {
        for flight in std::mem::take(&mut self.flying) {
            self.arrive(&flight);
        }
    }

    /// Time passes to the next deadline and no further than `end`; false if it has come to `end`.
    fn step(&mut self, end: u64) -> bool {
        let due = |router: &Router| {
            let wake = router.wake.filter(|_| router.engine.is_some())?;
            Some(wake.max(router.asleep_until))
        };
        let next = self.routers.iter().filter_map(due).min();
        match next {
            Some(at) if at <= end && self.budget > 0 => {
                self.now = self.now.max(at);
                for at in 0..COUNT {
                    if due(&self.routers[at]).is_some_and(|wake| wake <= self.now) {
                        self.drive(at);
                    }
                }
                true
            }
            _ => {
                self.now = self.now.max(end);
                false
            }
        }
    }

    /// A call after a deadline finds out first that the router slept: that may change something, whatever comes of the
    /// call itself.
    fn is_late(&self, at: usize) -> bool {
        self.routers[at].wake.is_some_and(|wake| wake <= self.now)
    }

    fn arrive(&mut self, flight: &Flight) {
        let at = flight.to;
        if self.routers[at].asleep_until > self.now || self.budget == 0 {
            return;
        }
        let (now, record) = (self.time(), self.now);
        let late = self.is_late(at);
        let Some(engine) = self.routers[at].engine.as_mut() else {
            return;
        };
        self.budget -= 1;
        let before = Sight::of(engine, now);
        let mut copy = flight.octets.to_vec();
        let handled = engine.handle_datagram(now, flight.recv, &mut copy);
        match handled {
            Handled::Dropped(_) if late => {}
            Handled::Dropped(reason) => {
                let after = Sight::of(engine, now);
                assert_eq!(
                    before, after,
                    "promise 5: dropped as {reason:?}, and something changed"
                );
            }
            Handled::Accepted => self.tainted |= !flight.genuine,
        }
        if at == 0 {
            self.note(record, Some(flight.recv), &flight.octets.clone());
        }
        self.drive(at);
    }

    fn note(&mut self, now: u64, recv: Option<Recv>, octets: &[u8]) {
        if let Some(records) = &mut self.record {
            records.push(Record::new(now - self.recorded_at, recv, octets));
            self.recorded_at = now;
        }
    }

    /// Polls a router until it is idle.
    fn drive(&mut self, at: usize) {
        let now = self.time();
        if self.routers[at].asleep_until > self.now {
            return;
        }
        if self.routers[at].wake.is_some_and(|wake| wake <= self.now) && at == 0 {
            self.note(self.now, None, &[]);
        }
        for turn in 0.. {
            assert!(turn < 1000, "poll does not come to an end");
            let router = &mut self.routers[at];
            let Some(engine) = router.engine.as_mut() else {
                return;
            };
            let mut buffer = [0; LIMIT];
            match engine.poll(now, &mut buffer) {
                Output::Transmit { len, to, .. } => {
                    assert!(len <= LIMIT);
                    self.transmit(at, to, &buffer[..len]);
                }
                Output::Event(event) => router.told.event(&event),
                Output::Idle { next } => {
                    assert!(
                        next.is_none_or(|(at, _)| at > now),
                        "idle until {next:?}, and it is {now:?}"
                    );
                    router.wake = next.map(|(at, _)| at.as_millis());
                    break;
                }
            }
        }
        self.check(at);
    }

    fn check(&mut self, at: usize) {
        let (now, options) = (self.time(), self.options);
        let router = &mut self.routers[at];
        let Some(engine) = router.engine.as_deref() else {
            return;
        };
        let sight = Sight::of(engine, now);
        router.told.agrees(&sight);
        check::idle(engine, options, &sight, &mut router.position);
        let former = router.sight.take();
        let rows = match former {
            Some((former, rows)) if !router.told.take_fresh() && former.keys == sight.keys => rows,
            _ => {
                let rows = check::rows(engine, now);
                router.told.agrees_with(&sight, &rows);
                check::table(engine, now, &rows);
                if !self.tainted {
                    self.group.holds(at, router.boots, &rows, options.reboot_exempt());
                }
                rows
            }
        };
        if !self.tainted {
            for (_, other) in self.routers.iter().enumerate().filter(|(index, _)| *index != at) {
                if let (Some(_), Some((seen, theirs))) = (&other.engine, &other.sight) {
                    self.group.pair((&sight, &rows), (seen, theirs));
                }
            }
        }
        self.routers[at].sight = Some((sight, rows));
    }

    fn transmit(&mut self, by: usize, to: SocketAddr, octets: &[u8]) {
        let print = fingerprint(octets);
        self.is_sealed_once(octets, print);
        let octets: Rc<[u8]> = octets.into();
        let from = address(by);
        if self.history.len() < HISTORY && self.known.insert(print) {
            self.history.push((from, to, Rc::clone(&octets)));
        }
        for at in (0..COUNT).filter(|at| *at != by) {
            if (to == multicast() || to == address(at)) && !self.deaf[by][at] {
                self.fly(Flight {
                    to: at,
                    recv: Recv {
                        from,
                        to,
                        hop_limit: Some(255),
                    },
                    octets: Rc::clone(&octets),
                    genuine: true,
                });
            }
        }
    }

    /// Promise 4, with the null suite's help: its tag names the key.
    fn is_sealed_once(&mut self, octets: &[u8], print: u64) {
        if sk::locate(octets).is_err() {
            return;
        }
        let (Some(iv), Some(tag)) = (octets.get(sk::AAD_LEN..), octets.last_chunk::<16>()) else {
            return;
        };
        let Some(iv) = iv.first_chunk::<8>() else { return };
        let known = *self.sealed.entry((*tag, *iv)).or_insert(print);
        assert_eq!(
            known, print,
            "promise 4: two messages under one key and IV {iv:?}"
        );
    }

    fn replay(&mut self, which: usize, from: u8, to: usize) {
        let Some(which) = which.checked_rem(self.history.len()) else {
            return;
        };
        let (source, target, octets) = self.history[which].clone();
        let elsewhere = usize::from(from)
            .checked_sub(0x80)
            .map(|at| address(at % (COUNT + 1)));
        let target = if target == multicast() {
            target
        } else {
            address(to)
        };
        let recv = Recv {
            from: elsewhere.unwrap_or(source),
            to: target,
            hop_limit: Some(255),
        };
        // The real suite covers addresses, the null one does not.
        let genuine = recv.from == source && (target == multicast() || self.history[which].1 == target);
        self.fly(Flight {
            to,
            recv,
            octets,
            genuine,
        });
    }

    fn command(&mut self, at: usize, what: u8, argument: u16) {
        let [low, high] = argument.to_le_bytes();
        let who = identity(usize::from(low) % (COUNT + 1));
        let protocol = RoutingProtocol::from_code(u16::from(low)).unwrap_or(RoutingProtocol::Ospfv2);
        let reason = RekeyReason::from_code(u16::from(high)).unwrap_or(RekeyReason::Operator);
        self.tell(
            at,
            match what & 7 {
                0 => Command::Join,
                1 => Command::Leave,
                2 => Command::SetPriority(argument),
                3 => Command::Installed {
                    generation: argument.into(),
                },
                4 => Command::Rekey { protocol, reason },
                5 => Command::Evict(&who),
                6 => Command::Migrate,
                _ => Command::HandOff,
            },
        );
    }

    fn tell(&mut self, at: usize, command: Command<'_>) {
        let now = self.time();
        let late = self.is_late(at);
        if self.routers[at].asleep_until > self.now {
            return;
        }
        let Some(engine) = self.routers[at].engine.as_mut() else {
            return;
        };
        let before = Sight::of(engine, now);
        if let Err(why) = engine.handle_command(now, command) {
            assert!(
                late || before == Sight::of(engine, now),
                "refused as {why:?}, and something changed"
            );
        }
        self.drive(at);
    }

    fn crash(&mut self, at: usize) {
        self.routers[at].engine = None;
        self.routers[at].kept = None;
    }

    fn start(&mut self, at: usize) {
        if self.routers[at].engine.is_some() {
            return;
        }
        let now = self.time();
        let (kept, since) = self.routers[at].kept.take().unwrap_or_default();
        let gone = Duration::from_millis(self.now - since);
        let left = |key: &ResumedKey| key.lifetime.as_millis().saturating_sub(gone.as_millis());
        let mut resumed: Vec<ResumedKey> = kept.into_iter().filter(|key| left(key) > 0).collect();
        for key in &mut resumed {
            key.lifetime = Duration::from_millis(left(key));
        }
        self.routers[at].boots += 1;
        let boots = self.routers[at].boots;
        let engine = engine(at, boots, self.options, resumed, now);
        self.group.resumed(at, boots, &check::rows(&engine, now));
        let router = &mut self.routers[at];
        router.engine = Some(engine);
        router.told = Told::default();
        router.position = None;
        router.sight = None;
        router.wake = None;
        router.asleep_until = 0;
        self.tell(at, Command::Join);
    }
}

fn fingerprint(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}

fn altered(octets: &[u8], offset: u16, mend: bool, change: &Change) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let at = usize::from(offset).checked_rem(octets.len()).unwrap_or(0);
    match change {
        Change::Flip(bits) => {
            if let Some(octet) = octets.get_mut(at) {
                *octet ^= bits;
            }
        }
        Change::Overwrite(with) => {
            for (to, from) in octets.iter_mut().skip(at).zip(with) {
                *to = *from;
            }
        }
        Change::Cut => octets.truncate(at),
        Change::Insert(new) => {
            octets.splice(at..at, new.iter().copied());
        }
    }
    let len = u32::try_from(octets.len()).unwrap_or(0).to_be_bytes();
    if let Some(field) = octets.get_mut(24..28).filter(|_| mend) {
        field.copy_from_slice(&len);
    }
    octets
}
