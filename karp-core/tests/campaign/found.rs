//! What the campaign found, as the shortest schedules that showed it.

use super::{
    common::dice::Dice,
    sim::{
        fault::{Fault, Schedule, Setup, Who},
        play::play,
    },
};

#[track_caller]
fn holds(schedule: &Schedule) {
    let (outcome, _) = play(schedule, false);
    if let Some(failure) = outcome.failure {
        panic!("{} at {} ms\n{schedule}", failure.why, failure.at);
    }
}

/// Promise 8. A router of another half merged as an office of one: it was told the new key in answer to its request, and
/// rebooted before it was given the state. The office gave it that key once more (seed 14).
#[test]
fn a_router_of_another_half_reboots_with_the_new_key() {
    for seed in 1..=6 {
        let mut setup = Setup::plain(5);
        setup.priorities = vec![246, 0, 92, 95, 143];
        (setup.key_lifetime, setup.dtd, setup.rekey_sa_lifetime) = (55, 9, 272);
        let again = 66_405 + Dice::new(seed, 3).below(300) * u64::from(seed > 1);
        holds(&Schedule {
            seed: if seed == 1 { 14 } else { seed },
            profile: "found",
            nodes: 5,
            setup,
            faults: vec![
                (27_691, Fault::Crash(Who::Node(2))),
                (41_526, Fault::Split(vec![vec![2, 0, 3, 4], vec![1]])),
                (47_854, Fault::Reboot(Who::Node(0))),
                (59_769, Fault::Heal),
                (again, Fault::Reboot(Who::Node(1))),
            ],
            span: again + 1,
        });
    }
}

/// Promise 1. Who had left the group forgot who was put out of it, joined again, and let itself be keyed by that router
/// (seed 1233).
#[test]
fn a_router_that_left_refuses_who_was_put_out() {
    for seed in 1..=4 {
        let mut setup = Setup::plain(3);
        setup.priorities = vec![10, 50, 100];
        holds(&Schedule {
            seed,
            profile: "found",
            nodes: 3,
            setup,
            faults: vec![
                (15_000, Fault::HandOff),
                (25_000, Fault::Evict(Who::Node(2))),
                (40_000, Fault::Crash(Who::Node(0))),
                (41_000, Fault::Leave(Who::Node(1))),
                // By then the one that was put out serves, alone.
                (80_000, Fault::Start(Who::Node(1))),
            ],
            span: 100_000,
        });
    }
}
