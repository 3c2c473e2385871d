//! Keys for BIRD 2: a file of `password` blocks for each protocol, and its control socket to load them by.
//!
//! The operator's configuration includes the file where the passwords of an interface stand, with the `include` at the
//! beginning of a line, and says how the protocol authenticates:
//!
//! | protocol | in the `interface` block | algorithms |
//! | --- | --- | --- |
//! | OSPFv2, OSPFv3, RIPv2 | `authentication cryptographic;` | HMAC-SHA-1, -256, -384, -512 |
//! | Babel | `authentication mac;` | HMAC-SHA-256, BLAKE2s-128 |
//! | BFD | `authentication meticulous keyed sha1;` | HMAC-SHA-1, see below |
//!
//! ```text
//! interface "eth0" {
//!   authentication cryptographic;
//! include "/run/karp/bird-eth0-ospfv2.conf";
//! };
//! ```
//!
//! A BFD packet is not authenticated with an HMAC but with a keyed SHA-1 (RFC 5880 section 6.7.4). The key table has no
//! algorithm of its own for that, so HMAC-SHA-1 stands for it. BIRD uses the first 20 octets of a key there. BIRD has no
//! authentication for RIPng.
//!
//! # Which key is sent with
//!
//! BIRD sends with a key whose time for that is now, and accepts any. The one to send with is written without times; all
//! others with a time for sending that ends before it begins, so that they are only accepted, whatever the clock and
//! its zone may be. A change of the one for the other is one rename and one reconfiguration.
//!
//! As long as there is no key to send with, a **blocker** stands in for it: a random key that nobody has. A file without any
//! password would make BIRD send and accept packets without authentication, or not load at all.
//!
//! # What else it does
//!
//! `configure` makes BIRD read all of its configuration, including what an operator has changed in it meanwhile. If BIRD
//! refuses that, the file becomes what it was before, and BIRD's message says where the mistake is. If BIRD takes it without
//! having opened the file, that is a failure as well: the include is missing, and BIRD does not have the keys.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    keytable::RowState,
};
use nix::errno::Errno;
use zeroize::Zeroizing;

use super::{
    KeySet, Sink, SinkError, SinkKey, blocker,
    file::{self, Found, Watch},
};
use crate::daemons::bird::{self, Client, Reply};

/// How long a reconfiguration may go on after it was accepted, which it does where protocols must first shut down.
const IN_PROGRESS: Duration = Duration::from_secs(10);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Between the two there is nothing (see the module's head).
const NEVER_SENT: &str = r#" generate from "2035-12-31 00:00:00"; generate to "1990-01-01 00:00:00";"#;
const NEVER_ACCEPTED: &str = r#" accept from "2035-12-31 00:00:00"; accept to "1990-01-01 00:00:00";"#;

/// Where BIRD is, and where the keys go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// BIRD's control socket.
    pub socket: PathBuf,
    /// For each protocol the file that BIRD's configuration includes. Its directory must exist.
    pub files: BTreeMap<RoutingProtocol, PathBuf>,
    /// User and group that the files are to belong to, which have the mode 0600: those that BIRD runs as.
    pub owner: Option<(u32, u32)>,
}

/// A BIRD to be keyed on one link.
pub struct BirdSink {
    settings: Settings,
    blocker: Zeroizing<String>,
    /// The run of BIRD that has loaded the files as they are.
    loaded: Option<String>,
    /// What was written last, for files that this user cannot read after they were given to BIRD's.
    written: BTreeMap<PathBuf, Written>,
    timeout: Duration,
}

/// A file as it was written.
struct Written {
    content: Zeroizing<Vec<u8>>,
    /// Whether it is the same still (see [`mark`]).
    mark: (u64, i64, i64),
}

impl fmt::Debug for BirdSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BirdSink")
            .field("settings", &self.settings)
            .field("loaded", &self.loaded)
            .finish_non_exhaustive()
    }
}

/// A file that was replaced, and what it was before.
struct Replaced {
    path: PathBuf,
    former: Option<Zeroizing<Vec<u8>>>,
}

impl BirdSink {
    /// A sink with these settings. Nothing is written yet.
    ///
    /// # Errors
    /// If BIRD cannot authenticate one of the protocols, two of them share a file, a path is none, or there is no
    /// file at all.
    pub fn new(settings: Settings) -> Result<Self, SinkError> {
        let files = &settings.files;
        if files.is_empty() {
            return Err(SinkError::refused(
                "no file for any protocol",
                "name one in files",
            ));
        }
        for (protocol, path) in files {
            style(*protocol)?;
            let quotable = path
                .to_str()
                .is_some_and(|path| !path.contains(['"', '\n', '\0']));
            if !path.is_absolute() || !quotable || path.file_name().is_none() {
                return Err(SinkError::refused(
                    format!(
                        "files.{}: {} is no path that BIRD can include",
                        protocol.name(),
                        path.display()
                    ),
                    "give the file's absolute path",
                ));
            }
            if files.iter().any(|(other, its)| other != protocol && its == path) {
                return Err(SinkError::refused(
                    format!(
                        "files.{}: {} is another protocol's file",
                        protocol.name(),
                        path.display()
                    ),
                    "give each protocol a file of its own",
                ));
            }
        }
        Ok(Self {
            settings,
            blocker: blocker::secret(),
            loaded: None,
            written: BTreeMap::new(),
            timeout: bird::TIMEOUT,
        })
    }

    /// Whether BIRD can authenticate `protocol` with `algorithm`.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(protocol: RoutingProtocol, algorithm: RoutingAlgorithm) -> Result<(), SinkError> {
        let style = style(protocol)?;
        match name(style, algorithm) {
            Some(_) => Ok(()),
            None => Err(SinkError::refused(
                format!("BIRD has no {} for {}", algorithm.name(), protocol.name()),
                match style {
                    Style::Mac => "use HMAC-SHA-256 or BLAKE2s-128",
                    Style::Cryptographic => "use HMAC-SHA-256",
                    Style::Keyed => "use HMAC-SHA-1, which stands for BFD's keyed SHA-1",
                },
            )),
        }
    }

    /// The content of the file of `protocol`.
    fn content(&self, protocol: RoutingProtocol, wanted: &KeySet) -> Result<Zeroizing<String>, SinkError> {
        // Room for all of it, so that it does not move while it grows: 300 octets hold the longest of the short keys.
        let room = wanted
            .of(protocol)
            .map(|key| 300 + 2 * key.secret().len())
            .sum::<usize>()
            + 1000;
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str("# Keys of a karp group. They are replaced without notice: do not edit.\n");
        for key in wanted.of(protocol) {
            password(&mut text, key)?;
        }
        if wanted.sending(protocol).is_none()
            && let Some(id) = wanted.free_id(protocol)
        {
            text.push_str("# Nobody has this key: there is none to send with yet.\npassword \"");
            text.push_str(&self.blocker);
            text.push_str(&format!("\" {{ id {id};"));
            if style(protocol)? != Style::Keyed {
                text.push_str(" algorithm hmac sha256;");
            }
            text.push_str(NEVER_ACCEPTED);
            text.push_str(" };\n");
        }
        Ok(text)
    }

    /// Writes the files that differ. After an error all are as they were, but for the one that it names.
    fn write(&mut self, wanted: &KeySet) -> Result<Vec<Replaced>, SinkError> {
        let files = self.settings.files.iter();
        let contents: Vec<_> = files
            .map(|(protocol, path)| Ok((path.clone(), self.content(*protocol, wanted)?)))
            .collect::<Result<_, SinkError>>()?;
        let mut replaced = Vec::new();
        for (path, content) in contents {
            match self.replace(&path, content.as_bytes()) {
                Ok(None) => {}
                Ok(Some(it)) => replaced.push(it),
                Err(error) => {
                    let also = self.restore(replaced);
                    // Of all that is done to the file, giving it away alone fails like this.
                    let ungiven = error.raw_os_error() == Some(Errno::EPERM as i32);
                    let remedy = match self.settings.owner {
                        Some((user, group)) if ungiven => format!(
                            "to give it to user {user}, group {group}, this program needs CAP_CHOWN (AmbientCapabilities=), or leave out owner"
                        ),
                        _ => "see that its directory exists and this user may write there".to_owned(),
                    };
                    return Err(SinkError::refused(
                        format!("{}: {error}{also}", path.display()),
                        remedy,
                    ));
                }
            }
        }
        Ok(replaced)
    }

    fn replace(&mut self, path: &Path, content: &[u8]) -> io::Result<Option<Replaced>> {
        let former = match file::read(path, self.settings.owner) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.remembered(path),
            found => found?,
        };
        if let Some(former) = &former
            && former.fits
            && former.content.as_slice() == content
        {
            return Ok(None);
        }
        self.put(path, content)?;
        let (path, former) = (path.to_owned(), former.map(|former| former.content));
        Ok(Some(Replaced { path, former }))
    }

    fn put(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.written.remove(path);
        file::replace(path, content, self.settings.owner)?;
        let content = Zeroizing::new(content.to_vec());
        let mark = mark(path)?;
        self.written.insert(path.to_owned(), Written { content, mark });
        Ok(())
    }

    /// What was written to `path`, if that is what is there.
    fn remembered(&self, path: &Path) -> Option<Found> {
        let written = self.written.get(path)?;
        let content = written.content.clone();
        let fits = true;
        (mark(path).ok()? == written.mark).then_some(Found { content, fits })
    }

    /// Puts back what was there before, and says what came of it.
    fn restore(&mut self, replaced: Vec<Replaced>) -> String {
        let mut said = String::new();
        for Replaced { path, former } in replaced {
            let Some(former) = former else { continue };
            match self.put(&path, &former) {
                Ok(()) => said.push_str(&format!("; {} is what it was before", path.display())),
                Err(error) => said.push_str(&format!("; nor could {} be put back: {error}", path.display())),
            }
        }
        said
    }

    /// Loads the files into BIRD, unless it is the run `loaded`, which has them.
    fn load(&self, loaded: Option<&str>) -> Result<String, Load> {
        let (mut client, run) = Client::connect_with_epoch(&self.settings.socket, self.timeout)
            .map_err(|error| Load::Unknown(error.into()))?;
        if loaded == Some(run.as_str()) {
            return Ok(run);
        }
        let files = self.settings.files.values().map(PathBuf::as_path);
        let watch = Watch::new(files);
        let reply = client
            .command("configure")
            .map_err(|error| Load::Unknown(error.into()))?;
        self.configured(&mut client, &reply)?;
        // A BIRD that does not include a file is content with everything, and does without the keys.
        match watch.and_then(Watch::unopened) {
            Ok(None) => Ok(run),
            Ok(Some(path)) => Err(Load::Unknown(SinkError::refused(
                format!("BIRD's configuration does not include {}", path.display()),
                "include it where the passwords of the interface stand",
            ))),
            Err(error) => {
                tracing::debug!(%error, "whether BIRD reads its files of keys cannot be seen");
                Ok(run)
            }
        }
    }

    fn configured(&self, client: &mut Client, reply: &Reply) -> Result<(), Load> {
        if let Some(text) = reply.refusal() {
            return Err(Load::Refused(format!("BIRD refuses its configuration: {text}")));
        }
        match reply.code() {
            // Reconfigured.
            3 => Ok(()),
            // In progress, or queued behind one that is: read without a mistake, and not yet in force everywhere.
            4 | 5 => self.until_done(client),
            // Ignored, for it shuts down.
            6 => Err(shutting_down()),
            code => {
                let text = reply.lines().last().map_or("", |line| line.text.as_str());
                Err(Load::Refused(format!(
                    "BIRD does not reconfigure: {code:04} {text}"
                )))
            }
        }
    }

    fn until_done(&self, client: &mut Client) -> Result<(), Load> {
        let until = Instant::now() + IN_PROGRESS.min(self.timeout * 2);
        loop {
            let status = client
                .command("show status")
                .map_err(|error| Load::Unknown(error.into()))?;
            let last = status.lines().last().map_or("", |line| line.text.as_str());
            if last.starts_with("Shutdown") {
                return Err(shutting_down());
            }
            if !last.starts_with("Reconfiguration") {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Load::Unknown(SinkError::unreachable(
                    "BIRD has not finished an earlier reconfiguration",
                    "see with `birdc show protocols` which protocol does not shut down",
                )));
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Why the files are not in force.
enum Load {
    /// BIRD has read them, or the rest of its configuration, and goes on with what it had.
    Refused(String),
    /// Whether it has read them is not known. They stay.
    Unknown(SinkError),
}

fn shutting_down() -> Load {
    Load::Unknown(SinkError::unreachable("BIRD is shutting down", "start it again"))
}

impl Sink for BirdSink {
    fn describe(&self) -> String {
        format!("BIRD at {}", self.settings.socket.display())
    }

    fn epoch(&mut self) -> Result<Option<String>, SinkError> {
        Ok(Some(bird::epoch(&self.settings.socket)?))
    }

    fn reconcile(&mut self, wanted: &KeySet) -> Result<(), SinkError> {
        // What fails on the way may have changed a file, and then nobody has loaded it.
        let loaded = self.loaded.take();
        let replaced = self.write(wanted)?;
        match self.load(loaded.as_deref().filter(|_| replaced.is_empty())) {
            Ok(run) => {
                self.loaded = Some(run);
                Ok(())
            }
            Err(Load::Unknown(error)) => Err(error),
            Err(Load::Refused(text)) => {
                let restored = self.restore(replaced);
                let remedy = "correct what BIRD complains of; it goes on with the keys that it had";
                Err(SinkError::refused(format!("{text}{restored}"), remedy))
            }
        }
    }
}

/// What changes whenever somebody writes, replaces or gives away the file at `path`.
fn mark(path: &Path) -> io::Result<(u64, i64, i64)> {
    let it = fs::metadata(path)?;
    Ok((it.ino(), it.ctime(), it.ctime_nsec()))
}

/// How a protocol's passwords are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `authentication cryptographic`.
    Cryptographic,
    /// `authentication mac`.
    Mac,
    /// `authentication meticulous keyed sha1`: the passwords themselves name no algorithm.
    Keyed,
}

fn style(protocol: RoutingProtocol) -> Result<Style, SinkError> {
    use RoutingProtocol as P;
    match protocol {
        P::Ospfv2 | P::Ospfv3 | P::Ripv2 => Ok(Style::Cryptographic),
        P::Babel => Ok(Style::Mac),
        P::Bfd => Ok(Style::Keyed),
        P::Isis | P::Ripng | P::Pim | P::Ldp | P::Bgp | P::Msdp => Err(SinkError::refused(
            format!("BIRD has no {} that takes these keys", protocol.name()),
            "use this sink for OSPFv2, OSPFv3, RIPv2, Babel and BFD",
        )),
    }
}

/// BIRD's name for `algorithm`; empty where it has none but takes the keys.
fn name(style: Style, algorithm: RoutingAlgorithm) -> Option<&'static str> {
    use RoutingAlgorithm as A;
    match (style, algorithm) {
        (Style::Cryptographic, A::HmacSha1) => Some("hmac sha1"),
        (Style::Cryptographic | Style::Mac, A::HmacSha256) => Some("hmac sha256"),
        (Style::Cryptographic, A::HmacSha384) => Some("hmac sha384"),
        (Style::Cryptographic, A::HmacSha512) => Some("hmac sha512"),
        (Style::Mac, A::Blake2s128) => Some("blake2s128"),
        (Style::Keyed, A::HmacSha1) => Some(""),
        _ => None,
    }
}

/// Appends the `password` block of `key`.
fn password(text: &mut String, key: &SinkKey) -> Result<(), SinkError> {
    BirdSink::takes(key.protocol, key.algorithm)?;
    let which = || format!("key {} of {}", key.id, key.protocol.name());
    if key.id > 255 {
        return Err(SinkError::refused(
            format!("{}: BIRD has key ids of 0 to 255", which()),
            "use such ids",
        ));
    }
    text.push_str("password ");
    match key.secret() {
        [] => {
            return Err(SinkError::refused(
                format!("{} is empty", which()),
                "configure a secret for it",
            ));
        }
        // What stands in quotes is taken as it is, up to the next quote or the end of the line.
        secret
            if secret
                .iter()
                .all(|octet| matches!(octet, b' '..=b'~') && *octet != b'"') =>
        {
            text.push('"');
            text.extend(secret.iter().map(|octet| char::from(*octet)));
            text.push('"');
        }
        secret => {
            // Older releases know octets by their number alone, newer ones shorter keys too, by this prefix.
            if secret.len() < 16 {
                text.push_str("hex:");
            }
            for octet in secret {
                for nibble in [octet >> 4, octet & 15] {
                    text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
                }
            }
        }
    }
    text.push_str(&format!(" {{ id {};", key.id));
    if let Some(algorithm) = name(style(key.protocol)?, key.algorithm).filter(|name| !name.is_empty()) {
        text.push_str(&format!(" algorithm {algorithm};"));
    }
    if key.state != RowState::Active {
        text.push_str(NEVER_SENT);
    }
    text.push_str(" };\n");
    Ok(())
}

#[cfg(test)]
mod tests;
