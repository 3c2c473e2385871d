//! Two groups on one link, one router in two roles, and addresses of the other family: what belongs to one is nothing to
//! the other.

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use karp_core::{
    error::DropReason,
    io::{Handled, MessageKind, Recv},
};

use super::{
    attacker::{REKEY, Stand, dropped},
    common::{
        Lan,
        credentials::Proof,
        forge,
        history::nothing_refused,
        lan::Family,
        peek, seeds,
        wire::{Injection, Sent},
    },
};

/// r1 to r3 are of the group "lan", r4 to r6 of "vpn"; all know and trust each other.
fn two_groups(seed: u64, proof: Proof) -> Lan {
    let mut lan = Lan::new(seed);
    lan.proof = proof;
    lan.add(6);
    for at in 3..6 {
        lan.nodes[at].realm = 1;
        lan.nodes[at].set(|s| s.group = heapless::String::try_from("vpn").unwrap());
    }
    lan
}

/// Two groups of the same routers' credentials on one multicast address: each forms by itself, and neither has a key of
/// the other. Everything that one sends is heard by the other, and dropped.
#[test]
fn two_groups_on_one_link() {
    seeds(3, |seed| {
        let mut lan = two_groups(seed, Proof::PairKeys);
        lan.start_all();
        lan.settle(20_000);
        lan.run(10_000);
        let (one, other) = (lan.key_of(0), lan.key_of(3));
        assert!(lan.is_one_group(&[0, 1, 2]) && lan.is_one_group(&[3, 4, 5]));
        assert_ne!(one, other);
        for at in 0..6 {
            assert!(dropped(&lan, at, DropReason::OtherGroup) >= 20, "seed {seed}");
        }
        nothing_refused(&mut lan);
    });
}

/// All that one group says in its life is brought to the other, unicast to the routers of the same place, as from its
/// sender and as from one of their own: no part and no key changes.
#[test]
fn the_words_of_one_group_in_another() {
    seeds(2, |seed| {
        let mut lan = two_groups(seed, Proof::PairKeys);
        lan.record = Some(Vec::new());
        lan.start_all();
        lan.settle(20_000);
        lan.run(9_000);
        lan.command(2, REKEY).unwrap();
        lan.run(12_000);
        let record = lan.record.take().unwrap();
        let said: Vec<Sent> = record
            .into_iter()
            .filter(|s| s.by.is_some_and(|by| by < 3))
            .collect();
        let stand = Stand::of(&lan, &[3, 4, 5]);
        let before: u32 = (3..6)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum();
        let twin = |address: SocketAddr, lan: &Lan| {
            let at = (0..3).find(|at| lan.nodes[*at].address == address);
            at.map_or(address, |at| lan.nodes[at + 3].address)
        };
        for sent in &said {
            for from in [sent.from, twin(sent.from, &lan)] {
                let to = twin(sent.to, &lan);
                lan.inject(Injection::new(from, to, sent.octets.to_vec()));
            }
            lan.run(2);
        }
        let after: u32 = (3..6)
            .map(|at| lan.nodes[at].engine().counters().dropped_total())
            .sum();
        assert!(
            after - before >= 2 * said.len() as u32,
            "seed {seed}: they were heard and dropped"
        );
        stand.holds_with_keys(&lan);
        nothing_refused(&mut lan);
    });
}

/// A newcomer of one group is led to the GCKS of another by an attacker who stands between them. With a key of each pair
/// its proof was made for another; with one key for all it holds, and the group that it names is another
/// (INVALID_GROUP_ID). It is given nothing.
#[test]
fn a_newcomer_led_to_another_group() {
    for proof in [Proof::PairKeys, Proof::OneKey] {
        seeds(2, |seed| {
            let mut lan = two_groups(seed, proof);
            for at in 2..6 {
                lan.start(at);
            }
            lan.settle(20_000);
            let (there, here) = (lan.nodes[5].address, lan.nodes[2].address);
            let until = lan.now + 10_000;
            lan.tap(move |sent, hand| {
                if sent.at >= until {
                    return;
                }
                // r1 asks r3 and is heard by r6; r6 answers and is taken for r3.
                if sent.by == Some(0) && sent.to == here {
                    hand.drop = true;
                    hand.inject
                        .push(Injection::new(sent.from, there, sent.octets.to_vec()));
                }
                if sent.by == Some(5) && !sent.to.ip().is_multicast() {
                    hand.inject
                        .push(Injection::new(here, sent.to, sent.octets.to_vec()));
                }
            });
            let stand = Stand::of(&lan, &[2, 3, 4, 5]);
            let answers = |lan: &Lan| {
                let counters = lan.nodes[5].engine().counters();
                (
                    counters.sent(MessageKind::AuthResponse).messages,
                    counters.handshakes_answered,
                )
            };
            let before = answers(&lan);
            lan.start(0);
            lan.run(10_000);
            let after = answers(&lan);
            assert!(!lan.nodes[0].is_keyed(), "seed {seed}");
            assert!(after.0 > before.0, "seed {seed}: its proof was judged");
            assert_eq!(after.1, before.1, "seed {seed}: it was not taken in");
            lan.settle(40_000);
            stand.holds(&lan);
            nothing_refused(&mut lan);
        });
    }
}

/// The GCKS is made to meet itself: a hint names an honest router at the attacker's address, and whatever the GCKS sends
/// there comes back to it as from there, requests and answers. It proves nothing to itself.
#[test]
fn a_gcks_made_to_meet_itself() {
    seeds(3, |seed| {
        let mut lan = Lan::settled(seed, 3);
        let stand = Stand::of(&lan, &[0, 1, 2]);
        let (mirror, own) = (lan.address_of(90), lan.nodes[2].address);
        let seen: Rc<RefCell<Vec<(u8, bool)>>> = Rc::default();
        let log = Rc::clone(&seen);
        lan.tap(move |sent, hand| {
            if sent.to == mirror {
                let header = sent.header();
                log.borrow_mut().push((header.exchange, header.is_response()));
                hand.inject
                    .push(Injection::new(mirror, own, sent.octets.to_vec()));
            }
        });
        for sequence in 0..40 {
            let hint = forge::hint("lan", "r1", [9; 8], sequence, &forge::pretender());
            lan.inject(Injection::new(mirror, lan.multicast(), hint));
            lan.run(500);
        }
        let seen = seen.borrow();
        for step in [
            (peek::IKE_SA_INIT, false),
            (peek::IKE_SA_INIT, true),
            (peek::GSA_AUTH, false),
            (peek::GSA_AUTH, true),
        ] {
            assert!(seen.contains(&step), "seed {seed}: it never came to {step:?}");
        }
        assert!(dropped(&lan, 2, DropReason::BadProof) > 0, "seed {seed}");
        stand.holds_with_keys(&lan);
        drop(seen);
        nothing_refused(&mut lan);
    });
}

/// The same attacks over IPv6: announcements from another address, reflections, forged claims.
#[test]
fn over_ipv6() {
    seeds(2, |seed| {
        let mut lan = Lan::new(seed);
        lan.family = Family::V6;
        lan.add(4);
        lan.start_all();
        lan.settle(20_000);
        lan.run(3_000);
        let stand = Stand::of(&lan, &[0, 1, 2, 3]);
        let thief = lan.address_of(99);
        lan.tap(move |sent, hand| {
            hand.inject
                .push(Injection::new(thief, sent.to, sent.octets.to_vec()).at_once());
            if sent.to.ip().is_multicast() {
                hand.inject
                    .push(Injection::new(sent.from, sent.from, sent.octets.to_vec()));
            } else {
                hand.inject
                    .push(Injection::new(sent.to, sent.from, sent.octets.to_vec()));
            }
            let hint = forge::hint("lan", "r1", [9; 8], 1, &forge::pretender());
            hand.inject.push(Injection::new(thief, sent.to, hint));
        });
        lan.run(20_000);
        stand.holds_with_keys(&lan);
        assert!(
            (0..4).all(|at| dropped(&lan, at, DropReason::BadSeal) >= 20),
            "seed {seed}: stolen words were tried"
        );
        lan.untap();
        lan.crash(3);
        lan.settle(15_000);
        nothing_refused(&mut lan);
    });
}

/// From an address of the other family, or without a port, a message is what it is: no panic, no change.
#[test]
fn addresses_of_another_family() {
    let mut lan = Lan::settled(1, 3);
    lan.record = Some(Vec::new());
    lan.run(5_000);
    let record = lan.record.take().unwrap();
    let stand = Stand::of(&lan, &[0, 1, 2]);
    let strange: [SocketAddr; 5] = [
        "[fe80::1]:848".parse().unwrap(),
        "[::ffff:10.9.0.3]:848".parse().unwrap(),
        "0.0.0.0:0".parse().unwrap(),
        "255.255.255.255:65535".parse().unwrap(),
        "224.0.0.254:848".parse().unwrap(),
    ];
    let mut taken = 0;
    for sent in &record {
        for from in strange {
            for at in 0..3 {
                let recv = Recv {
                    from,
                    to: sent.to,
                    hop_limit: Some(255),
                };
                taken += usize::from(lan.hand(at, recv, &sent.octets) == Handled::Accepted);
            }
        }
    }
    // An IPv4-mapped address is that IPv4 address to the MAC; a second announcement is a replay all the same.
    assert_eq!(taken, 0);
    stand.holds_with_keys(&lan);
    nothing_refused(&mut lan);
}
