//! One router of the demonstration: its endpoint, its routing process, and what is remembered of it over its reboots.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use karp_core::{
    algorithm::RoutingProtocol,
    command::Command,
    counters::{Counters, Traffic},
    crypto::Fingerprint,
    error::CommandError,
    identity::Identity,
    io::{MessageKind, Role},
    keytable::RowState,
    time::{Duration, Instant},
};
use karp_std::{clock, credentials::Store, endpoint::Endpoint, heap::Heap};

use super::{
    plan::{self, Plan},
    tally::Standing,
};
use crate::{
    entropy::DemoEntropy,
    hello::{self, Speaker},
};

/// How many hellos an eavesdropper keeps of those that a router heard.
const RECORDED: usize = 64;

pub(super) type Node = Endpoint<Store, DemoEntropy, Heap>;

/// What a router is to the demonstration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// Not running: crashed, or gone after it left.
    Down,
    Up,
    /// Told to leave.
    Leaving,
    /// It runs, and the group does not want it any more.
    Evicted,
}

/// What a running router has.
pub(super) struct Running {
    pub(super) endpoint: Node,
    pub(super) speaker: Speaker,
}

/// A key for people: its id and the fingerprint of what OSPFv2 derives from it; none for a manual key.
pub(super) type KeyName = (u16, Option<Fingerprint>);

pub(super) struct Router {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) identity: Identity,
    pub(super) life: Life,
    pub(super) running: Option<Running>,
    pub(super) priority: u16,
    pub(super) boots: u32,
    /// It keeps its address over a reboot.
    address: SocketAddr,
    /// Fingerprints of the keys that it has had since its last start.
    held: BTreeSet<[u8; 4]>,
    /// And of those it had before.
    held_earlier: BTreeSet<[u8; 4]>,
    /// What was counted before its last start.
    past: Totals,
    /// What it had counted when it was evicted: what it does alone is none of the group's.
    last_word: Option<Totals>,
    /// When it last came up.
    pub(super) started: Instant,
    /// When it last went down.
    stopped: Instant,
    /// Hellos that it accepted, as an eavesdropper has them.
    recorded: VecDeque<Vec<u8>>,
}

impl Router {
    pub(super) fn new(index: usize, priority: u16) -> Self {
        Self {
            index,
            name: plan::name(index),
            identity: plan::identity(index),
            life: Life::Down,
            running: None,
            priority,
            boots: 0,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            held: BTreeSet::new(),
            held_earlier: BTreeSet::new(),
            past: Totals::default(),
            last_word: None,
            started: Instant::ZERO,
            stopped: Instant::ZERO,
            recorded: VecDeque::new(),
        }
    }

    /// Switches the router on. It does not take part in the group before [`Command::Join`].
    pub(super) fn start(&mut self, plan: &Plan, story: &mut DemoEntropy) -> anyhow::Result<()> {
        let first = self.boots == 0;
        let now = clock::now();
        let mut phase = || now.after(Duration::from_millis(story.below(hello::INTERVAL.as_millis())));
        // OSPF begins when the neighbours have forgotten the router: until then its low numbers would be refused, with
        // any key. A router that really reboots takes longer than that anyway.
        let forgotten = self.stopped.after(hello::DEAD).after(hello::INTERVAL);
        let first_hellos = [phase().max(forgotten), phase()];
        let open = |address| {
            let settings = plan.settings(self.index, address, self.priority, first);
            let entropy = plan.entropy(self.index, self.boots);
            let store = plan.store(self.index)?;
            Ok::<_, anyhow::Error>(Endpoint::with_parts(
                settings,
                None,
                store,
                entropy,
                Heap::default(),
            ))
        };
        let mut endpoint = match open(self.address)? {
            // Somebody else was given the port while this router was down.
            Err(_) if !first => open((Ipv4Addr::LOCALHOST, 0).into())?,
            other => other,
        }
        .with_context(|| format!("{} cannot be started", self.name))?;
        endpoint.set_loss(plan.options.loss, story.below(u64::MAX));
        // Milliseconds since the epoch: greater at every start.
        let session = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        let number = self.index as u32 + 1;
        let speaker = Speaker::open(number, plan.hellos, session, first_hellos)
            .with_context(|| format!("{} cannot send hellos", self.name))?;
        self.address = endpoint.local_address();
        self.started = now;
        self.boots += 1;
        self.life = Life::Up;
        self.running = Some(Running { endpoint, speaker });
        Ok(())
    }

    /// Off, without a word to anybody: a crash, or the end after a leave.
    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.past.add(running.endpoint.engine().counters());
        }
        self.stopped = clock::now();
        self.held_earlier.append(&mut self.held);
        self.life = Life::Down;
    }

    /// From now on it is none of the group any more.
    pub(super) fn evict(&mut self) {
        self.last_word = Some(self.totals());
        self.life = Life::Evicted;
    }

    pub(super) fn endpoint(&self) -> Option<&Node> {
        self.running.as_ref().map(|running| &running.endpoint)
    }

    pub(super) fn command(&mut self, command: Command<'_>) -> Result<(), CommandError> {
        match self.running.as_mut() {
            Some(running) => running.endpoint.command(command),
            None => Err(CommandError::NotJoined),
        }
    }

    pub(super) fn role(&self) -> Role {
        self.endpoint()
            .map_or(Role::Left, |endpoint| endpoint.engine().role())
    }

    /// It runs, and was neither told to leave nor evicted.
    pub(super) fn is_live(&self) -> bool {
        self.life == Life::Up
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.life {
            Life::Evicted => Standing::Evicted,
            Life::Leaving | Life::Down => Standing::Leaving,
            Life::Up if self.sending(now).is_some() => Standing::Keyed,
            Life::Up => Standing::Unkeyed,
        }
    }

    /// The key that it sends OSPFv2 with.
    pub(super) fn sending(&self, now: Instant) -> Option<KeyName> {
        let row = self
            .endpoint()?
            .engine()
            .key_table()
            .sending(RoutingProtocol::Ospfv2, now)?;
        Some((row.id, row.fingerprint()))
    }

    /// The automatic keys that it has: ids, states and OSPFv2 fingerprints.
    pub(super) fn keys(&self, now: Instant) -> Vec<(u16, RowState, Fingerprint)> {
        let Some(endpoint) = self.endpoint() else {
            return Vec::new();
        };
        let rows = endpoint.engine().key_table().rows(now);
        let mut keys: Vec<_> = rows
            .filter(|row| row.protocol == RoutingProtocol::Ospfv2)
            .filter_map(|row| Some((row.id, row.state, row.fingerprint()?)))
            .collect();
        keys.sort_by_key(|(id, ..)| *id);
        keys
    }

    pub(super) fn has_manual_key(&self, now: Instant) -> bool {
        self.endpoint()
            .is_some_and(|endpoint| endpoint.engine().key_table().rows(now).any(|row| row.manual))
    }

    /// A key came: remembers it. `Err` with its fingerprint if the router had it before it rebooted (promise 8).
    pub(super) fn note_key(&mut self, fingerprint: Fingerprint) -> Result<(), Fingerprint> {
        self.held.insert(fingerprint.0);
        if self.held_earlier.contains(&fingerprint.0) {
            return Err(fingerprint);
        }
        Ok(())
    }

    /// How many keys it had before its last start.
    pub(super) fn keys_before(&self) -> usize {
        self.held_earlier.len()
    }

    /// Whether it has any key now that it had before its last start.
    pub(super) fn has_key_from_before(&self, now: Instant) -> Option<Fingerprint> {
        let keys = self.keys(now);
        keys.into_iter()
            .map(|(.., fingerprint)| fingerprint)
            .find(|fingerprint| self.held_earlier.contains(&fingerprint.0))
    }

    pub(super) fn record(&mut self, packet: &[u8]) {
        if self.recorded.len() == RECORDED {
            self.recorded.pop_front();
        }
        self.recorded.push_back(packet.to_vec());
    }

    pub(super) fn take_recorded(&mut self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.recorded)
    }

    /// What was counted at this router over all its starts, up to its eviction.
    pub(super) fn totals(&self) -> Totals {
        if let Some(totals) = &self.last_word {
            return totals.clone();
        }
        let mut totals = self.past.clone();
        if let Some(endpoint) = self.endpoint() {
            totals.add(endpoint.engine().counters());
        }
        totals
    }

    /// In a few words, for failures.
    pub(super) fn describe(&self, now: Instant) -> String {
        let Some(endpoint) = self.endpoint() else {
            return format!("{} is down", self.name);
        };
        let engine = endpoint.engine();
        let follows = engine.gcks().map_or(String::new(), |gcks| format!(" of {gcks}"));
        let keys: Vec<String> = self
            .keys(now)
            .iter()
            .map(|(id, state, fingerprint)| format!("{id} {fingerprint} {state:?}"))
            .collect();
        let spi = engine.rekey_sa_spi().map_or("none".to_owned(), |spi| {
            spi.iter().take(4).map(|octet| format!("{octet:02x}")).collect()
        });
        let waiting: Vec<String> = engine
            .peers()
            .filter(|peer| peer.waiting)
            .map(|peer| peer.identity.to_string())
            .collect();
        let lagging: Vec<String> = engine
            .peers()
            .filter(|peer| peer.live && peer.acknowledged != Some(engine.generation()))
            .map(|peer| format!("{} {:?}", peer.identity, peer.acknowledged))
            .collect();
        let alarms: Vec<&str> = engine.alarms().map(|alarm| alarm.name()).collect();
        format!(
            "{} ({:?}) {:?}{follows}, priority {}, Rekey SA {spi} generation {}, keys [{}]{}{}{}{}",
            self.name,
            self.life,
            engine.role(),
            self.priority,
            engine.generation(),
            keys.join(", "),
            if self.has_manual_key(now) {
                ", manual key"
            } else {
                ""
            },
            list(", waiting for keys", &waiting),
            list(", not acknowledged", &lagging),
            list(", alarms", &alarms),
        )
    }
}

fn list(title: &str, items: &[impl AsRef<str>]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("{title}: {}", items.join(" "))
}

/// What was counted, over reboots or over routers.
#[derive(Clone, Default)]
pub(super) struct Totals {
    pub(super) sent: [Traffic; MessageKind::COUNT],
    pub(super) handshakes: u64,
    pub(super) rollovers: u64,
    pub(super) failovers: u64,
    pub(super) handoffs: u64,
    pub(super) evictions: u64,
    pub(super) merges: u64,
    pub(super) retransmissions: u64,
}

impl Totals {
    pub(super) fn add(&mut self, counters: &Counters) {
        for (sum, kind) in self.sent.iter_mut().zip(MessageKind::ALL) {
            let more = counters.sent(*kind);
            sum.messages = sum.messages.saturating_add(more.messages);
            sum.octets += more.octets;
        }
        self.handshakes += u64::from(counters.handshakes_initiated);
        self.rollovers += u64::from(counters.rollovers);
        self.failovers += u64::from(counters.failovers);
        self.handoffs += u64::from(counters.handoffs);
        self.evictions += u64::from(counters.evictions);
        self.merges += u64::from(counters.merges);
        self.retransmissions += u64::from(counters.retransmissions);
    }

    pub(super) fn join(&mut self, other: &Self) {
        for (sum, more) in self.sent.iter_mut().zip(&other.sent) {
            sum.messages = sum.messages.saturating_add(more.messages);
            sum.octets += more.octets;
        }
        self.handshakes += other.handshakes;
        self.rollovers += other.rollovers;
        self.failovers += other.failovers;
        self.handoffs += other.handoffs;
        self.evictions += other.evictions;
        self.merges += other.merges;
        self.retransmissions += other.retransmissions;
    }

    pub(super) fn of(&self, kind: MessageKind) -> Traffic {
        let at = MessageKind::ALL.iter().position(|one| *one == kind);
        at.and_then(|at| self.sent.get(at)).copied().unwrap_or_default()
    }
}
