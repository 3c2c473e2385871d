//! From manual keys to automatic ones without an adjacency dropping, in any order of the routers (section 7).

use karp_core::{
    algorithm::{RoutingAlgorithm, RoutingProtocol},
    command::{Command, RekeyReason},
    config::ManualKey,
    error::CommandError,
    identity::Grant,
    io::Alarm,
};

use super::{
    common::{Lan, Link, seeds},
    nothing_refused,
};

const MANUAL: u16 = 77;
const REKEY: Command<'_> = Command::Rekey {
    protocol: RoutingProtocol::Ospfv2,
    reason: RekeyReason::Operator,
};

/// A network with a manual key on every router, whose hellos flow from the first second. Nobody has joined yet.
fn network(seed: u64, count: usize) -> Lan {
    let mut lan = Lan::of(seed, count);
    lan.set(|s| {
        let key = ManualKey {
            protocol: RoutingProtocol::Ospfv2,
            algorithm: RoutingAlgorithm::HmacSha256,
            id: MANUAL,
            secret: heapless::Vec::from_slice(b"typed in by hand").unwrap(),
        };
        assert!(s.manual_keys.push(key).is_ok());
    });
    let everybody: Vec<_> = lan.nodes.iter().map(|node| node.identity.clone()).collect();
    for node in &mut lan.nodes {
        for identity in &everybody {
            node.store.grant(
                identity,
                Grant {
                    expected: true,
                    ..Grant::FULL
                },
            );
        }
    }
    (0..count).for_each(|at| lan.boot(at));
    lan.run(2_000);
    for at in 0..count {
        for other in (0..count).filter(|other| *other != at) {
            assert!(
                lan.hellos.are_neighbours(at, other),
                "they are neighbours by hand"
            );
        }
    }
    lan
}

fn sends_by_hand(lan: &Lan, at: usize) -> bool {
    lan.nodes[at]
        .sending(RoutingProtocol::Ospfv2, lan.now)
        .unwrap()
        .manual
}

#[test]
fn in_any_order_of_the_routers() {
    seeds(10, |seed| {
        let mut lan = network(seed, 5);
        lan.link = if seed % 2 == 0 { Link::BAD } else { Link::CLEAN };
        let order = lan.dice.shuffled((0..5).collect::<Vec<usize>>());
        for at in &order[..4] {
            lan.command(*at, Command::Join).unwrap();
            let after = lan.dice.below(12_000);
            lan.run(after);
            assert!(
                (0..5).all(|at| sends_by_hand(&lan, at)),
                "one is missing: all send by hand"
            );
        }
        lan.run(15_000);
        let serving = lan.gcks();
        assert!(lan.nodes[serving].told.alarms.contains(&Alarm::MigrationWaits));
        assert!(
            (0..5).all(|at| sends_by_hand(&lan, at)),
            "seed {seed}: one is missing, so all send by hand"
        );
        lan.command(order[4], Command::Join).unwrap();
        lan.expect(40_000, "all send with an automatic key", |lan| {
            lan.is_settled() && (0..5).all(|at| !sends_by_hand(lan, at))
        });
        // The manual key is dropped DTD after the second activation.
        lan.run(60_000);
        assert!(
            lan.nodes
                .iter()
                .all(|n| n.receiving(RoutingProtocol::Ospfv2, MANUAL, lan.now).is_some())
        );
        lan.command(serving, REKEY).unwrap();
        lan.run(20_000);
        assert!(
            lan.nodes
                .iter()
                .all(|n| n.receiving(RoutingProtocol::Ospfv2, MANUAL, lan.now).is_some())
        );
        lan.run(40_000);
        for node in &lan.nodes {
            assert!(
                node.receiving(RoutingProtocol::Ospfv2, MANUAL, lan.now).is_none(),
                "seed {seed}: {}",
                node.name
            );
        }
        nothing_refused(&mut lan);
        for at in 0..5 {
            for other in (0..5).filter(|other| *other != at) {
                assert!(lan.hellos.are_neighbours(at, other), "no adjacency dropped");
            }
        }
    });
}

#[test]
fn all_at_once() {
    seeds(5, |seed| {
        let mut lan = network(seed, 5);
        (0..5).for_each(|at| lan.command(at, Command::Join).unwrap());
        lan.expect(20_000, "all send with an automatic key", |lan| {
            lan.is_settled() && (0..5).all(|at| !sends_by_hand(lan, at))
        });
        assert!(lan.nodes.iter().all(|node| node.told.alarms.is_empty()));
        nothing_refused(&mut lan);
    });
}

/// The operator need not wait for a router that never comes.
#[test]
fn the_operator_says_migrate() {
    seeds(5, |seed| {
        let mut lan = network(seed, 4);
        for at in [1, 2, 3] {
            lan.command(at, Command::Join).unwrap();
        }
        lan.run(30_000);
        let gcks = lan.gcks();
        assert!((0..4).all(|at| sends_by_hand(&lan, at)));
        assert_eq!(lan.command(1, Command::Migrate), Err(CommandError::NotGcks));
        // From here on the router that did not come is left behind: it refuses what it has no key for.
        lan.nodes[0].realm = 5;
        lan.command(gcks, Command::Migrate).unwrap();
        lan.expect(10_000, "the others move over", |lan| {
            (1..4).all(|at| !sends_by_hand(lan, at))
        });
        assert!(sends_by_hand(&lan, 0));
        lan.run(2_000);
        assert!(
            lan.nodes[1]
                .receiving(RoutingProtocol::Ospfv2, MANUAL, lan.now)
                .is_some()
        );
        assert!(
            !lan.nodes[gcks].told.alarms.contains(&Alarm::MigrationWaits),
            "the alarm ends"
        );
        // It can still be heard, and it joins later.
        lan.nodes[0].realm = 0;
        lan.hellos.excused_until = lan.now + 500;
        lan.command(0, Command::Join).unwrap();
        lan.settle(10_000);
        nothing_refused(&mut lan);
    });
}

#[test]
fn there_is_nothing_to_migrate() {
    let mut lan = Lan::settled(1, 2);
    assert_eq!(
        lan.command(1, Command::Migrate),
        Err(CommandError::NothingToMigrate)
    );
}

/// The GCKS dies while it waits for the last router: the heir waits as well.
#[test]
fn the_gcks_dies_while_it_waits() {
    seeds(6, |seed| {
        let mut lan = network(seed, 5);
        for at in [1, 2, 3, 4] {
            lan.command(at, Command::Join).unwrap();
        }
        lan.run(15_000);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.run(20_000);
        for at in (0..5).filter(|at| *at != gcks) {
            assert!(sends_by_hand(&lan, at), "seed {seed}: two are missing");
        }
        lan.boot(gcks);
        lan.command(gcks, Command::Join).unwrap();
        lan.command(0, Command::Join).unwrap();
        lan.expect(60_000, "all send with an automatic key", |lan| {
            lan.is_settled() && (0..5).all(|at| !sends_by_hand(lan, at))
        });
        nothing_refused(&mut lan);
    });
}

/// A manual row is never touched and its id is never given to a key of ours.
#[test]
fn a_manual_id_is_never_drawn() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.set(|s| {
            s.key_ids = (70, 79);
            let key = ManualKey {
                protocol: RoutingProtocol::Isis,
                algorithm: RoutingAlgorithm::HmacSha256,
                id: MANUAL,
                secret: heapless::Vec::from_slice(b"for another protocol").unwrap(),
            };
            assert!(s.manual_keys.push(key).is_ok());
            s.min_rekey = karp_core::time::Duration::ZERO;
            s.dtd = karp_core::time::Duration::from_secs(1);
        });
        lan.start_all();
        lan.settle(8_000);
        for _ in 0..20 {
            lan.command(2, REKEY).unwrap();
            lan.run(20_000);
            let rows = lan.nodes[0].rows(lan.now);
            assert!(
                rows.iter().any(|row| row.manual && row.id == MANUAL),
                "the manual row stays"
            );
            assert!(
                rows.iter().all(|row| row.manual || row.id != MANUAL),
                "seed {seed}: its id was drawn"
            );
        }
        nothing_refused(&mut lan);
    });
}
