//! Scenarios of a group's life on a LAN in memory: election, exchange, rollover and faults. What an
//! attacker can do is in `tests/attack`.
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

mod authorisation;
mod crash;
mod eviction;
mod exchange;
mod migration;
mod partition;
mod pause;
mod reboot;
mod resume;
mod rollover;
mod start;
mod states;
mod storm;
mod succession;

use common::history::{completed, nothing_refused, roles, since, started};
