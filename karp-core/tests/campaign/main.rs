//! The simulator itself: that its checks can fail, that a seed says everything, that a failing schedule is shrunk; what it
//! found; and the times within which a group is there again, on small groups. The `campaign` example plays the seeds.
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

mod doubles;
mod found;
mod times;

use sim::{play::play, profile::schedule};

#[test]
fn seeds_of_every_profile() {
    common::seeds(13, |seed| {
        let schedule = schedule(seed, None, None);
        let (outcome, _) = play(&schedule, false);
        if let Some(failure) = outcome.failure {
            panic!("{} at {} ms\n{schedule}", failure.why, failure.at);
        }
    });
}

/// The same seed gives the same run, octet for octet, on whatever thread; another seed gives another.
#[test]
fn a_seed_says_everything() {
    let digest = |seed| {
        move || {
            let (outcome, lan) = play(&schedule(seed, None, Some(4)), true);
            (outcome, lan.trace.digest())
        }
    };
    let here = digest(11)();
    let there = std::thread::spawn(digest(11)).join().unwrap();
    assert_eq!(here, there);
    assert_ne!(here.1, digest(24)().1, "another seed of the same profile");
}
