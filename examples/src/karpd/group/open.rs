//! From a group's configuration to an endpoint: once at the start, and again whenever its address changes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use karp_core::{
    config::{Eviction, MAX_RESUMED, ManualKey, ResumedKey, Settings},
    identity::{AuthMethod, Credentials, Grant, Identity},
    keytable::RowState,
};
use karp_std::{
    credentials::Store,
    endpoint::Endpoint,
    entropy::OsEntropy,
    heap::Heap,
    sinks::{KeySet, SinkKey},
};

use crate::karpd::{config, place};

/// The endpoint of a group.
pub(super) type GroupEndpoint = Endpoint<SharedStore, OsEntropy, Heap>;

/// A credential store that a reload can replace under the engine. An exchange that runs meanwhile may fail, and is tried
/// again by the protocol.
#[derive(Clone)]
pub(super) struct SharedStore(Arc<RwLock<Store>>);

impl SharedStore {
    pub(super) fn new(store: Store) -> Self {
        Self(Arc::new(RwLock::new(store)))
    }

    pub(super) fn replace(&self, store: Store) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = store;
    }

    fn with<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Credentials for SharedStore {
    fn grant(&self, identity: &Identity) -> Grant {
        self.with(|store| store.grant(identity))
    }
    fn method(&self, peer: &Identity) -> Option<AuthMethod> {
        self.with(|store| store.method(peer))
    }
    fn shared_key_auth(&self, peer: &Identity, parts: &[&[u8]]) -> Option<[u8; 32]> {
        self.with(|store| store.shared_key_auth(peer, parts))
    }
    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 64]> {
        self.with(|store| store.sign(parts))
    }
    fn public_key(&self) -> Option<[u8; 32]> {
        self.with(Store::public_key)
    }
    fn peer_public_key(&self, peer: &Identity) -> Option<[u8; 32]> {
        self.with(|store| store.peer_public_key(peer))
    }
    fn is_shared(&self, peer: &Identity) -> bool {
        self.with(|store| store.is_shared(peer))
    }
    fn expected(&self) -> usize {
        self.with(Store::expected)
    }
}

/// The address to use now, for a router that had `current`.
pub(super) fn address(config: &config::Group, current: Option<IpAddr>) -> Result<IpAddr, String> {
    match (config.place.address, &config.place.interface) {
        (Some(address), _) => Ok(address),
        (None, Some(interface)) => place::address_of(interface, config.place.ipv6, current),
        (None, None) => Err("neither node.address nor node.interface is given".to_owned()),
    }
}

/// Opens the sockets at `address` and makes an engine that has `resumed` and refuses whom `evictions` name.
pub(super) fn endpoint(
    config: &config::Group,
    credentials: &SharedStore,
    address: IpAddr,
    resumed: heapless::Vec<ResumedKey, MAX_RESUMED>,
    evictions: impl Iterator<Item = Eviction>,
) -> Result<GroupEndpoint, String> {
    let mut settings = copy(&config.settings);
    settings.address.set_ip(address);
    if config.router_id_from_address
        && let IpAddr::V4(v4) = address
    {
        settings.router_id = v4.to_bits().into();
    }
    settings.resumed_keys = resumed;
    settings.evictions = evictions.collect();
    Endpoint::with_parts(
        settings,
        config.place.interface.as_deref(),
        credentials.clone(),
        OsEntropy,
        Heap::new(&config.storage),
    )
    .map_err(|error| error.to_string())
}

/// Field by field, so that a new one cannot be forgotten.
fn copy(settings: &Settings) -> Settings {
    let Settings {
        group,
        identity,
        router_id,
        priority,
        preempt,
        address,
        multicast,
        gtsm,
        hello,
        hold_multiplier,
        retransmit,
        tries,
        min_rekey,
        key_lifetime,
        rekey_sa_lifetime,
        dtd,
        key_ids,
        protocols,
        expiry,
        controller_signatures,
        reboot_exempt,
        confirm_installs,
        manual_keys,
        resumed_keys: _,
        evictions: _,
    } = settings;
    let manual = |key: &ManualKey| ManualKey {
        protocol: key.protocol,
        algorithm: key.algorithm,
        id: key.id,
        secret: key.secret.clone(),
    };
    Settings {
        group: group.clone(),
        identity: identity.clone(),
        router_id: *router_id,
        priority: *priority,
        preempt: *preempt,
        address: SocketAddr::new(address.ip(), address.port()),
        multicast: *multicast,
        gtsm: *gtsm,
        hello: *hello,
        hold_multiplier: *hold_multiplier,
        retransmit: *retransmit,
        tries: *tries,
        min_rekey: *min_rekey,
        key_lifetime: *key_lifetime,
        rekey_sa_lifetime: *rekey_sa_lifetime,
        dtd: *dtd,
        key_ids: *key_ids,
        protocols: protocols.clone(),
        expiry: *expiry,
        controller_signatures: *controller_signatures,
        reboot_exempt: *reboot_exempt,
        confirm_installs: *confirm_installs,
        manual_keys: manual_keys.iter().map(manual).collect(),
        resumed_keys: heapless::Vec::new(),
        evictions: heapless::Vec::new(),
    }
}

/// The manual keys alone, as the key table has them before the first automatic key.
pub(super) fn manual_keys(settings: &Settings) -> KeySet {
    let keys = &settings.manual_keys;
    let keys = keys.iter().enumerate().map(|(at, key)| {
        let first = !keys.iter().take(at).any(|other| other.protocol == key.protocol);
        let state = if first {
            RowState::Active
        } else {
            RowState::Retiring
        };
        let mut key = SinkKey::new(key.protocol, key.id, key.algorithm, state, &key.secret);
        key.manual = true;
        key
    });
    keys.collect()
}
