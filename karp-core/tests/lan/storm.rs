//! Faults drawn at random, many at once; and that a seed says everything. The campaign example plays many more of them, and
//! shrinks what fails.

use super::{
    common::{hellos::Excuse, seeds},
    sim::{
        play::play,
        profile::{Profile, schedule},
    },
};

/// Plays a seed of `profile` and fails with its schedule; returns the routing packets that were accepted, and those that
/// were refused under one of section 7's alarms.
#[track_caller]
fn storm(seed: u64, profile: Profile, nodes: usize) -> (u64, u64) {
    let schedule = schedule(seed, Some(profile), Some(nodes));
    let (outcome, _) = play(&schedule, false);
    if let Some(failure) = &outcome.failure {
        panic!(
            "{} at {} ms\n{schedule}\ncampaign --profile {} --nodes {nodes} --first-seed {seed} --seeds 1 shrinks it",
            failure.why,
            failure.at,
            profile.name()
        );
    }
    let alarms = [Excuse::WithoutLaggards, Excuse::OutlivedKey];
    let alarmed = alarms
        .iter()
        .map(|excuse| outcome.excused[*excuse as usize])
        .sum();
    (outcome.accepted, alarmed)
}

/// Storms of `count` seeds, in which refusals under an alarm are rare.
fn storms(count: u64, profile: Profile, nodes: usize) {
    let (mut accepted, mut alarmed) = (0, 0);
    seeds(count, |seed| {
        let (well, badly) = storm(seed, profile, nodes);
        accepted += well;
        alarmed += badly;
    });
    println!("{alarmed} routing packets refused under an alarm, {accepted} accepted");
    assert!(alarmed * 1_000 <= accepted, "{alarmed} of {accepted}");
}

#[test]
fn faults_without_partitions() {
    storms(16, Profile::Mixed, 5);
}

#[test]
fn faults_with_partitions() {
    storms(16, Profile::Splits, 6);
}

/// The same seed gives the same run, octet for octet; another seed gives another.
#[test]
fn a_seed_says_everything() {
    let digest = |seed| {
        let (_, lan) = play(&schedule(seed, Some(Profile::Splits), Some(5)), true);
        lan.trace.digest()
    };
    let one = digest(7);
    assert_eq!(one, digest(7));
    assert_ne!(one, digest(8));
}
