//! `karpd check`: the whole configuration, and what it means.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use karp_core::identity::Credentials as _;

use super::config::{self, Group, Plan};

/// Checks the configuration; prints what is wrong, or what it means.
#[must_use]
pub fn run(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(plan) => {
            // Whoever does not read to the end has seen enough.
            let _ = io::stdout().write_all(describe(&plan).as_bytes());
            ExitCode::SUCCESS
        }
        Err(faults) => {
            for fault in faults {
                eprintln!("{fault}");
            }
            ExitCode::FAILURE
        }
    }
}

/// What karpd would do.
#[must_use]
pub fn describe(plan: &Plan) -> String {
    let daemon = &plan.daemon;
    let mut lines = vec![
        format!("{}: sound", plan.file.display()),
        format!("control socket  {}", daemon.control.display()),
        format!("kept keys       {}", daemon.state.display()),
    ];
    if let Some(file) = &daemon.metrics_file {
        lines.push(format!("metrics         {}", file.display()));
    }
    if let Some(user) = &daemon.user {
        lines.push(format!("runs as         {user}"));
    }
    for group in &plan.groups {
        lines.push(String::new());
        describe_group(&mut lines, group);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn describe_group(lines: &mut Vec<String>, group: &Group) {
    let settings = &group.settings;
    lines.push(format!("group {}", group.name()));
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<9} {value}"));
    line(
        "router",
        format!("{}, priority {}", settings.identity, settings.priority),
    );
    line("link", group.place.describe());
    line(
        "ports",
        format!(
            "UDP {} and {} of {}",
            settings.address.port(),
            settings.multicast.port(),
            settings.multicast.ip()
        ),
    );
    let keyed = settings
        .protocols
        .iter()
        .map(|one| format!("{} with {}", one.protocol.name(), one.algorithm.name()));
    line("keys", keyed.collect::<Vec<_>>().join(", "));
    let manual = settings
        .manual_keys
        .iter()
        .map(|key| format!("{} id {}", key.protocol.name(), key.id));
    let manual: Vec<String> = manual.collect();
    if !manual.is_empty() {
        line(
            "manual",
            format!("{} until automatic keys take over", manual.join(", ")),
        );
    }
    let peers = group.credentials.peers().map(|(identity, grant)| {
        let may = match (grant.may_join, grant.may_serve) {
            (true, true) => "joins and serves",
            (true, false) => "joins",
            (false, true) => "serves",
            (false, false) => "is refused",
        };
        format!("{identity} {may}")
    });
    let peers: Vec<String> = peers.collect();
    line(
        "peers",
        if peers.is_empty() {
            "whoever has the group's key".to_owned()
        } else {
            peers.join(", ")
        },
    );
    let shared: Vec<String> = group
        .credentials
        .peers()
        .filter(|(identity, _)| group.credentials.is_shared(identity))
        .map(|(identity, _)| identity.to_string())
        .collect();
    if !shared.is_empty() || peers.is_empty() {
        line("note", "who has the group's key cannot be evicted".to_owned());
    }
    for sink in &group.sinks {
        line("sink", sink.describe());
    }
    if group.sinks.is_empty() {
        line(
            "sink",
            "none: keys are agreed upon, and fill no routing daemon".to_owned(),
        );
    }
    if let Some(follow) = &group.follow {
        let priorities = follow.priorities;
        line(
            "follows",
            format!(
                "{}; priority {} as DR, {} as BDR, {} otherwise",
                follow.describe(),
                priorities.dr,
                priorities.bdr,
                priorities.other
            ),
        );
    }
}
