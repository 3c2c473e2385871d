//! karpd: its configuration, its control socket, and what its status says.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;

use super::{net::INTERFACE, record::Watched};

/// The name of the group.
pub const GROUP: &str = "netlab";
/// Between two announcements of a router.
pub const HELLO_MS: u64 = 250;
/// So many of them missed, and a router counts as gone: 2 s, so that a machine of two cores may hesitate, and 20 % loss
/// take a router out once in 400,000 intervals.
pub const HOLD_MULTIPLIER: u64 = 8;
/// How long a replaced key is still accepted: longer than OSPF's retransmission interval here (see the configuration of
/// FRR).
pub const DTD_MS: u64 = 3000;
/// Between two changes of key.
pub const MIN_REKEY_MS: u64 = 500;

/// What fills a daemon's keys, and what follows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Daemon<'a> {
    /// BIRD, by its control socket; files of passwords in this directory.
    Bird {
        /// The control socket.
        socket: &'a Path,
        /// The files' directory.
        directory: &'a Path,
    },
    /// FRR, by the directory of its vty sockets.
    Frr {
        /// That directory.
        directory: &'a Path,
    },
}

/// What [`configuration`] is told.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// The router's name.
    pub name: &'a str,
    /// Its number on the LAN.
    pub host: u8,
    /// The names of its peers, and for each the file with the key that the two share.
    pub peers: &'a [(String, String)],
    /// What is keyed.
    pub protocols: &'a [Watched],
    /// Its daemon.
    pub daemon: Daemon<'a>,
    /// The control socket.
    pub control: &'a Path,
    /// The directory of kept keys.
    pub state: &'a Path,
    /// A manual key: its id and the file with it. All peers are expected then.
    pub manual: Option<(u16, &'a str)>,
}

/// The configuration file.
#[must_use]
pub fn configuration(settings: &Settings<'_>) -> String {
    let mut text = format!(
        "[node]\nidentity = \"{name}\"\nrouter_id = \"10.9.255.{host}\"\naddress = \"10.9.0.{host}\"\ninterface = \
         \"{INTERFACE}\"\n\n[group]\nname = \"{GROUP}\"\n\n[timers]\nhello = \"{HELLO_MS}ms\"\nhold_multiplier = \
         {HOLD_MULTIPLIER}\nretransmit = \"250ms\"\nmin_rekey = \"{MIN_REKEY_MS}ms\"\ndtd = \"{DTD_MS}ms\"\n\n[policy]\nprotocols \
         = [\n",
        name = settings.name,
        host = settings.host,
    );
    for protocol in settings.protocols {
        let _ = writeln!(
            text,
            "    {{ protocol = \"{}\", algorithm = \"{}\" }},",
            protocol.name(),
            protocol.algorithm()
        );
    }
    let _ = write!(
        text,
        "]\n\n[daemon]\ncontrol = {}\nstate = {}\nlog = \"debug\"\n",
        quoted(settings.control),
        quoted(settings.state)
    );
    let each = |value: &dyn Fn(Watched) -> String| -> String {
        let all: Vec<String> = settings
            .protocols
            .iter()
            .map(|protocol| format!("{} = {}", protocol.name(), value(*protocol)))
            .collect();
        all.join(", ")
    };
    let elects = settings.protocols.iter().find(|protocol| protocol.elects());
    let followed = elects.or(settings.protocols.first()).copied();
    match settings.daemon {
        Daemon::Bird { socket, directory } => {
            let files = each(&|protocol| quoted(&directory.join(super::bird::key_file(protocol))));
            let _ = write!(
                text,
                "\n[[sink]]\nkind = \"bird\"\nsocket = {}\nfiles = {{ {files} }}\n",
                quoted(socket)
            );
            if let Some(protocol) = followed {
                let _ = write!(
                    text,
                    "\n[follow]\nkind = \"bird\"\nsocket = {}\ninstance = \"{}\"\nprotocol = \"{}\"\n",
                    quoted(socket),
                    super::bird::instance(protocol),
                    protocol.name()
                );
            }
        }
        Daemon::Frr { directory } => {
            let chains = each(&|_| format!("\"{}\"", super::frr::CHAIN));
            let _ = write!(
                text,
                "\n[[sink]]\nkind = \"frr\"\ndirectory = {}\nchains = {{ {chains} }}\n",
                quoted(directory)
            );
            if let Some(protocol) = followed {
                let _ = write!(
                    text,
                    "\n[follow]\nkind = \"frr\"\ndirectory = {}\nprotocol = \"{}\"\n",
                    quoted(directory),
                    protocol.name()
                );
            }
        }
    }
    for (peer, file) in settings.peers {
        let expected = settings.manual.is_some();
        let _ = write!(
            text,
            "\n[[peer]]\nidentity = \"{peer}\"\npsk = {{ hex_file = \"{file}\" }}\nexpected = {expected}\n"
        );
    }
    if let Some((id, file)) = settings.manual {
        for protocol in settings.protocols {
            let _ = write!(
                text,
                "\n[[manual_key]]\nprotocol = \"{}\"\nalgorithm = \"{}\"\nid = {id}\nsecret = {{ file = \"{file}\" }}\n",
                protocol.name(),
                protocol.algorithm()
            );
        }
    }
    text
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// Sends one request to a control socket and gives the answer.
///
/// # Errors
/// No karpd there, no answer within 3 s, or one that says no, with its reason.
pub fn request(control: &Path, request: &Value) -> anyhow::Result<Value> {
    let mut stream =
        UnixStream::connect(control).with_context(|| format!("no karpd at {}", control.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.set_write_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .context("karpd does not answer")?;
    let answer: Value =
        serde_json::from_str(&line).map_err(|_| anyhow!("karpd answers nonsense: {line:?}"))?;
    if answer.get("ok").and_then(Value::as_bool) == Some(false) {
        let text = |name| answer.get(name).and_then(Value::as_str).unwrap_or("");
        bail!(
            "karpd says no to {request}: {}; {}",
            text("error"),
            text("remedy")
        );
    }
    Ok(answer)
}

/// A traffic key, as karpd shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The protocol's name.
    pub protocol: String,
    /// Its id.
    pub id: u16,
    /// `pending`, `active` or `retiring`.
    pub state: String,
    /// From the configuration.
    pub manual: bool,
    /// Tells keys of one id apart.
    pub fingerprint: String,
}

/// What karpd says of its only group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// `gcks`, `member`, `initial` or `left`.
    pub role: String,
    /// Whom it follows.
    pub gcks: Option<String>,
    /// The Rekey SA's name.
    pub rekey_sa: Option<String>,
    /// Whether its daemons hold what it has acknowledged.
    pub confirmed: bool,
    /// Its election priority.
    pub priority: u64,
    /// Its traffic keys.
    pub keys: Vec<Key>,
    /// Whether every sink has taken its keys, or has no daemon.
    pub filled: bool,
    /// What is wrong with sinks, in words.
    pub troubles: Vec<String>,
}

impl Status {
    /// Reads the answer to `status`.
    #[must_use]
    pub fn read(answer: &Value) -> Option<Self> {
        let group = answer.get("groups")?.get(0)?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = |name: &str| group.get(name).and_then(Value::as_array).into_iter().flatten();
        let keys = list("keys").filter_map(|key| {
            Some(Key {
                protocol: text(key, "protocol")?,
                id: u16::try_from(key.get("id")?.as_u64()?).ok()?,
                state: text(key, "state")?,
                manual: key.get("manual").and_then(Value::as_bool).unwrap_or(false),
                fingerprint: text(key, "fingerprint").unwrap_or_default(),
            })
        });
        let troubles: Vec<String> = list("sinks")
            .filter(|sink| !matches!(sink.get("state").and_then(Value::as_str), Some("ok" | "down")))
            .map(|sink| {
                format!(
                    "{}: {}",
                    text(sink, "sink").unwrap_or_default(),
                    text(sink, "error").unwrap_or_default()
                )
            })
            .collect();
        Some(Self {
            role: text(group, "role")?,
            gcks: text(group, "gcks"),
            rekey_sa: text(group, "rekey_sa"),
            confirmed: group.get("confirmed").and_then(Value::as_bool).unwrap_or(true),
            priority: group.get("priority").and_then(Value::as_u64).unwrap_or(0),
            keys: keys.collect(),
            filled: troubles.is_empty(),
            troubles,
        })
    }

    /// The keys that it sends with, one for each protocol, in order.
    #[must_use]
    pub fn sending(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = self.keys.iter().filter(|key| key.state == "active").collect();
        keys.sort();
        keys
    }

    /// The id of the automatic key that it sends with.
    #[must_use]
    pub fn sending_id(&self) -> Option<u16> {
        self.sending().first().filter(|key| !key.manual).map(|key| key.id)
    }

    /// No key is to become active.
    #[must_use]
    pub fn has_no_pending(&self) -> bool {
        self.keys.iter().all(|key| key.state != "pending")
    }

    /// No key retires either.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.keys.iter().all(|key| key.manual || key.state == "active")
    }

    /// In one line, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|key| {
                let manual = if key.manual { "manual " } else { "" };
                format!("{} {manual}{} {}", key.protocol, key.id, key.state)
            })
            .collect();
        let troubles = if self.troubles.is_empty() {
            String::new()
        } else {
            format!("; {}", self.troubles.join("; "))
        };
        format!(
            "{}, gcks {}, rekey SA {}, priority {}{}, keys [{}]{troubles}",
            self.role,
            self.gcks.as_deref().unwrap_or("none"),
            self.rekey_sa
                .as_deref()
                .map_or("none", |spi| spi.get(..8).unwrap_or(spi)),
            self.priority,
            if self.confirmed { "" } else { ", not confirmed" },
            keys.join(", ")
        )
    }
}

/// Whether these routers are one group: one key server whom all others follow, one Rekey SA, and the same automatic key
/// sent with by all, in each protocol, their daemons filled.
#[must_use]
pub fn agree(statuses: &[(&str, &Status)]) -> bool {
    let mut serving = statuses.iter().filter(|(_, status)| status.role == "gcks");
    let (Some((gcks, head)), None) = (serving.next(), serving.next()) else {
        return false;
    };
    let keys = head.sending();
    !keys.is_empty()
        && head.rekey_sa.is_some()
        && keys.iter().all(|key| !key.manual)
        && statuses.iter().all(|(name, status)| {
            let in_place = name == gcks || (status.role == "member" && status.gcks.as_deref() == Some(*gcks));
            in_place
                && status.rekey_sa == head.rekey_sa
                && status.confirmed
                && status.filled
                && status.sending() == keys
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(role: &str, gcks: &str, id: u16, state: &str) -> Status {
        let answer = json!({ "ok": true, "groups": [{
            "role": role, "gcks": gcks, "rekey_sa": "00ff", "confirmed": true, "priority": 200,
            "keys": [
                { "protocol": "OSPFv2", "id": id, "state": state, "manual": false, "fingerprint": "ab" },
                { "protocol": "OSPFv2", "id": 9, "state": "retiring", "manual": false, "fingerprint": "cd" },
            ],
            "sinks": [{ "sink": "bird", "state": "ok" }],
        }] });
        Status::read(&answer).unwrap()
    }

    #[test]
    fn a_group_agrees_when_all_send_with_one_key_under_one_server() {
        let (server, member) = (
            status("gcks", "r1", 3, "active"),
            status("member", "r1", 3, "active"),
        );
        assert!(agree(&[("r1", &server), ("r2", &member)]));
        assert!(!agree(&[("r2", &member)]), "no server");
        assert!(!agree(&[("r1", &server), ("r2", &server)]), "two servers");
        assert!(!agree(&[
            ("r1", &server),
            ("r2", &status("member", "r9", 3, "active"))
        ]));
        assert!(!agree(&[
            ("r1", &server),
            ("r2", &status("member", "r1", 4, "active"))
        ]));
        assert!(!agree(&[
            ("r1", &server),
            ("r2", &status("member", "r1", 3, "pending"))
        ]));
        assert_eq!(server.sending_id(), Some(3));
        assert!(!server.is_quiet(), "one still retires");
    }

    #[test]
    fn a_sink_in_trouble_is_told() {
        let answer = json!({ "groups": [{ "role": "member",
            "sinks": [{ "sink": "frr", "state": "failing", "error": "no such chain" }, { "sink": "b", "state": "down" }] }] });
        let status = Status::read(&answer).unwrap();
        assert!(!status.filled);
        assert_eq!(status.troubles, ["frr: no such chain"]);
        assert_eq!(Status::read(&json!({ "ok": true })), None);
    }

    #[test]
    fn the_configuration_is_toml() {
        let peers = [("r2".to_owned(), "r1-r2.psk".to_owned())];
        let settings = Settings {
            name: "r1",
            host: 1,
            peers: &peers,
            protocols: &[Watched::Ospf2, Watched::Bfd],
            daemon: Daemon::Bird {
                socket: Path::new("/d/bird.ctl"),
                directory: Path::new("/d"),
            },
            control: Path::new("/d/karpd.sock"),
            state: Path::new("/d/state"),
            manual: Some((7, "manual.key")),
        };
        let text = configuration(&settings);
        let value: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(value["sink"][0]["files"]["BFD"].as_str(), Some("/d/bfd.keys"));
        assert_eq!(value["follow"]["instance"].as_str(), Some("o2"));
        assert_eq!(value["manual_key"].as_array().unwrap().len(), 2);
        assert_eq!(value["peer"][0]["expected"].as_bool(), Some(true));
        let frr = configuration(&Settings {
            daemon: Daemon::Frr {
                directory: Path::new("/d/frr"),
            },
            manual: None,
            ..settings
        });
        let value: toml::Table = toml::from_str(&frr).unwrap();
        assert_eq!(value["sink"][0]["chains"]["OSPFv2"].as_str(), Some("karp-eth0"));
    }
}
