//! A node that sleeps: its clock jumps, and what queued up is old (section 2, section 5.3).

use karp_core::{command::Command, io::Role};

use super::{
    common::{Lan, keys::Held, seeds},
    nothing_refused, roles,
};

#[test]
fn a_member_sleeps_for_longer_than_hold() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let key = lan.key_of(0);
        lan.pause(0, 20_000);
        lan.run(20_001);
        assert_eq!(lan.nodes[0].engine().counters().pauses, 1);
        assert_eq!(
            roles(&lan.nodes[0])[2],
            Role::Initial,
            "seed {seed}: it has lost its membership"
        );
        assert!(
            lan.nodes[0]
                .rows(lan.now)
                .iter()
                .any(|row| Some(&row.octets) == key.as_ref()),
            "and keeps its keys"
        );
        lan.settle(30_000);
        assert_eq!(lan.gcks(), 3);
        nothing_refused(&mut lan);
    });
}

#[test]
fn the_gcks_sleeps_for_longer_than_hold() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.pause(3, 25_000);
        lan.run(25_001);
        assert_ne!(lan.nodes[3].role(), Role::Gcks, "it does not come back in office");
        assert!(
            lan.nodes[3].sending(lan.hellos.protocols[0], lan.now).is_some(),
            "it keeps its keys"
        );
        lan.settle(30_000);
        assert_eq!(lan.gcks(), 2, "seed {seed}");
        nothing_refused(&mut lan);
    });
}

#[test]
fn a_short_nap_changes_nothing() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        for at in [0, 3] {
            lan.pause(at, 2_000);
            lan.run(10_000);
        }
        assert_eq!(lan.gcks(), 3);
        assert!(lan.nodes.iter().all(|node| roles(node).len() == 2));
        nothing_refused(&mut lan);
    });
}

#[test]
fn all_sleep_at_once() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let ids: Vec<Held> = lan.nodes[0].rows(lan.now);
        for at in 0..4 {
            let ms = lan.dice.between(30_000, 31_000);
            lan.pause(at, ms);
        }
        lan.run(31_500);
        assert!(
            lan.nodes.iter().all(|node| !node.rows(lan.now).is_empty()),
            "they keep their unexpired keys"
        );
        assert!(!ids.is_empty());
        lan.hellos.strict = false;
        lan.settle(60_000);
    });
}

/// It sleeps until its keys are over and the group has moved on twice.
#[test]
fn a_member_sleeps_through_rollovers() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.set(|s| {
            s.key_lifetime = karp_core::time::Duration::from_secs(60);
            s.dtd = karp_core::time::Duration::from_secs(5);
        });
        lan.start_all();
        lan.settle(8_000);
        lan.pause(0, 200_000);
        lan.run(200_001);
        lan.settle(40_000);
        nothing_refused(&mut lan);
    });
}

/// Time that goes back is taken as the last one, and never as a long sleep.
#[test]
fn time_goes_back() {
    let mut lan = Lan::settled(1, 2);
    let now = lan.nodes[0].clock.local(lan.now);
    let early = now.before(karp_core::time::Duration::from_secs(500));
    let mut buffer = [0; 2048];
    let engine = lan.nodes[0].engine.as_mut().unwrap();
    match engine.poll(early, &mut buffer) {
        karp_core::io::Output::Idle { next } => {
            assert!(
                next.is_none_or(|(next, _)| next > now),
                "strictly later than the last time known"
            );
        }
        other => panic!("nothing is due: {other:?}"),
    }
    assert_eq!(engine.role(), Role::Member);
    assert_eq!(engine.counters().pauses, 0);
}

/// A router whose half went on to another key sleeps while the link heals, and comes back to the office that gave it the
/// key which it has stopped, and still sends with it. It does not go back to that one: both change to a third.
#[test]
fn a_router_sleeps_while_the_link_heals() {
    seeds(10, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let key = lan.key_of(0);
        lan.partition(&[&[0, 1], &[2]]);
        heir_changes_key(&mut lan, 2);
        lan.crash(1);
        sleeps_through_the_healing(&mut lan, &[0], &[2], &key);
    });
}

/// The same with two on each side: those sleep who have had a new key from their heir.
#[test]
fn a_half_sleeps_while_the_link_heals() {
    seeds(10, |seed| {
        let mut lan = Lan::settled(seed, 4);
        let key = lan.key_of(0);
        lan.partition(&[&[0, 1], &[2, 3]]);
        heir_changes_key(&mut lan, 2);
        sleeps_through_the_healing(&mut lan, &[0, 1], &[2, 3], &key);
    });
}

/// The half of 0 and 1 has an heir and a new key; `other` sends with the one that all had.
fn heir_changes_key(lan: &mut Lan, other: usize) {
    lan.expect(40_000, "the heir's half has a new key", |lan| {
        lan.is_one_group(&[0, 1]) && lan.key_of(0) != lan.key_of(other)
    });
}

/// `sleepers` left `key`, which `others` send with, and are asleep while the link heals.
fn sleeps_through_the_healing(lan: &mut Lan, sleepers: &[usize], others: &[usize], key: &Option<Vec<u8>>) {
    let left = lan.key_of(sleepers[0]);
    assert_ne!(&left, key, "this half has changed its key");
    assert_eq!(&lan.key_of(others[0]), key, "and that one has not");
    for at in sleepers {
        lan.pause(*at, 20_000);
    }
    lan.run(10_000);
    lan.heal();
    lan.run(10_001);
    for at in sleepers {
        let held = lan.nodes[*at].rows(lan.now);
        assert!(
            held.iter().any(|row| Some(&row.octets) == key.as_ref()),
            "it still has the key that it stopped sending with"
        );
        assert_ne!(lan.nodes[*at].role(), Role::Gcks);
    }
    lan.settle(60_000);
    let both = lan.key_of(others[0]);
    assert!(both != *key && both != left, "a third key");
    nothing_refused(lan);
}

/// A router of the lesser half wakes while its office merges, and reaches the greater one first, which still knows the key
/// that it sends with. It does not change its key before its half does.
#[test]
fn a_router_wakes_while_its_office_merges() {
    seeds(10, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.partition(&[&[0, 1], &[2, 3, 4]]);
        heir_changes_key(&mut lan, 2);
        // The heir's office becomes the greater one.
        for at in [0, 1] {
            lan.command(at, Command::SetPriority(200)).unwrap();
        }
        lan.run(2_000);
        let (left, right) = (lan.key_of(0), lan.key_of(3));
        lan.pause(2, 8_000);
        // Long enough for the offices to hear each other: before that nobody knows of another half (section 12).
        let before = lan.dice.between(1_500, 2_500);
        lan.run(8_000 - before);
        lan.heal();
        reach(&mut lan, 2, 4, false);
        lan.run(before);
        for (at, key) in [(0, &left), (2, &right), (4, &right)] {
            assert_eq!(&lan.key_of(at), key, "seed {seed}: the merge is not over");
        }
        for _ in 0..30 {
            lan.run(100);
            assert_ne!(lan.key_of(2), left, "seed {seed}: its half refuses that key");
        }
        reach(&mut lan, 2, 4, true);
        lan.settle(60_000);
        let all = lan.key_of(0);
        assert!(all != left && all != right, "a third key");
        nothing_refused(&mut lan);
    });
}

/// Whether `a` and `b` hear each other.
fn reach(lan: &mut Lan, a: usize, b: usize, hear: bool) {
    lan.set_reach(a, b, hear);
    lan.set_reach(b, a, hear);
}
