//! The laboratory of one scenario: its LAN, its routers, what is watched, and the one loop that waits.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand_core::Rng as _;
use serde_json::{Value, json};

use super::{
    control, karpd,
    measure::Measures,
    net::{self, Lan, lose},
    process::Process,
    record::{Event, Record, Watched},
    report,
    router::{Common, FirstKey, Kind, Router},
    stall::Lateness,
    tree::Tree,
    watch::{Watcher, unix_ms},
};
use crate::entropy::DemoEntropy;

/// Conditions are looked at so often.
const PACE: Duration = Duration::from_millis(20);
/// karpd is asked for its status so often.
const ASK: Duration = Duration::from_millis(250);
/// The id of the key that daemons start with: a manual one where there is one, else a blocker that nobody else has.
pub const MANUAL_ID: u16 = 7;
/// The id of that blocker.
pub const BLOCKER_ID: u16 = 0;

/// Why a scenario ended before its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// It did not hold: what, and since when (Unix time in milliseconds) it was waited for.
    Failed {
        /// In words.
        why: String,
        /// The begin of the wait.
        since_ms: u64,
    },
    /// Somebody ended it.
    Interrupted,
}

impl End {
    /// A failure that is seen now.
    #[must_use]
    pub fn now(why: impl Into<String>) -> Self {
        Self::Failed {
            why: why.into(),
            since_ms: unix_ms(),
        }
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Self::now(format!("{error:#}"))
    }
}

/// What the user chose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The short form.
    pub short: bool,
    /// So many percent of all packets are lost at each router.
    pub loss: u8,
    /// Decides what is random in the story.
    pub seed: u64,
    /// Files stay when it ends.
    pub keep: bool,
    /// Where results go.
    pub results: PathBuf,
    /// Set when it shall end.
    pub stop: Arc<AtomicBool>,
}

/// What a scenario runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The routers' software.
    pub routers: Vec<Kind>,
    /// What they speak.
    pub protocols: Vec<Watched>,
    /// All daemons have one manual key from the start.
    pub manual: bool,
    /// So many of the routers, the last ones, have credentials that no other knows.
    pub outsiders: usize,
}

/// A running laboratory. Dropping it ends and removes everything.
pub struct Lab {
    // Processes end before the namespaces that they are in are deleted: fields are dropped in this order.
    /// The routers.
    pub routers: Vec<Router>,
    /// Other programs that run until the end.
    pub helpers: Vec<Process>,
    /// Hosts on the LAN that are no routers and send what the scenario has them send: an audit leaves them out.
    pub guests: Vec<u8>,
    pub(super) control: Vec<Process>,
    /// What was seen.
    pub record: Record,
    /// What was measured.
    pub measures: Measures,
    /// The lateness of the machine.
    pub lateness: Lateness,
    /// What the user chose.
    pub options: Options,
    /// What it runs on.
    pub plan: Plan,
    /// The tree.
    pub tree: Tree,
    /// What is random in the story.
    pub story: DemoEntropy,
    /// When it began, Unix time in milliseconds.
    pub began_ms: u64,
    common: Common,
    watcher: Watcher,
    events: Receiver<Event>,
    asked: Instant,
    keys_changed: Instant,
    /// The LAN of the routers.
    pub lan: Lan,
    _control_lan: Lan,
    _state: State,
}

/// The directory under /run; removed with the laboratory.
struct State(Option<PathBuf>);

impl Drop for State {
    fn drop(&mut self) {
        if let Some(directory) = &self.0 {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Lab {
    /// Builds the LANs and the files of the routers; nothing runs yet but the control LAN.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(options: Options, plan: Plan, tree: Tree) -> anyhow::Result<Self> {
        let directory = net::claim()?;
        let state = State((!options.keep).then(|| directory.clone()));
        std::fs::create_dir_all(&options.results)
            .with_context(|| format!("{} cannot be made", options.results.display()))?;
        let mut story = DemoEntropy::new(Some(options.seed), 0);
        let mut lan = Lan::new("")?;
        let (watcher, events) = Watcher::start(plan.routers.len());
        let mut routers = Vec::new();
        for (index, kind) in plan.routers.iter().enumerate() {
            let host = u8::try_from(index + 1).context("too many routers")?;
            let namespace = lan.add(&format!("r{host}"), host)?;
            if options.loss > 0 {
                lose(&namespace, options.loss)?;
            }
            let mut router = Router::new(index, *kind, namespace, &directory, &tree)?;
            router.is_outsider = index + plan.outsiders >= plan.routers.len();
            router.watch(&watcher);
            routers.push(router);
        }
        let common = Common {
            protocols: plan.protocols.clone(),
            manual: plan.manual.then(|| FirstKey {
                id: MANUAL_ID,
                text: random_text(&mut story),
            }),
        };
        let (control_lan, control) = control::start(&directory, &tree, &watcher, &mut story)?;
        let mut lab = Self {
            routers,
            helpers: Vec::new(),
            guests: Vec::new(),
            control,
            record: Record::default(),
            measures: Measures::default(),
            lateness: Lateness::start(),
            options,
            plan,
            tree,
            story,
            began_ms: unix_ms(),
            common,
            watcher,
            events,
            asked: Instant::now(),
            keys_changed: Instant::now(),
            lan,
            _control_lan: control_lan,
            _state: state,
        };
        for index in 0..lab.routers.len() {
            if lab.routers[index].is_outsider {
                lab.record.exempt(index);
            }
        }
        lab.provision()?;
        Ok(lab)
    }

    /// Gives each pair of routers a key, and writes all files.
    fn provision(&mut self) -> anyhow::Result<()> {
        let count = self.routers.len();
        // By whose file it stands in, and about whom.
        let mut keys = BTreeMap::new();
        for one in 0..count {
            for other in one + 1..count {
                let key = random_hex(&mut self.story);
                let is_wrong = self.routers[one].is_outsider || self.routers[other].is_outsider;
                let theirs = if is_wrong {
                    random_hex(&mut self.story)
                } else {
                    key.clone()
                };
                keys.insert((one, other), key);
                keys.insert((other, one), theirs);
            }
        }
        for index in 0..count {
            let peers: Vec<(String, String)> = keys
                .iter()
                .filter(|((whose, _), _)| *whose == index)
                .map(|((_, other), key)| (self.routers[*other].name.clone(), key.clone()))
                .collect();
            self.routers[index].karpd_files(&self.common, &peers)?;
            self.boot_files(index)?;
        }
        Ok(())
    }

    /// Writes a router's files as its operator has them for a boot.
    fn boot_files(&mut self, index: usize) -> anyhow::Result<()> {
        let others: Vec<u8> = self
            .routers
            .iter()
            .filter(|router| router.index != index)
            .map(|router| router.host)
            .collect();
        let key = self.common.manual.clone().unwrap_or_else(|| FirstKey {
            id: BLOCKER_ID,
            text: random_text(&mut self.story),
        });
        self.routers[index].boot_files(&self.common, &others, &key, &self.tree)
    }

    /// Says what the scenario does.
    pub fn act(&mut self, text: impl Into<String>) {
        self.take(Event::Act {
            at_ms: unix_ms(),
            text: text.into(),
        });
    }

    /// Starts a router as a boot does: its daemons, then karpd where `keyed`.
    ///
    /// # Errors
    /// A program does not start.
    pub fn boot(&mut self, index: usize, keyed: bool) -> anyhow::Result<()> {
        self.boot_files(index)?;
        self.start_daemons(index)?;
        if keyed {
            self.start_karpd(index)?;
        }
        Ok(())
    }

    /// Starts a router's daemons on the files that are there.
    ///
    /// # Errors
    /// A program does not start.
    pub fn start_daemons(&mut self, index: usize) -> anyhow::Result<()> {
        self.routers[index].start_daemons(&self.common, &self.tree)
    }

    /// Starts a router's karpd.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_karpd(&mut self, index: usize) -> anyhow::Result<()> {
        self.routers[index].start_karpd(&self.tree, &self.watcher)
    }

    /// Ends a router's daemons with time to say goodbye. What they had is void, and does not count until
    /// [`Record::count`].
    pub fn stop_daemons(&mut self, index: usize) {
        self.record.exempt(index);
        self.routers[index].stop_daemons();
        self.settle_events();
        self.record.silence(index);
        self.gone(index, false, true);
    }

    /// Kills a router's karpd.
    pub fn crash_karpd(&mut self, index: usize) {
        self.routers[index].crash_karpd();
        self.gone(index, true, false);
    }

    /// Ends a router's karpd by SIGTERM. Returns whether it ended by itself.
    pub fn stop_karpd(&mut self, index: usize) -> bool {
        let ended = self.routers[index].stop_karpd();
        self.gone(index, true, false);
        ended
    }

    fn gone(&mut self, router: usize, karpd: bool, daemons: bool) {
        self.drain(Duration::ZERO);
        self.take(Event::Gone {
            at_ms: unix_ms(),
            router,
            karpd,
            daemons,
        });
    }

    /// Kills a whole router and empties what a reboot empties.
    pub fn crash(&mut self, index: usize) {
        self.record.exempt(index);
        self.routers[index].crash();
        self.settle_events();
        self.record.silence(index);
        self.gone(index, true, true);
    }

    /// Takes in what the daemons wrote until now.
    pub(super) fn settle_events(&mut self) {
        std::thread::sleep(3 * PACE);
        self.drain(Duration::ZERO);
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// It does not come about within `limit`, a program that should run has ended, or somebody ended the scenario.
    pub fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), End> {
        let since_ms = unix_ms();
        let end = Instant::now() + limit;
        loop {
            if self.options.stop.load(Ordering::Relaxed) {
                return Err(End::Interrupted);
            }
            self.drain(PACE);
            if self.asked.elapsed() >= ASK {
                self.ask();
            }
            if done(self) {
                return Ok(());
            }
            if let Some(why) = self.casualty() {
                return Err(End::now(why));
            }
            if Instant::now() >= end {
                let why = format!(
                    "waited {:.1} s in vain: {what}. Seen:\n    {}",
                    limit.as_secs_f64(),
                    self.describe().join("\n    ")
                );
                return Err(End::Failed { why, since_ms });
            }
        }
    }

    /// A program that should run and does not, with its last words.
    fn casualty(&mut self) -> Option<String> {
        let of_router = self.routers.iter_mut().find_map(Router::casualty);
        let others = self.control.iter_mut().chain(&mut self.helpers);
        of_router.or_else(|| {
            others
                .filter_map(|process| Some((process.ended()?, process)))
                .map(|(status, process)| {
                    format!(
                        "{} has ended ({status}):\n    {}",
                        process.name(),
                        process.last_words()
                    )
                })
                .next()
        })
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub fn pass(&mut self, span: Duration) -> Result<(), End> {
        let end = Instant::now() + span;
        self.until(span + Duration::from_secs(60), "time to pass", |_| {
            Instant::now() >= end
        })
    }

    /// Asks every karpd how it is.
    pub fn ask(&mut self) {
        let mut told = Vec::new();
        for router in &mut self.routers {
            let before = router.status.take();
            router.ask();
            router.measure();
            let keys = |status: &Option<karpd::Status>| status.as_ref().map(|status| status.keys.clone());
            if keys(&before) != keys(&router.status) {
                self.keys_changed = Instant::now();
            }
            // What a karpd that has started told before anybody listened is not heard again.
            if let (None, Some(status)) = (&before, &router.status) {
                let event = json!({ "unix_ms": unix_ms(), "event": "role_seen", "role": status.role });
                told.push(Event::Karpd {
                    router: router.index,
                    event,
                });
            }
        }
        for event in told {
            self.take(event);
        }
        self.asked = Instant::now();
    }

    fn drain(&mut self, wait: Duration) {
        let mut next = self.events.recv_timeout(wait).ok();
        while let Some(event) = next {
            self.take(event);
            next = self.events.try_recv().ok();
        }
    }

    fn take(&mut self, event: Event) {
        if let Some(line) = report::line(&event, &self.record, self.began_ms) {
            report::tell(&line);
        }
        if matches!(&event, Event::Karpd { event, .. } if event.get("event").and_then(Value::as_str) == Some("rekey_completed"))
        {
            self.measures.rollovers += 1;
        }
        if self.record.take(event)
            && let Some(loss) = self.record.losses().last()
        {
            report::tell(&report::loss(loss, self.began_ms));
        }
    }

    /// The routers that belong to the group and whose daemons run.
    #[must_use]
    pub fn standing(&self) -> Vec<usize> {
        self.routers
            .iter()
            .filter(|router| router.has_daemons() && !router.is_outsider)
            .map(|router| router.index)
            .collect()
    }

    /// All adjacencies between the routers whose daemons run are as they should be.
    #[must_use]
    pub fn is_meshed(&self) -> bool {
        let standing = self.standing();
        self.plan
            .protocols
            .iter()
            .all(|protocol| self.record.is_meshed(&standing, *protocol))
    }

    /// The id of the key with which all routers whose karpd runs send, under one key server, if so it is; and the key
    /// server.
    #[must_use]
    pub fn agreed(&self) -> Option<(usize, u16)> {
        let live: Vec<&Router> = self
            .routers
            .iter()
            .filter(|router| router.has_karpd() && !router.is_outsider)
            .collect();
        let statuses: Option<Vec<(&str, &karpd::Status)>> = live
            .iter()
            .map(|router| Some((router.name.as_str(), router.status.as_ref()?)))
            .collect();
        if !karpd::agree(&statuses?) {
            return None;
        }
        let gcks = live
            .iter()
            .find(|router| router.status.as_ref().is_some_and(|status| status.role == "gcks"))?;
        Some((gcks.index, gcks.status.as_ref()?.sending_id()?))
    }

    /// [`agreed`](Self::agreed), all adjacencies there, and no key on its way. A key of an office that was merged away
    /// retires until its own end (PROTOCOL.md section 7); one of this office is gone soon after the DTD.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let after_dtd = Duration::from_millis(karpd::DTD_MS + 1000);
        let is_still = self.keys_changed.elapsed() > after_dtd;
        let is_quiet = |status: &karpd::Status| status.is_quiet() || (is_still && status.has_no_pending());
        let mut group = self.routers.iter().filter(|router| !router.is_outsider);
        let quiet = |router: &Router| router.status.as_ref().is_none_or(is_quiet);
        self.agreed().is_some() && self.is_meshed() && group.all(quiet)
    }

    /// Asks a router's karpd for something.
    ///
    /// # Errors
    /// It says no, or is not there.
    pub fn request(&self, index: usize, request: &Value) -> anyhow::Result<Value> {
        karpd::request(&self.routers[index].control(), request)
    }

    /// Asks a router's karpd for a new key.
    ///
    /// # Errors
    /// It says no, or is not there.
    pub fn request_rekey(&self, index: usize) -> anyhow::Result<()> {
        self.request(index, &json!({ "command": "rekey" })).map(drop)
    }

    /// The designated router in the first protocol that elects one, as its own daemon says it.
    #[must_use]
    pub fn designated(&self) -> Option<usize> {
        let protocol = self
            .plan
            .protocols
            .iter()
            .find(|protocol| protocol.elects())
            .copied()?;
        self.standing()
            .into_iter()
            .find(|index| match self.routers[*index].kind {
                Kind::Bird => self.record.role(*index, protocol) == Some("DR"),
                Kind::Frr => self.routers[*index].is_designated(protocol),
            })
    }

    /// One of these, at random.
    pub fn pick(&mut self, among: &[usize]) -> usize {
        let place = self.story.below(among.len() as u64);
        usize::try_from(place)
            .ok()
            .and_then(|place| among.get(place))
            .copied()
            .unwrap_or(0)
    }

    /// The key that daemons start with, if it is a manual one.
    #[must_use]
    pub const fn manual(&self) -> Option<&FirstKey> {
        self.common.manual.as_ref()
    }
}

/// A key of 24 letters and digits: OSPFv3 of either daemon takes no more than 30.
pub(super) fn random_text(story: &mut DemoEntropy) -> String {
    random_hex(story).chars().take(24).collect()
}

/// 32 octets in hexadecimal.
fn random_hex(story: &mut DemoEntropy) -> String {
    let mut octets = [0; 32];
    story.fill_bytes(&mut octets);
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
