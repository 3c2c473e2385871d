//! What is left in the memory of an engine, and on the stack that it ran on, of secrets that it does not need any more.
//!
//! The engine lives, all of it, in one place that stays allocated: the room of a `Vec`. Clearing it drops the engine
//! where it is, and leaves its octets as the drop left them. They are read through `/proc/self/mem`, as anybody would who
//! reads a core dump, so the compiler knows nothing of it and no `unsafe` is needed. The stack is read likewise, after
//! every call of the engine, from below the frame that called it.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
    fs::File,
    net::SocketAddr,
    os::unix::fs::FileExt,
    rc::Rc,
};

use karp_core::{
    Engine,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    command::{Command, RekeyReason},
    config::{Config, KeyUse, ManualKey, ResumedKey, Settings},
    crypto::{DhSecret, IkeKeys, RekeySaKeys, Secret, key_wrap_key, skeyseed},
    error::CommandError,
    identity::Identity,
    io::{Output, Recv, Role},
    storage::Fixed,
    time::{Duration, Instant},
};
use rand_core::{Rng as _, TryCryptoRng, TryRng};

use crate::{
    MANUAL,
    common::{
        credentials::{Proof, Store},
        dice::generator,
        peek::{self, Header},
    },
    leaks::{Leaks, WINDOW},
};

/// A generator that remembers what was drawn from it.
///
/// It was run before the engine began: what it draws ahead must not be found on the stack of the engine that calls it.
struct Remembering {
    stock: std::vec::IntoIter<u8>,
    drawn: Drawn,
}

/// What was drawn, in order.
type Drawn = Rc<RefCell<Vec<Vec<u8>>>>;

impl Remembering {
    fn new(stream: u64) -> (Self, Drawn) {
        let mut stock = vec![0; 1 << 18];
        generator(77, stream).fill_bytes(&mut stock);
        let drawn = Drawn::default();
        let entropy = Self {
            stock: stock.into_iter(),
            drawn: Rc::clone(&drawn),
        };
        (entropy, drawn)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.stock.next().expect("enough was drawn ahead"))
    }
}

impl TryRng for Remembering {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_be_bytes(self.take()))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_be_bytes(self.take()))
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        to.fill_with(|| self.stock.next().expect("enough was drawn ahead"));
        self.drawn.borrow_mut().push(to.to_vec());
        Ok(())
    }
}

impl TryCryptoRng for Remembering {}

/// A generator that gives what another gave.
struct Repeating(Vec<u8>);

impl TryRng for Repeating {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Repeating {}

type Tables = Fixed<4, 10, 4, 4, 4>;
type Inline = Engine<Store, Remembering, Tables>;

/// What an engine's memory has to do with: its role, its Rekey SA, the ids of its keys, how many peers it has.
type State = (Role, Option<[u8; 16]>, Vec<u16>, usize);

struct Router {
    identity: Identity,
    address: SocketAddr,
    /// One engine, and then none.
    place: Vec<Inline>,
    drawn: Drawn,
    asleep: bool,
    /// What its memory has to do with changed: it is to be looked at.
    state: Option<State>,
}

/// How deep below the caller an engine's frames are looked for, and how far below it they begin: what reads the stack
/// runs in between.
const DEPTH: usize = 48 * 1024;
const GAP: usize = 8 * 1024;

/// A link on which all that was sent is kept, from whom to whom.
struct Link {
    now: u64,
    routers: Vec<Router>,
    sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// The traffic keys that there were.
    traffic: BTreeSet<Vec<u8>>,
    /// What is looked for, when it is known.
    leaks: Option<Leaks>,
    looks: usize,
}

impl Link {
    fn new(count: usize, proof: Proof, leaks: Option<Leaks>) -> Self {
        let name = |at: usize| Identity::fqdn(&format!("r{}", at + 1)).unwrap();
        let mut link = Self {
            now: 0,
            routers: Vec::new(),
            sent: Vec::new(),
            traffic: BTreeSet::new(),
            leaks,
            looks: 0,
        };
        // What a host moves it leaves behind where it was, and brings along what lay in the gaps: the tables are made
        // while there is no secret on the stack.
        zeroize::zeroize_stack::<{ 4 * DEPTH }>();
        let mut tables = tables(count);
        for at in 0..count {
            let mut store = Store::new(&name(at), proof);
            (0..count)
                .filter(|other| *other != at)
                .for_each(|other| store.know(&name(other)));
            let address = SocketAddr::from(([10, 9, 0, at as u8 + 1], 848));
            let mut settings = Settings::new("lan", name(at), address);
            settings.router_id = at as u64 + 1;
            settings.key_lifetime = Duration::from_secs(60);
            settings.dtd = Duration::from_secs(5);
            settings.rekey_sa_lifetime = Duration::from_secs(100);
            settings.controller_signatures = proof == Proof::Signatures;
            assert!(settings.manual_keys.push(manual()).is_ok());
            let (entropy, drawn) = Remembering::new(at as u64);
            let config = Config::new(settings).unwrap();
            let engine = Engine::new(config, store, entropy, tables.pop().unwrap(), Instant::ZERO).unwrap();
            link.routers.push(Router {
                identity: name(at),
                address,
                place: vec![engine],
                drawn,
                asleep: false,
                state: None,
            });
        }
        for at in 0..count {
            link.command(at, Command::Join).unwrap();
        }
        link
    }

    /// One call of an engine. Afterwards nothing is on the stack that it ran on.
    #[inline(never)]
    fn call<T>(&mut self, at: usize, what: &str, work: impl FnOnce(&mut Inline) -> T) -> T {
        let engine = &mut self.routers[at].place[0];
        zeroize::zeroize_stack::<DEPTH>();
        let result = far_below(|| work(engine));
        if let Some(leaks) = &self.leaks {
            let mark = 0_u8;
            let top = (&raw const mark).addr() - GAP;
            let stack = read(top - (DEPTH - 2 * GAP), DEPTH - 2 * GAP);
            let left: Vec<_> = leaks
                .places(&stack)
                .map(|(at, name)| (stack.len() - at, name))
                .collect();
            assert!(
                left.is_empty(),
                "{what} of {} at {} ms left on the stack: {left:?}",
                self.routers[at].identity,
                self.now
            );
            self.look(at);
        }
        self.learn(at);
        result
    }

    /// The traffic keys that there are.
    fn learn(&mut self, at: usize) {
        let now = Instant::from_millis(self.now);
        for key in self.routers[at].place[0].resumable_keys(now) {
            self.traffic.insert(key.key.expose().to_vec());
        }
    }

    /// Looks into the memory of a router when what it should hold has changed: no traffic key is there that it does not
    /// have, no key of more Rekey SAs than a node keeps, none of an IKE SA with a peer that is not registered.
    fn look(&mut self, at: usize) {
        let router = &self.routers[at];
        let engine = &router.place[0];
        let now = Instant::from_millis(self.now);
        let keys: Vec<_> = engine.resumable_keys(now).collect();
        let state = (
            engine.role(),
            engine.rekey_sa_spi(),
            keys.iter().map(|key| key.id).collect(),
            engine.peers().filter(|peer| peer.registered).count(),
        );
        if router.state.as_ref() == Some(&state) {
            return;
        }
        let leaks = self.leaks.as_ref().unwrap();
        let names = found(leaks, &memory(&router.place));
        let has = |name: &str| {
            keys.iter()
                .any(|key| name == hex("traffic key", key.key.expose()))
        };
        let traffic = names.iter().filter(|name| name.starts_with("traffic key"));
        for name in traffic {
            assert!(has(name), "{} has {name} at {} ms", router.identity, self.now);
        }
        let sas = names.iter().filter(|name| name.starts_with("Rekey SA"));
        assert!(
            sas.count() <= 4,
            "{} has {names:?} at {} ms",
            router.identity,
            self.now
        );
        self.looks += 1;
        self.routers[at].state = Some(state);
    }

    fn command(&mut self, at: usize, command: Command<'_>) -> Result<(), CommandError> {
        let now = Instant::from_millis(self.now);
        self.call(at, "a command", |engine| engine.handle_command(now, command))
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            let now = Instant::from_millis(self.now);
            let mut next = end;
            let mut flying = Vec::new();
            for at in self.awake() {
                let mut buffer = [0; 1232];
                loop {
                    match self.call(at, "a poll", |engine| engine.poll(now, &mut buffer)) {
                        Output::Transmit { len, to, .. } => {
                            flying.push((self.routers[at].address, to, buffer[..len].to_vec()));
                        }
                        Output::Event(_) => {}
                        Output::Idle { next: wake } => {
                            next = wake.map_or(next, |(at, _)| next.min(at.as_millis()));
                            break;
                        }
                    }
                }
            }
            if !flying.is_empty() {
                next = self.now + 1;
            }
            self.now = next;
            let now = Instant::from_millis(next);
            for (from, to, octets) in flying {
                for at in self.awake() {
                    let address = self.routers[at].address;
                    if address != from && (to.ip().is_multicast() || address == to) {
                        let recv = Recv {
                            from,
                            to,
                            hop_limit: Some(255),
                        };
                        let mut datagram = octets.clone();
                        self.call(at, "a datagram", |engine| {
                            engine.handle_datagram(now, recv, &mut datagram)
                        });
                    }
                }
                self.sent.push((from, to, octets));
            }
        }
    }

    fn awake(&self) -> Vec<usize> {
        let up = |at: &usize| !self.routers[*at].asleep && !self.routers[*at].place.is_empty();
        (0..self.routers.len()).filter(up).collect()
    }

    fn engine(&self, at: usize) -> &Inline {
        &self.routers[at].place[0]
    }

    /// The router with this role.
    fn who(&self, role: Role, but: usize) -> usize {
        let mut awake = self.awake().into_iter().filter(|at| *at != but);
        awake.find(|at| self.engine(*at).role() == role).unwrap()
    }

    /// The names of all that is in a router's memory.
    fn holds(&self, at: usize) -> Vec<String> {
        self.leaks
            .as_ref()
            .map_or_else(Vec::new, |leaks| found(leaks, &memory(&self.routers[at].place)))
    }

    /// After a time without exchanges a router has no secret of any, and IKE SAs with nobody but those registered.
    fn rests(&self, at: usize) {
        let names = self.holds(at);
        let router = &self.routers[at];
        for kind in ["DH secret", "g^ir", "SKEYSEED", "SK_p", "SK_d"] {
            assert!(
                !names.iter().any(|name| name.starts_with(kind)),
                "{} at {} ms: {names:?}",
                router.identity,
                self.now
            );
        }
        let mut with: Vec<String> = Vec::new();
        for name in names.iter().filter(|name| name.starts_with("IKE SA")) {
            let peers = self.engine(at).peers().filter(|peer| peer.registered);
            let peer = peers
                .map(|peer| peer.identity.to_string())
                .find(|peer| name.contains(peer.as_str()));
            with.push(peer.unwrap_or_else(|| panic!("{} at {} ms: {names:?}", router.identity, self.now)));
        }
        let all = with.len();
        with.dedup();
        assert_eq!(all, with.len(), "one IKE SA for each peer: {names:?}");
    }

    /// Drops a router: nothing is left.
    fn drop(&mut self, at: usize) {
        let before = self.holds(at);
        if self.leaks.is_some() {
            println!("{} held {}", self.routers[at].identity, before.join(", "));
            assert!(before.iter().any(|name| name == "the manual key"), "{before:?}");
        }
        self.routers[at].place.clear();
        let after = self.holds(at);
        assert!(
            after.is_empty(),
            "{} was dropped and left {after:?}",
            self.routers[at].identity
        );
    }
}

fn manual() -> ManualKey {
    ManualKey {
        protocol: RoutingProtocol::Ospfv2,
        algorithm: RoutingAlgorithm::HmacSha256,
        id: 7,
        secret: heapless::Vec::from_slice(MANUAL).unwrap(),
    }
}

#[inline(never)]
fn tables(count: usize) -> Vec<Tables> {
    std::iter::repeat_with(Tables::default).take(count).collect()
}

/// So deep that what the caller does afterwards does not reach there.
#[inline(never)]
fn far_below<T>(work: impl FnOnce() -> T) -> T {
    let pad = [0_u8; 2 * GAP];
    std::hint::black_box(&pad);
    let result = work();
    std::hint::black_box(&pad);
    result
}

/// Octets of this process, read from outside the program's own view of them.
fn read(at: usize, len: usize) -> Vec<u8> {
    let mut octets = vec![0; len];
    let file = File::open("/proc/self/mem").expect("a process can read itself");
    file.read_exact_at(&mut octets, at as u64)
        .expect("the place is mapped");
    octets
}

/// The octets of all the room that a vector has.
fn memory<T>(place: &Vec<T>) -> Vec<u8> {
    read(place.as_ptr().addr(), size_of::<T>() * place.capacity())
}

fn hex(kind: &str, octets: &[u8]) -> String {
    let digits: String = octets[..4].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{kind} {digits}")
}

/// What went over the link in the clear: public values and nonces.
fn shown(link: &Link) -> HashSet<Vec<u8>> {
    let init = link
        .sent
        .iter()
        .filter(|(_, _, octets)| Header::of(octets).unwrap().exchange == peek::IKE_SA_INIT);
    let payloads = init.flat_map(|(_, _, octets)| peek::payloads(octets));
    let payloads = payloads.filter(|payload| [peek::KE, peek::NONCE].contains(&payload.kind));
    payloads
        .map(|payload| payload.body[payload.body.len() - 32..].to_vec())
        .collect()
}

/// All the secrets of a life that is over: what was drawn and never shown, and what was derived of it.
fn secrets(link: &Link) -> Leaks {
    let mut leaks = Leaks::default();
    leaks.add("the manual key", MANUAL);
    let shown = shown(link);
    for router in &link.routers {
        let drawn = router.drawn.borrow();
        for (at, octets) in drawn.iter().enumerate() {
            match octets.len() {
                68 => {
                    leaks.add(&hex("Rekey SA", octets), octets);
                    let spi = drawn[at - 1].as_slice().try_into().unwrap();
                    let keys = RekeySaKeys::from_octets(&octets.as_slice().try_into().unwrap(), &spi);
                    leaks.add(&hex("Rekey SA", octets), keys.gsk_h.expose());
                }
                32 if link.traffic.contains(octets) => leaks.add(&hex("traffic key", octets), octets),
                32 if shown.contains(&DhSecret::generate(&mut Repeating(octets.clone())).public()[..]) => {
                    leaks.add("DH secret", octets);
                }
                32 if !shown.contains(&octets[..]) => leaks.add("own secret", octets),
                _ => {}
            }
        }
    }
    for exchange in exchanges(link) {
        let (keys, names) = (exchange.keys, exchange.names);
        leaks.add("g^ir", &exchange.shared);
        leaks.add("SKEYSEED", &exchange.seed);
        leaks.add("SK_d", keys.sk_d.expose());
        leaks.add("SK_p", keys.sk_pi.expose());
        leaks.add("SK_p", keys.sk_pr.expose());
        for key in [&keys.sk_ei, &keys.sk_er] {
            leaks.add(&names, key.expose());
        }
        leaks.add(&names, key_wrap_key(&keys.sk_d).expose());
    }
    leaks
}

struct Exchange {
    /// Which it is and whose.
    names: String,
    shared: Vec<u8>,
    seed: Vec<u8>,
    keys: IkeKeys,
}

/// Every exchange that came to keys: from the secrets that were drawn and the messages that went by.
fn exchanges(link: &Link) -> Vec<Exchange> {
    let drawn = link
        .routers
        .iter()
        .flat_map(|router| router.drawn.borrow().clone());
    let secrets: Vec<DhSecret> = drawn
        .filter(|octets| octets.len() == 32)
        .map(|octets| DhSecret::generate(&mut Repeating(octets)))
        .collect();
    let part = |octets: &[u8], kind: u8, skip: usize| -> Option<Vec<u8>> {
        let payload = peek::payloads(octets)
            .into_iter()
            .find(|payload| payload.kind == kind)?;
        Some(payload.body[skip..].to_vec())
    };
    let init = |response: bool| {
        link.sent.iter().filter(move |(_, _, octets)| {
            let header = Header::of(octets).unwrap();
            header.exchange == peek::IKE_SA_INIT && header.is_response() == response
        })
    };
    let name = |address: &SocketAddr| {
        let mut routers = link.routers.iter();
        let router = routers.find(|router| router.address == *address).unwrap();
        router.identity.to_string()
    };
    let mut all = Vec::new();
    for (from, to, request) in init(false) {
        let (Some(public), Some(ni)) = (part(request, peek::KE, 4), part(request, peek::NONCE, 0)) else {
            continue;
        };
        let Some(secret) = secrets.iter().find(|secret| secret.public()[..] == public[..]) else {
            continue;
        };
        for (_, _, response) in init(true).filter(|(_, _, response)| response[..8] == request[..8]) {
            let (Some(theirs), Some(nr)) = (part(response, peek::KE, 4), part(response, peek::NONCE, 0))
            else {
                continue;
            };
            let header = Header::of(response).unwrap();
            let shared = secret.agree(&theirs).unwrap();
            all.push(Exchange {
                names: hex(&format!("IKE SA {}+{}", name(from), name(to)), &header.spi_i),
                seed: skeyseed(&ni, &nr, &shared).expose().to_vec(),
                keys: IkeKeys::derive(&shared, &ni, &nr, &header.spi_i, &header.spi_r),
                shared: shared.expose().to_vec(),
            });
        }
    }
    all
}

/// Whether all is in memory that should be there, by kind.
fn found(leaks: &Leaks, octets: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = leaks.all_in_octets(octets).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// A life of three routers: they join, keys and Rekey SAs are rolled over, the office goes from hand to hand, one is
/// evicted, one sleeps, the GCKS crashes, an heir takes over and leaves.
fn life(proof: Proof, leaks: Option<Leaks>) -> Link {
    let mut link = Link::new(3, proof, leaks);
    let none = usize::MAX;
    link.run(25_000);
    let gcks = link.who(Role::Gcks, none);
    let (reason, protocol) = (RekeyReason::Operator, RoutingProtocol::Ospfv2);
    link.command(gcks, Command::Rekey { protocol, reason }).unwrap();
    link.run(10_000);
    (0..3).for_each(|at| link.rests(at));
    link.command(gcks, Command::HandOff).unwrap();
    link.run(120_000);
    (0..3).for_each(|at| link.rests(at));
    let gcks = link.who(Role::Gcks, none);
    let gone = (gcks + 1) % 3;
    let identity = link.routers[gone].identity.clone();
    link.command(gcks, Command::Evict(&identity)).unwrap();
    assert!(
        !link
            .holds(gcks)
            .iter()
            .any(|name| name.starts_with("IKE SA") && name.contains(&identity.to_string()))
    );
    link.run(30_000);
    (0..3).for_each(|at| link.rests(at));
    let gcks = link.who(Role::Gcks, gone);
    let member = link.who(Role::Member, gone);
    link.routers[member].asleep = true;
    link.run(60_000);
    link.routers[member].asleep = false;
    link.run(60_000);
    assert_eq!(link.engine(member).counters().pauses, 1);
    assert_eq!(link.who(Role::Gcks, gone), gcks);
    (0..3).for_each(|at| link.rests(at));
    link.drop(gcks);
    link.drop(gone);
    link.run(60_000);
    assert_eq!(link.engine(member).role(), Role::Gcks);
    link.command(member, Command::Leave).unwrap();
    link.run(1000);
    assert_eq!(link.engine(member).role(), Role::Left);
    let kept = link.holds(member);
    let own = |name: &String| name == "own secret" || name == "the manual key";
    assert!(kept.iter().all(own), "{kept:?} after the group was left");
    link.drop(member);
    link
}

/// The life is lived twice: once to learn all its secrets, and once more, the same, to look for them.
fn wiped(proof: Proof) {
    let learnt = life(proof, None);
    let leaks = secrets(&learnt);
    assert!(learnt.traffic.len() > 3 && leaks.len() > 1000);
    let link = life(proof, Some(leaks));
    assert_eq!(link.sent, learnt.sent, "the same life twice");
    println!("{} looks into memory", link.looks);
    assert!(link.looks > 30);
}

#[test]
fn an_engine_leaves_no_key_behind_with_pre_shared_keys() {
    wiped(Proof::PairKeys);
}

#[test]
fn an_engine_leaves_no_key_behind_with_raw_public_keys() {
    wiped(Proof::Signatures);
}

/// What a host hands in is in the engine's memory once, however its octets lay on the stack that the engine was made on:
/// no part of the engine that is not set has them.
#[test]
fn an_engine_that_was_made_has_each_key_once() {
    let octets: [u8; 32] = std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0x5a);
    let mut leaks = Leaks::default();
    leaks.add("the manual key", MANUAL);
    leaks.add("the resumed key", &octets);
    zeroize::zeroize_stack::<{ 4 * DEPTH }>();
    let tables = tables(1).pop().unwrap();
    let mut place = far_below(|| {
        let own = Identity::fqdn("r1").unwrap();
        let mut settings = Settings::new("lan", own.clone(), SocketAddr::from(([10, 9, 0, 1], 848)));
        assert!(settings.manual_keys.push(manual()).is_ok());
        let resumed = ResumedKey {
            id: 9,
            key: Secret::from_bytes(octets),
            usage: KeyUse::Sending,
            lifetime: Duration::from_secs(60),
            protocols: heapless::Vec::from_slice(&[(RoutingProtocol::Ospfv2, RoutingAlgorithm::HmacSha256)])
                .unwrap(),
        };
        assert!(settings.resumed_keys.push(resumed).is_ok());
        let config = Config::new(settings).unwrap();
        let store = Store::new(&own, Proof::PairKeys);
        far_below(|| litter(&octets));
        vec![Engine::new(config, store, Remembering::new(0).0, tables, Instant::ZERO).unwrap()]
    });
    assert_eq!(place[0].resumable_keys(Instant::ZERO).count(), 1);
    let held: Vec<_> = leaks.all_in_octets(&memory(&place)).map(str::to_owned).collect();
    let count = |name| held.iter().filter(|held| *held == name).count();
    assert_eq!(count("the manual key"), MANUAL.len() - WINDOW + 1);
    assert_eq!(count("the resumed key"), octets.len() - WINDOW + 1);
    place.clear();
    assert!(found(&leaks, &memory(&place)).is_empty());
}

/// Leaves copies of a key all over the stack below.
#[inline(never)]
fn litter(key: &[u8; 32]) {
    std::hint::black_box(&[*key; 3 * GAP / 32]);
}

/// The search is able to fail: what is dropped without being wiped is found, and what is left on the stack.
#[test]
fn what_is_not_wiped_is_found() {
    let mut leaks = Leaks::default();
    leaks.add("a key", MANUAL);
    let mut place = vec![<[u8; 26]>::try_from(MANUAL).unwrap()];
    assert_eq!(found(&leaks, &memory(&place)), ["a key"]);
    place.clear();
    assert_eq!(found(&leaks, &memory(&place)), ["a key"]);
}
