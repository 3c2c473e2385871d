//! Keys change, and no routing packet is refused.

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    config::Expiry,
    io::{Alarm, Event, Role},
    time::Duration,
};

use super::{
    common::{Lan, Link, keys::State, node::Host, peek, seeds},
    completed, nothing_refused, started,
};

const REKEY: Command<'_> = Command::Rekey {
    protocol: RoutingProtocol::Ospfv2,
    reason: RekeyReason::Operator,
};

fn short_lived(lan: &mut Lan) {
    lan.set(|s| {
        s.key_lifetime = Duration::from_secs(60);
        s.dtd = Duration::from_secs(5);
    });
}

#[test]
fn a_member_asks_for_new_keys() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(10_000);
        let old = lan.nodes[0].sending(RoutingProtocol::Ospfv2, lan.now).unwrap();
        lan.command(0, REKEY).unwrap();
        lan.expect(6_000, "all send with a new key", |lan| {
            lan.is_settled() && lan.key_of(0) != Some(old.octets.clone())
        });
        // The old one is accepted for DTD, and then it is gone.
        let held = lan.nodes[1]
            .receiving(RoutingProtocol::Ospfv2, old.id, lan.now)
            .unwrap();
        assert_eq!((held.state, held.octets), (State::Retiring, old.octets));
        lan.run(25_000);
        assert!(
            lan.nodes[1]
                .receiving(RoutingProtocol::Ospfv2, old.id, lan.now)
                .is_some(),
            "DTD is 30 s"
        );
        lan.run(20_000);
        for at in 0..4 {
            assert!(
                lan.nodes[at]
                    .receiving(RoutingProtocol::Ospfv2, old.id, lan.now)
                    .is_none()
            );
        }
        nothing_refused(&mut lan);
    });
}

fn under_loss(seed: u64, loss: u32) {
    let mut lan = Lan::of(seed, 5);
    short_lived(&mut lan);
    lan.start_all();
    lan.settle(8_000);
    lan.link = Link::lossy(loss);
    lan.run(400_000);
    lan.link = Link::CLEAN;
    lan.settle(20_000);
    let rollovers: usize = lan.nodes.iter().map(completed).sum();
    assert!(
        rollovers >= 5,
        "seed {seed}: {rollovers} rollovers in 400 s of a lifetime of 60 s"
    );
    nothing_refused(&mut lan);
}

#[test]
fn rollovers_under_loss_of_20_percent() {
    seeds(4, |seed| under_loss(seed, 20));
}

#[test]
fn rollovers_under_loss_of_30_percent() {
    seeds(4, |seed| under_loss(seed, 30));
}

#[test]
fn rollovers_under_loss_of_40_percent() {
    seeds(4, |seed| under_loss(seed, 40));
}

#[test]
fn rollover_of_fifty_under_loss() {
    seeds(1, |seed| {
        let mut lan = Lan::of(seed, 50);
        lan.start_all();
        lan.settle(15_000);
        lan.link = Link::lossy(20);
        let old = lan.key_of(0);
        let gcks = lan.gcks();
        lan.command(gcks, REKEY).unwrap();
        lan.expect(60_000, "all send with a new key", |lan| {
            lan.is_settled() && lan.key_of(0) != old
        });
        nothing_refused(&mut lan);
    });
}

/// Lifetime: a rollover begins in time, and is over before the old key ends.
#[test]
fn keys_change_before_their_lifetime_ends() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        short_lived(&mut lan);
        lan.start_all();
        lan.settle(8_000);
        for _ in 0..600 {
            lan.run(500);
            let row = lan.nodes[0].sending(RoutingProtocol::Ospfv2, lan.now).unwrap();
            let local = lan.nodes[0].clock.local(lan.now);
            assert!(
                row.expires.is_none_or(|end| end > local),
                "seed {seed}: the sending key has expired"
            );
        }
        assert!(completed(&lan.nodes[2]) >= 5);
        assert!(lan.nodes.iter().all(|n| n.told.alarms.is_empty()));
        nothing_refused(&mut lan);
    });
}

/// Both rows of two protocols move together.
#[test]
fn requests_within_the_minimum_interval_are_merged() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.run(20_000);
        let before = started(&lan.nodes[3]);
        for _ in 0..10 {
            for at in 0..4 {
                lan.command(at, REKEY).unwrap();
            }
            lan.run(20);
        }
        lan.run(40_000);
        let rollovers = started(&lan.nodes[3]) - before;
        assert!(
            (1..=2).contains(&rollovers),
            "seed {seed}: 40 requests in 0.2 s made {rollovers} rollovers"
        );
        nothing_refused(&mut lan);
    });
}

/// The interval doubles while rollovers follow each other at once.
#[test]
fn a_stream_of_requests_is_slowed_down() {
    seeds(2, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let before = started(&lan.nodes[2]);
        for _ in 0..300 {
            lan.command(0, REKEY).unwrap();
            lan.run(1_000);
        }
        let rollovers = started(&lan.nodes[2]) - before;
        assert!(
            (3..=9).contains(&rollovers),
            "seed {seed}: {rollovers} rollovers in 300 s, minimum 5 s and doubling"
        );
        nothing_refused(&mut lan);
    });
}

/// A request is queued, never lost, while there is no GCKS.
#[test]
fn a_request_waits_for_a_gcks() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.start(1);
        lan.start(2);
        lan.settle(8_000);
        lan.run(20_000);
        lan.partition(&[&[0], &[1, 2]]);
        lan.start(0);
        lan.command(0, REKEY).unwrap();
        let (key, before) = (lan.key_of(2), started(&lan.nodes[2]));
        lan.run(1_500);
        lan.heal();
        lan.expect(20_000, "the request is served", |lan| {
            lan.is_settled() && lan.key_of(2) != key
        });
        assert!(started(&lan.nodes[2]) > before);
        nothing_refused(&mut lan);
    });
}

/// The request itself is lost again and again: it is repeated until it is answered.
#[test]
fn a_request_survives_loss() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.run(20_000);
        lan.link = Link::lossy(40);
        let key = lan.key_of(2);
        lan.command(0, REKEY).unwrap();
        lan.expect(60_000, "the request is served", |lan| {
            lan.is_settled() && lan.key_of(2) != key
        });
        nothing_refused(&mut lan);
    });
}

#[test]
fn the_rekey_sa_is_replaced() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.set(|s| s.rekey_sa_lifetime = Duration::from_secs(60));
        lan.start_all();
        lan.settle(8_000);
        lan.link = Link::lossy(20);
        let mut spis = std::collections::BTreeSet::new();
        for _ in 0..250 {
            lan.run(1_000);
            spis.extend(lan.nodes[3].engine().rekey_sa_spi());
        }
        assert!(
            (3..=8).contains(&spis.len()),
            "seed {seed}: {} Rekey SAs in 250 s of 60 s",
            spis.len()
        );
        lan.link = Link::CLEAN;
        lan.settle(20_000);
        assert_eq!(lan.gcks(), 3, "a term outlives its Rekey SAs");
        for at in 0..3 {
            assert_eq!(super::roles(&lan.nodes[at]).last(), Some(&Role::Member));
        }
        nothing_refused(&mut lan);
    });
}

/// Rekey SA and traffic keys change all the time, under loss, and offices as well.
#[test]
fn everything_is_replaced_at_once() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 4);
        short_lived(&mut lan);
        lan.set(|s| s.rekey_sa_lifetime = Duration::from_secs(45));
        lan.start_all();
        lan.settle(8_000);
        lan.link = Link::lossy(25);
        for _ in 0..4 {
            lan.run(70_000);
            let serving = (0..4).find(|at| lan.nodes[*at].role() == Role::Gcks);
            if let Some(serving) = serving {
                _ = lan.command(serving, Command::HandOff);
            }
        }
        lan.link = Link::CLEAN;
        lan.settle(60_000);
        nothing_refused(&mut lan);
    });
}

/// A host that fills a daemon is waited for: nobody sends with a key before the slowest has confirmed it.
#[test]
fn a_slow_host_is_waited_for() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.nodes[0].host = Host::Confirms(7_000);
        lan.nodes[1].host = Host::Confirms(500);
        lan.start_all();
        lan.settle(8_000);
        lan.run(30_000);
        let asked = lan.now;
        lan.command(2, REKEY).unwrap();
        lan.run(60_000);
        let activated = |at: usize| {
            let event = lan.nodes[at]
                .events
                .iter()
                .rev()
                .find(|(_, e)| matches!(e, Event::KeyActivated { .. }));
            event.unwrap().0
        };
        for at in 0..3 {
            let waited = activated(at) - asked;
            assert!(
                waited >= 7_000,
                "seed {seed}: {} sends with the new key after {waited} ms",
                lan.nodes[at].name
            );
        }
        assert!(lan.nodes[2].told.alarms.is_empty());
        nothing_refused(&mut lan);
    });
}

/// A GCKS waits for its own routing protocols as well.
#[test]
fn the_gckss_own_slow_host_is_waited_for() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.nodes[2].host = Host::Confirms(6_000);
        lan.start_all();
        lan.settle(30_000);
        lan.run(30_000);
        let asked = lan.now;
        lan.command(2, REKEY).unwrap();
        lan.run(60_000);
        let event = lan.nodes[0]
            .events
            .iter()
            .rev()
            .find(|(_, e)| matches!(e, Event::KeyActivated { .. }));
        assert!(event.unwrap().0 >= asked + 6_000, "seed {seed}");
        nothing_refused(&mut lan);
    });
}

/// A host that never confirms holds the rollover up to the old key's end less DTD, and no longer; with an alarm.
#[test]
fn a_hanging_host_is_left_behind_with_an_alarm() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(120);
            s.dtd = Duration::from_secs(10);
        });
        lan.nodes[0].host = Host::Confirms(100);
        lan.start_all();
        lan.settle(10_000);
        lan.run(10_000);
        lan.nodes[0].host = Host::Hangs;
        let old = lan.nodes[2].sending(RoutingProtocol::Ospfv2, lan.now).unwrap();
        let end = old.expires.unwrap();
        lan.hellos.strict = false;
        lan.command(2, REKEY).unwrap();
        lan.expect(130_000, "the rollover goes on", |lan| {
            lan.key_of(2) != Some(old.octets.clone())
        });
        let left = end.since(lan.nodes[2].clock.local(lan.now)).as_millis();
        assert!(
            (8_000..=11_500).contains(&left),
            "seed {seed}: {left} ms before the old key's end, DTD is 10 s"
        );
        lan.run(2_000);
        assert!(lan.nodes[2].saw(|e| matches!(
            e,
            Event::Alarm {
                alarm: Alarm::ActivatedWithoutAll,
                raised: true
            }
        )));
        assert!(
            lan.nodes[0].told.alarms.contains(&Alarm::InstallPending),
            "and the host of the laggard knows"
        );
    });
}

/// The key server is gone for good and nobody may take its place: the last key lives on, with an alarm.
#[test]
fn keep_last_outlives_the_lifetime() {
    seeds(2, |seed| {
        let mut lan = orphans(seed, Expiry::KeepLast);
        let key = lan.key_of(0);
        lan.run(80_000);
        assert_eq!(lan.key_of(0), key, "RFC 2328 D.3");
        assert!(lan.nodes[0].told.alarms.contains(&Alarm::KeyExpired));
        nothing_refused(&mut lan);
    });
}

#[test]
fn fail_closed_ends_with_the_lifetime() {
    seeds(2, |seed| {
        let mut lan = orphans(seed, Expiry::FailClosed);
        lan.hellos.strict = false;
        assert!(lan.key_of(0).is_some());
        let end = lan.nodes[0]
            .sending(RoutingProtocol::Ospfv2, lan.now)
            .unwrap()
            .expires
            .unwrap();
        lan.expect(80_000, "no key to send with", |lan| {
            lan.key_of(0).is_none() && lan.key_of(1).is_none()
        });
        let local = lan.nodes[0].clock.local(lan.now).as_millis();
        assert!(
            local >= end.as_millis() && local < end.as_millis() + 2_000,
            "seed {seed}: at its time"
        );
        assert!(lan.nodes[0].rows(lan.now).is_empty());
        assert!(lan.nodes[0].told.alarms.contains(&Alarm::KeyExpired));
    });
}

fn orphans(seed: u64, expiry: Expiry) -> Lan {
    let mut lan = Lan::of(seed, 3);
    short_lived(&mut lan);
    lan.set(move |s| s.expiry = expiry);
    for at in [0, 1] {
        lan.nodes[at].set(|s| s.priority = 0);
    }
    lan.start_all();
    lan.settle(8_000);
    lan.crash(2);
    lan.run(10_000);
    lan
}

/// One multicast message a phase, whatever the number of members: nobody is sent a copy of its own on a clean link.
#[test]
fn a_rollover_is_one_message_a_phase() {
    seeds(2, |seed| {
        let mut lan = Lan::settled(seed, 10);
        lan.run(15_000);
        lan.record = Some(Vec::new());
        let key = lan.key_of(0);
        lan.command(9, REKEY).unwrap();
        lan.expect(8_000, "a new key", |lan| lan.is_settled() && lan.key_of(0) != key);
        let record = lan.record.as_ref().unwrap();
        let updates = record
            .iter()
            .filter(|s| s.header().exchange == peek::GSA_REKEY)
            .count();
        let pushes = record
            .iter()
            .filter(|s| s.header().exchange == peek::GSA_INBAND_REKEY)
            .count();
        assert!(
            (2..=6).contains(&updates),
            "seed {seed}: {updates} updates for two phases and their copies"
        );
        assert_eq!(pushes, 0);
    });
}
