//! One link: its routers, and what happens on it, in the order of a virtual clock that counts nanoseconds.

use std::{cmp::Ordering, collections::BinaryHeap, rc::Rc};

use karp_core::{
    Command,
    io::{Event, Handled, Output, Recv, Role},
    time::Instant,
};

use crate::{
    cost::Cost,
    laboratory::{dice::Dice, link::Link as Medium},
    measure::{Meter, Traffic},
    router::{Datagram, Number, Router},
};

/// Nanoseconds in a millisecond, the unit of the engine's clock.
pub(crate) const MS: u64 = 1_000_000;
/// Copies of one multicast arrive at so many different times: as real ones, not all at once.
const SPREAD: u64 = 16;

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) routers: usize,
    /// How many of them may serve: the others have the tables of a line card.
    pub(crate) candidates: usize,
    /// How fast their processors are.
    pub(crate) cost: Cost,
    /// Datagrams that wait at a socket, at most.
    pub(crate) socket: usize,
    /// Handshake slots of a candidate.
    pub(crate) handshakes: usize,
    /// How many percent of datagrams are lost.
    pub(crate) loss: u32,
    pub(crate) seed: u64,
}

enum Due {
    Start(Number),
    Arrive {
        datagram: Rc<Datagram>,
        to: Box<[Number]>,
    },
    Free(Number),
    Wake(Number),
}

struct Entry {
    at: u64,
    serial: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

/// A link and what was measured on it in the present phase.
pub(crate) struct Link {
    pub(crate) shape: Shape,
    pub(crate) now: u64,
    pub(crate) routers: Vec<Router>,
    pub(crate) meter: Meter,
    /// What each router has to reach in the present phase.
    pub(crate) aim: Aim,
    /// How many routers have reached it.
    pub(crate) reached: usize,
    /// When the office last saw a rollover acknowledged by all.
    pub(crate) completed: Option<u64>,
    dice: Dice,
    heap: BinaryHeap<Entry>,
    serial: u64,
    buffer: Vec<u8>,
}

/// What a router has to reach in a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// A key to send with.
    Keyed,
    /// Another key to send with than this one.
    Beyond(u16),
    /// Another GCKS than this one.
    Succession(Number),
    /// Nothing.
    None,
}

impl Link {
    pub(crate) fn new(shape: Shape) -> Self {
        let numbers = 0..Number::try_from(shape.routers).expect("fewer than 2^32 routers");
        Self {
            shape,
            now: 0,
            routers: numbers.map(Router::new).collect(),
            meter: Meter::default(),
            aim: Aim::Keyed,
            reached: 0,
            completed: None,
            dice: Dice::new(shape.seed, 0),
            heap: BinaryHeap::new(),
            serial: 0,
            buffer: vec![0; 1232],
        }
    }

    /// Powers every router on, at random times within `spread` ns.
    pub(crate) fn start(&mut self, spread: u64) {
        for number in self.numbers() {
            let at = self.now + self.dice.below(spread + 1);
            self.plan(at, Due::Start(number));
        }
    }

    pub(crate) fn numbers(&self) -> std::ops::Range<Number> {
        0..Number::try_from(self.routers.len()).expect("fewer than 2^32 routers")
    }

    pub(crate) fn router(&mut self, number: Number) -> &mut Router {
        &mut self.routers[number as usize]
    }

    /// The router in office; the first, if several are.
    pub(crate) fn gcks(&self) -> Option<Number> {
        self.numbers()
            .find(|number| self.routers[*number as usize].role == Role::Gcks)
    }

    /// Begins a phase: what was counted so far is forgotten.
    pub(crate) fn begin(&mut self, aim: Aim) {
        self.aim = aim;
        self.completed = None;
        self.meter = Meter::since(self.now);
        self.routers.iter_mut().for_each(Router::begin);
        self.reached = 0;
    }

    pub(crate) fn up(&self) -> usize {
        self.routers
            .iter()
            .filter(|router| router.engine.is_some())
            .count()
    }

    /// Lets the next thing happen, if it happens before `end`; `false` if not, and then `end` is now.
    pub(crate) fn step(&mut self, end: u64) -> bool {
        let Some(entry) = self.heap.peek().filter(|entry| entry.at <= end) else {
            self.now = end;
            return false;
        };
        self.now = entry.at;
        let Some(Entry { due, .. }) = self.heap.pop() else {
            return false;
        };
        match due {
            Due::Start(number) => self.boot(number),
            Due::Arrive { datagram, to } => to.iter().for_each(|to| self.arrive(*to, &datagram)),
            Due::Free(number) => self.free(number),
            Due::Wake(number) => {
                let now = self.now;
                let router = self.router(number);
                if router.wake == Some(now) && router.engine.is_some() {
                    if router.busy > now {
                        // It looks at its timers when it has done what it is at.
                        let busy = router.busy;
                        router.wake = Some(busy);
                        self.plan(busy, Due::Wake(number));
                    } else {
                        router.wake = None;
                        self.drive(number, 0);
                    }
                }
            }
        }
        true
    }

    /// A router loses power and all its memory.
    pub(crate) fn crash(&mut self, number: Number) {
        self.router(number).crash();
    }

    fn plan(&mut self, at: u64, due: Due) {
        self.serial += 1;
        self.heap.push(Entry {
            at,
            serial: self.serial,
            due,
        });
    }

    /// What a router's clock shows: each was switched on at another time.
    pub(crate) fn clock(number: Number, now: u64) -> Instant {
        Instant::from_millis(1_000_000 + u64::from(number) * 1000 + now / MS)
    }

    fn time_of(number: Number, at: Instant) -> u64 {
        (at.as_millis() - 1_000_000 - u64::from(number) * 1000) * MS
    }

    fn boot(&mut self, number: Number) {
        let shape = self.shape;
        let now = self.now;
        let local = Self::clock(number, now);
        let candidate = number as usize + shape.candidates >= shape.routers;
        let router = self.router(number);
        router.boot(number, &shape, candidate, local);
        router.started = now;
        self.command(number, Command::Join);
    }

    /// Gives a command that cannot be refused in the state that the router is in.
    pub(crate) fn command(&mut self, number: Number, command: Command<'_>) {
        let local = Self::clock(number, self.now);
        if let Some(engine) = &mut self.router(number).engine {
            engine
                .handle_command(local, command)
                .expect("the fleet gives no command out of place");
        }
        self.drive(number, 0);
    }

    fn arrive(&mut self, to: Number, datagram: &Rc<Datagram>) {
        let (now, room) = (self.now, self.shape.socket);
        let router = self.router(to);
        if router.engine.is_none() {
            return;
        }
        if router.busy <= now && router.queue() == 0 {
            return self.serve(to, datagram, now);
        }
        let socket = &mut router.sockets[usize::from(datagram.recv.to.ip().is_multicast())];
        if socket.len() >= room {
            let role = router.role;
            return self.meter.overflow(role);
        }
        socket.push_back((now, Rc::clone(datagram)));
        router.peak = router.peak.max(router.queue());
        if !router.planned {
            router.planned = true;
            let at = router.busy.max(now);
            self.plan(at, Due::Free(to));
        }
    }

    fn free(&mut self, number: Number) {
        let now = self.now;
        let router = self.router(number);
        router.planned = false;
        let busy = router.busy;
        if busy <= now
            && let Some((since, datagram)) = router.next_queued()
        {
            self.serve(number, &datagram, since);
        }
        let router = self.router(number);
        if router.queue() > 0 && !router.planned {
            router.planned = true;
            let at = router.busy.max(now);
            self.plan(at, Due::Free(number));
        }
    }

    /// The processor takes a datagram that came at `since`.
    fn serve(&mut self, number: Number, datagram: &Datagram, since: u64) {
        let (now, cost) = (self.now, self.shape.cost);
        let local = Self::clock(number, now);
        let router = &mut self.routers[number as usize];
        let role = router.role;
        let Some(engine) = &mut router.engine else { return };
        let mut octets = datagram.octets.to_vec();
        let clock = self.meter.clock(role);
        let handled = engine.handle_datagram(local, datagram.recv, &mut octets);
        let keyed = engine.rekey_sa_spi().is_some();
        self.meter.took(clock, Some(datagram.kind));
        let work = cost.input(
            datagram.kind,
            &datagram.octets,
            handled == Handled::Accepted,
            keyed,
        );
        self.meter.served(role, now - since);
        self.drive(number, work);
    }

    /// Polls a router until it is idle. `work`: nanoseconds that its processor has to work already.
    fn drive(&mut self, number: Number, mut work: u64) {
        let (now, cost) = (self.now, self.shape.cost);
        let local = Self::clock(number, now);
        let role = self.routers[number as usize].role;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let router = &mut self.routers[number as usize];
            let Some(engine) = &mut router.engine else { break };
            let clock = self.meter.clock(role);
            let output = engine.poll(local, &mut buffer);
            self.meter.took(clock, None);
            match output {
                Output::Transmit { len, to, kind } => {
                    let octets = &buffer[..len];
                    work += cost.output(kind, octets, false);
                    router.count(kind, octets);
                    let recv = Recv {
                        from: router.address,
                        to,
                        hop_limit: Some(255),
                    };
                    let datagram = Rc::new(Datagram {
                        recv,
                        kind,
                        octets: octets.into(),
                    });
                    self.transmit(number, datagram, now + work);
                }
                Output::Event(event) => self.event(number, &event),
                Output::Idle { next } => {
                    let wake = next.map(|(at, _)| Self::time_of(number, at));
                    let router = &mut self.routers[number as usize];
                    if router.wake != wake {
                        router.wake = wake;
                        if let Some(at) = wake {
                            self.plan(at, Due::Wake(number));
                        }
                    }
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.meter.worked(role, work);
        let router = self.router(number);
        router.busy = router.busy.max(now) + work;
    }

    fn transmit(&mut self, by: Number, datagram: Rc<Datagram>, at: u64) {
        self.meter.sent(at, Traffic::of(&datagram));
        let medium = Medium {
            loss: self.shape.loss,
            ..Medium::CLEAN
        };
        let to = datagram.recv.to;
        if !to.ip().is_multicast() {
            let Some(number) = Router::number_of(to).filter(|number| (*number as usize) < self.routers.len())
            else {
                return;
            };
            for delay in medium.fates(&mut false, &mut self.dice) {
                let jitter = self.dice.below(MS);
                let datagram = Rc::clone(&datagram);
                let to = Box::new([number]);
                self.plan(at + delay * MS + jitter, Due::Arrive { datagram, to });
            }
            return;
        }
        let mut slots: [Vec<Number>; SPREAD as usize] = Default::default();
        for number in self.numbers().filter(|number| *number != by) {
            if medium.fates(&mut false, &mut self.dice).next().is_some() {
                slots[self.dice.index(SPREAD as usize)].push(number);
            }
        }
        for (slot, to) in (0..).zip(slots) {
            if !to.is_empty() {
                let datagram = Rc::clone(&datagram);
                let to = to.into();
                self.plan(at + MS + slot * MS / SPREAD, Due::Arrive { datagram, to });
            }
        }
    }

    fn event(&mut self, number: Number, event: &Event) {
        let (now, aim) = (self.now, self.aim);
        let router = &mut self.routers[number as usize];
        match event {
            Event::RoleChanged { role } => router.role = *role,
            Event::KeyActivated { id } => router.active = Some(*id),
            Event::GcksChanged { gcks } => {
                router.follows = gcks.as_ref().and_then(crate::router::number_of);
            }
            Event::RekeyCompleted { .. } => self.completed = Some(now),
            _ => return,
        }
        let reached = match aim {
            Aim::Keyed => router.is_keyed(),
            Aim::Beyond(id) => router.is_keyed() && router.active != Some(id),
            Aim::Succession(dead) => match router.role {
                Role::Gcks => true,
                Role::Member => router.follows.is_some_and(|gcks| gcks != dead),
                _ => false,
            },
            Aim::None => false,
        };
        // A router that falls back has not reached it; one that follows yet another GCKS reaches it then.
        let moved = matches!(event, Event::GcksChanged { .. }) && matches!(aim, Aim::Succession(_));
        let before = router.reached.is_some();
        if !reached {
            router.reached = None;
        } else if !before || moved {
            router.reached = Some(now);
        }
        match (before, reached) {
            (false, true) => self.reached += 1,
            (true, false) => self.reached -= 1,
            _ => {}
        }
    }

    /// How far the phase is, and what the routers in office have to do, in words.
    pub(crate) fn trace(&self) -> String {
        let mut text = format!("{} of {} routers", self.reached, self.up());
        for number in self.numbers() {
            let router = &self.routers[number as usize];
            if router.role == Role::Gcks
                && let Some(engine) = &router.engine
            {
                let [unicast, multicast] = &router.sockets;
                let live = engine.peers().filter(|peer| peer.live).count();
                let waiting = engine.peers().filter(|peer| peer.waiting).count();
                text += &format!(
                    "; r{} serves {live}, {waiting} wait for keys, {} and {} datagrams queue",
                    number + 1,
                    unicast.len(),
                    multicast.len()
                );
            }
        }
        text
    }

    /// Whether all that are up follow one GCKS and send with one key.
    pub(crate) fn agrees(&self) -> bool {
        let one = |number: &Number| &self.routers[*number as usize];
        let mut serving = self.numbers().filter(|number| one(number).role == Role::Gcks);
        let (Some(gcks), None) = (serving.next(), serving.next()) else {
            return false;
        };
        let wanted = one(&gcks).key(gcks, self.now);
        let mut up = self.numbers().filter(|number| one(number).engine.is_some());
        wanted.is_some()
            && up.all(|number| {
                let router = one(&number);
                let follows = number == gcks || router.follows == Some(gcks);
                router.is_keyed() && follows && router.key(number, self.now) == wanted
            })
    }
}
