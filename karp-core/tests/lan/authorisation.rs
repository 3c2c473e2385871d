//! Who may join, who may serve, and what a wrong proof costs: the group in office is untouched (section 4).

use karp_core::{
    error::{ConfigError, DropReason},
    identity::{Grant, Identity},
    io::{Alarm, Handled, Recv, Role},
};

use super::{
    common::{
        Lan,
        credentials::Proof,
        forge,
        node::TestEngine,
        peek,
        room::{Room, Sizes},
        seeds,
        wire::Injection,
    },
    nothing_refused, roles,
};

/// Two routers in office, a third that they would refuse, and a minute of its trying.
fn intruder(seed: u64, proof: Proof, prepare: impl Fn(&mut Lan)) -> Lan {
    let mut lan = Lan::new(seed);
    lan.proof = proof;
    lan.add(3);
    lan.nodes[2].realm = 1;
    lan.nodes[2].set(|s| s.priority = 0);
    prepare(&mut lan);
    lan.start(0);
    lan.start(1);
    lan.settle(8_000);
    let key = lan.key_of(1);
    lan.start(2);
    lan.run(60_000);
    assert!(!lan.nodes[2].is_keyed(), "seed {seed}: it is nobody here");
    assert!(lan.nodes[2].rows(lan.now).is_empty());
    assert!(lan.is_one_group(&[0, 1]));
    assert_eq!(lan.key_of(1), key, "nothing in office changed for it");
    assert_eq!(roles(&lan.nodes[1]), [Role::Initial, Role::Gcks]);
    nothing_refused(&mut lan);
    lan
}

#[test]
fn a_wrong_pre_shared_key() {
    seeds(3, |seed| {
        let lan = intruder(seed, Proof::PairKeys, |lan| {
            let others: Vec<Identity> = lan.nodes[..2].iter().map(|node| node.identity.clone()).collect();
            others.iter().for_each(|other| lan.nodes[2].store.spoil(other));
        });
        assert!(lan.nodes[1].engine().counters().dropped(DropReason::BadProof) > 0);
        assert!(
            lan.nodes[2].told.alarms.contains(&Alarm::ProofRefused),
            "it is told what is wrong"
        );
    });
}

#[test]
fn a_wrong_public_key() {
    seeds(3, |seed| {
        let lan = intruder(seed, Proof::Signatures, |lan| {
            let intruder = lan.nodes[2].identity.clone();
            lan.nodes[0].store.spoil(&intruder);
            lan.nodes[1].store.spoil(&intruder);
        });
        assert!(lan.nodes[1].engine().counters().dropped(DropReason::BadProof) > 0);
    });
}

#[test]
fn an_unknown_identity() {
    for proof in [Proof::PairKeys, Proof::Signatures] {
        seeds(2, |seed| {
            drop(intruder(seed, proof, |lan| {
                let intruder = lan.nodes[2].identity.clone();
                for at in [0, 1] {
                    let store = &mut lan.nodes[at].store;
                    store.grants.remove(&intruder);
                    store.keys.remove(&intruder);
                    store.public.remove(&intruder);
                }
            }));
        });
    }
}

#[test]
fn an_identity_that_may_not_join() {
    seeds(3, |seed| {
        let lan = intruder(seed, Proof::PairKeys, |lan| {
            let intruder = lan.nodes[2].identity.clone();
            for at in [0, 1] {
                lan.nodes[at].store.grant(&intruder, Grant::NONE);
            }
        });
        assert!(lan.nodes[2].told.alarms.contains(&Alarm::NotAuthorised));
        assert!(
            lan.nodes[1]
                .engine()
                .counters()
                .dropped(DropReason::NotAuthorised)
                > 0
        );
    });
}

/// Who proves itself and may not serve is refused as a GCKS and penalised; whoever may serve goes past it.
#[test]
fn a_server_that_may_not_serve() {
    seeds(4, |seed| {
        let mut lan = Lan::of(seed, 3);
        let usurper = lan.nodes[0].identity.clone();
        for at in [1, 2] {
            lan.nodes[at].store.grant(&usurper, Grant::MEMBER);
        }
        lan.start(0);
        lan.settle(6_000);
        lan.start(1);
        lan.start(2);
        lan.run(1_000);
        assert!(
            !lan.nodes[1].is_keyed() && !lan.nodes[2].is_keyed(),
            "nobody registers with it"
        );
        // They take office whatever its announcements say, and it yields to the proof of a better one.
        lan.settle(90_000);
        assert_ne!(lan.gcks(), 0, "seed {seed}");
    });
}

/// The same while it is not configured to know of it: a member that may not serve is never handed the office.
#[test]
fn a_member_that_may_not_serve_is_no_successor() {
    seeds(3, |seed| {
        let mut lan = Lan::of(seed, 3);
        let never = lan.nodes[1].identity.clone();
        for at in 0..3 {
            lan.nodes[at].store.grant(&never, Grant::MEMBER);
        }
        lan.start_all();
        lan.settle(40_000);
        assert_eq!(lan.gcks(), 2);
        lan.hand_off(2);
        lan.succeed(2, 20_000);
        assert_eq!(lan.gcks(), 0, "seed {seed}: r2 ranks higher and may not serve");
        nothing_refused(&mut lan);
    });
}

/// Somebody has our name and even our key: it is refused, and the real one is untouched.
#[test]
fn a_twin_identity() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let address = lan.address_of(77);
        let twin = forge::hint("lan", "r3", [9; 8], 1, &forge::pretender());
        for _ in 0..20 {
            lan.inject(Injection::new(address, lan.multicast(), twin.clone()));
            lan.run(500);
        }
        assert_eq!(lan.gcks(), 2);
        assert!(lan.nodes.iter().all(|node| roles(node).len() == 2));
        nothing_refused(&mut lan);
    });
}

/// GTSM: what does not come with hop limit 255 is dropped before it is parsed.
#[test]
fn another_hop_limit() {
    let mut lan = Lan::settled(1, 2);
    lan.record = Some(Vec::new());
    lan.run(3_000);
    for sent in lan.record.take().unwrap() {
        for hop_limit in [Some(254), Some(1), Some(0), None] {
            for at in 0..2 {
                let recv = Recv {
                    from: sent.from,
                    to: sent.to,
                    hop_limit,
                };
                assert_eq!(
                    lan.hand(at, recv, &sent.octets),
                    Handled::Dropped(DropReason::HopLimit)
                );
                assert_eq!(
                    lan.hand(at, recv, &[0xff; 7]),
                    Handled::Dropped(DropReason::HopLimit),
                    "before parsing"
                );
            }
        }
    }
    assert!(lan.nodes[0].engine().counters().dropped(DropReason::HopLimit) > 0);
}

/// Switched off by name, any hop limit will do.
#[test]
fn gtsm_can_be_switched_off() {
    let mut lan = Lan::of(1, 1);
    lan.nodes[0].set(|s| s.gtsm = false);
    lan.start(0);
    let hint = forge::hint("lan", "r9", [9; 8], 1, &forge::pretender());
    let recv = Recv {
        from: lan.address_of(9),
        to: lan.multicast(),
        hop_limit: Some(3),
    };
    assert_eq!(lan.hand(0, recv, &hint), Handled::Accepted);
}

/// Messages of another group, of another version, to the wrong destination: counted by reason.
#[test]
fn strays_are_counted_by_reason() {
    let mut lan = Lan::of(1, 1);
    lan.start(0);
    let (from, group, own) = (lan.address_of(9), lan.multicast(), lan.nodes[0].address);
    let recv = |to| Recv {
        from,
        to,
        hop_limit: Some(255),
    };
    let mut state = forge::pretender();
    let other = forge::hint("another", "r9", [9; 8], 1, &state);
    assert_eq!(
        lan.hand(0, recv(group), &other),
        Handled::Dropped(DropReason::OtherGroup)
    );
    let good = forge::hint("lan", "r9", [9; 8], 1, &state);
    assert_eq!(
        lan.hand(0, recv(own), &good),
        Handled::Dropped(DropReason::WrongDestination)
    );
    state.version = 2;
    let newer = forge::hint("lan", "r9", [9; 8], 1, &state);
    assert_eq!(
        lan.hand(0, recv(group), &newer),
        Handled::Dropped(DropReason::OtherVersion)
    );
    let unknown = forge::Forge::new([1; 8], [0; 8], 200, peek::INITIATOR, 0).finish();
    assert_eq!(
        lan.hand(0, recv(own), &unknown),
        Handled::Dropped(DropReason::UnknownExchange)
    );
    let nobodys = forge::Forge::new([1; 8], [2; 8], peek::INFORMATIONAL, 0, 0)
        .payload(peek::SK, &[0; 40])
        .finish();
    assert_eq!(
        lan.hand(0, recv(own), &nobodys),
        Handled::Dropped(DropReason::UnknownSpi)
    );
    let update =
        forge::Forge::new([1; 8], [2; 8], peek::GSA_REKEY, peek::INITIATOR, 0).payload(peek::SK, &[0; 40]);
    assert_eq!(
        lan.hand(0, recv(group), &update.finish()),
        Handled::Dropped(DropReason::UnknownSpi)
    );
    assert_eq!(
        lan.hand(0, recv(own), &[]),
        Handled::Dropped(DropReason::Malformed)
    );
    assert_eq!(lan.nodes[0].engine().counters().dropped_total(), 7);
}

/// A router that is not granted to join itself cannot be configured, nor one without room.
#[test]
fn an_engine_cannot_be_built_from_a_bad_configuration() {
    use karp_core::{config::Config, time::Instant};
    let lan = Lan::of(1, 2);
    let build = |store, sizes| {
        let config = Config::new(lan.nodes[0].settings("lan", 0, &[])).unwrap();
        let entropy = super::common::dice::generator(1, 1);
        TestEngine::new(config, store, entropy, Room::new(sizes), Instant::ZERO).err()
    };
    let mut store = lan.nodes[0].store.clone();
    assert_eq!(build(store.clone(), Sizes::SERVER), None);
    for sizes in [
        Sizes {
            peers: 0,
            ..Sizes::SERVER
        },
        Sizes {
            keys: 7,
            ..Sizes::SERVER
        },
        Sizes {
            handshakes: 1,
            ..Sizes::SERVER
        },
        Sizes {
            sealed: 1,
            ..Sizes::SERVER
        },
    ] {
        assert!(
            matches!(build(store.clone(), sizes), Some(ConfigError::Storage { .. })),
            "{sizes:?}"
        );
    }
    store.grant(&lan.nodes[0].identity, Grant::NONE);
    assert_eq!(build(store, Sizes::SERVER), Some(ConfigError::OwnGrant));
}
