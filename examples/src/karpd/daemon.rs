//! The daemon: what happens in which order at the start, and the main thread's loop.
//!
//! Order: the configuration is read and checked; directories are made; the user is changed and capabilities are dropped,
//! while there is one thread; the control socket is taken; the groups start; systemd is told.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, PoisonError, RwLock,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    config::{self, Plan},
    control::Control,
    events::Hub,
    group::{self, Answer, Ended, Handle, LEAVE_WITHIN, Refusal, Request},
    logs::{self, Logs},
    metrics, privileges,
    service::Service,
};

/// Between two rounds of the main thread.
const ROUND: Duration = Duration::from_millis(250);
/// Between two writings of the metrics file when nothing happens.
const METRICS_EVERY: Duration = Duration::from_secs(15);
/// A group's thread that was not seen at work for so long is stuck.
const STUCK: karp_core::time::Duration = karp_core::time::Duration::from_secs(10);
/// How long systemd is kept waiting for sinks that do not answer.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long a reload may take.
const RELOAD_WITHIN: Duration = Duration::from_secs(30);

/// What the main thread is told.
enum Message {
    Signal(i32),
    Reload(SyncSender<Value>),
    Ended(Ended),
}

/// What the threads share.
pub struct Shared {
    groups: RwLock<BTreeMap<String, Arc<Handle>>>,
    /// Whoever watches hears of everything here.
    pub hub: Arc<Hub>,
    started: Instant,
    main: Sender<Message>,
}

impl Shared {
    /// Refuses a name that no group has.
    ///
    /// # Errors
    /// The refusal, with the names that there are.
    pub fn named(&self, name: &str) -> Result<(), Refusal> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        if groups.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = groups.keys().map(String::as_str).collect();
        Err(Refusal::new(
            format!("there is no group {name:?}"),
            format!("give one of: {}", names.join(", ")),
        ))
    }

    /// Asks one group, or all.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn ask(&self, group: Option<&str>, request: &Request) -> Result<Vec<(String, Answer)>, Refusal> {
        if let Some(group) = group {
            self.named(group)?;
        }
        let meant: Vec<(String, Arc<Handle>)> = {
            // Not for as long as they take to answer: a leave is slow.
            let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
            let meant = groups
                .iter()
                .filter(|(name, _)| group.is_none_or(|group| group == *name));
            meant
                .map(|(name, handle)| (name.clone(), Arc::clone(handle)))
                .collect()
        };
        let ask = |(name, handle): (String, Arc<Handle>)| {
            let answer = handle.ask(request.clone());
            (name, answer)
        };
        Ok(meant.into_iter().map(ask).collect())
    }

    /// What `karpd status` shows.
    ///
    /// # Errors
    /// If there is no such group, or one does not answer.
    pub fn status(&self, group: Option<&str>) -> Result<Value, Refusal> {
        let mut groups = Vec::new();
        for (name, answer) in self.ask(group, &Request::Status)? {
            groups.push(answer.unwrap_or_else(
                |refusal| json!({ "group": name, "state": "stuck", "waiting_for": refusal.problem }),
            ));
        }
        Ok(json!({
            "ok": true,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "groups": groups,
        }))
    }

    /// Lets the main thread reload, and waits for what it says.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn reload(&self) -> Result<Value, Refusal> {
        let stuck = || Refusal::new("karpd does not answer", "look into its log");
        let (answer, result) = sync_channel(1);
        self.main.send(Message::Reload(answer)).map_err(|_| stuck())?;
        result.recv_timeout(RELOAD_WITHIN).map_err(|_| stuck())
    }
}

struct Daemon {
    plan: Plan,
    file: PathBuf,
    shared: Arc<Shared>,
    inbox: Receiver<Message>,
    logs: Logs,
    service: Service,
    written: Option<Instant>,
    metrics_failed: bool,
    ready: bool,
}

/// Runs until a signal says to stop.
///
/// # Errors
/// What kept it from starting, or what ended it.
pub fn run(file: PathBuf) -> anyhow::Result<ExitCode> {
    let mut plan = match config::load(&file) {
        Ok(plan) => plan,
        Err(faults) => {
            for fault in &faults {
                eprintln!("karpd: {fault}");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let logs = logs::start(&plan.daemon)?;
    let (main, inbox) = channel();
    // Ahead of everything that takes time: a signal must not end the process halfway.
    catch_signals(main.clone())?;
    privileges::drop(&plan)?;
    let control = Control::open(&plan.daemon.control).map_err(anyhow::Error::msg)?;
    let shared = Arc::new(Shared {
        groups: RwLock::new(BTreeMap::new()),
        hub: Arc::new(Hub::default()),
        started: Instant::now(),
        main,
    });
    let groups = std::mem::take(&mut plan.groups);
    let daemon = Daemon {
        plan,
        file,
        shared: Arc::clone(&shared),
        inbox,
        logs,
        service: Service::new(),
        written: None,
        metrics_failed: false,
        ready: false,
    };
    for group in groups {
        daemon.start(group)?;
    }
    control.serve(shared).context("serving the control socket")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %daemon.file.display(),
        control = %daemon.plan.daemon.control.display(),
        "karpd runs"
    );
    daemon.attend()
}

fn catch_signals(main: Sender<Message>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals cannot be caught")?;
    let relay = move || {
        let mut ending = false;
        for signal in signals.forever() {
            if signal != SIGHUP {
                if ending {
                    // Whoever asks twice does not want to wait for a handoff.
                    std::process::exit(128 + signal);
                }
                ending = true;
            }
            if main.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("karpd signals".to_owned())
        .spawn(relay)
        .context("no thread for signals")?;
    Ok(())
}

impl Daemon {
    fn start(&self, group: config::Group) -> anyhow::Result<()> {
        let name = group.name().to_owned();
        let main = self.shared.main.clone();
        let ended = move |ended| {
            // The main thread is gone only if the process ends anyway.
            let _ = main.send(Message::Ended(ended));
        };
        let state = self.plan.daemon.state.clone();
        let handle = group::spawn(group, state, Arc::clone(&self.shared.hub), ended)
            .with_context(|| format!("starting group {name}"))?;
        let mut groups = self.shared.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.insert(name, Arc::new(handle));
        Ok(())
    }

    /// The main thread's loop.
    fn attend(mut self) -> anyhow::Result<ExitCode> {
        loop {
            match self.inbox.recv_timeout(ROUND) {
                Ok(Message::Signal(SIGHUP)) => {
                    self.reload();
                }
                Ok(Message::Signal(signal)) => return self.stop(signal),
                Ok(Message::Reload(answer)) => {
                    let said = self.reload();
                    // Whoever asked may be gone.
                    let _ = answer.send(said);
                }
                Ok(Message::Ended(ended)) => {
                    if let Some(code) = self.ended(&ended) {
                        return Ok(code);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // It holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => return Ok(ExitCode::FAILURE),
            }
            self.look_after();
        }
    }

    /// A group's thread is gone. Without being told to, that ends the process: a group that nobody runs must not look as if
    /// it were kept.
    fn ended(&self, ended: &Ended) -> Option<ExitCode> {
        let error = ended.error.as_ref()?;
        tracing::error!(group = ended.group, %error, "a group has failed; karpd ends");
        self.service.stopping("a group has failed");
        Some(ExitCode::FAILURE)
    }

    /// What is to be done now and then.
    fn look_after(&mut self) {
        let now = karp_std::clock::now();
        let stuck = {
            let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
            let stuck = groups.iter().find(|(_, handle)| now.since(handle.beat()) > STUCK);
            stuck.map(|(name, _)| name.clone())
        };
        if let Some(group) = stuck {
            tracing::error!(group, "a group's thread is stuck; the watchdog is not fed");
        } else {
            self.service.alive();
        }
        if !self.ready {
            // Routing daemons that are started after this one find their files.
            let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
            self.ready = groups.values().all(|handle| handle.is_tried())
                || self.shared.started.elapsed() > READY_WITHIN;
            if self.ready {
                self.service.ready();
            }
        }
        if self.shared.hub.take_changed() {
            self.written = None;
            self.tell_service();
        }
        let due = self.written.is_none_or(|at| at.elapsed() >= METRICS_EVERY);
        if due && let Some(file) = &self.plan.daemon.metrics_file {
            self.written = Some(Instant::now());
            let written = self
                .shared
                .status(None)
                .map_err(|refusal| refusal.problem)
                .and_then(|status| metrics::write(file, &status).map_err(|error| error.to_string()));
            if let Err(error) = &written
                && !self.metrics_failed
            {
                tracing::warn!(file = %file.display(), %error, "metrics cannot be written");
            }
            self.metrics_failed = written.is_err();
        }
    }

    /// One line for `systemctl status`.
    fn tell_service(&mut self) {
        let Ok(status) = self.shared.status(None) else {
            return;
        };
        let groups = status["groups"].as_array().into_iter().flatten();
        let lines = groups.map(|group| {
            let text = |field: &str| group[field].as_str().unwrap_or("").to_owned();
            match text("state").as_str() {
                "running" => format!("{}: {}", text("group"), text("role")),
                state => format!("{}: {state}", text("group")),
            }
        });
        self.service.status(&lines.collect::<Vec<_>>().join(", "));
    }

    fn reload(&mut self) -> Value {
        self.service.reloading();
        let said = self.reload_now();
        self.service.ready();
        said
    }

    fn reload_now(&mut self) -> Value {
        let plan = match config::load(&self.file) {
            Ok(plan) => plan,
            Err(faults) => {
                for fault in &faults {
                    tracing::error!(%fault, "the configuration is wrong; karpd goes on with what it has");
                }
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                return json!({
                    "ok": false,
                    "error": lines.join("\n"),
                    "remedy": "correct it and reload again; karpd goes on with what it has",
                });
            }
        };
        let mut restart = config::differences(&self.plan.fields, &plan.fields);
        for field in &restart {
            tracing::warn!(%field, "takes effect at a restart of karpd only");
        }
        let mut problems = Vec::new();
        if let Err(error) = self.logs.set(&plan.daemon.log) {
            problems.push(error);
        }
        self.plan.daemon.log = plan.daemon.log;
        self.plan.daemon.metrics_file = plan.daemon.metrics_file;
        let names: Vec<String> = plan.groups.iter().map(|group| group.name().to_owned()).collect();
        let mut removed = Vec::new();
        {
            let mut groups = self.shared.groups.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<String> = groups
                .keys()
                .filter(|name| !names.contains(name))
                .cloned()
                .collect();
            for name in gone {
                if let Some(handle) = groups.remove(&name) {
                    tracing::info!(group = name, "is not in the configuration any more, and is left");
                    handle.stop();
                    removed.push(name);
                }
            }
        }
        let mut added = Vec::new();
        for group in plan.groups {
            let name = group.name().to_owned();
            let handle = {
                let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
                groups.get(&name).cloned()
            };
            match handle {
                Some(handle) => match handle.reload(group) {
                    Ok(fields) => restart.extend(fields.into_iter().map(|field| format!("{name}: {field}"))),
                    Err(refusal) => problems.push(format!("{name}: {}", refusal.problem)),
                },
                None => match self.start(group) {
                    Ok(()) => added.push(name),
                    Err(error) => problems.push(format!("{error:#}")),
                },
            }
        }
        tracing::info!(?added, ?removed, needs_restart = ?restart, "reloaded");
        let mut said = json!({
            "ok": problems.is_empty(),
            "needs_restart": restart,
            "added": added,
            "removed": removed,
        });
        if !problems.is_empty() {
            said["error"] = problems.join("; ").into();
            said["remedy"] = "look into the log".into();
        }
        said
    }

    /// Leaves every group, within bounds.
    fn stop(&mut self, signal: i32) -> anyhow::Result<ExitCode> {
        let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
        tracing::info!(
            signal = name,
            "leaves its groups; the routing daemons keep their keys"
        );
        self.service.stopping("leaving the groups");
        let mut failed = false;
        {
            let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
            groups.values().for_each(|handle| handle.stop());
        }
        let until = Instant::now() + LEAVE_WITHIN + Duration::from_secs(2);
        loop {
            let all_over = {
                let groups = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
                groups.values().all(|handle| handle.is_over())
            };
            if all_over || Instant::now() >= until {
                break;
            }
            if let Ok(Message::Ended(Ended {
                error: Some(error),
                group,
            })) = self.inbox.recv_timeout(Duration::from_millis(50))
            {
                tracing::error!(group, %error, "a group failed while leaving");
                failed = true;
            }
        }
        tracing::info!("ends");
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}
