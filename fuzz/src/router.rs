//! One router: an engine, or none while it is down, and what its host remembers.

use std::net::SocketAddr;

use karp_core::{
    Config, Duration, Engine, Instant, Settings,
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{Expiry, ManualKey, ProtocolPolicy, ResumedKey},
    storage::Fixed,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::store::{Store, identity};

/// How many routers there are.
pub const COUNT: usize = 3;
/// The most octets that a message may have (PROTOCOL.md section 2).
pub const LIMIT: usize = 1232;

/// Tables that three routers fill.
pub type FuzzEngine = Engine<Store, ChaCha8Rng, Box<Fixed<4, 10, 4, 4, 4>>>;

/// What kind of group it is: one octet of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options(pub u8);

impl Options {
    pub const fn signatures(self) -> bool {
        self.0 & 1 != 0
    }
    pub const fn confirm_installs(self) -> bool {
        self.0 & 2 != 0
    }
    pub const fn controller_signatures(self) -> bool {
        self.0 & 4 == 0
    }
    pub const fn reboot_exempt(self) -> bool {
        self.0 & 8 != 0
    }
    pub const fn fail_closed(self) -> bool {
        self.0 & 16 != 0
    }
    pub const fn manual_keys(self) -> bool {
        self.0 & 32 != 0
    }
    pub const fn second_may_not_serve(self) -> bool {
        self.0 & 64 != 0
    }
    pub const fn preempt(self) -> bool {
        self.0 & 128 != 0
    }
}

/// Where router `at` is reached.
pub fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, at as u8 + 1], 848))
}

/// Where all are reached.
pub fn multicast() -> SocketAddr {
    SocketAddr::from(([224, 0, 0, 254], 848))
}

/// What router `at` is told. Spans are short, so that a few minutes hold every timer.
pub fn settings(at: usize, options: Options) -> Settings {
    let mut settings = Settings::new("lan", identity(at), address(at));
    settings.router_id = at as u64 + 1;
    settings.key_lifetime = Duration::from_secs(60);
    settings.rekey_sa_lifetime = Duration::from_secs(100);
    settings.dtd = Duration::from_secs(5);
    settings.min_rekey = Duration::from_secs(2);
    settings.confirm_installs = options.confirm_installs();
    settings.controller_signatures = options.controller_signatures();
    settings.reboot_exempt = options.reboot_exempt();
    settings.preempt = options.preempt();
    if options.fail_closed() {
        settings.expiry = Expiry::FailClosed;
    }
    if options.second_may_not_serve() && at == 1 {
        settings.priority = 0;
    }
    let _ = settings.protocols.push(ProtocolPolicy {
        protocol: RoutingProtocol::Isis,
        algorithm: RoutingAlgorithm::HmacSha256,
        self_protecting: true,
    });
    if options.manual_keys() {
        let _ = settings.manual_keys.push(ManualKey {
            protocol: RoutingProtocol::Ospfv2,
            algorithm: RoutingAlgorithm::HmacSha256,
            id: 7,
            secret: heapless_secret(b"typed in by hand"),
        });
    }
    settings
}

fn heapless_secret(octets: &[u8]) -> heapless::Vec<u8, 64> {
    heapless::Vec::from_slice(octets).expect("a short secret")
}

/// A new engine for router `at`, in its `boot`-th boot, counted from 1. It has joined nothing yet.
pub fn engine(
    at: usize,
    boot: u32,
    options: Options,
    resumed: Vec<ResumedKey>,
    now: Instant,
) -> Box<FuzzEngine> {
    let mut settings = settings(at, options);
    for key in resumed {
        let _ = settings.resumed_keys.push(key);
    }
    let mut seed = [0; 32];
    seed[0] = at as u8 + 1;
    seed[4..8].copy_from_slice(&boot.to_be_bytes());
    let config = Config::new(settings).expect("the settings are valid");
    let engine = Engine::new(
        config,
        Store::new(at, options),
        ChaCha8Rng::from_seed(seed),
        Box::default(),
        now,
    );
    Box::new(engine.expect("the tables are large enough"))
}
