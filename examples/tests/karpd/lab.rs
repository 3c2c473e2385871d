//! Routers as processes, and what is seen of them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::UdpSocket,
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _},
        net::UnixStream,
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::KARPD;

/// Nothing takes so long, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A link on loopback and a directory for its routers' files.
pub(crate) struct Lab {
    pub(crate) directory: tempfile::TempDir,
    multicast_port: u16,
}

/// A UDP port that nobody has now.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

pub(crate) fn karpd() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(KARPD).stdin(Stdio::null());
    command
}

/// Runs a client command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    karpd().args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Writes a file that may hold a secret.
pub(crate) fn write(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("fill.sh");
        // Takes what it is given as the daemon's keys, unless it was told to refuse.
        write(
            &script,
            "cat > \"$1.new\"\nif [ -e \"$1.refuse\" ]; then echo 'told to refuse' >&2; exit 1; fi\nmv \"$1.new\" \"$1.json\"\n",
        );
        Self {
            directory,
            multicast_port: free_port(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The group's tables for router `name`, apart from `[daemon]`.
    pub(crate) fn group(&self, name: &str, priority: u16) -> String {
        let directory = self.directory.path().display();
        format!(
            r#"
[node]
identity = "{name}"
address = "127.0.0.1"
port = {port}
priority = {priority}
[group]
name = "pair"
multicast_port = {multicast}
[shared]
psk = {{ text = "at least sixteen octets" }}
[timers]
hello = "100ms"
# A busy machine may stand still for a while.
hold_multiplier = 30
min_rekey = "0s"
dtd = "1s"
[[sink]]
kind = "hook"
command = ["/bin/sh", "{directory}/fill.sh", "{directory}/{name}.sink"]
timeout = "30s"
"#,
            port = free_port(),
            multicast = self.multicast_port,
        )
    }

    /// The `[daemon]` table of router `name`.
    pub(crate) fn daemon(&self, name: &str) -> String {
        format!("[daemon]\ncontrol = \"{name}.sock\"\nstate = \"{name}.state\"\n")
    }

    /// Starts router `name` on this link.
    pub(crate) fn router(&self, name: &str, priority: u16) -> Router {
        let file = self.path(&format!("{name}.toml"));
        write(&file, &(self.daemon(name) + &self.group(name, priority)));
        self.start(name)
    }

    /// Starts the router whose file is there.
    pub(crate) fn start(&self, name: &str) -> Router {
        let mut router = self.prepare(name);
        router.start();
        router
    }

    /// The router whose file is there, not started yet.
    pub(crate) fn prepare(&self, name: &str) -> Router {
        Router {
            name: name.to_owned(),
            file: self.path(&format!("{name}.toml")),
            control: self.path(&format!("{name}.sock")),
            sink: self.path(&format!("{name}.sink")),
            log: self.path(&format!("{name}.log")),
            environment: Vec::new(),
            namespace: None,
            child: None,
            events: None,
            seen: Vec::new(),
        }
    }
}

/// One karpd.
pub(crate) struct Router {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) control: PathBuf,
    sink: PathBuf,
    log: PathBuf,
    /// What its environment has beside.
    pub(crate) environment: Vec<(String, String)>,
    /// The network namespace that it runs in, if not this one.
    pub(crate) namespace: Option<String>,
    child: Option<Child>,
    events: Option<Receiver<Value>>,
    /// Everything that it told since it was started last.
    pub(crate) seen: Vec<Value>,
}

impl Router {
    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = karpd();
        if let Some(namespace) = &self.namespace {
            // `ip` becomes the program, so the process is karpd all the same.
            let mut inside = Command::new("ip");
            inside
                .args(["netns", "exec", namespace])
                .arg(command.get_program())
                .args(command.get_args());
            command = inside;
        }
        let child = command
            .arg("--config")
            .arg(&self.file)
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        self.seen.clear();
        let began = Instant::now();
        let stream = loop {
            if let Ok(mut stream) = UnixStream::connect(&self.control)
                && stream.write_all(b"{\"command\":\"watch\"}\n").is_ok()
            {
                break stream;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < LONG,
                "{ended:?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        self.events = Some(events);
        self.until("it is watched", |router| !router.seen.is_empty());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for `what`, and looks whenever something happened.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        loop {
            self.listen(Duration::ZERO);
            if done(self) {
                return;
            }
            assert!(
                began.elapsed() < LONG,
                "{}: {what}\n{:#}\n{:?}\n{}",
                self.name,
                self.try_group().unwrap_or_default(),
                self.seen,
                self.log()
            );
            self.listen(Duration::from_millis(100));
        }
    }

    /// Takes what was told, and waits for it so long.
    fn listen(&mut self, at_most: Duration) {
        let Some(events) = &self.events else { return };
        if let Ok(event) = events.recv_timeout(at_most) {
            self.seen.push(event);
        }
        self.seen.extend(events.try_iter());
    }

    /// Whether it told of this since it was started.
    pub(crate) fn told(&self, event: &str) -> bool {
        self.seen.iter().any(|one| one["event"] == event)
    }

    /// Sends one line and gives the answer.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.try_ask(request)
            .unwrap_or_else(|| panic!("{}: no answer\n{}", self.name, self.log()))
    }

    fn try_ask(&self, request: &Value) -> Option<Value> {
        let mut stream = UnixStream::connect(&self.control).ok()?;
        stream.write_all(format!("{request}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    fn try_group(&self) -> Option<Value> {
        let status = self.try_ask(&json!({ "command": "status" }))?;
        status["groups"].get(0).cloned()
    }

    /// The status of its one group.
    pub(crate) fn group(&self) -> Value {
        self.try_group()
            .unwrap_or_else(|| panic!("{}: no status\n{}", self.name, self.log()))
    }

    /// The id and the fingerprint of the key that it sends with.
    pub(crate) fn sending(&self) -> Option<(u64, String)> {
        let group = self.group();
        let key = group["keys"]
            .as_array()?
            .iter()
            .find(|key| key["state"] == "active")?;
        Some((key["id"].as_u64()?, key["fingerprint"].as_str()?.to_owned()))
    }

    /// The ids of its keys.
    pub(crate) fn keys(&self) -> Vec<u64> {
        let group = self.group();
        let keys = group["keys"].as_array().unwrap().iter();
        keys.map(|key| key["id"].as_u64().unwrap()).collect()
    }

    /// What the sink was last given, sorted by id: id, state and key.
    pub(crate) fn filled(&self) -> Vec<(u64, String, String)> {
        let text = fs::read_to_string(self.sink.with_extension("sink.json")).unwrap_or_default();
        let Ok(given) = serde_json::from_str::<Value>(&text) else {
            return Vec::new();
        };
        let keys = given["after"].as_array().unwrap().iter().map(|key| {
            let text = |field: &str| key[field].as_str().unwrap().to_owned();
            (key["id"].as_u64().unwrap(), text("state"), text("key"))
        });
        keys.collect()
    }

    /// Lets its sink refuse, or not any more.
    pub(crate) fn refuse(&self, refuse: bool) {
        let file = self.sink.with_extension("sink.refuse");
        if refuse {
            fs::write(file, "").unwrap();
        } else {
            fs::remove_file(file).unwrap();
        }
    }

    /// A client command to this karpd.
    pub(crate) fn client(&self, arguments: &[&str]) -> Output {
        let control = self.control.to_str().unwrap();
        karpd()
            .args(arguments)
            .args(["--control", control])
            .output()
            .unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        let mut child = self.child.take().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                self.events = None;
                return status;
            }
            assert!(
                began.elapsed() < LONG,
                "{}: does not end\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as systemd does, and sees that it ends well.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.end();
        assert!(
            status.success(),
            "{}: {status:?} {:?}\n{}",
            self.name,
            status.signal(),
            self.log()
        );
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether both send with the same key, and have no other.
pub(crate) fn agree(one: &Router, other: &Router) -> bool {
    let same = one.sending();
    same.is_some() && same == other.sending() && one.keys().len() == 1 && other.keys().len() == 1
}

/// Two routers that are keyed: a key server and a member, by their priorities.
pub(crate) fn pair(lab: &Lab) -> (Router, Router) {
    let mut server = lab.router("server", 200);
    server.until("it serves", |router| router.group()["role"] == "gcks");
    let mut member = lab.router("member", 100);
    member.until("it is a member with the server's key", |member| {
        member.group()["role"] == "member" && agree(member, &server)
    });
    (server, member)
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A network namespace with an interface `e0` that is up and has no address; removed when it is dropped.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    /// `None` where there is no privilege to make one, or no `ip`.
    pub(crate) fn new() -> Option<Self> {
        let name = format!("karpd-test-{}", std::process::id());
        let made = Command::new("ip")
            .args(["netns", "add", &name])
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let namespace = Self(name);
        namespace.ip("link set lo up");
        // The other end is in the same namespace: nobody is to be met.
        namespace.ip("link add e0 type veth peer name e1");
        namespace.ip("link set e1 up");
        namespace.ip("link set e0 up");
        Some(namespace)
    }

    pub(crate) fn ip(&self, arguments: &str) {
        let status = Command::new("ip")
            .args(["-n", &self.0])
            .args(arguments.split(' '))
            .status();
        assert!(status.unwrap().success(), "{arguments}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
