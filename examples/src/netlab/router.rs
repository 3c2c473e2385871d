//! One router: its files, its routing daemons, its karpd.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, anyhow};

use super::{
    bird, frr,
    karpd::{self, Daemon, Status},
    measure::Usage,
    process::{Process, in_namespace, in_tree},
    record::Watched,
    tree::Tree,
    watch::{Source, Watcher},
};

/// How long a daemon may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(8);

/// Which routing software a router runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// BIRD 2.
    Bird,
    /// FRR: zebra with ospfd, ospf6d, or both.
    Frr,
}

/// With which key a router's daemons start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstKey {
    /// Its id.
    pub id: u16,
    /// Its text.
    pub text: String,
}

/// How all routers of a LAN are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Common {
    /// What they speak.
    pub protocols: Vec<Watched>,
    /// A key that all daemons have from the start, and karpd as a manual key.
    pub manual: Option<FirstKey>,
}

/// A router.
pub struct Router {
    /// Its place in the list of routers.
    pub index: usize,
    /// Its name: r1, r2, ..
    pub name: String,
    /// Its number on the LAN.
    pub host: u8,
    /// Its software.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// OSPF's own priority.
    pub ospf_priority: u8,
    /// What karpd said last.
    pub status: Option<Status>,
    /// What its karpds have used.
    pub usage: Usage,
    /// It has no right to be here.
    pub is_outsider: bool,
    directory: PathBuf,
    daemons: Vec<Process>,
    karpd: Option<Process>,
    subscribed: Arc<AtomicBool>,
}

impl Router {
    /// A router with nothing running, and its directory below `state`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        index: usize,
        kind: Kind,
        namespace: String,
        state: &Path,
        tree: &Tree,
    ) -> anyhow::Result<Self> {
        let host = u8::try_from(index + 1).context("too many routers")?;
        let name = format!("r{host}");
        let directory = state.join(&name);
        for (part, mode, is_frrs) in [
            ("run", 0o755, false),
            ("run/own", 0o755, false),
            ("run/frr", 0o755, true),
            ("etc", 0o755, true),
            ("lib", 0o755, true),
            ("tmp", 0o1777, false),
            ("karp", 0o700, false),
        ] {
            let path = directory.join(part);
            fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            if is_frrs {
                chown(&path, Some(tree.frr.0), Some(tree.frr.1))?;
            }
        }
        Ok(Self {
            index,
            name,
            host,
            kind,
            namespace,
            ospf_priority: 1,
            status: None,
            usage: Usage::default(),
            is_outsider: false,
            directory,
            daemons: Vec::new(),
            karpd: None,
            subscribed: Arc::default(),
        })
    }

    /// Where its logs are.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        let mut logs = vec![
            self.directory.join("karpd.log"),
            self.directory.join("daemons.log"),
        ];
        match self.kind {
            Kind::Bird => logs.push(self.own().join("bird.log")),
            Kind::Frr => {
                logs.push(self.directory.join("run/frr/ospfd.log"));
                logs.push(self.directory.join("run/frr/ospf6d.log"));
            }
        }
        logs.retain(|log| log.exists());
        logs
    }

    /// Tells the watcher of the daemons' logs.
    pub fn watch(&self, watcher: &Watcher) {
        match self.kind {
            Kind::Bird => watcher.follow(self.own().join("bird.log"), Source::Bird(self.index)),
            Kind::Frr => {
                for name in ["ospfd.log", "ospf6d.log"] {
                    watcher.follow(self.directory.join("run/frr").join(name), Source::Frr(self.index));
                }
            }
        }
    }

    /// The directory that BIRD sees as [`bird::OWN`].
    #[must_use]
    pub fn own(&self) -> PathBuf {
        self.directory.join("run/own")
    }

    /// The directory with karpd's files.
    #[must_use]
    pub fn karp(&self) -> PathBuf {
        self.directory.join("karp")
    }

    /// karpd's control socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.karp().join("karpd.sock")
    }

    /// Writes the daemons' files with the key that they start with, and empties what a reboot empties.
    ///
    /// # Errors
    /// The system's.
    pub fn boot_files(
        &self,
        common: &Common,
        others: &[u8],
        key: &FirstKey,
        tree: &Tree,
    ) -> anyhow::Result<()> {
        match fs::remove_dir_all(self.karp().join("state")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        match self.kind {
            Kind::Bird => {
                for protocol in &common.protocols {
                    let file = self.own().join(bird::key_file(*protocol));
                    private(&file, &bird::password(*protocol, key.id, &key.text))?;
                }
                let text = bird::configuration(&bird::Settings {
                    host: self.host,
                    others,
                    protocols: &common.protocols,
                    priority: self.ospf_priority,
                });
                private(&self.own().join("bird.conf"), &text)?;
            }
            Kind::Frr => {
                let etc = self.directory.join("etc");
                let mut files = vec![
                    ("zebra.conf".to_owned(), frr::zebra()),
                    ("vtysh.conf".to_owned(), String::new()),
                ];
                for protocol in &common.protocols {
                    let name = frr::daemon(*protocol)
                        .ok_or_else(|| anyhow!("FRR cannot authenticate {} here", protocol.name()))?;
                    let text =
                        frr::configuration(*protocol, self.host, self.ospf_priority, key.id, &key.text);
                    files.push((format!("{name}.conf"), text));
                }
                for (name, text) in files {
                    let path = etc.join(name);
                    private(&path, &text)?;
                    chown(&path, Some(tree.frr.0), Some(tree.frr.1))?;
                }
            }
        }
        Ok(())
    }

    /// Writes karpd's configuration; `peers` are names and the keys shared with them, in hexadecimal.
    ///
    /// # Errors
    /// The system's.
    pub fn karpd_files(&self, common: &Common, peers: &[(String, String)]) -> anyhow::Result<()> {
        let karp = self.karp();
        let mut files = Vec::new();
        for (peer, key) in peers {
            let name = format!("{peer}.psk");
            private(&karp.join(&name), &format!("{key}\n"))?;
            files.push((peer.clone(), name));
        }
        if let Some(manual) = &common.manual {
            private(&karp.join("manual.key"), &format!("{}\n", manual.text))?;
        }
        let (socket, frr) = (self.own().join("bird.ctl"), self.directory.join("run/frr"));
        let own = self.own();
        let text = karpd::configuration(&karpd::Settings {
            name: &self.name,
            host: self.host,
            peers: &files,
            protocols: &common.protocols,
            daemon: match self.kind {
                Kind::Bird => Daemon::Bird {
                    socket: &socket,
                    directory: &own,
                },
                Kind::Frr => Daemon::Frr { directory: &frr },
            },
            control: &self.control(),
            state: &karp.join("state"),
            manual: common.manual.as_ref().map(|key| (key.id, "manual.key")),
        });
        private(&karp.join("karpd.toml"), &text)
    }

    /// Starts the routing daemons.
    ///
    /// # Errors
    /// A daemon does not start, or is gone after a moment: with its last words.
    pub fn start_daemons(&mut self, common: &Common, tree: &Tree) -> anyhow::Result<()> {
        let binds = [
            (self.directory.join("run"), "/run"),
            (self.directory.join("etc"), "/etc/frr"),
            (self.directory.join("lib"), "/var/lib/frr"),
            (self.directory.join("tmp"), "/var/tmp"),
        ];
        let output = self.directory.join("daemons.log");
        let start = |program: &str, arguments: &[&str]| {
            let mut command = in_tree(&self.namespace, &tree.directory, &binds, program);
            command.args(arguments);
            let name = program.rsplit('/').next().unwrap_or(program);
            Process::spawn(format!("{name} of {}", self.name), command, &output)
        };
        let mut daemons = Vec::new();
        match self.kind {
            Kind::Bird => {
                let (conf, socket) = (
                    format!("{}/bird.conf", bird::OWN),
                    format!("{}/bird.ctl", bird::OWN),
                );
                daemons.push(start("/usr/sbin/bird", &["-f", "-c", &conf, "-s", &socket])?);
            }
            Kind::Frr => {
                let conf = |name: &str| format!("/etc/frr/{name}.conf");
                daemons.push(start("/usr/lib/frr/zebra", &["-P", "0", "-f", &conf("zebra")])?);
                // The others look for zebra's socket once, and then only every few seconds.
                let socket = self.directory.join("run/frr/zserv.api");
                for _ in 0..200 {
                    if socket.exists() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                for name in common
                    .protocols
                    .iter()
                    .filter_map(|protocol| frr::daemon(*protocol))
                {
                    let program = format!("/usr/lib/frr/{name}");
                    daemons.push(start(&program, &["-P", "0", "-f", &conf(name)])?);
                }
            }
        }
        self.daemons = daemons;
        Ok(())
    }

    /// Ends the daemons, with time to say goodbye.
    pub fn stop_daemons(&mut self) {
        // The routing protocols before zebra.
        for daemon in self.daemons.iter_mut().rev() {
            daemon.terminate(FAREWELL);
        }
        self.daemons.clear();
    }

    /// Starts karpd: this program under its hidden command.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_karpd(&mut self, tree: &Tree, watcher: &Watcher) -> anyhow::Result<()> {
        let this = std::env::current_exe().context("this program's file cannot be found")?;
        // karpd gives up the capability that lets root into any socket; FRR's are the group's.
        let mut command = in_namespace(&self.namespace, "setpriv");
        command
            .args(["--groups", &format!("0,{},{}", tree.frr.1, tree.frrvty)])
            .arg(this)
            .args(["karpd", "--config"])
            .arg(self.karp().join("karpd.toml"))
            .env_remove("NOTIFY_SOCKET");
        let log = self.directory.join("karpd.log");
        self.karpd = Some(Process::spawn(format!("karpd of {}", self.name), command, &log)?);
        self.subscribed = watcher.subscribe(&self.control(), self.index);
        Ok(())
    }

    /// Whether the watcher hears karpd.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }

    /// Kills karpd.
    pub fn crash_karpd(&mut self) {
        self.measure();
        if let Some(mut karpd) = self.karpd.take() {
            karpd.crash();
        }
        self.status = None;
    }

    /// Ends karpd by SIGTERM. Returns whether it ended by itself.
    pub fn stop_karpd(&mut self) -> bool {
        self.measure();
        self.status = None;
        self.karpd
            .take()
            .is_none_or(|mut karpd| karpd.terminate(FAREWELL))
    }

    /// Kills everything at once.
    pub fn crash(&mut self) {
        self.crash_karpd();
        for daemon in &mut self.daemons {
            daemon.crash();
        }
        self.daemons.clear();
    }

    /// Gives its daemons away: they are to run on without it.
    pub fn release(&mut self) -> Vec<Process> {
        std::mem::take(&mut self.daemons)
    }

    /// Whether its karpd runs.
    #[must_use]
    pub const fn has_karpd(&self) -> bool {
        self.karpd.is_some()
    }

    /// Whether its daemons run.
    #[must_use]
    pub const fn has_daemons(&self) -> bool {
        !self.daemons.is_empty()
    }

    /// Reads what the running karpd has used so far.
    pub fn measure(&mut self) {
        if let Some(karpd) = &self.karpd {
            self.usage.note(karpd.pid());
        }
    }

    /// A process that has ended by itself, with its last words.
    pub fn casualty(&mut self) -> Option<String> {
        self.daemons
            .iter_mut()
            .chain(&mut self.karpd)
            .find_map(|process| {
                let status = process.ended()?;
                Some(format!(
                    "{} has ended ({status}):\n    {}",
                    process.name(),
                    process.last_words()
                ))
            })
    }

    /// Overwrites the passwords of a BIRD behind karpd's back.
    ///
    /// # Errors
    /// The system's.
    pub fn overwrite_keys(&self, protocol: Watched, passwords: &str) -> anyhow::Result<()> {
        private(&self.own().join(bird::key_file(protocol)), passwords)
    }

    /// Lets a BIRD read its files again.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub fn reconfigure(&self) -> anyhow::Result<()> {
        bird::command(&self.own().join("bird.ctl"), "configure").and_then(|answer| {
            match answer.contains("0003 ") {
                true => Ok(()),
                false => Err(anyhow!("BIRD of {} refuses: {answer}", self.name)),
            }
        })
    }

    /// Whether an FRR says of itself that it is the designated router.
    #[must_use]
    pub fn is_designated(&self, protocol: Watched) -> bool {
        frr::role(&self.directory.join("run/frr"), protocol).as_deref() == Some("DR")
    }

    /// Asks karpd how it is.
    pub fn ask(&mut self) {
        self.status = match &self.karpd {
            Some(_) => karpd::request(&self.control(), &serde_json::json!({ "command": "status" }))
                .ok()
                .and_then(|answer| Status::read(&answer)),
            None => None,
        };
    }
}

/// Writes a file that only root reads.
pub(super) fn private(path: &Path, text: &str) -> anyhow::Result<()> {
    let made = || {
        fs::write(path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    };
    made().with_context(|| format!("{} cannot be written", path.display()))
}
