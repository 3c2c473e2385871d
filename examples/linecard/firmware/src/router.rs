//! One router of the card: an engine with tables of fixed size, and what is told of it.

use core::{
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use chacha20::ChaCha20Rng;
use karp_core::{
    Config, Duration, Engine, Event, Identity, Instant, Role, Settings, algorithm::RoutingProtocol,
    config::DEFAULT_PORT, storage::Fixed,
};
use linecard_link::console::{Activity, Proof, Status};
use rand_core::SeedableRng as _;

use crate::store::Store;

/// Tables for four peers, and the least of everything else that the engine takes.
pub(crate) type Tables<const PEERS: usize> = Fixed<PEERS, 10, 2, 2, 2>;
/// An engine on tables that lie elsewhere.
pub(crate) type Router = Engine<Store, ChaCha20Rng, &'static mut Tables<4>>;

/// Where a router goes: memory that is there from the start.
pub(crate) struct Room {
    /// For the engine.
    pub(crate) router: &'static mut MaybeUninit<Router>,
    /// For its tables.
    pub(crate) tables: &'static mut Tables<4>,
}

/// Who a router is.
pub(crate) struct Place {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its address's last octet and its router id.
    pub(crate) number: u8,
    /// Its election priority.
    pub(crate) priority: u16,
}

impl Place {
    /// Where it sends from.
    pub(crate) const fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, self.number), DEFAULT_PORT)
    }
}

/// A router at `place` that knows `peer`. `None`, and a log line, if something about it is not valid.
pub(crate) fn router(
    place: &Place,
    peer: &str,
    proof: &Proof,
    entropy: &[u8; 32],
    room: Room,
    now: Instant,
) -> Option<&'static mut Router> {
    let own = Identity::fqdn(place.name)?;
    let settings = Settings {
        router_id: u64::from(place.number),
        priority: place.priority,
        hello: Duration::from_millis(250),
        min_rekey: Duration::from_secs(1),
        dtd: Duration::from_secs(2),
        ..Settings::new("linecard", own.clone(), SocketAddr::V4(place.address()))
    };
    let store = Store::new(own, Identity::fqdn(peer)?, proof)?;
    let config = Config::new(settings).ok()?;
    let engine = Engine::new(config, store, ChaCha20Rng::from_seed(*entropy), room.tables, now).ok()?;
    Some(room.router.write(engine))
}

/// How `router` fares.
pub(crate) fn status(router: &Router, now: Instant) -> Status {
    let table = router.key_table();
    let sending = table.sending(RoutingProtocol::Ospfv2, now);
    Status {
        activity: match router.role() {
            Role::Left | Role::Initial => Activity::Initial,
            Role::Member => Activity::Member,
            Role::Gcks => Activity::Gcks,
        },
        key: sending.and_then(|row| row.fingerprint().map(|mark| (row.id, mark.0))),
        keys: u8::try_from(table.rows(now).count()).unwrap_or(u8::MAX),
    }
}

/// Logs the key that `router` sends with, when that has changed. karp itself logs the rest.
pub(crate) fn tell(name: &str, router: &Router, event: &Event, now: Instant) {
    if let Event::KeyActivated { .. } = event
        && let Some((id, mark)) = status(router, now).key
    {
        defmt::info!("{=str} sends with key {=u16} {=u32:08x}", name, id, u32::from_be_bytes(mark));
    }
}
