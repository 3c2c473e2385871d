//! One router of the card: an engine with tables of fixed size, and what is told of it.

use core::{
    array::from_fn,
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use chacha20::ChaCha20Rng;
use karp_core::{
    Config, Duration, Engine, Event, Identity, Instant, Role, Settings,
    algorithm::RoutingProtocol,
    config::DEFAULT_PORT,
    storage::{
        Fixed, HandshakeSlot, KeySlot, PeerSlot, SealedSlot, Slot, Slots, Storage, StrangerSlot, View,
    },
};
use linecard_link::console::{Activity, Proof, Status};
use rand_core::SeedableRng as _;
use static_cell::StaticCell;

use crate::store::Store;

/// Tables for so many peers, and the least of everything else that the engine takes.
pub(crate) type Tables<const PEERS: usize> = Fixed<PEERS, 10, 2, 2, 2>;
/// An engine on tables that lie elsewhere.
pub(crate) type Router = Engine<Store, ChaCha20Rng, Apart>;

/// Each table in a place of its own, so that none of them has to be moved there with the others.
pub(crate) struct Apart {
    peers: &'static mut [PeerSlot],
    keys: &'static mut [KeySlot],
    handshakes: &'static mut [HandshakeSlot],
    sealed: &'static mut [SealedSlot],
    strangers: &'static mut [StrangerSlot],
}

impl Storage for Apart {
    fn slots(&mut self) -> Slots<'_> {
        Slots {
            peers: self.peers,
            keys: self.keys,
            handshakes: self.handshakes,
            sealed: self.sealed,
            strangers: self.strangers,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            peers: self.peers,
            keys: self.keys,
            handshakes: self.handshakes,
            sealed: self.sealed,
            strangers: self.strangers,
        }
    }
}

/// The memory of a router, which is there from the start.
pub(crate) struct Memory {
    router: StaticCell<Router>,
    peers: StaticCell<[PeerSlot; 4]>,
    keys: StaticCell<[KeySlot; 10]>,
    handshakes: StaticCell<[HandshakeSlot; 2]>,
    sealed: StaticCell<[SealedSlot; 2]>,
    strangers: StaticCell<[StrangerSlot; 2]>,
}

/// Where a router goes.
pub(crate) struct Room {
    router: &'static mut MaybeUninit<Router>,
    tables: Apart,
}

impl Memory {
    /// Memory that nothing is in.
    pub(crate) const fn new() -> Self {
        Self {
            router: StaticCell::new(),
            peers: StaticCell::new(),
            keys: StaticCell::new(),
            handshakes: StaticCell::new(),
            sealed: StaticCell::new(),
            strangers: StaticCell::new(),
        }
    }

    /// Empty tables in it, and room for an engine.
    ///
    /// # Panics
    /// The second time.
    pub(crate) fn take(&'static self) -> Room {
        Room {
            router: self.router.uninit(),
            tables: Apart {
                peers: empty(&self.peers),
                keys: empty(&self.keys),
                handshakes: empty(&self.handshakes),
                sealed: empty(&self.sealed),
                strangers: empty(&self.strangers),
            },
        }
    }
}

#[inline(never)]
fn empty<T, const N: usize>(cell: &'static StaticCell<[Slot<T>; N]>) -> &'static mut [Slot<T>] {
    cell.init_with(|| from_fn(|_| Slot::default()))
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
    let store = Store::new(Identity::fqdn(place.name)?, Identity::fqdn(peer)?, proof)?;
    let entropy = ChaCha20Rng::from_seed(*entropy);
    Engine::new_in(room.router, config(place)?, store, entropy, room.tables, now).ok()
}

#[inline(never)]
fn config(place: &Place) -> Option<Config> {
    let settings = Settings {
        router_id: u64::from(place.number),
        priority: place.priority,
        hello: Duration::from_millis(500),
        // Long enough for an emulator that waits for a busy machine.
        hold_multiplier: 6,
        min_rekey: Duration::from_secs(1),
        dtd: Duration::from_secs(2),
        ..Settings::new(
            "linecard",
            Identity::fqdn(place.name)?,
            SocketAddr::V4(place.address()),
        )
    };
    Config::new(settings).ok()
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
        defmt::info!(
            "{=str} sends with key {=u16} {=u32:08x}",
            name,
            id,
            u32::from_be_bytes(mark)
        );
    }
}
