//! Damaged octets in every state, floods, replays: none makes a pair panic, none costs a key.

use karp_core::{
    error::DropReason,
    io::{Handled, MessageKind},
    pairwise::Command,
};

use crate::{
    common::{credentials::Proof, dice::Dice, seeds},
    lab::{Lab, Link},
};

fn lab(seed: u64, proof: Proof) -> Lab {
    Lab::new(seed, Link::CLEAN, proof, |_, settings| {
        settings.initiate = true;
        settings.tries = 6;
    })
}

/// Ahead of each message that arrives come damaged copies of it, and the pairs go through all that they do.
#[test]
fn damaged_copies_change_nothing() {
    for proof in [Proof::PairKeys, Proof::Signatures] {
        seeds(10, |seed| {
            let mut lab = lab(seed, proof);
            lab.damage = 12;
            lab.boot(0);
            lab.boot(1);
            assert!(lab.wait(200_000, Lab::settled), "seed {seed}\n{}", lab.story());
            lab.run(1000);
            lab.hitless = true;
            for command in [Command::Rekey { session: 0 }, Command::RekeyIkeSa, Command::Probe] {
                for side in [0, 1] {
                    lab.command(side, command);
                    lab.run(500);
                }
            }
            assert!(lab.wait(200_000, Lab::settled), "seed {seed}\n{}", lab.story());
            assert!(lab.damaged > 300, "{}", lab.damaged);
        });
    }
}

/// Every octet of a sealed request, changed in turn: the seal covers them all, from the header to the tag.
#[test]
fn every_octet_of_a_sealed_message_counts() {
    let mut lab = lab(1, Proof::PairKeys);
    lab.boot(0);
    lab.boot(1);
    assert!(lab.wait(60_000, Lab::settled));
    lab.run(1000);
    let before = lab.sent.len();
    lab.cut = true;
    lab.command(0, Command::Rekey { session: 0 });
    lab.run(1);
    let message = lab.sent[before].octets.clone();
    assert_eq!(lab.sent[before].kind, MessageKind::CreateChild);
    lab.cut = false;
    for at in 0..message.len() {
        let mut octets = message.clone();
        octets[at] ^= 1;
        let handled = lab.inject(1, &octets);
        assert!(matches!(handled, Handled::Dropped(_)), "octet {at}: {handled:?}");
        let handled = lab.inject(1, &message[..at]);
        assert!(matches!(handled, Handled::Dropped(_)), "cut at {at}: {handled:?}");
    }
    assert_eq!(lab.pair(1).key_table().rows().count(), 1);
    assert_eq!(lab.inject(1, &message), Handled::Accepted);
    assert_eq!(lab.pair(1).key_table().rows().count(), 2);
}

/// All that was ever sent is sent again, to both, in any order: responses are repeated and nothing else happens.
#[test]
fn replays_change_nothing() {
    seeds(5, |seed| {
        let mut lab = lab(seed, Proof::PairKeys);
        lab.boot(0);
        lab.boot(1);
        assert!(lab.wait(60_000, Lab::settled));
        for side in [0, 1] {
            lab.command(side, Command::Rekey { session: 0 });
            lab.run(3000);
            lab.command(side, Command::RekeyIkeSa);
            lab.run(3000);
        }
        lab.hitless = true;
        let (sa, sent) = (lab.pair(0).ike_sa(), lab.sent.clone());
        let keys: Vec<_> = [0, 1]
            .map(|side| lab.pair(side).pair_counters().keys_made)
            .to_vec();
        let mut dice = Dice::new(seed, 5);
        for message in dice.shuffled(sent) {
            for side in [0, 1] {
                lab.inject(side, &message.octets);
            }
            lab.run(20);
        }
        lab.run(30_000);
        assert!(lab.settled(), "{}", lab.story());
        assert_eq!(lab.pair(0).ike_sa(), sa);
        let after: Vec<_> = [0, 1]
            .map(|side| lab.pair(side).pair_counters().keys_made)
            .to_vec();
        assert_eq!(keys, after);
    });
}

/// From half of the table on strangers are asked for a cookie, and the peer comes through.
#[test]
fn a_flood_of_beginnings_is_asked_for_cookies() {
    let mut lab = Lab::new(3, Link::CLEAN, Proof::PairKeys, |_, _| {});
    lab.boot(1);
    let mut dice = Dice::new(3, 9);
    lab.boot(0);
    let init = lab.sent[0].octets.clone();
    // The nonce is the last payload but one: anything else in it makes another beginning.
    let nonce = init.len() - 10 - 32;
    let mut flood = |lab: &mut Lab| {
        for _ in 0..50 {
            let mut octets = init.clone();
            octets[..8].copy_from_slice(&dice.octets::<8>());
            octets[nonce..nonce + 32].copy_from_slice(&dice.octets::<32>());
            lab.inject(1, &octets);
        }
    };
    flood(&mut lab);
    assert!(
        lab.pair(1).pair_counters().cookies_asked >= 40,
        "{:?}",
        lab.pair(1).pair_counters()
    );
    assert_eq!(lab.pair(1).counters().dropped(DropReason::Malformed), 0);
    assert!(lab.wait(60_000, Lab::settled), "{}", lab.story());
    lab.hitless = true;
    flood(&mut lab);
    lab.run(30_000);
    assert!(lab.settled(), "{}", lab.story());
}

/// What is not from the peer's address, or from too far away, is not looked at.
#[test]
fn only_the_peer_is_heard() {
    let mut lab = lab(1, Proof::PairKeys);
    lab.boot(0);
    let init = lab.sent[0].octets.clone();
    lab.cut = true;
    lab.boot(1);
    let pair = lab.sides[1].pair.as_mut().unwrap();
    for (from, hops, reason) in [
        ("192.0.2.1:500", Some(254), DropReason::HopLimit),
        ("192.0.2.1:500", None, DropReason::HopLimit),
        ("192.0.2.9:500", Some(255), DropReason::WrongDestination),
    ] {
        let recv = karp_core::Recv {
            from: from.parse().unwrap(),
            to: crate::lab::address(1),
            hop_limit: hops,
        };
        let handled = pair.handle_datagram(lab.now, recv, &mut init.clone());
        assert_eq!(handled, Handled::Dropped(reason));
    }
}
