//! Routers on loopback, for the tests with real sockets.
#![allow(dead_code)]

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use karp_core::{
    algorithm::RoutingProtocol,
    command::Command,
    config::Settings,
    crypto::{Secret, SigningKey},
    identity::{Grant, Identity},
    io::{Event, Role},
    time::Duration as Span,
};
use karp_std::{
    clock,
    credentials::{PreSharedKey, Proof, Store},
    driver,
    endpoint::{Endpoint, OpenError},
    heap::Heap,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// An endpoint with a seeded generator.
pub(crate) type Seeded = Endpoint<Store, ChaCha20Rng, Heap>;

/// How long anything may take in all; the machine may stall for seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A group address with a port that no other test uses at this time.
pub(crate) fn group() -> SocketAddr {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    SocketAddr::from((Ipv4Addr::new(224, 0, 0, 254), port))
}

/// `r0.example` and so on.
pub(crate) fn name(router: usize) -> Identity {
    Identity::fqdn(&format!("r{router}.example")).unwrap()
}

/// Short timers, on loopback, with a port that the system chooses.
pub(crate) fn settings(router: usize, group: SocketAddr) -> Settings {
    let mut settings = Settings::new("lan", name(router), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    settings.multicast = group;
    settings.router_id = router as u64;
    settings.hello = Span::from_millis(100);
    settings.retransmit = Span::from_millis(200);
    settings.min_rekey = Span::from_millis(500);
    settings.dtd = Span::from_secs(1);
    settings
}

/// One pre-shared key for each pair of `n` routers, as `router` has them.
pub(crate) fn pairs(router: usize, n: usize) -> Store {
    let key = |peer: usize| {
        let mut octets = [0x5a; 32];
        octets[0] = router.min(peer) as u8;
        octets[1] = router.max(peer) as u8;
        Proof::PreSharedKey(PreSharedKey::new(&octets).unwrap())
    };
    let peers = (0..n).filter(|peer| *peer != router);
    peers.fold(Store::new(name(router)), |store, peer| {
        store.with_peer(name(peer), Grant::FULL, key(peer)).unwrap()
    })
}

/// An Ed25519 key for each of `n` routers, as `router` has them.
pub(crate) fn signers(router: usize, n: usize) -> Store {
    let key = |router: usize| SigningKey::from_seed(&Secret::from_bytes([router as u8 + 1; 32]));
    let peers = (0..n).filter(|peer| *peer != router);
    peers.fold(
        Store::new(name(router)).with_signing_key(key(router)),
        |store, peer| {
            store
                .with_peer(name(peer), Grant::FULL, Proof::PublicKey(key(peer).public()))
                .unwrap()
        },
    )
}

/// Opens an endpoint whose generator is seeded by the router's number.
pub(crate) fn open(router: usize, settings: Settings, store: Store) -> Result<Seeded, OpenError> {
    Endpoint::with_parts(
        settings,
        None,
        store,
        ChaCha20Rng::seed_from_u64(router as u64),
        Heap::default(),
    )
}

/// An endpoint with what it told.
pub(crate) struct Router {
    pub(crate) endpoint: Seeded,
    pub(crate) events: Vec<Event>,
}

impl Router {
    /// Opens it and joins.
    pub(crate) fn start(router: usize, settings: Settings, store: Store) -> Self {
        let mut endpoint = open(router, settings, store).unwrap();
        endpoint.command(Command::Join).unwrap();
        Self {
            endpoint,
            events: Vec::new(),
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.endpoint.engine().role()
    }
}

/// Runs all routers in this thread, by their sockets and deadlines, until `done`.
pub(crate) fn run_until(routers: &mut [Router], what: &str, done: impl Fn(&[Router]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(routers) {
        let now = Instant::now();
        assert!(now < end, "{what} did not come to pass:\n{}", report(routers));
        let timeout = routers
            .iter()
            .map(|router| router.endpoint.timeout())
            .min()
            .unwrap_or(PATIENCE);
        let fds: Vec<_> = routers.iter().flat_map(|router| router.endpoint.fds()).collect();
        driver::wait(&fds, timeout.min(end - now)).unwrap();
        for router in routers.iter_mut() {
            let events = &mut router.events;
            let mut notices = |notice: karp_std::endpoint::Notice<'_>| {
                if let karp_std::endpoint::Notice::Event(event) = notice {
                    events.push(event.clone());
                }
            };
            let _ = router.endpoint.on_readable(&mut notices);
        }
    }
}

/// The key that a router sends OSPFv2 packets with: its id and fingerprint.
pub(crate) fn sending_key(router: &Router) -> Option<(u16, String)> {
    key_of(&router.endpoint)
}

/// As [`sending_key`], of the endpoint.
pub(crate) fn key_of(endpoint: &Seeded) -> Option<(u16, String)> {
    let row = endpoint
        .engine()
        .key_table()
        .sending(RoutingProtocol::Ospfv2, clock::now())?;
    Some((row.id, row.fingerprint()?.to_string()))
}

/// Where every router stands, for the message of a test that waited in vain.
fn report(routers: &[Router]) -> String {
    let line = |router: &Router| {
        let engine = router.endpoint.engine();
        let (key, gcks) = (sending_key(router), engine.gcks());
        let tail = &router.events[router.events.len().saturating_sub(12)..];
        format!(
            "{:?} under {gcks:?}, generation {}, sends with {key:?}; last {tail:?}\n",
            engine.role(),
            engine.generation()
        )
    };
    routers.iter().map(line).collect()
}
