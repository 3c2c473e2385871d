//! The record as a picture: roles, keys sent with, and adjacencies of each router over time.

use serde_json::Value;

use super::{
    record::{Adjacency, Event, Level, Loss, Watched},
    stall::Stall,
};
use crate::picture::{Chart, Class, Lane, Mark, Span};

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// All that happened.
    pub events: &'a [Event],
    /// The losses that count.
    pub losses: &'a [Loss],
    /// When the machine stood still.
    pub stalls: &'a [Stall],
    /// How many routers there are.
    pub routers: usize,
    /// How many neighbours each should have.
    pub neighbours: usize,
    /// What they speak.
    pub protocols: &'a [Watched],
    /// The manual key's id, if daemons start with one.
    pub manual: Option<u16>,
    /// The begin of the run, Unix time in milliseconds.
    pub began_ms: u64,
    /// Its end.
    pub ended_ms: u64,
}

/// One lane that is being drawn: what it shows now, and since when.
struct Pen {
    lane: Lane,
    since: u64,
    class: Option<Class>,
}

impl Pen {
    fn new(router: usize, label: &str, since: u64, class: Option<Class>) -> Self {
        Self {
            lane: Lane::new(format!("r{}", router + 1), label),
            since,
            class,
        }
    }

    fn turn(&mut self, at: u64, class: Option<Class>) {
        let at = at.max(self.since);
        if let Some(before) = self.class
            && at > self.since
        {
            self.lane.extend(self.since, at, before, "");
        }
        self.since = at;
        self.class = class;
    }

    fn mark(&mut self, at: u64, class: Class, text: impl Into<String>) {
        self.lane.marks.push(Mark::new(at, class, text));
    }

    fn end(mut self, at: u64) -> Lane {
        self.turn(at, None);
        self.lane
    }
}

/// The three pens of a router, and what is known of it.
struct Band {
    role: Pen,
    key: Pen,
    adjacencies: Vec<(Watched, Pen)>,
    states: Vec<(Adjacency, Level)>,
}

/// The picture.
#[must_use]
pub fn chart(title: &str, subtitle: &str, source: &Source<'_>) -> Chart {
    let began = source.began_ms;
    let first = source.manual.map_or(Class::Blocked, Class::ManualKey);
    let mut bands: Vec<Band> = (0..source.routers)
        .map(|router| Band {
            role: Pen::new(router, "role", began, Some(Class::Down)),
            key: Pen::new(router, "key", began, Some(first)),
            adjacencies: source
                .protocols
                .iter()
                .map(|protocol| {
                    (
                        *protocol,
                        Pen::new(router, protocol.name(), began, Some(Class::Alone)),
                    )
                })
                .collect(),
            states: Vec::new(),
        })
        .collect();
    let mut marks = Vec::new();
    for event in source.events {
        draw(event, &mut bands, &mut marks, source);
    }
    for loss in source.losses {
        if let Some(band) = bands.get_mut(loss.adjacency.router)
            && let Some((_, pen)) = band
                .adjacencies
                .iter_mut()
                .find(|(protocol, _)| *protocol == loss.adjacency.protocol)
        {
            let text = format!(
                "r{} lost: {} to {}",
                loss.adjacency.neighbour + 1,
                loss.from,
                loss.to
            );
            pen.mark(loss.at_ms, Class::Lost, text);
        }
    }
    let stalls = source.stalls.iter().map(|stall| {
        Span::new(
            stall.from_ms,
            stall.to_ms,
            Class::Stall,
            "the machine stood still",
        )
    });
    Chart {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        from_ms: began,
        to_ms: source.ended_ms,
        phases: stalls.collect(),
        marks,
        lanes: bands
            .into_iter()
            .flat_map(|band| {
                let adjacencies = band.adjacencies.into_iter().map(|(_, pen)| pen);
                [band.role, band.key].into_iter().chain(adjacencies)
            })
            .map(|pen| pen.end(source.ended_ms))
            .collect(),
    }
}

fn draw(event: &Event, bands: &mut [Band], marks: &mut Vec<Mark>, source: &Source<'_>) {
    match event {
        Event::Act { at_ms, text } => {
            let class = if text.contains("killed") || text.contains("loses power") || text.contains(" end") {
                Class::Crash
            } else if text.contains("comes back") || text.contains("boots") || text.ends_with("start") {
                Class::Return
            } else if text.starts_with("rollover") {
                Class::Rekey
            } else {
                Class::Act
            };
            marks.push(Mark::new(*at_ms, class, text.clone()));
        }
        Event::Adjacency(change) => {
            let Some(band) = bands.get_mut(change.adjacency.router) else {
                return;
            };
            band.states
                .retain(|(adjacency, _)| *adjacency != change.adjacency);
            band.states.push((change.adjacency, Level::of(&change.state)));
            let protocol = change.adjacency.protocol;
            let up = band
                .states
                .iter()
                .filter(|(adjacency, level)| {
                    adjacency.protocol == protocol && matches!(level, Level::Up | Level::TwoWay)
                })
                .count();
            let class = match up {
                0 => Class::Alone,
                up if up < source.neighbours => Class::Forming,
                _ => Class::Full,
            };
            if let Some((_, pen)) = band.adjacencies.iter_mut().find(|(whose, _)| *whose == protocol) {
                pen.turn(change.at_ms, Some(class));
            }
        }
        Event::LinkRole {
            at_ms,
            router,
            role,
            protocol,
        } => {
            if let Some((_, pen)) = bands
                .get_mut(*router)
                .and_then(|band| band.adjacencies.iter_mut().find(|(whose, _)| whose == protocol))
            {
                pen.mark(*at_ms, Class::LinkRole, format!("is {role}"));
            }
        }
        Event::Karpd { router, event } => {
            if let Some(band) = bands.get_mut(*router) {
                karpd(event, band);
            }
        }
        Event::Gone {
            at_ms,
            router,
            karpd,
            daemons,
        } => {
            let Some(band) = bands.get_mut(*router) else {
                return;
            };
            if *karpd {
                band.role.turn(*at_ms, Some(Class::Down));
            }
            if *daemons {
                band.key.turn(*at_ms, Some(Class::Down));
                band.states.clear();
                for (_, pen) in &mut band.adjacencies {
                    pen.turn(*at_ms, Some(Class::Down));
                }
            }
        }
        Event::Control { .. } | Event::Refused { .. } => {}
    }
}

fn karpd(event: &Value, band: &mut Band) {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let id = event
        .get("id")
        .and_then(Value::as_u64)
        .and_then(|id| u16::try_from(id).ok());
    let Some(at) = event.get("unix_ms").and_then(Value::as_u64) else {
        return;
    };
    match (text("event"), id) {
        (Some("role_changed" | "role_seen"), _) => {
            let class = match text("role") {
                Some("gcks") => Class::Gcks,
                Some("member") => Class::Member,
                Some("left") => Class::Left,
                _ => Class::Initial,
            };
            band.role.turn(at, Some(class));
        }
        (Some("watching"), _) if band.role.class == Some(Class::Down) => {
            band.role.turn(at, Some(Class::Initial))
        }
        (Some("key_activated"), Some(id)) => band.key.turn(at, Some(Class::Key(id))),
        (Some("rekey_started"), Some(id)) => {
            band.role
                .mark(at, Class::Rekey, format!("begins a rollover to key {id}"))
        }
        (Some("sink_failed"), _) => {
            let why = text("error").unwrap_or("a sink failed").to_owned();
            band.key.mark(at, Class::Trouble, why);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::netlab::record::Change;

    fn source(events: &[Event]) -> Source<'_> {
        Source {
            events,
            losses: &[],
            stalls: &[],
            routers: 2,
            neighbours: 1,
            protocols: &[Watched::Ospf2],
            manual: None,
            began_ms: 1000,
            ended_ms: 9000,
        }
    }

    #[test]
    fn lanes_follow_the_events() {
        let karpd = |at: u64, name: &str, more: Value| {
            let mut event = json!({ "unix_ms": at, "event": name });
            event
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            Event::Karpd { router: 0, event }
        };
        let events = [
            karpd(2000, "role_changed", json!({ "role": "gcks" })),
            karpd(3000, "key_activated", json!({ "id": 4 })),
            Event::Adjacency(Change {
                at_ms: 4000,
                adjacency: Adjacency {
                    router: 0,
                    protocol: Watched::Ospf2,
                    neighbour: 1,
                },
                state: "Full".to_owned(),
            }),
            Event::Gone {
                at_ms: 5000,
                router: 0,
                karpd: true,
                daemons: true,
            },
        ];
        let chart = chart("t", "", &source(&events));
        let spans = |lane: usize| -> Vec<(u64, u64, Class)> {
            chart.lanes[lane]
                .spans
                .iter()
                .map(|span| (span.from_ms, span.to_ms, span.class))
                .collect()
        };
        assert_eq!(
            spans(0),
            [
                (1000, 2000, Class::Down),
                (2000, 5000, Class::Gcks),
                (5000, 9000, Class::Down)
            ]
        );
        assert_eq!(
            spans(1),
            [
                (1000, 3000, Class::Blocked),
                (3000, 5000, Class::Key(4)),
                (5000, 9000, Class::Down)
            ]
        );
        assert_eq!(
            spans(2),
            [
                (1000, 4000, Class::Alone),
                (4000, 5000, Class::Full),
                (5000, 9000, Class::Down)
            ]
        );
        assert_eq!(chart.lanes.len(), 6);
    }

    #[test]
    fn what_the_scenario_does_is_marked() {
        let act = |text: &str| Event::Act {
            at_ms: 2000,
            text: text.to_owned(),
        };
        let events = [
            act("karpd of r1, the GCKS, is killed"),
            act("r2 boots"),
            act("rollover 1 of 5"),
        ];
        let classes: Vec<Class> = chart("t", "", &source(&events))
            .marks
            .iter()
            .map(|mark| mark.class)
            .collect();
        assert_eq!(classes, [Class::Crash, Class::Return, Class::Rekey]);
    }
}
