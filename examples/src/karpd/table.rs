//! Status and events for people.

use std::fmt::Write as _;

use serde_json::Value;

/// What `karpd status` prints.
#[must_use]
pub fn status(answer: &Value) -> String {
    let mut out = String::new();
    let version = text(&answer["version"]);
    let up = span(answer["uptime_ms"].as_u64());
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "karpd {version}, process {}, up {up}", answer["pid"]);
    for status in list(&answer["groups"]) {
        out.push('\n');
        group(&mut out, status);
    }
    out
}

fn group(out: &mut String, group: &Value) {
    let _ = writeln!(out, "group {}", text(&group["group"]));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<10} {value}");
        }
    };
    line("router", text(&group["identity"]));
    let place = [text(&group["interface"]), text(&group["address"])];
    line("link", place.join(" "));
    let state = text(&group["state"]);
    line(
        "state",
        match text(&group["waiting_for"]) {
            why if why.is_empty() => state,
            why => format!("{state}: {why}"),
        },
    );
    let role = match (text(&group["role"]).as_str(), text(&group["gcks"])) {
        ("gcks", _) => "key server".to_owned(),
        ("member", gcks) => format!("member, key server {gcks}"),
        (role, gcks) if gcks.is_empty() => role.to_owned(),
        (role, gcks) => format!("{role}, follows {gcks}"),
    };
    line("role", role);
    if !group["priority"].is_null() {
        line(
            "priority",
            format!("{} ({})", group["priority"], text(&group["priority_because"])),
        );
    }
    line("link error", text(&group["link_error"]));
    line("kept keys", text(&group["kept_error"]));
    if group["confirmed"] == Value::Bool(false) {
        line(
            "installing",
            "a change of keys waits for the sinks; the group waits for this router".to_owned(),
        );
    }
    let alarms: Vec<String> = list(&group["alarms"]).iter().map(text).collect();
    line("alarms", alarms.join(", "));
    follow(out, &group["follow"]);
    rows(
        out,
        "peers",
        &["identity", "address", "role", "priority", "is", "heard"],
        list(&group["peers"]),
        |peer| {
            let is = |field: &str| peer[field] == Value::Bool(true);
            let standing = if is("waiting") {
                "waiting for keys"
            } else if is("live") {
                "live"
            } else if is("registered") {
                "registered"
            } else {
                ""
            };
            vec![
                text(&peer["identity"]),
                text(&peer["address"]),
                text(&peer["role"]),
                text(&peer["priority"]),
                standing.to_owned(),
                match peer["heard_ms"].as_u64() {
                    Some(ms) => format!("{} ago", span(Some(ms))),
                    None => "never".to_owned(),
                },
            ]
        },
    );
    rows(
        out,
        "keys",
        &["protocol", "algorithm", "id", "state", "fingerprint", "expires"],
        list(&group["keys"]),
        |key| {
            vec![
                text(&key["protocol"]),
                text(&key["algorithm"]),
                text(&key["id"]),
                text(&key["state"]),
                if key["manual"] == Value::Bool(true) {
                    "(manual)".to_owned()
                } else {
                    text(&key["fingerprint"])
                },
                match key["expires_ms"].as_u64() {
                    Some(ms) => format!("in {}", span(Some(ms))),
                    None => "-".to_owned(),
                },
            ]
        },
    );
    rows(
        out,
        "sinks",
        &["sink", "state", "tries", "what is wrong"],
        list(&group["sinks"]),
        |sink| {
            let wrong = [text(&sink["error"]), text(&sink["remedy"])];
            let wrong: Vec<&str> = wrong
                .iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            vec![
                text(&sink["sink"]),
                text(&sink["state"]),
                text(&sink["attempts"]),
                wrong.join("; "),
            ]
        },
    );
}

fn follow(out: &mut String, follow: &Value) {
    if follow.is_null() {
        return;
    }
    let mut parts = vec![text(&follow["daemon"])];
    match text(&follow["error"]) {
        error if error.is_empty() => {
            parts.push(text(&follow["role"]));
            let neighbours: Vec<String> = list(&follow["neighbours"])
                .iter()
                .map(|neighbour| format!("{} {}", text(&neighbour["id"]), text(&neighbour["state"])))
                .collect();
            if !neighbours.is_empty() {
                parts.push(format!("neighbours {}", neighbours.join(", ")));
            }
        }
        error => parts.push(error),
    }
    parts.retain(|part| !part.is_empty());
    let _ = writeln!(out, "  {:<10} {}", "follows", parts.join("; "));
}

/// A table whose columns are as wide as they need to be; nothing if there are no rows.
fn rows(
    out: &mut String,
    title: &str,
    head: &[&str],
    values: &[Value],
    cells: impl Fn(&Value) -> Vec<String>,
) {
    if values.is_empty() {
        return;
    }
    let mut lines: Vec<Vec<String>> = vec![head.iter().map(|name| (*name).to_owned()).collect()];
    lines.extend(values.iter().map(cells));
    let width = |column: usize| {
        let widths = lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let _ = writeln!(out, "  {title}");
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "    {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// What `karpd watch` prints for an event.
#[must_use]
pub fn event(event: &Value) -> String {
    let time = clock(event["unix_ms"].as_u64().unwrap_or(0));
    let mut out = format!(
        "{time} UTC {} {}",
        text(&event["group"]),
        text(&event["event"]).replace('_', " ")
    );
    for (name, value) in event.as_object().into_iter().flatten() {
        if !["unix_ms", "group", "node", "event"].contains(&name.as_str()) {
            let _ = write!(out, " {name}={}", text(value));
        }
    }
    out
}

/// The time of day in UTC.
fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        unix_ms % 1000
    )
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as people write it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A span in its two largest units.
fn span(ms: Option<u64>) -> String {
    let Some(ms) = ms else { return String::new() };
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_group_is_readable() {
        let answer = json!({
            "version": "0.1.0", "pid": 7, "uptime_ms": 3_700_000,
            "groups": [{
                "group": "lan", "identity": "r1", "interface": "eth0", "address": "10.9.0.1:848",
                "state": "running", "role": "member", "gcks": "r2", "priority": 100,
                "priority_because": "followed", "confirmed": false, "alarms": ["install_pending"],
                "peers": [{ "identity": "r2", "address": "10.9.0.2:848", "role": "gcks", "priority": 200,
                            "registered": true, "live": false, "waiting": false, "heard_ms": 300 }],
                "keys": [{ "protocol": "OSPFv2", "algorithm": "HMAC-SHA-256", "id": 7, "state": "active",
                           "manual": false, "fingerprint": "0a1b", "expires_ms": 90_000 }],
                "sinks": [{ "sink": "BIRD", "state": "failing", "attempts": 3, "error": "refused", "remedy": "look" }],
                "follow": { "daemon": "BIRD o1", "role": "dr", "neighbours": [{ "id": "1.1.1.2", "state": "Full" }] },
            }],
        });
        let text = status(&answer);
        for line in [
            "karpd 0.1.0, process 7, up 1 h 1 min",
            "group lan",
            "  role       member, key server r2",
            "  priority   100 (followed)",
            "  alarms     install_pending",
            "  follows    BIRD o1; dr; neighbours 1.1.1.2 Full",
            "    r2        10.9.0.2:848  gcks  200       registered  300 ms ago",
            "    OSPFv2    HMAC-SHA-256  7   active  0a1b         in 1 min 30 s",
            "    BIRD  failing  3      refused; look",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} in\n{text}");
        }
        assert!(text.contains("the group waits for this router"));
    }

    #[test]
    fn events_are_readable() {
        let text = event(
            &json!({ "unix_ms": 86_399_007u64, "group": "lan", "node": "r1", "event": "key_installed", "id": 3 }),
        );
        assert_eq!(text, "23:59:59.007 UTC lan key installed id=3");
    }
}
