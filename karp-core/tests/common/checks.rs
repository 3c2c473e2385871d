//! What must hold after every step, as far as it can be seen from outside an engine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use karp_core::{
    algorithm::RoutingProtocol,
    identity::Identity,
    io::{Alarm, Event, Role},
};

use super::{
    keys::{Held, State},
    node::Node,
    peek::{self, GCKS_ELECTION, GSA_AUTH, Header, INITIATOR, SK},
};

/// What the events of one boot told.
#[derive(Default)]
pub struct Told {
    pub role: Role,
    pub gcks: Option<Identity>,
    pub keys: BTreeMap<u16, State>,
    /// Those of them that were Active.
    was_active: BTreeSet<u16>,
    pub alarms: BTreeSet<Alarm>,
    pub generation: Option<u32>,
    /// The rows as they were when they were last checked.
    pub rows: Vec<Held>,
    /// Nothing was taken in since then.
    pub current: bool,
    /// Something was told since then.
    fresh: bool,
}

/// A sealed message as an onlooker tells it from others: the two SPIs, the sender's side, and the IV.
type Seal = ([u8; 16], bool, [u8; 8]);

/// The memory of all that was ever seen.
#[derive(Default)]
pub struct Checks {
    /// What was sealed under which key and nonce (promise 4).
    sealed: HashMap<Seal, u64>,
    /// What was announced under which instance and sequence.
    announced: HashMap<([u8; 8], u32), u64>,
    /// The realm that made each routing key, and when it was first seen (promise 1).
    made: BTreeMap<Vec<u8>, (u32, u64)>,
    /// The key of each Rekey SA, protocol and id.
    by_id: BTreeMap<([u8; 16], RoutingProtocol, u16), Vec<u8>>,
    /// In which boot each identity held each key (promise 8).
    held: BTreeMap<Identity, BTreeMap<Vec<u8>, u32>>,
    /// How often a router became idle.
    idles: u64,
    /// Somebody answers with the SPIs of others, so that two attempts of one router have the same SPIs and different
    /// keys: an onlooker cannot tell GSA_AUTH requests under one key from such.
    pub spis_are_forged: bool,
    /// The group gives up promise 8 by policy, or hosts resume with their keys.
    pub may_hold_again: bool,
}

impl Checks {
    /// A datagram leaves a router.
    pub fn sent(&mut self, octets: &[u8]) -> Result<(), String> {
        if octets.len() > 1232 {
            return Err(format!(
                "section 2: a message of {} octets was sent",
                octets.len()
            ));
        }
        let Some(header) = Header::of(octets) else {
            return Err("what was sent is no message".into());
        };
        if header.length != octets.len() {
            return Err(format!(
                "a message of {} octets says it has {}",
                octets.len(),
                header.length
            ));
        }
        let print = fingerprint(octets);
        if header.exchange == GCKS_ELECTION {
            let known = *self.announced.entry((header.spi_i, header.id)).or_insert(print);
            if known != print {
                return Err(format!(
                    "two announcements of one instance have sequence {}",
                    header.id
                ));
            }
            // An announcement that is made twice would make its copies replays: every one rises.
            return Ok(());
        }
        let Some(sealed) = peek::payloads(octets).into_iter().find(|p| p.kind == SK) else {
            return Ok(());
        };
        if self.spis_are_forged && header.exchange == GSA_AUTH && !header.is_response() {
            return Ok(());
        }
        let iv: [u8; 8] = sealed
            .body
            .get(..8)
            .ok_or("SK without an IV")?
            .try_into()
            .unwrap();
        let known = *self
            .sealed
            .entry((header.spis(), header.flags & INITIATOR != 0, iv))
            .or_insert(print);
        if known != print {
            return Err(format!(
                "promise 4: two messages under one key and IV {iv:02x?} ({})",
                peek::describe(octets)
            ));
        }
        Ok(())
    }

    /// A router became idle.
    pub fn idle(&mut self, nodes: &mut [Node], at: usize, now: u64) -> Result<(), String> {
        // In a large group the tables of routers to which nothing happened are looked at now and then only.
        self.idles += 1;
        let told = &mut nodes[at].told;
        let look = std::mem::take(&mut told.fresh) || nodes.len() <= 12 || self.idles.is_multiple_of(16);
        let node = &mut nodes[at];
        let engine = node.engine.as_ref().unwrap();
        if node.told.role != engine.role() {
            return Err(format!(
                "events told the role {:?}, it is {:?}",
                node.told.role,
                engine.role()
            ));
        }
        let follows = engine.gcks().cloned();
        if node.told.gcks != follows {
            return Err(format!(
                "events told the GCKS {:?}, it is {follows:?}",
                node.told.gcks
            ));
        }
        node.told.current = look;
        if !look {
            return Ok(());
        }
        let rows = node.rows(now);
        let mut table = BTreeMap::new();
        for row in rows.iter().filter(|row| !row.manual) {
            table.insert(row.id, row.state);
        }
        if node.told.keys != table {
            return Err(format!(
                "events told the keys {:?}, the key table has {table:?}",
                node.told.keys
            ));
        }
        let engine = node.engine();
        let (role, spi) = (engine.role(), engine.rekey_sa_spi());
        if role == Role::Member
            && let Some(gcks) = follows
            && !node.store.grants.get(&gcks).is_some_and(|grant| grant.may_serve)
        {
            return Err(format!("promise 1: it is a member of {gcks}, who may not serve"));
        }
        if rows != node.told.rows {
            self.keys(nodes, at, now, spi, &rows)?;
            nodes[at].told.rows = rows;
        }
        if role == Role::Gcks && spi.is_some() {
            let twin = (0..nodes.len()).find(|other| {
                *other != at
                    && nodes[*other].role() == Role::Gcks
                    && nodes[*other].engine().rekey_sa_spi() == spi
            });
            if let Some(twin) = twin {
                return Err(format!("{} serves the same Rekey SA", nodes[twin].name));
            }
        }
        Ok(())
    }

    fn keys(
        &mut self,
        nodes: &[Node],
        at: usize,
        now: u64,
        spi: Option<[u8; 16]>,
        rows: &[Held],
    ) -> Result<(), String> {
        let node = &nodes[at];
        let held = self.held.entry(node.identity.clone()).or_default();
        for row in rows.iter().filter(|row| !row.manual) {
            let boot = *held.entry(row.octets.clone()).or_insert(node.lives);
            if boot != node.lives && !self.may_hold_again {
                return Err(format!(
                    "promise 8: key {} was held before the reboot, in boot {boot}",
                    row.id
                ));
            }
            let (realm, first) = *self.made.entry(row.octets.clone()).or_insert((node.realm, now));
            if realm != node.realm && first >= node.realm_since {
                return Err(format!(
                    "promise 1: key {} belongs to others (realm {realm})",
                    row.id
                ));
            }
            let Some(spi) = spi else { continue };
            if node.role() == Role::Initial {
                continue;
            }
            let known = self
                .by_id
                .entry((spi, row.protocol, row.id))
                .or_insert_with(|| row.octets.clone());
            if *known == row.octets {
                continue;
            }
            *known = row.octets.clone();
            // The id may have been given again after its quarantine; but nobody may still have the other key.
            let other = nodes.iter().enumerate().find(|(index, other)| {
                *index != at
                    && other.is_keyed()
                    && !other.is_paused()
                    && other.engine().rekey_sa_spi() == Some(spi)
                    && other.rows(now).iter().any(|theirs| {
                        !theirs.manual
                            && theirs.protocol == row.protocol
                            && theirs.id == row.id
                            && theirs.octets != row.octets
                            // Two halves may both have drawn an id before they met. Nobody sends with those any more.
                            && (theirs.state, row.state) != (State::Retiring, State::Retiring)
                    })
            });
            if let Some((_, other)) = other {
                return Err(format!(
                    "key {} is another key at {}, under the same Rekey SA",
                    row.id, other.name
                ));
            }
        }
        let active = rows
            .iter()
            .filter(|row| !row.manual && row.state == State::Active);
        let ids: BTreeSet<u16> = active.map(|row| row.id).collect();
        if ids.len() > 1 {
            return Err(format!("more than one Active key: {ids:?}"));
        }
        Ok(())
    }

    /// Whether `identity` ever held `key` in a boot before `boot`.
    pub fn held_before(&self, identity: &Identity, key: &[u8], boot: u32) -> bool {
        self.held
            .get(identity)
            .and_then(|keys| keys.get(key))
            .is_some_and(|earlier| *earlier < boot)
    }
}

impl Told {
    /// Takes one event in; an error says what is wrong with it.
    pub fn event(&mut self, event: &Event) -> Result<(), String> {
        self.fresh = true;
        match event {
            Event::RoleChanged { role } if self.role == *role => return Err("the role is told twice".into()),
            Event::RoleChanged { role } => self.role = *role,
            Event::GcksChanged { gcks } if self.gcks == *gcks => return Err("the GCKS is told twice".into()),
            Event::GcksChanged { gcks } => self.gcks.clone_from(gcks),
            Event::StateApplied { generation } => self.generation = Some(*generation),
            Event::KeyInstalled { id } => {
                self.was_active.remove(id);
                let known = self.keys.insert(*id, State::Pending).is_some();
                must(!known, || format!("key {id} is told installed twice"))?;
            }
            Event::KeyActivated { id } => self.moves(*id, State::Active)?,
            Event::KeyRetired { id } => self.moves(*id, State::Retiring)?,
            Event::KeyRemoved { id } => {
                let known = self.keys.remove(id).is_some();
                must(known, || {
                    format!("key {id} is told removed, and was never installed")
                })?;
            }
            Event::Alarm { alarm, raised: true } => {
                let news = self.alarms.insert(*alarm);
                must(news, || format!("the alarm {} is raised twice", alarm.name()))?;
            }
            Event::Alarm { alarm, raised: false } => {
                let known = self.alarms.remove(alarm);
                must(known, || {
                    format!("the alarm {} ends, and was never raised", alarm.name())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A key's state only moves forward; one that was never sent with can be revived by a new office (section 7).
    fn moves(&mut self, id: u16, state: State) -> Result<(), String> {
        let revived = state == State::Active && !self.was_active.contains(&id);
        if state == State::Active {
            self.was_active.insert(id);
        }
        match self.keys.insert(id, state) {
            None => Err(format!("key {id} is told {state:?}, and was never installed")),
            Some(before) if before >= state && !revived => {
                Err(format!("key {id} goes from {before:?} to {state:?}"))
            }
            Some(_) => Ok(()),
        }
    }
}

fn must(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn fingerprint(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}
