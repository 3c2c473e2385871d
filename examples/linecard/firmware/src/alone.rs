//! The card by itself: two routers in its memory, and a line between them that loses nothing.

use core::net::{SocketAddr, SocketAddrV4};

use chacha20::ChaCha20Rng;
use karp_core::{
    Command, Duration, Instant, Output, Recv,
    algorithm::RoutingProtocol,
    command::RekeyReason,
    crypto::{Secret, SigningKey},
};
use linecard_link::console::{Activity, Proof};
use rand_core::{Rng as _, SeedableRng as _};

use crate::{
    board::Board,
    router::{Place, Room, Router, router, status, tell},
};

const PLACES: [Place; 2] = [
    Place {
        name: "one.card.example",
        number: 1,
        priority: 100,
    },
    Place {
        name: "two.card.example",
        number: 2,
        priority: 200,
    },
];

/// How long a step may take. The longest, a failover, takes about four seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The two, each in its place. One that failed is `None`.
struct Pair<'a> {
    board: &'a mut Board,
    routers: [Option<&'static mut Router>; 2],
    buffer: &'a mut [u8],
}

impl Pair<'_> {
    /// Carries datagrams until `done` is content, or patience ends.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self, Instant) -> bool) -> Option<()> {
        let begin = self.board.now();
        loop {
            let now = self.board.now();
            let took = now.since(begin);
            if done(self, now) {
                defmt::info!("held: {=str}, {=u64} ms", what, took.as_millis());
                return Some(());
            }
            if took > PATIENCE {
                defmt::error!("not held: {=str}", what);
                return None;
            }
            let moved = self.step(0, 1, now) | self.step(1, 0, now);
            if !moved {
                self.board.rest();
            }
        }
    }

    /// What each of the two does, and the key that both send with.
    fn fare(&self, now: Instant) -> ([Option<Activity>; 2], Option<(u16, [u8; 4])>) {
        let fares = self
            .routers
            .each_ref()
            .map(|one| one.as_ref().map(|one| status(one, now)));
        let [one, two] = fares.each_ref().map(|one| one.as_ref().and_then(|one| one.key));
        (
            fares.map(|one| one.map(|one| one.activity)),
            one.filter(|_| one == two),
        )
    }

    /// Does what router `at` has to do next; whether there was anything.
    fn step(&mut self, at: usize, other: usize, now: Instant) -> bool {
        let Some(one) = self.routers.get_mut(at).and_then(Option::as_mut) else {
            return false;
        };
        match one.poll(now, self.buffer) {
            Output::Transmit { len, to, .. } => {
                let recv = Recv {
                    from: one.config().settings().address,
                    to,
                    hop_limit: Some(255),
                };
                let address = SocketAddr::V4(PLACES.get(other).map_or(UNKNOWN, Place::address));
                let takes = to.ip().is_multicast() || to == address;
                let two = self
                    .routers
                    .get_mut(other)
                    .and_then(Option::as_mut)
                    .filter(|_| takes);
                if let (Some(two), Some(datagram)) = (two, self.buffer.get_mut(..len)) {
                    // What is dropped is counted and logged.
                    let _ = two.handle_datagram(now, recv, datagram);
                }
                true
            }
            Output::Event(event) => {
                tell(PLACES.get(at).map_or("", |place| place.name), one, &event, now);
                true
            }
            Output::Idle { .. } => false,
        }
    }

    fn command(&mut self, at: usize, command: Command<'_>, now: Instant) -> bool {
        let one = self.routers.get_mut(at).and_then(Option::as_mut);
        one.is_some_and(|one| one.handle_command(now, command).is_ok())
    }
}

const UNKNOWN: SocketAddrV4 = SocketAddrV4::new(core::net::Ipv4Addr::UNSPECIFIED, 0);

/// Runs the two until they have the same keys, have changed them, and one has taken over from the other. Whether all of
/// it held.
pub(crate) fn run(
    board: &mut Board,
    [one, two]: [Room; 2],
    entropy: &[u8; 32],
    signatures: bool,
    buffer: &mut [u8],
) -> bool {
    let mut entropy = ChaCha20Rng::from_seed(*entropy);
    let proofs = if signatures {
        let seeds = [Secret::random(&mut entropy), Secret::random(&mut entropy)];
        let [one, two] = seeds
            .each_ref()
            .map(|seed| (*seed.expose(), SigningKey::from_seed(seed).public()));
        [
            Proof::Signature {
                own: one.0,
                peer: two.1,
            },
            Proof::Signature {
                own: two.0,
                peer: one.1,
            },
        ]
    } else {
        let key = Secret::random(&mut entropy);
        [Proof::SharedKey(*key.expose()), Proof::SharedKey(*key.expose())]
    };
    let now = board.now();
    let mut seed = || {
        let mut seed = [0; 32];
        entropy.fill_bytes(&mut seed);
        seed
    };
    let [first, second] = &PLACES;
    let routers = [
        router(first, second.name, &proofs[0], &seed(), one, now),
        router(second, first.name, &proofs[1], &seed(), two, now),
    ];
    let mut pair = Pair {
        board,
        routers,
        buffer,
    };
    steps(&mut pair).is_some()
}

fn steps(pair: &mut Pair<'_>) -> Option<()> {
    let (member, gcks) = (Some(Activity::Member), Some(Activity::Gcks));
    pair.until("both join", |pair, now| {
        pair.command(0, Command::Join, now) && pair.command(1, Command::Join, now)
    })?;
    let mut first = None;
    pair.until(
        "the better one serves, and both have the same key",
        |pair, now| {
            let (roles, key) = pair.fare(now);
            first = key;
            roles == [member, gcks] && key.is_some()
        },
    )?;
    let rekey = Command::Rekey {
        protocol: RoutingProtocol::Ospfv2,
        reason: RekeyReason::Operator,
    };
    pair.until("the member asks for new keys", |pair, now| {
        pair.command(0, rekey, now)
    })?;
    pair.until("both have the new key", |pair, now| {
        let (_, key) = pair.fare(now);
        key.is_some() && key != first
    })?;
    // Refused until the member has acknowledged what it was given.
    pair.until("the better one gives its office away", |pair, now| {
        pair.command(1, Command::HandOff, now)
    })?;
    pair.until("the other one serves, and both have the same key", |pair, now| {
        let (roles, key) = pair.fare(now);
        roles == [gcks, member] && key.is_some()
    })?;
    pair.routers[0] = None;
    pair.until("the one that is left takes office", |pair, now| {
        pair.fare(now).0 == [None, gcks]
    })
}
