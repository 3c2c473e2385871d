//! The loop of a group's thread.

use std::{
    io::Read as _,
    net::IpAddr,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender},
    },
    time::Duration as StdDuration,
};

use karp_core::{
    Command,
    io::{Event, Role},
    time::{Duration, Instant},
};
use karp_std::{
    clock, driver,
    endpoint::{Notice, Progress},
    follow::{ObserveError, Snapshot},
};
use serde_json::{Value, json};

use super::{
    Answer, LEAVE_WITHIN, Message, Post,
    feed::Feed,
    keep::Keeper,
    open::{self, GroupEndpoint, SharedStore},
};
use crate::karpd::{
    config,
    events::{self, Hub},
    follow::Follower,
};

/// Between two looks at the interface and the key table's clock.
const LOOK: Duration = Duration::from_secs(1);

/// What a group is doing.
pub(super) enum Phase {
    /// It cannot take part yet, and tries again.
    Waiting { why: String, retry: Instant },
    /// It takes part.
    Running,
    /// It takes its leave.
    Leaving { until: Instant },
    /// It has left, and waits to be told to join.
    Left,
}

/// The election priority and where it comes from.
#[derive(Clone, Copy)]
pub(super) struct Priority {
    pub(super) configured: u16,
    pub(super) followed: Option<u16>,
    pub(super) operator: Option<u16>,
}

impl Priority {
    /// The one in force, and why.
    pub(super) fn effective(self) -> (u16, &'static str) {
        match (self.operator, self.followed) {
            (Some(priority), _) => (priority, "operator"),
            // Who is configured not to serve does not, whatever the routing protocol is.
            (None, Some(priority)) if self.configured > 0 => (priority, "followed"),
            (None, _) => (self.configured, "configured"),
        }
    }
}

/// What happened in a call of the endpoint.
enum Told {
    Event(Event),
    LinkLost(String),
    LinkRestored,
}

/// What ties a group's thread to the others.
pub(super) struct Line {
    pub(super) inbox: Receiver<Message>,
    /// Rings when there is something in the inbox.
    pub(super) bell: UnixStream,
    /// Reaches this thread.
    pub(super) post: Post,
    /// When the thread was last at work.
    pub(super) beat: Arc<AtomicU64>,
    /// Every sink was tried.
    pub(super) tried: Arc<AtomicBool>,
}

pub(super) struct Runtime {
    pub(super) config: config::Group,
    pub(super) credentials: SharedStore,
    pub(super) hub: Arc<Hub>,
    pub(super) phase: Phase,
    pub(super) endpoint: Option<GroupEndpoint>,
    pub(super) feed: Feed,
    pub(super) keeper: Keeper,
    pub(super) priority: Priority,
    /// The priority that the engine was told.
    pub(super) told_priority: u16,
    /// What is wrong with the link.
    pub(super) link: Option<String>,
    /// The address that the last endpoint had.
    pub(super) address: Option<IpAddr>,
    /// The kept keys are in memory: the file is older.
    pub(super) known: bool,
    /// The sinks are left alone until the engine has keys: they hold what it will get again.
    pub(super) patient: bool,
    /// The newest generation that the sinks were not told yet.
    pub(super) fresh: Option<u32>,
    /// The newest generation.
    pub(super) last: Option<u32>,
    pub(super) looked: Instant,
    pub(super) leave_answer: Option<SyncSender<Answer>>,
    pub(super) stopping: bool,
    pub(super) seen: Option<Result<Snapshot, ObserveError>>,
    pub(super) follower: Option<Follower>,
    /// Tells what a follower says from what an earlier one said.
    pub(super) followers: u64,
    /// What must end the process.
    pub(super) fatal: Option<String>,
    pub(super) line: Line,
}

impl Runtime {
    pub(super) fn new(mut config: config::Group, state: &Path, hub: Arc<Hub>, line: Line) -> Self {
        let now = clock::now();
        let identity = config.settings.identity.clone();
        let store = std::mem::replace(
            &mut config.credentials,
            karp_std::credentials::Store::new(identity),
        );
        let keeper = Keeper::new(state, config.name(), &config.settings.identity.to_string());
        Self {
            credentials: SharedStore::new(store),
            hub,
            phase: Phase::Waiting {
                why: "starting".to_owned(),
                retry: now,
            },
            endpoint: None,
            feed: Feed::new(std::mem::take(&mut config.sinks)),
            keeper,
            priority: Priority {
                configured: config.settings.priority,
                followed: None,
                operator: None,
            },
            told_priority: config.settings.priority,
            link: None,
            address: None,
            known: false,
            patient: false,
            fresh: None,
            last: None,
            looked: now,
            leave_answer: None,
            stopping: false,
            seen: None,
            follower: None,
            followers: 0,
            fatal: None,
            line,
            config,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> std::io::Result<()> {
        self.follow();
        loop {
            self.line.beat.store(clock::now().as_millis(), Ordering::Relaxed);
            self.silence();
            while let Ok(message) = self.line.inbox.try_recv() {
                self.take(message);
            }
            let progress = self.work();
            if let Some(fatal) = self.fatal.take() {
                return Err(std::io::Error::other(fatal));
            }
            if self.stopping && matches!(self.phase, Phase::Left) {
                self.feed.finish();
                return Ok(());
            }
            self.wait(progress)?;
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Request(request, answer) => self.request(request, answer),
            Message::Reload(config, answer) => {
                let restart = self.reload(*config);
                // Whoever asked may be gone.
                let _ = answer.send(restart);
            }
            Message::Fed(fed) => self.fed(&fed),
            Message::Seen(seen) => self.saw(seen),
            Message::Stop => {
                self.stopping = true;
                self.leave();
            }
        }
    }

    /// Empties the socket that wakes this thread.
    fn silence(&mut self) {
        let mut octets = [0; 64];
        while matches!(self.line.bell.read(&mut octets), Ok(n) if n > 0) {}
    }

    fn wait(&self, progress: Progress) -> std::io::Result<()> {
        let mut fds = vec![self.line.bell.as_fd()];
        let mut at_most = StdDuration::from_secs(1);
        if let Some(endpoint) = &self.endpoint {
            fds.extend(endpoint.fds());
            at_most = match progress {
                Progress::More => StdDuration::ZERO,
                Progress::Idle => endpoint.timeout().min(at_most),
            };
        }
        if let Phase::Waiting { retry: until, .. } | Phase::Leaving { until } = self.phase {
            at_most = at_most.min(clock::until(until));
        }
        driver::wait(&fds, at_most)
    }

    /// What is due.
    fn work(&mut self) -> Progress {
        let now = clock::now();
        if let Phase::Waiting { retry, .. } = self.phase
            && retry <= now
        {
            self.open(now);
        }
        let mut told = Vec::new();
        let mut progress = Progress::Idle;
        if let Some(endpoint) = &mut self.endpoint {
            progress = endpoint.on_readable(&mut |notice| match notice {
                Notice::Event(event) => told.push(Told::Event(event.clone())),
                Notice::LinkLost { error } => told.push(Told::LinkLost(error.to_string())),
                Notice::LinkRestored => told.push(Told::LinkRestored),
                _ => {}
            });
        }
        let happened = !told.is_empty();
        for told in told {
            self.tell(told);
        }
        let due = now.since(self.looked) >= LOOK;
        if matches!(self.phase, Phase::Running) && (happened || due) {
            self.feed(now);
        }
        if due {
            self.looked = now;
            self.follow_address(now);
        }
        if let Phase::Leaving { until } = self.phase {
            let out = self
                .endpoint
                .as_ref()
                .is_none_or(|endpoint| endpoint.engine().role() == Role::Left);
            if out || now >= until {
                self.left();
            }
        }
        progress
    }

    /// Tries to take part.
    fn open(&mut self, now: Instant) {
        let opened = self.feed.epochs().and_then(|epochs| {
            if !self.known {
                self.keeper.load(now);
                self.known = true;
            }
            let address = open::address(&self.config, self.address)?;
            let resumed = self.keeper.resume(&epochs, now);
            let ids: Vec<u16> = resumed.iter().map(|key| key.id).collect();
            let endpoint = open::endpoint(
                &self.config,
                &self.credentials,
                address,
                resumed,
                self.keeper.evictions(now),
            )?;
            Ok((endpoint, address, ids))
        });
        let (mut endpoint, address, resumed) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                let known = matches!(&self.phase, Phase::Waiting { why: before, .. } if *before == why);
                if !known {
                    tracing::warn!(%why, "cannot take part yet");
                    self.publish("waiting", json!({ "why": why }));
                }
                self.phase = Phase::Waiting {
                    why,
                    retry: now.after(LOOK),
                };
                self.feed_without_engine(now);
                return;
            }
        };
        tracing::info!(
            node = %self.config.settings.identity,
            address = %endpoint.local_address(),
            interface = endpoint.interface().name,
            keys = ?resumed,
            "takes part"
        );
        let joined = endpoint.command(Command::Join);
        if let Err(error) = joined {
            tracing::error!(%error, "cannot join");
        }
        let event = json!({
            "address": address.to_string(),
            "interface": endpoint.interface().name,
            "resumed": resumed,
        });
        self.told_priority = self.config.settings.priority;
        self.address = Some(address);
        self.endpoint = Some(endpoint);
        self.feed.forget_generations();
        self.phase = Phase::Running;
        self.link = None;
        self.fresh = None;
        self.last = None;
        self.publish("joined", event);
        self.set_priority();
    }

    /// A router whose address is its interface's goes where that goes: with a new engine that has the same keys.
    fn follow_address(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Running) || self.config.place.address.is_some() {
            return;
        }
        // While the interface is away the endpoint knows, and waits for it.
        let Ok(address) = open::address(&self.config, self.address) else {
            return;
        };
        if self.address == Some(address) {
            return;
        }
        let before = self.address.map(|address| address.to_string());
        tracing::info!(?before, %address, "the interface's address changed");
        self.publish(
            "moved",
            json!({ "address": address.to_string(), "before": before }),
        );
        self.restart(now);
    }

    /// Makes a new engine that goes on with the keys.
    fn restart(&mut self, now: Instant) {
        // The old sockets would be in the way.
        self.endpoint = None;
        self.patient = true;
        self.phase = Phase::Waiting {
            why: "moving to another address".to_owned(),
            retry: now,
        };
        self.open(now);
    }

    fn tell(&mut self, told: Told) {
        match told {
            Told::Event(event) => {
                if let Event::StateApplied { generation } = event {
                    self.fresh = Some(generation);
                    self.last = Some(generation);
                    self.patient = false;
                }
                if let Some((name, fields)) = events::describe(&event) {
                    self.publish(name, fields);
                }
            }
            Told::LinkLost(error) => {
                self.publish("link_lost", json!({ "error": error }));
                self.link = Some(error);
            }
            Told::LinkRestored => {
                self.publish("link_restored", json!({}));
                self.link = None;
            }
        }
    }

    /// Begins to leave. The routing daemons keep what they have: nothing is fed from here on.
    pub(super) fn leave(&mut self) {
        self.feed.release();
        match &mut self.endpoint {
            Some(endpoint) if matches!(self.phase, Phase::Running) => {
                if let Err(error) = endpoint.command(Command::Leave) {
                    tracing::debug!(%error, "leaving");
                }
                let within = u64::try_from(LEAVE_WITHIN.as_millis()).unwrap_or(u64::MAX);
                self.phase = Phase::Leaving {
                    until: clock::now().after(Duration::from_millis(within)),
                };
            }
            Some(_) => {}
            None if matches!(self.phase, Phase::Left) => {}
            None => self.left(),
        }
    }

    fn left(&mut self) {
        let clean = self
            .endpoint
            .take()
            .is_none_or(|endpoint| endpoint.engine().role() == Role::Left);
        if !clean {
            tracing::warn!("left without a farewell: nobody took over in time");
        }
        // What is kept is what the daemons have, and is looked at anew when it joins again.
        self.known = false;
        self.phase = Phase::Left;
        self.publish("left", json!({ "clean": clean }));
        if let Some(answer) = self.leave_answer.take() {
            let _ = answer.send(Ok(json!({ "clean": clean })));
        }
    }

    /// Begins to take part again.
    pub(super) fn join(&mut self) {
        let now = clock::now();
        self.phase = Phase::Waiting {
            why: "joining".to_owned(),
            retry: now,
        };
        self.open(now);
    }

    fn reload(&mut self, mut new: config::Group) -> Vec<String> {
        let mut restart = config::differences(&self.config.fields, &new.fields);
        let identity = new.settings.identity.clone();
        if new.settings.identity == self.config.settings.identity {
            let store = std::mem::replace(&mut new.credentials, karp_std::credentials::Store::new(identity));
            self.credentials.replace(store);
        }
        self.priority.configured = new.settings.priority;
        self.config.settings.priority = new.settings.priority;
        self.set_priority();
        if new.follow != self.config.follow {
            self.config.follow = new.follow;
            self.priority.followed = None;
            self.set_priority();
            self.follow();
        }
        if new.sinks != self.feed.settings() {
            // An engine waits for its sinks, or it does not, from its beginning on.
            if self.feed.settings().is_empty() || new.sinks.is_empty() {
                restart.push("sink".to_owned());
            } else {
                self.feed.replace(new.sinks);
                self.fresh = self.last;
            }
        }
        for field in &restart {
            tracing::warn!(%field, "takes effect at a restart of karpd only");
        }
        restart
    }

    pub(super) fn publish(&self, event: &str, fields: Value) {
        let node = self.config.settings.identity.to_string();
        self.hub.publish(self.config.name(), &node, event, fields);
    }
}
