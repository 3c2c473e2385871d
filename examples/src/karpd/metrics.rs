//! Metrics in the OpenMetrics text format, from what the status says.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde_json::Value;

/// A family of metrics.
struct Family<'o> {
    out: &'o mut String,
    name: &'static str,
    counter: bool,
}

impl<'o> Family<'o> {
    fn new(out: &'o mut String, name: &'static str, counter: bool, help: &str) -> Self {
        let kind = if counter { "counter" } else { "gauge" };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {help}");
        Self { out, name, counter }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: &Value) {
        let number = match value {
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => u8::from(*flag).to_string(),
            _ => return,
        };
        let total = if self.counter { "_total" } else { "" };
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.out, "{}{total}{labels} {number}", self.name);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The metrics of what `status` says.
#[must_use]
pub fn render(status: &Value) -> String {
    let mut out = String::new();
    let groups = status["groups"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |group: &Value| group["group"].as_str().unwrap_or("").to_owned();

    let mut family = Family::new(&mut out, "karp_build_info", false, "The version that runs.");
    family.sample(
        &[("version", status["version"].as_str().unwrap_or(""))],
        &1.into(),
    );
    let mut family = Family::new(&mut out, "karp_uptime_seconds", false, "Since karpd was started.");
    family.sample(&[], &(status["uptime_ms"].as_u64().unwrap_or(0) / 1000).into());

    let mut family = Family::new(
        &mut out,
        "karp_running",
        false,
        "The router takes part in the group.",
    );
    for group in groups {
        family.sample(&[("group", &name(group))], &(group["state"] == "running").into());
    }
    let mut family = Family::new(
        &mut out,
        "karp_role",
        false,
        "The router's role in the group; 1 for the one it has.",
    );
    for group in groups {
        for role in ["left", "initial", "member", "gcks"] {
            family.sample(
                &[("group", &name(group)), ("role", role)],
                &(group["role"] == role).into(),
            );
        }
    }
    for (metric, field, help) in [
        ("karp_priority", "priority", "The election priority in force."),
        (
            "karp_generation",
            "generation",
            "The applied generation of the group's state.",
        ),
        (
            "karp_installed",
            "confirmed",
            "Every sink has the keys of the newest state.",
        ),
    ] {
        let mut family = Family::new(&mut out, metric, false, help);
        for group in groups {
            family.sample(&[("group", &name(group))], &group[field]);
        }
    }
    let mut family = Family::new(
        &mut out,
        "karp_peers",
        false,
        "Routers that have proved themselves.",
    );
    for group in groups {
        let peers = group["peers"].as_array().map_or(0, Vec::len);
        family.sample(&[("group", &name(group))], &peers.into());
    }
    let mut family = Family::new(
        &mut out,
        "karp_live_members",
        false,
        "Members that rollovers wait for, at a key server.",
    );
    for group in groups {
        let peers = group["peers"].as_array().into_iter().flatten();
        let live = peers.filter(|peer| peer["live"] == true).count();
        family.sample(&[("group", &name(group))], &live.into());
    }
    let mut family = Family::new(
        &mut out,
        "karp_key_active",
        false,
        "The id of the key that is sent with.",
    );
    for group in groups {
        for key in active(group) {
            let protocol = key["protocol"].as_str().unwrap_or("");
            family.sample(&[("group", &name(group)), ("protocol", protocol)], &key["id"]);
        }
    }
    let mut family = Family::new(
        &mut out,
        "karp_key_expires_seconds",
        false,
        "Until the key that is sent with expires.",
    );
    for group in groups {
        for key in active(group) {
            let protocol = key["protocol"].as_str().unwrap_or("");
            if let Some(ms) = key["expires_ms"].as_u64() {
                family.sample(
                    &[("group", &name(group)), ("protocol", protocol)],
                    &(ms / 1000).into(),
                );
            }
        }
    }
    let mut family = Family::new(
        &mut out,
        "karp_sink_up",
        false,
        "The sink has what it should have; 0 if it fails or its daemon is down.",
    );
    for group in groups {
        for sink in group["sinks"].as_array().into_iter().flatten() {
            let sink_name = sink["sink"].as_str().unwrap_or("");
            family.sample(
                &[("group", &name(group)), ("sink", sink_name)],
                &(sink["state"] == "ok").into(),
            );
        }
    }
    let mut family = Family::new(
        &mut out,
        "karp_alarm",
        false,
        "A condition that a person should look at.",
    );
    for group in groups {
        for alarm in group["alarms"].as_array().into_iter().flatten() {
            let alarm = alarm.as_str().unwrap_or("");
            family.sample(&[("group", &name(group)), ("alarm", alarm)], &1.into());
        }
    }
    counters(&mut out, groups);
    out.push_str("# EOF\n");
    out
}

fn active(group: &Value) -> impl Iterator<Item = &Value> {
    let keys = group["keys"].as_array().into_iter().flatten();
    keys.filter(|key| key["state"] == "active")
}

fn counters(out: &mut String, groups: &[Value]) {
    let name = |group: &Value| group["group"].as_str().unwrap_or("").to_owned();
    let mut family = Family::new(out, "karp_dropped", true, "Datagrams dropped, by reason.");
    for group in groups {
        for (reason, count) in group["counters"]["dropped"].as_object().into_iter().flatten() {
            family.sample(&[("group", &name(group)), ("reason", reason)], count);
        }
    }
    for (metric, direction, unit, help) in [
        (
            "karp_messages_sent",
            "sent",
            "messages",
            "Messages sent, by kind.",
        ),
        (
            "karp_octets_sent",
            "sent",
            "octets",
            "Octets sent, by kind of message, without headers of UDP and IP.",
        ),
        (
            "karp_messages_received",
            "received",
            "messages",
            "Messages received and taken, by kind.",
        ),
        (
            "karp_octets_received",
            "received",
            "octets",
            "Octets received and taken, by kind of message, without headers of UDP and IP.",
        ),
    ] {
        let mut family = Family::new(out, metric, true, help);
        for group in groups {
            for (kind, traffic) in group["counters"][direction].as_object().into_iter().flatten() {
                family.sample(&[("group", &name(group)), ("kind", kind)], &traffic[unit]);
            }
        }
    }
    for (metric, field, help) in [
        ("karp_retransmissions", "retransmissions", "Requests sent again."),
        (
            "karp_handshakes_initiated",
            "handshakes_initiated",
            "Initial exchanges completed as initiator.",
        ),
        (
            "karp_handshakes_answered",
            "handshakes_answered",
            "Initial exchanges completed as responder.",
        ),
        (
            "karp_rollovers",
            "rollovers",
            "Rollovers completed as key server.",
        ),
        (
            "karp_failovers",
            "failovers",
            "Times this router took office after another's silence.",
        ),
        ("karp_handoffs", "handoffs", "Offices handed over."),
        ("karp_evictions", "evictions", "Routers put out."),
        ("karp_merges", "merges", "Merges into another office."),
        (
            "karp_pauses",
            "pauses",
            "Times the machine stood still for longer than the hold.",
        ),
        ("karp_role_changes", "role_changes", "Changes of role."),
        (
            "karp_send_failures",
            "send_failed",
            "Datagrams that the system would not send.",
        ),
        ("karp_link_losses", "link_losses", "Times the link was lost."),
    ] {
        let mut family = Family::new(out, metric, true, help);
        for group in groups {
            family.sample(&[("group", &name(group))], &group["counters"][field]);
        }
    }
}

/// Writes the metrics where node_exporter reads them, all at once: it may read at any time.
///
/// # Errors
/// What the system says.
pub fn write(file: &Path, status: &Value) -> io::Result<()> {
    let new = file.with_extension(format!("prom.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&new)
        .and_then(|mut out| out.write_all(render(status).as_bytes()))
        .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
