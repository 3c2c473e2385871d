//! An evicted router tries every way back (section 7, *eviction*). Its engine is an honest one; the attacker beside it
//! says again all that was ever said.

use karp_core::{
    command::Command,
    error::DropReason,
    io::{Alarm, Role},
};

use super::{
    attacker::{REKEY, Stand, dropped},
    common::{Lan, history::nothing_refused, seeds, wire::Injection},
};

fn evict(lan: &mut Lan, gone: usize) {
    let gcks = lan.gcks();
    let who = lan.nodes[gone].identity.clone();
    lan.command(gcks, Command::Evict(&who)).unwrap();
}

/// Five routers, and r1 among them, who is put out. Everything that was sent before is handed back.
fn with_one_put_out(seed: u64) -> (Lan, Vec<super::common::wire::Sent>) {
    let mut lan = Lan::of(seed, 5);
    lan.record = Some(Vec::new());
    lan.start_all();
    lan.settle(20_000);
    lan.run(9_000);
    lan.command(4, REKEY).unwrap();
    lan.run(15_000);
    evict(&mut lan, 0);
    lan.run(15_000);
    let record = lan.record.take().unwrap();
    assert!(lan.is_one_group(&REST), "seed {seed}");
    (lan, record)
}

/// Who is left.
const REST: [usize; 4] = [1, 2, 3, 4];

/// The group is as it was, and none of its keys is the evicted router's.
#[track_caller]
fn stays_out(lan: &Lan) {
    assert!(lan.is_one_group(&REST));
    let theirs = if lan.nodes[0].is_up() {
        lan.nodes[0].rows(lan.now)
    } else {
        Vec::new()
    };
    for at in REST {
        let own = lan.nodes[at].rows(lan.now);
        assert!(
            own.iter()
                .all(|row| theirs.iter().all(|key| key.octets != row.octets))
        );
        assert_ne!(lan.nodes[at].engine().gcks(), Some(&lan.nodes[0].identity));
    }
}

/// All that was ever said, its own words and those of the others from before, once more, in order and backwards.
#[test]
fn by_old_messages() {
    seeds(3, |seed| {
        let (mut lan, record) = with_one_put_out(seed);
        let stand = Stand::of(&lan, &REST);
        let total = |lan: &Lan| -> u32 {
            REST.iter()
                .map(|at| lan.nodes[*at].engine().counters().dropped_total())
                .sum()
        };
        let before = total(&lan);
        for sent in record.iter().chain(record.iter().rev()) {
            lan.inject(Injection::new(sent.from, sent.to, sent.octets.to_vec()));
            lan.run(3);
        }
        assert!(
            total(&lan) - before >= record.len() as u32,
            "seed {seed}: they were heard"
        );
        stand.holds_with_keys(&lan);
        stays_out(&lan);
        nothing_refused(&mut lan);
    });
}

/// At another address, at another port, and in new instances of itself. It is named by who it is.
#[test]
fn at_another_address() {
    seeds(3, |seed| {
        let (mut lan, _) = with_one_put_out(seed);
        let stand = Stand::of(&lan, &REST);
        for nth in 0..4 {
            lan.crash(0);
            let mut address = lan.address_of(40 + nth);
            address.set_port(848 + u16::try_from(nth % 2).unwrap());
            lan.nodes[0].address = address;
            lan.nodes[0].set(move |s| s.address = address);
            lan.start(0);
            lan.run(15_000);
            assert!(
                lan.nodes[0].told.alarms.contains(&Alarm::NotAuthorised),
                "seed {seed}: it knows why"
            );
        }
        assert!(dropped(&lan, 4, DropReason::Evicted) >= 4, "seed {seed}");
        stand.holds_with_keys(&lan);
        stays_out(&lan);
        nothing_refused(&mut lan);
    });
}

/// With the keys that it had, as a router whose key management restarted.
#[test]
fn by_resuming_its_keys() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.stop_keying(0);
        let held = lan.nodes[0].kept.as_ref().unwrap().keys.len();
        assert!(held >= 1);
        evict(&mut lan, 0);
        lan.run(2_000);
        // It comes while the eviction runs, and shows the key that was Active.
        lan.start(0);
        lan.run(60_000);
        assert!(
            dropped(&lan, 4, DropReason::Evicted) >= 1,
            "seed {seed}: it asked"
        );
        stays_out(&lan);
    });
}

/// It reboots and registers anew at the very moment at which it is put out, before, after and between.
#[test]
fn in_a_race_with_its_eviction() {
    seeds(12, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.crash(0);
        lan.start(0);
        let wait = lan.dice.below(6_000);
        lan.run(wait);
        evict(&mut lan, 0);
        let wait = lan.dice.below(3_000);
        lan.run(wait);
        lan.crash(0);
        lan.start(0);
        lan.run(40_000);
        stays_out(&lan);
    });
}

/// As an office of its own with the highest rank there is, beside a group that loses its GCKS: nobody follows it, and the
/// heirs take office past it.
#[test]
fn as_an_office_of_the_highest_rank() {
    seeds(3, |seed| {
        let (mut lan, _) = with_one_put_out(seed);
        lan.nodes[0].set(|s| {
            s.priority = u16::MAX;
            s.router_id = u64::MAX;
            s.preempt = true;
        });
        lan.reboot(0);
        lan.run(60_000);
        assert_eq!(
            lan.nodes[0].role(),
            Role::Gcks,
            "seed {seed}: it serves, and nobody comes"
        );
        stays_out(&lan);
        lan.crash(4);
        lan.run(20_000);
        assert!(lan.is_one_group(&[1, 2, 3]), "seed {seed}");
        lan.crash(3);
        lan.run(20_000);
        assert!(lan.is_one_group(&[1, 2]), "seed {seed}");
        assert_ne!(lan.key_of(0), lan.key_of(1));
    });
}

/// It is the GCKS of the other half when it is put out in this one. The halves do not meet again while it serves: this
/// half takes nothing of it and gives it nothing, and the other keeps its own keys (the limit: whoever follows an evicted
/// GCKS is not told). When it is switched off, all the others are one.
#[test]
fn as_the_gcks_of_the_other_half() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 6);
        lan.hellos.strict = false;
        lan.partition(&[&[0, 1, 2], &[3, 4, 5]]);
        lan.run(40_000);
        let office = (0..3).find(|at| lan.nodes[*at].role() == Role::Gcks).unwrap();
        let who = lan.nodes[5].identity.clone();
        lan.command(office, Command::Evict(&who)).unwrap();
        lan.run(15_000);
        let now = lan.now;
        // Those who follow it are of its realm.
        for at in 3..6 {
            (lan.nodes[at].realm, lan.nodes[at].realm_since) = (lan.nodes[5].realm, now);
        }
        lan.heal();
        lan.run(90_000);
        assert!(lan.is_one_group(&[0, 1, 2]), "seed {seed}");
        assert!(lan.is_one_group(&[3, 4, 5]), "seed {seed}");
        assert_ne!(lan.key_of(0), lan.key_of(5));
        lan.crash(5);
        for at in 3..5 {
            (lan.nodes[at].realm, lan.nodes[at].realm_since) = (0, lan.now + 60_000);
        }
        lan.expect(60_000, "the others are one", |lan| {
            lan.is_one_group(&[0, 1, 2, 3, 4])
        });
    });
}

/// It tries every way back: as a member, by reboot, as a server, after a failover.
#[test]
fn it_does_not_come_back_in_any_role() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.nodes[0].set(|s| s.priority = 1000);
        evict(&mut lan, 0);
        lan.run(60_000);
        let rest = [1, 2, 3, 4];
        assert!(lan.is_one_group(&rest));
        assert!(
            lan.nodes[0].told.alarms.contains(&Alarm::NotAuthorised),
            "it knows why"
        );
        lan.reboot(0);
        lan.run(60_000);
        assert!(lan.is_one_group(&rest), "not after a reboot");
        assert!(
            !rest
                .iter()
                .any(|at| lan.nodes[*at].engine().gcks() == Some(&lan.nodes[0].identity))
        );
        // The list is handed on: an heir refuses it as well, and one that joined later.
        lan.crash(4);
        lan.run(60_000);
        assert!(lan.is_one_group(&[1, 2, 3]), "not at an heir");
        // One that boots knows of no eviction until somebody hands it the list: it meets the group first.
        lan.crash(0);
        lan.start(4);
        lan.run(30_000);
        lan.start(0);
        lan.run(30_000);
        assert!(lan.is_one_group(&rest));
        for at in [1, 2, 3] {
            lan.crash(at);
        }
        lan.run(60_000);
        assert_eq!(lan.nodes[4].role(), Role::Gcks);
        assert_ne!(
            lan.key_of(0),
            lan.key_of(4),
            "not at one that was given the list when it joined"
        );
        assert_ne!(lan.nodes[4].engine().gcks(), Some(&lan.nodes[0].identity));
    });
}

/// The key management of the router that put it out restarts, and so does that of the only other one: the host kept who was
/// evicted beside the keys, and it stays out.
#[test]
fn a_restart_does_not_let_it_back() {
    seeds(6, |seed| {
        let mut lan = Lan::settled(seed, 3);
        // It would lead, were it let in.
        lan.nodes[0].set(|s| s.priority = 1000);
        evict(&mut lan, 0);
        lan.run(30_000);
        assert!(lan.is_one_group(&[1, 2]), "seed {seed}");
        let down = lan.dice.below(3_000);
        lan.restart_keying(1, down);
        lan.restart_keying(2, down);
        lan.run(60_000);
        assert!(
            lan.is_one_group(&[1, 2]),
            "seed {seed}: the two are together again"
        );
        assert_ne!(
            lan.key_of(0),
            lan.key_of(1),
            "seed {seed}: it has none of their keys"
        );
    });
}

/// It was put out in one half of a partition, and goes over to the other, which did not hear of it. When the halves meet
/// it is put out of both.
#[test]
fn in_the_other_half_of_a_partition() {
    for who_knows in [0, 1] {
        seeds(3, |seed| {
            let mut lan = Lan::settled(seed, 7);
            lan.hellos.strict = false;
            // The GCKS is r7; r1 is put out in the half {r1 r2 r3 r4} or {r1 r5 r6 r7}.
            let (low, high) = ([1, 2, 3], [4, 5, 6]);
            let (knows, other) = if who_knows == 0 { (low, high) } else { (high, low) };
            let with = |half: [usize; 3]| [&[0][..], &half].concat();
            lan.partition(&[&with(knows), &other]);
            lan.run(30_000);
            let office = knows
                .into_iter()
                .find(|at| lan.nodes[*at].role() == Role::Gcks)
                .unwrap();
            let who = lan.nodes[0].identity.clone();
            lan.command(office, Command::Evict(&who)).unwrap();
            lan.run(15_000);
            assert!(lan.is_one_group(&knows));
            // Over there it is an honest member still.
            lan.nodes[0].realm = 0;
            lan.partition(&[&knows, &with(other)]);
            lan.run(60_000);
            assert!(
                lan.is_one_group(&with(other)),
                "seed {seed}: the other half takes it in"
            );
            let healed = lan.now;
            lan.nodes[0].realm = 9;
            lan.nodes[0].realm_since = lan.now + 60_000;
            lan.heal();
            let rest = [1, 2, 3, 4, 5, 6];
            lan.expect(60_000, "the halves are one without it", |lan| {
                lan.is_one_group(&rest) && lan.key_of(0) != lan.key_of(1)
            });
            println!("seed {seed}: {} ms", lan.now - healed);
            lan.run(60_000);
            assert!(lan.is_one_group(&rest), "seed {seed}");
            let keys = lan.nodes[1].rows(lan.now);
            assert!(
                lan.nodes[0]
                    .rows(lan.now)
                    .iter()
                    .all(|row| keys.iter().all(|key| key.octets != row.octets)),
                "seed {seed}: none of its keys is accepted any more"
            );
        });
    }
}
