//! One router: a real engine, a virtual processor, two sockets, and what it counted.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
};

use karp_core::{
    Credentials, Engine, Grant, Identity, Settings,
    algorithm::RoutingProtocol,
    config::Config,
    crypto::shared_key_auth,
    identity::AuthMethod,
    io::{MessageKind, Recv, Role},
    time::Instant,
};
use rand_chacha::ChaCha8Rng;

use crate::{
    laboratory::{
        dice::generator,
        peek,
        room::{Room, Sizes},
    },
    link::{Link, Shape},
};

/// A message on the link.
pub(crate) struct Datagram {
    pub(crate) recv: Recv,
    pub(crate) kind: MessageKind,
    pub(crate) octets: Box<[u8]>,
}

/// The credential store of a router: it shares a key with each of the others, and each of them may join and serve.
pub(crate) struct Directory {
    me: Identity,
    routers: usize,
}

impl Directory {
    fn knows(&self, identity: &Identity) -> bool {
        number_of(identity).is_some_and(|number| (number as usize) < self.routers)
    }
}

/// The router whose name this is.
pub(crate) fn number_of(identity: &Identity) -> Option<Number> {
    let number: Number = identity.as_str()?.strip_prefix('r')?.parse().ok()?;
    number.checked_sub(1)
}

impl Credentials for Directory {
    fn grant(&self, identity: &Identity) -> Grant {
        if self.knows(identity) {
            Grant::FULL
        } else {
            Grant::NONE
        }
    }

    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        self.knows(peer).then_some(AuthMethod::SharedKey)
    }

    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let (low, high) = if self.me < *peer {
            (&self.me, peer)
        } else {
            (peer, &self.me)
        };
        let mut key = b"a simulated fleet's key of ".to_vec();
        key.extend_from_slice(low.octets());
        key.push(b'|');
        key.extend_from_slice(high.octets());
        self.knows(peer).then(|| shared_key_auth(&key, parts))
    }

    fn sign(&self, _: &[&[u8]]) -> Option<[u8; 64]> {
        None
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        None
    }

    fn peer_public_key(&self, _: &Identity) -> Option<[u8; 32]> {
        None
    }

    fn is_shared(&self, _: &Identity) -> bool {
        false
    }
}

/// Where in the memory of a link's routers one of them is.
pub(crate) type Number = u32;

/// What a router did to register since the phase began.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    /// Exchanges that it began: IKE_SA_INIT under a new SPI.
    pub(crate) begun: u32,
    /// IKE_SA_INIT and GSA_AUTH requests that went out again as the same octets.
    repeated: u32,
    seen: Vec<u64>,
}

impl Requests {
    fn note(&mut self, kind: MessageKind, octets: &[u8]) {
        let mut hasher = DefaultHasher::new();
        octets.hash(&mut hasher);
        let print = hasher.finish();
        if self.seen.contains(&print) {
            self.repeated += 1;
            return;
        }
        self.seen.push(print);
        // The cookie goes back under the same SPI.
        let returns = peek::notify(octets, peek::COOKIE).is_some();
        self.begun += u32::from(kind == MessageKind::InitRequest && !returns);
    }
}

/// A datagram that waits for the processor, and since when.
pub(crate) type Queued = (u64, Rc<Datagram>);

/// One router.
pub(crate) struct Router {
    pub(crate) engine: Option<Box<Engine<Directory, ChaCha8Rng, Room>>>,
    pub(crate) address: SocketAddr,
    /// When its engine wants to be polled, in ns.
    pub(crate) wake: Option<u64>,
    /// Until when its processor works, in ns.
    pub(crate) busy: u64,
    /// It was planned what it does when it is free.
    pub(crate) planned: bool,
    /// What waits at its unicast and at its multicast socket.
    pub(crate) sockets: [VecDeque<Queued>; 2],
    pub(crate) role: Role,
    /// The key that it sends with.
    pub(crate) active: Option<u16>,
    /// The GCKS that it follows.
    pub(crate) follows: Option<Number>,
    /// When it was powered on, in ns.
    pub(crate) started: u64,
    /// When the present phase's aim was reached, in ns.
    pub(crate) reached: Option<u64>,
    pub(crate) requests: Requests,
    /// Messages and octets sent in the present phase.
    pub(crate) sent: (u64, u64),
    /// The most datagrams that waited in the present phase.
    pub(crate) peak: usize,
}

impl Router {
    /// A router that is down.
    pub(crate) fn new(number: Number) -> Self {
        let [_, high, middle, low] = (number + 1).to_be_bytes();
        Self {
            engine: None,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, high, middle, low)), 848),
            wake: None,
            busy: 0,
            planned: false,
            sockets: [VecDeque::new(), VecDeque::new()],
            role: Role::Left,
            active: None,
            follows: None,
            started: 0,
            reached: None,
            requests: Requests::default(),
            sent: (0, 0),
            peak: 0,
        }
    }

    /// The router at this address.
    pub(crate) fn number_of(address: SocketAddr) -> Option<Number> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        let [_, high, middle, low] = ip.octets();
        Number::from_be_bytes([0, high, middle, low]).checked_sub(1)
    }

    /// Makes its engine. Who is no candidate for the office has the tables of a line card, and priority 0 (PROTOCOL.md
    /// section 5.1).
    pub(crate) fn boot(&mut self, number: Number, shape: &Shape, candidate: bool, now: Instant) {
        let Shape {
            routers,
            handshakes,
            seed,
            ..
        } = *shape;
        let identity = Identity::fqdn(&format!("r{}", number + 1)).expect("a short name");
        let mut settings = Settings::new("fleet", identity.clone(), self.address);
        settings.router_id = u64::from(number) + 1;
        let sizes = if candidate {
            Sizes {
                peers: routers.max(16),
                handshakes,
                ..Sizes::SERVER
            }
        } else {
            settings.priority = 0;
            Sizes {
                peers: 16,
                ..Sizes::LINE_CARD
            }
        };
        let directory = Directory {
            me: identity,
            routers,
        };
        let config = Config::new(settings).expect("the fleet's settings are valid");
        let entropy = generator(seed, u64::from(number) + 1);
        let engine = Engine::new(config, directory, entropy, Room::new(sizes), now);
        self.engine = Some(Box::new(engine.expect("the fleet's tables are large enough")));
    }

    /// It loses power and all its memory.
    pub(crate) fn crash(&mut self) {
        self.engine = None;
        self.wake = None;
        self.role = Role::Left;
        (self.active, self.follows, self.reached) = (None, None, None);
        self.sockets.iter_mut().for_each(VecDeque::clear);
    }

    /// A phase begins.
    pub(crate) fn begin(&mut self) {
        self.reached = None;
        self.requests = Requests::default();
        self.sent = (0, 0);
        self.peak = self.queue();
    }

    /// It sends a message.
    pub(crate) fn count(&mut self, kind: MessageKind, octets: &[u8]) {
        self.sent.0 += 1;
        self.sent.1 += octets.len() as u64;
        if matches!(kind, MessageKind::InitRequest | MessageKind::AuthRequest) {
            self.requests.note(kind, octets);
        }
    }

    /// How often a request went out again, for each exchange that was begun in the phase; `None` if there was none.
    pub(crate) fn repeats(&self) -> Option<f64> {
        let Requests { begun, repeated, .. } = self.requests;
        (begun > 0).then(|| f64::from(repeated) / f64::from(begun))
    }

    /// A member or the key server, with a key to send with.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.role, Role::Member | Role::Gcks) && self.active.is_some()
    }

    /// Id and octets of the key that its routing protocol sends with.
    pub(crate) fn key(&self, number: Number, now: u64) -> Option<(u16, Vec<u8>)> {
        let table = self.engine.as_ref()?.key_table();
        let row = table.sending(RoutingProtocol::Ospfv2, Link::clock(number, now))?;
        Some((row.id, row.octets().to_vec()))
    }

    /// Datagrams that wait.
    pub(crate) fn queue(&self) -> usize {
        self.sockets.iter().map(VecDeque::len).sum()
    }

    /// The datagram that waits longest.
    pub(crate) fn next_queued(&mut self) -> Option<Queued> {
        let [unicast, multicast] = &mut self.sockets;
        match (unicast.front(), multicast.front()) {
            (Some(one), Some(other)) if other.0 < one.0 => multicast.pop_front(),
            (Some(_), _) => unicast.pop_front(),
            (None, _) => multicast.pop_front(),
        }
    }
}
