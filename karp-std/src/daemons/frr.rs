//! FRR: a daemon's own vty socket (`ospfd.vty`, `ospf6d.vty`), the one that `vtysh` speaks to.
//!
//! A command is its text and one zero octet. An answer is text, three zero octets and one octet of status, 0 for success. The
//! status is not to be trusted: what the daemon's data model refuses is told in text with status 0. Here every word said
//! to a configuration command is a refusal, and whoever changes something reads it back afterwards.
//!
//! Whatever comes from the socket is bounded in length and time and may be anything.

use std::{
    fmt, fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};
use zeroize::Zeroizing;

use crate::sinks::SinkError;

/// How long a daemon may take for one answer. FRR has one thread: while it computes routes, or the machine stalls, it is silent.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in octets. The configuration of a daemon with thousands of interfaces fits.
pub const MAX_ANSWER: usize = 8 << 20;

/// The most that FRR takes from a socket in one go, in octets. It runs all commands in it before it does anything else.
const MAX_BLOCK: usize = 512;

/// A connection to one daemon, in its enable mode.
pub struct Vty {
    stream: UnixStream,
    socket: PathBuf,
    timeout: Duration,
    /// What has come of answers that were not taken yet.
    received: Zeroizing<Vec<u8>>,
    /// Something went wrong in the middle of an exchange: what comes next would belong to an earlier command.
    broken: bool,
}

/// What a daemon answered. It may hold keys: it is wiped when it is dropped, and has no `Debug` text.
pub struct Answer {
    text: Zeroizing<String>,
    status: u8,
}

impl Answer {
    /// The text. Octets that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The status: 0 success, 2 unknown command, 4 incomplete command. 0 is no proof of success.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("octets", &self.text.len())
            .field("status", &self.status)
            .finish()
    }
}

impl fmt::Debug for Vty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vty")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Vty {
    /// Connects to the daemon that listens on `socket`. No answer may take longer than [`TIMEOUT`].
    ///
    /// # Errors
    /// [`SinkError::is_not_running`] if there is no socket or nobody listens on it; otherwise what keeps one from it.
    pub fn connect(socket: &Path) -> Result<Self, SinkError> {
        Self::connect_within(socket, TIMEOUT)
    }

    /// The same with another limit for each answer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_within(socket: &Path, timeout: Duration) -> Result<Self, SinkError> {
        let stream = open(socket).map_err(|error| connecting(socket, &error))?;
        let mut vty = Self {
            stream,
            socket: socket.to_owned(),
            timeout,
            received: Zeroizing::default(),
            broken: false,
        };
        // The socket's permissions are its protection: enable asks for no password here.
        vty.show("enable")?;
        Ok(vty)
    }

    /// Which run of the daemon this is: the process that listens and when it started. Where /proc does not show that
    /// process, the socket's file stands in, for a daemon makes it anew at each start.
    ///
    /// # Errors
    /// If the system says neither.
    pub fn epoch(&self) -> Result<String, SinkError> {
        let peer = getsockopt(&self.stream, PeerCredentials).map_err(|errno| self.lost(&errno.into()))?;
        let pid = peer.pid();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        if let Some(ticks) = stat.as_deref().and_then(start_ticks) {
            return Ok(format!("pid {pid} started {ticks}"));
        }
        let file = fs::metadata(&self.socket).map_err(|error| self.lost(&error))?;
        let (inode, seconds, ns) = (file.ino(), file.ctime(), file.ctime_nsec());
        Ok(format!("pid {pid} socket {inode} of {seconds}.{ns:09}"))
    }

    /// Sends one command and gives the answer, whatever its status. The command may hold a key: no error repeats it.
    ///
    /// # Errors
    /// If the command is longer than 512 octets or holds control characters, and if the daemon does not answer in time or
    /// not in the protocol's form; the connection is of no use afterwards.
    pub fn execute(&mut self, command: &str) -> Result<Answer, SinkError> {
        let mut answers = self.execute_block(&[command])?;
        answers.pop().ok_or_else(|| self.unreachable("no answer"))
    }

    /// Sends commands in one piece, as many answers as commands come back. The daemon runs them one after the other
    /// without sending or receiving a packet in between, whether they succeed or not.
    fn execute_block(&mut self, commands: &[&str]) -> Result<Vec<Answer>, SinkError> {
        if self.broken {
            return Err(self.unreachable("an exchange on this connection failed before"));
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(MAX_BLOCK));
        for command in commands {
            let fits = octets.len().saturating_add(command.len()) < MAX_BLOCK;
            if !fits || command.chars().any(char::is_control) {
                return Err(SinkError::refused(
                    format!(
                        "commands for {} are too long or hold control characters",
                        self.name()
                    ),
                    "look for line ends in names and keys",
                ));
            }
            octets.extend_from_slice(command.as_bytes());
            octets.push(0);
        }
        // Until the answers are complete.
        self.broken = true;
        let deadline = Instant::now() + self.timeout;
        self.send(&octets, deadline).map_err(|error| self.lost(&error))?;
        let answers = commands.iter().map(|_| self.receive(deadline));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        if !self.received.is_empty() {
            return Err(self.unreachable("it answers more than it was asked"));
        }
        self.broken = false;
        Ok(answers)
    }

    /// The text that `command`, which holds no key, shows.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and if the daemon does not know the command.
    pub fn show(&mut self, command: &str) -> Result<Answer, SinkError> {
        let answer = self.execute(command)?;
        if answer.status != 0 {
            // Messages begin so. The rest may be the part of a configuration that was shown until then, with its keys.
            let said = answer.text().lines().find(|line| line.starts_with('%'));
            return Err(SinkError::refused(
                format!(
                    "{} refuses `{command}` with status {}: {}",
                    self.name(),
                    answer.status,
                    excerpt(said.unwrap_or_default())
                ),
                "FRR 10.3 is what karp is tried with",
            ));
        }
        Ok(answer)
    }

    /// Enters `context` in configuration mode and runs `blocks` there, each in one go: no packet is sent or received between
    /// one command of a block and the next. A block has at most 512 octets.
    ///
    /// Success means that the daemon did not object. Read back what was to come about.
    ///
    /// # Errors
    /// The first command that the daemon objects to; the blocks ahead of it are in force, and parts of its own may be.
    /// Configuration mode is left, or the connection is of no use.
    pub fn configure(&mut self, context: &str, blocks: &[Vec<Zeroizing<String>>]) -> Result<(), SinkError> {
        // Without XFRR_start_configuration, with which vtysh makes a file one transaction: ospfd and ospf6d send no
        // hello from there to its end, for up to ten minutes if whoever began it dies.
        let result = self.change(&["configure terminal", context]).and_then(|()| {
            blocks.iter().try_for_each(|block| {
                let block: Vec<&str> = block.iter().map(|command| command.as_str()).collect();
                self.change(&block)
            })
        });
        if self.broken {
            return result;
        }
        let left = self.change(&["end"]);
        self.broken |= left.is_err();
        result.and(left)
    }

    fn change(&mut self, block: &[&str]) -> Result<(), SinkError> {
        let answers = self.execute_block(block)?;
        let secrets: Vec<&str> = block.iter().filter_map(|command| secret_of(command)).collect();
        for (command, answer) in block.iter().zip(&answers) {
            let said = answer.text().trim();
            if answer.status == 0 && said.is_empty() {
                continue;
            }
            let (command, said) = match secret_of(command) {
                // The answer may repeat the command, or a part of it.
                Some(_) => ("key-string ..", String::new()),
                None => (*command, excerpt(&without(said, &secrets))),
            };
            let status = answer.status;
            return Err(SinkError::refused(
                format!("{} refuses `{command}` with status {status}: {said}", self.name()),
                "see the daemon's log; another session may hold its configuration",
            ));
        }
        Ok(())
    }

    fn send(&mut self, mut octets: &[u8], deadline: Instant) -> io::Result<()> {
        while !octets.is_empty() {
            self.stream.set_write_timeout(Some(remaining(deadline)?))?;
            match self.stream.write(octets) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => octets = octets.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next answer.
    fn receive(&mut self, deadline: Instant) -> Result<Answer, SinkError> {
        let mut piece = Zeroizing::new([0; 4096]);
        let mut searched = 0;
        loop {
            match End::find(&self.received, searched) {
                End::At { length, status } => {
                    let rest = self.received.get(length + 4..).unwrap_or_default();
                    let rest = Zeroizing::new(rest.to_vec());
                    let mut octets = std::mem::replace(&mut self.received, rest);
                    octets.truncate(length);
                    return Ok(Answer {
                        text: text(octets),
                        status,
                    });
                }
                End::Malformed => return Err(self.unreachable("its answer has not the form of a vty's")),
                End::NotYet if self.received.len() > MAX_ANSWER => {
                    return Err(self.unreachable("its answer is longer than any that karp asks for"));
                }
                End::NotYet => {}
            }
            // An end that has begun has at most three octets yet.
            searched = self.received.len().saturating_sub(3);
            let n = self
                .read(&mut *piece, deadline)
                .map_err(|error| self.lost(&error))?;
            if n == 0 {
                return Err(self.unreachable("it closed the connection in the middle of an answer"));
            }
            append(&mut self.received, piece.get(..n).unwrap_or_default());
        }
    }

    fn read(&mut self, piece: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(remaining(deadline)?))?;
            match self.stream.read(piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The daemon's name, from the name of its socket.
    fn name(&self) -> String {
        name(&self.socket)
    }

    fn lost(&self, error: &io::Error) -> SinkError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                self.unreachable(&format!("no answer within {} ms", self.timeout.as_millis()))
            }
            _ => self.unreachable(&error.to_string()),
        }
    }

    fn unreachable(&self, problem: &str) -> SinkError {
        SinkError::unreachable(
            format!("{} on {}: {problem}", self.name(), self.socket.display()),
            "see whether the daemon is alive; it is tried again",
        )
    }
}

fn open(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A daemon that does not accept must not hold us: a full queue is an error at once.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

fn connecting(path: &Path, error: &io::Error) -> SinkError {
    let problem = format!("{} on {}: {error}", name(path), path.display());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => SinkError::not_running(problem),
        ErrorKind::PermissionDenied => SinkError::unreachable(
            problem,
            "let karp run with the group that FRR gives its sockets (frrvty)",
        ),
        ErrorKind::InvalidInput => SinkError::refused(
            problem,
            "a socket's path has at most 107 octets: use a shorter directory",
        ),
        _ => SinkError::unreachable(problem, "see whether the daemon is alive; it is tried again"),
    }
}

/// The name of the daemon that has this socket.
pub(crate) fn name(socket: &Path) -> String {
    let stem = socket.file_stem().unwrap_or(socket.as_os_str());
    stem.to_string_lossy().into_owned()
}

/// The time that is left, never zero: zero would mean no limit.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// Where an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    NotYet,
    /// A zero octet in the text.
    Malformed,
    At {
        length: usize,
        status: u8,
    },
}

impl End {
    /// The end of an answer in `octets`, of which those ahead of `from` hold no zero.
    fn find(octets: &[u8], from: usize) -> Self {
        let unseen = octets.get(from..).unwrap_or_default();
        let Some(at) = unseen.iter().position(|octet| *octet == 0) else {
            return Self::NotYet;
        };
        match unseen.get(at..).unwrap_or_default() {
            [0, 0, 0, status, ..] => Self::At {
                length: from + at,
                status: *status,
            },
            [0] | [0, 0] | [0, 0, 0] => Self::NotYet,
            _ => Self::Malformed,
        }
    }
}

/// Appends without leaving a copy in memory that was given back.
fn append(to: &mut Zeroizing<Vec<u8>>, octets: &[u8]) {
    let needed = to.len().saturating_add(octets.len());
    if needed > to.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(to.capacity().saturating_mul(2))));
        larger.extend_from_slice(to);
        *to = larger;
    }
    to.extend_from_slice(octets);
}

fn text(mut octets: Zeroizing<Vec<u8>>) -> Zeroizing<String> {
    match String::from_utf8(std::mem::take(&mut *octets)) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            let octets = Zeroizing::new(error.into_bytes());
            Zeroizing::new(String::from_utf8_lossy(&octets).into_owned())
        }
    }
}

/// The start time of a process in ticks since boot: field 22 of /proc/PID/stat. The second field is a name in
/// parentheses that may hold anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// The key in a command, if it sets one.
fn secret_of(command: &str) -> Option<&str> {
    command.trim_start().strip_prefix("key-string ")
}

fn without(text: &str, secrets: &[&str]) -> String {
    let known = secrets.iter().filter(|secret| !secret.is_empty());
    known.fold(text.to_owned(), |text, secret| text.replace(*secret, ".."))
}

/// The beginning of what a daemon said, on one line and without control characters.
fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
