//! karpd's configuration: karp-std's file for each group, and karpd's own tables beside it.
//!
//! `[daemon]` stands in the file that karpd is started with; `[[sink]]` and `[follow]` in each group's.

mod fields;
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    config::Settings,
};
use karp_std::{
    config::{ConfigFileError, Configuration, HostTables, Loader},
    credentials::Store,
    heap::Sizes,
};

pub use self::fields::{Fields, differences};
use self::schema::Tables;
use super::{
    cli::{DEFAULT_CONTROL, LogFormat},
    follow::FollowSettings,
    sinks::SinkSettings,
};

/// The tables that are karpd's own.
const OWN: [&str; 3] = ["daemon", "sink", "follow"];
/// Where kept keys go.
const DEFAULT_STATE: &str = "/run/karp";

/// The daemon's own settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Daemon {
    /// The control socket.
    pub control: PathBuf,
    /// The directory of kept keys.
    pub state: PathBuf,
    /// Where metrics are written for node_exporter.
    pub metrics_file: Option<PathBuf>,
    /// Directives for the log, such as `info` or `info,karp_std=debug`.
    pub log: String,
    /// How its lines look.
    pub log_format: LogFormat,
    /// The user to become.
    pub user: Option<String>,
}

/// What karpd runs by.
#[derive(Debug)]
pub struct Plan {
    /// The file that it comes from.
    pub file: PathBuf,
    /// The daemon's own settings.
    pub daemon: Daemon,
    /// The groups, each name once.
    pub groups: Vec<Group>,
    /// What stands in the main file's `[daemon]`.
    pub fields: Fields,
}

/// Where a router stands on the link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its address, where the configuration gives it.
    pub address: Option<IpAddr>,
    /// Its interface, where the configuration gives it.
    pub interface: Option<String>,
    /// Addresses of this family are meant where none is given: IPv6, or IPv4.
    pub ipv6: bool,
}

impl Place {
    /// Where it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match (&self.interface, self.address) {
            (Some(interface), Some(address)) => format!("{interface} ({address})"),
            (Some(interface), None) => {
                format!(
                    "{interface} (its {} address)",
                    if self.ipv6 { "IPv6" } else { "IPv4" }
                )
            }
            (None, Some(address)) => format!("the interface with {address}"),
            (None, None) => "no place".to_owned(),
        }
    }
}

/// One group's configuration.
pub struct Group {
    /// The file that it comes from.
    pub file: PathBuf,
    /// What the engine is told; the address is a stand-in where `place` has none.
    pub settings: Settings,
    /// Whether the router id comes from the address.
    pub router_id_from_address: bool,
    /// Where the router stands.
    pub place: Place,
    /// Who is known, and how they prove themselves.
    pub credentials: Store,
    /// Sizes of the engine's tables.
    pub storage: Sizes,
    /// Where the keys go.
    pub sinks: Vec<SinkSettings>,
    /// Which daemon is looked at.
    pub follow: Option<FollowSettings>,
    /// What the file says, for comparison.
    pub fields: Fields,
}

impl Group {
    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.group
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("file", &self.file)
            .field("name", &self.name())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Reads the file at `path` and those that it names, and checks all of it.
///
/// # Errors
/// Every fault that can be found: one for each file and table at least.
pub fn load(path: &Path) -> Result<Plan, Vec<ConfigFileError>> {
    let main = HostTables::<Tables>::load(path, &["daemon", "node", "group"]).map_err(|error| vec![error])?;
    let mut faults = Vec::new();
    let daemon = daemon(&main).unwrap_or_else(|error| {
        faults.push(error);
        Daemon::default()
    });
    let mut groups = Vec::new();
    match main
        .tables
        .daemon
        .as_ref()
        .and_then(|daemon| daemon.groups.as_ref())
    {
        None => match group(path) {
            Ok(group) => groups.push(group),
            Err(errors) => faults.extend(errors),
        },
        Some(files) if files.is_empty() => faults.push(main.error(
            "daemon.groups",
            "the list is empty",
            "name a file for each group, or leave it out and configure the one group in this file",
        )),
        Some(files) => {
            if main.tables.node.is_some() || main.tables.group.is_some() {
                let table = if main.tables.node.is_some() {
                    "node"
                } else {
                    "group"
                };
                faults.push(main.error(
                    table,
                    "a file with daemon.groups configures no group itself",
                    "move it to a file of its own and name that in daemon.groups",
                ));
            }
            for (at, file) in files.iter().enumerate() {
                let file = main.directory().join(file);
                match group(&file) {
                    Ok(group) => groups.push(group),
                    // A file that is not there is the list's fault.
                    Err(errors) => faults.extend(errors.into_iter().map(|error| match error.line {
                        Some(_) => error,
                        None => main.error(&format!("daemon.groups[{at}]"), error.problem, error.remedy),
                    })),
                }
            }
        }
    }
    faults.extend(conflicts(&groups));
    if !faults.is_empty() {
        return Err(faults);
    }
    let fields = Fields::load(path, |field| field.starts_with("daemon")).map_err(|error| vec![error])?;
    Ok(Plan {
        file: path.to_owned(),
        daemon,
        groups,
        fields,
    })
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            control: DEFAULT_CONTROL.into(),
            state: DEFAULT_STATE.into(),
            metrics_file: None,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            user: None,
        }
    }
}

fn daemon(main: &HostTables<Tables>) -> Result<Daemon, ConfigFileError> {
    let mut daemon = Daemon::default();
    let Some(given) = &main.tables.daemon else {
        return Ok(daemon);
    };
    let path = |given: &Option<PathBuf>| given.as_ref().map(|path| main.directory().join(path));
    if let Some(control) = path(&given.control) {
        daemon.control = control;
    }
    if let Some(state) = path(&given.state) {
        daemon.state = state;
    }
    daemon.metrics_file = path(&given.metrics_file);
    if let Some(log) = &given.log {
        tracing_subscriber::EnvFilter::try_new(log).map_err(|_| {
            main.error(
                "daemon.log",
                format!("{log:?} is no level"),
                "give error, warn, info, debug or trace, or levels by part such as \"info,karp_std=debug\"",
            )
        })?;
        daemon.log.clone_from(log);
    }
    if let Some(format) = given.log_format {
        daemon.log_format = format.0;
    }
    daemon.user.clone_from(&given.user);
    Ok(daemon)
}

/// One group's file.
///
/// # Errors
/// Every fault that can be found.
pub fn group(path: &Path) -> Result<Group, Vec<ConfigFileError>> {
    let own = HostTables::<Tables>::load(path, &["sink", "follow", "node", "group"]);
    let mut faults = Vec::new();
    let mut loader = Loader::default().beside(&OWN);
    let place = own.as_ref().ok().map(|own| place(&own.tables));
    if let Some(place) = &place
        && place.address.is_none()
        && place.interface.is_some()
    {
        // Until the interface tells.
        loader = loader.address(stand_in(place.ipv6));
    }
    let configuration = loader.load(path);
    let (own, mut configuration) = match (own, configuration) {
        (Ok(own), Ok(configuration)) => (own, configuration),
        // A file that is no TOML is told of once.
        (Err(one), Err(other)) => {
            let same = one == other || one.line.is_none();
            return Err(if same { vec![one] } else { vec![one, other] });
        }
        (Err(error), Ok(_)) => return Err(vec![error]),
        (Ok(own), Err(error)) => {
            faults.push(error);
            faults.extend(sink_faults(&own, None));
            return Err(faults);
        }
    };
    faults.extend(sink_faults(&own, Some(&configuration)));
    if !faults.is_empty() {
        return Err(faults);
    }
    let keyed = keyed(&configuration);
    let sinks = own.tables.sink.iter().enumerate();
    let sinks = sinks.filter_map(|(at, sink)| sink.settings(&own, at, Some(&keyed)).ok());
    let sinks: Vec<SinkSettings> = sinks.collect();
    let follow = own.tables.follow.as_ref();
    let follow = follow.and_then(|follow| follow.settings(&own).ok());
    // The group waits for the daemons that are filled here.
    configuration.settings.confirm_installs = !sinks.is_empty();
    let router_id_from_address = own
        .tables
        .node
        .as_ref()
        .is_none_or(|node| node.router_id.is_none());
    let fields = Fields::load(path, |field| !field.starts_with("daemon")).map_err(|error| vec![error])?;
    Ok(Group {
        file: path.to_owned(),
        settings: configuration.settings,
        router_id_from_address,
        place: place.unwrap_or(Place {
            address: None,
            interface: None,
            ipv6: false,
        }),
        credentials: configuration.credentials,
        storage: configuration.storage,
        sinks,
        follow,
        fields,
    })
}

/// The protocols that a group keys, with their algorithms: automatically and by hand.
fn keyed(configuration: &Configuration) -> Vec<(RoutingProtocol, RoutingAlgorithm)> {
    let settings = &configuration.settings;
    let policy = settings.protocols.iter().map(|one| (one.protocol, one.algorithm));
    let manual = settings
        .manual_keys
        .iter()
        .map(|key| (key.protocol, key.algorithm));
    policy.chain(manual).collect()
}

fn sink_faults(own: &HostTables<Tables>, configuration: Option<&Configuration>) -> Vec<ConfigFileError> {
    let keyed = configuration.map(keyed);
    let sinks = own.tables.sink.iter().enumerate();
    let sinks = sinks.filter_map(|(at, sink)| sink.settings(own, at, keyed.as_deref()).err());
    let follow = own
        .tables
        .follow
        .iter()
        .filter_map(|follow| follow.settings(own).err());
    sinks.chain(follow).collect()
}

fn place(tables: &Tables) -> Place {
    let node = tables.node.as_ref();
    let address = node
        .and_then(|node| node.address.as_ref())
        .and_then(|text| text.parse().ok());
    let multicast = tables.group.as_ref().and_then(|group| group.multicast.as_ref());
    let multicast: Option<IpAddr> = multicast.and_then(|text| text.parse().ok());
    Place {
        address,
        interface: node.and_then(|node| node.interface.clone()),
        ipv6: address.or(multicast).is_some_and(|address| address.is_ipv6()),
    }
}

/// An address to check a configuration with that leaves it to the interface. Documentation prefixes (RFC 5737, RFC 3849).
const fn stand_in(ipv6: bool) -> IpAddr {
    if ipv6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))
    } else {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))
    }
}

/// What two groups cannot both have.
fn conflicts(groups: &[Group]) -> Vec<ConfigFileError> {
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    let mut targets: BTreeSet<String> = BTreeSet::new();
    let mut faults = Vec::new();
    for group in groups {
        let mut fault = |field: &str, problem: String, remedy: &str| {
            let located = HostTables::<Tables>::load(&group.file, &["sink", "group"]);
            if let Ok(tables) = located {
                faults.push(tables.error(field, problem, remedy));
            }
        };
        if let Some(other) = names.insert(group.name().to_owned(), &group.file) {
            fault(
                "group.name",
                format!("{} has a group of this name as well", other.display()),
                "give each link's group a name of its own",
            );
        }
        for (at, sink) in group.sinks.iter().enumerate() {
            for target in sink.targets() {
                if !targets.insert(target.clone()) {
                    fault(
                        &format!("sink[{at}]"),
                        format!("two sinks fill {target}"),
                        "give each sink a file or key chain of its own",
                    );
                }
            }
        }
    }
    faults
}
