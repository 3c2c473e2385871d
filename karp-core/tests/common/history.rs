//! What a router went through in its present boot, as its events told it.

use karp_core::io::{Event, Role};

use super::{lan::Lan, node::Node};

/// The roles that a router went through in this boot, the one that it began with left out.
pub fn roles(node: &Node) -> Vec<Role> {
    let role = |event: &Event| match event {
        Event::RoleChanged { role } => Some(*role),
        _ => None,
    };
    node.events.iter().filter_map(|(_, event)| role(event)).collect()
}

/// When a router last became what it is.
pub fn since(node: &Node) -> u64 {
    let changed = node
        .events
        .iter()
        .rev()
        .find(|(_, event)| matches!(event, Event::RoleChanged { .. }));
    changed.map_or(0, |(at, _)| *at)
}

/// How many rollovers began at a router in this boot.
pub fn started(node: &Node) -> usize {
    node.count(|event| matches!(event, Event::RekeyStarted { .. }))
}

/// How many rollovers ended at a router in this boot.
pub fn completed(node: &Node) -> usize {
    node.count(|event| matches!(event, Event::RekeyCompleted { .. }))
}

/// Lets the routing protocols speak for two seconds more. Fails the run if a routing packet was refused between
/// routers that belong together.
#[track_caller]
pub fn nothing_refused(lan: &mut Lan) {
    lan.run(2_000);
    if lan.hellos.refused > 0 {
        lan.fail(&format!(
            "{} of {} routing packets were refused",
            lan.hellos.refused, lan.hellos.sent
        ));
    }
    assert!(lan.hellos.accepted > 0, "no routing packet was ever accepted");
}
