//! What a run is made of: its options, the routers' names and credentials, and their settings.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    ops::RangeInclusive,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context as _;
use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{ManualKey, ProtocolPolicy, Settings},
    crypto::{Secret, SigningKey},
    identity::{Grant, Identity},
    time::Duration,
};
use karp_std::credentials::{PreSharedKey, Proof, Store};
use rand_core::Rng as _;

use crate::{entropy::DemoEntropy, hello};

/// How many routers a run can have: the steps need three, and a hello has room for 32.
pub const ROUTERS: RangeInclusive<usize> = 3..=32;
/// How much loss a run can stand, in percent.
pub const LOSS: RangeInclusive<u8> = 0..=30;

/// Between two announcements of a router.
pub(super) const HELLO: Duration = Duration::from_millis(200);

/// The random streams of a run, by what they are for.
mod stream {
    pub(super) const NAMES: u64 = 0;
    pub(super) const CREDENTIALS: u64 = 1;
    pub(super) const STORY: u64 = 2;
    /// And from here on one for each start of each router.
    pub(super) const ROUTERS: u64 = 1000;
}

/// What to play.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many routers, [`ROUTERS`].
    pub routers: usize,
    /// The seed of all randomness; `None` to draw from the operating system. A run with a seed has keys that anybody
    /// can compute: it is for demonstrations only.
    pub seed: Option<u64>,
    /// The share of the protocol's own datagrams that each router loses, [`LOSS`]. Hellos are not lost: a lost hello
    /// would tell nothing about keys.
    pub loss: u8,
    /// Ed25519 credentials instead of a pre-shared key for each pair of routers.
    pub signed: bool,
    /// Set from outside to end the run.
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            routers: 3,
            seed: None,
            loss: 0,
            signed: false,
            stop: Arc::default(),
        }
    }
}

/// What does not change during a run.
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) group: String,
    /// Where the protocol's multicast goes.
    pub(super) multicast: SocketAddr,
    /// Where hellos go.
    pub(super) hellos: SocketAddrV4,
    /// Keeps the two ports from being given to another run.
    _reserved: [UdpSocket; 2],
    credentials: Credentials,
    manual: [u8; 32],
}

enum Credentials {
    /// `pairs[a][b]` with a > b.
    Pairs(Vec<Vec<[u8; 32]>>),
    Signers(Vec<[u8; 32]>),
}

impl Plan {
    pub(super) fn new(options: Options) -> anyhow::Result<Self> {
        anyhow::ensure!(
            ROUTERS.contains(&options.routers),
            "a run needs 3 to 32 routers, and {} were asked for: with two, nobody is left to agree with after an \
             eviction; more do not fit into a hello",
            options.routers
        );
        anyhow::ensure!(LOSS.contains(&options.loss), "loss must be 0 to 30 percent");
        // Which ports are free is not ours to choose, so names need not follow the seed either: two runs with one seed
        // at the same time must not meet.
        let group = format!("lan-{:08x}", DemoEntropy::new(None, stream::NAMES).next_u32());
        let (keying, multicast) = reserve().context("no UDP port is free on loopback")?;
        let (speaking, hellos) = reserve().context("no UDP port is free on loopback")?;
        let mut entropy = DemoEntropy::new(options.seed, stream::CREDENTIALS);
        let mut draw = || {
            let mut octets = [0; 32];
            entropy.fill_bytes(&mut octets);
            octets
        };
        let manual = draw();
        let credentials = if options.signed {
            Credentials::Signers((0..options.routers).map(|_| draw()).collect())
        } else {
            Credentials::Pairs(
                (0..options.routers)
                    .map(|router| (0..router).map(|_| draw()).collect())
                    .collect(),
            )
        };
        Ok(Self {
            options,
            group,
            multicast: multicast.into(),
            hellos,
            _reserved: [keying, speaking],
            credentials,
            manual,
        })
    }

    /// Randomness for the story itself: order and jitter.
    pub(super) fn story(&self) -> DemoEntropy {
        DemoEntropy::new(self.options.seed, stream::STORY)
    }

    /// Randomness for start number `boot` of a router. No two starts share a stream: a router that rebooted must not
    /// draw what it drew before.
    pub(super) fn entropy(&self, router: usize, boot: u32) -> DemoEntropy {
        let stream = stream::ROUTERS + (router as u64) * 1000 + u64::from(boot);
        DemoEntropy::new(self.options.seed, stream)
    }

    /// How long a router may be silent. On a lossy link it is given more intervals, as an operator would give it.
    pub(super) fn hold_multiplier(&self) -> u8 {
        match self.options.loss {
            0..=5 => 4,
            6..=10 => 5,
            _ => 8,
        }
    }

    /// What router `router` is told at its start. The first time it has the manual key that the network has used so
    /// far; that is gone from its configuration when it starts again.
    pub(super) fn settings(
        &self,
        router: usize,
        address: SocketAddr,
        priority: u16,
        first: bool,
    ) -> Settings {
        let mut settings = Settings::new(&self.group, identity(router), address);
        settings.multicast = self.multicast;
        settings.router_id = router as u64 + 1;
        settings.priority = priority;
        settings.preempt = true;
        settings.hello = HELLO;
        settings.hold_multiplier = self.hold_multiplier();
        settings.retransmit = Duration::from_millis(100);
        settings.min_rekey = Duration::from_millis(500);
        settings.dtd = Duration::from_secs(1);
        settings.protocols = hello::PROTOCOLS
            .into_iter()
            .map(|protocol| ProtocolPolicy {
                protocol,
                algorithm: RoutingAlgorithm::HmacSha256,
                // RFC 7602 guards IS-IS over restarts; RFC 5709 alone does not guard OSPFv2.
                self_protecting: protocol == RoutingProtocol::Isis,
            })
            .collect();
        if first {
            settings.manual_keys = hello::PROTOCOLS
                .into_iter()
                .map(|protocol| ManualKey {
                    protocol,
                    algorithm: RoutingAlgorithm::HmacSha256,
                    id: MANUAL_ID,
                    secret: self.manual.into_iter().collect(),
                })
                .collect();
        }
        settings
    }

    /// The credentials of `router`: every other router may join and serve, and is expected to take part before the
    /// network moves from its manual key to automatic ones.
    pub(super) fn store(&self, router: usize) -> anyhow::Result<Store> {
        let grant = Grant {
            expected: true,
            ..Grant::FULL
        };
        let mut store = Store::new(identity(router));
        if let Credentials::Signers(seeds) = &self.credentials {
            store = store.with_signing_key(signing_key(&seeds[router]));
        }
        for peer in (0..self.options.routers).filter(|peer| *peer != router) {
            let proof = match &self.credentials {
                Credentials::Pairs(keys) => {
                    Proof::PreSharedKey(PreSharedKey::new(&keys[peer.max(router)][peer.min(router)])?)
                }
                Credentials::Signers(seeds) => Proof::PublicKey(signing_key(&seeds[peer]).public()),
            };
            store.add_peer(identity(peer), grant, proof)?;
        }
        Ok(store)
    }
}

/// The id of the manual key.
pub(super) const MANUAL_ID: u16 = 1;

/// `r1` for router 0: what people call it.
pub(super) fn name(router: usize) -> String {
    format!("r{}", router + 1)
}

pub(super) fn identity(router: usize) -> Identity {
    #[allow(
        clippy::expect_used,
        reason = "three characters are neither none nor too many"
    )]
    Identity::fqdn(&name(router)).expect("a short name is an identity")
}

fn signing_key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_seed(&Secret::from_bytes(*seed))
}

/// A multicast address with a port that nobody else has now. The socket keeps the system from giving the port away.
fn reserve() -> std::io::Result<(UdpSocket, SocketAddrV4)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = socket.local_addr()?.port();
    Ok((socket, SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 254), port)))
}
