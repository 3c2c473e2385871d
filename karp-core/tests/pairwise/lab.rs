//! Two pairs on a link that loses, duplicates and reorders, on virtual time. After every step it is checked that no two
//! messages share a key and a nonce, and that what one side's routing protocol sends the other's accepts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use karp_core::{
    Duration, Identity, Instant, Recv,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    io::{Handled, MessageKind},
    pairwise::{Command, Config, Event, Output, Pair, Session, Settings},
    wire::ts::Selector,
};
use rand_chacha::ChaCha8Rng;

use crate::common::{
    credentials::{Proof, Store},
    dice::{Dice, generator},
};

/// One of the two pairs.
pub(crate) type Router = Pair<Store, ChaCha8Rng>;

/// What the link does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// The least and the most milliseconds that a datagram takes: where they differ, datagrams overtake each other.
    pub(crate) latency: (u64, u64),
}

impl Link {
    pub(crate) const CLEAN: Self = Self {
        loss: 0,
        duplication: 0,
        latency: (1, 1),
    };
    pub(crate) const ROUGH: Self = Self {
        loss: 20,
        duplication: 20,
        latency: (1, 40),
    };
}

/// What is under way.
#[derive(Clone, Debug)]
enum Flight {
    Message(Vec<u8>),
    /// A packet of the routing protocol: session, key id, key.
    Packet(usize, u16, Vec<u8>),
}

pub(crate) struct Side {
    pub(crate) pair: Option<Router>,
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) events: Vec<(Instant, Event)>,
    boots: u64,
}

/// Who saw which octets: a message that was sent, by whom, and what it was.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) side: usize,
    pub(crate) kind: MessageKind,
    pub(crate) octets: Vec<u8>,
}

pub(crate) struct Lab {
    pub(crate) now: Instant,
    pub(crate) link: Link,
    pub(crate) sides: [Side; 2],
    /// Packets of a side whose receiver does not have the key fail the run.
    pub(crate) hitless: bool,
    /// Packets that were accepted.
    pub(crate) accepted: u64,
    pub(crate) sent: Vec<Sent>,
    /// Nothing gets through.
    pub(crate) cut: bool,
    /// So many damaged copies arrive ahead of each message.
    pub(crate) damage: usize,
    /// So many did.
    pub(crate) damaged: u64,
    made: [u32; 2],
    flights: BTreeMap<(Instant, u64), (usize, Flight)>,
    number: u64,
    seals: BTreeMap<([u8; 16], bool, [u8; 8]), Vec<u8>>,
    /// Fingerprints of keys that each side ever had.
    pub(crate) seen: [BTreeSet<Vec<u8>>; 2],
    dice: Dice,
    seed: u64,
}

pub(crate) fn address(side: usize) -> SocketAddr {
    format!("192.0.2.{}:500", side + 1).parse().unwrap()
}

pub(crate) fn identity(side: usize) -> Identity {
    Identity::fqdn(["a.example", "b.example"][side]).unwrap()
}

fn end(side: usize) -> Selector {
    Selector {
        address: address(side).ip(),
        ip_protocol: 6,
        port: None,
    }
}

pub(crate) fn bgp(side: usize) -> Session {
    Session {
        protocol: RoutingProtocol::Bgp,
        algorithm: RoutingAlgorithm::HmacSha1Cut96,
        local: end(side),
        remote: end(1 - side),
    }
}

impl Lab {
    /// Two routers with one session, nothing started.
    pub(crate) fn new(seed: u64, link: Link, proof: Proof, change: impl Fn(usize, &mut Settings)) -> Self {
        let sides = [0, 1].map(|side| {
            let mut settings = Settings::new(
                identity(side),
                address(side),
                identity(1 - side),
                address(1 - side),
            );
            settings.sessions.push(bgp(side)).unwrap();
            settings.initiate = side == 0;
            change(side, &mut settings);
            let mut store = Store::new(&identity(side), proof);
            store.know(&identity(1 - side));
            Side {
                pair: None,
                settings,
                store,
                events: Vec::new(),
                boots: 0,
            }
        });
        Self {
            now: Instant::from_millis(1000),
            link,
            sides,
            hitless: false,
            accepted: 0,
            sent: Vec::new(),
            cut: false,
            damage: 0,
            damaged: 0,
            made: [0; 2],
            flights: BTreeMap::new(),
            number: 0,
            seals: BTreeMap::new(),
            seen: [BTreeSet::new(), BTreeSet::new()],
            dice: Dice::new(seed, 1),
            seed,
        }
    }

    /// A new engine on a side, started.
    pub(crate) fn boot(&mut self, side: usize) {
        self.made[side] = 0;
        let place = &mut self.sides[side];
        place.boots += 1;
        let entropy = generator(self.seed, 10 + place.boots * 2 + side as u64);
        let config = Config::new(place.settings.clone()).unwrap();
        let mut pair = Pair::new(config, place.store.clone(), entropy, self.now).unwrap();
        pair.handle_command(self.now, Command::Start).unwrap();
        place.pair = Some(pair);
        self.poll(side);
    }

    pub(crate) fn pair(&self, side: usize) -> &Router {
        self.sides[side].pair.as_ref().unwrap()
    }

    pub(crate) fn command(&mut self, side: usize, command: Command) {
        let now = self.now;
        self.sides[side]
            .pair
            .as_mut()
            .unwrap()
            .handle_command(now, command)
            .unwrap();
        self.poll(side);
    }

    /// Hands octets to a side as if the other had sent them.
    pub(crate) fn inject(&mut self, side: usize, octets: &[u8]) -> Handled {
        let recv = Recv {
            from: address(1 - side),
            to: address(side),
            hop_limit: Some(255),
        };
        let now = self.now;
        let handled =
            self.sides[side]
                .pair
                .as_mut()
                .unwrap()
                .handle_datagram(now, recv, &mut octets.to_vec());
        self.poll(side);
        handled
    }

    /// Everything that a side has to say now.
    fn poll(&mut self, side: usize) {
        let mut buffer = [0; 1232];
        for turn in 0.. {
            assert!(turn < 1000, "a pair does not come to rest");
            let now = self.now;
            let Some(pair) = self.sides[side].pair.as_mut() else {
                return;
            };
            match pair.poll(now, &mut buffer) {
                Output::Transmit { len, to, kind } => {
                    assert_eq!(to, address(1 - side));
                    self.transmit(side, kind, buffer[..len].to_vec());
                }
                Output::Event(event) => self.sides[side].events.push((now, event)),
                Output::Idle { next } => {
                    assert!(next.is_none_or(|(at, _)| at > now), "a deadline that has passed");
                    break;
                }
            }
        }
        let made = self.pair(side).pair_counters().keys_made;
        if std::mem::replace(&mut self.made[side], made) != made {
            let rows: Vec<_> = self.pair(side).key_table().rows().collect();
            self.seen[side].extend(rows.iter().map(|row| row.octets().to_vec()));
        }
    }

    fn transmit(&mut self, side: usize, kind: MessageKind, octets: Vec<u8>) {
        // A sealed message: SPIs, who sealed it, and the IV behind the generic header name key and nonce.
        if octets[16] == 46 {
            let key = (
                octets[..16].try_into().unwrap(),
                octets[19] & 8 != 0,
                octets[32..40].try_into().unwrap(),
            );
            let before = self.seals.entry(key).or_insert_with(|| octets.clone());
            assert_eq!(*before, octets, "two messages under one key and nonce");
        }
        assert!(octets.len() <= 1232);
        self.sent.push(Sent {
            at: self.now,
            side,
            kind,
            octets: octets.clone(),
        });
        if self.cut || self.dice.chance(self.link.loss) {
            return;
        }
        let copies = 1 + u64::from(self.dice.chance(self.link.duplication));
        for _ in 0..copies {
            self.fly(1 - side, Flight::Message(octets.clone()));
        }
    }

    fn fly(&mut self, to: usize, flight: Flight) {
        let (low, high) = self.link.latency;
        let at = self
            .now
            .after(Duration::from_millis(self.dice.between(low, high)));
        self.number += 1;
        self.flights.insert((at, self.number), (to, flight));
    }

    /// Each side's routing protocol sends a packet with the key that it is to send with.
    fn packets(&mut self) {
        for side in [0, 1] {
            let Some(pair) = &self.sides[side].pair else {
                continue;
            };
            let sessions = self.sides[side].settings.sessions.len();
            let rows: Vec<_> = (0..sessions)
                .filter_map(|session| pair.key_table().sending(session))
                .collect();
            for row in rows {
                let packet = Flight::Packet(row.session, row.send_id, row.octets().to_vec());
                self.fly(1 - side, packet);
            }
        }
    }

    fn arrive(&mut self, to: usize, flight: Flight) {
        match flight {
            Flight::Message(octets) => {
                if self.sides[to].pair.is_some() {
                    for _ in 0..self.damage {
                        let copy = self.damaged_copy(&octets);
                        self.damaged += 1;
                        self.inject(to, &copy);
                    }
                    self.inject(to, &octets);
                }
            }
            Flight::Packet(session, id, key) => {
                let Some(pair) = &self.sides[to].pair else {
                    return;
                };
                let row = pair.key_table().receiving(session, id);
                let accepted = row.is_some_and(|row| row.octets() == key);
                self.accepted += u64::from(accepted);
                assert!(
                    accepted || !self.hitless,
                    "side {to} refuses key {id} of session {session} at {:?}\n{}",
                    self.now,
                    self.story()
                );
            }
        }
    }

    /// A few octets changed, cut off or added.
    fn damaged_copy(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut copy = octets.to_vec();
        match self.dice.below(4) {
            0 => copy.truncate(self.dice.index(octets.len())),
            1 => {
                copy.truncate(self.dice.between(28, octets.len() as u64) as usize);
                let len = copy.len() as u32;
                copy[24..28].copy_from_slice(&len.to_be_bytes());
            }
            2 => copy.push(7),
            _ => {}
        }
        for _ in 0..=self.dice.below(3) {
            let at = self.dice.index(copy.len().max(1));
            if let Some(octet) = copy.get_mut(at) {
                *octet ^= 1 << self.dice.below(8);
            }
        }
        copy
    }

    /// Runs for a while, in steps of a millisecond where something happens. Packets are sent every 10 ms.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now.after(Duration::from_millis(ms));
        self.run_until(until, |_| false);
    }

    /// Runs until the condition holds; tells whether it did within so many milliseconds.
    pub(crate) fn wait(&mut self, ms: u64, condition: impl Fn(&Self) -> bool) -> bool {
        let until = self.now.after(Duration::from_millis(ms));
        self.run_until(until, &condition);
        condition(self)
    }

    fn run_until(&mut self, until: Instant, stop: impl Fn(&Self) -> bool) {
        while self.now < until && !stop(self) {
            let mut next = until.min(
                self.now
                    .after(Duration::from_millis(10 - self.now.as_millis() % 10)),
            );
            if let Some((at, _)) = self.flights.first_key_value() {
                next = next.min(at.0);
            }
            for side in [0, 1] {
                if let Some(pair) = self.sides[side].pair.as_mut()
                    && let Output::Idle { next: Some((at, _)) } = pair.poll(self.now, &mut [0; 1232])
                {
                    next = next.min(at);
                }
            }
            self.now = next;
            while let Some(entry) = self.flights.first_entry() {
                if entry.key().0 > self.now {
                    break;
                }
                let (to, flight) = entry.remove();
                self.arrive(to, flight);
            }
            if self.now.as_millis().is_multiple_of(10) {
                self.packets();
            }
            for side in [0, 1] {
                self.poll(side);
            }
        }
    }

    /// Both have an IKE SA and a key to send with in every session, and each accepts what the other sends.
    pub(crate) fn keyed(&self) -> bool {
        [0, 1].iter().all(|side| {
            let (Some(own), Some(other)) = (&self.sides[*side].pair, &self.sides[1 - *side].pair) else {
                return false;
            };
            own.is_up()
                && (0..self.sides[*side].settings.sessions.len()).all(|session| {
                    own.key_table().sending(session).is_some_and(|row| {
                        let there = other.key_table().receiving(session, row.send_id);
                        there.is_some_and(|there| there.octets() == row.octets())
                    })
                })
        })
    }

    /// Both are up under the same single IKE SA.
    pub(crate) fn settled(&self) -> bool {
        self.keyed()
            && self.pair(0).ike_sa() == self.pair(1).ike_sa()
            && [0, 1].iter().all(|side| self.pair(*side).ike_sas() == 1)
    }

    pub(crate) fn events(&self, side: usize) -> Vec<Event> {
        self.sides[side].events.iter().map(|(_, event)| *event).collect()
    }

    /// What happened, for messages.
    pub(crate) fn story(&self) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for side in [0, 1] {
            for (at, event) in &self.sides[side].events {
                lines.push((at.as_millis(), format!("{side} {event:?}")));
            }
        }
        for sent in &self.sent {
            let id = u32::from_be_bytes(sent.octets[20..24].try_into().unwrap());
            lines.push((
                sent.at.as_millis(),
                format!(
                    "{} -> {} id {id} SPIi {:02x}{:02x}",
                    sent.side,
                    sent.kind.name(),
                    sent.octets[0],
                    sent.octets[1]
                ),
            ));
        }
        for side in [0, 1] {
            let Some(pair) = &self.sides[side].pair else {
                continue;
            };
            for reason in karp_core::error::DropReason::ALL {
                let count = pair.counters().dropped(*reason);
                if count > 0 {
                    let line = format!("{side} dropped {count} {}", reason.name());
                    lines.push((self.now.as_millis(), line));
                }
            }
        }
        lines.sort();
        let lines: Vec<String> = lines
            .into_iter()
            .map(|(at, line)| format!("{at:>8} {line}"))
            .collect();
        lines[lines.len().saturating_sub(80)..].join("\n")
    }
}
