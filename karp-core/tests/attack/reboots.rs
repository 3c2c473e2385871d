//! A router that comes and goes: every reboot asks for new keys, and that is what it can cost.

use super::{
    attacker::Stand,
    common::{
        Lan,
        history::{nothing_refused, started},
        seeds,
    },
};

/// One of five reboots every six seconds for ten minutes. Each reboot that gets as far as a registration costs a
/// rollover, and there is none within 5 s of another; the others lose nothing, and it is in again when it stops.
#[test]
fn a_router_that_reboots_again_and_again() {
    seeds(2, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.run(9_000);
        let stand = Stand::of(&lan, &[1, 2, 3, 4]);
        let before = started(&lan.nodes[4]);
        for _ in 0..100 {
            lan.reboot(0);
            lan.run(6_000);
        }
        let rollovers = started(&lan.nodes[4]) - before;
        println!("seed {seed}: {rollovers} rollovers for 100 reboots in 10 minutes");
        assert!(
            (20..=120).contains(&rollovers),
            "seed {seed}: {rollovers} rollovers"
        );
        stand.holds(&lan);
        let ended = lan.now;
        lan.settle(20_000);
        println!("seed {seed}: in again after {} ms", lan.now - ended);
        nothing_refused(&mut lan);
    });
}

/// A router reboots and changes sides between the halves of a partition, again and again, and takes part in each. It
/// brings no key of one half to the other (promise 8 is checked at every step), and when the link is whole there is one
/// group.
#[test]
fn a_router_that_changes_sides() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.partition(&[&[0, 1, 2], &[3, 4]]);
        lan.run(30_000);
        for turn in 0..6 {
            lan.crash(0);
            if turn % 2 == 0 {
                lan.partition(&[&[1, 2], &[0, 3, 4]]);
            } else {
                lan.partition(&[&[0, 1, 2], &[3, 4]]);
            }
            lan.start(0);
            lan.run(45_000);
            assert!(
                lan.nodes[0].is_keyed(),
                "seed {seed}, turn {turn}: 45 s are enough"
            );
        }
        lan.crash(0);
        lan.heal();
        lan.start(0);
        lan.settle(90_000);
        nothing_refused(&mut lan);
    });
}

/// The same without rebooting: it is heard now here and now there, every few seconds, while both halves have an office.
#[test]
fn a_router_that_hears_now_one_half_and_now_the_other() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.partition(&[&[0, 1, 2], &[3, 4]]);
        lan.run(30_000);
        for turn in 0..20 {
            if turn % 2 == 0 {
                lan.partition(&[&[1, 2], &[0, 3, 4]]);
            } else {
                lan.partition(&[&[0, 1, 2], &[3, 4]]);
            }
            let span = lan.dice.between(1_000, 9_000);
            lan.run(span);
        }
        lan.heal();
        lan.settle(90_000);
        nothing_refused(&mut lan);
    });
}
