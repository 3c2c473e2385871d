//! An evicted router tries every way back (section 7, *eviction*). Its engine is an honest one; the attacker beside it
//! says again all that it ever said.

use karp_core::{
    command::Command,
    error::DropReason,
    io::{Alarm, Role},
};

use super::{
    attacker::{Stand, dropped},
    common::{
        Lan,
        history::nothing_refused,
        seeds,
        wire::{Injection, Sent},
    },
};

fn evict(lan: &mut Lan, gone: usize) {
    let gcks = lan.gcks();
    let who = lan.nodes[gone].identity.clone();
    lan.command(gcks, Command::Evict(&who)).unwrap();
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
