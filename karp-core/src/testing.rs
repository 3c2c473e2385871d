//! A node for unit tests, whose inside can be set up and looked at. What only behaviour shows is tested on a whole LAN
//! (`tests/lan`); what can be said of one part alone is said beside it, with the help of this.

use core::net::{Ipv4Addr, SocketAddr};
use std::boxed::Box;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use crate::{
    config::{Config, Settings},
    crypto::{DhSecret, IkeKeys, RekeySaKeys, Secret, SigningKey, shared_key_auth},
    election::{Input, Survey},
    engine::Engine,
    exchange::IkeSa,
    group::TrafficKey,
    identity::{AuthMethod, Credentials, Grant, Identity},
    io::{MessageKind, Output},
    node::{Core, RekeySa},
    peer::{KnownInstance, Peer, Registrant, Shows},
    storage::{Fixed, Handle},
    stranger::Stranger,
    time::{Duration, Instant},
    wire::{
        ElectionFlags, ElectionState, KeyState, MAX_DATAGRAM, NodeState, ProtocolList, gsa::Keyed, numbers,
    },
};

/// Identities that begin so may join and never serve.
pub(crate) const MEMBER_ONLY: &str = "member";
/// Identities that begin so may nothing.
pub(crate) const OUTSIDER: &str = "outsider";
/// Identities that begin so have no credential in common with anybody.
pub(crate) const KEYLESS: &str = "keyless";

/// A credential store: everybody is known by name, by one shared key or by a key pair made of the name.
pub(crate) struct Store {
    me: Identity,
    signs: bool,
    secret: &'static [u8],
}

impl Store {
    pub(crate) fn pair(identity: &Identity) -> SigningKey {
        let mut seed = [7; 32];
        for (to, from) in seed.iter_mut().zip(identity.octets()) {
            *to = *from;
        }
        SigningKey::from_seed(&Secret::from_bytes(seed))
    }
}

fn is_named(identity: &Identity, start: &str) -> bool {
    identity.octets().starts_with(start.as_bytes())
}

impl Credentials for Store {
    fn grant(&self, identity: &Identity) -> Grant {
        if is_named(identity, OUTSIDER) {
            Grant::NONE
        } else if is_named(identity, MEMBER_ONLY) {
            Grant::MEMBER
        } else {
            Grant::FULL
        }
    }
    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        let method = if self.signs {
            AuthMethod::Signature
        } else {
            AuthMethod::SharedKey
        };
        (!is_named(peer, KEYLESS)).then_some(method)
    }
    fn shared_key_auth(&self, _: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        (!self.signs).then(|| shared_key_auth(self.secret, parts))
    }
    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        self.signs.then(|| Self::pair(&self.me).sign(parts))
    }
    fn public_key(&self) -> Option<[u8; 32]> {
        self.signs.then(|| Self::pair(&self.me).public())
    }
    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        Some(Self::pair(peer).public())
    }
    fn is_shared(&self, _: &Identity) -> bool {
        false
    }
}

/// A node with small tables: 8 peers, 10 keys, 8 handshakes, 4 requests, 4 strangers. Hello 1 s, hold 4 s.
pub(crate) struct Bench {
    engine: Engine<Store, ChaCha8Rng, Box<Fixed<8, 10, 8, 4, 4>>>,
}

/// How a node proves itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// By the key that all share.
    SharedKey,
    /// By another key than the others have.
    WrongKey,
    /// By raw Ed25519 public keys.
    Signature,
}

/// A datagram that a node sent.
pub(crate) struct Sent {
    pub(crate) kind: MessageKind,
    pub(crate) to: SocketAddr,
    pub(crate) octets: std::vec::Vec<u8>,
}

impl Bench {
    /// The node with this name at the address with this number.
    pub(crate) fn new(name: &str, number: u8) -> Self {
        Self::with(name, number, Proof::SharedKey, |_| {})
    }

    /// A node with other settings than the defaults.
    pub(crate) fn with(name: &str, number: u8, proof: Proof, change: impl FnOnce(&mut Settings)) -> Self {
        let me = id(name);
        let mut settings = Settings::new("lan", me.clone(), address(number));
        settings.router_id = number.into();
        change(&mut settings);
        let store = Store {
            me,
            signs: proof == Proof::Signature,
            secret: if proof == Proof::WrongKey {
                b"a key that nobody else has"
            } else {
                b"the key that all of them share"
            },
        };
        let engine = Engine::new(
            Config::new(settings).unwrap(),
            store,
            ChaCha8Rng::seed_from_u64(number.into()),
            Box::default(),
            Instant::ZERO,
        );
        Self {
            engine: engine.unwrap(),
        }
    }

    /// The inside at `ms`.
    pub(crate) fn at(&mut self, ms: u64) -> Core<'_> {
        let mut core = self.engine.core();
        core.now = at(ms);
        core.node.now = core.now;
        core
    }

    /// A node that joined the group at 0 and looks for a GCKS.
    pub(crate) fn joined(name: &str, number: u8) -> Self {
        let mut bench = Self::new(name, number);
        bench.at(0).step(Input::Join);
        bench
    }

    /// A node that took office at 0.
    pub(crate) fn in_office(name: &str, number: u8) -> Self {
        Self::new(name, number).serving()
    }

    /// This node, in office from 0 on as the only one that is heard.
    pub(crate) fn serving(mut self) -> Self {
        let mut core = self.at(0);
        core.step(Input::Join);
        core.step(Input::WaitOver(Survey {
            may_serve: true,
            ..Survey::default()
        }));
        assert!(core.node.office.is_some());
        self
    }

    /// All that this node sends at `ms`.
    pub(crate) fn drain(&mut self, ms: u64) -> std::vec::Vec<Sent> {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut all = std::vec::Vec::new();
        loop {
            match self.engine.poll(at(ms), &mut buffer) {
                Output::Transmit { len, to, kind } => all.push(Sent {
                    kind,
                    to,
                    octets: buffer[..len].to_vec(),
                }),
                Output::Event(_) => {}
                Output::Idle { .. } => return all,
            }
        }
    }

    /// The one message of this kind that this node sends at `ms`.
    pub(crate) fn one(&mut self, ms: u64, kind: MessageKind) -> Sent {
        let mut all = self.drain(ms).into_iter().filter(|sent| sent.kind == kind);
        let one = all.next().unwrap();
        assert!(all.next().is_none(), "more than one {kind:?}");
        one
    }
}

pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

pub(crate) fn id(name: &str) -> Identity {
    Identity::fqdn(name).unwrap()
}

/// The address of the router with this number.
pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(192, 0, 2, number).into(), 848)
}

/// What a node says of itself: priority 100, router id 1, hello 1 s, hold 4 s.
pub(crate) fn claim(state: NodeState) -> ElectionState {
    ElectionState {
        state,
        flags: ElectionFlags::default(),
        hold_multiplier: 4,
        priority: 100,
        interval_ms: 1000,
        router_id: 1,
        rekey_sa: None,
        generation: 0,
        members: 0,
    }
}

/// The instance that the router with this number announces itself under.
pub(crate) fn instance(number: u8) -> [u8; 8] {
    [number; 8]
}

/// A Rekey SA made of one octet.
pub(crate) fn rekey_sa(octet: u8) -> RekeySa {
    let spi = [octet; 16];
    let mut rng = ChaCha8Rng::seed_from_u64(octet.into());
    RekeySa::new(spi, &RekeySaKeys::random(&mut rng, &spi), None, 0)
}

/// A traffic key that keys OSPFv2 and lives for an hour from the origin on.
pub(crate) fn key(id: u16, state: KeyState) -> TrafficKey {
    let mut protocols = ProtocolList::new();
    let _ = protocols.push(Keyed {
        protocol: numbers::RoutingProtocol::OSPFV2,
        algorithm: numbers::Algorithm::HMAC_SHA256,
    });
    let [high, low] = id.to_be_bytes();
    let mut octets = [0x5a; 32];
    (octets[0], octets[1]) = (high, low);
    TrafficKey {
        state,
        was_active: state == KeyState::Active,
        ..TrafficKey::pending(id, Secret::from_bytes(octets), at(3_600_000), protocols)
    }
}

/// A registrant that was given the state at `ms`, was heard then and counts.
pub(crate) fn registrant(ms: u64) -> Registrant {
    Registrant {
        given: true,
        live: true,
        acked: None,
        has_next_sa: false,
        silent: false,
        merging: None,
        office: false,
        confirmed: true,
        heard: at(ms),
        asked: at(ms),
        shows: Shows::default(),
    }
}

impl Core<'_> {
    /// A peer known by name, heard at `ms` in this state.
    pub(crate) fn add_peer(&mut self, name: &str, number: u8, state: NodeState, ms: u64) -> Handle {
        let mut peer = Peer::new(id(name), address(number));
        peer.claim = Some(claim(state));
        peer.heard = Some(at(ms));
        peer.instance = Some(KnownInstance {
            instance: instance(number),
            next: 0,
            proved: false,
        });
        self.peers.insert_peer(peer).unwrap()
    }

    /// A live registrant of this node's office, heard at `ms`.
    pub(crate) fn add_member(&mut self, name: &str, number: u8, ms: u64) -> Handle {
        let row = self.add_peer(name, number, NodeState::Member, ms);
        self.peers.get_mut(row).unwrap().registrant = Some(registrant(ms));
        row
    }

    /// A row that a test changes as it likes: every note that there may be work in it is made.
    pub(crate) fn peer_mut(&mut self, row: Handle) -> &mut Peer {
        self.node.replies_owed = true;
        self.node.pushes_owed = true;
        self.node.joins_untold = true;
        if let Some(office) = self.node.office.as_mut() {
            office.merges = true;
            office.formers_until = Instant::END;
            office.registrants_due = None;
        }
        self.peers.get_mut(row).unwrap()
    }

    pub(crate) fn registrant_of(&mut self, row: Handle) -> &mut Registrant {
        self.peer_mut(row).registrant.as_mut().unwrap()
    }

    /// An IKE SA with nobody in particular, in which this node was the initiator or not.
    pub(crate) fn test_sa(&mut self, initiator: bool) -> IkeSa {
        let (own, theirs) = (DhSecret::generate(self.rng), DhSecret::generate(self.rng));
        let shared = own.agree(&theirs.public()).unwrap();
        let (mut spi_i, mut spi_r) = ([0; 8], [0; 8]);
        self.rng.fill_bytes(&mut spi_i);
        self.rng.fill_bytes(&mut spi_r);
        let keys = IkeKeys::derive(&shared, &[1; 32], &[2; 32], &spi_i, &spi_r);
        IkeSa::new(&keys, spi_i, spi_r, initiator, 0)
    }

    /// A node known by hints alone, heard at `ms`.
    pub(crate) fn add_stranger(&mut self, name: &str, number: u8, claim: ElectionState, ms: u64) -> Handle {
        let stranger = Stranger {
            address: address(number),
            identity: id(name),
            instance: instance(number),
            claim,
            heard: at(ms),
        };
        self.strangers.insert(stranger).unwrap()
    }
}

/// The span of so many seconds.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
