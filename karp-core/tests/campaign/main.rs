//! The simulator itself: that its checks can fail, that a seed says everything, that a failing schedule is shrunk; and the
//! times within which a group is there again, on small groups.
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

use sim::{play::play, profile::schedule};

#[test]
fn seeds_of_every_profile() {
    common::seeds(26, |seed| {
        let schedule = schedule(seed, None, None);
        let (outcome, _) = play(&schedule, false);
        if let Some(failure) = outcome.failure {
            panic!("{} at {} ms\n{schedule}", failure.why, failure.at);
        }
    });
}
