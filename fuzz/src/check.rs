//! What holds for an engine whatever it is given, and what holds while nobody alters messages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

use karp_core::{
    Event, Identity, Instant, Role, algorithm::RoutingProtocol, config::KeyUse, io::Alarm, keytable::RowState,
};

use crate::{
    router::{FuzzEngine, Options},
    store,
};

/// A row of a key table: protocol, id, state, manual or not, octets.
pub type Row = (u16, u16, RowState, bool, Vec<u8>);

/// A peer as it is seen: who, where, what it says of itself, and how far it has come.
type PeerSight = (
    Identity,
    SocketAddr,
    Role,
    u16,
    [bool; 3],
    Option<u32>,
    Option<Instant>,
);

/// What can be seen of an engine from outside, its counters left out. Keys are compared themselves, without what is
/// derived from them, which takes much longer to look at.
#[derive(PartialEq, Eq, Debug)]
pub struct Sight {
    role: Role,
    gcks: Option<Identity>,
    spi: Option<[u8; 16]>,
    generation: u32,
    confirmed: bool,
    alarms: Vec<Alarm>,
    peers: Vec<PeerSight>,
    pub keys: Vec<(u16, KeyUse, [u8; 32])>,
}

/// The rows of an engine's key table.
pub fn rows(engine: &FuzzEngine, now: Instant) -> Vec<Row> {
    let rows = engine.key_table().rows(now);
    rows.map(|row| {
        let octets = row.octets().to_vec();
        (row.protocol.code(), row.id, row.state, row.manual, octets)
    })
    .collect()
}

impl Sight {
    pub fn of(engine: &FuzzEngine, now: Instant) -> Self {
        let peers = engine.peers().map(|peer| {
            let flags = [peer.registered, peer.live, peer.waiting];
            (
                peer.identity.clone(),
                peer.address,
                peer.role,
                peer.priority,
                flags,
                peer.acknowledged,
                peer.heard,
            )
        });
        let keys = engine.resumable_keys(now);
        Self {
            role: engine.role(),
            gcks: engine.gcks().cloned(),
            spi: engine.rekey_sa_spi(),
            generation: engine.generation(),
            confirmed: !engine.awaits_installation(),
            alarms: engine.alarms().collect(),
            peers: peers.collect(),
            keys: keys.map(|key| (key.id, key.usage, *key.key.expose())).collect(),
        }
    }
}

/// What the events of one boot told.
#[derive(Default)]
pub struct Told {
    role: Role,
    gcks: Option<Identity>,
    keys: BTreeMap<u16, RowState>,
    alarms: BTreeSet<Alarm>,
    pub generation: Option<u32>,
    /// Something was told since the rows were looked at.
    fresh: bool,
}

impl Told {
    /// Takes an event in: each tells news, and of nothing that was not there.
    pub fn event(&mut self, event: &Event) {
        self.fresh = true;
        match event {
            Event::RoleChanged { role } => {
                assert_ne!(self.role, *role, "the role is told twice");
                self.role = *role;
            }
            Event::GcksChanged { gcks } => {
                assert_ne!(self.gcks, *gcks, "the GCKS is told twice");
                self.gcks.clone_from(gcks);
            }
            Event::StateApplied { generation } => self.generation = Some(*generation),
            Event::KeyInstalled { id } => {
                let before = self.keys.insert(*id, RowState::Pending);
                assert!(before.is_none(), "key {id} is told installed twice");
            }
            Event::KeyActivated { id } => self.moves(*id, RowState::Active),
            Event::KeyRetired { id } => self.moves(*id, RowState::Retiring),
            Event::KeyRemoved { id } => {
                let before = self.keys.remove(id);
                assert!(before.is_some(), "key {id} is told removed, and was not there");
            }
            Event::Alarm { alarm, raised } => {
                let news = if *raised {
                    self.alarms.insert(*alarm)
                } else {
                    self.alarms.remove(alarm)
                };
                assert!(news, "the alarm {alarm:?} is told twice");
            }
            _ => {}
        }
    }

    fn moves(&mut self, id: u16, to: RowState) {
        let before = self.keys.insert(id, to);
        assert!(before.is_some(), "key {id} is told {to:?}, and was not there");
        assert_ne!(before, Some(to), "key {id} is told {to:?} twice");
    }

    /// Whether something was told since this was last asked.
    pub fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// An idle engine has told everything.
    pub fn agrees(&self, sight: &Sight) {
        assert_eq!(self.role, sight.role, "the role told, and the role");
        assert_eq!(self.gcks, sight.gcks, "the GCKS told, and the GCKS");
        let alarms: BTreeSet<Alarm> = sight.alarms.iter().copied().collect();
        assert_eq!(self.alarms, alarms, "the alarms told, and the alarms");
    }

    /// An idle engine has told all of its keys. One that is for protocols which this router does not know has no row.
    pub fn agrees_with(&self, sight: &Sight, rows: &[Row]) {
        let told: BTreeSet<u16> = self.keys.keys().copied().collect();
        let keys: BTreeSet<u16> = sight.keys.iter().map(|key| key.0).collect();
        assert_eq!(told, keys, "the keys told, and the keys");
        for row in rows.iter().filter(|row| !row.3) {
            let told = self.keys.get(&row.1);
            assert_eq!(told, Some(&row.2), "what was told of key {}, and its row", row.1);
        }
    }
}

/// The position of a member under one Rekey SA, which never goes back (PROTOCOL.md section 7).
pub type Position = Option<([u8; 16], u32)>;

/// What holds for an idle engine whatever it was given.
pub fn idle(engine: &FuzzEngine, options: Options, sight: &Sight, position: &mut Position) {
    let keyed = matches!(sight.role, Role::Member | Role::Gcks);
    assert!(
        !keyed || sight.spi.is_some(),
        "{:?} without a Rekey SA",
        sight.role
    );
    // Who has just handed over follows nobody yet.
    if let (Role::Member, Some(gcks)) = (sight.role, &sight.gcks) {
        let grant = store::grant(gcks, options);
        assert!(grant.may_serve, "promise 1: {gcks} may not serve");
    }
    // Who holds the group's keys can announce names that are nobody's: they are heard, and never registered.
    for peer in engine.peers().filter(|peer| peer.registered || peer.live) {
        let grant = store::grant(peer.identity, options);
        assert!(grant.may_join, "promise 1: {} may not join", peer.identity);
    }
    let before = *position;
    *position = match (sight.role, sight.spi) {
        (Role::Member, Some(spi)) => Some((spi, sight.generation)),
        _ => None,
    };
    if let (Some((old, from)), Some((new, to))) = (before, *position) {
        assert!(
            old != new || to >= from,
            "promise 8: from state {from} back to {to}"
        );
    }
}

/// A key table is one whatever way it is asked.
pub fn table(engine: &FuzzEngine, now: Instant, rows: &[Row]) {
    let keys = engine.key_table();
    let mut seen = BTreeMap::new();
    for (protocol, id, state, manual, octets) in rows.iter().filter(|row| !row.3) {
        assert!(*id > 0 && !octets.is_empty());
        let twice = seen.insert((*protocol, *id), octets);
        assert!(twice.is_none(), "two keys of protocol {protocol} have id {id}");
        let known = RoutingProtocol::from_code(*protocol).expect("a protocol of the list");
        let found = keys
            .receiving(known, *id, now)
            .expect("what is a row is accepted");
        assert_eq!(
            (found.octets(), found.state, found.manual),
            (&octets[..], *state, *manual)
        );
    }
    for protocol in RoutingProtocol::ALL {
        let Some(sending) = keys.sending(protocol, now) else {
            continue;
        };
        assert_ne!(sending.state, RowState::Pending, "a Pending key is sent with");
        let row = rows
            .iter()
            .find(|row| (row.0, row.1, row.3) == (protocol.code(), sending.id, sending.manual));
        assert_eq!(
            row.map(|row| &row.4[..]),
            Some(sending.octets()),
            "what is sent with is no row"
        );
    }
    let active = rows.iter().filter(|row| !row.3 && row.2 == RowState::Active);
    let active: BTreeSet<u16> = active.map(|row| row.1).collect();
    assert!(active.len() <= 1, "several keys are Active: {active:?}");
}

/// What every router together must keep to as long as nobody has altered a message.
#[derive(Default)]
pub struct Group {
    /// In which boot each router held which key.
    held: HashMap<(usize, Vec<u8>), u32>,
}

impl Group {
    /// A host kept these keys over a restart: they are no news in the new boot.
    pub fn resumed(&mut self, at: usize, boot: u32, rows: &[Row]) {
        for row in rows.iter().filter(|row| !row.3) {
            self.held.insert((at, row.4.clone()), boot);
        }
    }

    /// Promise 8: what a router held before it rebooted is never given to it again.
    pub fn holds(&mut self, at: usize, boot: u32, rows: &[Row], exempt: bool) {
        for row in rows.iter().filter(|row| !row.3) {
            let first = *self.held.entry((at, row.4.clone())).or_insert(boot);
            assert!(
                first == boot || exempt,
                "promise 8: key {} was held in boot {first}",
                row.1
            );
        }
    }

    /// Two routers under one Rekey SA have one key under each id, and at one state send with one key.
    pub fn pair(&self, (one, ours): (&Sight, &[Row]), (other, theirs): (&Sight, &[Row])) {
        let keyed = |sight: &Sight| matches!(sight.role, Role::Member | Role::Gcks);
        if !keyed(one) || !keyed(other) || one.spi != other.spi {
            return;
        }
        let both = (one.role, other.role);
        assert_ne!(both, (Role::Gcks, Role::Gcks), "two serve one Rekey SA");
        for row in ours.iter().filter(|row| !row.3) {
            let twin = theirs
                .iter()
                .find(|twin| !twin.3 && (twin.0, twin.1) == (row.0, row.1));
            // Two halves may both have drawn an id before they met. Nobody sends with those any more.
            let same =
                |twin: &Row| twin.4 == row.4 || (twin.2, row.2) == (RowState::Retiring, RowState::Retiring);
            assert!(
                twin.is_none_or(same),
                "key {} is two keys under one Rekey SA",
                row.1
            );
        }
        if one.generation == other.generation {
            let active = |rows: &[Row]| -> Vec<Vec<u8>> {
                let active = rows.iter().filter(|row| !row.3 && row.2 == RowState::Active);
                active.map(|row| row.4.clone()).collect()
            };
            let (ours, theirs) = (active(ours), active(theirs));
            // Whose key has reached its end has none.
            let differ = !ours.is_empty() && !theirs.is_empty() && ours != theirs;
            assert!(!differ, "promise 3: one state, two keys to send with");
        }
    }
}
