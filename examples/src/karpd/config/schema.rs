//! The shape of karpd's own tables, and the checks of what stands in them.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use karp_core::algorithm::{RoutingAlgorithm, RoutingProtocol};
use karp_std::config::{ConfigFileError, HostTables};
use nix::unistd::{Group, User};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::karpd::{
    cli,
    follow::{FollowKind, FollowSettings, Priorities},
    sinks::{SinkKind, SinkSettings},
};

type Result<T> = std::result::Result<T, ConfigFileError>;

/// How long a hook may take unless the file says.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct Tables {
    pub(super) daemon: Option<DaemonTable>,
    #[serde(default)]
    pub(super) sink: Vec<SinkTable>,
    pub(super) follow: Option<FollowTable>,
    pub(super) node: Option<NodePeek>,
    pub(super) group: Option<GroupPeek>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DaemonTable {
    pub(super) control: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) metrics_file: Option<PathBuf>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) user: Option<String>,
    pub(super) groups: Option<Vec<PathBuf>>,
}

/// What karpd looks at in karp-std's tables, which karp-std checks.
#[derive(Deserialize)]
pub(super) struct NodePeek {
    pub(super) address: Option<String>,
    pub(super) interface: Option<String>,
    pub(super) router_id: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct GroupPeek {
    pub(super) multicast: Option<String>,
}

#[derive(Clone, Copy)]
pub(super) struct LogFormat(pub(super) cli::LogFormat);

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "text" => Ok(Self(cli::LogFormat::Text)),
            "json" => Ok(Self(cli::LogFormat::Json)),
            other => Err(D::Error::custom(format_args!(
                "{other:?} is no format, expected \"text\" or \"json\""
            ))),
        }
    }
}

/// A span of time with its unit.
pub(super) struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = match unit.trim() {
            "ms" => Some(1),
            "s" => Some(1000),
            "min" => Some(60_000),
            _ => None,
        };
        let ms = number.parse::<u64>().ok().zip(factor);
        ms.and_then(|(number, factor)| number.checked_mul(factor))
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| {
                D::Error::custom(format_args!(
                    "invalid value {text:?}, expected a whole number with its unit (ms, s or min) in quotes, such as \"5s\""
                ))
            })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkTable {
    kind: String,
    socket: Option<PathBuf>,
    owner: Option<String>,
    files: Option<BTreeMap<String, PathBuf>>,
    directory: Option<PathBuf>,
    chains: Option<BTreeMap<String, String>>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    timeout: Option<Span>,
}

impl SinkTable {
    /// The sink that the table describes. `keyed` is what the group keys, if that is known.
    pub(super) fn settings(
        &self,
        own: &HostTables<Tables>,
        at: usize,
        keyed: Option<&[(RoutingProtocol, RoutingAlgorithm)]>,
    ) -> Result<SinkSettings> {
        let sink = Fields {
            own,
            path: format!("sink[{at}]"),
        };
        let (kind, allowed): (_, &[&str]) = match self.kind.as_str() {
            "bird" => (
                SinkKind::Bird {
                    socket: sink.path_of("socket", &self.socket)?,
                    files: sink.files(&self.files)?,
                    owner: self.owner.as_ref().map(|owner| sink.owner(owner)).transpose()?,
                },
                &["socket", "owner", "files"],
            ),
            "frr" => (
                SinkKind::Frr {
                    directory: sink.path_of("directory", &self.directory)?,
                    chains: sink.chains(&self.chains)?,
                },
                &["directory", "chains"],
            ),
            "key-chain" => (
                SinkKind::KeyChain {
                    file: sink.path_of("file", &self.file)?,
                    chains: sink.chains(&self.chains)?,
                },
                &["file", "chains"],
            ),
            "hook" => {
                let command = self.command.clone().filter(|command| !command.is_empty());
                let command = command.ok_or_else(|| {
                    sink.error(
                        "command",
                        "this field is missing",
                        "give the program and its arguments as a list",
                    )
                })?;
                let timeout = self.timeout.as_ref().map_or(HOOK_TIMEOUT, |span| span.0);
                if timeout.is_zero() {
                    return Err(sink.error("timeout", "0 is no time", "give at least \"1ms\""));
                }
                let protocols = keyed.unwrap_or_default().iter().map(|(protocol, _)| *protocol);
                (
                    SinkKind::Hook {
                        command,
                        timeout,
                        protocols: protocols.collect(),
                    },
                    &["command", "timeout"],
                )
            }
            other => {
                return Err(sink.error(
                    "kind",
                    format!("{other:?} is no kind of sink"),
                    "give bird, frr, key-chain or hook",
                ));
            }
        };
        for (name, given) in [
            ("socket", self.socket.is_some()),
            ("owner", self.owner.is_some()),
            ("files", self.files.is_some()),
            ("directory", self.directory.is_some()),
            ("chains", self.chains.is_some()),
            ("file", self.file.is_some()),
            ("command", self.command.is_some()),
            ("timeout", self.timeout.is_some()),
        ] {
            if given && !allowed.contains(&name) {
                return Err(sink.error(
                    name,
                    format!("a sink of kind {:?} has no such field", self.kind),
                    format!("remove it; known here: {}", allowed.join(", ")),
                ));
            }
        }
        let settings = SinkSettings { kind };
        settings
            .build()
            .map_err(|error| sink.error("kind", error.problem(), error.remedy()))?;
        if let Some(keyed) = keyed {
            for protocol in settings.protocols() {
                let algorithms = keyed.iter().filter(|(one, _)| *one == protocol);
                let mut any = false;
                for (_, algorithm) in algorithms {
                    any = true;
                    settings
                        .takes(protocol, *algorithm)
                        .map_err(|error| sink.error("kind", error.problem(), error.remedy()))?;
                }
                if !any {
                    let name = protocol.name();
                    return Err(sink.error(
                        "kind",
                        format!("the sink is for {name}, and the group does not key {name}"),
                        "add the protocol to policy.protocols, or take it out of the sink",
                    ));
                }
            }
        }
        Ok(settings)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowTable {
    kind: String,
    socket: Option<PathBuf>,
    directory: Option<PathBuf>,
    instance: Option<String>,
    protocol: String,
    interface: Option<String>,
    priorities: Option<PrioritiesTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrioritiesTable {
    dr: Option<u16>,
    bdr: Option<u16>,
    other: Option<u16>,
}

impl FollowTable {
    pub(super) fn settings(&self, own: &HostTables<Tables>) -> Result<FollowSettings> {
        let follow = Fields {
            own,
            path: "follow".to_owned(),
        };
        let stray = |name: &str, given: bool| {
            if !given {
                return Ok(());
            }
            let problem = format!("kind {:?} has no such field", self.kind);
            Err(follow.error(name, problem, "remove it"))
        };
        let kind = match self.kind.as_str() {
            "bird" => {
                stray("directory", self.directory.is_some())?;
                let instance = self.instance.clone().ok_or_else(|| {
                    follow.error(
                        "instance",
                        "this field is missing",
                        "give the name that BIRD's configuration gives the protocol, such as \"ospf1\"",
                    )
                })?;
                FollowKind::Bird {
                    socket: follow.path_of("socket", &self.socket)?,
                    instance,
                }
            }
            "frr" => {
                stray("socket", self.socket.is_some())?;
                stray("instance", self.instance.is_some())?;
                FollowKind::Frr {
                    directory: follow.path_of("directory", &self.directory)?,
                }
            }
            other => {
                return Err(follow.error(
                    "kind",
                    format!("{other:?} is no routing daemon known here"),
                    "give bird or frr",
                ));
            }
        };
        let named = own.tables.node.as_ref().and_then(|node| node.interface.clone());
        let interface = self.interface.clone().or(named).ok_or_else(|| {
            follow.error(
                "interface",
                "neither this nor node.interface is given",
                "name the interface, as the routing daemon knows it",
            )
        })?;
        let (given, usual) = (self.priorities.as_ref(), Priorities::default());
        let or = |value: Option<u16>, default| value.unwrap_or(default);
        let settings = FollowSettings {
            kind,
            protocol: follow.protocol("protocol", &self.protocol)?,
            interface,
            priorities: Priorities {
                dr: or(given.and_then(|given| given.dr), usual.dr),
                bdr: or(given.and_then(|given| given.bdr), usual.bdr),
                other: or(given.and_then(|given| given.other), usual.other),
            },
        };
        settings.build().map_err(|error| {
            let (problem, remedy) = error
                .problem
                .split_once("; ")
                .unwrap_or((&error.problem, "correct it"));
            follow.error("kind", problem, remedy)
        })?;
        Ok(settings)
    }
}

/// The fields of one table.
struct Fields<'t> {
    own: &'t HostTables<Tables>,
    path: String,
}

impl Fields<'_> {
    fn error(&self, field: &str, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigFileError {
        self.own.error(&format!("{}.{field}", self.path), problem, remedy)
    }

    fn path_of(&self, field: &str, path: &Option<PathBuf>) -> Result<PathBuf> {
        let path = path.as_ref().ok_or_else(|| {
            self.error(
                field,
                "this field is missing",
                "add it; karpd's example file shows how",
            )
        })?;
        Ok(self.own.directory().join(path))
    }

    fn protocol(&self, field: &str, name: &str) -> Result<RoutingProtocol> {
        let letters = |name: &str| -> String {
            let letters = name.chars().filter(char::is_ascii_alphanumeric);
            letters.map(|c| c.to_ascii_lowercase()).collect()
        };
        let found = RoutingProtocol::ALL
            .into_iter()
            .find(|one| letters(one.name()) == letters(name));
        found.ok_or_else(|| {
            let known = RoutingProtocol::ALL.map(RoutingProtocol::name).join(", ");
            let problem = format!("{name:?} is no routing protocol known here");
            self.error(field, problem, format!("give one of: {known}"))
        })
    }

    fn files(&self, files: &Option<BTreeMap<String, PathBuf>>) -> Result<BTreeMap<RoutingProtocol, PathBuf>> {
        let files = self.by_protocol("files", files)?;
        let absolute = |(protocol, path): (_, &PathBuf)| (protocol, self.own.directory().join(path));
        Ok(files.into_iter().map(absolute).collect())
    }

    fn chains(&self, chains: &Option<BTreeMap<String, String>>) -> Result<BTreeMap<RoutingProtocol, String>> {
        let chains = self.by_protocol("chains", chains)?;
        Ok(chains
            .into_iter()
            .map(|(protocol, chain)| (protocol, chain.clone()))
            .collect())
    }

    fn by_protocol<'v, V>(
        &self,
        field: &str,
        given: &'v Option<BTreeMap<String, V>>,
    ) -> Result<BTreeMap<RoutingProtocol, &'v V>> {
        let mut found = BTreeMap::new();
        for (name, value) in given.iter().flatten() {
            let protocol = self.protocol(field, name)?;
            if found.insert(protocol, value).is_some() {
                return Err(self.error(
                    field,
                    format!("{} stands in it twice", protocol.name()),
                    "remove one",
                ));
            }
        }
        if found.is_empty() {
            return Err(self.error(
                field,
                "no protocol is named",
                "name one, such as { OSPFv2 = \"..\" }",
            ));
        }
        Ok(found)
    }

    /// `user`, `user:group`, by name or number.
    fn owner(&self, text: &str) -> Result<(u32, u32)> {
        let (user, group) = text
            .split_once(':')
            .map_or((text, None), |(user, group)| (user, Some(group)));
        let known = match user.parse() {
            Ok(uid) => Some((uid, uid)),
            Err(_) => User::from_name(user)
                .ok()
                .flatten()
                .map(|user| (user.uid.as_raw(), user.gid.as_raw())),
        };
        let unknown = |what: &str, name: &str| {
            self.error(
                "owner",
                format!("this machine has no {what} {name:?}"),
                "give the user and group that the routing daemon runs as, such as \"bird:bird\"",
            )
        };
        let (uid, gid) = known.ok_or_else(|| unknown("user", user))?;
        let Some(group) = group else {
            return Ok((uid, gid));
        };
        let known = match group.parse() {
            Ok(gid) => Some(gid),
            Err(_) => Group::from_name(group)
                .ok()
                .flatten()
                .map(|group| group.gid.as_raw()),
        };
        Ok((uid, known.ok_or_else(|| unknown("group", group))?))
    }
}
