//! A router that rebooted is never given a key that it held before (promise 8): the laboratory remembers every key
//! that every identity held in every boot. Here: that it waits, for how long, and that it comes back at all.

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    io::{Event, Role},
    time::Duration,
};

use super::{
    common::{Lan, Link, peek, seeds},
    completed, nothing_refused, roles,
};

#[test]
fn a_member_reboots_and_waits_for_the_next_key() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(20_000);
        let old = lan.key_of(0);
        let rollovers = completed(&lan.nodes[3]);
        lan.reboot(0);
        lan.expect(15_000, "it is keyed again", |lan| lan.nodes[0].is_keyed());
        assert_ne!(lan.key_of(0), old);
        lan.settle(10_000);
        assert_ne!(lan.key_of(3), old, "the whole group moved to a new key for it");
        lan.run(5_000);
        assert_eq!(completed(&lan.nodes[3]), rollovers + 1, "one rollover served it");
        assert_eq!(roles(&lan.nodes[0]), [Role::Initial, Role::Member]);
        nothing_refused(&mut lan);
    });
}

#[test]
fn while_it_waits_it_has_no_key_and_is_not_waited_for() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.set(|s| s.min_rekey = Duration::from_secs(20));
        lan.start_all();
        lan.settle(8_000);
        lan.run(30_000);
        lan.command(
            3,
            Command::Rekey {
                protocol: RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            },
        )
        .unwrap();
        lan.run(5_000);
        lan.record = Some(Vec::new());
        lan.reboot(0);
        lan.run(8_000);
        // The last rollover began less than the minimum interval ago.
        assert_eq!(lan.nodes[0].role(), Role::Initial);
        assert!(
            lan.nodes[0].rows(lan.now).is_empty(),
            "registered, and waiting without a key"
        );
        let record = lan.record.as_ref().unwrap();
        let asks = record
            .iter()
            .filter(|s| s.by == Some(0) && s.is(peek::GSA_REGISTRATION, false))
            .count();
        assert!(
            (4..=12).contains(&asks),
            "seed {seed}: it asks each hello, {asks} times in 8 s"
        );
        let claims = record
            .iter()
            .filter(|s| s.by == Some(0))
            .filter_map(|s| peek::election(&s.octets));
        assert!(
            claims
                .into_iter()
                .all(|e| e.flags & peek::ElectionState::KEYED == 0),
            "it is not KEYED"
        );
        lan.settle(40_000);
        nothing_refused(&mut lan);
    });
}

#[test]
fn the_gcks_reboots_and_comes_back_as_a_member() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(20_000);
        lan.reboot(3);
        lan.settle(40_000);
        assert_eq!(
            lan.gcks(),
            2,
            "it does not take office before validate where it hears keyed routers"
        );
        assert_eq!(roles(&lan.nodes[3]), [Role::Initial, Role::Member]);
        nothing_refused(&mut lan);
    });
}

/// It reboots faster than anybody's hold is over.
#[test]
fn a_router_reboots_twice_in_a_row() {
    seeds(8, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(10_000);
        let who = lan.dice.index(4);
        lan.reboot(who);
        let after = lan.dice.below(6_000);
        lan.run(after);
        lan.reboot(who);
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

#[test]
fn a_router_reboots_again_and_again() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.link = Link::BAD;
        for _ in 0..12 {
            let after = lan.dice.between(200, 9_000);
            lan.run(after);
            lan.reboot(0);
        }
        // The interval between rollovers doubles while they follow each other at once, up to lifetime / 16.
        lan.settle(300_000);
        assert!(
            lan.nodes[1..].iter().all(|node| roles(node).len() == 2),
            "nobody else was troubled"
        );
        nothing_refused(&mut lan);
    });
}

#[test]
fn all_reboot_one_after_the_other() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 4);
        for at in [1, 3, 0, 2] {
            lan.reboot(at);
            lan.settle(120_000);
            lan.run(3_000);
        }
        nothing_refused(&mut lan);
    });
}

#[test]
fn all_reboot_at_once() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 5);
        (0..5).for_each(|at| lan.crash(at));
        lan.run(100);
        lan.start_all();
        lan.settle(30_000);
        nothing_refused(&mut lan);
    });
}

/// Reboots in the middle of a rollover: the Pending key counts as given, whether it arrived or not.
#[test]
fn a_member_reboots_in_a_rollover() {
    seeds(12, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(10_000);
        lan.link = Link::lossy(20);
        lan.command(
            3,
            Command::Rekey {
                protocol: RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            },
        )
        .unwrap();
        let after = lan.dice.below(2_500);
        lan.run(after);
        lan.reboot(0);
        lan.settle(90_000);
        nothing_refused(&mut lan);
    });
}

/// Two wait, one rollover serves both.
#[test]
fn one_rollover_serves_all_that_wait() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 6);
        lan.run(30_000);
        let before = completed(&lan.nodes[5]);
        for at in [0, 1, 2] {
            lan.reboot(at);
        }
        lan.settle(15_000);
        lan.run(10_000);
        assert!(completed(&lan.nodes[5]) <= before + 2, "seed {seed}");
        nothing_refused(&mut lan);
    });
}

/// A new router, never seen before, is given the keys in force at once: nothing of it could be replayed.
#[test]
fn a_new_router_does_not_wait() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 4);
        for at in 1..4 {
            lan.start(at);
        }
        lan.settle(8_000);
        lan.run(20_000);
        let key = lan.key_of(3);
        lan.start(0);
        lan.settle(1_500);
        assert_eq!(lan.key_of(0), key);
        nothing_refused(&mut lan);
    });
}

/// A group whose protocols keep their replay state over a reboot is exempt by policy.
#[test]
fn an_exempt_group_gives_the_keys_in_force() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.set(|s| s.reboot_exempt = true);
        lan.checks.may_hold_again = true;
        lan.start_all();
        lan.settle(8_000);
        lan.run(20_000);
        let key = lan.key_of(2);
        lan.reboot(0);
        lan.settle(2_000);
        assert_eq!(lan.key_of(0), key);
        nothing_refused(&mut lan);
    });
}

/// A router whose earlier instance is still on the wire: its old datagrams arrive after the reboot.
#[test]
fn old_datagrams_arrive_after_a_reboot() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.record = Some(Vec::new());
        lan.run(15_000);
        let old: Vec<_> = lan.record.take().unwrap();
        lan.reboot(0);
        for sent in old.iter().filter(|sent| sent.by != Some(1)) {
            lan.inject(super::common::wire::Injection::new(
                sent.from,
                sent.to,
                sent.octets.to_vec(),
            ));
        }
        lan.settle(30_000);
        assert_eq!(lan.gcks(), 2);
        assert!(lan.nodes[0].saw(|e| matches!(e, Event::KeyInstalled { .. })));
        nothing_refused(&mut lan);
    });
}

/// The key management of all routers restarts while their routing protocols run on: they resume with the key that they
/// had, the group forms again around it, and nobody refuses a packet at any time.
#[test]
fn hosts_resume_with_their_keys() {
    use karp_core::{
        algorithm::RoutingAlgorithm,
        config::{KeyUse, ResumedKey},
        crypto::Secret,
    };
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.link = if seed % 2 == 0 { Link::BAD } else { Link::CLEAN };
        lan.set(|s| {
            let protocol = (RoutingProtocol::Ospfv2, RoutingAlgorithm::HmacSha256);
            let key = ResumedKey {
                id: 9,
                key: Secret::from_bytes([0x21; 32]),
                usage: KeyUse::Sending,
                lifetime: Duration::from_secs(600),
                protocols: heapless::Vec::from_slice(&[protocol]).unwrap(),
            };
            assert!(s.resumed_keys.push(key).is_ok());
        });
        (0..4).for_each(|at| lan.boot(at));
        assert!((0..4).all(|at| {
            lan.nodes[at]
                .sending(RoutingProtocol::Ospfv2, lan.now)
                .unwrap()
                .id
                == 9
        }));
        lan.run(2_000);
        let order = lan.dice.shuffled((0..4).collect::<Vec<usize>>());
        for at in order {
            lan.command(at, Command::Join).unwrap();
            // All within a hold: an office cannot wait for a router that it never heard.
            let after = lan.dice.below(800);
            lan.run(after);
        }
        lan.settle(60_000);
        let (key, gcks) = (lan.key_of(0), lan.gcks());
        lan.run(20_000);
        lan.command(
            gcks,
            Command::Rekey {
                protocol: RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            },
        )
        .unwrap();
        lan.expect(30_000, "a key of its own", |lan| {
            lan.is_settled() && lan.key_of(0) != key
        });
        nothing_refused(&mut lan);
        assert_eq!(lan.hellos.foreign, 0, "seed {seed}: not one packet was refused");
    });
}
