//! From power to one GCKS and one key.

use karp_core::{io::Role, time::Duration};

use super::{
    common::{Lan, Link, credentials::Proof, lan::Family, node::Node, seeds},
    nothing_refused, roles,
};

/// How long a start may take: the wait is four hellos, the rest is messages.
const CLEAN: u64 = 7_000;
/// The same where a tenth is lost, doubled and out of order.
const BAD: u64 = 30_000;

fn start(seed: u64, count: usize, link: Link, spread: Option<u64>, limit: u64) -> Lan {
    let mut lan = Lan::of(seed, count);
    lan.link = link;
    match spread {
        Some(spread) => lan.start_staggered(spread),
        None => lan.start_all(),
    }
    lan.settle(limit);
    lan.run(5_000);
    assert!(lan.is_settled(), "seed {seed}: what settled stays settled");
    nothing_refused(&mut lan);
    lan
}

#[test]
fn two_at_once() {
    seeds(5, |seed| {
        let lan = start(seed, 2, Link::CLEAN, None, CLEAN);
        assert_eq!(lan.gcks(), 1, "the higher router id serves");
        assert_eq!(roles(&lan.nodes[0]).last(), Some(&Role::Member));
    });
}

#[test]
fn three_at_once() {
    seeds(5, |seed| {
        assert_eq!(start(seed, 3, Link::CLEAN, None, CLEAN).gcks(), 2)
    });
}

#[test]
fn ten_at_once() {
    seeds(3, |seed| {
        assert_eq!(start(seed, 10, Link::CLEAN, None, CLEAN).gcks(), 9)
    });
}

#[test]
fn fifty_at_once() {
    seeds(2, |seed| {
        assert_eq!(start(seed, 50, Link::CLEAN, None, 15_000).gcks(), 49)
    });
}

#[test]
fn two_at_once_on_a_bad_link() {
    seeds(8, |seed| drop(start(seed, 2, Link::BAD, None, BAD)));
}

#[test]
fn three_at_once_on_a_bad_link() {
    seeds(8, |seed| drop(start(seed, 3, Link::BAD, None, BAD)));
}

#[test]
fn ten_at_once_on_a_bad_link() {
    seeds(3, |seed| drop(start(seed, 10, Link::BAD, None, BAD)));
}

#[test]
fn fifty_at_once_on_a_bad_link() {
    seeds(1, |seed| drop(start(seed, 50, Link::BAD, None, 60_000)));
}

#[test]
fn three_staggered() {
    seeds(5, |seed| drop(start(seed, 3, Link::CLEAN, Some(3_000), CLEAN)));
}

#[test]
fn ten_staggered_on_a_bad_link() {
    seeds(3, |seed| drop(start(seed, 10, Link::BAD, Some(2_000), BAD)));
}

#[test]
fn fifty_staggered() {
    seeds(1, |seed| drop(start(seed, 50, Link::CLEAN, Some(400), 15_000)));
}

#[test]
fn with_one_key_for_all() {
    seeds(3, |seed| {
        let mut lan = Lan::new(seed);
        lan.proof = Proof::OneKey;
        lan.add(5);
        lan.link = Link::BAD;
        lan.start_all();
        lan.settle(BAD);
        nothing_refused(&mut lan);
    });
}

#[test]
fn with_raw_public_keys() {
    seeds(3, |seed| {
        let mut lan = Lan::new(seed);
        lan.proof = Proof::Signatures;
        lan.add(5);
        lan.link = Link::BAD;
        lan.start_all();
        lan.settle(BAD);
        nothing_refused(&mut lan);
    });
}

#[test]
fn without_controller_signatures() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 5);
        lan.set(|s| s.controller_signatures = false);
        lan.link = Link::BAD;
        lan.start_all();
        lan.settle(BAD);
        let gcks = lan.gcks();
        lan.crash(gcks);
        lan.settle(BAD);
        nothing_refused(&mut lan);
    });
}

#[test]
fn over_ipv6() {
    seeds(2, |seed| {
        let mut lan = Lan::new(seed);
        lan.family = Family::V6;
        lan.add(3);
        lan.start_all();
        lan.settle(CLEAN);
        nothing_refused(&mut lan);
    });
}

/// Two groups on one link, each with its own routers: neither knows of the other (section 1).
#[test]
fn two_groups_on_one_link() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 6);
        for at in 3..6 {
            lan.nodes[at].realm = 1;
            lan.nodes[at].set(|s| s.group = heapless_name("other"));
        }
        lan.start_all();
        lan.settle(CLEAN);
        let serving: Vec<_> = lan.nodes.iter().map(Node::role).collect();
        assert_eq!(serving[2], Role::Gcks);
        assert_eq!(serving[5], Role::Gcks);
        assert_ne!(lan.key_of(2), lan.key_of(5));
    });
}

/// Several routing protocols at once: one traffic key, a key of its own for each (section 6).
#[test]
fn several_protocols_in_one_group() {
    use karp_core::{
        algorithm::{RoutingAlgorithm, RoutingProtocol},
        config::ProtocolPolicy,
    };
    seeds(2, |seed| {
        let mut lan = Lan::of(seed, 3);
        let policy = |protocol, algorithm| ProtocolPolicy {
            protocol,
            algorithm,
            self_protecting: false,
        };
        lan.set(move |s| {
            for entry in [
                policy(RoutingProtocol::Isis, RoutingAlgorithm::HmacSha256),
                policy(RoutingProtocol::Ospfv3, RoutingAlgorithm::HmacSha384),
            ] {
                assert!(s.protocols.push(entry).is_ok());
            }
        });
        lan.hellos.protocols = vec![
            RoutingProtocol::Ospfv2,
            RoutingProtocol::Isis,
            RoutingProtocol::Ospfv3,
        ];
        lan.start_all();
        lan.settle(CLEAN);
        lan.run(5_000);
        nothing_refused(&mut lan);
        let rows: Vec<_> = lan
            .hellos
            .protocols
            .iter()
            .map(|p| lan.nodes[0].sending(*p, lan.now).unwrap())
            .collect();
        assert_eq!(rows[0].id, rows[1].id, "one traffic key, one id");
        assert_ne!(
            rows[0].octets, rows[1].octets,
            "no protocol's key tells another's"
        );
        assert_ne!(rows[1].octets, rows[2].octets);
    });
}

/// Clocks that differ by one percent and began anywhere.
#[test]
fn with_clocks_that_drift() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 5);
        for (at, ppm) in [(0, 10_000), (1, -10_000), (2, 3_000), (3, -500)] {
            lan.nodes[at].clock.ppm = ppm;
        }
        lan.set(|s| {
            s.key_lifetime = Duration::from_secs(40);
            s.dtd = Duration::from_secs(5);
        });
        lan.start_all();
        lan.settle(8_000);
        lan.run(300_000);
        lan.settle(5_000);
        nothing_refused(&mut lan);
    });
}

fn heapless_name(name: &str) -> heapless::String<64> {
    heapless::String::try_from(name).unwrap()
}
