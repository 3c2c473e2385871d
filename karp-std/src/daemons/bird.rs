//! BIRD's control socket, as `birdc` uses it (BIRD 2).
//!
//! A command is a line. The reply is lines of `NNNN-text`, of ` text` with the code of the line before, and at the end
//! one of `NNNN text`. Codes from 8000 on are refusals. A line that begins with `+` belongs to no reply: it tells of an
//! event, once `echo` has asked for events.

use std::{
    collections::VecDeque,
    fmt, fs,
    io::{self, Read as _, Write as _},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::libc;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{follow::ObserveError, sinks::SinkError};

/// What is enough for any answer of a BIRD that lives: it answers between two packets, within milliseconds.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest line and the longest reply in octets. A link's neighbours take a few kilobytes.
const MAX_LINE: usize = 16 << 10;
const MAX_REPLY: usize = 1 << 20;
/// The longest command in octets; BIRD takes less than 4096.
const MAX_COMMAND: usize = 1024;
/// The longest wait for an event: times that lie too far ahead cannot be reckoned with.
const MAX_WAIT: Duration = Duration::from_secs(86_400);
/// Events that wait to be taken; older ones are dropped.
const MAX_EVENTS: usize = 256;

/// Why there was no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens on the socket.
    NotRunning {
        /// Where.
        socket: PathBuf,
    },
    /// The system says no.
    Io {
        /// Where.
        socket: PathBuf,
        /// What it says.
        error: String,
        /// Whether it is a matter of permissions.
        denied: bool,
    },
    /// No answer within the time, or nobody took the connection.
    TimedOut {
        /// Where.
        socket: PathBuf,
        /// What was waited for.
        awaited: String,
    },
    /// The connection ended in the middle.
    Closed {
        /// Where.
        socket: PathBuf,
    },
    /// What came is not what BIRD says.
    Garbled {
        /// Where.
        socket: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The command cannot be one: it is longer than a line, or has control characters in it.
    Command,
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotRunning { .. } => "start BIRD, or correct the path of its control socket",
            Self::Io { denied: true, .. } => {
                "let this user read and write BIRD's control socket (SupplementaryGroups=bird, or bird -g)"
            }
            Self::Io { .. } => "see whether the path of the control socket is right",
            Self::TimedOut { .. } | Self::Closed { .. } => "see BIRD's log for what holds it up",
            Self::Garbled { .. } => "see whether the path is that of the control socket of a BIRD 2",
            Self::Command => "use names without control characters",
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { socket } => write!(f, "no BIRD listens on {}", socket.display()),
            Self::Io { socket, error, .. } => write!(f, "{}: {error}", socket.display()),
            Self::TimedOut { socket, awaited } => {
                write!(f, "BIRD at {} does not answer: {awaited}", socket.display())
            }
            Self::Closed { socket } => write!(f, "BIRD at {} hung up", socket.display()),
            Self::Garbled { socket, problem } => {
                write!(f, "what answers at {} is no BIRD: {problem}", socket.display())
            }
            Self::Command => f.write_str("not a command of one line"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<ClientError> for SinkError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotRunning { .. } => Self::not_running(error.to_string()),
            _ => Self::unreachable(error.to_string(), error.remedy()),
        }
    }
}

impl From<ClientError> for ObserveError {
    fn from(error: ClientError) -> Self {
        Self {
            not_running: matches!(error, ClientError::NotRunning { .. }),
            problem: format!("{error}; {}", error.remedy()),
        }
    }
}

/// One line of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What kind of line it is; 8000 and above refuse.
    pub code: u16,
    /// What it says, without the line's end.
    pub text: String,
}

/// The lines with which BIRD answers one command: at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    lines: Vec<Line>,
}

impl Reply {
    /// All lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The code of the last line, which says how it went.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.lines.last().map_or(0, |line| line.code)
    }

    /// What the lines with `code` say.
    pub fn texts(&self, code: u16) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |line| line.code == code);
        lines.map(|line| line.text.as_str())
    }

    /// The first text of a refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        let refusal = self.lines.iter().find(|line| line.code >= 8000)?;
        Some(refusal.text.as_str())
    }
}

/// A connection to BIRD's control socket. After an error it is of no more use.
pub struct Client {
    socket: PathBuf,
    stream: UnixStream,
    timeout: Duration,
    /// What was read and is no line yet.
    pending: Vec<u8>,
    events: VecDeque<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A connection to the BIRD that listens on `socket`. It and each command may take `timeout`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nobody listens, and what else went wrong.
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let mut client = Self {
            socket: socket.to_owned(),
            stream: connect(socket)?,
            timeout,
            pending: Vec::new(),
            events: VecDeque::new(),
        };
        let greeting = client.reply("its greeting")?;
        match greeting.code() {
            1 => Ok(client),
            _ => Err(client.garbled("it does not greet as BIRD does")),
        }
    }

    /// As [`connect`](Self::connect), and which run of the daemon it is (see [`epoch`]).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with_epoch(socket: &Path, timeout: Duration) -> Result<(Self, String), ClientError> {
        let before = run_of(socket)?;
        let client = Self::connect(socket, timeout)?;
        if run_of(socket)? != before {
            return Err(ClientError::Closed {
                socket: socket.to_owned(),
            });
        }
        Ok((client, before))
    }

    /// Sends `command` and takes the reply, which may be a refusal.
    ///
    /// # Errors
    /// If there is no reply.
    pub fn command(&mut self, command: &str) -> Result<Reply, ClientError> {
        if command.is_empty() || command.len() > MAX_COMMAND || command.chars().any(char::is_control) {
            return Err(ClientError::Command);
        }
        let line = format!("{command}\n");
        let written = self
            .stream
            .set_write_timeout(Some(self.timeout))
            .and_then(|()| self.stream.write_all(line.as_bytes()));
        written.map_err(|error| self.io(&error, command))?;
        self.reply(command)
    }

    /// The next event, if one comes within `at_most`, or within a day. Events come after the command `echo all`.
    ///
    /// # Errors
    /// If the connection ended, or something comes that is no event.
    pub fn event(&mut self, at_most: Duration) -> Result<Option<String>, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        let until = Instant::now() + at_most.min(MAX_WAIT);
        match self.line(until, "an event") {
            Ok(line) => match line.strip_prefix('+') {
                Some(event) => Ok(Some(event.to_owned())),
                None => Err(self.garbled("it answers what was not asked")),
            },
            Err(ClientError::TimedOut { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn reply(&mut self, awaited: &str) -> Result<Reply, ClientError> {
        let until = Instant::now() + self.timeout;
        let (mut lines, mut octets) = (Vec::<Line>::new(), 0_usize);
        loop {
            let line = self.line(until, awaited)?;
            octets = octets.saturating_add(line.len());
            if octets > MAX_REPLY {
                return Err(self.garbled("its reply does not end"));
            }
            if let Some(event) = line.strip_prefix('+') {
                if self.events.len() >= MAX_EVENTS {
                    self.events.pop_front();
                }
                self.events.push_back(event.to_owned());
                continue;
            }
            if let Some(text) = line.strip_prefix(' ') {
                let Some(code) = lines.last().map(|line| line.code) else {
                    return Err(self.garbled("its reply begins without a code"));
                };
                let text = text.to_owned();
                lines.push(Line { code, text });
                continue;
            }
            let Some((code, goes_on, text)) = coded(&line) else {
                return Err(self.garbled("a line of its reply has no code"));
            };
            let text = text.to_owned();
            lines.push(Line { code, text });
            if !goes_on {
                return Ok(Reply { lines });
            }
        }
    }

    /// The next line without its end. Octets that are no UTF-8 are replaced.
    fn line(&mut self, until: Instant, awaited: &str) -> Result<String, ClientError> {
        let mut searched = 0;
        loop {
            let new = self.pending.get(searched..).unwrap_or_default();
            if let Some(at) = new.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=searched + at).collect();
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            searched = self.pending.len();
            if searched > MAX_LINE {
                return Err(self.garbled("a line of it does not end"));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timed_out(awaited));
            }
            let mut octets = [0; 4096];
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut octets));
            match read {
                Ok(0) => {
                    return Err(ClientError::Closed {
                        socket: self.socket.clone(),
                    });
                }
                Ok(read) => self.pending.extend(octets.iter().take(read)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(&error, awaited)),
            }
        }
    }

    fn garbled(&self, problem: &'static str) -> ClientError {
        ClientError::Garbled {
            socket: self.socket.clone(),
            problem,
        }
    }

    fn timed_out(&self, awaited: &str) -> ClientError {
        ClientError::TimedOut {
            socket: self.socket.clone(),
            awaited: awaited.to_owned(),
        }
    }

    fn io(&self, error: &io::Error, awaited: &str) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.timed_out(awaited),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed {
                socket: self.socket.clone(),
            },
            _ => failed(&self.socket, error),
        }
    }
}

/// Which run of BIRD listens on `socket`: text that stays the same for as long as it runs, and is another one when it
/// starts anew, whatever clocks and configurations do in between.
///
/// BIRD makes the socket anew when it starts and never again, so that the socket's inode and the time of its making
/// tell. (What `show status` gives as the last reboot is reckoned back from the clock of the moment, so it moves with
/// that clock; and the process that opened the socket is gone once BIRD went into the background.)
///
/// # Errors
/// [`ClientError::NotRunning`] if nobody listens.
pub fn epoch(socket: &Path) -> Result<String, ClientError> {
    let before = run_of(socket)?;
    connect(socket)?;
    if run_of(socket)? != before {
        // It starts this very moment.
        return Err(ClientError::Closed {
            socket: socket.to_owned(),
        });
    }
    Ok(before)
}

fn run_of(socket: &Path) -> Result<String, ClientError> {
    let it = fs::metadata(socket).map_err(|error| failed(socket, &error))?;
    Ok(format!(
        "socket {} of {}.{:09}",
        it.ino(),
        it.mtime(),
        it.mtime_nsec()
    ))
}

/// Without blocking: a BIRD that hangs does not take connections, and once its queue is full a blocking call would
/// never return.
fn connect(path: &Path) -> Result<UnixStream, ClientError> {
    let failed = |error: io::Error| failed(path, &error);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let address = SockAddr::unix(path).map_err(failed)?;
    socket.connect(&address).map_err(failed)?;
    socket.set_nonblocking(false).map_err(failed)?;
    Ok(UnixStream::from(socket))
}

fn failed(socket: &Path, error: &io::Error) -> ClientError {
    let socket = socket.to_owned();
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, _) => ClientError::NotRunning { socket },
        (_, Some(libc::EAGAIN)) => ClientError::TimedOut {
            socket,
            awaited: "it takes no connections".to_owned(),
        },
        (kind, _) => ClientError::Io {
            socket,
            error: error.to_string(),
            denied: kind == io::ErrorKind::PermissionDenied,
        },
    }
}

/// The code of a line, whether the reply goes on after it, and its text.
fn coded(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(4)?;
    if !code.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let code = code.parse().ok()?;
    // The very last line may be nothing but its code.
    let (goes_on, text) = match rest.split_at_checked(1) {
        Some(("-", text)) => (true, text),
        Some((" ", text)) => (false, text),
        Some(_) => return None,
        None => (false, ""),
    };
    Some((code, goes_on, text))
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
