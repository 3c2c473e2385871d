//! All routers, and the one loop that runs them.

use std::{sync::atomic::Ordering, time::Duration as StdDuration};

use karp_core::{
    algorithm::RoutingProtocol,
    crypto::Fingerprint,
    identity::Identity,
    io::{Event, MessageKind, Role},
    time::{Duration, Instant},
};
use karp_std::{clock, driver, endpoint::Notice};
use serde_json::json;

use super::{
    film::Film,
    plan::{self, Options, Plan},
    router::{KeyName, Life, Router, Running, Totals},
    tally::{Standing, Tally},
};
use crate::{
    entropy::DemoEntropy,
    hello::{self, Speaker},
    picture::Class,
    timeline::{Timeline, Tone},
};

/// Longer than any hello.
const BUFFER: usize = 2048;
/// Conditions are looked at so often at least.
const PATIENCE: StdDuration = StdDuration::from_millis(20);
/// Above so many routers, exchanges are not told one by one.
const TOLD_ONE_BY_ONE: usize = 8;

/// Why a step ended without its condition.
#[derive(Debug)]
pub(super) enum End {
    Failed(String),
    Interrupted,
}

/// What an endpoint told in one go.
enum Note {
    Event(Event),
    Sent(MessageKind, usize),
}

pub(super) struct Network {
    pub(super) plan: Plan,
    pub(super) story: DemoEntropy,
    pub(super) timeline: Timeline,
    pub(super) routers: Vec<Router>,
    pub(super) tally: Tally,
    pub(super) film: Film,
    pub(super) longest_stall_ms: u64,
    /// Something that must never happen did.
    pub(super) broken: Option<String>,
    /// The order in which routers have their turn.
    order: Vec<usize>,
    buffer: Box<[u8]>,
}

impl Network {
    pub(super) fn open(options: Options, timeline: Timeline) -> anyhow::Result<Self> {
        let plan = Plan::new(options)?;
        let mut story = plan.story();
        let mut order: Vec<usize> = (0..plan.options.routers).collect();
        story.shuffle(&mut order);
        let routers: Vec<Router> = (0..plan.options.routers)
            .map(|index| Router::new(index, 100))
            .collect();
        Ok(Self {
            film: Film::new(&routers, clock::now()),
            routers,
            plan,
            story,
            timeline,
            tally: Tally::default(),
            longest_stall_ms: 0,
            broken: None,
            order,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Runs everything until `done`, `limit` at the longest.
    pub(super) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), End> {
        let end = clock::now().after(limit);
        loop {
            if self.plan.options.stop.load(Ordering::Relaxed) {
                return Err(End::Interrupted);
            }
            if done(self) {
                return Ok(());
            }
            if let Some(broken) = self.broken.take() {
                return Err(End::Failed(broken));
            }
            let now = clock::now();
            if now >= end {
                let seen: Vec<String> = self.routers.iter().map(|router| router.describe(now)).collect();
                return Err(End::Failed(format!(
                    "waited {:.1} s for this and in vain: {what}. Seen:\n    {}",
                    limit.as_millis() as f64 / 1000.0,
                    seen.join("\n    ")
                )));
            }
            self.round()
                .map_err(|error| End::Failed(format!("waiting for input: {error}")))?;
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, span: Duration) -> Result<(), End> {
        let end = clock::now().after(span);
        let limit = span.plus(Duration::from_secs(60));
        self.until(limit, "time to pass", |_| clock::now() >= end)
    }

    fn round(&mut self) -> std::io::Result<()> {
        let before = clock::now();
        let timeout = self.timeout();
        {
            let running = self.routers.iter().filter_map(|router| router.running.as_ref());
            let fds: Vec<_> = running
                .flat_map(|running| {
                    let [unicast, multicast] = running.endpoint.fds();
                    [unicast, multicast, running.speaker.fd()]
                })
                .collect();
            driver::wait(&fds, timeout)?;
        }
        let order = std::mem::take(&mut self.order);
        for index in &order {
            self.judge_hellos(*index);
        }
        for index in &order {
            self.run_endpoint(*index);
        }
        for index in &order {
            self.send_hellos(*index);
        }
        self.order = order;
        let now = clock::now();
        self.timeline.tick(now);
        self.film.look(&self.routers, now);
        let asked = u64::try_from(timeout.as_millis()).unwrap_or(0);
        let stall = now.since(before).as_millis().saturating_sub(asked);
        if stall > self.longest_stall_ms {
            self.longest_stall_ms = stall;
        }
        if stall >= self.hold().as_millis() {
            self.film.stall(before, now);
            let text =
                format!("the machine stood still for {stall} ms, longer than any router waits for another");
            self.timeline
                .say(now, Tone::Bad, "stall", &text, json!({ "ms": stall }));
        }
        Ok(())
    }

    fn timeout(&self) -> StdDuration {
        let running = self.routers.iter().filter_map(|router| router.running.as_ref());
        running
            .map(|running| {
                let hello = clock::until(running.speaker.next_deadline());
                running.endpoint.timeout().min(hello)
            })
            .fold(PATIENCE, StdDuration::min)
    }

    fn judge_hellos(&mut self, index: usize) {
        let now = clock::now();
        let router = &mut self.routers[index];
        let standing = router.standing(now);
        let Some(mut running) = router.running.take() else {
            return;
        };
        let Running { endpoint, speaker } = &mut running;
        while let Some((len, _)) = speaker.receive(&mut self.buffer) {
            let packet = &self.buffer[..len];
            let mark = hello::mark(packet);
            // Not a packet of this run.
            if self.tally.sender(mark).is_none() {
                continue;
            }
            let judged = speaker.judge(packet, endpoint.engine().key_table(), now);
            if let Some(refused) = self.tally.judged(index, standing, mark, &judged, now) {
                let (from, key) = (plan::name(refused.from), judged.key.unwrap_or_default());
                let refusal = refused.refusal;
                let text = format!("refuses {from}'s hellos under key {key}: {}", refusal.name());
                self.film.refused(index, now, refused.class, &text);
                if !refused.is_news {
                    continue;
                }
                let fields = json!({ "from": from, "key": key, "reason": refusal.name() });
                self.timeline
                    .gather(now, Tone::Bad, "refused", &router.name, text, fields);
            }
            if judged.verdict.is_ok() {
                router.record(packet);
            }
        }
        router.running = Some(running);
    }

    fn run_endpoint(&mut self, index: usize) {
        let Router { running, name, .. } = &mut self.routers[index];
        let Some(running) = running.as_mut() else {
            return;
        };
        let mut notes = Vec::new();
        let mut take = |notice: Notice<'_>| match notice {
            Notice::Event(event) => notes.push(Note::Event(event.clone())),
            Notice::Sent { kind, octets, to } => {
                if !to.ip().is_multicast() {
                    tracing::debug!(node = %name, kind = kind.name(), %to, octets, "sent");
                }
                notes.push(Note::Sent(kind, octets));
            }
            _ => {}
        };
        // What is left waits until all others had their turn.
        let _ = running.endpoint.on_readable(&mut take);
        let now = clock::now();
        for note in notes {
            match note {
                Note::Event(event) => self.tell(index, &event, now),
                Note::Sent(kind, octets) => self.tell_sent(index, kind, octets, now),
            }
        }
    }

    fn send_hellos(&mut self, index: usize) {
        let now = clock::now();
        let listeners = self
            .routers
            .iter()
            .filter(|router| router.running.is_some())
            .count();
        let router = &mut self.routers[index];
        let standing = router.standing(now);
        let Some(Running { endpoint, speaker }) = router.running.as_mut() else {
            return;
        };
        let tally = &mut self.tally;
        speaker.send(endpoint.engine().key_table(), now, |sent| {
            tally.sent(index, standing, sent, listeners.saturating_sub(1), now);
        });
    }

    fn tell(&mut self, index: usize, event: &Event, now: Instant) {
        if matches!(event, Event::RoleChanged { role: Role::Member }) {
            self.routers[index].admit();
        }
        match event {
            Event::RoleChanged { role: Role::Gcks } => {
                self.film.event(index, now, Class::Office, "takes office");
            }
            Event::RekeyStarted { id } => {
                let text = format!("begins a rollover to key {id}");
                self.film.event(index, now, Class::Rekey, &text);
            }
            _ => {}
        }
        let router = self.routers[index].name.clone();
        let in_office = self.routers[index].role() == Role::Gcks;
        let is_json = self.timeline.is_json();
        let mut line = |tone, name, text: String, fields| {
            self.timeline.gather(now, tone, name, &router, text, fields);
        };
        match event {
            Event::RoleChanged { role } => {
                let (tone, text) = match role {
                    Role::Gcks => (Tone::Good, "is the key server now"),
                    Role::Member => (Tone::Event, "is a member"),
                    Role::Initial => (Tone::Event, "looks for a key server"),
                    Role::Left => (Tone::Event, "has left the group"),
                };
                let role = format!("{role:?}").to_lowercase();
                line(tone, "role", text.to_owned(), json!({ "role": role }));
            }
            // People read it from the exchange.
            Event::GcksChanged { gcks: Some(gcks) } if is_json => {
                line(
                    Tone::Event,
                    "follows",
                    format!("follows {gcks}"),
                    json!({ "gcks": gcks.to_string() }),
                );
            }
            Event::KeyInstalled { id } => self.tell_key(index, *id, now),
            Event::KeyActivated { id } => {
                line(
                    Tone::Good,
                    "key_activated",
                    format!("sends with key {id}"),
                    json!({ "key": id }),
                );
            }
            Event::KeyRetired { id } => {
                line(
                    Tone::Event,
                    "key_retired",
                    format!("only accepts key {id} now"),
                    json!({ "key": id }),
                );
            }
            Event::KeyRemoved { id } => {
                line(
                    Tone::Event,
                    "key_removed",
                    format!("has deleted key {id}"),
                    json!({ "key": id }),
                );
            }
            Event::PeerJoined {
                peer,
                octets,
                elapsed,
            } => {
                self.tell_joined(index, peer, *octets, *elapsed, now);
            }
            // Who gave the office up counts nobody any more, and need not say so of each.
            Event::PeerLeft { peer } if in_office || is_json => {
                line(
                    Tone::Event,
                    "peer_left",
                    format!("counts {peer} no more"),
                    json!({ "peer": peer.to_string() }),
                );
            }
            Event::RekeyStarted { id } => {
                line(
                    Tone::Event,
                    "rekey_started",
                    format!("begins a rollover to key {id}"),
                    json!({ "key": id }),
                );
            }
            Event::RekeyCompleted { id } => {
                line(
                    Tone::Good,
                    "rekey_completed",
                    format!("knows that all use key {id}"),
                    json!({ "key": id }),
                );
            }
            Event::Alarm { alarm, raised } => {
                let (tone, text) = match raised {
                    true => (Tone::Bad, format!("alarm: {}", alarm.name())),
                    false => (Tone::Event, format!("alarm is over: {}", alarm.name())),
                };
                line(
                    tone,
                    "alarm",
                    text,
                    json!({ "alarm": alarm.name(), "raised": raised }),
                );
            }
            _ => {}
        }
    }

    /// A new key, by id and fingerprints.
    fn tell_key(&mut self, index: usize, id: u16, now: Instant) {
        let Some(endpoint) = self.routers[index].endpoint() else {
            return;
        };
        let table = endpoint.engine().key_table();
        let of = |protocol: RoutingProtocol| {
            table
                .receiving(protocol, id, now)
                .and_then(|row| row.fingerprint())
        };
        let [ospf, isis] = hello::PROTOCOLS.map(of);
        if let Some(ospf) = ospf
            && let Err(fingerprint) = self.routers[index].note_key(ospf)
        {
            self.broken = Some(format!(
                "{} was given key {id} {fingerprint}, which it had before it rebooted",
                self.routers[index].name
            ));
        }
        let text = |fingerprint: Option<Fingerprint>| fingerprint.map_or("?".to_owned(), |f| f.to_string());
        let (ospf, isis) = (text(ospf), text(isis));
        let line = format!("accepts key {id} (OSPFv2 {ospf}, IS-IS {isis})");
        let fields = json!({ "key": id, "ospfv2": ospf, "isis": isis });
        let router = &self.routers[index].name;
        self.timeline
            .gather(now, Tone::Event, "key_installed", router, line, fields);
    }

    /// Told once for each exchange: by the member.
    fn tell_joined(&mut self, index: usize, peer: &Identity, octets: u32, elapsed: Duration, now: Instant) {
        let router = &self.routers[index];
        let is_member = router
            .endpoint()
            .is_some_and(|endpoint| endpoint.engine().gcks() == Some(peer));
        if !is_member {
            return;
        }
        let ms = elapsed.as_millis();
        let text = if self.timeline.is_json() || self.routers.len() <= TOLD_ONE_BY_ONE {
            format!("registered with {peer}: {octets} octets in {ms} ms")
        } else {
            format!("registered with {peer}: {octets} octets")
        };
        let fields = json!({ "gcks": peer.to_string(), "octets": octets, "elapsed_ms": ms });
        self.timeline
            .gather(now, Tone::Wire, "exchange", &router.name, text, fields);
    }

    fn tell_sent(&mut self, index: usize, kind: MessageKind, octets: usize, now: Instant) {
        let what = match kind {
            MessageKind::KeyUpdate => "multicasts a key update",
            MessageKind::InbandRekey => "sends the keys to one router",
            _ => return,
        };
        let text = format!("{what}, {octets} octets");
        let fields = json!({ "kind": kind.name(), "octets": octets });
        let router = &self.routers[index].name;
        self.timeline
            .gather(now, Tone::Wire, "sent", router, text, fields);
    }

    pub(super) fn hold(&self) -> Duration {
        plan::HELLO.times(u64::from(self.plan.hold_multiplier()))
    }

    /// All routers' counts together.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for router in &self.routers {
            totals.join(&router.totals());
        }
        totals
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Router> {
        self.routers.iter().filter(|router| router.is_live())
    }

    /// The live router in office, if there is exactly one.
    pub(super) fn gcks(&self) -> Option<usize> {
        let mut serving = self.live().filter(|router| router.role() == Role::Gcks);
        let first = serving.next()?.index;
        serving.next().is_none().then_some(first)
    }

    /// The automatic key with which all live routers send, under one key server whose Rekey SA all have, if so it is.
    pub(super) fn agreed(&self) -> Option<(usize, KeyName)> {
        let now = clock::now();
        let gcks = self.gcks()?;
        let server = &self.routers[gcks];
        let key = server
            .sending(now)
            .filter(|(_, fingerprint)| fingerprint.is_some())?;
        let spi = server.endpoint()?.engine().rekey_sa_spi();
        let follows = |router: &Router| {
            let Some(endpoint) = router.endpoint() else {
                return false;
            };
            let engine = endpoint.engine();
            let in_place = router.index == gcks
                || (engine.role() == Role::Member && engine.gcks() == Some(&server.identity));
            in_place && engine.rekey_sa_spi() == spi && router.sending(now) == Some(key)
        };
        self.live().all(follows).then_some((gcks, key))
    }

    /// Every live router hears every other in both protocols.
    pub(super) fn is_meshed(&self) -> bool {
        let now = clock::now();
        let hears = |at: &Router, other: &Router| {
            at.running
                .as_ref()
                .is_some_and(|running| running.speaker.hears(other.index as u32 + 1, other.started, now))
        };
        self.live().all(|at| {
            self.live()
                .all(|other| other.index == at.index || hears(at, other))
        })
    }

    /// Tells every router's hellos who the designated router is.
    pub(super) fn designate(&mut self, index: usize) {
        for running in self
            .routers
            .iter_mut()
            .filter_map(|router| router.running.as_mut())
        {
            let Running { speaker, .. } = running;
            Speaker::designate(speaker, index as u32 + 1);
        }
    }

    /// Plays hellos that were recorded at a router before its reboot to it, and says how many of them it refuses for
    /// their key, and how many not.
    pub(super) fn replay(&mut self, index: usize, packets: impl IntoIterator<Item = Vec<u8>>) -> (u64, u64) {
        let now = clock::now();
        let (mut refused, mut passed) = (0, 0);
        let Some(Running { endpoint, speaker }) = self.routers[index].running.as_mut() else {
            return (0, 0);
        };
        for packet in packets {
            match speaker.judge(&packet, endpoint.engine().key_table(), now).verdict {
                Err(refusal @ (hello::Refusal::UnknownKey | hello::Refusal::BadDigest)) => {
                    self.tally.replayed(refusal);
                    refused += 1;
                }
                // Refused for its sequence number, it would have been accepted by a router that knows none yet.
                Err(hello::Refusal::Sequence | hello::Refusal::Malformed) | Ok(()) => passed += 1,
            }
        }
        (refused, passed)
    }

    pub(super) fn evicted(&self) -> Option<&Router> {
        self.routers.iter().find(|router| router.life == Life::Evicted)
    }

    /// How many live routers have keys.
    pub(super) fn keyed(&self) -> usize {
        let now = clock::now();
        self.live()
            .filter(|router| router.standing(now) == Standing::Keyed)
            .count()
    }
}
