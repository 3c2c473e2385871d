//! What people and programs are told: a line for each event, a table, and a summary as JSON.

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Value, json};

use super::{
    lab::{End, Lab},
    measure::median,
    record::{Adjacency, Event, Level, Loss, Record},
    stall::explains,
    watch::unix_ms,
};

/// How a scenario ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It held.
    Held,
    /// It did not, for these reasons.
    Failed(Vec<String>),
    /// It did not, and the machine had stood still: it proves nothing.
    Stalled(Vec<String>),
    /// Somebody ended it.
    Interrupted,
}

impl Verdict {
    /// The status with which the program ends: 0, 1, 3, 130.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Failed(_) => 1,
            Self::Stalled(_) => 3,
            Self::Interrupted => 130,
        }
    }

    /// In a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed(_) => "failed",
            Self::Stalled(_) => "stalled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Says something on standard output. A reader who went away does not end the run.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn name(router: usize) -> String {
    format!("r{}", router + 1)
}

fn at(at_ms: u64, began_ms: u64) -> String {
    format!("{:9.3}", at_ms.saturating_sub(began_ms) as f64 / 1000.0)
}

/// The line of an event, if it is worth one. `before` is the record without it.
#[must_use]
pub fn line(event: &Event, before: &Record, began_ms: u64) -> Option<String> {
    let told = match event {
        Event::Act { at_ms, text } => format!("{} == {text}", at(*at_ms, began_ms)),
        Event::Adjacency(change) => {
            // The steps between are in the logs.
            let (from, to) = (before.level(change.adjacency), Level::of(&change.state));
            if from == to || to == Level::Rising || (to == Level::TwoWay && from != Level::Up) {
                return None;
            }
            format!(
                "{} {} {} adjacency with {} is {}",
                at(change.at_ms, began_ms),
                name(change.adjacency.router),
                change.adjacency.protocol.name(),
                name(change.adjacency.neighbour),
                change.state
            )
        }
        Event::Control { at_ms, level } => {
            let word = if *level == Level::Up {
                "stands"
            } else {
                return None;
            };
            format!("{} control LAN {word}", at(*at_ms, began_ms))
        }
        Event::LinkRole {
            at_ms,
            router,
            protocol,
            role,
        } => format!(
            "{} {} {} is {role}",
            at(*at_ms, began_ms),
            name(*router),
            protocol.name()
        ),
        // Thousands while keys differ: counted, and in the logs.
        Event::Refused { .. } | Event::Gone { .. } => return None,
        Event::Karpd { router, event } => {
            let at_ms = event
                .get("unix_ms")
                .and_then(Value::as_u64)
                .unwrap_or_else(unix_ms);
            let kind = event.get("event")?.as_str()?;
            // Raised and over with each change of keys.
            let is_usual = event.get("alarm").and_then(Value::as_str) == Some("install_pending");
            if is_usual || matches!(kind, "watching" | "state_applied" | "role_seen") {
                return None;
            }
            if kind == "sink_applied" {
                let number = |field: &str| event.get(field).and_then(Value::as_u64).unwrap_or(0);
                return Some(format!(
                    "{} {} daemon has the keys of generation {}, after {} ms",
                    at(at_ms, began_ms),
                    name(*router),
                    number("generation"),
                    number("elapsed_ms")
                ));
            }
            let fields: Vec<String> = event
                .as_object()?
                .iter()
                .filter(|(field, _)| !matches!(field.as_str(), "unix_ms" | "event" | "group" | "node"))
                .map(|(field, value)| {
                    format!(
                        "{field} {}",
                        value.as_str().map_or(value.to_string(), str::to_owned)
                    )
                })
                .collect();
            format!(
                "{} {} karpd {kind} {}",
                at(at_ms, began_ms),
                name(*router),
                fields.join(", ")
            )
        }
    };
    Some(told.trim_end().to_owned())
}

/// The line of a lost adjacency.
#[must_use]
pub fn loss(loss: &Loss, began_ms: u64) -> String {
    format!(
        "{} !! LOST: {} {} adjacency with {}, {} to {}",
        at(loss.at_ms, began_ms),
        name(loss.adjacency.router),
        loss.adjacency.protocol.name(),
        name(loss.adjacency.neighbour),
        loss.from,
        loss.to
    )
}

/// Judges a run: how it ended, what was lost, and what else is wrong. `wants_loss`: it holds only if an adjacency was
/// lost.
#[must_use]
pub fn judge(lab: &Lab, ended: &Result<(), End>, wants_loss: bool, more: &[String]) -> Verdict {
    let stalls = lab.lateness.stalls();
    let mut reasons = more.to_vec();
    let mut excused = false;
    let explained = |from, to| explains(&stalls, lab.record.control_losses(), from, to);
    match ended {
        Ok(()) => {}
        Err(End::Interrupted) => return Verdict::Interrupted,
        Err(End::Failed { why, since_ms }) => {
            excused |= explained(*since_ms, unix_ms());
            reasons.push(why.clone());
        }
    }
    let losses = lab.record.losses();
    if wants_loss {
        if losses.is_empty() && reasons.is_empty() {
            reasons.push("the rollover was broken, and no adjacency was seen to be lost".to_owned());
        }
    } else {
        for loss in losses {
            excused |= explained(loss.at_ms, loss.at_ms);
            reasons.push(format!(
                "{} lost its {} adjacency with {} ({} to {})",
                name(loss.adjacency.router),
                loss.adjacency.protocol.name(),
                name(loss.adjacency.neighbour),
                loss.from,
                loss.to
            ));
        }
    }
    match (reasons.is_empty(), excused) {
        (true, _) => Verdict::Held,
        (false, false) => Verdict::Failed(reasons),
        (false, true) => Verdict::Stalled(reasons),
    }
}

impl Lab {
    /// Each router in a line, for messages.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for router in &self.routers {
            let karpd = match (&router.status, router.has_karpd()) {
                (Some(status), _) => status.describe(),
                (None, true) => "karpd does not answer".to_owned(),
                (None, false) => "no karpd".to_owned(),
            };
            let mut adjacencies = Vec::new();
            for protocol in &self.plan.protocols {
                for neighbour in self.routers.iter().filter(|other| other.index != router.index) {
                    let adjacency = Adjacency {
                        router: router.index,
                        protocol: *protocol,
                        neighbour: neighbour.index,
                    };
                    let state = self.record.state(adjacency).unwrap_or("-");
                    adjacencies.push(format!("{} {} {state}", protocol.name(), neighbour.name));
                }
            }
            lines.push(format!("{}: {karpd}; {}", router.name, adjacencies.join(", ")));
        }
        lines
    }
}

/// The summary as JSON.
#[must_use]
pub fn summary(lab: &Lab, scenario: &str, verdict: &Verdict, more: Value) -> Value {
    let karpd: Vec<Value> = lab
        .routers
        .iter()
        .map(|router| {
            json!({ "router": router.name, "cpu_ms": router.usage.cpu_ms(), "peak_rss_kib": router.usage.peak_kib() })
        })
        .collect();
    let mut summary = json!({
        "scenario": scenario,
        "verdict": verdict.name(),
        "ok": *verdict == Verdict::Held,
        "short": lab.options.short,
        "loss_percent": lab.options.loss,
        "seed": lab.options.seed,
        "routers": lab.routers.len(),
        "bird": lab.tree.bird_version,
        "frr": lab.tree.frr_version,
        "seconds": unix_ms().saturating_sub(lab.began_ms) / 1000,
        "adjacencies_lost": lab.record.losses().len(),
        "adjacencies_taken_down": lab.record.forgiven().len(),
        "packets_refused": lab.record.refusals(),
        "stalls": lab.lateness.stalls().len(),
        "control_lan_losses": lab.record.control_losses().len(),
        "longest_lateness_ms": lab.lateness.longest_ms(),
        "karpd": karpd,
    });
    for part in [lab.measures.to_json(), more] {
        if let (Some(all), Value::Object(part)) = (summary.as_object_mut(), part) {
            all.extend(part);
        }
    }
    json!({ "summary": summary })
}

/// The table.
#[must_use]
pub fn table(lab: &Lab, scenario: &str, verdict: &Verdict) -> String {
    let measures = &lab.measures;
    let ms = |value: Option<u64>| value.map_or("-".to_owned(), |value| format!("{value} ms"));
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<58} {value}");
    };
    row("scenario", scenario.to_owned());
    row(
        "first start to all adjacencies under automatic keys",
        ms(measures.cold_start_ms),
    );
    row(
        "crash of the GCKS to a new GCKS, median",
        ms(median(&measures.failover_ms)),
    );
    row(
        "rekey request to all routers sending, median",
        ms(median(&measures.rekey_ms)),
    );
    row(
        "rekey request to all routers sending, longest",
        ms(measures.rekey_ms.iter().max().copied()),
    );
    row(
        "the same on the wire, where a hello is sent each second",
        ms(median(&measures.rekey_wire_ms)),
    );
    row("rollovers", measures.rollovers.to_string());
    row("adjacencies lost", lab.record.losses().len().to_string());
    row(
        "adjacencies that the scenario took down",
        lab.record.forgiven().len().to_string(),
    );
    row(
        "packets refused between live keyed routers",
        lab.record.refusals().to_string(),
    );
    row(
        "stalls of the machine (longest lateness)",
        format!(
            "{} ({} ms)",
            lab.lateness.stalls().len(),
            lab.lateness.longest_ms()
        ),
    );
    for router in &lab.routers {
        row(
            &format!("karpd of {}: processor time, resident at most", router.name),
            format!(
                "{} ms in {} s, {:.1} MiB",
                router.usage.cpu_ms(),
                unix_ms().saturating_sub(lab.began_ms) / 1000,
                router.usage.peak_kib() as f64 / 1024.0
            ),
        );
    }
    match verdict {
        Verdict::Held => row("verdict", "HELD".to_owned()),
        Verdict::Interrupted => row("verdict", "interrupted".to_owned()),
        Verdict::Failed(reasons) | Verdict::Stalled(reasons) => {
            let word = if matches!(verdict, Verdict::Failed(_)) {
                "FAILED"
            } else {
                "STALLED: the machine stood still, so this proves nothing"
            };
            row("verdict", word.to_owned());
            for reason in reasons.iter().take(12) {
                row("", reason.clone());
            }
            if reasons.len() > 12 {
                row("", format!("and {} more", reasons.len() - 12));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlab::record::{Change, Watched};

    #[test]
    fn lines_have_a_time_and_a_router() {
        let event = Event::Karpd {
            router: 1,
            event: json!({ "unix_ms": 5250, "group": "g", "node": "r2", "event": "key_activated", "id": 4 }),
        };
        let line = line(&event, &Record::default(), 5000).unwrap();
        assert_eq!(line, "    0.250 r2 karpd key_activated id 4");
    }

    #[test]
    fn steps_on_the_way_up_are_not_told() {
        let change = |state: &str| {
            Event::Adjacency(Change {
                at_ms: 0,
                adjacency: Adjacency {
                    router: 0,
                    protocol: Watched::Ospf2,
                    neighbour: 1,
                },
                state: state.to_owned(),
            })
        };
        let record = Record::default();
        assert!(line(&change("ExStart"), &record, 0).is_none());
        assert!(line(&change("Full"), &record, 0).is_some());
    }

    #[test]
    fn statuses_tell_a_stall_from_a_failure() {
        assert_eq!(Verdict::Held.code(), 0);
        assert_eq!(Verdict::Failed(Vec::new()).code(), 1);
        assert_eq!(Verdict::Stalled(Vec::new()).code(), 3);
    }
}
