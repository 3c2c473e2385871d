//! The rows of the table in section 5.3, one test each, in its order.

use karp_core::{
    command::Command,
    io::{Event, Role},
};

use super::{
    common::{Lan, peek, seeds},
    nothing_refused, roles, since,
};

/// Initial, heard a GCKS: joins it, at the speed of the link, and does not wait for its own turn.
#[test]
fn initial_heard_a_gcks() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.start(0);
        lan.settle(6_000);
        assert_eq!(lan.gcks(), 0);
        lan.start(1);
        let took = lan.settle(2_000);
        assert!(took <= 1_500, "seed {seed}: the newcomer took {took} ms");
        assert_eq!(
            lan.gcks(),
            0,
            "a serving GCKS is not displaced by a better-ranked node"
        );
        assert_eq!(roles(&lan.nodes[1]), [Role::Initial, Role::Member]);
        nothing_refused(&mut lan);
    });
}

/// Initial, wait over and my turn: takes office after its own hold, not before and not much later.
#[test]
fn initial_wait_over_my_turn() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 1);
        lan.start(0);
        lan.expect(6_000, "the only router serves", |lan| {
            lan.nodes[0].role() == Role::Gcks
        });
        let took = since(&lan.nodes[0]);
        assert!(
            (4_000..=4_100).contains(&took),
            "seed {seed}: it took office at {took} ms, hold is 4 s"
        );
        lan.run(10);
        assert!(
            lan.key_of(0).is_some(),
            "a new office without an Active key starts a rollover at once"
        );
    });
}

/// The turn goes by rank: the second lets one hello pass, the third two.
#[test]
fn initial_turn_passes_to_the_next() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.start_all();
        lan.run(3_900);
        lan.crash(3);
        lan.expect(4_000, "the second takes office", |lan| {
            lan.nodes[2].role() == Role::Gcks
        });
        let at = since(&lan.nodes[2]);
        assert!(
            (4_900..=5_300).contains(&at),
            "seed {seed}: the second took office at {at} ms"
        );
        lan.settle(3_000);
        assert_eq!(lan.gcks(), 2);
    });
}

/// Initial, keys downloaded: Member, with the GCKS's keys in its table.
#[test]
fn initial_keys_downloaded() {
    seeds(3, |seed| {
        let lan = Lan::settled(seed, 2);
        assert_eq!(roles(&lan.nodes[0]), [Role::Initial, Role::Member]);
        assert_eq!(lan.key_of(0), lan.key_of(1));
        assert_eq!(
            lan.nodes[0].engine().rekey_sa_spi(),
            lan.nodes[1].engine().rekey_sa_spi()
        );
        assert!(
            lan.nodes[0].saw(|e| matches!(e, Event::PeerJoined { .. })),
            "the member tells of it"
        );
        assert!(
            lan.nodes[1].saw(|e| matches!(e, Event::PeerJoined { .. })),
            "and so does the GCKS"
        );
    });
}

/// Initial, join failed: that candidate is penalised, tried ever more seldom, and left out.
#[test]
fn initial_join_failed() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 2);
        let gcks = lan.nodes[0].identity.clone();
        lan.nodes[1].store.spoil(&gcks);
        lan.nodes[1].realm = 1;
        lan.nodes[1].set(|s| s.priority = 0);
        lan.start(0);
        lan.settle(6_000);
        lan.record = Some(Vec::new());
        lan.start(1);
        lan.run(90_000);
        assert_eq!(
            lan.nodes[1].role(),
            Role::Initial,
            "without a proof it is nothing"
        );
        let tries = lan.record.as_ref().unwrap().iter();
        let tries = tries
            .filter(|s| s.by == Some(1) && s.is(peek::GSA_AUTH, false))
            .count();
        // 2, 4, 8, 16, 32 s after each failure, and a retransmission at times.
        assert!((2..=14).contains(&tries), "seed {seed}: {tries} tries in 90 s");
        assert_eq!(
            roles(&lan.nodes[0]),
            [Role::Initial, Role::Gcks],
            "the office is untouched"
        );
    });
}

/// Member, GCKS silent and my turn: GCKS, inheriting the traffic keys.
#[test]
fn member_gcks_silent_my_turn() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 3);
        assert_eq!(lan.gcks(), 2);
        let (key, crashed) = (lan.key_of(0), lan.now);
        lan.crash(2);
        lan.expect(8_000, "the best member takes office", |lan| {
            lan.nodes[1].role() == Role::Gcks
        });
        let took = lan.now - crashed;
        assert!(
            (2_500..=5_500).contains(&took),
            "seed {seed}: failover after {took} ms, hold is 4 s"
        );
        assert_eq!(lan.key_of(1), key, "the heir goes on with the key that all have");
        lan.settle(5_000);
        lan.expect(15_000, "then it makes its own", |lan| lan.key_of(1) != key);
        lan.settle(5_000);
        nothing_refused(&mut lan);
    });
}

/// Member, GCKS silent and an heir's authenticated state is GCKS: Member all along, joining it.
#[test]
fn member_heir_appears() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 4);
        lan.crash(3);
        lan.settle(10_000);
        assert_eq!(lan.gcks(), 2);
        for at in [0, 1] {
            assert_eq!(
                roles(&lan.nodes[at]),
                [Role::Initial, Role::Member],
                "it never was anything else"
            );
            assert_eq!(lan.nodes[at].engine().gcks(), Some(&lan.nodes[2].identity));
        }
        nothing_refused(&mut lan);
    });
}

/// Member, GCKS silent and nobody's turn came: orphaned. It keeps its keys and joins what hints claim.
#[test]
fn member_orphaned() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        for at in [0, 1] {
            lan.nodes[at].set(|s| s.priority = 0);
        }
        lan.start_all();
        lan.settle(8_000);
        assert_eq!(lan.gcks(), 2);
        let key = lan.key_of(0);
        lan.crash(2);
        lan.run(60_000);
        for at in [0, 1] {
            assert_eq!(lan.nodes[at].role(), Role::Member, "an orphan announces Member");
            assert_eq!(lan.key_of(at), key, "and keeps all its keys");
        }
        nothing_refused(&mut lan);
        // The router comes back. It hears keyed nodes, so it takes office at the end of validate, and the orphans
        // try its claim. The new office knows neither of them before it has come, so it cannot wait for the other.
        lan.hellos.strict = false;
        lan.start(2);
        lan.expect(40_000, "the router serves again", |lan| {
            lan.nodes[2].role() == Role::Gcks
        });
        lan.settle(30_000);
        assert_eq!(lan.gcks(), 2);
    });
}

/// Member, authenticated HANDOFF to me: GCKS.
#[test]
fn member_handed_the_office() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let key = lan.key_of(0);
        lan.hand_off(2);
        lan.expect(2_000, "the successor serves", |lan| {
            lan.nodes[1].role() == Role::Gcks
        });
        assert_eq!(lan.key_of(1), key);
        lan.settle(10_000);
        assert_eq!(lan.gcks(), 1);
        nothing_refused(&mut lan);
    });
}

/// GCKS, successor's authenticated state is GCKS: Member, joining it.
#[test]
fn gcks_succeeded() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.hand_off(2);
        lan.succeed(2, 10_000);
        assert_eq!(roles(&lan.nodes[2]), [Role::Initial, Role::Gcks, Role::Member]);
        assert_eq!(lan.nodes[2].engine().gcks(), Some(&lan.nodes[1].identity));
        assert_eq!(lan.nodes[2].engine().counters().handoffs, 1);
        nothing_refused(&mut lan);
    });
}

/// GCKS, a better GCKS proved itself: GCKS while it merges, at its end Member.
#[test]
fn gcks_meets_a_better_one() {
    seeds(5, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.partition(&[&[0, 1], &[2, 3]]);
        lan.start_all();
        lan.settle(8_000);
        assert_eq!(
            (lan.nodes[1].role(), lan.nodes[3].role()),
            (Role::Gcks, Role::Gcks)
        );
        lan.heal();
        lan.settle(40_000);
        assert_eq!(lan.gcks(), 3, "both had members, so rank decides");
        assert_eq!(roles(&lan.nodes[1]), [Role::Initial, Role::Gcks, Role::Member]);
        assert_eq!(lan.nodes[1].engine().counters().merges, 1);
        nothing_refused(&mut lan);
    });
}

/// Any, leave: the GCKS hands off, announces LEAVING and forgets the group keys.
#[test]
fn gcks_leaves() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.record = Some(Vec::new());
        lan.command(2, Command::Leave).unwrap();
        lan.expect(15_000, "it is gone", |lan| lan.nodes[2].role() == Role::Left);
        let last = lan.record.as_ref().unwrap().iter().rev().find_map(|sent| {
            (sent.by == Some(2))
                .then(|| peek::election(&sent.octets))
                .flatten()
        });
        assert_ne!(
            last.unwrap().flags & peek::ElectionState::LEAVING,
            0,
            "the last it says is that it leaves"
        );
        assert!(
            lan.nodes[2].rows(lan.now).is_empty(),
            "it forgets the group's keys"
        );
        lan.settle(10_000);
        assert_eq!(lan.gcks(), 1);
        assert_eq!(
            roles(&lan.nodes[0]),
            [Role::Initial, Role::Member],
            "a change without a gap"
        );
        nothing_refused(&mut lan);
        lan.record = Some(Vec::new());
        lan.run(20_000);
        let late = lan
            .record
            .as_ref()
            .unwrap()
            .iter()
            .filter(|sent| sent.by == Some(2))
            .count();
        assert_eq!(late, 0, "a node that left announces, listens and serves no more");
    });
}

/// Any, leave: a member goes, and the GCKS waits for it no longer.
#[test]
fn member_leaves() {
    seeds(5, |seed| {
        let mut lan = Lan::settled(seed, 3);
        lan.command(0, Command::Leave).unwrap();
        lan.expect(2_000, "it is gone", |lan| lan.nodes[0].role() == Role::Left);
        assert!(lan.nodes[0].rows(lan.now).is_empty());
        lan.expect(2_000, "the GCKS tells of it", |lan| {
            lan.nodes[2].saw(|e| matches!(e, Event::PeerLeft { .. }))
        });
        assert_eq!(lan.gcks(), 2);
        // It may come back; it may have sent with the key in force, so it waits for the next one (promise 8).
        lan.command(0, Command::Join).unwrap();
        lan.settle(30_000);
        nothing_refused(&mut lan);
    });
}

/// Any, leave: a router that never joined anything leaves as well, and nobody minds.
#[test]
fn initial_leaves() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 2);
        lan.start_all();
        lan.run(1_000);
        lan.command(1, Command::Leave).unwrap();
        lan.expect(2_000, "it is gone", |lan| lan.nodes[1].role() == Role::Left);
        lan.settle(8_000);
        assert_eq!(lan.gcks(), 0);
    });
}
