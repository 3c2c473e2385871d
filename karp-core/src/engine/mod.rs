//! The engine: the one public state machine. It routes inputs to the parts, and runs what is due.

mod command;
mod drive;
mod events;
mod input;

use core::mem::MaybeUninit;

use rand_core::CryptoRng;

use crate::{
    command::Command,
    config::{Config, Eviction, ResumedKey},
    counters::Counters,
    crypto::{DEEP, ROW, Secret, apart, wipe},
    election::Election,
    error::{CommandError, ConfigError},
    identity::{Credentials, Identity},
    io::{Handled, Output, Recv, Role},
    keytable::KeyTable,
    node::{CookieSecrets, Core, EvictedUntil, Installs, ManualStage, Node, RekeySas, digest},
    peer,
    storage::{Storage, iter},
    time::Instant,
};

/// The least number of key slots: eight that a state lists, and two whose end the host was not told yet.
const MIN_KEYS: usize = 10;

/// One node of one group on one link. See the [crate's documentation](crate) for the contract.
pub struct Engine<C, R, S> {
    node: Node,
    credentials: C,
    entropy: R,
    storage: S,
}

/// What this node knows of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerView<'a> {
    /// Who it is; proved, not claimed.
    pub identity: &'a Identity,
    /// Where it sends from.
    pub address: core::net::SocketAddr,
    /// What it last said of itself, authenticated.
    pub role: Role,
    /// Its election priority.
    pub priority: u16,
    /// It has an IKE SA with this node: as a member of its office, or as its GCKS.
    pub registered: bool,
    /// At a GCKS: it was given the state and counts for rollovers.
    pub live: bool,
    /// At a GCKS: it is registered and waits for keys that are new to it.
    pub waiting: bool,
    /// The newest generation under this office's Rekey SA that it acknowledged.
    pub acknowledged: Option<u32>,
    /// When it was last heard, authenticated.
    pub heard: Option<Instant>,
}

impl<C: Credentials, R: CryptoRng, S: Storage> Engine<C, R, S> {
    /// A node that has not joined yet: give it [`Command::Join`].
    ///
    /// `entropy` must be a cryptographically secure generator, seeded anew for every engine: restoring a snapshot of
    /// memory counts as a reboot, for which a new engine is made. `now` is the host's monotonic time, which counts time
    /// asleep.
    ///
    /// Whoever moves a value leaves its octets where it was: the manual keys and the keys to resume with in `config`, and
    /// all keys of an engine that has run. Make the engine where it is to stay, and wipe the stack that it was made on
    /// (zeroize's `zeroize_stack`) where that matters: before, because the parts of a value that are not set hold what
    /// lay there, and afterwards. The engine itself moves no secret: it writes each in its place, what it has done with is
    /// wiped there, and so is the stack that it ran on. `config` is dropped, and its keys are wiped, where it is.
    ///
    /// # Errors
    /// [`ConfigError::Storage`] if `storage` is too small, [`ConfigError::OwnGrant`] if the credentials do not let this
    /// node's own identity join.
    pub fn new(
        config: Config,
        credentials: C,
        entropy: R,
        storage: S,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        wipe::<DEEP>();
        Self::made(&config, credentials, entropy, storage, now)
    }

    // A frame of its own, on stack that was wiped.
    #[inline(never)]
    fn made(
        config: &Config,
        credentials: C,
        mut entropy: R,
        storage: S,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        check(config, &credentials, &storage)?;
        let node = Node::new(config, &mut entropy, now);
        let mut engine = Self {
            node,
            credentials,
            entropy,
            storage,
        };
        engine.begin(config);
        Ok(engine)
    }

    /// As [`new`](Self::new), in the place where the engine is to stay: a machine without a heap has it in a static,
    /// and no room on its stack for the copies that a value leaves on its way there.
    ///
    /// What `place` held is overwritten and not dropped.
    ///
    /// # Errors
    /// As [`new`](Self::new); `place` is as it was then.
    pub fn new_in(
        place: &mut MaybeUninit<Self>,
        config: Config,
        credentials: C,
        entropy: R,
        storage: S,
        now: Instant,
    ) -> Result<&mut Self, ConfigError> {
        wipe::<DEEP>();
        let engine = Self::put(place, &config, credentials, entropy, storage, now)?;
        engine.begin(&config);
        Ok(engine)
    }

    // A frame of its own, on stack that was wiped, which is gone when the engine begins.
    #[inline(never)]
    fn put<'a>(
        place: &'a mut MaybeUninit<Self>,
        config: &Config,
        credentials: C,
        mut entropy: R,
        storage: S,
        now: Instant,
    ) -> Result<&'a mut Self, ConfigError> {
        check(config, &credentials, &storage)?;
        Ok(place.write(Self {
            node: Node::new(config, &mut entropy, now),
            credentials,
            entropy,
            storage,
        }))
    }

    /// What comes once it is where it stays: secrets are written there.
    fn begin(&mut self, config: &Config) {
        let cookies = &mut self.node.cookies;
        cookies.current.redraw(&mut self.entropy);
        cookies.former.redraw(&mut self.entropy);
        for key in &config.settings().manual_keys {
            apart::<ROW, _>(|| self.node.config.take_manual(key));
        }
        self.core().resume(&config.settings().resumed_keys);
    }

    pub(crate) fn core(&mut self) -> Core<'_> {
        Core::new(
            &mut self.node,
            self.storage.slots(),
            &self.credentials,
            &mut self.entropy,
        )
    }

    /// Hands in a datagram that arrived at this node's unicast or multicast socket. It is decrypted in place.
    ///
    /// A `now` that goes back is taken as the last one. Nothing that `datagram` holds can make this panic, and what is
    /// dropped changes nothing but counters.
    pub fn handle_datagram(&mut self, now: Instant, recv: Recv, datagram: &mut [u8]) -> Handled {
        self.core().handle_datagram(now, recv, datagram)
    }

    /// Hands in a call of the host.
    ///
    /// # Errors
    /// The reason why it cannot be done; nothing changed then.
    pub fn handle_command(&mut self, now: Instant, command: Command<'_>) -> Result<(), CommandError> {
        self.core().handle_command(now, command)
    }

    /// Runs what is due and says the next thing: something to send, something that happened, or that there is nothing
    /// more before a deadline. Call it after every input and at the deadline, until it says [`Output::Idle`].
    ///
    /// `buffer` should have 1232 octets; what finds no room in it is not sent.
    pub fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Output {
        self.core().poll(now, buffer)
    }

    /// The key table of this link.
    #[must_use]
    pub fn key_table(&self) -> KeyTable<'_> {
        KeyTable::new(self.storage.view().keys, &self.node)
    }

    /// This node's part in the group.
    #[must_use]
    pub fn role(&self) -> Role {
        self.node.election.role()
    }

    /// The GCKS that this node follows or waits for, if it is another node.
    #[must_use]
    pub fn gcks(&self) -> Option<&Identity> {
        let row = self.node.membership.as_ref().map(|membership| membership.gcks)?;
        crate::storage::get(self.storage.view().peers, row).map(|peer| &peer.identity)
    }

    /// How many updates of the present Rekey SA are contained in this node's state (PROTOCOL.md section 7).
    #[must_use]
    pub fn generation(&self) -> u32 {
        match (&self.node.office, self.node.sas.current()) {
            (Some(office), _) => office.generation(),
            (None, Some(sa)) => sa.applied,
            (None, None) => 0,
        }
    }

    /// The SPI of the Rekey SA that this node follows or serves under.
    #[must_use]
    pub fn rekey_sa_spi(&self) -> Option<[u8; 16]> {
        self.node.sas.current_spi()
    }

    /// Whether an update has to be confirmed by [`Command::Installed`] before it is acknowledged.
    #[must_use]
    pub fn awaits_installation(&self) -> bool {
        !self.node.installs.is_confirmed()
    }

    /// The nodes that have proved themselves to this one.
    pub fn peers(&self) -> impl Iterator<Item = PeerView<'_>> {
        let slots = self.storage.view().peers;
        iter(slots).map(|(_, row)| PeerView {
            identity: &row.identity,
            address: row.address,
            role: row.claim.map_or(Role::Initial, |claim| peer::role(claim.state)),
            priority: row.claim.map_or(0, |claim| claim.priority),
            registered: row.sa.is_some(),
            live: row.is_live(),
            waiting: row.waits(),
            acknowledged: row.registrant.and_then(|registrant| registrant.acked),
            heard: row.heard,
        })
    }

    /// The traffic keys, the one that is sent with first, for a host that keeps them in a safe place over a restart of
    /// itself and hands them to its next engine as [`Settings::resumed_keys`](crate::Settings), which takes eight. Each is
    /// a copy that is wiped when it is dropped.
    pub fn resumable_keys(&self, now: Instant) -> impl Iterator<Item = ResumedKey> {
        let slots = self.storage.view().keys;
        let lives = || iter(slots).map(|(_, key)| key).filter(|key| key.lives());
        let sending = lives()
            .filter(|key| key.activation > 0)
            .max_by_key(|key| key.activation);
        let sending = sending.map(|key| key.id);
        let first = lives().filter(move |key| Some(key.id) == sending);
        let others = lives().filter(move |key| Some(key.id) != sending);
        first
            .chain(others)
            .map(move |key| key.resumable(now, Some(key.id) == sending))
    }

    /// Who was evicted and is still refused, at most eight, for a host that keeps them over a restart of itself and hands
    /// them to its next engine as [`Settings::evictions`](crate::Settings) (PROTOCOL.md section 7).
    pub fn evictions(&self, now: Instant) -> impl Iterator<Item = Eviction> {
        let remembered = self.node.evicted.iter().filter(move |entry| entry.until > now);
        remembered.map(move |entry| Eviction {
            digest: entry.digest,
            remaining: entry.until.since(now),
        })
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.node.counters
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.node.config
    }

    /// What needs a person's attention now.
    pub fn alarms(&self) -> impl Iterator<Item = crate::io::Alarm> {
        let alarms = self.node.alarms;
        crate::io::Alarm::ALL
            .iter()
            .copied()
            .filter(move |alarm| alarms.is_raised(*alarm))
    }
}

impl<C, R, S> core::fmt::Debug for Engine<C, R, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.node.config)
            .finish_non_exhaustive()
    }
}

/// Whether an engine can be made of these.
fn check(config: &Config, credentials: &impl Credentials, storage: &impl Storage) -> Result<(), ConfigError> {
    let view = storage.view();
    for (table, len, min) in [
        ("peers", view.peers.len(), 1),
        ("keys", view.keys.len(), MIN_KEYS),
        ("handshakes", view.handshakes.len(), 2),
        ("sealed", view.sealed.len(), 2),
        ("strangers", view.strangers.len(), 2),
    ] {
        if len < min || len > usize::from(u16::MAX) {
            return Err(ConfigError::Storage { table, min });
        }
    }
    if credentials.grant(&config.settings().identity).may_join {
        Ok(())
    } else {
        Err(ConfigError::OwnGrant)
    }
}

impl Node {
    /// A node that knows nothing but its configuration, and none of that one's keys yet.
    // A frame of its own, which is gone before anything else is done.
    #[inline(never)]
    fn new(config: &Config, rng: &mut dyn CryptoRng, now: Instant) -> Self {
        let mut instance = [0; 8];
        // All zeros is no instance.
        while instance == [0; 8] {
            rng.fill_bytes(&mut instance);
        }
        let settings = config.settings();
        let own = digest(&settings.identity);
        let evictions = settings.evictions.iter();
        let evictions = evictions
            .filter(|eviction| eviction.digest != own)
            .map(|eviction| EvictedUntil {
                digest: eviction.digest,
                until: now.after(eviction.remaining),
            })
            .collect();
        let manual = if settings.manual_keys.is_empty() {
            ManualStage::Dropped
        } else {
            ManualStage::Sending
        };
        Self {
            instance,
            sequence: 0,
            priority: settings.priority,
            election: Election::default(),
            timers: crate::timers::Timers::default(),
            sas: RekeySas::default(),
            installs: Installs::default(),
            membership: None,
            office: None,
            legacy: None,
            term_key: None,
            evicted: evictions,
            purge: false,
            penalties: crate::election::Penalties::default(),
            resting_ids: crate::node::RestingIds::default(),
            manual,
            succeeded: 0,
            activations: 0,
            dtd: settings.dtd,
            alarms: crate::node::Alarms::default(),
            counters: Counters::default(),
            cookies: CookieSecrets {
                current: Secret::zeroed(),
                former: Secret::zeroed(),
                version: 0,
            },
            wanted: heapless::Deque::new(),
            join_tries: 0,
            heir_tries: 0,
            full: None,
            replies: 0,
            triggered: None,
            goodbyes: 0,
            leaving: false,
            announce: false,
            stirred: false,
            replies_owed: false,
            pushes_owed: false,
            joins_untold: false,
            told_role: Role::Left,
            told_gcks: None,
            now,
            promised: None,
            refusals: heapless::Vec::new(),
            config: config.without_keys(),
        }
    }
}
