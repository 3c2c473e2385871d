//! What every case runs on: two namespaces, and karp's pair in one of them.

use std::{
    fs::File,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use karp_core::{
    Grant, Identity,
    crypto::{Secret, SigningKey},
    io::{Handled, MessageKind},
    pairwise::{Command, Config, Event, Failure, Output, Pair, PairCounters, Settings},
};
use karp_std::{
    credentials::{PreSharedKey, Proof, Store},
    entropy::OsEntropy,
    pair::{Notice, PairHost},
};
use nix::sched::{CloneFlags, setns};

use super::swan::{Auth, Setup, Swan};
use crate::netlab::{
    net::{self, Lan},
    tree::Tree,
};

/// karp's host number on the bridge, and strongSwan's.
const KARP: u8 = 1;
const SWAN: u8 = 2;
/// How long anything may take that takes a few round trips.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// The pair as it runs here.
pub(super) type Host = PairHost<Store, OsEntropy>;

/// The two namespaces.
pub(super) struct Bench {
    lan: Lan,
    karp: String,
    swan: String,
    tree: PathBuf,
    results: PathBuf,
    state: PathBuf,
}

impl Bench {
    pub(super) fn open(tree: &Tree, results: &Path) -> anyhow::Result<Self> {
        let state = net::claim()?;
        let mut lan = Lan::new("s")?;
        let karp = lan.add("k", KARP)?;
        let swan = lan.add("w", SWAN)?;
        for file in ["usr/lib/ipsec/charon", "usr/sbin/swanctl"] {
            if !tree.directory.join(file).exists() {
                bail!("the tree has no {file}: make it anew with netlab -- setup --force");
            }
        }
        Ok(Self {
            lan,
            karp,
            swan,
            tree: tree.directory.clone(),
            results: results.to_owned(),
            state,
        })
    }

    /// The place of one case.
    pub(super) fn case(&self, name: &str) -> anyhow::Result<Case<'_>> {
        let directory = self.state.join(name);
        let results = self.results.join(name);
        for place in [&directory, &results] {
            std::fs::create_dir_all(place).with_context(|| format!("{} cannot be made", place.display()))?;
        }
        Ok(Case {
            bench: self,
            name: name.to_owned(),
            directory,
            results,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
        let _ = &self.lan;
    }
}

/// One case: where its files are.
pub(super) struct Case<'a> {
    bench: &'a Bench,
    name: String,
    directory: PathBuf,
    results: PathBuf,
}

/// Keys that both sides are given.
pub(super) struct Keys {
    pub(super) psk: Vec<u8>,
    pub(super) karp: [u8; 32],
    pub(super) swan: [u8; 32],
}

impl Keys {
    pub(super) fn new() -> Self {
        let draw = || *Secret::<32>::random(&mut OsEntropy).expose();
        Self {
            psk: draw().to_vec(),
            karp: draw(),
            swan: draw(),
        }
    }

    /// strongSwan's side.
    pub(super) fn swan_auth(&self, raw: bool) -> Auth {
        if raw {
            Auth::RawKeys(self.swan, public(&self.karp))
        } else {
            Auth::Psk(self.psk.clone())
        }
    }

    /// karp's side.
    pub(super) fn store(&self, raw: bool) -> anyhow::Result<Store> {
        let store = Store::new(karp_id());
        let (store, proof) = if raw {
            let key = SigningKey::from_seed(&Secret::from_bytes(self.karp));
            (store.with_signing_key(key), Proof::PublicKey(public(&self.swan)))
        } else {
            (store, Proof::PreSharedKey(PreSharedKey::new(&self.psk)?))
        };
        Ok(store.with_peer(swan_id(), Grant::FULL, proof)?)
    }
}

fn public(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_seed(&Secret::from_bytes(*seed)).public()
}

pub(super) fn karp_id() -> Identity {
    Identity::fqdn("a.example").expect("a short name")
}

pub(super) fn swan_id() -> Identity {
    Identity::fqdn("b.example").expect("a short name")
}

fn ip(host: u8) -> IpAddr {
    IpAddr::from([10, 9, 0, host])
}

/// Settings for strongSwan as peer: it does not send with TTL 255.
pub(super) fn settings(initiate: bool) -> Settings {
    let (own, peer) = ((ip(KARP), 500).into(), (ip(SWAN), 500).into());
    Settings {
        gtsm: false,
        initiate,
        ..Settings::new(karp_id(), own, swan_id(), peer)
    }
}

impl Case<'_> {
    /// Starts strongSwan.
    pub(super) fn swan(&self, setup: &Setup) -> anyhow::Result<Swan> {
        Swan::start(
            setup,
            &self.bench.swan,
            &self.bench.tree,
            &self.directory,
            ip(SWAN),
            ip(KARP),
        )
    }

    /// Begins so many exchanges with strongSwan, and does not go on with them.
    pub(super) fn abandon(&self, count: usize, store: Store) -> anyhow::Result<()> {
        let namespace = format!("/run/netns/{}", self.bench.karp);
        std::thread::scope(|scope| {
            let begun = scope.spawn(|| {
                let file = File::open(&namespace).with_context(|| format!("{namespace} is not there"))?;
                setns(&file, CloneFlags::CLONE_NEWNET).context("the namespace cannot be entered")?;
                let socket = std::net::UdpSocket::bind((ip(KARP), 0))?;
                for _ in 0..count {
                    let now = karp_std::clock::now();
                    let config = Config::new(settings(true))?;
                    let mut pair = Pair::new(config, &store, OsEntropy, now)?;
                    pair.handle_command(now, Command::Start)?;
                    let mut buffer = [0; 1232];
                    let Output::Transmit { len, to, .. } = pair.poll(now, &mut buffer) else {
                        bail!("a pair that was started sends nothing");
                    };
                    socket.send_to(&buffer[..len], to)?;
                }
                // They are there when the answers are.
                socket.set_read_timeout(Some(SOON))?;
                for _ in 0..count {
                    socket
                        .recv(&mut [0; 2048])
                        .context("no answer to an exchange that was begun")?;
                }
                Ok(())
            });
            begun
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        })
    }

    /// Loses so many percent of what arrives at either side, while the guard lives.
    pub(super) fn lose(&self, percent: u8) -> anyhow::Result<()> {
        net::lose(&self.bench.karp, percent)?;
        net::lose(&self.bench.swan, percent)
    }

    /// No more losses.
    pub(super) fn keep(&self) -> anyhow::Result<()> {
        net::keep(&self.bench.karp)?;
        net::keep(&self.bench.swan)
    }

    /// karp's pair in its namespace, started, for as long as `story` takes. Keeps strongSwan's log among the results.
    pub(super) fn play(
        &self,
        swan: &mut Swan,
        settings: Settings,
        store: Store,
        story: impl FnOnce(&mut Karp, &mut Swan) -> anyhow::Result<String> + Send,
    ) -> anyhow::Result<String> {
        let namespace = format!("/run/netns/{}", self.bench.karp);
        let outcome = std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                let file = File::open(&namespace).with_context(|| format!("{namespace} is not there"))?;
                // This thread alone moves; it ends with the case.
                setns(&file, CloneFlags::CLONE_NEWNET).context("the namespace cannot be entered")?;
                let mut host = PairHost::open(Config::new(settings)?, store)?;
                host.command(Command::Start)?;
                let mut karp = Karp {
                    host,
                    seen: Vec::new(),
                    messages: Vec::new(),
                };
                story(&mut karp, swan).map_err(|error| {
                    let counters = karp.host.pair().pair_counters();
                    error.context(format!("karp saw {:?}, {counters:?}", karp.seen))
                })
            });
            told.join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("karp's thread panicked")))
        });
        let log = self.results.join("charon.log");
        let _ = std::fs::copy(self.directory.join("run/charon.log"), &log);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let version = text.lines().find_map(|line| {
            line.split_once("Starting IKE charon daemon (")?
                .1
                .split(',')
                .next()
        });
        let vectors = super::vectors::extract(&text, &self.name, version.unwrap_or("strongSwan"));
        std::fs::write(self.results.join("vectors.txt"), vectors).context("vectors.txt cannot be written")?;
        outcome
    }
}

/// karp's side of a case, and what it saw.
pub(super) struct Karp {
    pub(super) host: Host,
    pub(super) seen: Vec<Event>,
    /// What was sent (true) and received.
    pub(super) messages: Vec<(bool, Option<MessageKind>, Option<Handled>)>,
}

impl Karp {
    /// Runs until `done`.
    pub(super) fn until(
        &mut self,
        what: &str,
        at_most: Duration,
        done: impl FnMut(&Pair<Store, OsEntropy>) -> bool,
    ) -> anyhow::Result<()> {
        let (seen, messages) = (&mut self.seen, &mut self.messages);
        let came = self.host.run_for(
            at_most,
            |notice| match notice {
                Notice::Event(event) => seen.push(event),
                Notice::Sent { kind, .. } => messages.push((true, Some(kind), None)),
                Notice::Received { handled, .. } => messages.push((false, None, Some(handled))),
            },
            done,
        )?;
        if came {
            Ok(())
        } else {
            bail!("{what} did not come about within {} s", at_most.as_secs());
        }
    }

    /// Runs for a while, whatever happens.
    pub(super) fn pass(&mut self, span: Duration) -> anyhow::Result<()> {
        match self.until("", span, |_| false) {
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn up(&mut self) -> anyhow::Result<()> {
        self.until("an IKE SA at karp", SOON, Pair::is_up)
    }

    /// Runs until an attempt came to nothing, or one of the peer.
    pub(super) fn failure(&mut self) -> anyhow::Result<Failure> {
        let before = self.counters().failures;
        self.until("a failure", SOON, |pair| pair.pair_counters().failures > before)?;
        self.pass(Duration::from_millis(50))?;
        let mut failures = self.seen.iter().filter_map(|event| match event {
            Event::Failed { reason } => Some(*reason),
            _ => None,
        });
        failures.next_back().context("a failure was counted and not told")
    }

    pub(super) fn counters(&self) -> PairCounters {
        *self.host.pair().pair_counters()
    }

    pub(super) fn command(&mut self, command: Command) -> anyhow::Result<()> {
        Ok(self.host.command(command)?)
    }
}
