//! Scenarios of a group's life on a LAN in memory: election, exchange, rollover, faults and attacks.
//!
//! Every scenario runs with several seeds; the laboratory asserts the promises after every step, so a scenario
//! states only what is its own. `KARP_SEED=7` runs one seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../sim/mod.rs"]
mod sim;

mod attack;
mod authorisation;
mod crash;
mod eviction;
mod exchange;
mod handshake_flood;
mod malformed;
mod migration;
mod partition;
mod pause;
mod reboot;
mod replay;
mod resume;
mod rollover;
mod start;
mod states;
mod storm;
mod succession;

use karp_core::io::{Event, Role};

use common::{Lan, node::Node};

/// The roles that a router went through in this boot, the one that it began with left out.
fn roles(node: &Node) -> Vec<Role> {
    let role = |event: &Event| match event {
        Event::RoleChanged { role } => Some(*role),
        _ => None,
    };
    node.events.iter().filter_map(|(_, event)| role(event)).collect()
}

/// When a router last became what it is.
fn since(node: &Node) -> u64 {
    let changed = node
        .events
        .iter()
        .rev()
        .find(|(_, event)| matches!(event, Event::RoleChanged { .. }));
    changed.map_or(0, |(at, _)| *at)
}

/// How many rollovers began at a router in this boot.
fn started(node: &Node) -> usize {
    node.count(|event| matches!(event, Event::RekeyStarted { .. }))
}

/// How many rollovers ended at a router in this boot.
fn completed(node: &Node) -> usize {
    node.count(|event| matches!(event, Event::RekeyCompleted { .. }))
}

/// Lets the routing protocols speak for two seconds more. Fails the run if a routing packet was refused between
/// routers that belong together.
#[track_caller]
fn nothing_refused(lan: &mut Lan) {
    lan.run(2_000);
    if lan.hellos.refused > 0 {
        lan.fail(&format!(
            "{} of {} routing packets were refused",
            lan.hellos.refused, lan.hellos.sent
        ));
    }
    assert!(lan.hellos.accepted > 0, "no routing packet was ever accepted");
}
