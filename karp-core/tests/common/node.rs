//! One router of the LAN: a real engine, its clock, its host.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    net::SocketAddr,
    rc::Rc,
};

use karp_core::{
    Engine,
    algorithm::RoutingProtocol,
    command::Command,
    config::{Config, Eviction, ResumedKey, Settings},
    error::CommandError,
    identity::Identity,
    io::{Event, Role},
    time::{Duration, Instant},
};
use rand_chacha::ChaCha8Rng;

use super::{
    checks::Told,
    credentials::Store,
    dice::generator,
    keys::{self, Held, State},
    room::{Room, Sizes},
    wire::Flight,
};

/// The engine under test.
pub type TestEngine = Engine<Store, ChaCha8Rng, Room>;
/// A change to the settings of a node before it starts.
pub type Tweak = Rc<dyn Fn(&mut Settings)>;

/// How a node's monotonic clock runs.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows when the LAN's time is 0.
    pub origin: u64,
    /// How much faster than the LAN's time it runs, in parts per million.
    pub ppm: i64,
}

impl Clock {
    /// What the clock shows at `now`.
    pub fn local(&self, now: u64) -> Instant {
        let now = i64::try_from(now).unwrap();
        Instant::from_millis(self.origin + u64::try_from(now + now * self.ppm / 1_000_000).unwrap())
    }

    /// The first time of the LAN at which the clock shows `local` or more.
    pub fn reaches(&self, local: Instant) -> u64 {
        let wanted = local.as_millis();
        let span = i128::from(wanted.saturating_sub(self.origin));
        let mut now = u64::try_from(span * 1_000_000 / i128::from(1_000_000 + self.ppm))
            .unwrap()
            .saturating_sub(2);
        while self.local(now).as_millis() < wanted {
            now += 1;
        }
        now
    }
}

/// When a host confirms an installation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// The host reads the key table: nothing to confirm.
    Reads,
    /// The host fills a daemon, which has the keys after so many ms, and then confirms.
    Confirms(u64),
    /// The host never confirms.
    Hangs,
}

/// The keys that a daemon was filled with, while its host fills and confirms.
pub struct Daemon {
    pub rows: Vec<Held>,
    /// Those of them that it sends with, one for each protocol.
    pub sending: Vec<Held>,
    /// The same for the router's next engine.
    pub keys: Vec<ResumedKey>,
    /// When the host read them, by the router's clock.
    pub at: Instant,
}

/// What a router's routing protocols go on with while its key management is down.
pub struct Kept {
    /// The keys that they have.
    pub rows: Vec<Held>,
    /// Those of them that they send with, one for each protocol.
    pub sending: Vec<Held>,
    /// What the next engine is given.
    pub keys: Vec<ResumedKey>,
    /// Who is refused.
    pub evictions: Vec<Eviction>,
    /// When the key management stopped, by the router's clock.
    pub at: Instant,
}

/// One router.
pub struct Node {
    pub name: String,
    pub identity: Identity,
    pub address: SocketAddr,
    pub store: Store,
    /// A double that a check has to find: it sends with a key that is still Pending.
    pub hasty: bool,
    /// What a scenario gave it as its priority, for those that ask.
    pub priority: u16,
    /// Applied to the settings, in order, at every start.
    pub tweaks: Vec<Tweak>,
    /// Who may have keys in common: an outsider, or somebody evicted, is of another realm.
    pub realm: u32,
    /// Since when it has been of that realm.
    pub realm_since: u64,
    pub clock: Clock,
    pub host: Host,
    /// How large its tables are.
    pub sizes: Sizes,
    /// The LAN's time at which a pause ends.
    pub paused_until: Option<u64>,
    pub inbox: VecDeque<Flight>,
    /// When the engine asked to be polled again, in the LAN's time.
    pub wake: Option<u64>,
    /// How often its key management started.
    pub boots: u32,
    /// How often its routing protocols started: they live on where only the key management restarts.
    pub lives: u32,
    /// While the key management is down and the routing protocols are not.
    pub kept: Option<Kept>,
    /// What its routing protocols have, where a host fills a daemon.
    pub daemon: Option<Daemon>,
    /// Digests of what this boot took in, while somebody replays.
    pub seen: HashSet<u64>,
    /// When this boot last heard each router announce itself under the Rekey SA that both follow.
    pub heard: BTreeMap<usize, u64>,
    /// When it last left the group: what it sent and heard before says nothing of it any more.
    pub left_at: Option<u64>,
    /// Since when its routing protocols have run on alone, until they have the keys of a state again.
    pub alone_since: Option<u64>,
    /// When that last ended after more than its hold.
    pub back_at: Option<u64>,
    /// When it last began to follow another office.
    pub follows_since: u64,
    /// The generation that this boot had when it was last given the state of a group.
    pub joined_with: Option<u32>,
    /// Its hold in ms, as it was last configured.
    pub hold: u64,
    /// The Rekey SAs that this boot followed, the last three.
    pub followed: Vec<[u8; 16]>,
    /// When its last pause began.
    pub paused_since: u64,
    pub started_at: u64,
    /// When it last became a member or the key server.
    pub keyed_since: u64,
    /// When its routing protocols first had keys since then: never yet, if this is the end of time.
    pub fed_since: u64,
    /// The engine, while the router is up. Boxed: it is large, and it moves.
    pub engine: Option<Box<TestEngine>>,
    /// What the events of this boot told.
    pub told: Told,
    /// Every event of this boot with the LAN's time.
    pub events: Vec<(u64, Event)>,
}

impl Node {
    /// A router that is down.
    pub fn new(name: &str, address: SocketAddr, store: Store) -> Self {
        Self {
            name: name.into(),
            identity: Identity::fqdn(name).unwrap(),
            address,
            store,
            hasty: false,
            priority: 100,
            tweaks: Vec::new(),
            realm: 0,
            realm_since: 0,
            clock: Clock {
                origin: 1_000_000,
                ppm: 0,
            },
            host: Host::Reads,
            sizes: Sizes::SERVER,
            paused_until: None,
            inbox: VecDeque::new(),
            wake: None,
            boots: 0,
            lives: 0,
            kept: None,
            daemon: None,
            seen: HashSet::new(),
            heard: BTreeMap::new(),
            left_at: None,
            alone_since: None,
            back_at: None,
            follows_since: 0,
            joined_with: None,
            hold: 0,
            followed: Vec::new(),
            paused_since: 0,
            started_at: 0,
            keyed_since: 0,
            fed_since: 0,
            engine: None,
            told: Told::default(),
            events: Vec::new(),
        }
    }

    /// Changes a setting at every start from now on.
    pub fn set(&mut self, change: impl Fn(&mut Settings) + 'static) -> &mut Self {
        self.tweaks.push(Rc::new(change));
        self
    }

    /// Builds the settings that the next start will have.
    pub fn settings(&self, group: &str, index: usize, common: &[Tweak]) -> Settings {
        let mut settings = Settings::new(group, self.identity.clone(), self.address);
        settings.router_id = index as u64 + 1;
        settings.confirm_installs = self.host != Host::Reads;
        common
            .iter()
            .chain(&self.tweaks)
            .for_each(|tweak| tweak(&mut settings));
        settings
    }

    /// The key management stops; the routing protocols go on with the keys that they have.
    pub fn stop_keying(&mut self, now: u64) {
        self.alone_since = self.alone_since.or(Some(now));
        let evictions = self.engine().evictions(self.clock.local(now)).collect();
        let table = match self.host {
            Host::Reads => Some(self.table(now)),
            Host::Confirms(_) | Host::Hangs => self.daemon.take(),
        };
        let table = table.unwrap_or_else(|| Daemon {
            rows: Vec::new(),
            sending: Vec::new(),
            keys: Vec::new(),
            at: self.clock.local(now),
        });
        let Daemon {
            rows,
            sending,
            keys,
            at,
        } = table;
        self.kept = Some(Kept {
            rows,
            sending,
            keys,
            evictions,
            at,
        });
        self.engine = None;
        self.wake = None;
        self.inbox.clear();
        self.paused_until = None;
    }

    /// All that its engine has for routing protocols.
    pub fn table(&self, now: u64) -> Daemon {
        let at = self.clock.local(now);
        let rows = self.rows(now);
        let mut protocols: Vec<RoutingProtocol> = rows.iter().map(|row| row.protocol).collect();
        protocols.dedup();
        let sending = protocols
            .into_iter()
            .filter_map(|protocol| self.sending(protocol, now));
        Daemon {
            sending: sending.collect(),
            keys: self.engine().resumable_keys(at).take(8).collect(),
            rows,
            at,
        }
    }

    /// The keys that were kept over a restart of the key management go to its next engine, and who is refused.
    pub fn resume(&mut self, settings: &mut Settings, now: u64) {
        let local = self.clock.local(now);
        for kept in self.kept.iter() {
            let passed = local.since(kept.at);
            settings
                .evictions
                .extend(kept.evictions.iter().map(|eviction| Eviction {
                    remaining: eviction.remaining.minus(passed),
                    ..*eviction
                }));
        }
        for mut key in self.kept.iter_mut().flat_map(|kept| {
            let passed = local.since(kept.at);
            kept.keys.drain(..).map(move |key| (key, passed))
        }) {
            key.0.lifetime = key.0.lifetime.minus(key.1);
            if key.0.lifetime > Duration::from_millis(0) {
                assert!(settings.resumed_keys.push(key.0).is_ok(), "eight at most");
            }
        }
    }

    /// A new engine: the router boots, or its key management alone. It has joined nothing yet.
    pub fn boot(&mut self, seed: u64, index: usize, config: Config, now: u64, around: fn(&mut dyn FnMut())) {
        self.boots += 1;
        let kept = self.kept.take();
        if kept.is_none() {
            self.lives += 1;
            self.alone_since = None;
        }
        self.seen.clear();
        self.heard.clear();
        self.followed.clear();
        self.started_at = now;
        self.hold = config.hold().as_millis();
        let entropy = generator(seed, 1_000_000 + index as u64 * 1000 + u64::from(self.boots));
        let local = self.clock.local(now);
        let mut parts = Some((config, self.store.clone(), entropy, Room::new(self.sizes)));
        let mut engine = None;
        around(&mut || {
            if let Some((config, store, entropy, room)) = parts.take() {
                engine = Some(TestEngine::new(config, store, entropy, room, local));
            }
        });
        self.engine = Some(Box::new(
            engine.unwrap().expect("the scenario's configuration is valid"),
        ));
        // A daemon begins with the manual keys, or runs on with what it has.
        self.daemon = (self.host != Host::Reads).then(|| match (self.table(now), kept) {
            (table, None) => table,
            (table, Some(kept)) => Daemon {
                rows: kept.rows,
                sending: kept.sending,
                ..table
            },
        });
        self.told = Told::default();
        self.joined_with = None;
        self.events.clear();
        self.inbox.clear();
        self.paused_until = None;
        self.wake = None;
    }

    /// The engine of a router that is up.
    pub fn engine(&self) -> &TestEngine {
        self.engine.as_deref().expect("the router is up")
    }

    /// Gives a command at the LAN's time `now`.
    pub fn command(
        &mut self,
        now: u64,
        command: Command<'_>,
        around: fn(&mut dyn FnMut()),
    ) -> Result<(), CommandError> {
        let local = self.clock.local(now);
        let engine = self.engine.as_mut().expect("the router is up");
        let mut result = Ok(());
        around(&mut || result = engine.handle_command(local, command));
        result
    }

    /// Takes note of the Rekey SA that it follows.
    pub fn follow(&mut self) {
        let spi = self.engine.as_ref().and_then(|engine| engine.rekey_sa_spi());
        if let Some(spi) = spi.filter(|spi| self.followed.last() != Some(spi)) {
            self.followed.push(spi);
            if self.followed.len() > 3 {
                self.followed.remove(0);
            }
        }
    }

    /// Whether an announcement has the MAC of a Rekey SA that it followed: an heir knows others by any that it holds
    /// (section 7). The last MAC or the last but one names it (section 5.1).
    pub fn authenticates(&self, announcement: &[u8]) -> bool {
        let names = |back: usize| {
            let start = announcement.len().checked_sub(back)?;
            announcement.get(start..start + 16)
        };
        let mut followed = self.followed.iter();
        followed.any(|spi| names(32) == Some(&spi[..]) || names(72) == Some(&spi[..]))
    }

    pub fn is_up(&self) -> bool {
        self.engine.is_some()
    }

    /// Whether its routing protocols run.
    pub fn routes(&self) -> bool {
        self.is_up() || self.kept.is_some()
    }

    /// Whether its routing protocols had run on alone for longer than its hold when a packet was sent that arrives now.
    pub fn is_cut_off(&self, sent: u64, now: u64) -> bool {
        self.alone_since.is_some_and(|since| now - since > self.hold)
            || self.back_at.is_some_and(|back| sent <= back)
    }

    /// Its routing protocols hold what it was given.
    pub fn is_back(&mut self, now: u64) {
        if self.is_cut_off(now + 1, now) {
            self.back_at = Some(now);
        }
        self.alone_since = None;
    }

    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Up, running and part of the group.
    pub fn is_present(&self) -> bool {
        self.is_up() && !self.is_paused() && self.role() != Role::Left
    }

    pub fn role(&self) -> Role {
        self.engine.as_ref().map_or(Role::Left, |engine| engine.role())
    }

    /// Whether it is a member or the key server.
    pub fn is_keyed(&self) -> bool {
        matches!(self.role(), Role::Member | Role::Gcks)
    }

    /// The rows of its key table, oldest protocol first.
    pub fn rows(&self, now: u64) -> Vec<Held> {
        let local = self.clock.local(now);
        match (&self.engine, &self.kept) {
            (Some(engine), _) => keys::rows(engine, local),
            (None, Some(kept)) => kept.rows.clone(),
            (None, None) => Vec::new(),
        }
    }

    /// What its routing protocols send with: the key table's row, or the one that their daemon was filled with.
    pub fn sends_with(&self, protocol: RoutingProtocol, now: u64) -> Option<Held> {
        if self.hasty {
            let rows = self.rows(now).into_iter();
            let mut pending = rows.filter(|row| row.protocol == protocol && row.state == State::Pending);
            if let Some(row) = pending.next() {
                return Some(row);
            }
        }
        match (&self.engine, &self.daemon) {
            (Some(_), Some(daemon)) => daemon
                .sending
                .iter()
                .find(|row| row.protocol == protocol)
                .cloned(),
            _ => self.sending(protocol, now),
        }
    }

    /// What its routing protocols check a packet with.
    pub fn checks_with(&self, protocol: RoutingProtocol, id: u16, now: u64) -> Option<Held> {
        match (&self.engine, &self.daemon) {
            (Some(_), Some(daemon)) => {
                let mut rows = daemon.rows.iter();
                rows.find(|row| row.protocol == protocol && row.id == id).cloned()
            }
            _ => self.receiving(protocol, id, now),
        }
    }

    /// The row that `protocol` sends with.
    pub fn sending(&self, protocol: RoutingProtocol, now: u64) -> Option<Held> {
        let local = self.clock.local(now);
        match (&self.engine, &self.kept) {
            (Some(engine), _) => keys::sending(engine, protocol, local),
            (None, kept) => kept
                .as_ref()?
                .sending
                .iter()
                .find(|row| row.protocol == protocol)
                .cloned(),
        }
    }

    /// The row that a packet of `protocol` with `id` is checked with.
    pub fn receiving(&self, protocol: RoutingProtocol, id: u16, now: u64) -> Option<Held> {
        let local = self.clock.local(now);
        match (&self.engine, &self.kept) {
            (Some(engine), _) => keys::receiving(engine, protocol, id, local),
            (None, kept) => {
                let mut rows = kept.as_ref()?.rows.iter();
                rows.find(|row| row.protocol == protocol && row.id == id).cloned()
            }
        }
    }

    /// How many events of this boot `wanted` holds for.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }

    /// Whether there was such an event in this boot.
    pub fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.count(wanted) > 0
    }
}
