//! One router from a configuration file, for two machines or two terminals.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration as StdDuration,
};

use anyhow::Context as _;
use karp_core::{
    Command,
    algorithm::RoutingProtocol,
    io::{Event, Role},
    time::Duration,
};
use karp_std::{
    clock,
    config::Loader,
    driver,
    endpoint::{Endpoint, Notice},
};
use serde_json::json;

use crate::timeline::{Timeline, Tone};

/// How long a handoff and a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(30);

/// Where the router is on the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The address of its interface.
    pub ip: IpAddr,
    /// The port for requests, if not the file's: two routers on one machine need two.
    pub port: Option<u16>,
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { ip, port: None });
        }
        let address: SocketAddr = text
            .parse()
            .map_err(|_| "give an address such as 10.9.0.1, or 127.0.0.1:5001 with a port".to_owned())?;
        Ok(Self {
            ip: address.ip(),
            port: Some(address.port()),
        })
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The router's name, whatever the file says.
    pub node: String,
    /// Its place, whatever the file says.
    pub place: Option<Place>,
    /// The configuration file, as karp-std documents it.
    pub config: PathBuf,
    /// Set from outside to leave the group and end.
    pub stop: Arc<AtomicBool>,
}

/// Runs the router until it is told to stop; then it leaves the group.
///
/// # Errors
/// A configuration or sockets that do not serve, by file, line and remedy.
pub fn run(options: &Options, mut timeline: Timeline) -> anyhow::Result<()> {
    let mut loader = Loader::default().identity(&options.node);
    if let Some(place) = options.place {
        loader = loader.address(place.ip);
    }
    let mut configuration = loader.load(&options.config)?;
    if let Some(port) = options.place.and_then(|place| place.port) {
        configuration.settings.address.set_port(port);
    }
    let group = configuration.settings.group.clone();
    let mut endpoint = Endpoint::open(configuration)?;
    let text = format!(
        "{} at {} joins group {group}; Ctrl-C leaves it",
        options.node,
        endpoint.local_address()
    );
    let fields = json!({ "node": options.node, "group": group.as_str(), "address": endpoint.local_address().to_string() });
    timeline.say(clock::now(), Tone::Act, "start", &text, fields);
    endpoint.command(Command::Join)?;

    let mut leaving = None;
    loop {
        if leaving.is_none() && options.stop.load(Ordering::Relaxed) {
            timeline.say(clock::now(), Tone::Act, "leave", "leaves the group", json!({}));
            endpoint.command(Command::Leave)?;
            leaving = Some(clock::now().after(FAREWELL));
        }
        let mut events = Vec::new();
        // Deadlines are kept by it as well. What is left to read is read in the next round.
        let _ = endpoint.on_readable(&mut |notice| tell_notice(&mut timeline, &mut events, &notice));
        for event in &events {
            tell(&mut timeline, &endpoint, event);
        }
        timeline.tick(clock::now());
        if let Some(until) = leaving
            && (endpoint.engine().role() == Role::Left || clock::now() >= until)
        {
            timeline.say(clock::now(), Tone::Good, "end", "is out", json!({}));
            return Ok(());
        }
        let timeout = endpoint.timeout().min(StdDuration::from_millis(100));
        driver::wait(&endpoint.fds(), timeout).context("waiting for input")?;
    }
}

fn tell_notice(timeline: &mut Timeline, events: &mut Vec<Event>, notice: &Notice<'_>) {
    match notice {
        Notice::Event(event) => events.push((*event).clone()),
        Notice::LinkLost { error } => {
            timeline.say(
                clock::now(),
                Tone::Bad,
                "link",
                &format!("lost the link: {error}"),
                json!({ "up": false }),
            );
        }
        Notice::LinkRestored => {
            timeline.say(
                clock::now(),
                Tone::Good,
                "link",
                "is back on the link",
                json!({ "up": true }),
            );
        }
        _ => {}
    }
}

fn tell(timeline: &mut Timeline, endpoint: &Endpoint, event: &Event) {
    let now = clock::now();
    let (tone, name, text) = match event {
        Event::RoleChanged { role } => (Tone::Good, "role", format!("is {role:?} now")),
        Event::GcksChanged { gcks: Some(gcks) } => (Tone::Event, "follows", format!("follows {gcks}")),
        Event::GcksChanged { gcks: None } => (Tone::Event, "follows", "follows no other router".to_owned()),
        Event::KeyInstalled { id } => {
            let table = endpoint.engine().key_table();
            let named = |protocol: &RoutingProtocol| {
                let fingerprint = table.receiving(*protocol, *id, now)?.fingerprint()?;
                Some(format!("{} {fingerprint}", protocol.name()))
            };
            let names: Vec<String> = RoutingProtocol::ALL.iter().filter_map(named).collect();
            (
                Tone::Event,
                "key_installed",
                format!("accepts key {id} ({})", names.join(", ")),
            )
        }
        Event::KeyActivated { id } => (Tone::Good, "key_activated", format!("sends with key {id}")),
        Event::KeyRetired { id } => (Tone::Event, "key_retired", format!("only accepts key {id} now")),
        Event::KeyRemoved { id } => (Tone::Event, "key_removed", format!("has deleted key {id}")),
        Event::PeerJoined {
            peer,
            octets,
            elapsed,
        } => {
            let ms = elapsed.as_millis();
            (
                Tone::Event,
                "peer_joined",
                format!("{peer} joined: {octets} octets in {ms} ms"),
            )
        }
        Event::PeerLeft { peer } => (Tone::Event, "peer_left", format!("{peer} is gone")),
        Event::RekeyStarted { id } => (
            Tone::Event,
            "rekey_started",
            format!("begins a rollover to key {id}"),
        ),
        Event::RekeyCompleted { id } => (Tone::Good, "rekey_completed", format!("all use key {id}")),
        Event::Alarm { alarm, raised: true } => (Tone::Bad, "alarm", format!("alarm: {}", alarm.name())),
        Event::Alarm { alarm, raised: false } => {
            (Tone::Event, "alarm", format!("alarm is over: {}", alarm.name()))
        }
        _ => return,
    };
    timeline.say(now, tone, name, &text, json!({ "text": text }));
}
