//! What BIRD 2 shows of a protocol on its control socket, and the events that it tells there.
//!
//! BFD sessions have no events here, for BIRD keeps them on a thread of its own; since when they are up is looked at instead.
//!
//! For the events the observer sets the protocol's `debug` flags, and again after each reconfiguration, which resets
//! them to what the configuration says. The traces go to BIRD's log as well, if that takes any.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use karp_core::algorithm::RoutingProtocol;

use super::{LinkRole, Neighbour, ObserveError, Observer, Snapshot};
use crate::daemons::bird::{self, Client, Reply};

/// A metric that means that there is no way to the neighbour (RFC 8966 section 3.5.2).
const UNREACHABLE: &str = "65535";
/// What has fallen and is still to be shown. A link has fewer routers.
const MAX_FALLEN: usize = 1024;
/// After BIRD hung up, until the next look.
const HUNG_UP: Duration = Duration::from_millis(100);
/// The longest wait: times that lie too far ahead cannot be reckoned with.
const LONGEST: Duration = Duration::from_secs(3600);
/// Two times in BIRD's tables that differ by no more are the same: BIRD reckons them back from the clock of the moment.
const SAME: Duration = Duration::from_secs(1);

/// Looks at one protocol of a BIRD on one interface.
#[derive(Debug)]
pub struct BirdObserver {
    socket: PathBuf,
    kind: Kind,
    protocol: RoutingProtocol,
    /// The protocol's name in BIRD's configuration.
    instance: String,
    interface: String,
    timeout: Duration,
    connection: Option<Connection>,
    memory: Memory,
}

/// What the tables look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ospf,
    Babel,
    Bfd,
    Rip,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    epoch: String,
    /// Something happened that no snapshot has shown yet.
    changed: bool,
}

/// What is remembered of one run of BIRD, over all connections to it.
#[derive(Debug, Default)]
struct Memory {
    epoch: String,
    /// Neighbours that went down since the last snapshot, and to what state. They may be up again by the time that the
    /// tables are read, and are shown down once all the same.
    fallen: BTreeMap<String, String>,
    /// Since when, by the time of day, sessions are up that tell of no events.
    since: BTreeMap<String, Duration>,
}

impl BirdObserver {
    /// An observer of `protocol`, which BIRD's configuration calls `instance`, on `interface`. It connects when it first
    /// looks.
    ///
    /// # Errors
    /// If BIRD shows nothing for such a protocol, or one of the names cannot be one.
    pub fn new(
        socket: PathBuf,
        protocol: RoutingProtocol,
        instance: String,
        interface: String,
    ) -> Result<Self, ObserveError> {
        use RoutingProtocol as P;
        let kind = match protocol {
            P::Ospfv2 | P::Ospfv3 => Kind::Ospf,
            P::Babel => Kind::Babel,
            P::Bfd => Kind::Bfd,
            P::Ripv2 | P::Ripng => Kind::Rip,
            P::Isis | P::Pim | P::Ldp | P::Bgp | P::Msdp => {
                return Err(mistake(format!(
                    "{} has no neighbours on a link that BIRD shows; follow OSPFv2, OSPFv3, RIP, Babel or BFD",
                    protocol.name()
                )));
            }
        };
        let is_symbol = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-');
        if instance.is_empty() || instance.len() > 64 || !instance.chars().all(is_symbol) {
            return Err(mistake(format!(
                "`{}` is no protocol's name in BIRD; give the one that `birdc show protocols` shows",
                instance.escape_debug()
            )));
        }
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"';
        if interface.is_empty() || interface.len() > 15 || !interface.chars().all(is_plain) {
            return Err(mistake(format!(
                "`{}` is no interface's name; give the one that `ip link` shows",
                interface.escape_debug()
            )));
        }
        Ok(Self {
            socket,
            kind,
            protocol,
            instance,
            interface,
            timeout: bird::TIMEOUT,
            connection: None,
            memory: Memory::default(),
        })
    }

    fn look(&mut self) -> Result<Snapshot, ObserveError> {
        let epoch = bird::epoch(&self.socket)?;
        // One that begins anew has its events to ask for, and one whose BIRD is gone is of no use.
        let mut connection = match self.connection.take() {
            Some(connection) if connection.epoch == epoch => connection,
            _ => self.connect()?,
        };
        connection.changed = false;
        if self.memory.epoch != connection.epoch {
            self.memory = Memory {
                epoch: connection.epoch.clone(),
                ..Memory::default()
            };
        }
        let snapshot = self.read(&mut connection);
        // What came in between the replies, also those of a connection that fails.
        while let Some(event) = connection.client.event(Duration::ZERO)? {
            self.note(&mut connection, &event);
        }
        let mut snapshot = snapshot?;
        for (id, state) in std::mem::take(&mut self.memory.fallen) {
            let it = snapshot.neighbours.iter_mut().find(|it| it.id == id && it.up);
            if let Some(it) = it {
                (it.up, it.state) = (false, state);
                connection.changed = true;
            }
        }
        self.connection = Some(connection);
        Ok(snapshot)
    }

    /// What the tables show.
    fn read(&mut self, connection: &mut Connection) -> Result<Snapshot, ObserveError> {
        self.ask_for_events(connection)?;
        let mut ask = |command: &str| ask(&mut connection.client, command);
        let status = ask("show status")?;
        let (role, neighbours) = match self.kind {
            Kind::Ospf => {
                let interfaces = ask(&format!(
                    "show ospf interface {} \"{}\"",
                    self.name(),
                    self.interface
                ))?;
                let role = ospf_role(&interfaces, &self.interface);
                let neighbours = ask(&format!(
                    "show ospf neighbors {} \"{}\"",
                    self.name(),
                    self.interface
                ))?;
                (role, ospf_neighbours(&neighbours, &self.interface, role))
            }
            Kind::Babel => {
                let interfaces = ask(&format!("show babel interfaces {}", self.name()))?;
                let neighbours = ask(&format!("show babel neighbors {}", self.name()))?;
                (
                    plain_role(&interfaces, 1023, &self.interface),
                    babel_neighbours(&neighbours, &self.interface),
                )
            }
            Kind::Rip => {
                let interfaces = ask(&format!("show rip interfaces {}", self.name()))?;
                let neighbours = ask(&format!("show rip neighbors {}", self.name()))?;
                (
                    plain_role(&interfaces, 1021, &self.interface),
                    rip_neighbours(&neighbours, &self.interface),
                )
            }
            Kind::Bfd => {
                let sessions = ask(&format!("show bfd sessions {}", self.name()))?;
                let since = bfd_since(&sessions, &self.interface);
                for (id, since) in &since {
                    let before = self.memory.since.get(id);
                    if before.is_some_and(|before| since.abs_diff(*before) > SAME) {
                        self.memory.fallen.insert(id.clone(), "Down".to_owned());
                    }
                }
                self.memory.since = since;
                (Some(LinkRole::Other), bfd_neighbours(&sessions, &self.interface))
            }
        };
        Ok(Snapshot {
            protocol: self.protocol,
            epoch: connection.epoch.clone(),
            router_id: router_id(&status),
            role,
            neighbours,
            sequence: None,
        })
    }

    fn connect(&self) -> Result<Connection, ObserveError> {
        let (mut client, epoch) = Client::connect_with_epoch(&self.socket, self.timeout)?;
        ask(&mut client, "echo all")?;
        Ok(Connection {
            client,
            epoch,
            changed: false,
        })
    }

    fn ask_for_events(&self, connection: &mut Connection) -> Result<(), ObserveError> {
        let flags = "{ states, events, interfaces }";
        ask(
            &mut connection.client,
            &format!("debug \"{}\" {flags}", self.instance),
        )?;
        Ok(())
    }

    /// Waits for an event that may change a snapshot.
    fn listen(&mut self, connection: &mut Connection, until: Instant) -> Result<(), ObserveError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(event) = connection.client.event(left)? else {
                return Ok(());
            };
            self.note(connection, &event);
            if connection.changed {
                return Ok(());
            }
        }
    }

    /// Takes in what an event says: a neighbour has come, gone, or changed; the interface has; or BIRD was reconfigured.
    fn note(&mut self, connection: &mut Connection, event: &str) {
        if event.starts_with("Reconfigur") {
            connection.changed = true;
            return;
        }
        let Some(text) = event
            .strip_prefix(self.instance.as_str())
            .and_then(|rest| rest.strip_prefix(": "))
        else {
            return;
        };
        let gone = text.strip_prefix("Removing neighbor ");
        let change = text.split_once(" changed state from ");
        if text.starts_with("New neighbor ") || text.starts_with("Interface ") && change.is_some() {
            connection.changed = true;
        }
        let (who, state) = match (gone, change) {
            (Some(who), _) => (who, "Removed"),
            (None, Some((subject, states))) => {
                let who = subject
                    .strip_prefix("Neighbor ")
                    .or_else(|| subject.strip_prefix("Session to "));
                let (Some(who), Some((from, to))) = (who, states.split_once(" to ")) else {
                    return;
                };
                connection.changed = true;
                let was_up = matches!(from, "Full" | "Up" | "2-Way");
                let is_down = matches!(to, "Down" | "Init" | "Attempt" | "AdminDown");
                // A formed adjacency that is formed anew has lost its state too.
                if !(was_up && is_down || from == "Full" && matches!(to, "ExStart" | "Exchange" | "Loading"))
                {
                    return;
                }
                (who, to)
            }
            (None, None) => return,
        };
        connection.changed = true;
        let (id, interface) = who.split_once(" on ").unwrap_or((who, &self.interface));
        if interface == self.interface && self.memory.fallen.len() < MAX_FALLEN {
            self.memory.fallen.insert(id.to_owned(), state.to_owned());
        }
    }

    /// The protocol's name as the commands take it.
    fn name(&self) -> String {
        let is_plain = self
            .instance
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
        if is_plain && !self.instance.starts_with(|c: char| c.is_ascii_digit()) {
            self.instance.clone()
        } else {
            format!("'{}'", self.instance)
        }
    }
}

impl Observer for BirdObserver {
    fn describe(&self) -> String {
        let socket = self.socket.display();
        format!("{} of BIRD at {socket} on {}", self.instance, self.interface)
    }

    fn snapshot(&mut self) -> Result<Snapshot, ObserveError> {
        self.look()
    }

    /// Without a connection it sleeps: there is nothing to hear.
    fn wait(&mut self, at_most: Duration) {
        let until = Instant::now() + at_most.min(LONGEST);
        if let Some(mut connection) = self.connection.take() {
            if connection.changed {
                self.connection = Some(connection);
                return;
            }
            match self.listen(&mut connection, until) {
                Ok(()) => {
                    self.connection = Some(connection);
                    return;
                }
                // The next look tells why, and soon; not at once, for it may end every time.
                Err(error) => {
                    tracing::debug!(%error, "BIRD's events ended");
                    std::thread::sleep(at_most.min(HUNG_UP));
                    return;
                }
            }
        }
        std::thread::sleep(at_most);
    }
}

fn mistake(problem: String) -> ObserveError {
    ObserveError {
        not_running: false,
        problem,
    }
}

fn ask(client: &mut Client, command: &str) -> Result<Reply, ObserveError> {
    let reply = client.command(command)?;
    match reply.refusal() {
        None => Ok(reply),
        Some(text) => Err(mistake(format!(
            "BIRD refuses `{command}`: {text}; give the protocol's name as `birdc show protocols` shows it"
        ))),
    }
}

/// Of the whole BIRD: a protocol that is configured with one of its own does not show it.
fn router_id(status: &Reply) -> Option<u32> {
    let id = status
        .texts(1011)
        .find_map(|text| text.strip_prefix("Router ID is "))?;
    id.trim().parse().ok().map(|id: Ipv4Addr| id.to_bits())
}

fn ospf_role(reply: &Reply, interface: &str) -> Option<LinkRole> {
    let named = |text: &&str| {
        text.strip_prefix("Interface ")
            .and_then(|rest| rest.split(' ').next())
            == Some(interface)
    };
    let mut lines = reply.texts(1015).skip_while(|text| !named(text)).skip(1);
    let state = lines
        .by_ref()
        .take_while(|text| !text.starts_with("Interface "))
        .find_map(|text| text.trim().strip_prefix("State: "))?;
    match state.split(' ').next()? {
        "DR" => Some(LinkRole::Dr),
        "Backup" => Some(LinkRole::Bdr),
        "DROther" | "PtP" => Some(LinkRole::Other),
        // Down, Loopback, or Waiting to learn who is DR.
        _ => None,
    }
}

/// Columns: router id, priority, state and role, time left, interface, address.
fn ospf_neighbours(reply: &Reply, interface: &str, role: Option<LinkRole>) -> Vec<Neighbour> {
    let row = |text: &str| {
        let columns: Vec<&str> = text.split_whitespace().collect();
        let [id, _, shown, _, its, ..] = *columns.as_slice() else {
            return None;
        };
        let (state, theirs) = shown.split_once('/')?;
        if its != interface || id.parse::<Ipv4Addr>().is_err() {
            return None;
        }
        let up = match state {
            "Full" => true,
            // All that two routers become which are neither DR nor BDR.
            "2-Way" => theirs == "Other" && role == Some(LinkRole::Other),
            _ => false,
        };
        Some(Neighbour {
            id: id.to_owned(),
            state: shown.to_owned(),
            up,
        })
    };
    reply.texts(1013).filter_map(row).collect()
}

/// The rows of a table that begin with an address and the name of `interface`, by columns.
fn rows<'a>(reply: &'a Reply, code: u16, interface: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    let rows = reply.texts(code).map(|text| text.split_whitespace().collect());
    rows.filter(move |row: &Vec<&str>| {
        row.first()
            .is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok())
            && row.get(1) == Some(&interface)
    })
}

/// Columns: address, interface, metric, routes, hellos, expires, authenticated, round-trip time.
fn babel_neighbours(reply: &Reply, interface: &str) -> Vec<Neighbour> {
    let row = |row: Vec<&str>| {
        let (id, metric) = (row.first()?, row.get(2)?);
        let up = *metric != UNREACHABLE;
        Some(Neighbour {
            id: (*id).to_owned(),
            state: if up { "Up" } else { "Down" }.to_owned(),
            up,
        })
    };
    rows(reply, 1024, interface).filter_map(row).collect()
}

/// Columns: address, interface, metric, routes, seen. One that is silent too long is removed.
fn rip_neighbours(reply: &Reply, interface: &str) -> Vec<Neighbour> {
    let row = |row: Vec<&str>| {
        Some(Neighbour {
            id: (*row.first()?).to_owned(),
            state: "Up".to_owned(),
            up: true,
        })
    };
    rows(reply, 1022, interface).filter_map(row).collect()
}

/// Columns: address, interface, state, since, interval, timeout.
fn bfd_neighbours(reply: &Reply, interface: &str) -> Vec<Neighbour> {
    let row = |row: Vec<&str>| {
        let (id, state) = (row.first()?, row.get(2)?);
        Some(Neighbour {
            id: (*id).to_owned(),
            state: (*state).to_owned(),
            up: *state == "Up",
        })
    };
    rows(reply, 1020, interface).filter_map(row).collect()
}

/// Since when sessions are up, of those for which BIRD tells the time of day.
fn bfd_since(reply: &Reply, interface: &str) -> BTreeMap<String, Duration> {
    let row = |row: Vec<&str>| {
        let [id, _, "Up", since, ..] = *row.as_slice() else {
            return None;
        };
        let mut parts = since.split(':');
        let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
        let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
        let seconds = seconds.parse().ok()?;
        let minutes = u64::from(hours) * 60 + u64::from(minutes);
        let since = Duration::try_from_secs_f64(seconds).ok()?;
        Some((id.to_owned(), since + Duration::from_secs(minutes * 60)))
    };
    rows(reply, 1020, interface)
        .filter_map(row)
        .take(MAX_FALLEN)
        .collect()
}

/// Of protocols without a DR: takes part if its interface is up. Columns: interface, state.
fn plain_role(reply: &Reply, code: u16, interface: &str) -> Option<LinkRole> {
    let is_up = |text: &str| {
        let mut columns = text.split_whitespace();
        columns.next() == Some(interface) && columns.next() == Some("Up")
    };
    reply.texts(code).any(is_up).then_some(LinkRole::Other)
}

#[cfg(test)]
mod tests;
