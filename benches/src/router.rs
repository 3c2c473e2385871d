//! Routers that run in memory, each with a clock of its own: the benches carry their datagrams and let time pass.

use std::{convert::Infallible, net::SocketAddr, rc::Rc};

use karp_core::{
    Config, Credentials, Duration, Engine, Grant, Handled, Identity, Instant, Output, Recv, Role, Settings,
    crypto::{Secret, SigningKey, shared_key_auth},
    identity::AuthMethod,
    io::MessageKind,
    storage::{HandshakeSlot, KeySlot, PeerSlot, SealedSlot, Slots, Storage, StrangerSlot, View},
};

/// The pre-shared key of every router here.
pub const SHARED_KEY: &[u8] = b"correct horse battery staple";

/// How the routers of a group prove themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// By one pre-shared key.
    SharedKey,
    /// By Ed25519 and raw public keys.
    Ed25519,
}

/// The credential store of one router: keys are derived from names, so every store knows everybody.
pub struct Store {
    proof: Proof,
    own: SigningKey,
    public: Rc<Vec<[u8; 32]>>,
}

impl Store {
    /// The store of router `n` of `group`.
    #[must_use]
    pub fn new(group: &Group, n: u16) -> Self {
        Self {
            proof: group.proof,
            own: signing_key(n),
            public: Rc::clone(&group.public),
        }
    }
}

/// The Ed25519 key of router `n`.
#[must_use]
pub fn signing_key(n: u16) -> SigningKey {
    let mut seed = [0x5e; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_seed(&Secret::from_bytes(seed))
}

/// The public keys of routers 0 to `count`.
#[must_use]
pub fn public_keys(count: u16) -> Rc<Vec<[u8; 32]>> {
    Rc::new((0..=count).map(|n| signing_key(n).public()).collect())
}

/// The name of router `n`; all have the same length, so that messages have the same sizes.
#[must_use]
pub fn identity(n: u16) -> Identity {
    Identity::fqdn(&format!("r{n:05}.example")).expect("a short name")
}

/// The number in a name.
fn number(identity: &Identity) -> Option<usize> {
    let digits = identity.octets().get(1..6)?;
    digits.iter().try_fold(0, |sum, digit| {
        Some(sum * 10 + usize::from(digit.checked_sub(b'0')?))
    })
}

impl Credentials for Store {
    fn grant(&self, _: &Identity) -> Grant {
        Grant::FULL
    }
    fn method(&self, _: &Identity) -> Option<AuthMethod> {
        Some(match self.proof {
            Proof::SharedKey => AuthMethod::SharedKey,
            Proof::Ed25519 => AuthMethod::Signature,
        })
    }
    fn shared_key_auth(&self, _: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        Some(shared_key_auth(SHARED_KEY, parts))
    }
    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        Some(self.own.sign(parts))
    }
    fn public_key(&self) -> Option<[u8; 32]> {
        (self.proof == Proof::Ed25519).then(|| self.own.public())
    }
    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        self.public.get(number(peer)?).copied()
    }
    fn is_shared(&self, _: &Identity) -> bool {
        self.proof == Proof::SharedKey
    }
}

/// A generator that costs next to nothing (SplitMix64): what is measured is the protocol. No host may use such a one.
pub struct Dice(u64);

impl Dice {
    /// A generator with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One octet.
    pub fn octet(&mut self) -> u8 {
        let mut octet = [0];
        rand_core::Rng::fill_bytes(self, &mut octet);
        octet[0]
    }
}

impl rand_core::TryRng for Dice {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(word ^ (word >> 31))
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for chunk in to.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Dice {}

/// Tables on the heap, of any size.
pub struct Tables {
    peers: Vec<PeerSlot>,
    keys: Vec<KeySlot>,
    handshakes: Vec<HandshakeSlot>,
    sealed: Vec<SealedSlot>,
    strangers: Vec<StrangerSlot>,
}

impl Tables {
    /// Room for so many peers, exchanges at once, requests at once and strangers.
    #[must_use]
    pub fn new(peers: usize, handshakes: usize, sealed: usize, strangers: usize) -> Self {
        fn slots<T: Default>(count: usize) -> Vec<T> {
            (0..count).map(|_| T::default()).collect()
        }
        Self {
            peers: slots(peers),
            keys: slots(10),
            handshakes: slots(handshakes),
            sealed: slots(sealed),
            strangers: slots(strangers),
        }
    }
}

impl Storage for Tables {
    fn slots(&mut self) -> Slots<'_> {
        Slots {
            peers: &mut self.peers,
            keys: &mut self.keys,
            handshakes: &mut self.handshakes,
            sealed: &mut self.sealed,
            strangers: &mut self.strangers,
        }
    }
    fn view(&self) -> View<'_> {
        View {
            peers: &self.peers,
            keys: &self.keys,
            handshakes: &self.handshakes,
            sealed: &self.sealed,
            strangers: &self.strangers,
        }
    }
}

/// What the routers of one group have in common.
#[derive(Clone)]
pub struct Group {
    /// How they prove themselves.
    pub proof: Proof,
    /// Whether the GCKS signs with a key of its term.
    pub controller_signatures: bool,
    /// The public keys of all of them.
    pub public: Rc<Vec<[u8; 32]>>,
}

/// A router and its clock.
pub struct Router {
    /// The engine.
    pub engine: Engine<Store, Dice, Tables>,
    /// Its time: routers share no clock.
    pub now: Instant,
    /// Where it sends from.
    pub address: SocketAddr,
}

/// A datagram on its way.
pub struct Sent {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Where it goes.
    pub to: SocketAddr,
    /// What it is.
    pub kind: MessageKind,
}

/// A buffer that holds any message.
pub type Buffer = [u8; 1232];

impl Router {
    /// Router `n` of `group`. The higher its number, the better it ranks. `seed` makes its instance.
    #[must_use]
    pub fn new(group: &Group, n: u16, tables: Tables, seed: u64) -> Self {
        let octets = n.to_be_bytes();
        let address = SocketAddr::from(([10, 0, octets[0], octets[1]], 848));
        let settings = Settings {
            router_id: n.into(),
            controller_signatures: group.controller_signatures,
            // A router may come back in a new instance and be given the keys at once: exchanges can be repeated.
            reboot_exempt: true,
            // Nothing but what is measured is to happen by itself.
            min_rekey: Duration::ZERO,
            dtd: Duration::from_secs(1),
            hold_multiplier: 255,
            key_lifetime: Duration::from_secs(30 * 24 * 3600),
            rekey_sa_lifetime: Duration::from_secs(300 * 24 * 3600),
            ..Settings::new("lan", identity(n), address)
        };
        let store = Store::new(group, n);
        let config = Config::new(settings).expect("a good configuration");
        let engine =
            Engine::new(config, store, Dice::new(seed), tables, Instant::ZERO).expect("tables large enough");
        Self {
            engine,
            now: Instant::ZERO,
            address,
        }
    }

    /// A router that joined and took office, for there is no other, and its first announcement in office.
    ///
    /// # Errors
    /// What did not happen.
    pub fn in_office(group: &Group, n: u16, tables: Tables) -> Result<(Self, Vec<u8>), String> {
        let mut router = Self::new(group, n, tables, u64::from(n));
        router.join()?;
        for _ in 0..10_000 {
            let sent = router.pass_time();
            let serves = router.engine.role() == Role::Gcks && router.generation_settled();
            let mut announced = sent
                .into_iter()
                .filter(|sent| sent.kind == MessageKind::Announcement);
            if let Some(announcement) = announced.next_back().filter(|_| serves) {
                return Ok((router, announcement.octets));
            }
        }
        Err("nobody took office".to_owned())
    }

    /// Whether the first key of its office is in use.
    fn generation_settled(&self) -> bool {
        self.engine.generation() >= 2
    }

    /// Begins to take part.
    ///
    /// # Errors
    /// The engine's.
    pub fn join(&mut self) -> Result<(), String> {
        let joined = self.engine.handle_command(self.now, karp_core::Command::Join);
        joined.map_err(|error| format!("join: {error:?}"))
    }

    /// Hands in a datagram that `from` sent to this router or to the group.
    pub fn handle(&mut self, from: SocketAddr, to: SocketAddr, octets: &mut [u8]) -> Handled {
        let recv = Recv {
            from,
            to,
            hop_limit: Some(255),
        };
        self.engine.handle_datagram(self.now, recv, octets)
    }

    /// The address of the group.
    #[must_use]
    pub fn multicast(&self) -> SocketAddr {
        self.engine.config().settings().multicast
    }

    /// Polls until there is nothing more to say; returns what was sent.
    pub fn drain(&mut self) -> Vec<Sent> {
        self.drain_to_deadline().0
    }

    /// As [`drain`](Self::drain), with the deadline that the engine named.
    fn drain_to_deadline(&mut self) -> (Vec<Sent>, Option<Instant>) {
        let mut sent = Vec::new();
        let mut buffer: Buffer = [0; 1232];
        loop {
            match self.engine.poll(self.now, &mut buffer) {
                Output::Transmit { len, to, kind } => sent.push(Sent {
                    octets: buffer[..len].to_vec(),
                    to,
                    kind,
                }),
                Output::Event(_) => {}
                Output::Idle { next } => return (sent, next.map(|(at, _)| at)),
            }
        }
    }

    /// Lets time pass to the next deadline; returns what was sent there.
    pub fn pass_time(&mut self) -> Vec<Sent> {
        let (mut sent, deadline) = self.drain_to_deadline();
        if let Some(deadline) = deadline {
            self.now = deadline;
            sent.extend(self.drain());
        }
        sent
    }

    /// Lets `span` pass, deadline by deadline; returns what was sent.
    pub fn pass(&mut self, span: Duration) -> Vec<Sent> {
        let end = self.now.after(span);
        let mut all = Vec::new();
        loop {
            let (sent, deadline) = self.drain_to_deadline();
            all.extend(sent);
            match deadline {
                Some(deadline) if deadline < end => self.now = deadline,
                Some(_) | None => break,
            }
        }
        self.now = end;
        all.extend(self.drain());
        all
    }

    /// Lets time pass until the next announcement goes out; `None` if none does.
    pub fn next_announcement(&mut self) -> Option<Vec<u8>> {
        for _ in 0..100 {
            let announced = self
                .pass_time()
                .into_iter()
                .find(|sent| sent.kind == MessageKind::Announcement);
            if let Some(announced) = announced {
                return Some(announced.octets);
            }
        }
        None
    }
}
