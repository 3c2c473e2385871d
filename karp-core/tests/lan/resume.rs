//! The key management of a router restarts while its routing protocols run on: its next engine is given the keys that
//! the host kept (section 8), the group takes it for continuing, and nobody refuses a packet.

use karp_core::{
    algorithm::RoutingProtocol,
    command::{Command, RekeyReason},
    io::{Alarm, Event, Role},
    time::Duration,
};

use super::{
    common::{Lan, Link, node::Host, peek, seeds},
    completed, nothing_refused, roles, started,
};

const REKEY: Command<'_> = Command::Rekey {
    protocol: RoutingProtocol::Ospfv2,
    reason: RekeyReason::Operator,
};

/// A group of four that has settled, on a bad link for every second seed; for every third the hosts fill daemons and
/// confirm.
fn group(seed: u64) -> Lan {
    let mut lan = Lan::of(seed, 4);
    if seed.is_multiple_of(3) {
        for node in &mut lan.nodes {
            node.host = Host::Confirms(200);
        }
    }
    lan.start_all();
    lan.settle(20_000);
    lan.run(12_000);
    lan.link = if seed.is_multiple_of(2) {
        Link::lossy(20)
    } else {
        Link::CLEAN
    };
    lan
}

#[test]
fn a_member_restarts_and_is_continuing() {
    seeds(12, |seed| {
        let mut lan = group(seed);
        let (key, rollovers) = (lan.key_of(3), started(&lan.nodes[3]));
        let down = lan.dice.below(3_000);
        lan.restart_keying(0, down);
        let took = lan.settle(20_000);
        assert!(
            took <= 400 || lan.link != Link::CLEAN,
            "seed {seed}: {took} ms until it is given the state"
        );
        lan.run(20_000);
        lan.settle(1_000);
        assert_eq!(lan.key_of(0), key, "seed {seed}: the key stays");
        assert_eq!(
            started(&lan.nodes[3]),
            rollovers,
            "seed {seed}: no rollover is started for it"
        );
        assert_eq!(
            roles(&lan.nodes[0]),
            [Role::Initial, Role::Member],
            "seed {seed}: it waits for nothing"
        );
        assert!(
            (1..4).all(|at| roles(&lan.nodes[at]).len() == 2),
            "seed {seed}: nobody else was troubled"
        );
        assert!(
            lan.nodes[0].told.alarms.is_empty(),
            "seed {seed}: {:?}",
            lan.nodes[0].told.alarms
        );
        nothing_refused(&mut lan);
    });
}

#[test]
fn a_member_restarts_in_a_rollover() {
    seeds(24, |seed| {
        let mut lan = group(seed);
        let (key, rollovers) = (lan.key_of(3), started(&lan.nodes[3]));
        lan.command(3, REKEY).unwrap();
        let after = lan.dice.below(3_500);
        lan.run(after);
        let down = lan.dice.below(3_000);
        lan.restart_keying(0, down);
        lan.expect(60_000, "all send with the new key", |lan| {
            lan.is_settled() && lan.key_of(0) != key
        });
        lan.run(20_000);
        assert_eq!(
            started(&lan.nodes[3]),
            rollovers + 1,
            "seed {seed}: the one that was asked for"
        );
        nothing_refused(&mut lan);
    });
}

/// The key server's restarts within hold or after it: an heir takes office meanwhile, waits for it, and only then makes
/// its own key.
fn the_gcks_restarts(seed: u64, down: u64, rollover: bool) {
    let mut lan = group(seed);
    if rollover {
        lan.command(3, REKEY).unwrap();
        let after = lan.dice.below(3_500);
        lan.run(after);
    }
    lan.restart_keying(3, down);
    lan.settle(60_000);
    lan.run(20_000);
    lan.settle(20_000);
    if lan.link == Link::CLEAN {
        assert_eq!(lan.gcks(), 2, "seed {seed}: the heir stays");
        assert_eq!(
            roles(&lan.nodes[3]),
            [Role::Initial, Role::Member],
            "seed {seed}: it is given the state at once"
        );
        assert_eq!(
            completed(&lan.nodes[2]),
            1,
            "seed {seed}: the heir's own rollover serves all"
        );
    }
    nothing_refused(&mut lan);
}

#[test]
fn the_gcks_restarts_within_hold() {
    seeds(12, |seed| {
        let down = Lan::new(seed).dice.below(3_500);
        the_gcks_restarts(seed, down, false);
    });
}

#[test]
fn the_gcks_restarts_after_hold() {
    seeds(12, |seed| {
        let down = Lan::new(seed).dice.between(4_000, 7_000);
        the_gcks_restarts(seed, down, false);
    });
}

#[test]
fn the_gcks_restarts_in_a_rollover() {
    seeds(24, |seed| {
        let down = Lan::new(seed).dice.below(6_000);
        the_gcks_restarts(seed, down, true);
    });
}

/// All restart, one after the other or at once, some of them in a rollover.
#[test]
fn all_restart() {
    seeds(12, |seed| {
        let mut lan = group(seed);
        if seed.is_multiple_of(4) {
            lan.command(3, REKEY).unwrap();
            let after = lan.dice.below(3_000);
            lan.run(after);
        }
        let order = lan.dice.shuffled((0..4).collect::<Vec<usize>>());
        for at in &order {
            lan.stop_keying(*at);
        }
        lan.run(500);
        for at in order {
            lan.start(at);
            // All within a hold: an office cannot wait for a router that it never heard.
            let gap = lan.dice.below(800);
            lan.run(gap);
        }
        lan.settle(60_000);
        lan.run(30_000);
        lan.settle(20_000);
        nothing_refused(&mut lan);
    });
}

/// It is back under another address, as after the interface was renumbered.
#[test]
fn a_router_restarts_on_another_address() {
    seeds(12, |seed| {
        let mut lan = group(seed);
        let at = if seed.is_multiple_of(4) { 3 } else { 0 };
        let (key, rollovers) = (lan.key_of(3), started(&lan.nodes[3]));
        lan.stop_keying(at);
        lan.nodes[at].address = lan.address_of(40);
        let down = lan.dice.below(2_000);
        lan.run(down);
        lan.start(at);
        lan.settle(60_000);
        lan.run(20_000);
        lan.settle(20_000);
        if at == 0 {
            assert_eq!(lan.key_of(0), key, "seed {seed}");
            assert_eq!(
                started(&lan.nodes[3]),
                rollovers,
                "seed {seed}: no rollover is started for it"
            );
        }
        nothing_refused(&mut lan);
    });
}

/// It is never live without a key management for longer than hold and a push: what the group does then, its routing
/// protocols cannot follow. Back in time before the old key is gone, it takes the new one and nobody refused anything.
#[test]
fn a_member_is_down_for_long_and_comes_back() {
    seeds(8, |seed| {
        let mut lan = group(seed);
        let key = lan.key_of(3);
        lan.restart_keying(0, 60_000);
        lan.settle(20_000);
        assert_eq!(lan.key_of(0), key, "seed {seed}: nothing happened meanwhile");
        nothing_refused(&mut lan);
    });
}

/// A host that fills a daemon confirms what it was told of the keys that it kept; before that nothing counts as
/// installed there, and a rollover waits.
#[test]
fn nothing_counts_as_installed_before_the_host_says_so() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.nodes[0].host = Host::Confirms(200);
        lan.start_all();
        lan.settle(20_000);
        lan.run(12_000);
        lan.nodes[0].host = Host::Confirms(9_000);
        lan.record = Some(Vec::new());
        lan.restart_keying(0, 500);
        lan.run(3_000);
        assert!(
            lan.nodes[0].is_keyed(),
            "seed {seed}: it is given the state at once"
        );
        assert!(
            lan.nodes[0].told.alarms.contains(&Alarm::InstallPending),
            "seed {seed}"
        );
        let record = lan.record.take().unwrap();
        let mut said = record.iter().rev().filter(|sent| sent.by == Some(0));
        let said = said.find_map(|sent| peek::election(&sent.octets)).unwrap();
        assert_eq!(
            (said.generation, said.spi),
            (0, [0; 16]),
            "seed {seed}: it acknowledges nothing yet"
        );
        let asked = lan.now;
        let key = lan.key_of(3);
        lan.command(3, REKEY).unwrap();
        lan.expect(60_000, "all send with the new key", |lan| {
            lan.is_settled() && lan.key_of(0) != key
        });
        assert!(lan.now >= asked + 9_000, "seed {seed}: it was waited for");
        assert!(!lan.nodes[3].saw(|event| matches!(
            event,
            Event::Alarm {
                alarm: Alarm::ActivatedWithoutAll,
                ..
            }
        )));
        nothing_refused(&mut lan);
    });
}

/// Keys of each use come back as what they were: the one to send with, the one that it never sent with, and those that it
/// stopped sending with.
#[test]
fn uses_are_kept() {
    use karp_core::config::KeyUse;
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 4);
        lan.set(|s| s.min_rekey = Duration::from_secs(1));
        lan.start_all();
        lan.settle(20_000);
        lan.run(12_000);
        lan.command(3, REKEY).unwrap();
        lan.run(6_000);
        lan.settle(10_000);
        lan.nodes[1].host = Host::Hangs;
        // The next one stays Pending: r2 is told of it, and does not hear that it is Active.
        lan.command(3, REKEY).unwrap();
        let pending = |lan: &Lan| {
            let rows = lan.nodes[0].rows(lan.now);
            rows.iter()
                .any(|row| row.state == super::common::keys::State::Pending)
        };
        lan.expect(3_000, "a Pending key", pending);
        let before = lan.nodes[0].rows(lan.now).len();
        let uses = |lan: &Lan| {
            let node = &lan.nodes[0];
            let keys = node.engine().resumable_keys(node.clock.local(lan.now));
            let mut uses: Vec<(KeyUse, u16)> = keys.map(|key| (key.usage, key.id)).collect();
            assert_eq!(
                uses[0].0,
                KeyUse::Sending,
                "the one that is sent with comes first"
            );
            uses.sort();
            uses
        };
        let kept = uses(&lan);
        assert_eq!(
            kept.iter().map(|(usage, _)| *usage).collect::<Vec<_>>(),
            [KeyUse::Unsent, KeyUse::Stopped, KeyUse::Sending]
        );
        lan.stop_keying(0);
        lan.boot(0);
        assert_eq!(uses(&lan), kept, "seed {seed}");
        assert_eq!(lan.nodes[0].rows(lan.now).len(), before);
        lan.command(0, Command::Join).unwrap();
        lan.settle(20_000);
        lan.run(20_000);
        nothing_refused(&mut lan);
    });
}
