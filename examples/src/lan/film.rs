//! What a run looked like, for its picture: every router's role, key and neighbours, looked at all the time.

use karp_core::{
    io::Role,
    time::{Duration, Instant},
};

use super::{
    router::{Life, Router},
    tally::Class as Refusal,
};
use crate::picture::{Chart, Class, Lane, Mark, Span};

/// Between two looks: what is shorter may be missed, and is too short to be seen in a picture.
const LOOK: Duration = Duration::from_millis(20);
/// Marks of refused hellos on one lane are so far apart at least: a router that hears ten a second from each of the
/// others would have nothing but marks.
const APART: Duration = Duration::from_millis(400);

/// A router's three lanes.
const ROLE: usize = 0;
const KEY: usize = 1;
const HEARD: usize = 2;
const LANES: [&str; 3] = ["role", "sends with key", "hears"];

pub(super) struct Film {
    chart: Chart,
    last: Instant,
    routers: Vec<Reel>,
    step: Option<(Instant, &'static str)>,
}

/// What is remembered of a router between two looks.
#[derive(Clone, Default)]
struct Reel {
    boots: u32,
    /// Its key management runs since its last start.
    joined: bool,
    marked: [Option<Instant>; 2],
}

impl Film {
    pub(super) fn new(routers: &[Router], now: Instant) -> Self {
        let lanes = routers
            .iter()
            .flat_map(|router| LANES.map(|label| Lane::new(router.name.as_str(), label)));
        Self {
            chart: Chart {
                from_ms: now.as_millis(),
                lanes: lanes.collect(),
                ..Chart::default()
            },
            last: now,
            routers: vec![Reel::default(); routers.len()],
            step: None,
        }
    }

    /// A step of the demonstration begins.
    pub(super) fn begin(&mut self, now: Instant, title: &'static str) {
        self.end(now);
        self.step = Some((now, title));
    }

    fn end(&mut self, now: Instant) {
        if let Some((since, title)) = self.step.take() {
            let span = Span::new(since.as_millis(), now.as_millis(), Class::Phase, title);
            self.chart.phases.push(span);
        }
    }

    /// The demonstration did something, or something happened to all.
    pub(super) fn mark(&mut self, now: Instant, class: Class, text: impl Into<String>) {
        self.chart.marks.push(Mark::new(now.as_millis(), class, text));
    }

    /// A router's office began, or a rollover that it leads.
    pub(super) fn event(&mut self, router: usize, now: Instant, class: Class, text: &str) {
        let lane = if class == Class::Rekey { KEY } else { ROLE };
        if let Some(lane) = self.lane(router, lane) {
            lane.marks.push(Mark::new(now.as_millis(), class, text));
        }
    }

    /// A router refused a hello.
    pub(super) fn refused(&mut self, at: usize, now: Instant, why: Refusal, text: &str) {
        let fault = why == Refusal::Fault;
        let Some(marked) = self
            .routers
            .get_mut(at)
            .and_then(|reel| reel.marked.get_mut(usize::from(fault)))
        else {
            return;
        };
        if marked.is_some_and(|last| now.since(last) < APART) {
            return;
        }
        *marked = Some(now);
        let class = if fault { Class::Lost } else { Class::Refused };
        if let Some(lane) = self.lane(at, HEARD) {
            lane.marks.push(Mark::new(now.as_millis(), class, text));
        }
    }

    /// The machine stood still.
    pub(super) fn stall(&mut self, since: Instant, now: Instant) {
        let text = format!("nothing ran for {} ms", now.since(since).as_millis());
        let span = Span::new(since.as_millis(), now.as_millis(), Class::Stall, text);
        self.chart.phases.push(span);
    }

    /// Looks at all routers, if the last look was long enough ago.
    pub(super) fn look(&mut self, routers: &[Router], now: Instant) {
        if now.since(self.last) < LOOK {
            return;
        }
        let (from, to) = (self.last.as_millis(), now.as_millis());
        self.last = now;
        for router in routers {
            let states = [self.role(router), key(router, now), heard(router, routers, now)];
            for (lane, state) in states.into_iter().enumerate() {
                if let (Some(lane), Some((class, text))) = (self.lane(router.index, lane), state) {
                    lane.extend(from, to, class, &text);
                }
            }
        }
    }

    /// The picture of the whole run.
    pub(super) fn finish(mut self, title: String, subtitle: String, now: Instant) -> Chart {
        self.end(now);
        Chart {
            title,
            subtitle,
            to_ms: self.last.as_millis(),
            ..self.chart
        }
    }

    fn lane(&mut self, router: usize, lane: usize) -> Option<&mut Lane> {
        self.chart.lanes.get_mut(router * LANES.len() + lane)
    }

    fn role(&mut self, router: &Router) -> Option<(Class, String)> {
        let reel = self.routers.get_mut(router.index)?;
        if reel.boots != router.boots {
            (reel.boots, reel.joined) = (router.boots, false);
        }
        let role = router.role();
        reel.joined |= role != Role::Left;
        let state = match (router.life, role) {
            (Life::Down, _) => (Class::Down, ""),
            (Life::Evicted, _) => (Class::Left, "evicted"),
            // It has only its routing process yet.
            (_, Role::Left) if !reel.joined => return None,
            (_, Role::Left) => (Class::Left, ""),
            (_, Role::Initial) => (Class::Initial, ""),
            (_, Role::Member) => (Class::Member, ""),
            (_, Role::Gcks) => (Class::Gcks, ""),
        };
        Some((state.0, state.1.to_owned()))
    }
}

fn key(router: &Router, now: Instant) -> Option<(Class, String)> {
    router.running.as_ref()?;
    Some(match router.sending(now) {
        Some((id, Some(fingerprint))) => (Class::Key(id), format!("{id} ({fingerprint})")),
        Some((id, None)) => (Class::ManualKey(id), format!("manual key {id}")),
        None => (Class::Blocked, String::new()),
    })
}

/// How many of the live routers it hears, in both protocols.
fn heard(router: &Router, routers: &[Router], now: Instant) -> Option<(Class, String)> {
    let speaker = &router.running.as_ref()?.speaker;
    let others = routers
        .iter()
        .filter(|other| other.is_live() && other.index != router.index);
    let (mut heard, mut all) = (0, 0);
    for other in others {
        all += 1;
        heard += usize::from(speaker.hears(other.index as u32 + 1, other.started, now));
    }
    let class = match heard {
        n if n == all => Class::Full,
        0 => Class::Alone,
        _ => Class::Forming,
    };
    Some((class, format!("{heard} of {all}")))
}
