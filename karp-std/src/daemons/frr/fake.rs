//! A daemon of FRR's for tests: a vty socket with the key chains, the interface and the habits of ospfd, and what lies a test
//! wants.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
};

/// What a daemon does to a command instead of what it should.
#[derive(Clone, Debug)]
pub(crate) enum Lie {
    /// Says this, with status 0, and does nothing.
    Says(&'static str),
    /// Says nothing, with status 0, and does nothing.
    Ignores,
    /// Answers with these octets, whatever they are.
    Raw(Vec<u8>),
    /// Answers with these octets and closes.
    Hangs(Vec<u8>),
    /// Does what it should, and says this with that status.
    Fails(&'static str, u8),
    /// Does what it should, without the lines of the answer that hold this text.
    Omits(&'static str),
    /// Never answers.
    Silent,
}

/// A key as the commands made it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FakeKey {
    pub(crate) secret: Option<String>,
    pub(crate) algorithm: Option<String>,
    pub(crate) send: Option<String>,
    pub(crate) accept: Option<String>,
}

impl FakeKey {
    /// By a clock that stands in the years 2001 to 2034.
    fn sends(&self) -> bool {
        self.send
            .as_ref()
            .is_none_or(|dates| dates.ends_with("2000 infinite"))
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) chains: BTreeMap<String, BTreeMap<u32, FakeKey>>,
    /// The chain that eth0 uses.
    pub(crate) uses: String,
    /// Lies by the beginning of the command.
    pub(crate) lies: Vec<(&'static str, Lie)>,
    /// Every piece that was read, as its commands.
    pub(crate) pieces: Vec<Vec<String>>,
    /// What eth0 sent with after each piece, where that changed: a complete key, or nothing.
    pub(crate) sent: Vec<Option<(u32, String)>>,
    /// Keys that went while they were sent with.
    pub(crate) torn: Vec<u32>,
}

impl State {
    fn sender(&self) -> Option<(u32, &FakeKey)> {
        let mut chain = self.chains.get(&self.uses)?.iter();
        chain.find(|(_, key)| key.sends()).map(|(id, key)| (*id, key))
    }

    fn note(&mut self) {
        let now = self.sender().and_then(|(id, key)| {
            let usable = key.algorithm.as_deref() == Some("hmac-sha-256");
            Some((id, key.secret.clone().filter(|_| usable)?))
        });
        if self.sent.last() != Some(&now) {
            self.sent.push(now);
        }
    }

    fn configuration(&self) -> String {
        let mut text = "frr version 10.3\nfrr defaults traditional\n!\nhostname r1\n!\n".to_owned();
        for (name, chain) in &self.chains {
            text += &format!("key chain {name}\n");
            for (id, key) in chain {
                text += &format!(" key {id}\n");
                // FRR fills days to two places.
                let dates = |dates: &str| dates.replace("Jan 1 ", "Jan  1 ");
                let rows = [
                    ("accept-lifetime", key.accept.as_deref().map(dates)),
                    ("send-lifetime", key.send.as_deref().map(dates)),
                    ("cryptographic-algorithm", key.algorithm.clone()),
                    ("key-string", key.secret.clone()),
                ];
                for (name, value) in rows {
                    if let Some(value) = value {
                        text += &format!("  {name} {value}\n");
                    }
                }
                text += " exit\n";
            }
            text += "exit\n!\n";
        }
        let uses = &self.uses;
        text + &format!(
            "interface eth0\n ip ospf authentication key-chain {uses}\n ip ospf hello-interval 1\n \
             ipv6 ospf6 authentication keychain {uses}\nexit\n!\n"
        )
    }

    fn interface(&self) -> String {
        let sends = self.sender().map_or_else(String::new, |(id, key)| {
            let algorithm = key.algorithm.as_deref().unwrap_or("null");
            format!(
                "    Sending SA: Key {id}, Algorithm {algorithm} - key chain {}\n",
                self.uses
            )
        });
        format!(
            "eth00 is up\n  Cryptographic authentication enabled\n    Sending SA: Key 99, Algorithm md5 - key chain other\n\
             eth0 is up\n  ifindex 2, MTU 1500 bytes\n  Cryptographic authentication enabled\n{sends}  LSA retransmissions: 0\n\n"
        )
    }
}

/// Where a session is in the configuration.
#[derive(Default)]
struct Session {
    configures: bool,
    chain: Option<String>,
    key: Option<u32>,
}

impl Session {
    /// Text and status.
    fn execute(&mut self, state: &mut State, command: &str) -> (String, u8) {
        let ok = |text: String| (text, 0);
        let done = || (String::new(), 0);
        if let Some(command) = command.strip_prefix("show ") {
            return match command {
                "running-config" => ok(state.configuration()),
                "ip ospf interface json" => ok(format!(
                    r#"{{"interfaces": {{"eth0": {{"ospfEnabled": true, "keychain": "{}"}},
                        "eth00": {{"ospfEnabled": true, "keychain": "other"}}}}}}"#,
                    state.uses
                )),
                "ip ospf interface" => ok(state.interface()),
                _ => (format!("% [OSPF] Unknown command: show {command}\n"), 2),
            };
        }
        let words: Vec<&str> = command.split(' ').collect();
        match (words.as_slice(), &self.chain, self.key) {
            (["enable"], ..) => {}
            (["configure", "terminal"], ..) => self.configures = true,
            (["end"], ..) => *self = Self::default(),
            (["exit"], _, Some(_)) => self.key = None,
            (["exit"], Some(_), _) => self.chain = None,
            (["key", "chain", name], ..) if self.configures => {
                state.chains.entry((*name).to_owned()).or_default();
                (self.chain, self.key) = (Some((*name).to_owned()), None);
            }
            (["key", id], Some(chain), None) => {
                let Ok(id) = id.parse() else {
                    return ("% Unknown command\n".to_owned(), 2);
                };
                state
                    .chains
                    .entry(chain.clone())
                    .or_default()
                    .entry(id)
                    .or_default();
                self.key = Some(id);
            }
            (["no", "key", id], Some(chain), None) => {
                let Ok(id) = id.parse() else {
                    return ("% Unknown command\n".to_owned(), 2);
                };
                if state.sender().is_some_and(|(sends, _)| sends == id) {
                    state.torn.push(id);
                }
                state.chains.entry(chain.clone()).or_default().remove(&id);
            }
            ([field, value @ ..], Some(chain), Some(id)) => {
                let Some(key) = state.chains.get_mut(chain).and_then(|chain| chain.get_mut(&id)) else {
                    return (
                        "Current configuration object was deleted by another process.\n\n".to_owned(),
                        1,
                    );
                };
                let value = Some(value.join(" "));
                match *field {
                    "key-string" => key.secret = value,
                    "cryptographic-algorithm" => key.algorithm = value,
                    "send-lifetime" => key.send = value,
                    "accept-lifetime" => key.accept = value,
                    _ => return ("% Failed to edit configuration.\n\n".to_owned(), 0),
                }
            }
            _ => return (format!("% [OSPF] Unknown command: {command}\n"), 2),
        }
        done()
    }
}

/// A running fake. It ends when it is dropped.
pub(crate) struct Fake {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Listens on `name` in `directory`; eth0 uses the key chain `karp`.
    pub(crate) fn start(directory: &Path, name: &str) -> Self {
        let socket = directory.join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State {
            uses: "karp".to_owned(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            // The first connection that says nothing ends it.
            while let Ok((stream, _)) = listener.accept() {
                if !serve(stream, &shared) {
                    return;
                }
            }
        });
        Self {
            socket,
            state,
            thread: Some(thread),
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on.
    pub(crate) fn lies(&self, command: &'static str, lie: Lie) {
        self.state().lies.push((command, lie));
    }

    pub(crate) fn is_honest(&self) {
        self.state().lies.clear();
    }

    /// The keys of chain `karp`.
    pub(crate) fn keys(&self) -> BTreeMap<u32, FakeKey> {
        self.state().chains.get("karp").cloned().unwrap_or_default()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(UnixStream::connect(&self.socket));
        let _ = std::fs::remove_file(&self.socket);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// Whether something was said.
fn serve(mut stream: UnixStream, shared: &Mutex<State>) -> bool {
    let mut session = Session::default();
    let mut pending = Vec::new();
    let mut piece = [0; 512];
    let mut spoke = false;
    loop {
        let n = match stream.read(&mut piece) {
            Ok(0) | Err(_) => return spoke,
            Ok(n) => n,
        };
        spoke = true;
        pending.extend_from_slice(&piece[..n]);
        let Some(last) = pending.iter().rposition(|octet| *octet == 0) else {
            continue;
        };
        let octets: Vec<u8> = pending.drain(..=last).collect();
        let commands: Vec<String> = octets[..last]
            .split(|octet| *octet == 0)
            .map(|command| String::from_utf8(command.to_vec()).unwrap())
            .collect();

        let mut state = shared.lock().unwrap();
        let mut answers = Vec::new();
        let mut hangs = false;
        for command in &commands {
            let lie = state
                .lies
                .iter()
                .find(|(of, _)| command.starts_with(of))
                .map(|(_, lie)| lie.clone());
            let mut answer = |(text, status): (String, u8)| {
                answers.extend_from_slice(text.as_bytes());
                answers.extend_from_slice(&[0, 0, 0, status]);
            };
            match lie {
                None => answer(session.execute(&mut state, command)),
                Some(Lie::Says(text)) => answer((text.to_owned(), 0)),
                Some(Lie::Ignores) => answer((String::new(), 0)),
                Some(Lie::Fails(text, status)) => {
                    session.execute(&mut state, command);
                    answer((text.to_owned(), status));
                }
                Some(Lie::Omits(part)) => {
                    let (text, status) = session.execute(&mut state, command);
                    let kept = text.lines().filter(|line| !line.contains(part));
                    answer((kept.map(|line| format!("{line}\n")).collect(), status));
                }
                Some(Lie::Raw(octets)) => answers.extend(octets),
                Some(Lie::Hangs(octets)) => {
                    answers.extend(octets);
                    hangs = true;
                }
                Some(Lie::Silent) => {}
            }
        }
        state.pieces.push(commands);
        state.note();
        drop(state);
        if stream.write_all(&answers).is_err() || hangs {
            return true;
        }
    }
}
