//! A router is put out, and every key changes (section 7).

use karp_core::{command::Command, error::CommandError, identity::Identity, io::Event, time::Duration};

use super::common::{Lan, Link, credentials::Proof, seeds};

fn evict(lan: &mut Lan, gone: usize) {
    let gcks = lan.gcks();
    let who = lan.nodes[gone].identity.clone();
    lan.command(gcks, Command::Evict(&who)).unwrap();
}

#[test]
fn everybody_else_is_rekeyed() {
    seeds(6, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.link = if seed % 2 == 0 { Link::BAD } else { Link::CLEAN };
        lan.start_all();
        lan.settle(40_000);
        let (key, spi) = (lan.key_of(1), lan.nodes[1].engine().rekey_sa_spi());
        let gcks = lan.gcks();
        let gone = if gcks == 0 { 1 } else { 0 };
        evict(&mut lan, gone);
        let rest: Vec<usize> = (0..5).filter(|at| *at != gone).collect();
        lan.expect(40_000, "the rest has a new key", |lan| {
            lan.is_one_group(&rest)
                && lan.key_of(gcks) != key
                && lan.nodes[gcks].engine().rekey_sa_spi() != spi
        });
        lan.run(3_000);
        // All older keys are deleted without overlap: what the evicted router sends is refused from now on.
        for at in &rest {
            let rows = lan.nodes[*at].rows(lan.now);
            assert!(
                rows.iter().all(|row| Some(&row.octets) != key.as_ref()),
                "seed {seed}: the old key is gone"
            );
        }
        assert!(lan.nodes[gcks].saw(|e| matches!(e, Event::PeerLeft { .. })));
        assert_eq!(lan.nodes[gcks].engine().counters().evictions, 1);
        assert_ne!(lan.key_of(gone), lan.key_of(gcks));
    });
}

/// In the middle of a rollover: it is abandoned first.
#[test]
fn in_the_middle_of_a_rollover() {
    seeds(8, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.link = Link::lossy(20);
        let rekey = Command::Rekey {
            protocol: karp_core::algorithm::RoutingProtocol::Ospfv2,
            reason: karp_core::command::RekeyReason::Compromise,
        };
        lan.command(4, rekey).unwrap();
        let after = lan.dice.below(2_000);
        lan.run(after);
        evict(&mut lan, 1);
        lan.expect(60_000, "the rest is one group", |lan| {
            lan.is_one_group(&[0, 2, 3, 4]) && lan.key_of(1) != lan.key_of(4)
        });
        lan.run(40_000);
        assert!(lan.is_one_group(&[0, 2, 3, 4]));
    });
}

#[test]
fn several_one_after_the_other() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 6);
        evict(&mut lan, 0);
        let after = lan.dice.below(3_000);
        lan.run(after);
        evict(&mut lan, 1);
        lan.expect(60_000, "the rest is one group", |lan| {
            lan.is_one_group(&[2, 3, 4, 5])
                && lan.key_of(0) != lan.key_of(5)
                && lan.key_of(1) != lan.key_of(5)
        });
        lan.run(30_000);
        assert!(lan.is_one_group(&[2, 3, 4, 5]));
    });
}

/// A member that is silent does not hold it up for longer than 2 x hold.
#[test]
fn a_silent_member_does_not_hold_it_up() {
    seeds(4, |seed| {
        let mut lan = Lan::settled(seed, 5);
        lan.crash(2);
        let key = lan.key_of(4);
        evict(&mut lan, 0);
        let took = lan.expect(12_000, "the rest is rekeyed", |lan| {
            lan.is_one_group(&[1, 3, 4]) && lan.key_of(4) != key
        });
        assert!(took <= 10_000, "seed {seed}: {took} ms, 2 x hold is 8 s");
    });
}

#[test]
fn it_is_refused_with_the_reason() {
    seeds(1, |seed| {
        let mut lan = Lan::new(seed);
        lan.proof = Proof::OneKey;
        lan.add(3);
        lan.start_all();
        lan.settle(8_000);
        let (other, own) = (lan.nodes[0].identity.clone(), lan.nodes[2].identity.clone());
        let key = lan.key_of(2);
        assert_eq!(
            lan.command(2, Command::Evict(&other)),
            Err(CommandError::SharedKey)
        );
        assert_eq!(
            lan.command(2, Command::Evict(&own)),
            Err(CommandError::OwnIdentity)
        );
        assert_eq!(lan.command(0, Command::Evict(&own)), Err(CommandError::NotGcks));
        let nobody = Identity::fqdn("nobody.example").unwrap();
        assert_eq!(
            lan.command(2, Command::Evict(&nobody)),
            Err(CommandError::UnknownIdentity)
        );
        lan.run(5_000);
        assert_eq!(lan.key_of(2), key, "nothing changed");
        assert!(lan.is_settled());
    });
}

/// With public keys, evicting is always possible.
#[test]
fn with_raw_public_keys() {
    seeds(3, |seed| {
        let mut lan = Lan::new(seed);
        lan.proof = Proof::Signatures;
        lan.add(4);
        lan.start_all();
        lan.settle(8_000);
        evict(&mut lan, 1);
        lan.expect(20_000, "the rest is rekeyed", |lan| {
            lan.is_one_group(&[0, 2, 3]) && lan.key_of(1) != lan.key_of(3)
        });
    });
}

/// EVICTED is remembered for a Rekey SA lifetime and no longer, so that a list cannot grow for ever.
#[test]
fn it_is_forgotten_after_a_rekey_sa_lifetime() {
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 3);
        lan.set(|s| s.rekey_sa_lifetime = Duration::from_secs(120));
        lan.start_all();
        lan.settle(8_000);
        evict(&mut lan, 0);
        lan.run(100_000);
        assert!(lan.is_one_group(&[1, 2]));
        assert_ne!(lan.key_of(0), lan.key_of(2));
        // It is let in again: by then its credential should be gone from the stores.
        let now = lan.now;
        for node in &mut lan.nodes {
            (node.realm, node.realm_since) = (9, now);
        }
        lan.hellos.strict = false;
        lan.expect(300_000, "all are one group", |lan| lan.is_one_group(&[0, 1, 2]));
    });
}
