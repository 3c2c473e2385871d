//! The control socket: a Unix stream socket that only this user and root can use, one JSON object a line each way.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::{
        socket::{getsockopt, sockopt::PeerCredentials},
        stat::{Mode, umask},
    },
    unistd::geteuid,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    daemon::Shared,
    group::{Refusal, Request, together},
    metrics,
};

/// The longest request in octets.
const MAX_REQUEST: u64 = 16 * 1024;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to ask or to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket, held by one karpd at a time.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Held for as long as the process lives: whoever gets it may take away a socket that a dead karpd left.
    _lock: Flock<fs::File>,
}

impl Control {
    /// Opens the socket at `path`, with mode 0600.
    ///
    /// # Errors
    /// What is wrong and what to do about it: another karpd has it, or the directory is not to be had.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
            && !directory.exists()
        {
            fs::DirBuilder::new()
                .recursive(true)
                // A routing daemon may have to pass through to a file of its own.
                .mode(0o711)
                .create(directory)
                .map_err(|error| {
                    format!(
                        "{}: {error}; make the directory, or name another in daemon.control",
                        directory.display()
                    )
                })?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&lock)
            .map_err(|error| {
                format!(
                    "{}: {error}; see that its directory is there and this user may write to it",
                    lock.display()
                )
            })?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            if errno == nix::errno::Errno::EWOULDBLOCK {
                format!(
                    "another karpd (process {}) has the control socket {shown}; stop it, or give this one another daemon.control",
                    pid.trim()
                )
            } else {
                format!("{}: {errno}; see that the file system has locks", lock.display())
            }
        })?;
        let write = lock
            .set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        write.map_err(|error| format!("{shown}: {error}"))?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!(
                    "{shown}: {error}; it is in the way of the control socket, remove it"
                ));
            }
            _ => {}
        }
        // The mode must be right from the first moment on. No other thread runs yet.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(|error| {
            format!("{shown}: {error}; name a path in daemon.control where this user may make a socket")
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Serves on a thread of its own for as long as the process lives.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn serve(&self, shared: Arc<Shared>) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let serve = move || {
            loop {
                let stream = match listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Too many open files, most likely: nothing is gained by asking again at once.
                        tracing::warn!(%error, "control socket");
                        std::thread::sleep(Duration::from_millis(200));
                        continue;
                    }
                };
                if connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                    connections.fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!("too many control connections");
                    continue;
                }
                let (shared, counter) = (Arc::clone(&shared), Arc::clone(&connections));
                let handle = move || {
                    if let Err(error) = converse(&stream, &shared) {
                        tracing::debug!(%error, "control connection");
                    }
                    counter.fetch_sub(1, Ordering::Relaxed);
                };
                let spawned = std::thread::Builder::new()
                    .name("karpd client".to_owned())
                    .spawn(handle);
                if let Err(error) = spawned {
                    connections.fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!(%error, "no thread for a control connection");
                }
            }
        };
        std::thread::Builder::new()
            .name("karpd control".to_owned())
            .spawn(serve)?;
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A request as it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    command: String,
    group: Option<String>,
    priority: Option<Value>,
    identity: Option<String>,
    #[serde(default)]
    compromise: bool,
}

fn converse(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut writer = stream;
    let peer = getsockopt(stream, PeerCredentials)?;
    if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
        let refusal = Refusal::new(
            "the control socket is for root and karpd's user",
            "run the command as root",
        );
        return send(&mut writer, &refused(&refusal));
    }
    let mut reader = BufReader::new(stream);
    loop {
        let mut text = String::new();
        let read = (&mut reader).take(MAX_REQUEST).read_line(&mut text)?;
        if read == 0 {
            return Ok(());
        }
        let line: Line = match serde_json::from_str(&text) {
            Ok(line) => line,
            Err(error) => {
                let refusal = Refusal::new(
                    format!("this is no request: {error}"),
                    "send one JSON object a line, such as {\"command\":\"status\"}",
                );
                return send(&mut writer, &refused(&refusal));
            }
        };
        if line.command == "watch" {
            return watch(stream, shared, line.group);
        }
        let answer = answer(shared, &line).unwrap_or_else(|refusal| refused(&refusal));
        send(&mut writer, &answer)?;
    }
}

fn send(writer: &mut impl io::Write, answer: &Value) -> io::Result<()> {
    writer.write_all(format!("{answer}\n").as_bytes())
}

fn refused(refusal: &Refusal) -> Value {
    json!({ "ok": false, "error": refusal.problem, "remedy": refusal.remedy })
}

fn watch(mut stream: &UnixStream, shared: &Shared, group: Option<String>) -> io::Result<()> {
    if let Some(group) = &group
        && let Err(refusal) = shared.named(group)
    {
        return send(&mut stream, &refused(&refusal));
    }
    let lines = shared.hub.watch(group);
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                stream.write_all(line.as_bytes())?;
                stream.write_all(b"\n")?;
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                if is_closed(stream) {
                    return Ok(());
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Whether the client is gone. It has nothing to say any more, so whatever can be read is the end.
fn is_closed(stream: &UnixStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let mut octet = [0];
    let mut reader = stream;
    let gone = match reader.read(&mut octet) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    gone || stream.set_nonblocking(false).is_err()
}

fn answer(shared: &Shared, line: &Line) -> Result<Value, Refusal> {
    let request = match line.command.as_str() {
        "status" => return shared.status(line.group.as_deref()),
        "metrics" => {
            let text = metrics::render(&shared.status(line.group.as_deref())?);
            return Ok(json!({ "ok": true, "text": text }));
        }
        "reload" => return shared.reload(),
        "rekey" => Request::Rekey {
            compromise: line.compromise,
        },
        "priority" => Request::Priority(match &line.priority {
            Some(Value::String(auto)) if auto == "auto" => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .and_then(|n| u16::try_from(n).ok())
                    .ok_or_else(|| {
                        Refusal::new(
                            "this is no priority",
                            "give a number from 0 to 65535, or \"auto\"",
                        )
                    })?,
            ),
            None => return Err(Refusal::new("the field priority is missing", "add it")),
        }),
        "evict" => {
            let identity = line.identity.clone();
            Request::Evict(identity.ok_or_else(|| Refusal::new("the field identity is missing", "add it"))?)
        }
        "migrate" => Request::Migrate,
        "handoff" => Request::HandOff,
        "leave" => Request::Leave,
        "join" => Request::Join,
        other => {
            return Err(Refusal::new(
                format!("there is no command {other:?}"),
                "known: status, watch, rekey, priority, evict, migrate, handoff, leave, join, reload, metrics",
            ));
        }
    };
    Ok(together(shared.ask(line.group.as_deref(), &request)?))
}
