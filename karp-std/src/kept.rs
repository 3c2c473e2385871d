//! Traffic keys over a restart of the program (PROTOCOL.md section 8): a file for each group under a directory that a
//! reboot of the machine empties.
//!
//! A key may be shown to the group only if the routing daemons have had it, and have kept their replay state, without a
//! break since it went in (sections 4 and 7). So beside each key stands which run of each daemon took it
//! ([`Sink::epoch`](crate::sinks::Sink::epoch)); [`File::load`] gives keys of this boot that have not expired, and
//! [`KeptKey::is_held_by`] tells which of them the daemons still hold. Who was evicted is kept with them.
//!
//! The file is written for its owner alone (mode 0600), under another name first and then renamed. What is read is
//! believed only if it is a regular file of this user that nobody else can get at, in a directory that nobody else can
//! change. It is plain text: the protection is that of the directory, as for the daemons' own key files.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::{KeyUse, MAX_PROTOCOLS, MAX_RESUMED, ResumedKey},
    crypto::Secret,
    time::Instant,
    wire::notify::MAX_EVICTED,
};
use nix::{
    libc::{O_NOFOLLOW, O_NONBLOCK},
    unistd::geteuid,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::credentials::parse_hex;

/// The most octets that a file of kept keys can have.
const MAX_FILE: usize = 64 * 1024;
/// The form of the file. Another one is not read.
const VERSION: u32 = 1;

/// A traffic key and what holds it.
pub struct KeptKey {
    /// The key. Its lifetime is what was left when it was read or taken from the engine.
    pub key: ResumedKey,
    /// When it expires, on the clock of [`clock::now`](crate::clock::now).
    pub expires: Instant,
    /// For each sink that took it, by the sink's description: the run of its daemon then, as
    /// [`Sink::epoch`](crate::sinks::Sink::epoch) gave it.
    pub holders: BTreeMap<String, Option<String>>,
}

impl KeptKey {
    /// Whether every sink in `now` has held the key without a break: it took the key, and is the same run of its daemon
    /// still. A sink of which no run can be told (`Some(None)`) counts as running on; one whose daemon is down (`None`)
    /// has lost it.
    #[must_use]
    pub fn is_held_by(&self, now: &BTreeMap<String, Option<Option<String>>>) -> bool {
        now.iter()
            .all(|(sink, epoch)| match (epoch, self.holders.get(sink)) {
                (Some(epoch), Some(then)) => epoch == then,
                _ => false,
            })
    }
}

/// No octets of the key.
impl fmt::Debug for KeptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptKey")
            .field("id", &self.key.id)
            .field("usage", &self.key.usage)
            .field("expires", &self.expires)
            .field("holders", &self.holders)
            .finish_non_exhaustive()
    }
}

/// What was kept of one group.
#[derive(Debug, Default)]
pub struct Kept {
    /// The keys, the one that was sent with first.
    pub keys: Vec<KeptKey>,
    /// Who was evicted, and until when that is remembered on the clock of [`clock::now`](crate::clock::now). It does not
    /// matter what the daemons hold.
    pub evictions: Vec<KeptEviction>,
}

/// An identity that was put out of the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptEviction {
    /// The identity's digest, as [`Eviction`](karp_core::config::Eviction) has it.
    pub digest: [u8; 16],
    /// Until when it is remembered.
    pub until: Instant,
}

/// Why kept keys were not written or not believed.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeptError {
    /// The system says no.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file or its directory could have been changed or read by somebody else.
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// How.
        problem: &'static str,
    },
    /// The file is not what this program writes.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is of an earlier boot of the machine, so every daemon has lost its keys.
    OtherBoot {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for KeptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(
                f,
                "{}: {source}; see that the directory exists and is this program's own",
                path.display()
            ),
            Self::Exposed { path, problem } => write!(
                f,
                "{}: {problem}; make it this program's own, without any permission for others",
                path.display()
            ),
            Self::Content { path, problem } => write!(
                f,
                "{}: {problem}; it is written anew with the next change of keys",
                path.display()
            ),
            Self::OtherBoot { path } => {
                write!(
                    f,
                    "{}: from before the machine was started; its keys are left",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for KeptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The file of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    directory: PathBuf,
    path: PathBuf,
    group: String,
    identity: String,
    boot: String,
}

impl File {
    /// The file of the router `identity` in `group` under `directory`, on this boot of the machine. Nothing is read or made
    /// yet.
    ///
    /// # Errors
    /// If the system does not tell its boot id (/proc/sys/kernel/random/boot_id).
    pub fn new(directory: &Path, group: &str, identity: &str) -> Result<Self, KeptError> {
        let source = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = fs::read_to_string(source).map_err(|error| io_error(source, error))?;
        Ok(Self::of_boot(directory, group, identity, boot.trim()))
    }

    fn of_boot(directory: &Path, group: &str, identity: &str, boot: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            path: directory.join(format!("{}.keys", file_name(group))),
            group: group.to_owned(),
            identity: identity.to_owned(),
            boot: boot.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `keys` and `evictions` in place of what was kept before. A directory that is missing is made with mode 0700.
    ///
    /// # Errors
    /// [`KeptError::Io`], or [`KeptError::Exposed`] if others can change the directory; the file is as before then.
    pub fn save<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k KeptKey>,
        evictions: &[KeptEviction],
    ) -> Result<(), KeptError> {
        if !self.directory.exists() {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.directory);
            made.map_err(|error| io_error(&self.directory, error))?;
        }
        self.check_directory()?;
        let document = Document {
            version: VERSION,
            boot: self.boot.clone(),
            group: self.group.clone(),
            identity: self.identity.clone(),
            keys: keys.into_iter().map(KeyEntry::of).collect(),
            evictions: evictions.iter().map(EvictionEntry::of).collect(),
        };
        // Room for all of it at once: a vector that grows would leave copies of the keys behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(MAX_FILE));
        serde_json::to_writer_pretty(&mut *octets, &document)
            .map_err(|error| io_error(&self.path, error.into()))?;
        octets.push(b'\n');
        let new = self.path.with_extension("keys.new");
        let write = || {
            // Left by a program that died while it wrote.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&octets)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|error| io_error(&new, error))
    }

    /// What was kept, without what expired before `now`. Nothing if nothing was kept.
    ///
    /// # Errors
    /// Why what is there is not believed.
    pub fn load(&self, now: Instant) -> Result<Kept, KeptError> {
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK)
            .open(&self.path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(io_error(&self.path, error)),
        };
        let metadata = file.metadata().map_err(|error| io_error(&self.path, error))?;
        let exposed = |problem| {
            Err(KeptError::Exposed {
                path: self.path.clone(),
                problem,
            })
        };
        if !metadata.is_file() {
            return exposed("this is no regular file");
        }
        if metadata.uid() != geteuid().as_raw() {
            return exposed("another user owns it");
        }
        if metadata.mode() & 0o077 != 0 {
            return exposed("others have access to it");
        }
        self.check_directory()?;
        let mut octets = Zeroizing::new(vec![0; MAX_FILE + 1]);
        let mut filled = 0;
        while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(&self.path, error)),
            }
        }
        if filled > MAX_FILE {
            return Err(self.content("it is too large"));
        }
        self.parse(octets.get(..filled).unwrap_or_default(), now)
    }

    /// Removes what was kept: the daemons do not have these keys any more.
    ///
    /// # Errors
    /// [`KeptError::Io`], not if there was nothing.
    pub fn remove(&self) -> Result<(), KeptError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&self.path, error)),
            _ => Ok(()),
        }
    }

    fn parse(&self, octets: &[u8], now: Instant) -> Result<Kept, KeptError> {
        // What the parser says may show what it read.
        let document: Document = serde_json::from_slice(octets).map_err(|_| self.content("it is damaged"))?;
        if document.version != VERSION {
            return Err(self.content("another version of this program wrote it"));
        }
        if document.boot != self.boot {
            return Err(KeptError::OtherBoot {
                path: self.path.clone(),
            });
        }
        if document.group != self.group || document.identity != self.identity {
            return Err(self.content("it is another group's or another router's"));
        }
        let mut keys = Vec::new();
        for entry in &document.keys {
            let key = entry
                .key(now)
                .ok_or_else(|| self.content("a key in it is none"))?;
            if keys.iter().any(|other: &KeptKey| other.key.id == key.key.id) {
                return Err(self.content("a key id stands in it twice"));
            }
            keys.push(key);
        }
        keys.retain(|key| key.expires > now);
        keys.sort_by_key(|key| match key.key.usage {
            KeyUse::Sending => 0,
            KeyUse::Stopped => 1,
            KeyUse::Unsent => 2,
        });
        keys.truncate(MAX_RESUMED);
        let mut evictions = Vec::new();
        for entry in &document.evictions {
            let eviction = entry.eviction();
            evictions.push(eviction.ok_or_else(|| self.content("an eviction in it is none"))?);
        }
        evictions.retain(|eviction| eviction.until > now);
        evictions.truncate(MAX_EVICTED);
        Ok(Kept { keys, evictions })
    }

    /// Whoever could change the directory could put a file of their own in place of ours.
    fn check_directory(&self) -> Result<(), KeptError> {
        let metadata = fs::metadata(&self.directory).map_err(|error| io_error(&self.directory, error))?;
        let owner = metadata.uid();
        let problem = if owner != 0 && owner != geteuid().as_raw() {
            "another user owns the directory"
        } else if metadata.mode() & 0o022 != 0 {
            "others can write to the directory"
        } else {
            return Ok(());
        };
        Err(KeptError::Exposed {
            path: self.directory.clone(),
            problem,
        })
    }

    fn content(&self, problem: &str) -> KeptError {
        KeptError::Content {
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }
}

/// A group may have any name; a file may not.
fn file_name(group: &str) -> String {
    let mut name = String::new();
    for (at, octet) in group.bytes().enumerate() {
        let plain =
            octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' || (octet == b'.' && at > 0);
        if plain {
            name.push(octet.into());
        } else {
            name.push_str(&format!("%{octet:02x}"));
        }
    }
    name
}

fn io_error(path: &Path, source: io::Error) -> KeptError {
    KeptError::Io {
        path: path.to_owned(),
        source,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    boot: String,
    group: String,
    identity: String,
    keys: Vec<KeyEntry>,
    evictions: Vec<EvictionEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvictionEntry {
    /// In hexadecimal. It is no secret.
    digest: String,
    /// Milliseconds on the clock that counts from the start of the machine.
    until_ms: u64,
}

impl EvictionEntry {
    fn of(kept: &KeptEviction) -> Self {
        Self {
            digest: kept.digest.iter().map(|octet| format!("{octet:02x}")).collect(),
            until_ms: kept.until.as_millis(),
        }
    }

    fn eviction(&self) -> Option<KeptEviction> {
        let octets = parse_hex(&self.digest).ok()?;
        Some(KeptEviction {
            digest: octets.as_slice().try_into().ok()?,
            until: Instant::from_millis(self.until_ms),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: u16,
    usage: Usage,
    /// Milliseconds on the clock that counts from the start of the machine.
    expires_ms: u64,
    /// Numbers of PROTOCOL.md section 10.
    protocols: Vec<(u16, u16)>,
    holders: BTreeMap<String, Option<String>>,
    key: Hex,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Usage {
    Unsent,
    Stopped,
    Sending,
}

/// The key in hexadecimal, wiped on drop.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Hex(String);

impl Drop for Hex {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl KeyEntry {
    fn of(kept: &KeptKey) -> Self {
        let mut hex = String::with_capacity(64);
        for octet in kept.key.key.expose() {
            for half in [octet >> 4, octet & 15] {
                hex.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
        Self {
            id: kept.key.id,
            usage: match kept.key.usage {
                KeyUse::Unsent => Usage::Unsent,
                KeyUse::Stopped => Usage::Stopped,
                KeyUse::Sending => Usage::Sending,
            },
            expires_ms: kept.expires.as_millis(),
            protocols: kept
                .key
                .protocols
                .iter()
                .map(|(protocol, algorithm)| (protocol.code(), algorithm.code()))
                .collect(),
            holders: kept.holders.clone(),
            key: Hex(hex),
        }
    }

    fn key(&self, now: Instant) -> Option<KeptKey> {
        let octets = parse_hex(&self.key.0).ok()?;
        let mut octets: [u8; 32] = octets.as_slice().try_into().ok()?;
        let key = Secret::from_bytes(octets);
        octets.zeroize();
        let mut protocols = heapless::Vec::<_, MAX_PROTOCOLS>::new();
        for (protocol, algorithm) in &self.protocols {
            let protocol = RoutingProtocol::from_code(*protocol)?;
            let algorithm = RoutingAlgorithm::from_code(*algorithm)?;
            protocols.push((protocol, algorithm)).ok()?;
        }
        if self.id == 0 || protocols.is_empty() {
            return None;
        }
        let expires = Instant::from_millis(self.expires_ms);
        Some(KeptKey {
            key: ResumedKey {
                id: self.id,
                key,
                usage: match self.usage {
                    Usage::Unsent => KeyUse::Unsent,
                    Usage::Stopped => KeyUse::Stopped,
                    Usage::Sending => KeyUse::Sending,
                },
                lifetime: expires.since(now),
                protocols,
            },
            expires,
            holders: self.holders.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
