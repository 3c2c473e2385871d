//! A checker that cannot fail is worth nothing: routers, hosts and settings that break one promise each, which the checks
//! have to find, and the right one.

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    command::RekeyReason,
    config::ProtocolPolicy,
};

use super::{
    common::{
        Lan,
        peek::GSA_REKEY,
        wire::{Injection, Maker},
    },
    sim::{
        bounds::Case,
        fault::{Fault, Schedule, Setup, Who},
        play::{Outcome, play_with},
        profile,
        shrink::shrink,
    },
};

/// A group of four on a clean link, with these faults.
fn calm(faults: Vec<(u64, Fault)>) -> Schedule {
    Schedule {
        seed: 5,
        profile: "double",
        nodes: 4,
        setup: Setup::plain(4),
        faults,
        span: 40_000,
    }
}

fn rekey(at: u64) -> (u64, Fault) {
    (at, Fault::Rekey(Who::Gcks, RekeyReason::Operator))
}

/// Plays `schedule` without the change, where all must hold, and with it, where promise `number` must be found broken.
#[track_caller]
fn finds(number: usize, schedule: &Schedule, change: impl FnOnce(&mut Lan)) {
    let (outcome, _) = play_with(schedule, false, |_| {});
    assert_eq!(outcome.failure, None, "without the double");
    let (outcome, _) = play_with(schedule, false, change);
    let failure = outcome.failure.expect("the double is found");
    assert_eq!(failure.promise(), number, "{}", failure.why);
}

/// Everybody trusts a router that has no part in the group.
#[test]
fn promise_1_an_outsider_is_let_in() {
    finds(1, &calm(Vec::new()), |lan| lan.nodes[0].realm = 1);
}

/// A router sends with a key that is still Pending, while another has not got it.
#[test]
fn promise_3_a_router_does_not_wait_for_the_activate() {
    let missed = Fault::Lose {
        exchange: GSA_REKEY,
        from: Vec::new(),
        to: vec![1],
        ms: 3_000,
    };
    let schedule = calm(vec![(19_000, missed), rekey(20_000)]);
    finds(3, &schedule, |lan| lan.nodes[0].hasty = true);
}

/// A router draws the same random numbers after a reboot as before, and says something else with them.
#[test]
#[should_panic(expected = "promise 4")]
fn promise_4_a_generator_repeats_itself() {
    let mut lan = Lan::of(1, 1);
    lan.start(0);
    lan.run(8_000);
    lan.crash(0);
    lan.nodes[0].boots = 0;
    lan.nodes[0].set(|settings| {
        let policy = ProtocolPolicy {
            protocol: RoutingProtocol::Ospfv3,
            algorithm: RoutingAlgorithm::HmacSha256,
            self_protecting: false,
        };
        assert!(settings.protocols.push(policy).is_ok(), "there is room");
    });
    lan.start(0);
    lan.run(8_000);
}

/// A message counts as forged, and is obeyed.
#[test]
fn promise_5_a_forged_update_is_obeyed() {
    finds(5, &calm(vec![rekey(20_000)]), |lan| {
        lan.tap(|sent, hand| {
            if sent.is(GSA_REKEY, false) {
                hand.hide_from.push(0);
                let forged = Injection::new(sent.from, sent.to, sent.octets.to_vec());
                hand.inject.push(forged.by(Maker::Forger));
            }
        });
    });
}

/// Nobody ever hears one router, and all believe that the link is whole.
#[test]
fn promise_6_a_router_stays_alone() {
    finds(6, &calm(Vec::new()), |lan| {
        lan.tap(|sent, hand| hand.drop |= sent.by == Some(0));
    });
}

/// The group gives routers that rebooted the keys in force.
#[test]
fn promise_8_a_key_is_given_again() {
    let schedule = calm(vec![(25_000, Fault::Reboot(Who::Node(0)))]);
    finds(8, &schedule, |lan| {
        _ = lan.set(|settings| settings.reboot_exempt = true)
    });
}

/// A group that is slower than it says.
#[test]
fn a_bound_is_passed() {
    let mut lan = Lan::of(1, 3);
    lan.set(|settings| settings.hold_multiplier = 8);
    lan.start_all();
    let took = lan.expect(60_000, "one serves", |lan| {
        lan.nodes.iter().any(|n| n.role() == karp_core::io::Role::Gcks)
    });
    assert!(took > Case::ColdOffice.bound(3), "{took} ms");
}

/// A double in a run with many faults: what is left of the schedule is what shows it.
#[test]
fn a_failing_schedule_is_shrunk() {
    let mut schedule = profile::schedule(14, Some(profile::Profile::Mixed), Some(5));
    schedule.setup = Setup::plain(5);
    schedule.faults.retain(|(at, _)| *at > 20_000);
    schedule.faults.push((15_000, Fault::Reboot(Who::Node(0))));
    schedule.faults.sort_by_key(|(at, _)| *at);
    assert!(schedule.faults.len() > 10, "{schedule}");
    let player = |schedule: &Schedule| -> Outcome {
        play_with(schedule, false, |lan| {
            _ = lan.set(|settings| settings.reboot_exempt = true)
        })
        .0
    };
    let failure = player(&schedule).failure.expect("a key is given again");
    assert_eq!(failure.promise(), 8);
    let shrunk = shrink(&schedule, &failure, &player, 100);
    assert_eq!(shrunk.failure.promise(), 8);
    assert!(
        shrunk.schedule.faults.len() <= 1 && shrunk.schedule.nodes <= 3,
        "{}",
        shrunk.schedule
    );
    assert_eq!(
        player(&shrunk.schedule).failure,
        Some(shrunk.failure),
        "it can be played again"
    );
}
