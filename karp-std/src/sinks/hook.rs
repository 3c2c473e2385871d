//! Keys for anything else: a program that is run for each step.
//!
//! It is started without a shell, with the arguments of its configuration, an environment that holds nothing but `PATH`, and
//! one line of JSON on its standard input:
//!
//! ```json
//! {"operation": "activate", "keys": [{"protocol": "OSPFv2", "id": 7, "algorithm": "HMAC-SHA-256", "state": "active",
//!  "manual": false, "key": "c2VjcmV0"}], "after": [...]}
//! ```
//!
//! - `operation`: `reconcile`, `install`, `activate`, `retire` or `remove` (see [`Sink`]).
//! - `keys`: those that the step is about, as they are after it; all of them for `reconcile`.
//! - `after`: all keys that there are to be after the step, so that a program may look at nothing else. None of a protocol's
//!   may be `active`, or there may be none at all: then the program has to see to it that its daemon neither sends nor accepts
//!   packets without authentication. The other sinks put in a random key for that.
//! - `state`: `pending` (accept), `active` (accept and send) or `retiring` (accept).
//! - `key`: the key's octets in base64 (RFC 4648 section 4). `text` is there too if they are printable ASCII, as all
//!   keys of a group are.
//!
//! The exit status 0 means that it is done; of anything else the first line of its standard error is shown. Keys are never in
//! its arguments or its environment, which other users may see. What it writes to its standard output is not read.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind, Read as _, Write as _},
    os::{fd::AsFd, unix::process::CommandExt as _},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use karp_core::keytable::RowState;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use zeroize::Zeroizing;

use super::{KeySet, Sink, SinkError, SinkKey};

/// What is read of standard error; the rest is thrown away.
const MAX_STDERR: usize = 4096;
/// What a pipe holds in octets, if nobody has set it otherwise.
const PIPE: usize = 64 << 10;
/// What is shown of it in characters.
const MAX_SHOWN: usize = 200;
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// For programs that are called by their name and call others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Its absolute path, and its arguments.
    pub command: Vec<String>,
    /// How long a run may take. Then it is killed. What it leaves running in its process group ends with it in any case.
    pub timeout: Duration,
}

/// A program that is run for each step.
#[derive(Debug)]
pub struct HookSink {
    settings: Settings,
}

impl HookSink {
    /// A sink that runs this program. It is not run yet.
    ///
    /// # Errors
    /// If there is no command, its path is not absolute, or an argument has a NUL in it.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        let is_absolute = settings
            .command
            .first()
            .is_some_and(|path| Path::new(path).is_absolute());
        if !is_absolute || settings.command.iter().any(|part| part.contains('\0')) {
            return Err(SinkError::refused(
                "command names no program by its absolute path",
                "give the path and each argument as a string of its own",
            ));
        }
        if settings.timeout.is_zero() {
            return Err(SinkError::refused(
                "timeout is nothing",
                "give the program some seconds",
            ));
        }
        Ok(Self { settings })
    }

    fn run(&self, operation: &str, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        // `None`: so far ahead that it never comes.
        let until = Instant::now().checked_add(self.settings.timeout);
        let input = input(operation, keys, after);
        let mut child = self.start(operation)?;
        let (mut stdin, mut stderr) = (child.stdin.take(), Complaint::new(child.stderr.take()));
        let in_time = attend(&child, &mut stdin, input.as_bytes(), &mut stderr, until);
        // Before its status is taken, for until then nobody else can have its number. What it left running ends as well.
        kill(&child);
        let ended = in_time.and_then(|in_time| {
            let status = child.wait()?;
            Ok(in_time.then_some(status))
        });
        stderr.take();
        let said = stderr.first_line();
        let program = self.program();
        let said = if said.is_empty() {
            said
        } else {
            format!(": {said}")
        };
        match ended {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(SinkError::refused(
                format!("{program} {operation}: {status}{said}"),
                "see what the program needs",
            )),
            Ok(None) => Err(SinkError::unreachable(
                format!(
                    "{program} {operation} took longer than {:?}{said}",
                    self.settings.timeout
                ),
                "see what holds it up, or give it more time",
            )),
            Err(error) => Err(SinkError::unreachable(
                format!("{program} {operation}: {error}"),
                "see the system's log",
            )),
        }
    }

    fn start(&self, operation: &str) -> Result<Child, SinkError> {
        let (program, arguments) = self
            .settings
            .command
            .split_first()
            .ok_or_else(|| SinkError::refused("no command", "give one"))?;
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // So that what it starts can be killed with it.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                SinkError::refused(
                    format!("{program} {operation}: {error}"),
                    "see that the program is there and this user may run it",
                )
            })
    }

    fn program(&self) -> &str {
        self.settings.command.first().map_or("", String::as_str)
    }
}

impl Sink for HookSink {
    fn describe(&self) -> String {
        format!("the program {}", self.program())
    }

    fn epoch(&mut self) -> Result<Option<String>, SinkError> {
        Ok(None)
    }

    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
        let keys: Vec<&SinkKey> = wanted.iter().collect();
        self.run("reconcile", &keys, wanted)
    }

    fn install(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.run("install", keys, after)
    }

    fn activate(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.run("activate", keys, after)
    }

    fn retire(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.run("retire", keys, after)
    }

    fn remove(&mut self, keys: &[&SinkKey], after: &KeySet) -> Result<(), SinkError> {
        self.run("remove", keys, after)
    }
}

/// Gives it its input and takes its complaints until it has ended, and leaves its status to be taken; `false` if its time is
/// up first. No pipe holds us, whether it reads and closes them or not.
fn attend(
    child: &Child,
    stdin: &mut Option<ChildStdin>,
    mut input: &[u8],
    stderr: &mut Complaint,
    until: Option<Instant>,
) -> io::Result<bool> {
    if let Some(pipe) = stdin {
        never_block(pipe)?;
    }
    if let Some(pipe) = &stderr.pipe {
        never_block(pipe)?;
    }
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        if let Some(pipe) = stdin {
            match pipe.write(input) {
                Ok(written) => input = input.get(written..).unwrap_or_default(),
                Err(error) if is_for_now(&error) => {}
                // One that does not read all of it still says by its status how it went.
                Err(_) => input = &[],
            }
            if input.is_empty() {
                *stdin = None;
            }
        }
        stderr.take();
        match waitid(Id::Pid(group(child)), flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

fn never_block(pipe: &impl AsFd) -> io::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// There is nothing to be had from the pipe at this moment.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Its process group has its number.
fn group(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Ends all processes of its group.
fn kill(child: &Child) {
    if let Err(errno) = killpg(group(child), Signal::SIGKILL) {
        tracing::debug!(%errno, "ending a program");
    }
}

/// What a program writes to its standard error.
struct Complaint {
    pipe: Option<ChildStderr>,
    octets: Vec<u8>,
}

impl Complaint {
    fn new(pipe: Option<ChildStderr>) -> Self {
        let octets = Vec::new();
        Self { pipe, octets }
    }

    /// Takes what is there now, as much as a pipe holds, so that the program is not stopped by a full one. What is too much to
    /// keep is thrown away.
    fn take(&mut self) {
        let mut piece = [0; 4096];
        for _ in 0..PIPE / piece.len() {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut piece) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    let room = MAX_STDERR.saturating_sub(self.octets.len());
                    self.octets.extend(piece.iter().take(read.min(room)));
                }
                Err(error) if is_for_now(&error) => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// The first line, without what a terminal would act upon.
    fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.octets);
        let line = text.lines().next().unwrap_or_default().trim();
        let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        printable.take(MAX_SHOWN).collect()
    }
}

/// One line of JSON. Made by hand, in memory that is large enough from the start: a library's values would leave
/// copies of the keys behind.
fn input(operation: &str, keys: &[&SinkKey], after: &KeySet) -> Zeroizing<String> {
    let all = keys.len() + after.iter().count();
    let secrets = keys
        .iter()
        .copied()
        .chain(after.iter())
        .map(|key| key.secret().len());
    let mut text = Zeroizing::new(String::with_capacity(
        100 + 200 * all + 4 * secrets.sum::<usize>(),
    ));
    let _ = write!(text, "{{\"operation\":\"{operation}\",\"keys\":[");
    list(&mut text, keys.iter().copied());
    text.push_str("],\"after\":[");
    list(&mut text, after.iter());
    text.push_str("]}\n");
    text
}

fn list<'a>(text: &mut Zeroizing<String>, keys: impl Iterator<Item = &'a SinkKey>) {
    for (at, key) in keys.enumerate() {
        if at > 0 {
            text.push(',');
        }
        let state = match key.state {
            RowState::Pending => "pending",
            RowState::Active => "active",
            RowState::Retiring => "retiring",
        };
        let (protocol, algorithm) = (key.protocol.name(), key.algorithm.name());
        // Names of the key table are plain ASCII.
        let _ = write!(
            text,
            "{{\"protocol\":\"{protocol}\",\"id\":{},\"algorithm\":\"{algorithm}\",\"state\":\"{state}\",\"manual\":{},\"key\":\"",
            key.id, key.manual
        );
        base64(text, key.secret());
        text.push('"');
        if key.secret().iter().all(|octet| matches!(octet, b' '..=b'~')) {
            text.push_str(",\"text\":\"");
            for octet in key.secret() {
                if matches!(octet, b'"' | b'\\') {
                    text.push('\\');
                }
                text.push(char::from(*octet));
            }
            text.push('"');
        }
        text.push('}');
    }
}

/// RFC 4648 section 4, with padding.
fn base64(text: &mut String, octets: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in octets.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let sextet = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            let is_there = at <= group.len();
            text.push(
                ALPHABET
                    .get(sextet)
                    .filter(|_| is_there)
                    .map_or('=', |octet| char::from(*octet)),
            );
        }
    }
}

#[cfg(test)]
mod tests;
