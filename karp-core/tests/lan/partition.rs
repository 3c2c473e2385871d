//! The link splits and heals: two offices become one, and no half loses a packet of its own.

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    io::Role,
    time::Duration,
};

use super::{
    common::{Lan, Link, node::Host, seeds},
    nothing_refused,
};

const REKEY: Command<'_> = Command::Rekey {
    protocol: RoutingProtocol::Ospfv2,
    reason: RekeyReason::Operator,
};

/// A group of six splits in halves; each rolls over; then the link heals.
fn split_and_heal(seed: u64, link: Link, rollovers: bool) -> Lan {
    let mut lan = Lan::settled(seed, 6);
    lan.link = link;
    let (left, right): (&[usize], &[usize]) = (&[0, 2, 4], &[1, 3, 5]);
    lan.partition(&[left, right]);
    lan.settle(60_000);
    assert_ne!(lan.nodes[4].role(), Role::Initial);
    if rollovers {
        lan.run(6_000);
        lan.command(0, REKEY).unwrap();
        lan.command(1, REKEY).unwrap();
        lan.run(20_000);
        lan.settle(60_000);
        assert_ne!(lan.key_of(0), lan.key_of(1), "each half has keys of its own");
    }
    let keys = (lan.key_of(0), lan.key_of(1));
    lan.heal();
    lan.settle(90_000);
    if rollovers {
        let joined = lan.key_of(0);
        assert!(
            joined != keys.0 && joined != keys.1,
            "no key of one half is ever given to the other"
        );
    }
    lan.run(20_000);
    assert!(lan.is_settled());
    nothing_refused(&mut lan);
    lan
}

#[test]
fn halves_without_rollovers() {
    seeds(6, |seed| drop(split_and_heal(seed, Link::CLEAN, false)));
}

#[test]
fn halves_with_rollovers_in_each() {
    seeds(6, |seed| drop(split_and_heal(seed, Link::CLEAN, true)));
}

#[test]
fn halves_on_a_bad_link() {
    seeds(6, |seed| drop(split_and_heal(seed, Link::BAD, true)));
}

#[test]
fn halves_under_loss_of_20_percent() {
    seeds(4, |seed| drop(split_and_heal(seed, Link::lossy(20), true)));
}

/// The heir's half has a key of its own and still accepts the old one, with which the old office still sends: nobody
/// goes back to a key that he stopped sending with, so a new one has to join the halves.
#[test]
fn only_the_lesser_half_rolled_over() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 6);
        lan.partition(&[&[0, 2, 4], &[1, 3, 5]]);
        let old = lan.key_of(5);
        lan.expect(40_000, "the heir's half has a new key", |lan| {
            lan.is_one_group(&[0, 2, 4]) && lan.key_of(0) != old
        });
        assert_eq!(lan.key_of(5), old);
        let after = lan.dice.between(1_000, 15_000);
        lan.run(after);
        lan.heal();
        lan.settle(60_000);
        lan.run(10_000);
        assert!(lan.is_settled());
        nothing_refused(&mut lan);
    });
}

/// More than the merge is made for: offices miss each other, and half of them give up at times. One group in the end.
#[test]
fn halves_under_loss_of_40_percent() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 6);
        lan.hellos.strict = false;
        lan.partition(&[&[0, 2, 4], &[1, 3, 5]]);
        lan.link = Link::lossy(40);
        lan.run(60_000);
        lan.heal();
        lan.run(60_000);
        lan.link = Link::CLEAN;
        lan.settle(120_000);
    });
}

/// Two groups that never knew each other.
#[test]
fn strangers_meet() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 6);
        lan.partition(&[&[0, 1, 2], &[3, 4, 5]]);
        lan.start_all();
        lan.settle(8_000);
        lan.heal();
        lan.settle(60_000);
        assert_eq!(lan.gcks(), 5);
        nothing_refused(&mut lan);
    });
}

/// An office with members goes before one without, whatever the rank (section 5.5).
#[test]
fn a_lonely_office_yields_to_one_with_members() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.partition(&[&[0, 1], &[2]]);
        lan.start_all();
        lan.settle(8_000);
        assert_eq!(lan.nodes[2].role(), Role::Gcks, "the best of the three, alone");
        lan.heal();
        lan.settle(60_000);
        assert_eq!(lan.gcks(), 1);
        nothing_refused(&mut lan);
    });
}

/// Three parts, and the greater office takes several lesser ones at once.
#[test]
fn three_parts() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 7);
        lan.partition(&[&[0, 1], &[2, 3], &[4, 5, 6]]);
        lan.start_all();
        lan.settle(8_000);
        lan.heal();
        lan.settle(120_000);
        nothing_refused(&mut lan);
    });
}

/// A single member is cut off for long, and comes back.
#[test]
fn a_member_is_cut_off_and_returns() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.partition(&[&[0], &[1, 2, 3]]);
        lan.run(60_000);
        lan.command(3, REKEY).unwrap();
        lan.run(20_000);
        lan.heal();
        lan.settle(90_000);
        assert_eq!(lan.gcks(), 3);
        nothing_refused(&mut lan);
    });
}

/// The GCKS alone is cut off: the others fail over, and the old office merges into the new one.
#[test]
fn the_gcks_is_cut_off_and_returns() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.partition(&[&[0, 1, 2], &[3]]);
        lan.run(40_000);
        assert_eq!(lan.nodes[2].role(), Role::Gcks);
        assert_eq!(lan.nodes[3].role(), Role::Gcks, "it has no reason to resign");
        lan.heal();
        lan.settle(60_000);
        assert_eq!(lan.gcks(), 2, "an office with members goes first");
        nothing_refused(&mut lan);
    });
}

/// The split is over before anybody's hold is: nothing happens.
#[test]
fn a_short_split_changes_nothing() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.partition(&[&[0, 1], &[2, 3]]);
        lan.run(2_500);
        lan.heal();
        lan.run(20_000);
        assert_eq!(lan.gcks(), 3);
        for at in 0..3 {
            assert_eq!(super::roles(&lan.nodes[at]), [Role::Initial, Role::Member]);
        }
        nothing_refused(&mut lan);
    });
}

/// The split comes and goes in the middle of holds, merges and rollovers.
#[test]
fn a_link_that_flaps() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(120);
            s.dtd = Duration::from_secs(10);
        });
        lan.start_all();
        lan.settle(8_000);
        // Nodes of one half may be parted from their own office by a flap that ends in its merge: counted only.
        lan.hellos.strict = false;
        for _ in 0..6 {
            let parts = lan.dice.shuffled((0..5).collect::<Vec<usize>>());
            let cut = lan.dice.between(1, 4) as usize;
            lan.partition(&[&parts[..cut], &parts[cut..]]);
            let span = lan.dice.between(1_000, 15_000);
            lan.run(span);
            lan.heal();
            let span = lan.dice.between(1_000, 15_000);
            lan.run(span);
        }
        lan.settle(120_000);
    });
}

/// The greater office dies while the lesser merges: each goes on with the keys as they stand.
#[test]
fn the_greater_office_dies_in_the_merge() {
    seeds(8, |seed| {
        let mut lan = Lan::of(seed, 6);
        lan.partition(&[&[0, 1, 2], &[3, 4, 5]]);
        lan.start_all();
        lan.settle(8_000);
        lan.heal();
        let after = lan.dice.between(50, 5_000);
        lan.run(after);
        let victim = if lan.nodes[5].role() == Role::Gcks {
            5
        } else {
            lan.gcks()
        };
        lan.crash(victim);
        lan.settle(90_000);
        nothing_refused(&mut lan);
    });
}

#[test]
fn the_lesser_office_dies_in_the_merge() {
    seeds(8, |seed| {
        let mut lan = Lan::of(seed, 6);
        lan.partition(&[&[0, 1, 2], &[3, 4, 5]]);
        lan.start_all();
        lan.settle(8_000);
        lan.heal();
        let after = lan.dice.between(50, 5_000);
        lan.run(after);
        lan.crash(2);
        lan.settle(90_000);
        nothing_refused(&mut lan);
    });
}

/// A router reboots while the halves merge, and one changes sides: it is given no key that it held (promise 8).
#[test]
fn a_router_reboots_and_changes_sides() {
    seeds(8, |seed| {
        let mut lan = Lan::settled(seed, 6);
        lan.partition(&[&[0, 1, 2], &[3, 4, 5]]);
        lan.run(30_000);
        // r1 reboots on the other side.
        lan.crash(0);
        lan.partition(&[&[1, 2], &[0, 3, 4, 5]]);
        lan.start(0);
        let after = lan.dice.below(20_000);
        lan.run(after);
        lan.heal();
        let after = lan.dice.below(4_000);
        lan.run(after);
        lan.reboot(0);
        lan.settle(120_000);
        nothing_refused(&mut lan);
    });
}

/// A half without an office: its key server dies as the link heals, and nobody there may take its place. Its routers come
/// to the other office one by one; each is given a key that is made for it, and changes to it when all of them have it.
#[test]
fn a_half_without_an_office_comes_router_by_router() {
    seeds(8, |seed| {
        let mut lan = Lan::of(seed, 6);
        lan.link = if seed % 2 == 0 {
            Link::lossy(10)
        } else {
            Link::CLEAN
        };
        for at in [0, 1] {
            lan.nodes[at].set(|s| s.priority = 0);
        }
        lan.nodes[1].host = Host::Confirms(1_500);
        lan.start_all();
        lan.settle(60_000);
        lan.partition(&[&[0, 1, 2], &[3, 4, 5]]);
        lan.settle(60_000);
        lan.run(6_000);
        lan.command(2, REKEY).unwrap();
        lan.command(5, REKEY).unwrap();
        lan.run(20_000);
        lan.settle(60_000);
        let theirs = lan.key_of(5);
        assert_ne!(
            lan.key_of(0),
            theirs,
            "seed {seed}: each half has keys of its own"
        );
        lan.heal();
        lan.crash(2);
        lan.settle(60_000);
        assert_ne!(
            lan.key_of(0),
            theirs,
            "seed {seed}: no key of one half is ever given to the other"
        );
        lan.run(10_000);
        nothing_refused(&mut lan);
    });
}
